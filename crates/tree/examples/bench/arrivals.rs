//! The eye on the destination: which message has become visible there, and when, by inotify.
//!
//! Every program compared puts a file in place by a rename (or creates it under its own name), so that one event is the moment a
//! reader could have opened it. If the kernel's queue overflows, the names that are still expected are looked up instead.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

/// Mailboxes of a tree, and the messages of one run, by number. Times are nanoseconds since `origin`; 0: not yet.
pub struct Messages {
    origin: Instant,
    /// Names of the mailboxes, sorted.
    pub mailboxes: Vec<PathBuf>,
    delivered: Vec<Passage>,
    flagged: Vec<Passage>,
    overflowed: AtomicBool,
}

#[derive(Default)]
struct Passage {
    published: AtomicU64,
    seen: AtomicU64,
}

/// The two states of a message, each a name of its own.
#[derive(Clone, Copy, PartialEq)]
pub enum State {
    /// In `new`.
    Delivered,
    /// Renamed into `cur`.
    Flagged,
}

impl Messages {
    /// Room for `count` messages into the mailboxes of `tree`.
    pub fn new(tree: &Path, count: usize) -> io::Result<Self> {
        let mut mailboxes = fs::read_dir(tree)?
            .map(|entry| Ok(PathBuf::from(entry?.file_name())))
            .filter(|name| name.as_ref().map_or(true, |name| tree.join(name).join("new").is_dir()))
            .collect::<io::Result<Vec<_>>>()?;
        mailboxes.sort();
        if mailboxes.is_empty() {
            return Err(io::Error::other(format!("{} has no mailbox", tree.display())));
        }
        let room = || (0..count).map(|_| Passage::default()).collect::<Vec<_>>();
        let origin = Instant::now();
        Ok(Self { origin, mailboxes, delivered: room(), flagged: room(), overflowed: AtomicBool::new(false) })
    }

    /// Where a message is in a given state, from the root of the tree.
    pub fn path(&self, number: usize, state: State) -> PathBuf {
        let mailbox = &self.mailboxes[number % self.mailboxes.len()];
        match state {
            State::Delivered => mailbox.join(format!("new/{number:08}.M1P1.mx")),
            State::Flagged => mailbox.join(format!("cur/{number:08}.M1P1.mx:2,S")),
        }
    }

    /// How many messages there is room for.
    pub fn capacity(&self) -> usize {
        self.delivered.len()
    }

    /// To be called right before the rename that makes it true on the source.
    pub fn publish(&self, number: usize, state: State) {
        self.passages(state)[number].published.store(self.clock(), Ordering::Release);
    }

    /// Whether the kernel has dropped events.
    pub fn has_overflowed(&self) -> bool {
        self.overflowed.load(Ordering::Acquire)
    }

    /// Whether this message was seen in `state`, or a later one.
    pub fn is_seen(&self, number: usize, state: State) -> bool {
        self.passages(state)[number].seen.load(Ordering::Acquire) != 0
    }

    /// Published, but not yet seen.
    pub fn missing(&self) -> Vec<(usize, State)> {
        let open = |passage: &Passage| {
            passage.published.load(Ordering::Acquire) != 0 && passage.seen.load(Ordering::Acquire) == 0
        };
        [State::Delivered, State::Flagged]
            .into_iter()
            .flat_map(|state| self.passages(state).iter().enumerate().map(move |(number, one)| (number, state, one)))
            .filter(|(_, _, passage)| open(passage))
            .map(|(number, state, _)| (number, state))
            .collect()
    }

    /// Nanoseconds between publishing and seeing, of all that were seen in `state`.
    pub fn latencies(&self, state: State) -> Vec<u64> {
        let times = self.passages(state).iter();
        times
            .map(|one| (one.published.load(Ordering::Acquire), one.seen.load(Ordering::Acquire)))
            .filter(|(published, seen)| *published != 0 && *seen != 0)
            .map(|(published, seen)| seen.saturating_sub(published))
            .collect()
    }

    /// Nanoseconds from the last publication to the last sight; 0 when the last was seen at once.
    pub fn drain_ns(&self) -> u64 {
        let all = || self.delivered.iter().chain(&self.flagged);
        let published = all().map(|one| one.published.load(Ordering::Acquire)).max().unwrap_or(0);
        let seen = all().map(|one| one.seen.load(Ordering::Acquire)).max().unwrap_or(0);
        seen.saturating_sub(published)
    }

    /// Looks for what is missing by name. Its time is that of looking, which is why this is for what no event has told.
    pub fn look_up(&self, destination: &Path) {
        for (number, state) in self.missing() {
            if destination.join(self.path(number, state)).symlink_metadata().is_ok() {
                self.see(number, state);
            }
        }
    }

    /// Takes events from `destination` for ever. `ready` is called once every mailbox is watched.
    pub fn watch(&self, destination: &Path, ready: impl FnOnce()) -> io::Result<()> {
        let events = inotify::init(CreateFlags::CLOEXEC)?;
        for mailbox in &self.mailboxes {
            for state in ["new", "cur"] {
                let path = destination.join(mailbox).join(state);
                inotify::add_watch(&events, &path, WatchFlags::MOVED_TO | WatchFlags::CREATE)?;
            }
        }
        ready();
        let mut buffer = vec![MaybeUninit::uninit(); 256 << 10];
        let mut reader = Reader::new(events, &mut buffer);
        loop {
            let event = reader.next()?;
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                self.overflowed.store(true, Ordering::Release);
            }
            if let Some((number, state)) = event.file_name().and_then(|name| parse(name.to_bytes()))
                && number < self.delivered.len()
            {
                self.see(number, state);
            }
        }
    }

    fn see(&self, number: usize, state: State) {
        let clock = self.clock();
        let first = |passage: &Passage| {
            // The first sight counts.
            let _ = passage.seen.compare_exchange(0, clock, Ordering::AcqRel, Ordering::Acquire);
        };
        first(&self.passages(state)[number]);
        if state == State::Flagged {
            // A replicator may skip the name in between: the message is visible all the same.
            first(&self.delivered[number]);
        }
    }

    fn passages(&self, state: State) -> &[Passage] {
        match state {
            State::Delivered => &self.delivered,
            State::Flagged => &self.flagged,
        }
    }

    fn clock(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }
}

/// Number and state from a name; temporary names of a replicator are neither.
fn parse(name: &[u8]) -> Option<(usize, State)> {
    let number = std::str::from_utf8(name.get(..8)?).ok()?.parse().ok()?;
    match &name[8..] {
        b".M1P1.mx" => Some((number, State::Delivered)),
        b".M1P1.mx:2,S" => Some((number, State::Flagged)),
        _ => None,
    }
}
