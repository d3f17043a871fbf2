//! A scan beside a planner that writes.

use super::*;
use crate::further::FurtherNames;
use crate::guard::{Guard, GuardState, LIMITS};
use fulmar_model::{Id, Kind, QueueId, Record, XattrDigest};
use fulmar_store::Catalog;
use fulmar_tree::{Sealing, list_part};

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

fn record(tree: &Tree, at: &RelPath) -> Record {
    let stat = tree.stat(at).expect("a stat").expect("it is there");
    assert_eq!(stat.kind, Kind::Directory);
    Record { stat, xattrs: XattrDigest::default(), hash: None, group: None, settled: true }
}

/// One directory has gone, and nobody was told (that is why there is a scan). Another has come, and is planned while the scan looks at its siblings.
#[test]
fn a_directory_that_is_planned_meanwhile_does_not_stand_in_for_one_that_is_gone() {
    const SIBLINGS: u32 = 2000;
    let held = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let root = held.path().join("root");
    (0..SIBLINGS)
        .for_each(|number| std::fs::create_dir_all(root.join(format!("d/n{number:05}"))).expect("a directory"));
    std::fs::create_dir(root.join("d/zz-comes")).expect("a directory");
    std::fs::create_dir(root.join("d/aa-gone")).expect("a directory");
    let tree = Tree::open(&root).expect("the root opens");
    let (mut catalog, _) = Catalog::open(&held.path().join("catalog.db")).expect("a catalog");
    let comes = record(&tree, &path("d/zz-comes"));
    for name in (0..SIBLINGS).map(|number| format!("d/n{number:05}")).chain(["d/aa-gone".to_owned(), "d".to_owned()]) {
        catalog.put(&path(&name), &record(&tree, &path(&name))).expect("put");
    }
    std::fs::remove_dir(root.join("d/aa-gone")).expect("gone");

    let queue = Keeper::start("queue", Queue::in_memory(QueueId(Id([1; 16]))).expect("a queue")).expect("a thread");
    let (rescans, requests) = Rescans::channel();
    let last = watch::Sender::new(Seq(0));
    let (found, _found) = mpsc::channel(1);
    let clock: crate::Clock = || 0;
    let guard = Guard::new(LIMITS, GuardState::Clear);
    let planner = Planner::new(
        tree.clone(),
        (Catalog::in_memory().expect("a catalog"), Filter::default(), guard),
        (queue.clone(), rescans.clone(), last.clone()),
        (found, FurtherNames::channel().1, clock),
    );
    let planner = Keeper::start("planner", planner).expect("a thread");
    let rescan = Rescan { filter: Filter::default(), queue, planner, requests, rescans, last, clock };
    let mut missed = [0, 0];
    // Half of them without seals, to compare with.
    for attempt in 0..80u64 {
        let sealed = attempt % 2 == 1;
        catalog.remove(&path("d/zz-comes")).expect("remove");
        while sealed && catalog.seal(u64::MAX, Sealing::default).expect("seal") {}
        let listing = list_part(&tree, &path("d"), Part::WHOLE).expect("a listing");
        let mut scanner = Scanner {
            rescan: &rescan,
            tree: tree.clone(),
            began: Clock::coarse_now(),
            catalog: catalog.reader().expect("a reader"),
            rules: Hash([0; 32]),
            changed: Vec::new(),
            missing: Vec::new(),
            whole: Vec::new(),
            mail: None,
        };
        let start = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                let mut walk = Walk::new(&tree, &path("d"));
                scanner.compare(&mut walk, &path("d"), Part::WHOLE, listing.entries).expect("a scan");
            });
            start.wait();
            // Somewhere else in it each time.
            (0..100 * attempt).for_each(|_| std::thread::yield_now());
            catalog.put(&path("d/zz-comes"), &comes).expect("the planner's");
        });
        missed[usize::from(sealed)] += u32::from(!scanner.missing.contains(&path("d/aa-gone")));
    }
    assert_eq!(missed, [0, 0], "scans that did not see that aa-gone is gone: of 40 without seals, of 40 with");
}
