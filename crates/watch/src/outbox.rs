//! The way out: a bounded channel.
//!
//! Full means: the receiver is slower than the kernel. The watching thread then waits, the kernel's own queue
//! (`fs.inotify.max_queued_events`) takes what happens meanwhile, and when that is full too, the overflow becomes a
//! `Rescan`. Nothing is dropped here.

use crate::{Event, Pace, RescanReason, RootGone};
use fulmar_model::RelPath;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

/// How long the thread sleeps before it tries a full channel again, unless it is told to end.
const FULL_WAIT: Duration = Duration::from_millis(1);
/// Attempts that only give way to other threads before sleeping: a receiver that is at work makes room at once.
const FULL_YIELDS: u32 = 16;

/// Why the thread stops looking at the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nobody receives any more, or the watcher was told to end.
    Ended,
    /// There is nothing left to look at.
    RootGone(RootGone),
}

pub(crate) struct Outbox {
    out: SyncSender<Event>,
    /// Set by the handle, which then unparks the thread.
    stop: Arc<AtomicBool>,
    /// What was sent last in this window, by directory and name: a writer gives the same fact again and again.
    last: Option<(u32, Pace)>,
    last_name: Vec<u8>,
}

impl Outbox {
    pub(crate) fn new(out: SyncSender<Event>, stop: Arc<AtomicBool>) -> Self {
        Self { out, stop, last: None, last_name: Vec::new() }
    }

    /// Whether `name` in the directory with this index was the last fact sent, in the same pace. Remembers it if not.
    pub(crate) fn repeats(&mut self, directory: u32, name: &[u8], pace: Pace) -> bool {
        if self.last == Some((directory, pace)) && self.last_name == name {
            return true;
        }
        self.last = Some((directory, pace));
        self.last_name.clear();
        self.last_name.extend_from_slice(name);
        false
    }

    /// Ends the window: the same fact is sent again from here on.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    pub(crate) fn changed(&mut self, path: RelPath, pace: Pace) -> Result<(), Stop> {
        self.send(Event::Changed { path, pace })
    }

    pub(crate) fn rescan(&mut self, subtree: RelPath, reason: RescanReason) -> Result<(), Stop> {
        tracing::debug!(%subtree, ?reason, "rescan");
        self.forget();
        self.send(Event::Rescan { subtree, reason })
    }

    pub(crate) fn send(&mut self, event: Event) -> Result<(), Stop> {
        let mut event = event;
        let mut attempts = 0;
        loop {
            match self.out.try_send(event) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(Stop::Ended),
                Err(TrySendError::Full(back)) => event = back,
            }
            if self.stop.load(Ordering::Acquire) {
                return Err(Stop::Ended);
            }
            attempts += 1;
            if attempts <= FULL_YIELDS {
                thread::yield_now();
            } else {
                thread::park_timeout(FULL_WAIT);
            }
        }
    }
}
