//! The floor of following: one thread that copies what inotify tells, with nothing remembered, checked or made durable.
//!
//! Sees renames only, into and between the directories that are there when it starts.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use crate::arguments::Arguments;

/// `mirror FROM TO`: prints `{}` once it watches, then runs until it is killed.
pub fn run(arguments: Arguments) -> io::Result<()> {
    let (from, to) = arguments.pair()?;
    let events = inotify::init(CreateFlags::CLOEXEC)?;
    let mut watched = HashMap::new();
    let mut open = vec![PathBuf::new()];
    while let Some(path) = open.pop() {
        let watch =
            inotify::add_watch(events.as_fd(), from.join(&path), WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO)?;
        for entry in fs::read_dir(from.join(&path))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(path.join(entry.file_name()));
            }
        }
        fs::create_dir_all(to.join(&path))?;
        watched.insert(watch, path);
    }
    println!("{{}}");
    let mut buffer = vec![MaybeUninit::uninit(); 256 << 10];
    let mut reader = Reader::new(events, &mut buffer);
    let mut left = HashMap::new();
    loop {
        let event = reader.next()?;
        let Some((name, directory)) = event.file_name().zip(watched.get(&event.wd())) else {
            return Err(io::Error::other("events were lost"));
        };
        let path = directory.join(OsStr::from_bytes(name.to_bytes()));
        if event.events().contains(ReadFlags::MOVED_FROM) {
            left.insert(event.cookie(), path);
        } else {
            arrive(&from, &to, left.remove(&event.cookie()), &path)?;
        }
    }
}

fn arrive(from: &Path, to: &Path, earlier: Option<PathBuf>, path: &Path) -> io::Result<()> {
    if let Some(earlier) = earlier {
        match fs::rename(to.join(earlier), to.join(path)) {
            // It came from where nothing is copied.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    let beside = to.join("copied");
    match fs::copy(from.join(path), &beside) {
        Ok(_) => fs::rename(beside, to.join(path)),
        // Gone again, or renamed: that event comes.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
