//! A watched temporary directory, and its events in order.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use fulmar_model::{Filter, RelPath};
use fulmar_watch::{Event, Options, Pace, RescanReason, Watcher};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Longer than any healthy machine takes for anything here.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub struct Watched {
    pub watcher: Watcher,
    pub events: Receiver<Event>,
    directory: tempfile::TempDir,
    token: u64,
}

pub fn options() -> Options {
    Options { rescan_backoff_min: Duration::from_millis(20), ..Options::default() }
}

/// Watches an empty directory.
pub fn watched() -> Watched {
    watched_with(Filter::default(), options(), 1 << 16, |_| ())
}

/// Watches what `arrange` makes.
pub fn watched_with(filter: Filter, options: Options, capacity: usize, arrange: impl FnOnce(&Path)) -> Watched {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir(directory.path().join("root")).expect("a directory");
    arrange(&directory.path().join("root"));
    let (out, events) = mpsc::sync_channel(capacity);
    let watcher = Watcher::start(&directory.path().join("root"), filter, options, out).expect("a watcher");
    Watched { watcher, events, directory, token: 0 }
}

impl Watched {
    /// A path in the root.
    pub fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join("root").join(path)
    }

    /// A path on the same file system, not watched.
    pub fn outside(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Everything sent up to the answer to a flush.
    pub fn flush(&mut self) -> Vec<Event> {
        self.token += 1;
        self.watcher.flush(self.token).expect("the thread works");
        let deadline = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        loop {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Flushed { token }) if token == self.token => return seen,
                Ok(event) => seen.push(event),
                Err(error) => {
                    panic!("no answer to a flush ({error}); seen: {seen:?}, coverage: {:?}", self.watcher.coverage())
                }
            }
        }
    }

    /// Waits for one event.
    pub fn wait_for(&self, wanted: impl Fn(&Event) -> bool) -> Event {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        loop {
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(event) if wanted(&event) => return event,
                Ok(event) => seen.push(event),
                Err(error) => panic!("not seen ({error}): {seen:?}, coverage: {:?}", self.watcher.coverage()),
            }
        }
    }
}

pub fn path(text: impl AsRef<[u8]>) -> RelPath {
    RelPath::parse(text.as_ref()).expect("a path of the test")
}

pub fn settled(text: &str) -> Event {
    Event::Changed { path: path(text), pace: Pace::Settled }
}

/// A directory that was renamed to this path.
pub fn moved(text: &str) -> Event {
    Event::Changed { path: path(text), pace: Pace::Moved }
}

pub fn gone(text: &str) -> Event {
    Event::Changed { path: path(text), pace: Pace::Gone }
}

pub fn writing(text: &str) -> Event {
    Event::Changed { path: path(text), pace: Pace::Writing }
}

/// A name beside others of the file that is at `of`.
pub fn linked(text: &str, of: impl AsRef<Path>) -> Event {
    Event::Linked { path: path(text), inode: fs::symlink_metadata(of).expect("a file").ino() }
}

pub fn rescan(text: &str, reason: RescanReason) -> Event {
    Event::Rescan { subtree: path(text), reason }
}

/// Whether somebody who hears these looks at the path.
pub fn tells(events: &[Event], of: &str) -> bool {
    let of = path(of);
    events.iter().any(|event| match event {
        Event::Changed { path, .. } | Event::Linked { path, .. } => *path == of,
        Event::Rescan { subtree, .. } => of.starts_with(subtree),
        Event::Flushed { .. } | Event::RootGone { .. } => false,
    })
}
