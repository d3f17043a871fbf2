//! A planner with a source on disk and everything else in memory.

use super::*;
use crate::further::REMEMBERED_MAX;
use crate::guard::LIMITS;
use fulmar_model::{Id, QueueId};

#[test]
fn a_scan_looks_for_what_came_and_went_by_more_names_than_can_be_remembered() {
    let source = tempfile::tempdir().expect("a directory");
    let queue = Keeper::start("queue", Queue::in_memory(QueueId(Id([1; 16]))).expect("a queue")).expect("a thread");
    let (rescans, mut requests) = Rescans::channel();
    let (found, _found) = mpsc::channel(1);
    let (noted, further) = FurtherNames::channel();
    let last = watch::Sender::new(Seq(0));
    let mut planner = Planner::new(
        Tree::open(source.path()).expect("a directory"),
        (Catalog::in_memory().expect("a catalog"), Filter::default(), Guard::new(LIMITS, GuardState::Clear)),
        (queue.clone(), rescans, last.clone()),
        (found, further, || 0),
    );
    let path = |number: u64| RelPath::parse(number.to_string().as_bytes()).expect("a path");
    let mut scans = |names: u64| {
        (0..names).for_each(|number| drop(noted.try_send((path(number), 1))));
        // More than one plan takes.
        let changes: Vec<_> =
            (0..600).map(|number| NewChange { path: path(number), scope: Scope::Path, first_seen_ms: 0 }).collect();
        advance(&last, queue.ask_blocking(move |queue| queue.put(&changes)).expect("a thread").expect("changes"));
        let mut asked_for = Vec::new();
        // As sessions do: nobody asks for what is behind the last change.
        while planner.planned < *last.borrow() {
            assert_eq!(asked_for, [], "not before everything is planned");
            let after = planner.planned;
            planner.next(after, ReplicaId(Id([2; 16]))).expect("a plan").expect("changes");
            asked_for.extend(requests.try_recv());
        }
        asked_for
    };
    assert_eq!(scans(REMEMBERED_MAX as u64 - 1), [], "all are remembered");
    assert_eq!(scans(REMEMBERED_MAX as u64 + 1), [RelPath::root()]);
    assert_eq!(scans(1), [], "once");
}
