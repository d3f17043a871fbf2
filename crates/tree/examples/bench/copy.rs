//! The floor of a first sync: a plain copy by a few threads, in no order, with nothing remembered and nothing made durable.
//!
//! Kept: content, kinds, hard links, mode, owner, group and times. Holes and extended attributes are not.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Statx, Timespec, Timestamps, Uid, chownat, fchmod, fchown, futimens, linkat,
    mkdirat, openat, readlinkat, symlinkat, utimensat,
};

use crate::arguments::Arguments;
use crate::pool::Pool;
use crate::walk::{entries, file_type, open_directory};

const BUFFER_BYTES: usize = 256 << 10;

/// Both roots, and under which path a file with several names has been copied.
struct Copy {
    from: OwnedFd,
    to: OwnedFd,
    linked: Mutex<HashMap<u64, PathBuf>>,
}

/// `copy FROM TO [--threads N]`: TO is made.
pub fn run(mut arguments: Arguments) -> io::Result<()> {
    let threads = arguments.option("--threads")?.unwrap_or(2);
    let started = Instant::now();
    let (from, to) = arguments.pair()?;
    std::fs::create_dir(&to)?;
    let copy = Copy { from: open_directory(&from)?, to: open_directory(&to)?, linked: Mutex::default() };
    let top = rustix::fs::statx(&copy.from, ".", AtFlags::empty(), rustix::fs::StatxFlags::BASIC_STATS)?;
    let pool = Pool::new(vec![(PathBuf::from("."), top)]);
    pool.run(
        threads,
        || vec![0; BUFFER_BYTES],
        |pool, buffer, (path, found)| copy.directory(&path, &found, buffer, |below| pool.push(below)),
    )?;
    println!("{{\"seconds\":{:.6}}}", started.elapsed().as_secs_f64());
    Ok(())
}

impl Copy {
    /// All of a directory but what is in its directories, which are made here: so its own times can be set at the end.
    fn directory(
        &self,
        path: &PathBuf,
        own: &Statx,
        buffer: &mut [u8],
        mut below: impl FnMut((PathBuf, Statx)),
    ) -> io::Result<()> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let from = openat(&self.from, path, flags, Mode::empty())?;
        let to = openat(&self.to, path, flags, Mode::empty())?;
        entries(from.as_fd(), |name, found| {
            let below_path = || path.join(OsStr::from_bytes(name.to_bytes()));
            match file_type(found) {
                FileType::Directory => {
                    mkdirat(&to, name, Mode::RWXU)?;
                    below((below_path(), *found));
                }
                FileType::RegularFile if found.stx_nlink > 1 => {
                    self.linked(from.as_fd(), to.as_fd(), name, found, below_path(), buffer)?;
                }
                FileType::RegularFile => file(from.as_fd(), to.as_fd(), name, found, buffer)?,
                FileType::Symlink => symlink(from.as_fd(), to.as_fd(), name, found)?,
                kind => return Err(io::Error::other(format!("{}: {kind:?} is not copied", below_path().display()))),
            }
            Ok(())
        })?;
        metadata(&to, own)
    }

    fn linked(
        &self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        found: &Statx,
        path: PathBuf,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        // Held until the first name is there, so that the second finds it.
        let mut linked = self.linked.lock().unwrap_or_else(PoisonError::into_inner);
        match linked.get(&found.stx_ino) {
            Some(first) => linkat(&self.to, first, to, name, AtFlags::empty())?,
            None => {
                file(from, to, name, found, buffer)?;
                linked.insert(found.stx_ino, path);
            }
        }
        Ok(())
    }
}

fn file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, found: &Statx, buffer: &mut [u8]) -> io::Result<()> {
    let mut input = File::from(openat(from, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut output = File::from(openat(to, name, flags, Mode::RUSR | Mode::WUSR)?);
    let mut left = found.stx_size;
    // The size is trusted: one call less for each file.
    while left > 0 {
        let length = input.read(buffer)?;
        if length == 0 {
            break;
        }
        output.write_all(&buffer[..length])?;
        left = left.saturating_sub(length as u64);
    }
    metadata(&output, found)
}

fn symlink(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, found: &Statx) -> io::Result<()> {
    symlinkat(readlinkat(from, name, Vec::new())?, to, name)?;
    let (uid, gid) = owner(found);
    chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(utimensat(to, name, &times(found), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn metadata(copied: impl AsFd, found: &Statx) -> io::Result<()> {
    let (uid, gid) = owner(found);
    fchown(&copied, Some(uid), Some(gid))?;
    fchmod(&copied, Mode::from_raw_mode(found.stx_mode.into()))?;
    Ok(futimens(&copied, &times(found))?)
}

fn owner(found: &Statx) -> (Uid, Gid) {
    (Uid::from_raw(found.stx_uid), Gid::from_raw(found.stx_gid))
}

fn times(found: &Statx) -> Timestamps {
    let time = |stamp: rustix::fs::StatxTimestamp| Timespec { tv_sec: stamp.tv_sec, tv_nsec: stamp.tv_nsec.into() };
    Timestamps { last_access: time(found.stx_atime), last_modification: time(found.stx_mtime) }
}
