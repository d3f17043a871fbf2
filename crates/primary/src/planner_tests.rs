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
    let mut planner = Planner::new(
        Tree::open(source.path()).expect("a directory"),
        (Catalog::in_memory().expect("a catalog"), Filter::default(), Guard::new(LIMITS, GuardState::Clear)),
        (queue.clone(), rescans, watch::Sender::new(Seq(0))),
        (found, || 0),
    );
    let replica = ReplicaId(Id([2; 16]));
    let names = |count: u64| (0..count).map(|inode| (RelPath::parse(b"name").expect("a path"), inode)).collect();
    let mut scans = |planner: &mut Planner| {
        assert!(planner.next(planner.planned, replica).expect("a plan").is_none(), "nothing is left to be planned");
        requests.try_recv().ok()
    };

    planner.note_further(names(REMEMBERED_MAX as u64));
    assert_eq!(scans(&mut planner), None, "all are remembered");
    planner.note_further(names(REMEMBERED_MAX as u64 + 1));
    let change = NewChange { path: RelPath::parse(b"name").expect("a path"), scope: Scope::Path, first_seen_ms: 0 };
    queue.ask_blocking(move |queue| queue.put(&[change])).expect("a thread").expect("a change");
    assert!(planner.next(Seq(0), replica).expect("a plan").is_some(), "its change comes first");
    assert_eq!(scans(&mut planner), Some(RelPath::root()));
    assert_eq!(scans(&mut planner), None, "once");
}
