//! A batch that was sent and not answered yet, and what its answer means for the cursor.

use crate::step::{Action, Step};
use fulmar_model::{HeldReason, Outcome, RelPath, Seq};
use fulmar_store::{Outstanding, Work};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// First and longest pause before a held path is tried again.
const RETRY_MIN_MS: i64 = 1_000;
const RETRY_MAX_MS: i64 = 60_000;
/// Pause before a file that did not hold still is read again.
const AGAIN_MS: i64 = 200;
/// Pause before content that has rotted is read again.
const ROTTEN_MS: i64 = 3_600_000;

/// Pause before content is sent again while a comparison is under way.
const COMPARING_MS: i64 = 500;

/// A batch under way.
pub(super) struct Flight {
    pub(super) number: u64,
    pub(super) errand: Errand,
    /// One step for every operation, in order.
    pub(super) operated: Vec<Step>,
    /// Work that is known already to be left over.
    pub(super) left: BTreeMap<RelPath, Left>,
}

/// What a batch is for.
#[derive(Default)]
pub(super) struct Errand {
    /// The replica's position once it is durable.
    pub(super) position: Option<Seq>,
    /// Paths of outstanding work that it is to settle.
    pub(super) asked: Vec<RelPath>,
    /// Since when that work is known, in milliseconds since 1970: what it leaves over is as old.
    pub(super) since_ms: Option<i64>,
    /// Whether the comparison under way waits for it.
    pub(super) comparing: bool,
    /// What is found to be gone waits for the work at this path: see [`Outstanding::after`].
    pub(super) after: Option<RelPath>,
}

impl Errand {
    /// The batches of a plan: one, unless it has more than `most` operations. The position belongs to the last one, and so do
    /// all steps that are no operations: what they leave over is written down behind whatever an operation at the same path
    /// settles. An asked path is settled by the batch with its last operation.
    pub(super) fn in_batches(mut self, steps: Vec<Step>, most: usize) -> Vec<(Vec<Step>, Self)> {
        let operates = |step: &Step| matches!(step.action, Action::Operate { .. });
        if steps.iter().filter(|step| operates(step)).count() <= most {
            return vec![(steps, self)];
        }
        let (operations, left): (Vec<_>, Vec<_>) = steps.into_iter().partition(operates);
        let mut batches: Vec<Vec<Step>> = Vec::new();
        for step in operations {
            match batches.last_mut().filter(|batch| batch.len() < most) {
                Some(batch) => batch.push(step),
                None => batches.push(vec![step]),
            }
        }
        let mut last = batches.pop().unwrap_or_default();
        let paths = |batch: &[Step]| batch.iter().map(|step| step.path.clone()).collect::<BTreeSet<_>>();
        let (mut later, mut parts) = (paths(&last), Vec::new());
        for batch in batches.into_iter().rev() {
            let mut here = paths(&batch);
            let asked = self.asked.extract_if(.., |path| here.contains(path) && !later.contains(path)).collect();
            let (since_ms, comparing, after) = (self.since_ms, self.comparing, self.after.clone());
            parts.push((batch, Self { position: None, asked, since_ms, comparing, after }));
            later.append(&mut here);
        }
        parts.reverse();
        last.extend(left);
        parts.push((last, self));
        parts
    }
}

/// Work left over at a path.
#[derive(Clone, Debug)]
pub(super) struct Left {
    pub(super) work: Work,
    pub(super) retry_ms: i64,
    /// See [`Outstanding::after`].
    pub(super) after: Option<RelPath>,
}

impl Left {
    pub(super) fn new(work: Work, retry_ms: i64) -> Self {
        Self { work, retry_ms, after: None }
    }

    /// As a row.
    pub(super) fn at(self, path: RelPath, since_ms: i64) -> Outstanding {
        let Self { work, retry_ms, after } = self;
        Outstanding { path, work, since_ms, attempts: 0, retry_ms, after }
    }
}

/// What is to be written down.
pub(super) struct Landed {
    pub(super) left: Vec<Outstanding>,
    /// Settled, by an operation or by a comparison that is to come.
    pub(super) done: Vec<RelPath>,
    /// Directories that are as they should be, whatever is in them.
    pub(super) made: Vec<RelPath>,
    /// Settled by an operation.
    pub(super) applied: Vec<RelPath>,
    /// Removed, or renamed away.
    pub(super) removed: Vec<RelPath>,
    /// Directories that are to be compared because the replica lacks them.
    pub(super) lacking: Vec<RelPath>,
    /// Directories whose rename was refused: old names.
    pub(super) stayed: Vec<RelPath>,
}

impl Flight {
    /// Sorts steps into operations to be sent and work that is left over.
    pub(super) fn new(number: u64, errand: Errand, steps: Vec<Step>, now_ms: i64) -> Self {
        let mut flight = Self { number, errand, operated: Vec::new(), left: BTreeMap::new() };
        for step in steps {
            let left = match step.action {
                Action::Operate { .. } | Action::Sent => {
                    flight.operated.push(step);
                    continue;
                }
                Action::Large => Left::new(Work::Content, 0),
                Action::Compare => Left::new(Work::Compare, 0),
                Action::Again => Left::new(Work::Again, now_ms + AGAIN_MS),
                Action::Gone => Left { after: flight.errand.after.clone(), ..Left::new(GONE, 0) },
                Action::Hold { reason, errno } => Left::new(Work::Held { reason, errno }, retry_ms(reason, 0, now_ms)),
            };
            if let Some(from) = step.from {
                flight.left.insert(from, Left { after: Some(step.path.clone()), ..Left::new(GONE, 0) });
            }
            flight.left.insert(step.path, left);
        }
        flight
    }

    /// Files that did not hold still while they were read.
    fn again(&self) -> impl Iterator<Item = &RelPath> {
        self.left.iter().filter(|(_, left)| left.work == Work::Again).map(|(path, _)| path)
    }

    /// What the replica's answer leaves to be done. `attempts`: how often paths were tried before.
    pub(super) fn land(
        mut self,
        outcomes: &[(u32, Outcome)],
        attempts: &HashMap<RelPath, u32>,
        patience: Patience,
        now_ms: i64,
    ) -> Option<Landed> {
        let planned_again: Vec<_> = self.again().cloned().collect();
        let mut done = std::mem::take(&mut self.errand.asked);
        let (mut applied, mut removed, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        let (mut lacking, mut stayed) = (Vec::new(), Vec::new());
        let mut made = BTreeSet::new();
        let mut failed = BTreeMap::new();
        for (index, outcome) in outcomes {
            failed.insert(usize::try_from(*index).ok().filter(|index| *index < self.operated.len())?, *outcome);
        }
        for (index, step) in self.operated.into_iter().enumerate() {
            let outcome = failed.get(&index).copied().unwrap_or(Outcome::Done);
            let tried = attempts.get(&step.path).copied().unwrap_or(0);
            let (at, left) = match outcome {
                Outcome::Done => {
                    // What is below a renamed directory has a new name, and is still there.
                    removed.extend(step.from.filter(|_| !step.subtree));
                    removed.extend(step.removes.then(|| step.path.clone()));
                    applied.push(step.path.clone());
                    match step.directory {
                        true => drop(made.insert(step.path)),
                        false => done.push(step.path),
                    }
                    continue;
                }
                Outcome::NeedContent if step.removes => (step.path, Left::new(GONE, 0)),
                // What should be in it is not there either.
                Outcome::NeedContent if step.directory => (step.path, Left::new(Work::Compare, 0)),
                Outcome::NeedContent => (step.path, Left::new(Work::Again, now_ms + pause_ms(tried, patience))),
                Outcome::NeedCompare { depth } => {
                    // The rename's new name included: what is below it is compared.
                    let at = step.path.prefix(depth.into());
                    done.push(step.path);
                    (at, Left::new(Work::Compare, 0))
                }
                Outcome::Held { reason, errno } => {
                    (step.path, Left::new(Work::Held { reason, errno }, retry_ms(reason, tried, now_ms)))
                }
            };
            if let Some(from) = step.from {
                stayed.extend(step.subtree.then(|| from.clone()));
                // Not before the new name is there: one of the two must always exist.
                self.left.insert(from, Left { after: Some(at.clone()), ..Left::new(GONE, 0) });
            }
            refused.push(at.clone());
            // A comparison covers whatever else there is to do at the path. And what is held there, as a directory that could not be
            // made, is compared when it is not held any more: trying again at once would fail again.
            let covered = self.left.get(&at).is_some_and(|known| match known.work {
                Work::Compare => true,
                Work::Held { .. } => matches!(left.work, Work::Again | Work::Compare),
                _ => false,
            });
            if !covered {
                lacking.extend((left.work == Work::Compare).then(|| at.clone()));
                self.left.insert(at, left);
            }
        }
        // A file that never rests has arrived as it was, and begins anew. Everything else is as old as what it comes from.
        let since_ms = self.errand.since_ms.unwrap_or(now_ms);
        let anew = |path: &RelPath| planned_again.contains(path) && applied.contains(path) && !refused.contains(path);
        let since = |path: &RelPath| if anew(path) { now_ms } else { since_ms };
        done.retain(|path| !made.contains(path) && (!self.left.contains_key(path) || anew(path)));
        made.retain(|path| !self.left.contains_key(path) || anew(path));
        let left = self.left.into_iter().map(|(path, left)| (since(&path), path, left));
        let left = left.map(|(since_ms, path, left)| left.at(path, since_ms)).collect();
        Some(Landed { left, done, made: made.into_iter().collect(), applied, removed, lacking, stayed })
    }
}

pub(super) const GONE: Work = Work::Gone { approved: false };

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

pub(super) fn retry_ms(reason: HeldReason, tried: u32, now_ms: i64) -> i64 {
    match reason {
        // A person decides.
        HeldReason::Approval => i64::MAX,
        // A person, too, and then there is a change. Only what mends a disk beneath the file system makes none.
        HeldReason::Corrupt => now_ms + ROTTEN_MS,
        _ => now_ms + (RETRY_MIN_MS << tried.min(16)).min(RETRY_MAX_MS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulmar_wire::{FromPrimary, Operation};

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a path")
    }

    fn operation(text: &str) -> Step {
        let frame = FromPrimary::encode_operation(&Operation::Remove { path: path(text) }).expect("a frame");
        Step::new(path(text), Action::Operate { frame, word: "put" })
    }

    /// A batch for work that is known since 5, answered at 100.
    fn land(steps: Vec<Step>, outcomes: &[(u32, Outcome)]) -> Landed {
        let errand = Errand { asked: vec![path("a")], since_ms: Some(5), ..Errand::default() };
        let flight = Flight::new(1, errand, steps, 90);
        flight.land(outcomes, &HashMap::new(), Patience::None, 100).expect("the answer fits")
    }

    #[test]
    fn what_is_left_over_is_as_old_as_what_it_comes_from() {
        let landed = land(
            vec![operation("a"), operation("a"), operation("b")],
            &[(1, Outcome::NeedContent), (2, Outcome::NeedContent)],
        );
        let ages: Vec<_> = landed.left.iter().map(|row| (row.path.clone(), row.since_ms)).collect();
        assert_eq!(ages, [(path("a"), 5), (path("b"), 5)]);
        assert_eq!(landed.done, [], "the second operation on it failed");
    }

    #[test]
    fn a_file_that_never_rests_begins_anew_with_each_version_that_arrives() {
        let landed = land(vec![operation("a"), Step::new(path("a"), Action::Again)], &[]);
        assert_eq!(landed.left.iter().map(|row| row.since_ms).collect::<Vec<_>>(), [100]);
        assert!(landed.done.contains(&path("a")));
    }

    #[test]
    fn a_directory_that_could_not_be_made_stays_held_though_its_times_want_it() {
        let held = Outcome::Held { reason: HeldReason::Permission, errno: 13 };
        let landed = land(vec![operation("b"), operation("b")], &[(0, held), (1, Outcome::NeedContent)]);
        let work: Vec<_> = landed.left.iter().map(|row| row.work).collect();
        assert_eq!(work, [Work::Held { reason: HeldReason::Permission, errno: 13 }]);
    }

    #[test]
    fn a_plan_of_too_many_operations_is_several_batches_and_what_it_leaves_over_comes_last() {
        let steps = vec![
            Step::new(path("again"), Action::Again),
            operation("a"),
            operation("b"),
            operation("again"),
            operation("c"),
            operation("a"),
        ];
        let paths = |steps: &[Step]| steps.iter().map(|step| step.path.to_string()).collect::<Vec<_>>();
        let asked = ["a", "b", "c", "none"].map(path).to_vec();
        let errand = || Errand { position: Some(Seq(9)), asked: asked.clone(), since_ms: Some(5), ..Errand::default() };
        let whole = errand().in_batches(steps.clone(), 5);
        assert_eq!(whole.iter().map(|(steps, _)| steps.len()).collect::<Vec<_>>(), [6], "as many as may be");
        let batches = errand().in_batches(steps, 2);
        let shape: Vec<_> = batches.iter().map(|(steps, of)| (paths(steps), of.asked.clone(), of.position)).collect();
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            shape,
            [
                (words(&["a", "b"]), vec![path("b")], None),
                (words(&["again", "c"]), vec![path("c")], None),
                (words(&["a", "again"]), vec![path("a"), path("none")], Some(Seq(9))),
            ]
        );
        assert!(batches.iter().all(|(_, of)| of.since_ms == Some(5)));
    }

    #[test]
    fn what_a_comparison_finds_gone_waits_for_what_its_directory_waited_for() {
        let errand = Errand { after: Some(path("new")), comparing: true, ..Errand::default() };
        let flight = Flight::new(1, errand, vec![Step::new(path("old/a"), Action::Gone)], 90);
        let landed = flight.land(&[], &HashMap::new(), Patience::None, 100).expect("the answer fits");
        assert_eq!(landed.left.iter().map(|row| row.after.clone()).collect::<Vec<_>>(), [Some(path("new"))]);
    }

    #[test]
    fn a_directory_that_is_held_is_not_compared_for_what_cannot_be_in_it_yet() {
        let held = Outcome::Held { reason: HeldReason::Permission, errno: 13 };
        let landed = land(vec![operation("b"), operation("b/c")], &[(0, held), (1, Outcome::NeedCompare { depth: 1 })]);
        let work: Vec<_> = landed.left.iter().map(|row| row.work).collect();
        assert_eq!(work, [Work::Held { reason: HeldReason::Permission, errno: 13 }]);
    }

    #[test]
    fn a_directory_that_is_not_there_is_compared_for_nothing_is_in_it() {
        let landed = land(vec![Step { directory: true, ..operation("b") }], &[(0, Outcome::NeedContent)]);
        assert_eq!(landed.left.iter().map(|row| row.work).collect::<Vec<_>>(), [Work::Compare]);
        assert_eq!(landed.lacking, [path("b")]);
    }

    #[test]
    fn the_old_name_of_a_rename_that_cannot_be_sent_waits_for_the_new_one() {
        let action = Action::Hold { reason: HeldReason::TooLarge, errno: 7 };
        let landed = land(vec![Step { from: Some(path("old")), ..Step::new(path("new"), action) }], &[]);
        let rows: Vec<_> = landed.left.iter().map(|row| (row.path.clone(), row.after.clone())).collect();
        assert_eq!(rows, [(path("new"), None), (path("old"), Some(path("new")))]);
    }

    #[test]
    fn the_old_name_of_a_rename_that_failed_waits_for_the_new_one() {
        let step = Step { from: Some(path("old")), ..operation("new") };
        let landed = land(vec![step], &[(0, Outcome::NeedContent)]);
        let rows: Vec<_> = landed.left.iter().map(|row| (row.path.clone(), row.work, row.after.clone())).collect();
        assert_eq!(rows, [(path("new"), Work::Again, None), (path("old"), GONE, Some(path("new")))]);
        assert_eq!((landed.removed, landed.stayed), (vec![], vec![]));
    }

    #[test]
    fn a_directory_whose_rename_failed_stayed_and_one_whose_rename_did_not_did_not() {
        let rename = |from: &str, to: &str| {
            let from = Some(path(from));
            Step { from, subtree: true, directory: true, ..operation(to) }
        };
        let landed = land(vec![rename("a", "b"), rename("c", "d")], &[(1, Outcome::NeedCompare { depth: 1 })]);
        assert_eq!(landed.stayed, [path("c")]);
    }
}
