//! Waiting until a path has stopped changing, bounded by a maximum delay. Pure: time comes in as a parameter.

use fulmar_model::RelPath;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// How long a path that is being written waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pauses {
    /// Without a further event.
    pub(crate) quiet: Duration,
    /// With further events.
    pub(crate) most: Duration,
}

/// Paths being written. Holds a stated number; when full, the one waiting longest is let go at once.
pub(crate) struct Settle {
    pauses: Pauses,
    waiting: HashMap<RelPath, Waiting>,
    /// Deadlines in the order they were set; one that was moved since is recognised by its time.
    deadlines: VecDeque<(i64, RelPath)>,
}

struct Waiting {
    first_ms: i64,
    due_ms: i64,
}

/// Paths held back at once.
const WAITING_MAX: usize = 65_536;

impl Settle {
    pub(crate) fn new(pauses: Pauses) -> Self {
        Self { pauses, waiting: HashMap::new(), deadlines: VecDeque::new() }
    }

    /// A write was seen. Gives a path that must go now to make room.
    pub(crate) fn written(&mut self, path: RelPath, now_ms: i64) -> Option<(RelPath, i64)> {
        let quiet = millis(self.pauses.quiet);
        let most = millis(self.pauses.most);
        let entry = self.waiting.entry(path.clone()).or_insert(Waiting { first_ms: now_ms, due_ms: 0 });
        let due = (now_ms + quiet).min(entry.first_ms + most);
        if entry.due_ms == due {
            return None;
        }
        // One deadline per path is enough: it is moved when it comes up and the path has been written again since.
        let known = entry.due_ms != 0;
        entry.due_ms = due;
        if !known {
            self.deadlines.push_back((due, path));
        }
        if self.waiting.len() > WAITING_MAX {
            let (_, oldest) = self.deadlines.pop_front()?;
            let first = self.waiting.remove(&oldest)?.first_ms;
            return Some((oldest, first));
        }
        None
    }

    /// The path settled by itself (closed, renamed): it waits no longer. Gives when it was first seen.
    pub(crate) fn settled(&mut self, path: &RelPath) -> Option<i64> {
        self.waiting.remove(path).map(|waiting| waiting.first_ms)
    }

    /// Paths whose wait is over, with the time they were first seen.
    pub(crate) fn due(&mut self, now_ms: i64) -> Vec<(RelPath, i64)> {
        let mut due = Vec::new();
        while self.deadlines.front().is_some_and(|(at, _)| *at <= now_ms) {
            let Some((_, path)) = self.deadlines.pop_front() else { break };
            match self.waiting.get(&path) {
                Some(waiting) if waiting.due_ms > now_ms => self.deadlines.push_back((waiting.due_ms, path)),
                Some(waiting) => {
                    due.push((path.clone(), waiting.first_ms));
                    self.waiting.remove(&path);
                }
                None => {}
            }
        }
        due
    }

    /// Every path, whether its wait is over or not.
    pub(crate) fn all(&mut self) -> Vec<(RelPath, i64)> {
        self.deadlines.clear();
        self.waiting.drain().map(|(path, waiting)| (path, waiting.first_ms)).collect()
    }

    /// When to ask again, in milliseconds from `now_ms`.
    pub(crate) fn next_in(&self, now_ms: i64) -> Option<Duration> {
        let (at, _) = self.deadlines.front()?;
        Some(Duration::from_millis(u64::try_from(at - now_ms).unwrap_or(0)))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle() -> Settle {
        Settle::new(Pauses { quiet: Duration::from_millis(100), most: Duration::from_millis(1000) })
    }

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a path")
    }

    #[test]
    fn a_quiet_path_settles_after_the_quiet_period() {
        let mut settle = settle();
        settle.written(path("a"), 0);
        assert!(settle.due(99).is_empty());
        assert_eq!(settle.due(100), [(path("a"), 0)]);
        assert!(settle.due(10_000).is_empty());
    }

    #[test]
    fn a_path_that_is_written_for_ever_settles_after_the_maximum_delay() {
        let mut settle = settle();
        let mut shipped = Vec::new();
        for now in (0..3000).step_by(50) {
            settle.written(path("log"), now);
            shipped.extend(settle.due(now).into_iter().map(|_| now));
        }
        assert!(shipped.len() >= 2, "{shipped:?}");
        assert!(shipped[0] <= 1050, "{shipped:?}");
    }

    #[test]
    fn a_full_table_lets_the_oldest_go() {
        let mut settle = settle();
        let gone: Vec<_> = (0..=WAITING_MAX).filter_map(|n| settle.written(path(&n.to_string()), 5)).collect();
        assert_eq!(gone, [(path("0"), 5)]);
    }
}
