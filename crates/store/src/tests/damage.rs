//! Claims about files that are not what they should be.

use super::queue::suspect;
use super::verified::{round, verified};
use super::*;
use crate::{Catalog, Error, Opened, Queue, Rebuilt, ReplicaStore, set_aside};
use fulmar_model::{Depth, Seq};
use std::fs;
use std::path::{Path, PathBuf};

/// A queue.db of some thousand rows, closed.
fn filled() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("temporary directory");
    let at = folder.path().join("queue.db");
    let (mut queue, _) = Queue::open(&at, queue_id(1)).expect("open");
    let many: Vec<_> = (0..5000).map(|n| suspect(&format!("some/directory/{n}"), n)).collect();
    queue.put(&many).expect("put");
    drop(queue);
    (folder, at)
}

fn overwrite(at: &Path, offset: usize, bytes: &[u8]) {
    let mut content = fs::read(at).expect("read");
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
    fs::write(at, content).expect("write");
}

fn cut(at: &Path, length: u64) {
    fs::File::options().write(true).open(at).and_then(|file| file.set_len(length)).expect("cut");
}

/// What is done to a file, in words and in deed.
type Wreck = (&'static str, fn(&Path));

/// Not random, but no b-tree page.
fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|n| ((n * 2_654_435_761) >> 7) as u8 | 0x81).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("read_dir");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("entry").file_name().into_string().expect("utf-8")).collect();
    names.sort();
    names
}

#[test]
fn what_is_no_database_is_set_aside_and_begun_anew() {
    let wreck: [Wreck; 5] = [
        ("cut to 100 bytes", |at| cut(at, 100)),
        ("cut to 10 bytes", |at| cut(at, 10)),
        ("another magic", |at| overwrite(at, 0, b"GARBAGE")),
        ("first page overwritten behind the header", |at| overwrite(at, 100, &noise(8092))),
        ("text", |at| fs::write(at, "not a database\n".repeat(1000)).expect("write")),
    ];
    for (what, wreck) in wreck {
        let (folder, at) = filled();
        wreck(&at);
        let broken = fs::read(&at).expect("read");
        let (mut queue, opened) = Queue::open(&at, queue_id(2)).expect(what);
        assert_eq!(opened, Opened::Rebuilt { reason: Rebuilt::Damaged }, "{what}");
        assert_eq!((queue.id(), queue.last()), (queue_id(2), Seq(0)), "{what}");
        assert_eq!(queue.put(&[suspect("a", 1)]).expect("put"), Seq(1));
        assert_eq!(fs::read(folder.path().join("queue.db.damaged-1")).expect("kept"), broken, "{what}");
    }
}

#[test]
fn damage_further_in_is_reported_where_it_is_met_and_cured_by_setting_aside() {
    let (folder, at) = filled();
    overwrite(&at, 20 * 8192, &noise(8 * 8192));
    let (mut queue, opened) = Queue::open(&at, queue_id(2)).expect("the first and the last pages are sound");
    assert_eq!(opened, Opened::Existing);
    let error = queue.take(9999).expect_err("the rows are not");
    assert!(error.is_damage(), "{error:?}");
    drop(queue);
    set_aside(&at).expect("set aside");
    assert_eq!(names(folder.path()), ["queue.db.damaged-1"]);
    assert_eq!(Queue::open(&at, queue_id(2)).expect("open").1, Opened::Created);
}

#[test]
fn values_this_program_never_writes_are_damage() {
    for wreck in [
        "UPDATE changes SET path = x'2f' WHERE seq = 1",
        "UPDATE changes SET scope = 7 WHERE seq = 1",
        "INSERT INTO changes (seq, path, scope, first_seen) VALUES (-9, x'61', 0, 0)",
    ] {
        let (_folder, at) = filled();
        let raw = rusqlite::Connection::open(&at).expect("open");
        raw.execute_batch(wreck).expect(wreck);
        let mut queue = Queue::open(&at, queue_id(2)).expect("open").0;
        queue.rewind();
        let error = queue.take(1).and_then(|_| queue.find(&path("a"))).expect_err(wreck);
        assert!(error.is_damage(), "{wreck}: {error:?}");
    }
}

#[test]
fn results_of_verifications_that_nobody_wrote_are_damage_when_opened() {
    for wreck in [
        "UPDATE rounds SET upto = x'2f'",
        "UPDATE rounds SET entries = -1",
        "UPDATE verified SET busy = -1",
        "UPDATE differences SET aspect = 'taste' WHERE aspect = 'extra'",
    ] {
        let (_folder, at) = filled();
        let mut queue = Queue::open(&at, queue_id(1)).expect("open").0;
        queue.register(replica_id(1), "name").expect("register");
        queue.note_round(Depth::Deep, &round(Some("a"), false), &[(replica_id(1), verified(5))]).expect("note");
        drop(queue);
        assert_eq!(Queue::open(&at, queue_id(2)).expect("open").1, Opened::Existing);
        rusqlite::Connection::open(&at).and_then(|raw| raw.execute_batch(wreck)).expect(wreck);
        let opened = Queue::open(&at, queue_id(2)).expect(wreck).1;
        assert_eq!(opened, Opened::Rebuilt { reason: Rebuilt::Damaged }, "{wreck}");
    }
}

#[test]
fn a_state_that_contradicts_the_rows_is_damage_when_opened() {
    for wreck in ["DELETE FROM state", "UPDATE state SET last = 3", "UPDATE state SET last = -1", "DROP TABLE meta"] {
        let (_folder, at) = filled();
        rusqlite::Connection::open(&at).and_then(|raw| raw.execute_batch(wreck)).expect(wreck);
        let (queue, opened) = Queue::open(&at, queue_id(2)).expect(wreck);
        assert_eq!(opened, Opened::Rebuilt { reason: Rebuilt::Damaged }, "{wreck}");
        assert_eq!(queue.id(), queue_id(2));
    }
}

#[test]
fn one_damaged_file_is_kept_and_no_more() {
    let (folder, at) = filled();
    for _ in 0..3 {
        fs::write(&at, "not a database").expect("write");
        drop(Queue::open(&at, queue_id(2)).expect("open"));
    }
    assert_eq!(names(folder.path()), ["queue.db", "queue.db.damaged-3"]);
}

#[test]
fn the_log_goes_aside_with_its_file_and_goes_with_it_later() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let at = folder.path().join("queue.db");
    for name in
        ["queue.db", "queue.db-wal", "queue.db-shm", "queue.db.damaged-7", "queue.db.damaged-7-wal", "x.damaged-1"]
    {
        fs::write(folder.path().join(name), "").expect("write");
    }
    assert_eq!(set_aside(&at).expect("set aside"), folder.path().join("queue.db.damaged-8"));
    assert_eq!(names(folder.path()), ["queue.db.damaged-8", "queue.db.damaged-8-wal", "x.damaged-1"]);
}

#[test]
fn an_empty_file_is_filled_and_said_to_be_rebuilt() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let at = folder.path().join("catalog.db");
    fs::write(&at, "").expect("write");
    let (catalog, opened) = Catalog::open(&at).expect("open");
    assert_eq!(opened, Opened::Rebuilt { reason: Rebuilt::Empty });
    drop(catalog);
    assert_eq!(Catalog::open(&at).expect("open").1, Opened::Existing);
    assert_eq!(names(folder.path()), ["catalog.db"]);
}

#[test]
fn a_database_of_something_else_is_set_aside_whole() {
    let (folder, at) = filled();
    let content = fs::read(&at).expect("read");
    let (_, opened) = ReplicaStore::open(&at).expect("open");
    assert_eq!(opened, Opened::Rebuilt { reason: Rebuilt::WrongApplication });
    assert_eq!(fs::read(folder.path().join("queue.db.damaged-1")).expect("kept"), content);
    let other = folder.path().join("other.db");
    rusqlite::Connection::open(&other).and_then(|raw| raw.execute_batch("CREATE TABLE theirs (x)")).expect("create");
    let (_, opened) = Catalog::open(&other).expect("open");
    assert_eq!(opened, Opened::Rebuilt { reason: Rebuilt::WrongApplication });
}

#[test]
fn a_newer_file_is_refused_and_left_untouched() {
    let (folder, at) = filled();
    rusqlite::Connection::open(&at).and_then(|raw| raw.execute_batch("PRAGMA user_version = 99")).expect("raise");
    let content = fs::read(&at).expect("read");
    let Err(error) = Queue::open(&at, queue_id(2)) else { panic!("opened") };
    assert!(matches!(error, Error::Newer { found: 99, known: 2, .. }), "{error:?}");
    assert!(!error.is_damage());
    assert_eq!(fs::read(&at).expect("read"), content);
    assert_eq!(names(folder.path()), ["queue.db"]);
}

#[test]
fn a_newer_version_that_still_waits_in_the_log_is_left_there() {
    let (folder, at) = filled();
    let raw = rusqlite::Connection::open(&at).expect("open");
    raw.execute_batch("PRAGMA user_version = 99").expect("raise");
    // Copied while the log is not yet written back, as a crash would leave it.
    let copy = folder.path().join("copy.db");
    let log = folder.path().join("copy.db-wal");
    fs::copy(&at, &copy).and_then(|_| fs::copy(folder.path().join("queue.db-wal"), &log)).expect("copy");
    let before = (fs::read(&copy).expect("read"), fs::read(&log).expect("read"));
    let Err(error) = Queue::open(&copy, queue_id(2)) else { panic!("opened") };
    assert!(matches!(error, Error::Newer { found: 99, .. }), "{error:?}");
    assert_eq!((fs::read(&copy).expect("read"), fs::read(&log).expect("read")), before);
}

#[test]
fn a_directory_in_the_place_of_the_file_is_named_and_left() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let at = folder.path().join("queue.db");
    fs::create_dir(&at).expect("create_dir");
    let Err(error) = Queue::open(&at, queue_id(1)) else { panic!("opened") };
    assert!(matches!(error, Error::NotAFile { .. }), "{error:?}");
    assert_eq!(names(folder.path()), ["queue.db"]);
}

#[test]
fn a_missing_state_directory_is_an_error_and_no_damage() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let Err(error) = Queue::open(&folder.path().join("none/queue.db"), queue_id(1)) else { panic!("opened") };
    assert!(matches!(error, Error::Access { .. }), "{error:?}");
}

#[test]
fn a_file_somebody_else_writes_is_locked_for_opening_and_for_writing() {
    let (_folder, at) = filled();
    let (mut queue, _) = Queue::open(&at, queue_id(1)).expect("open");
    let other = rusqlite::Connection::open(&at).expect("open");
    other.execute_batch("BEGIN IMMEDIATE").expect("lock");
    let put = queue.put(&[suspect("a", 1)]);
    assert!(matches!(put, Err(Error::Locked { .. })), "{put:?}");
    assert_eq!(queue.last(), Seq(5000), "nothing was given");
    let Err(error) = Queue::open(&at, queue_id(1)) else { panic!("opened") };
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    other.execute_batch("ROLLBACK").expect("unlock");
    assert_eq!(queue.put(&[suspect("a", 1)]).expect("put"), Seq(5001));
}

#[test]
fn every_connection_has_the_promised_settings() {
    let (folder, at) = filled();
    let (queue, _) = Queue::open(&at, queue_id(1)).expect("open");
    let (catalog, _) = Catalog::open(&folder.path().join("catalog.db")).expect("open");
    let (store, _) = ReplicaStore::open(&folder.path().join("store.db")).expect("open");
    for connection in [&queue.connection, &catalog.connection, &store.catalog().connection] {
        let text =
            |pragma: &str| -> String { connection.pragma_query_value(None, pragma, |row| row.get(0)).expect("pragma") };
        let number =
            |pragma: &str| -> i64 { connection.pragma_query_value(None, pragma, |row| row.get(0)).expect("pragma") };
        assert_eq!(text("journal_mode"), "wal");
        assert_eq!(number("synchronous"), 1);
        assert_eq!((number("page_size"), number("trusted_schema")), (8192, 0));
    }
}
