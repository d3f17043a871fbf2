//! How much of the tree is seen by events. Counters that any thread may read; the watcher's thread alone writes them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A reading of the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Directories found: not excluded, on the root's file system. What is below a polled directory is not counted.
    pub known: u64,
    /// Directories with a watch.
    pub watched: u64,
    /// Subtrees that are looked at periodically because events do not (or do not only) tell.
    pub polled: u64,
    /// Times the kernel's queue was full since the start.
    pub overflows: u64,
    /// Whether a subtree is polled because no watch is left.
    pub limit_reached: bool,
}

/// The counters; they also show the progress of the first pass while `Watcher::start` has not returned.
#[derive(Debug, Default)]
pub struct Meter {
    known: AtomicU64,
    watched: AtomicU64,
    polled: AtomicU64,
    overflows: AtomicU64,
    limit_reached: AtomicBool,
}

impl Meter {
    /// Reads each counter; they are independent of each other while the watcher works.
    pub fn read(&self) -> Coverage {
        Coverage {
            known: self.known.load(Ordering::Relaxed),
            watched: self.watched.load(Ordering::Relaxed),
            polled: self.polled.load(Ordering::Relaxed),
            overflows: self.overflows.load(Ordering::Relaxed),
            limit_reached: self.limit_reached.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn set(&self, now: Coverage) {
        self.known.store(now.known, Ordering::Relaxed);
        self.watched.store(now.watched, Ordering::Relaxed);
        self.polled.store(now.polled, Ordering::Relaxed);
        self.overflows.store(now.overflows, Ordering::Relaxed);
        self.limit_reached.store(now.limit_reached, Ordering::Relaxed);
    }
}
