//! Files written by each released layout, kept in fixtures/store, open with today's program and say the same.
//!
//! `FULMAR_WRITE_FIXTURES=1 cargo test -p fulmar-store golden` writes those of the present layout, which is done once,
//! when it is released.

use super::queue::suspect;
use super::verified::{round, verified};
use super::*;
use crate::{
    Ack, Catalog, CatalogReader, Intent, NewChange, Opened, Outstanding, Quarantined, Queue, ReplicaStore, Work,
};
use fulmar_model::{Depth, HeldReason, LinkGroup, Scope, Seq};
use std::fs;
use std::path::{Path, PathBuf};

fn fixtures(layout: u8) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../fixtures/store/v{layout}"))
}

/// The files of each layout; where one did not change, it is the one before.
const FILES: [(u8, &[&str]); 3] = [
    (1, &["queue.db", "catalog.db", "replica.db"]),
    (2, &["queue.db", "catalog.db", "replica.db"]),
    (3, &["catalog.db", "replica.db"]),
];

/// A folder with the newest files of each kind up to `layout`.
fn golden(layout: u8) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary directory");
    for (of, names) in FILES.iter().filter(|(of, _)| *of <= layout) {
        for name in *names {
            fs::copy(fixtures(*of).join(name), folder.path().join(name)).expect("copy");
        }
    }
    folder
}

fn layout_of(file: &Path) -> i64 {
    let raw = rusqlite::Connection::open(file).expect("open");
    raw.pragma_query_value(None, "user_version", |row| row.get(0)).expect("pragma")
}

fn outstanding() -> Outstanding {
    let work = Work::Held { reason: HeldReason::Approval, errno: 0 };
    Outstanding { path: path("held"), work, since_ms: 10, attempts: 1, retry_ms: i64::MAX, after: Some(path("other")) }
}

fn special() -> Record {
    let mut special = record(Kind::CharDevice, u64::MAX);
    special.stat.node = Device { major: 5, minor: 1 };
    special.xattrs = XattrDigest([3; 16]);
    special.group = Some(LinkGroup(1 << 63));
    special.settled = false;
    special
}

fn intent() -> Intent {
    Intent { path: path("to"), record: file(4), from: Some(path("from")) }
}

fn quarantined() -> Quarantined {
    Quarantined { id: 1, path: path("theirs"), stored_as: b"1-\xff".to_vec(), when_ms: 12, why: 2 }
}

fn write(folder: &Path) {
    let (mut queue, _) = Queue::open(&folder.join("queue.db"), queue_id(1)).expect("open");
    queue.put(&[suspect("a", 1), NewChange { scope: Scope::Tree, ..suspect("b/\u{e9}", 2) }]).expect("put");
    queue.take(1).expect("take");
    queue.register(replica_id(7), "far").expect("register");
    queue.register(replica_id(8), "new").expect("register");
    let add = [outstanding()];
    let ack = Ack { cursor: Some(Seq(1)), add: &add, ..Ack::default() };
    queue.acknowledge(replica_id(7), ack).expect("acknowledge");
    queue.meta_set("guard", b"\x01\x02").expect("set");
    queue.note_round(Depth::Deep, &round(Some("d/e"), false), &[(replica_id(7), verified(5))]).expect("note");
    queue.checkpoint().expect("checkpoint");

    let (mut catalog, _) = Catalog::open(&folder.join("catalog.db")).expect("open");
    fill(&mut catalog);
    catalog.checkpoint().expect("checkpoint");

    let (mut store, _) = ReplicaStore::open(&folder.join("replica.db")).expect("open");
    fill(store.catalog_mut());
    store.set_position(queue_id(1), Seq(1)).expect("set");
    store.intend(&[intent()]).expect("intend");
    store.extra_add(&path("extra")).expect("add");
    store.quarantine_add(&quarantined()).expect("add");
    store.checkpoint().expect("checkpoint");
}

fn fill(catalog: &mut Catalog) {
    catalog.put(&path("d/e/f"), &file(3)).expect("put");
    catalog.put(&path("d"), &directory(2)).expect("put");
    catalog.put(&path("special"), &special()).expect("put");
    catalog.seal(u64::MAX, super::seals::Plain::default).expect("seal");
}

fn expect_catalog(catalog: &Catalog) {
    let get = |text: &str| catalog.get(&path(text)).expect("get");
    assert_eq!((get("d/e/f"), get("d"), get("special")), (Some(file(3)), Some(directory(2)), Some(special())));
    assert!(!get("d/e").expect("placeholder").settled);
    assert_eq!(catalog.count().expect("count"), 5);
    let group = catalog.names_in_group(LinkGroup(1 << 63), 9).expect("names_in_group");
    assert_eq!(group, [(path("special"), special())]);
}

/// Layout 1 knew none.
fn expect_rounds(folder: &Path, known: bool) {
    let (queue, _) = Queue::open(&folder.join("queue.db"), queue_id(9)).expect("open");
    let expected = known.then(|| round(Some("d/e"), false));
    assert_eq!(queue.round(Depth::Deep).expect("round"), expected);
    let rounds = queue.verified(replica_id(7)).expect("verified");
    assert_eq!((rounds.under_way, rounds.quick, rounds.deep), (known.then(|| verified(5)), None, None));
}

fn expect(folder: &Path) {
    let (mut queue, opened) = Queue::open(&folder.join("queue.db"), queue_id(9)).expect("open");
    assert_eq!((opened, queue.id(), queue.last()), (Opened::Existing, queue_id(1), Seq(2)));
    assert!(!queue.can_resume(Seq(0)).expect("can_resume"));
    let rows = queue.take(9).expect("take");
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((row.seq, &row.path, row.scope, row.first_seen_ms), (Seq(2), &path("b/\u{e9}"), Scope::Tree, 2));
    let replicas = queue.replicas().expect("replicas");
    let replicas: Vec<_> = replicas.iter().map(|row| (row.id, row.name.as_str(), row.cursor)).collect();
    assert_eq!(replicas, [(replica_id(7), "far", Some(Seq(1))), (replica_id(8), "new", None)]);
    assert_eq!(queue.outstanding(replica_id(7), None, 9).expect("outstanding"), [outstanding()]);
    assert_eq!(queue.meta_get("guard").expect("get"), Some(vec![1, 2]));

    let (catalog, opened) = Catalog::open(&folder.join("catalog.db")).expect("open");
    assert_eq!(opened, Opened::Existing);
    expect_catalog(&catalog);

    let (store, opened) = ReplicaStore::open(&folder.join("replica.db")).expect("open");
    assert_eq!(opened, Opened::Existing);
    expect_catalog(store.catalog());
    assert_eq!(store.position().expect("position"), Some((queue_id(1), Seq(1))));
    assert_eq!(store.intents().expect("intents"), [intent()]);
    assert_eq!(store.extras(None, 9).expect("extras"), [path("extra")]);
    assert_eq!(store.quarantined(None, 9).expect("quarantined"), [quarantined()]);
}

#[test]
fn what_is_written_today_reads_back_after_reopening() {
    let folder = tempfile::tempdir().expect("temporary directory");
    write(folder.path());
    expect(folder.path());
    expect_rounds(folder.path(), true);
    if std::env::var_os("FULMAR_WRITE_FIXTURES").is_some() {
        let fresh = tempfile::tempdir().expect("temporary directory");
        write(fresh.path());
        let (layout, names) = FILES[FILES.len() - 1];
        fs::create_dir_all(fixtures(layout)).expect("create_dir_all");
        for name in names {
            fs::copy(fresh.path().join(name), fixtures(layout).join(name)).expect("copy");
        }
    }
}

#[test]
fn golden_files_of_layout_1_say_what_they_said() {
    let folder = golden(1);
    assert_eq!(layout_of(&folder.path().join("catalog.db")), 1, "the fixture is what it says");
    expect(folder.path());
    let layouts = ["queue.db", "catalog.db", "replica.db"].map(|name| layout_of(&folder.path().join(name)));
    assert_eq!(layouts, [2, 3, 3]);
    // From here on they are like any other.
    expect(folder.path());
    expect_rounds(folder.path(), false);
}

#[test]
fn golden_files_of_layout_2_say_what_they_said() {
    let folder = golden(2);
    assert_eq!(layout_of(&folder.path().join("catalog.db")), 2, "the fixture is what it says");
    expect(folder.path());
    expect_rounds(folder.path(), true);
}

#[test]
fn golden_files_of_layout_3_say_what_they_said() {
    let folder = golden(3);
    let (catalog, replica) = (folder.path().join("catalog.db"), folder.path().join("replica.db"));
    assert_eq!((layout_of(&catalog), layout_of(&replica)), (3, 3), "the fixtures are what they say");
    expect(folder.path());
    for reader in [CatalogReader::open_catalog(&catalog), CatalogReader::open_replica(&replica)] {
        let seal = reader.expect("open").seal_of(&path("d/e")).expect("seal_of").expect("a seal");
        assert_eq!((seal.directories, seal.key), (0, seal.leaves));
    }
    expect_rounds(folder.path(), true);
}
