//! One process per tree and side: a lock that death releases.

use crate::{Error, Result};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A held lock; dropping it releases it. The file stays, because removing it would let two processes lock two files of
/// the same name.
#[derive(Debug)]
pub struct Lock {
    file: OwnedFd,
}

/// How a lock file is opened. Close-on-exec, else a child process would keep the lock after our death.
pub(crate) const LOCK_FLAGS: OFlags =
    OFlags::RDWR.union(OFlags::CREATE).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

pub(crate) const LOCK_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Longer than any process number.
const HOLDER_BYTES_MAX: usize = 32;

/// Locks the file at `path`, made if missing, or fails with `Locked` and who holds it.
pub fn lock_file(path: &Path) -> Result<Lock> {
    let file =
        rustix::fs::open(path, LOCK_FLAGS, LOCK_MODE).map_err(|source| Error::Lock { path: path.into(), source })?;
    lock_handle(file, path.into())
}

/// RACE: a second process that comes between our lock and our writing reads an empty holder.
pub(crate) fn lock_handle(file: OwnedFd, path: PathBuf) -> Result<Lock> {
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(Error::Locked { holder: holder(&file), path }),
        Err(source) => return Err(Error::Lock { path, source }),
    }
    let text = format!("{}\n", std::process::id());
    let written = rustix::fs::ftruncate(&file, 0).and_then(|()| rustix::io::pwrite(&file, text.as_bytes(), 0));
    written.map_err(|source| Error::Lock { path, source })?;
    Ok(Lock { file })
}

/// The number the holder wrote; empty when it cannot be read, for it only decorates a message.
fn holder(file: &OwnedFd) -> String {
    let mut text = [0; HOLDER_BYTES_MAX];
    let length = rustix::io::pread(file, &mut text[..], 0).unwrap_or(0);
    let text = text.get(..length).unwrap_or_default();
    String::from_utf8_lossy(text).trim().to_owned()
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Only so that nobody reads the number of a process that is gone; closing releases the lock in any case.
        let _ = rustix::fs::ftruncate(&self.file, 0);
    }
}
