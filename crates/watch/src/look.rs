//! Opening a directory below the root without following anything, and telling whether it can be watched.

use crate::kernel::{Kernel, Wd};
use crate::{Event, Pace, RescanReason};
use fulmar_model::RelPath;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// Bytes of a path given to the kernel at once; below `PATH_MAX`, deeper paths are opened in steps.
const STEP_BYTES_MAX: usize = 3 * 1024;
/// `openat2` answers `EAGAIN` when a rename or mount anywhere disturbed it.
const ATTEMPTS_MAX: u32 = 16;

/// What stands at a place.
pub(crate) enum Look {
    /// A directory, watched from this moment on.
    Directory { handle: OwnedFd, wd: Wd },
    /// No directory: gone, or something else by now.
    Absent,
    /// A directory of another file system: not ours.
    Foreign,
    /// A directory that cannot be opened or watched.
    Refused(RescanReason),
}

/// Looks at `name` in `parent` and watches what it finds.
pub(crate) fn look(kernel: &Kernel, parent: impl AsFd, name: &[u8], device: u64) -> Look {
    let handle = match open(parent, name, OFlags::RDONLY) {
        Ok(handle) => handle,
        Err(error) => return refused(error),
    };
    match fstat(&handle) {
        Ok(stat) if stat.st_dev != device => return Look::Foreign,
        Ok(_) => {}
        Err(error) => return refused(error),
    }
    match kernel.watch(&handle) {
        Ok(wd) => Look::Directory { handle, wd },
        Err(error) => refused(error),
    }
}

fn refused(error: Errno) -> Look {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Look::Absent,
        Errno::XDEV => Look::Foreign,
        Errno::NOSPC => Look::Refused(RescanReason::WatchLimit),
        _ => Look::Refused(RescanReason::Unreadable),
    }
}

/// What is there to be said of a name that has appeared and is no directory's. `stat`: `None` when nothing was found there.
/// `pace`: of a regular file that has no other name.
pub(crate) fn appearance(path: RelPath, stat: Option<&Stat>, pace: Pace) -> Event {
    let Some(stat) = stat else { return Event::Changed { path, pace } };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Event::Changed { path, pace: Pace::Settled },
        _ if stat.st_nlink > 1 => Event::Linked { path, inode: stat.st_ino },
        FileType::RegularFile => Event::Changed { path, pace },
        _ => Event::Changed { path, pace: Pace::Settled },
    }
}

/// Opens the directory at `path` below `root` for listing; the empty path is the root itself.
pub(crate) fn open_below(root: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let mut rest = path;
    let mut held: Option<OwnedFd> = None;
    while rest.len() > STEP_BYTES_MAX {
        let Some(slash) = rest.iter().take(STEP_BYTES_MAX).rposition(|byte| *byte == b'/') else {
            return Err(Errno::NAMETOOLONG);
        };
        let (step, below) = rest.split_at(slash);
        held = Some(match &held {
            Some(at) => open(at, step, OFlags::PATH)?,
            None => open(&root, step, OFlags::PATH)?,
        });
        rest = below.strip_prefix(b"/").unwrap_or(below);
    }
    let last = if rest.is_empty() { b"." } else { rest };
    match &held {
        Some(at) => open(at, last, OFlags::RDONLY),
        None => open(&root, last, OFlags::RDONLY),
    }
}

fn open(at: impl AsFd, path: &[u8], access: OFlags) -> Result<OwnedFd, Errno> {
    let flags = access | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mut attempts = 0;
    loop {
        attempts += 1;
        match openat2(&at, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if attempts < ATTEMPTS_MAX => {}
            result => return result,
        }
    }
}
