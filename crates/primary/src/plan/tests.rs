//! A source on disk, a catalog in memory, and the steps that come out.

use super::*;
use crate::guard::{GuardState, LIMITS};
use fulmar_model::Id;
use std::fs;

/// Word and path of every operation for these paths of a source, for the only replica there is.
fn operations(source: &tempfile::TempDir, catalog: &mut Catalog, asked: &[(&str, Have)]) -> Vec<String> {
    let tree = Tree::open(source.path()).expect("a directory");
    let (filter, mut guard) = (Filter::default(), Guard::new(LIMITS, GuardState::Clear));
    let mood = Mood::One { replica: ReplicaId(Id([1; 16])), shared: false };
    let mut plan = Plan::new(&tree, (catalog, &filter, &mut guard), 0, mood);
    let asked = asked.iter().map(|(path, have)| (RelPath::parse(path.as_bytes()).expect("a path"), *have));
    plan.paths(&mut asked.collect()).expect("a plan");
    let word = |step: Step| match step.action {
        Action::Operate { word, .. } => Some(format!("{word} {}", step.path)),
        _ => None,
    };
    plan.finish().expect("a plan").steps.into_iter().filter_map(word).collect()
}

#[test]
fn names_of_one_inode_are_linked_however_each_is_asked_for() {
    let source = tempfile::tempdir().expect("a directory");
    fs::write(source.path().join("one"), "content").expect("a file");
    fs::hard_link(source.path().join("one"), source.path().join("other")).expect("a link");
    let mut catalog = Catalog::in_memory().expect("a catalog");
    let first = operations(&source, &mut catalog, &[("one", Have::Missing), ("other", Have::Missing)]);
    assert_eq!(first, ["put one", "link other", "times ."]);
    for (one, other) in
        [(Have::Nothing, Have::Nothing), (Have::Nothing, Have::NothingTorn), (Have::NothingTorn, Have::NothingTorn)]
    {
        let again = operations(&source, &mut catalog, &[("one", one), ("other", other)]);
        assert_eq!(again, ["put one", "link other", "times ."], "asked for as {one:?} and {other:?}");
    }
}
