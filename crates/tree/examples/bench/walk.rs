//! The floor of "nothing has changed": names and metadata of every entry, and nothing done with them.
//!
//! Directories are shared between threads; within one, `getdents64` and a `statx` for each name relative to its handle. With
//! `--read`, content is read as well, which is how a source is made warm; with `--hash`, it is hashed, which is the floor of an audit.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Statx, StatxFlags, openat, statx};

use crate::arguments::Arguments;
use crate::pool::Pool;

/// Names of one `getdents64`.
const NAMES_BYTES: usize = 64 << 10;
const READ_BYTES: usize = 256 << 10;
/// A replica's own directory in its root: no part of the copy.
const PRIVATE: &[u8] = b".fulmar";

/// What one thread has seen.
#[derive(Default)]
struct Seen {
    directories: u64,
    files: u64,
    others: u64,
    bytes: u64,
    /// Its own, for content.
    buffer: Vec<u8>,
}

/// What is done with the content of a file.
#[derive(Clone, Copy)]
enum Content {
    Left,
    Read,
    Hashed,
}

/// `walk [--read | --hash] [--threads N] TREE...`: all trees at the same time, by N threads in all.
pub fn run(mut arguments: Arguments) -> io::Result<()> {
    let threads = arguments.option("--threads")?.unwrap_or(2);
    let content = match (arguments.switch("--read"), arguments.switch("--hash")) {
        (_, true) => Content::Hashed,
        (true, false) => Content::Read,
        (false, false) => Content::Left,
    };
    let started = Instant::now();
    let roots = arguments.paths()?.iter().map(|path| open_directory(path)).collect::<io::Result<Vec<_>>>()?;
    // On a stack, trees taken in turns: neighbours in it are worked on at the same time.
    let pool = Pool::new((0..roots.len()).map(|tree| (tree, PathBuf::from("."))).collect());
    let seen = pool.run(threads, Seen::default, |pool, seen, (tree, directory)| {
        visit(roots[tree].as_fd(), &directory, content, seen, |below| pool.push((tree, below)))
    })?;
    let sum = |field: fn(&Seen) -> u64| seen.iter().map(field).sum::<u64>();
    println!(
        "{{\"seconds\":{:.6},\"directories\":{},\"files\":{},\"others\":{},\"bytes\":{}}}",
        started.elapsed().as_secs_f64(),
        sum(|one| one.directories),
        sum(|one| one.files),
        sum(|one| one.others),
        sum(|one| one.bytes)
    );
    Ok(())
}

fn visit(
    root: BorrowedFd<'_>,
    directory: &Path,
    content: Content,
    seen: &mut Seen,
    mut below: impl FnMut(PathBuf),
) -> io::Result<()> {
    seen.directories += 1;
    let handle = openat(root, directory, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    entries(handle.as_fd(), |name, found| {
        match file_type(found) {
            FileType::Directory if directory == Path::new(".") && name.to_bytes() == PRIVATE => {}
            FileType::Directory => below(directory.join(OsStr::from_bytes(name.to_bytes()))),
            FileType::RegularFile => {
                seen.files += 1;
                seen.bytes += found.stx_size;
                if !matches!(content, Content::Left) {
                    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    drain(openat(&handle, name, flags, Mode::empty())?, content, &mut seen.buffer)?;
                }
            }
            _ => seen.others += 1,
        }
        Ok(())
    })
}

/// Calls `each` with every name of a directory and its metadata.
pub fn entries(directory: BorrowedFd<'_>, mut each: impl FnMut(&CStr, &Statx) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![MaybeUninit::uninit(); NAMES_BYTES];
    let mut list = RawDir::new(directory, &mut buffer);
    while let Some(entry) = list.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let found = statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
        each(name, &found)?;
    }
    Ok(())
}

/// The kind that a `statx` has found.
pub fn file_type(found: &Statx) -> FileType {
    FileType::from_raw_mode(found.stx_mode.into())
}

/// A handle on a directory given by its path.
pub fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(rustix::fs::CWD, path, flags, Mode::empty())?)
}

fn drain(file: OwnedFd, content: Content, buffer: &mut Vec<u8>) -> io::Result<()> {
    let (mut file, mut hasher) = (File::from(file), blake3::Hasher::new());
    buffer.resize(READ_BYTES, 0);
    loop {
        let count = file.read(buffer)?;
        if count == 0 {
            break;
        }
        if matches!(content, Content::Hashed) {
            hasher.update(&buffer[..count]);
        }
    }
    std::hint::black_box(hasher.finalize());
    Ok(())
}
