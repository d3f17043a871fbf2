//! The handle of a watcher.

use crate::coverage::{Coverage, Meter};
use crate::kernel::{Buffer, Kernel, is_remote};
use crate::lookout::Lookout;
use crate::outbox::{Outbox, Stop};
use crate::reader::{Request, TURNS, TURNS_AT_ONCE, Thread};
use crate::root::Root;
use crate::walk::Job;
use crate::{Error, Event, RescanReason};
use fulmar_model::{Cadence, Filter, RelPath};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Settings of a watcher.
#[derive(Clone, Debug)]
pub struct Options {
    /// Time between two `Rescan`s of a subtree that is polled.
    pub poll_interval: Duration,
    /// Shortest time between two answers to overflows, and between two attempts to watch what could not be watched.
    pub rescan_backoff_min: Duration,
    /// Longest such time; in between it doubles.
    pub rescan_backoff_max: Duration,
    /// Counters, to be kept by who wants to see the progress of `Watcher::start`.
    pub meter: Arc<Meter>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(30),
            rescan_backoff_min: Duration::from_secs(1),
            rescan_backoff_max: Duration::from_secs(60),
            meter: Arc::default(),
        }
    }
}

/// A watched tree. Dropping it ends its thread.
#[derive(Debug)]
pub struct Watcher {
    requests: Sender<Request>,
    wake: Arc<OwnedFd>,
    stop: Arc<AtomicBool>,
    meter: Arc<Meter>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Watches every directory of the tree and returns; facts then arrive at `out`, starting with what happened while
    /// this call was working. A scan made after it misses nothing.
    ///
    /// `out` being full makes the watching thread wait and, if that lasts, the kernel's queue overflow, which becomes a
    /// `Rescan` of the tree. The thread ends when the receiver is dropped.
    pub fn start(root: &Path, filter: Filter, options: Options, out: SyncSender<Event>) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let meter = Arc::clone(&options.meter);
        let lookout = look_around(root, filter, &options, Outbox::new(out, Arc::clone(&stop)))?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| Error::Instance(error.into()))?;
        let wake = Arc::new(wake);
        let (requests, received) = mpsc::channel();
        let thread = Thread {
            lookout,
            wake: Arc::clone(&wake),
            requests: received,
            stop: Arc::clone(&stop),
            buffer: Buffer::new(),
            tokens: Vec::new(),
            looks: Vec::new(),
            root_checked: Instant::now(),
            cadence: Cadence::new(TURNS, TURNS_AT_ONCE, Instant::now()),
        };
        let thread = thread::Builder::new().name("watch".into()).spawn(move || thread.run()).map_err(Error::Thread)?;
        Ok(Self { requests, wake, stop, meter, thread: Some(thread) })
    }

    /// Asks for `Event::Flushed { token }` behind everything that has happened so far, with directories that appeared
    /// listed, pending rescans sent, and polled subtrees polled once. May be called from any thread.
    pub fn flush(&self, token: u64) -> Result<(), Error> {
        self.ask(Request::Flush(token))
    }

    /// A directory is said to stand here: if no event has told of it, it is watched, and what is in it is sent. May be
    /// called from any thread.
    pub fn look(&self, path: RelPath) -> Result<(), Error> {
        self.ask(Request::Look(path))
    }

    fn ask(&self, request: Request) -> Result<(), Error> {
        self.requests.send(request).map_err(|_| Error::Ended)?;
        self.wake();
        Ok(())
    }

    /// How much of the tree is seen by events.
    pub fn coverage(&self) -> Coverage {
        self.meter.read()
    }

    /// Ends the thread. What has not been received may not have been sent.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        self.stop.store(true, Ordering::Release);
        self.wake();
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.thread().unpark();
        thread.join().map_err(|_| Error::Panicked)
    }

    fn wake(&self) {
        // Fails only when the counter is full: then the thread is awake anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "watcher");
        }
    }
}

/// The first pass: watches every directory below the root. Nothing is sent, so nobody has to receive yet.
pub(crate) fn look_around(root: &Path, filter: Filter, options: &Options, outbox: Outbox) -> Result<Lookout, Error> {
    let open = |source| Error::OpenRoot { path: root.to_owned(), source };
    let real = std::fs::canonicalize(root).map_err(open)?;
    let kernel = Kernel::open().map_err(Error::Instance)?;
    let (identity, handle) = Root::identify(real).map_err(|error| open(error.into()))?;
    let mut lookout = Lookout::new(kernel, identity, filter, options, outbox, Instant::now());
    lookout.remote = is_remote(&handle);
    let top = lookout.tree.root();
    match lookout.kernel.watch(&handle) {
        Ok(wd) => {
            lookout.own(top, wd);
            match lookout.walk(Job::structure(top)) {
                // Only sending could stop it.
                Ok(()) | Err(Stop::Ended | Stop::RootGone(_)) => {}
            }
        }
        Err(Errno::NOSPC) => lookout.poll(top, RescanReason::WatchLimit),
        Err(error) => return Err(Error::WatchRoot { path: root.to_owned(), source: error.into() }),
    }
    lookout.release_root();
    lookout.publish();
    Ok(lookout)
}
