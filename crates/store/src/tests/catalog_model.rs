//! Random histories of a catalog against a map of paths: the slow, obvious implementation.

use super::*;
use crate::Catalog;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Put(RelPath, Kind, u64),
    Remove(RelPath),
    Rename(RelPath, RelPath),
    /// Seals directories, as many rows at once.
    Seal(u64),
    /// Look up a path, so that the memory of directories is warm.
    Look(RelPath),
    Transaction {
        keep: bool,
        steps: Vec<Step>,
    },
}

/// Path to inode and kind; placeholders have inode 0.
type Model = BTreeMap<RelPath, (Kind, u64)>;

fn put(model: &mut Model, path: &RelPath, kind: Kind, inode: u64) {
    for above in path.ancestors() {
        if model.get(&above).is_none_or(|(kind, _)| *kind != Kind::Directory) {
            model.insert(above, (Kind::Directory, 0));
        }
    }
    if kind != Kind::Directory {
        model.retain(|known, _| !known.starts_with(path));
    }
    model.insert(path.clone(), (kind, inode));
}

fn remove(model: &mut Model, path: &RelPath) -> u64 {
    let before = model.len();
    model.retain(|known, _| !known.starts_with(path));
    (before - model.len()) as u64
}

/// Whether it was done; `None` when it is refused.
fn rename(model: &mut Model, from: &RelPath, to: &RelPath) -> Option<bool> {
    if from == to {
        return Some(model.contains_key(from));
    }
    if from.starts_with(to) || to.starts_with(from) {
        return None;
    }
    let Some(top) = model.get(from).copied() else { return Some(false) };
    let moved: Vec<_> = model.iter().filter_map(|(path, value)| Some((path.strip(from)?.under(to), *value))).collect();
    remove(model, from);
    remove(model, to);
    put(model, to, top.0, top.1);
    model.extend(moved);
    Some(true)
}

fn apply(catalog: &mut Catalog, model: &mut Model, step: &Step) {
    match step {
        Step::Put(path, kind, inode) => {
            catalog.put(path, &record(*kind, *inode)).expect("put");
            put(model, path, *kind, *inode);
        }
        Step::Remove(path) => assert_eq!(catalog.remove(path).expect("remove"), remove(model, path)),
        Step::Rename(from, to) => assert_eq!(catalog.rename(from, to).ok(), rename(model, from, to)),
        Step::Seal(rows) => drop(catalog.seal(*rows, seals::Plain::default).expect("seal")),
        Step::Look(path) => {
            let found = catalog.get(path).expect("get");
            assert_eq!(found.map(|record| (record.stat.kind, record.stat.inode)), model.get(path).copied());
        }
        Step::Transaction { keep, steps } => {
            let before = model.clone();
            catalog.begin().expect("begin");
            steps.iter().for_each(|step| apply(catalog, model, step));
            if *keep {
                catalog.commit().expect("commit");
            } else {
                catalog.rollback().expect("rollback");
                *model = before;
            }
        }
    }
}

/// Everything in the catalog by walking down, page by page.
fn walk(catalog: &Catalog, at: &RelPath, found: &mut Model) {
    let Some(record) = catalog.get(at).expect("get") else { return };
    found.insert(at.clone(), (record.stat.kind, record.stat.inode));
    let mut after = None;
    loop {
        let page = catalog.children(at, after.as_ref(), 2).expect("children");
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        page.iter().for_each(|(name, _)| walk(catalog, &at.join(name), found));
    }
}

fn check(catalog: &Catalog, model: &Model) {
    let mut found = Model::new();
    walk(catalog, &RelPath::root(), &mut found);
    assert_eq!(&found, model);
    assert_eq!(catalog.count().expect("count"), model.len() as u64, "no row out of reach");
    for path in model.keys() {
        seals::check(catalog, path);
        let below = model.keys().filter(|known| known.starts_with(path)).count() as u64;
        assert_eq!(catalog.count_below(path, u64::MAX).expect("count_below"), below);
        assert_eq!(catalog.count_below(path, 2).expect("count_below"), below.min(2));
    }
    for inode in 1..6 {
        let mut names: Vec<_> =
            catalog.names_of(inode, 99).expect("names_of").into_iter().map(|(path, _)| path).collect();
        names.sort();
        let expected: Vec<_> =
            model.iter().filter(|(_, value)| value.1 == inode).map(|(path, _)| path.clone()).collect();
        assert_eq!(names, expected, "names of inode {inode}");
    }
}

fn paths() -> impl Strategy<Value = RelPath> {
    proptest::collection::vec("[abc]", 0..4).prop_map(|names| path(&names.join("/")))
}

fn steps() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just(Kind::File), Just(Kind::Directory)];
    let step = prop_oneof![
        4 => (paths(), kind, 1u64..6).prop_map(|(path, kind, inode)| Step::Put(path, kind, inode)),
        1 => paths().prop_map(Step::Remove),
        3 => (paths(), paths()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => paths().prop_map(Step::Look),
        2 => prop_oneof![Just(u64::MAX), 1u64..6].prop_map(Step::Seal),
    ];
    prop_oneof![
        6 => step.clone(),
        1 => (any::<bool>(), proptest::collection::vec(step, 0..6))
            .prop_map(|(keep, steps)| Step::Transaction { keep, steps }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn any_history_leaves_what_the_obvious_map_would_hold(steps in proptest::collection::vec(steps(), 0..40)) {
        let mut catalog = Catalog::in_memory().expect("in memory");
        let mut model = Model::new();
        for step in &steps {
            apply(&mut catalog, &mut model, step);
            check(&catalog, &model);
        }
    }
}
