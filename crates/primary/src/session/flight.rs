//! A batch that was sent and not answered yet, and what its answer means for the cursor.

use crate::step::{Action, Step};
use fulmar_model::{HeldReason, Outcome, RelPath, Seq};
use fulmar_store::{Outstanding, Work};
use std::collections::{BTreeMap, HashMap};

/// First and longest pause before a held path is tried again.
const RETRY_MIN_MS: i64 = 1_000;
const RETRY_MAX_MS: i64 = 60_000;
/// Pause before a file that did not hold still is read again.
const AGAIN_MS: i64 = 200;

/// Pause before content is sent again while a comparison is under way.
const COMPARING_MS: i64 = 500;

/// How long the old name of a failed rename waits for the new one at most.
const AFTER_MS: i64 = 600_000;

/// A batch under way.
pub(super) struct Flight {
    pub(super) number: u64,
    /// The replica's position once it is durable.
    pub(super) position: Option<Seq>,
    /// One step for every operation, in order.
    pub(super) operated: Vec<Step>,
    /// Work that is known already to be left over.
    pub(super) left: BTreeMap<RelPath, (Work, i64)>,
    /// Paths this batch was to settle.
    pub(super) asked: Vec<RelPath>,
    /// Whether the comparison under way waits for it.
    pub(super) comparing: bool,
}

/// What is to be written down.
pub(super) struct Landed {
    pub(super) left: Vec<Outstanding>,
    /// Settled, by an operation or by a comparison that is to come.
    pub(super) done: Vec<RelPath>,
    /// Settled by an operation.
    pub(super) applied: Vec<RelPath>,
    /// Names that go once another is there: the other first.
    pub(super) waiting: Vec<(RelPath, RelPath)>,
}

impl Flight {
    /// Sorts steps into operations to be sent and work that is left over.
    pub(super) fn new(number: u64, position: Option<Seq>, steps: Vec<Step>, now_ms: i64) -> Self {
        let mut flight =
            Self { number, position, operated: Vec::new(), left: BTreeMap::new(), asked: Vec::new(), comparing: false };
        for step in steps {
            let work = match step.action {
                Action::Operate { .. } => {
                    flight.operated.push(step);
                    continue;
                }
                Action::Large => (Work::Content, 0),
                Action::Compare => (Work::Compare, 0),
                Action::Again => (Work::Again, now_ms + AGAIN_MS),
                Action::Hold { reason, errno } => (Work::Held { reason, errno }, retry_ms(reason, 0, now_ms)),
            };
            flight.left.insert(step.path, work);
        }
        flight
    }

    /// What the replica's answer leaves to be done. `attempts`: how often paths were tried before.
    pub(super) fn land(
        mut self,
        outcomes: &[(u32, Outcome)],
        attempts: &HashMap<RelPath, u32>,
        patience: Patience,
        now_ms: i64,
    ) -> Option<Landed> {
        let mut done = std::mem::take(&mut self.asked);
        let (mut applied, mut waiting) = (Vec::new(), Vec::new());
        let mut failed = BTreeMap::new();
        for (index, outcome) in outcomes {
            failed.insert(usize::try_from(*index).ok().filter(|index| *index < self.operated.len())?, *outcome);
        }
        for (index, step) in self.operated.into_iter().enumerate() {
            let outcome = failed.get(&index).copied().unwrap_or(Outcome::Done);
            let new_name = step.path.clone();
            let tried = attempts.get(&step.path).copied().unwrap_or(0);
            let mut leave = |path: RelPath, work: Work, retry_ms: i64| {
                // A comparison covers whatever else there is to do at the path.
                let known = self.left.get(&path).is_some_and(|(known, _)| *known == Work::Compare);
                if !known {
                    self.left.insert(path, (work, retry_ms));
                }
            };
            match outcome {
                Outcome::Done => {
                    applied.push(step.path.clone());
                    done.push(step.path);
                    continue;
                }
                Outcome::NeedContent => leave(step.path, Work::Again, now_ms + pause_ms(tried, patience)),
                Outcome::NeedCompare { depth } => {
                    // The rename's new name included: what is below it is compared.
                    leave(step.path.prefix(depth.into()), Work::Compare, 0);
                    done.push(step.path);
                }
                Outcome::Held { reason, errno } => {
                    leave(step.path, Work::Held { reason, errno }, retry_ms(reason, tried, now_ms));
                }
            }
            if let Some(from) = step.from {
                // Not before the new name is there, whose success calls it up: one of the two must always exist.
                leave(from.clone(), Work::Again, now_ms + AFTER_MS);
                waiting.push((new_name, from));
            }
        }
        done.retain(|path| !self.left.contains_key(path));
        let left = self.left.into_iter();
        let left = left
            .map(|(path, (work, retry_ms))| Outstanding { path, work, since_ms: now_ms, attempts: 0, retry_ms })
            .collect();
        Some(Landed { left, done, applied, waiting })
    }
}

/// Whether retries should wait for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// They need not.
    None,
    /// A comparison is under way, and will probably make what they miss.
    Comparing,
}

/// The content is sent at once the first time; a replica that refuses it again and again is given time.
fn pause_ms(tried: u32, patience: Patience) -> i64 {
    match (tried, patience) {
        (0 | 1, Patience::None) => 0,
        (0 | 1, Patience::Comparing) => COMPARING_MS,
        _ => (AGAIN_MS << tried.min(8)).min(RETRY_MAX_MS),
    }
}

fn retry_ms(reason: HeldReason, tried: u32, now_ms: i64) -> i64 {
    match reason {
        // A person decides.
        HeldReason::Approval => i64::MAX,
        _ => now_ms + (RETRY_MIN_MS << tried.min(16)).min(RETRY_MAX_MS),
    }
}
