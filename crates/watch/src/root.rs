//! The root of the tree: its path, and which inode it was when the watcher started.
//!
//! No handle is kept between two windows of events: it would delay `DELETE_SELF` and make the file system busy for
//! `umount`. Whoever else keeps one delays `DELETE_SELF` as well, so the path is also checked periodically.

use crate::RootGone;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

pub(crate) struct Root {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Root {
    /// `path` must be absolute and free of symlinks.
    pub(crate) fn identify(path: PathBuf) -> Result<(Self, OwnedFd), Errno> {
        let handle = open(&path)?;
        let stat = fstat(&handle)?;
        Ok((Self { path, device: stat.st_dev, inode: stat.st_ino }, handle))
    }

    /// The file system that the watcher stays on.
    pub(crate) fn device(&self) -> u64 {
        self.device
    }

    /// A handle for opening what is below; `None` when the path does not lead to the root now.
    pub(crate) fn open(&self) -> Option<OwnedFd> {
        let handle = open(&self.path).ok()?;
        let stat = fstat(&handle).ok()?;
        self.is(&stat).then_some(handle)
    }

    fn is(&self, stat: &Stat) -> bool {
        (stat.st_dev, stat.st_ino) == (self.device, self.inode)
    }

    /// Why the root is gone, if it is. What cannot be found out (permissions, a stalled disk) does not count as gone.
    pub(crate) fn gone(&self) -> Option<RootGone> {
        match statat(CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if self.is(&stat) => None,
            Ok(stat) if stat.st_dev != self.device => Some(RootGone::Unmounted),
            Ok(_) => Some(RootGone::Replaced),
            Err(Errno::NOENT | Errno::NOTDIR) => Some(RootGone::Deleted),
            Err(_) => None,
        }
    }
}

fn open(path: &PathBuf) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}
