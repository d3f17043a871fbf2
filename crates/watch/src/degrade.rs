//! Where events do not tell: when to look again after an overflow, and which subtrees are polled.
//!
//! Pure state; the time is a parameter. What is due is done in `heal`.

use crate::RescanReason;
use crate::tree::{NodeId, Tree};
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// Subtrees named one by one; more are covered by directories above them.
const SUBTREES_MAX: usize = 64;

/// A wait that doubles while trouble lasts and starts small again after calm.
#[derive(Clone, Copy, Debug)]
struct Backoff {
    min: Duration,
    max: Duration,
    now: Duration,
}

impl Backoff {
    fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, now: min }
    }

    fn grow(&mut self) {
        self.now = (self.now * 2).min(self.max).max(self.min);
    }

    fn reset(&mut self) {
        self.now = self.min;
    }
}

/// Overflows of the kernel's queue. The first one is answered at once; those that follow share one answer per interval.
#[derive(Debug)]
pub(crate) struct Overflow {
    backoff: Backoff,
    pending: bool,
    answered: Option<Instant>,
}

impl Overflow {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { backoff: Backoff::new(min, max), pending: false, answered: None }
    }

    pub(crate) fn note(&mut self, now: Instant) {
        if self.answered.is_some_and(|answered| now.saturating_duration_since(answered) > self.backoff.now * 2) {
            self.backoff.reset();
        }
        self.pending = true;
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.pending
    }

    /// When the answer is due; `None` when there is nothing to answer.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        self.pending.then(|| self.answered.map_or(now, |answered| answered + self.backoff.now))
    }

    /// The whole tree is being looked at from `now` on.
    pub(crate) fn answer(&mut self, now: Instant) {
        let close =
            self.answered.is_some_and(|answered| now.saturating_duration_since(answered) <= self.backoff.now * 2);
        if close {
            self.backoff.grow();
        } else {
            self.backoff.reset();
        }
        self.pending = false;
        self.answered = Some(now);
    }
}

/// Subtrees that are polled, each by the uppermost directory.
#[derive(Debug)]
pub(crate) struct Polled {
    subtrees: HashMap<NodeId, RescanReason>,
    unannounced: Vec<NodeId>,
    interval: Duration,
    next_round: Instant,
    backoff: Backoff,
    next_retry: Instant,
    limited: usize,
}

impl Polled {
    pub(crate) fn new(interval: Duration, min: Duration, max: Duration, now: Instant) -> Self {
        Self {
            subtrees: HashMap::new(),
            unannounced: Vec::new(),
            interval,
            next_round: now + interval,
            backoff: Backoff::new(min, max),
            next_retry: now + min,
            limited: 0,
        }
    }

    pub(crate) fn insert(&mut self, directory: NodeId, reason: RescanReason, now: Instant) {
        if self.subtrees.is_empty() {
            self.backoff.reset();
            self.next_retry = now + self.backoff.now;
            self.next_round = now + self.interval;
        }
        self.limited += usize::from(reason == RescanReason::WatchLimit);
        match self.subtrees.insert(directory, reason) {
            None => self.unannounced.push(directory),
            Some(before) => self.limited -= usize::from(before == RescanReason::WatchLimit),
        }
    }

    pub(crate) fn remove(&mut self, directory: NodeId) {
        if self.subtrees.remove(&directory) == Some(RescanReason::WatchLimit) {
            self.limited -= 1;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.subtrees.clear();
        self.unannounced.clear();
        self.limited = 0;
    }

    pub(crate) fn reason(&self, directory: NodeId) -> Option<RescanReason> {
        self.subtrees.get(&directory).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.subtrees.len()
    }

    pub(crate) fn limit_reached(&self) -> bool {
        self.limited > 0
    }

    pub(crate) fn all(&self) -> Vec<NodeId> {
        self.subtrees.keys().copied().collect()
    }

    /// Those that nobody was told of.
    pub(crate) fn take_unannounced(&mut self) -> Vec<NodeId> {
        let mut fresh = std::mem::take(&mut self.unannounced);
        fresh.retain(|directory| self.subtrees.contains_key(directory));
        fresh
    }

    pub(crate) fn round_due(&self) -> Instant {
        self.next_round
    }

    pub(crate) fn round_done(&mut self, now: Instant) {
        self.next_round = now + self.interval;
    }

    /// When to try to watch again; `None` when nothing is polled.
    pub(crate) fn retry_due(&self) -> Option<Instant> {
        (!self.subtrees.is_empty()).then_some(self.next_retry)
    }

    /// Something happened that may have cured one of them.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.next_retry = now;
    }

    pub(crate) fn retried(&mut self, now: Instant, healed: bool) {
        if healed {
            self.backoff.reset();
        } else {
            self.backoff.grow();
        }
        self.next_retry = now + self.backoff.now;
    }
}

/// At most [`SUBTREES_MAX`] attached directories that cover all the given ones: the deepest are replaced by their parents
/// until they are few enough, and what is below another one is left out.
pub(crate) fn cover(tree: &Tree, directories: Vec<NodeId>) -> Vec<NodeId> {
    let attached = directories.into_iter().filter(|id| tree.is_live(*id) && tree.top(*id) == tree.root());
    let mut levels: BTreeSet<(usize, NodeId)> = attached.map(|id| (tree.depth(id), id)).collect();
    while levels.len() > SUBTREES_MAX {
        let Some((_, deepest)) = levels.pop_last() else { break };
        if let Some(parent) = tree.parent(deepest) {
            levels.insert((tree.depth(parent), parent));
        }
    }
    let kept: BTreeSet<NodeId> = levels.iter().map(|(_, id)| *id).collect();
    let above = |id: NodeId| std::iter::successors(tree.parent(id), |at| tree.parent(*at));
    levels.into_iter().map(|(_, id)| id).filter(|id| !above(*id).any(|upper| kept.contains(&upper))).collect()
}

#[cfg(test)]
#[path = "degrade_tests.rs"]
mod tests;
