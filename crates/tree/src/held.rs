//! Handles of staged things that wait for their batch: the only ones of which this program may want thousands.
//!
//! They are counted for the whole process, as the limit is one of the process (`RLIMIT_NOFILE`), and some systems grant no more
//! than 1024 or 4096.

use rustix::process::{Resource, getrlimit};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Of the files that may be open, one in so many may be such a handle.
const SHARE: usize = 4;

static HELD: AtomicUsize = AtomicUsize::new(0);

/// A handle that counts.
#[derive(Debug)]
pub(crate) struct Held(OwnedFd);

impl Held {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        HELD.fetch_add(1, Ordering::Relaxed);
        Self(fd)
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether so many are held that whoever can do without one should. The limit is that of the first question.
pub fn is_crowded() -> bool {
    HELD.load(Ordering::Relaxed) >= file_limit() / SHARE
}

/// Files that this process may have open.
pub(crate) fn file_limit() -> usize {
    static LIMIT: OnceLock<usize> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let limit = getrlimit(Resource::Nofile).current;
        limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
    })
}
