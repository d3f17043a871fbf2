//! Claims about what a replica keeps.

use super::*;
use crate::{Error, Intent, Quarantined, ReplicaStore};
use fulmar_model::Seq;

fn store() -> ReplicaStore {
    ReplicaStore::in_memory().expect("in memory")
}

fn intent(text: &str, inode: u64, from: Option<&str>) -> Intent {
    Intent { path: path(text), record: file(inode), from: from.map(path) }
}

#[test]
fn the_position_is_set_replaced_and_cleared() {
    let mut store = store();
    assert_eq!(store.position().expect("position"), None);
    store.set_position(queue_id(1), Seq(5)).expect("set");
    store.set_position(queue_id(2), Seq(3)).expect("set");
    assert_eq!(store.position().expect("position"), Some((queue_id(2), Seq(3))));
    store.clear_position().expect("clear");
    assert_eq!(store.position().expect("position"), None);
}

#[test]
fn rows_position_and_intents_change_in_one_commit_or_not_at_all() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let at = folder.path().join("store.db");
    let (mut store, _) = ReplicaStore::open(&at).expect("open");
    let intents = [intent("b", 2, Some("a")), intent("a", 1, None), intent("b", 3, None)];
    store.intend(&intents).expect("intend");
    let batch = |store: &mut ReplicaStore| {
        store.begin().expect("begin");
        store.catalog_mut().put(&path("b"), &file(2)).expect("put");
        store.set_position(queue_id(1), Seq(9)).expect("set");
        store.clear_intents().expect("clear");
    };
    batch(&mut store);
    // A crash before the commit.
    drop(store);
    let (mut store, _) = ReplicaStore::open(&at).expect("open");
    assert_eq!(store.intents().expect("intents"), intents, "in the order given");
    assert_eq!(store.position().expect("position"), None);
    assert_eq!(store.catalog().get(&path("b")).expect("get"), None);
    batch(&mut store);
    store.commit().expect("commit");
    drop(store);
    let (store, _) = ReplicaStore::open(&at).expect("open");
    assert_eq!(store.intents().expect("intents"), []);
    assert_eq!(store.position().expect("position"), Some((queue_id(1), Seq(9))));
    assert_eq!(store.catalog().get(&path("b")).expect("get"), Some(file(2)));
}

#[test]
fn an_intent_that_would_not_be_durable_is_refused() {
    let mut store = store();
    store.begin().expect("begin");
    let result = store.intend(&[intent("a", 1, None)]);
    assert!(matches!(result, Err(Error::InTransaction { .. })), "{result:?}");
}

#[test]
fn an_intent_whose_record_is_none_is_damage() {
    let mut store = store();
    store.intend(&[intent("a", 1, None)]).expect("intend");
    store.catalog().connection.execute("UPDATE intents SET record = x'00'", []).expect("damage");
    let result = store.intents();
    assert!(result.as_ref().is_err_and(Error::is_damage), "{result:?}");
}

#[test]
fn extras_are_a_set_and_are_paged() {
    let mut store = store();
    for text in ["b", "a", "b", "a/c"] {
        store.extra_add(&path(text)).expect("add");
    }
    assert_eq!(store.extras_count().expect("count"), 3);
    assert_eq!(store.extras(None, 2).expect("extras"), [path("a"), path("a/c")]);
    assert_eq!(store.extras(Some(&path("a/c")), 2).expect("extras"), [path("b")]);
    store.extras_clear().expect("clear");
    assert_eq!(store.extras_count().expect("count"), 0);
}

#[test]
fn the_quarantine_lists_each_number_once_and_every_number() {
    let mut store = store();
    let item = |id, text: &str| Quarantined { id, path: path(text), stored_as: vec![0xff, 1], when_ms: -1, why: 255 };
    let ids = [1, 2, i64::MAX as u64, 1 << 63, u64::MAX];
    for id in ids {
        store.quarantine_add(&item(id, "old")).expect("add");
        store.quarantine_add(&item(id, "new")).expect("add");
    }
    assert_eq!(store.quarantine_count().expect("count"), 5);
    let mut seen = Vec::new();
    loop {
        let page = store.quarantined(seen.last().copied(), 2).expect("page");
        if page.is_empty() {
            break;
        }
        for row in page {
            assert_eq!(row, item(row.id, "new"));
            seen.push(row.id);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, ids);
}
