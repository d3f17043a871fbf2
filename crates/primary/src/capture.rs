//! From the watcher into the queue: settles, gathers, writes each group in one transaction.
//!
//! Every transaction is a sync here, and a plan and a batch further on, whatever their size. What comes after a quiet
//! moment is written at once; under load the transactions keep a distance, in which changes gather.
//!
//! Removals wait together until none has come for a moment: so the guard learns how many there are before the first of
//! them is shipped. A path that appears again meanwhile waits no longer.

use crate::clock::Clock;
use crate::further::FurtherName;
use crate::keeper::Keeper;
use crate::planner::Planner;
use crate::rescan::Rescans;
use crate::settle::{Pauses, Settle};
use crate::{Error, Result};
use fulmar_model::{Cadence, RelPath, Scope, Seq};
use fulmar_store::{NewChange, Queue, QueueLog};
use fulmar_watch::{Event, Pace, RootGone};
use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Events waiting for capture; full: the watcher waits, and the kernel's queue takes over.
pub(crate) const EVENTS: usize = 4096;
/// Events are taken for no longer than this before what they say is written.
const GROUP: Duration = Duration::from_millis(2);
/// Distance of transactions under load: costs that much latency then, nothing at idle.
const DISTANCE: Duration = Duration::from_millis(10);
/// Transactions that need no distance after a quiet moment: one file that is written and renamed may take two.
const AT_ONCE: u32 = 3;
/// Changes in one transaction at most.
const GROUP_CHANGES_MAX: usize = 2000;
/// A few removals wait until none has come for this long, and no longer than that.
const GONE_FEW: Patience = Patience { quiet: Duration::from_millis(250), most: Duration::from_secs(2) };
/// More of them: who removes so many is held up now and then where the disk is busy, and the guard is to know how many there
/// are before the first one goes. Less than what a verification gives a change to arrive (`audit::STILL`).
const GONE_MANY: Patience = Patience { quiet: Duration::from_secs(2), most: Duration::from_secs(4) };
/// A few.
const GONE_FEW_MAX: usize = 100;
/// Removals that wait at once; full: they go on.
const GONE_MAX: usize = 100_000;
/// How long capture sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// What capture tells the primary.
#[derive(Debug)]
pub(crate) enum Notice {
    /// Everything before `Watcher::flush(token)` is in the queue.
    Flushed { token: u64, last: Seq },
    /// The source is gone.
    RootGone(RootGone),
}

/// What a flush lets go before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    /// All that waits in capture.
    Everything,
    /// Only what is there. Removals go on waiting for each other.
    Present,
}

impl Flush {
    /// The number a watcher hands on, unique by `turn`.
    pub(crate) fn token(self, turn: u64) -> u64 {
        turn * 2 + u64::from(self == Self::Present)
    }

    fn of(token: u64) -> Self {
        if token.is_multiple_of(2) { Self::Everything } else { Self::Present }
    }
}

/// Owns the unsettled paths.
pub(crate) struct Capture {
    pub(crate) events: Receiver<Event>,
    pub(crate) queue: Keeper<Queue>,
    /// Synced here: the owner of the queue has others to serve.
    pub(crate) log: QueueLog,
    pub(crate) planner: Keeper<Planner>,
    pub(crate) rescans: Rescans,
    pub(crate) further: mpsc::Sender<FurtherName>,
    pub(crate) notices: mpsc::Sender<Notice>,
    /// Told the highest position after each group.
    pub(crate) last: watch::Sender<Seq>,
    pub(crate) pauses: Pauses,
    pub(crate) clock: Clock,
}

impl Capture {
    /// Runs until the watcher ends.
    pub(crate) fn run(mut self) -> Result<()> {
        let mut held = Held { settle: Settle::new(self.pauses), gone: Gone::default() };
        let mut group = Group::default();
        let mut cadence = Cadence::new(DISTANCE, AT_ONCE, Instant::now());
        loop {
            let now = (self.clock)();
            let patience =
                [held.settle.next_in(now), held.gone.next_in(now)].into_iter().flatten().min().unwrap_or(IDLE);
            let event = match self.events.recv_timeout(patience) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut told = self.gather(event, &mut held, &mut group)?;
            let now = (self.clock)();
            for (path, first_ms) in held.settle.due(now) {
                group.add(path, first_ms);
            }
            if held.gone.is_due(now) {
                self.let_go(&mut held.gone, &mut group)?;
            }
            let wait = cadence.wait(Instant::now());
            if !group.changes.is_empty() && told.is_none() && !wait.is_zero() {
                // Asleep, not receiving: so many wake-ups would cost more than what they bring.
                std::thread::sleep(wait);
                told = self.gather(self.events.try_recv().ok(), &mut held, &mut group)?;
            }
            let last = self.write(&mut group)?;
            if last.is_some() {
                cadence.take(Instant::now());
            }
            if let Some(tell) = told {
                self.tell(tell, last)?;
            }
        }
        for (path, first_ms) in held.settle.all() {
            group.add(path, first_ms);
        }
        self.let_go(&mut held.gone, &mut group)?;
        self.write(&mut group).map(drop)
    }

    /// Takes an event and those right behind it, which share its transaction. Ends at one that must be told once the group is
    /// written.
    fn gather(&self, first: Option<Event>, held: &mut Held, group: &mut Group) -> Result<Option<Told>> {
        let until = Instant::now() + GROUP;
        let mut next = first;
        while let Some(event) = next.take() {
            let told = self.take(event, held, group)?;
            if told.is_some() || group.changes.len() >= GROUP_CHANGES_MAX || Instant::now() >= until {
                return Ok(told);
            }
            next = self.events.try_recv().ok();
        }
        Ok(None)
    }

    /// Removals go on, after the guard was told how many.
    fn let_go(&self, gone: &mut Gone, group: &mut Group) -> Result<()> {
        let paths = std::mem::take(&mut gone.paths);
        if paths.is_empty() {
            return Ok(());
        }
        let expect = move |planner: &mut Planner| planner.expect_gone(paths.keys()).map(|()| paths);
        for (path, first_ms) in self.planner.ask_blocking(expect)?? {
            group.add(path, first_ms);
        }
        Ok(())
    }

    /// Puts an event into the group, or among the unsettled. Gives what must be told once the group is written.
    fn take(&self, event: Event, held: &mut Held, group: &mut Group) -> Result<Option<Told>> {
        let now = (self.clock)();
        tracing::trace!(?event);
        match event {
            Event::Changed { path, pace: pace @ (Pace::Settled | Pace::Moved) } => {
                let first = held.forget(&path).unwrap_or(now);
                group.add_scope(path, first, if pace == Pace::Moved { Scope::Moved } else { Scope::Path });
            }
            Event::Linked { path, inode } => {
                let first = held.forget(&path).unwrap_or(now);
                group.further.push((path.clone(), inode));
                group.add(path, first);
            }
            Event::Changed { path, pace: Pace::Writing } => {
                held.gone.paths.remove(&path);
                if let Some((path, first)) = held.settle.written(path, now) {
                    group.add(path, first);
                }
            }
            Event::Changed { path, pace: Pace::Gone } => {
                let first = held.forget(&path).unwrap_or(now);
                held.gone.add(path, first, now);
                if held.gone.paths.len() >= GONE_MAX {
                    self.let_go(&mut held.gone, group)?;
                }
            }
            Event::Rescan { subtree, reason } => {
                tracing::debug!(%subtree, ?reason, "looking at a subtree again");
                self.rescans.request(subtree);
            }
            Event::Flushed { token } => {
                for (path, first) in held.settle.all() {
                    group.add(path, first);
                }
                if Flush::of(token) == Flush::Everything {
                    self.let_go(&mut held.gone, group)?;
                }
                return Ok(Some(Told::Flushed(token)));
            }
            Event::RootGone { reason } => return Ok(Some(Told::RootGone(reason))),
        }
        Ok(None)
    }

    fn write(&mut self, group: &mut Group) -> Result<Option<Seq>> {
        if group.changes.is_empty() {
            return Ok(None);
        }
        let (changes, further) = group.take();
        for name in further {
            // Before its path can be planned. Where that is full, the planner knows what to do.
            let _ = self.further.try_send(name);
        }
        let last = self.queue.ask_blocking(move |queue| queue.put_unsynced(&changes))??;
        self.log.flush(last)?;
        advance(&self.last, last);
        Ok(Some(last))
    }

    fn tell(&self, told: Told, last: Option<Seq>) -> Result<()> {
        let notice = match told {
            Told::Flushed(token) => {
                let last = match last {
                    Some(last) => last,
                    None => self.queue.ask_blocking(|queue| queue.last())?,
                };
                Notice::Flushed { token, last }
            }
            Told::RootGone(reason) => Notice::RootGone(reason),
        };
        self.notices.blocking_send(notice).map_err(|_| Error::Gone)
    }
}

/// Tells a new highest position. Two threads write to the queue, and the one that was first may be the second to tell.
pub(crate) fn advance(last: &watch::Sender<Seq>, to: Seq) {
    last.send_if_modified(|known| {
        let further = to > *known;
        *known = to.max(*known);
        further
    });
}

enum Told {
    Flushed(u64),
    RootGone(RootGone),
}

/// What waits before it enters the queue.
struct Held {
    settle: Settle,
    gone: Gone,
}

impl Held {
    /// The path waits no longer; gives when it was first seen.
    fn forget(&mut self, path: &RelPath) -> Option<i64> {
        let written = self.settle.settled(path);
        self.gone.paths.remove(path).into_iter().chain(written).min()
    }
}

/// How long removals wait for each other.
struct Patience {
    quiet: Duration,
    most: Duration,
}

/// Removals that wait for each other.
#[derive(Default)]
struct Gone {
    paths: BTreeMap<RelPath, i64>,
    first_ms: i64,
    last_ms: i64,
}

impl Gone {
    fn add(&mut self, path: RelPath, first_ms: i64, now_ms: i64) {
        if self.paths.is_empty() {
            self.first_ms = now_ms;
        }
        self.last_ms = now_ms;
        self.paths.insert(path, first_ms);
    }

    fn due_ms(&self) -> i64 {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4);
        let Patience { quiet, most } = if self.paths.len() > GONE_FEW_MAX { GONE_MANY } else { GONE_FEW };
        (self.last_ms + millis(quiet)).min(self.first_ms + millis(most))
    }

    fn is_due(&self, now_ms: i64) -> bool {
        !self.paths.is_empty() && now_ms >= self.due_ms()
    }

    fn next_in(&self, now_ms: i64) -> Option<Duration> {
        let left = u64::try_from(self.due_ms() - now_ms).unwrap_or(0);
        (!self.paths.is_empty()).then_some(Duration::from_millis(left))
    }
}

/// Changes of one transaction, each path once, in the order first seen.
#[derive(Default)]
struct Group {
    changes: Vec<NewChange>,
    index: HashMap<RelPath, usize>,
    /// Which of them are names of inodes that have others.
    further: Vec<FurtherName>,
}

impl Group {
    fn add(&mut self, path: RelPath, first_seen_ms: i64) {
        self.add_scope(path, first_seen_ms, Scope::Path);
    }

    fn add_scope(&mut self, path: RelPath, first_seen_ms: i64, scope: Scope) {
        if let Some(change) = self.index.get(&path).and_then(|at| self.changes.get_mut(*at)) {
            change.first_seen_ms = change.first_seen_ms.min(first_seen_ms);
            change.scope = change.scope.max(scope);
            return;
        }
        self.index.insert(path.clone(), self.changes.len());
        self.changes.push(NewChange { path, scope, first_seen_ms });
    }

    fn take(&mut self) -> (Vec<NewChange>, Vec<FurtherName>) {
        self.index.clear();
        (std::mem::take(&mut self.changes), std::mem::take(&mut self.further))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When so many removals are let go, that came at 0, and one every `pause_ms` until so many had come.
    fn due_ms(removals: u16, pause_ms: i64) -> i64 {
        let mut gone = Gone::default();
        for number in 0..removals {
            let path = RelPath::parse(number.to_string().as_bytes()).expect("a path");
            gone.add(path, 0, i64::from(number) * pause_ms);
        }
        let due = gone.due_ms();
        assert!(gone.is_due(due) && !gone.is_due(due - 1), "at {due} ms");
        assert_eq!(gone.next_in(0), Some(Duration::from_millis(due.unsigned_abs())));
        due
    }

    #[test]
    fn a_few_removals_wait_a_moment_and_many_until_whoever_removes_has_surely_ended() {
        assert_eq!(due_ms(1, 0), 250);
        assert_eq!(due_ms(100, 10), 99 * 10 + 250);
        assert_eq!(due_ms(101, 10), 100 * 10 + 2000);
        assert_eq!(due_ms(1000, 1), 999 + 2000);
    }

    #[test]
    fn removals_that_never_end_are_let_go_all_the_same() {
        assert_eq!(due_ms(100, 100), 2000);
        assert_eq!(due_ms(2000, 100), 4000);
    }
}
