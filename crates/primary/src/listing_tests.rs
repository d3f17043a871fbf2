//! However many threads survey the source, the replica is told the same; and none of them goes on in vain.

use super::*;
use fulmar_model::{Hash, Profile};
use fulmar_store::Catalog;
use fulmar_tree::{DIRECTORIES_MAX, NAMES_PER_PART};
use std::path::Path;
use tokio::sync::mpsc::{self, error::TryRecvError};

struct Source {
    held: tempfile::TempDir,
    tree: Tree,
    catalog: Catalog,
}

impl Source {
    fn new() -> Self {
        let held = tempfile::tempdir_in("/dev/shm").expect("a directory");
        std::fs::create_dir(held.path().join("root")).expect("a root");
        let tree = Tree::open(&held.path().join("root")).expect("the root opens");
        let (catalog, _) = Catalog::open(&held.path().join("catalog.db")).expect("a catalog");
        Self { held, tree, catalog }
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.held.path().join("root").join(path)
    }

    fn file(&self, text: &str) {
        let at = self.at(text);
        std::fs::create_dir_all(at.parent().expect("not the root")).expect("directories");
        std::fs::write(at, text).expect("a file");
    }

    /// Writes down all that is there.
    fn record(&mut self) {
        self.catalog.begin().expect("begin");
        let mut walk = Walk::new(&self.tree, &RelPath::root());
        while let Some(step) = walk.next_dir() {
            let Step::Listing(Listing { path, entries, .. }) = step else { panic!("unreadable") };
            for (name, stat) in entries {
                let hash = (stat.kind == Kind::File).then_some(Hash([7; 32]));
                let record = Record { stat, xattrs: digest(&Default::default()), hash, group: None, settled: true };
                self.catalog.put(&path.join(&name), &record).expect("put");
            }
        }
        self.catalog.commit().expect("commit");
    }

    fn lister(&self) -> (Lister, mpsc::Receiver<Listed>) {
        let (pages, listed) = mpsc::channel(8);
        let filter = Filter::new(Profile::Plain, []).expect("a filter");
        let (tree, subtree) = (self.tree.clone(), RelPath::root());
        (Lister { tree, filter, subtree, owners: true, choices: None, pages }, listed)
    }

    /// What a session that chooses to list nothing is told, and what was seen.
    fn surveyed(&self, bounds: SurveyBounds) -> (Option<Vec<Printed>>, Count) {
        let (lister, mut listed) = self.lister();
        let (choose, choices) = mpsc::channel(1);
        std::thread::scope(|scope| {
            let told = scope.spawn(move || {
                let told = listed.blocking_recv();
                choose.try_send(Choice::Only(Vec::new())).expect("room");
                told
            });
            let catalog = self.catalog.reader().expect("a reader");
            let (choice, _, count) = lister.survey(choices, catalog, bounds).expect("a survey");
            assert!(matches!(choice, Choice::Only(parts) if parts.is_empty()));
            match told.join().expect("no panic") {
                Some(Listed::Survey(prints)) => (prints, count),
                other => panic!("{other:?}"),
            }
        })
    }
}

fn bounds(threads: usize) -> SurveyBounds {
    SurveyBounds { threads, alone: 0, directories: DIRECTORIES_MAX }
}

/// More names than one part has.
fn crowd(directory: &Path) {
    std::fs::create_dir_all(directory).expect("directories");
    for number in 0..NAMES_PER_PART {
        std::os::unix::fs::symlink("nowhere", directory.join(format!("link{number}"))).expect("a symlink");
    }
}

#[test]
fn several_threads_tell_of_nested_directories_of_several_parts_what_one_tells() {
    let mut source = Source::new();
    for number in 0..60 {
        source.file(&format!("crowd/{}/{number}/file", number % 6));
        source.file(&format!("crowd/3/crowd/{number}/file"));
        source.file(&format!("crowd-/{number}/file"));
    }
    crowd(&source.at("crowd"));
    crowd(&source.at("crowd/3/crowd"));
    source.record();
    std::fs::write(source.at("crowd/4/unknown"), "").expect("a file");
    drop(std::os::unix::net::UnixListener::bind(source.at("crowd-/5/socket")).expect("a socket"));
    let (one, count) = source.surveyed(bounds(1));
    let prints = one.as_ref().expect("prints");
    let parts = |path: &str| prints.iter().filter(|printed| printed.directory.to_string() == path).count();
    assert_eq!((parts("crowd"), parts("crowd/3/crowd"), parts("crowd-")), (2, 2, 1));
    let unknown: Vec<_> = prints.iter().filter(|printed| printed.fingerprint.is_none()).collect();
    assert!(matches!(unknown[..], [printed] if printed.directory.to_string() == "crowd/4"), "{unknown:?}");
    assert_eq!((count.entries, count.sockets), (2 * NAMES_PER_PART + 371, 1));
    for threads in [2, 4] {
        assert_eq!(source.surveyed(bounds(threads)), (one.clone(), count), "{threads} threads");
    }
}

#[test]
fn what_has_no_hash_is_unknown_too_until_it_is_recorded() {
    let mut source = Source::new();
    source.file("a/file");
    std::os::unix::fs::symlink("nowhere", source.at("a/symlink")).expect("a symlink");
    let known = |source: &Source| -> Vec<_> {
        let prints = source.surveyed(bounds(1)).0.expect("prints");
        prints.iter().map(|printed| printed.fingerprint.is_some()).collect()
    };
    source.record();
    assert_eq!(known(&source), [true, true]);
    for path in ["a/symlink", "a"] {
        source.catalog.remove(&RelPath::parse(path.as_bytes()).expect("a path")).expect("remove");
        assert!(!known(&source)[path.matches('/').count()], "{path}");
        source.record();
    }
}

#[test]
fn a_source_of_too_many_directories_for_all_threads_together_is_listed() {
    let source = Source::new();
    (0..40).for_each(|number| source.file(&format!("{}/{number}/file", number % 5)));
    let surveyed = |threads, directories| source.surveyed(SurveyBounds { directories, ..bounds(threads) }).0;
    for threads in [1, 4] {
        assert_eq!(surveyed(threads, 46).map(|prints| prints.len()), Some(46));
        assert_eq!(surveyed(threads, 45), None);
    }
}

#[test]
fn a_survey_ends_when_all_is_to_be_listed_and_when_nobody_is_there() {
    let source = Source::new();
    (0..40).for_each(|number| source.file(&format!("{}/{number}/file", number % 5)));
    for threads in [1, 4] {
        let (lister, mut listed) = source.lister();
        let (choose, choices) = mpsc::channel(1);
        choose.try_send(Choice::All).expect("room");
        let survey = lister.survey(choices, source.catalog.reader().expect("a reader"), bounds(threads));
        assert!(matches!(survey, Ok((Choice::All, _, Count { entries: 0, .. }))));
        assert_eq!(listed.try_recv().map(|_| ()), Err(TryRecvError::Empty));
        let (choose, choices) = mpsc::channel(1);
        drop(choose);
        let survey = lister.survey(choices, source.catalog.reader().expect("a reader"), bounds(threads));
        assert!(matches!(survey, Err(Error::Gone)));
    }
}
