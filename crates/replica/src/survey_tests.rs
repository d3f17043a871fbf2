//! However many threads look a replica over, they find the same, strays included.

use super::*;
use crate::compare::Looked;
use fulmar_store::Catalog;
use fulmar_tree::NAMES_PER_PART;
use std::collections::BTreeMap;
use std::path::PathBuf;

struct Replica {
    held: tempfile::TempDir,
    tree: Tree,
    catalog: Catalog,
}

impl Replica {
    fn new() -> Self {
        let held = tempfile::tempdir_in("/dev/shm").expect("a directory");
        std::fs::create_dir(held.path().join("root")).expect("a root");
        let tree = Tree::open(&held.path().join("root")).expect("the root opens");
        let (catalog, _) = Catalog::open(&held.path().join("catalog.db")).expect("a catalog");
        Self { held, tree, catalog }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.held.path().join("root").join(path)
    }

    fn file(&self, path: &str) {
        let at = self.at(path);
        std::fs::create_dir_all(at.parent().expect("not the root")).expect("directories");
        std::fs::write(at, path).expect("a file");
    }

    /// More names than one part has.
    fn crowd(&self, path: &str) {
        std::fs::create_dir_all(self.at(path)).expect("directories");
        for number in 0..NAMES_PER_PART {
            std::os::unix::fs::symlink("nowhere", self.at(path).join(format!("link{number}"))).expect("a symlink");
        }
    }

    /// Everything is as it was put here.
    fn record(&mut self) {
        self.catalog.begin().expect("begin");
        for step in Walk::new(&self.tree, &RelPath::root()) {
            let Step::Listing(Listing { path, entries, .. }) = step else { panic!("{step:?}") };
            for (name, stat) in entries {
                let hash = (stat.kind == Kind::File).then_some(Hash([7; 32]));
                let record = Record { stat, xattrs: digest(&Default::default()), hash, group: None, settled: true };
                self.catalog.put(&path.join(&name), &record).expect("put");
            }
        }
        self.catalog.commit().expect("commit");
    }

    fn look_over(&self, bounds: SurveyBounds, strays_max: usize) -> Option<(Vec<Printed>, Strays)> {
        let mut comparer = Comparer {
            tree: Some(self.tree.clone()),
            catalog: Some(self.catalog.reader().expect("a reader")),
            owners: true,
            listings: std::sync::mpsc::channel().1,
            committer: None,
            answers: fulmar_link::pair().0.sender,
            looked: Looked::default(),
            surveyed: None,
        };
        let found = comparer.look_over(&RelPath::root(), bounds, strays_max).expect("no error");
        assert!(comparer.catalog.is_some(), "pages come behind a survey");
        found
    }
}

fn bounds(threads: usize) -> SurveyBounds {
    SurveyBounds { threads, alone: 0, ..SurveyBounds::default() }
}

/// The root and 5 directories with 8 in each, a file in each of these.
fn some() -> Replica {
    let replica = Replica::new();
    (0..40).for_each(|number| replica.file(&format!("{}/{number}/file", number % 5)));
    replica
}

#[test]
fn several_threads_find_in_nested_directories_of_several_parts_what_one_finds() {
    let mut replica = Replica::new();
    for number in 0..60 {
        replica.file(&format!("crowd/{}/{number}/file", number % 6));
        replica.file(&format!("crowd/3/crowd/{number}/file"));
        replica.file(&format!("crowd-/{number}/file"));
    }
    replica.crowd("crowd");
    replica.crowd("crowd/3/crowd");
    replica.record();
    for stray in ["stray", "crowd/3/stray", "crowd/3/crowd/stray", "crowd/3/crowd/7/stray", "crowd-/stray/in"] {
        replica.file(stray);
    }
    let found = |threads| {
        let (prints, strays) = replica.look_over(bounds(threads), STRAYS_MAX).expect("everything is known");
        let strays = strays.into_values().flatten().map(|path| path.to_string());
        (prints, strays.map(|path| (path, ())).collect::<BTreeMap<_, _>>())
    };
    let one = found(1);
    let parts = |path: &str| one.0.iter().filter(|printed| printed.directory.to_string() == path).count();
    assert_eq!((parts("crowd"), parts("crowd/3/crowd"), parts("crowd-")), (2, 2, 1));
    let strays = ["crowd-/stray", "crowd/3/crowd/7/stray", "crowd/3/crowd/stray", "crowd/3/stray", "stray"];
    assert!(one.1.keys().eq(strays.iter()), "{:?}", one.1);
    assert!(fingerprint_of(&one.0).is_some());
    for threads in [2, 4] {
        assert_eq!(found(threads), one, "{threads} threads");
    }
}

#[test]
fn what_may_be_remembered_is_shared_by_all_threads() {
    let mut replica = some();
    replica.record();
    (0..40).for_each(|number| replica.file(&format!("{}/{number}/stray", number % 5)));
    for threads in [1, 4] {
        let bounds = |directories| SurveyBounds { directories, ..bounds(threads) };
        assert!(replica.look_over(bounds(46), 40).is_some());
        assert!(replica.look_over(bounds(45), 40).is_none());
        assert!(replica.look_over(bounds(46), 39).is_none());
    }
}

#[test]
fn one_thread_that_does_not_know_of_an_entry_ends_the_survey_of_all() {
    let mut replica = some();
    replica.record();
    std::fs::write(replica.at("4/39/file"), "somebody else's").expect("a file");
    for threads in [1, 4] {
        assert!(replica.look_over(bounds(threads), STRAYS_MAX).is_none());
    }
}
