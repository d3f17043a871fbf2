//! The thread: waits for the kernel and for requests, reads, and lets time pass.

use crate::kernel::{Buffer, Drained};
use crate::lookout::Lookout;
use crate::outbox::Stop;
use crate::{Event, RootGone};
use fulmar_model::{Cadence, RelPath};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// How long the second half of a rename is waited for when the queue is empty.
const HALF_WAIT: Duration = Duration::from_millis(2);
/// How often the root's path is checked when no event comes.
const ROOT_CHECK: Duration = Duration::from_secs(1);
/// Buffers read before requests and deadlines are looked at.
const READS_MAX: u32 = 16;
/// Distance of turns under load: what happens meanwhile is read together, and costs one wake-up instead of one an event.
pub(crate) const TURNS: Duration = Duration::from_millis(4);
/// Turns that need no distance after a quiet moment: one file that is written and renamed may take as many.
pub(crate) const TURNS_AT_ONCE: u32 = 4;
/// Rounds in which a flush waits for what is on its way; a directory that cannot be reached in as many is polled.
const FLUSH_ROUNDS_MAX: u32 = 8;

/// What a watcher is asked.
#[derive(Debug)]
pub(crate) enum Request {
    /// See [`crate::Watcher::flush`].
    Flush(u64),
    /// See [`crate::Watcher::look`].
    Look(RelPath),
}

pub(crate) struct Thread {
    pub lookout: Lookout,
    /// Becomes readable when there is a request, or the thread shall end.
    pub wake: Arc<OwnedFd>,
    pub requests: Receiver<Request>,
    pub stop: Arc<AtomicBool>,
    pub buffer: Buffer,
    /// Flushes that were asked for and are not answered.
    pub tokens: Vec<u64>,
    /// Directories to be looked for behind what happened before.
    pub looks: Vec<RelPath>,
    pub root_checked: Instant,
    /// Of the turns that find events.
    pub cadence: Cadence,
}

impl Thread {
    pub(crate) fn run(mut self) {
        let mut stopped = self.watch();
        loop {
            match stopped {
                Err(Stop::Ended) | Ok(()) => return,
                Err(Stop::RootGone(reason)) => stopped = self.answer(reason),
            }
        }
    }

    fn watch(&mut self) -> Result<(), Stop> {
        loop {
            self.turn()?;
        }
    }

    /// Waits, reads what there is, and does what is due.
    fn turn(&mut self) -> Result<(), Stop> {
        let now = Instant::now();
        self.wait(now)?;
        // Before the queue is measured: what happened before the request is in it then.
        self.take_requests();
        let asked = !self.tokens.is_empty() || !self.looks.is_empty();
        let goal = if asked { self.lookout.kernel.queued_bytes() } else { 0 };
        self.read(goal)?;
        for path in std::mem::take(&mut self.looks) {
            self.lookout.expect(&path);
        }
        if now.saturating_duration_since(self.root_checked) >= ROOT_CHECK || !self.tokens.is_empty() {
            self.root_checked = now;
            self.lookout.root.gone().map_or(Ok(()), |reason| Err(Stop::RootGone(reason)))?;
        }
        self.lookout.tick(Instant::now())?;
        if !self.tokens.is_empty() {
            self.flush()?;
        }
        self.lookout.release_root();
        Ok(())
    }

    fn take_requests(&mut self) {
        for request in self.requests.try_iter() {
            match request {
                Request::Flush(token) => self.tokens.push(token),
                Request::Look(path) => self.looks.push(path),
            }
        }
    }

    /// Waits for an event, a request or a deadline; under load for a request or the next turn before.
    fn wait(&self, now: Instant) -> Result<(), Stop> {
        let pause = self.cadence.wait(now);
        if !pause.is_zero() {
            wait_for(&mut [PollFd::new(&self.wake, PollFlags::IN)], pause);
        }
        let next =
            self.lookout.deadline(now).map_or(ROOT_CHECK, |due| due.saturating_duration_since(now).min(ROOT_CHECK));
        let next = if self.lookout.is_unsettled() { next.min(HALF_WAIT) } else { next };
        let kernel = self.lookout.kernel.as_fd();
        let mut fds = [PollFd::new(&kernel, PollFlags::IN), PollFd::new(&self.wake, PollFlags::IN)];
        wait_for(&mut fds, next);
        let [_, wake] = &fds;
        if wake.revents().is_empty() { Ok(()) } else { self.quiet_down() }
    }

    /// Takes the wake-up back; ends if that is what it was for.
    fn quiet_down(&self) -> Result<(), Stop> {
        // Not readable is the usual case.
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        if self.stop.load(Ordering::Acquire) { Err(Stop::Ended) } else { Ok(()) }
    }

    /// Reads until the queue is empty; gives up after a bounded amount, but not before `goal` bytes.
    fn read(&mut self, goal: u64) -> Result<(), Stop> {
        let Self { lookout, buffer, cadence, .. } = self;
        let kernel = Arc::clone(&lookout.kernel);
        let (mut done, mut reads) = (0, 0);
        while done < goal || reads < READS_MAX {
            // Two facts in one buffer are one: both happened before the first is sent. Across buffers they are two.
            lookout.outbox.forget();
            match kernel.read(buffer, |raw| lookout.apply(&raw))? {
                Drained::Empty => break,
                Drained::Some { bytes } => done += bytes,
            }
            reads += 1;
        }
        if reads > 0 {
            cadence.take(Instant::now());
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Stop> {
        self.lookout.repair_at_once(Instant::now())?;
        let mut rounds = 0;
        while self.lookout.is_unsettled() && rounds < FLUSH_ROUNDS_MAX {
            rounds += 1;
            let kernel = self.lookout.kernel.as_fd();
            wait_for(&mut [PollFd::new(&kernel, PollFlags::IN)], HALF_WAIT);
            let goal = self.lookout.kernel.queued_bytes();
            self.read(goal)?;
            self.lookout.tick(Instant::now())?;
        }
        self.lookout.complete(Instant::now())?;
        self.lookout.publish();
        self.say_flushed()
    }

    fn say_flushed(&mut self) -> Result<(), Stop> {
        for token in self.tokens.drain(..) {
            self.lookout.outbox.send(Event::Flushed { token })?;
        }
        Ok(())
    }

    /// The root is gone: says so, and answers requests.
    fn answer(&mut self, reason: RootGone) -> Result<(), Stop> {
        self.lookout.abandon();
        self.lookout.outbox.send(Event::RootGone { reason })?;
        loop {
            self.take_requests();
            self.looks.clear();
            self.say_flushed()?;
            wait_for(&mut [PollFd::new(&self.wake, PollFlags::IN)], ROOT_CHECK);
            self.quiet_down()?;
        }
    }
}

/// A failure to wait (a signal) is as good as an event: the caller looks and waits again.
fn wait_for(fds: &mut [PollFd<'_>], at_most: Duration) {
    let timeout =
        Timespec { tv_sec: at_most.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: at_most.subsec_nanos().into() };
    if let Err(error) = poll(fds, Some(&timeout)) {
        tracing::trace!(%error, "poll");
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
