//! Claims about files of an older layout; what the released ones hold is in `golden`.

use super::*;
use crate::schema::{self, Layout, Step};
use crate::{Catalog, Error, Opened, Rebuilt};
use rusqlite::{Connection, params};
use std::fs;
use std::path::{Path, PathBuf};

/// A catalog of layout 1 with a directory of `rows` files.
fn first_layout(folder: &Path, rows: i64) -> PathBuf {
    let at = folder.join("catalog.db");
    let raw = Connection::open(&at).expect("open");
    raw.execute_batch("PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; BEGIN").expect("begin");
    raw.execute_batch(include_str!("../sql/catalog_1.sql")).expect("create");
    let insert = "INSERT INTO nodes VALUES (?1, ?2, ?3, ?4, ?5, 1, 420, 7, 8, ?5 * 3, 15000000000, ?5, -5, 2, NULL, \
                  NULL, zeroblob(32), NULL, 1)";
    raw.execute(insert, params![0, b"", 1, 2, 1]).expect("root");
    for n in 0..rows {
        raw.execute(
            insert,
            params![1, format!("a name of average length, number {n:06}").as_bytes(), None::<i64>, 1, n + 2],
        )
        .expect("insert");
    }
    let id = schema::CATALOG.application_id;
    raw.execute_batch(&format!("PRAGMA application_id = {id}; PRAGMA user_version = 1; COMMIT")).expect("commit");
    at
}

fn files(catalog: &Catalog) -> Vec<(Name, Record)> {
    let mut all: Vec<(Name, Record)> = Vec::new();
    loop {
        let after = all.last().map(|(name, _)| name.clone());
        let page = catalog.children(&RelPath::root(), after.as_ref(), 700).expect("children");
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

fn expect_files(catalog: &Catalog, rows: u64) {
    let all = files(catalog);
    assert_eq!(all.len() as u64, rows);
    for (number, (file, record)) in (0..).zip(all) {
        assert_eq!(file, name(&format!("a name of average length, number {number:06}")));
        let (stat, inode) = (record.stat, number + 2);
        assert_eq!((stat.kind, stat.inode, stat.size, stat.links, stat.mode), (Kind::File, inode, inode * 3, 1, 0o644));
        assert_eq!((stat.uid, stat.gid, record.settled), (7, 8, true));
        assert_eq!((stat.mtime, stat.ctime), (Timestamp::new(15_000_000_000, inode as u32), Timestamp::new(-5, 2)));
        assert_eq!((record.hash, record.xattrs, record.group), (Some(Hash([0; 32])), XattrDigest::default(), None));
    }
}

#[test]
fn a_file_of_layout_1_is_migrated_whole_and_is_smaller() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let at = first_layout(folder.path(), 5000);
    let before = fs::metadata(&at).expect("metadata").len();
    let (catalog, opened) = Catalog::open(&at).expect("open");
    assert_eq!(opened, Opened::Existing);
    expect_files(&catalog, 5000);
    assert_eq!(catalog.names_of(77, 9).expect("names_of").len(), 1);
    assert_eq!(catalog.count().expect("count"), 5001);
    let after = fs::metadata(&at).expect("metadata").len();
    assert!(after < before, "{before} bytes became {after}: the old table's space was not given back");
}

/// Where the copies of a crash go: a migration is a plain function.
fn crash_folder(connection: &Connection) -> PathBuf {
    Path::new(connection.path().expect("a file")).with_extension("crashed")
}

/// Copies file and log as they are, in the middle of the transaction, with all it has written so far.
fn crash(connection: &Connection) -> rusqlite::Result<()> {
    let Some(at) = connection.path().filter(|path| !path.is_empty()).map(PathBuf::from) else { return Ok(()) };
    connection.cache_flush()?;
    let to = crash_folder(connection);
    fs::create_dir(&to).expect("create_dir");
    for name in ["catalog.db", "catalog.db-wal"] {
        fs::copy(at.with_file_name(name), to.join(name)).expect("copy");
    }
    Ok(())
}

#[test]
fn a_crash_in_the_middle_of_a_migration_leaves_layout_1() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let at = first_layout(folder.path(), 5000);
    let whole = schema::CATALOG.migrations[1];
    for parts in 1..=whole.len() {
        let steps: Vec<Step> =
            whole[..parts].iter().copied().chain([Step::Code(crash)]).chain(whole[parts..].iter().copied()).collect();
        let layout =
            Layout { migrations: Vec::leak(vec![schema::CATALOG.migrations[0], Vec::leak(steps)]), ..schema::CATALOG };
        let copy = folder.path().join(format!("{parts}")).join("catalog.db");
        fs::create_dir(copy.parent().expect("above")).and_then(|()| fs::copy(&at, &copy)).expect("copy");
        drop(Catalog::open_as(&copy, &layout).expect("open"));
        let crashed = copy.with_extension("crashed").join("catalog.db");
        let log = fs::metadata(crashed.with_file_name("catalog.db-wal")).expect("log").len();
        assert!(log > 8192, "after part {parts} something was written: {log} bytes");
        let raw = Connection::open(&crashed).expect("open");
        let version: i64 = raw.pragma_query_value(None, "user_version", |row| row.get(0)).expect("pragma");
        let kinds: i64 = raw.query_row("SELECT count(kind) FROM nodes", [], |row| row.get(0)).expect("layout 1");
        assert_eq!((version, kinds), (1, 5001), "after part {parts}");
        drop(raw);
        let (catalog, opened) = Catalog::open(&crashed).expect("open");
        assert_eq!(opened, Opened::Existing);
        expect_files(&catalog, 5000);
    }
}

#[test]
fn an_old_file_with_a_row_that_says_nothing_sensible_is_begun_anew() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let at = first_layout(folder.path(), 50);
    Connection::open(&at)
        .and_then(|raw| raw.execute_batch("UPDATE nodes SET kind = 9 WHERE inode = 40"))
        .expect("damage");
    let (catalog, opened) = Catalog::open(&at).expect("open");
    assert_eq!(opened, Opened::Rebuilt { reason: Rebuilt::Damaged });
    assert_eq!(catalog.count().expect("count"), 0);
    assert!(folder.path().join("catalog.db.damaged-1").exists());
}

#[test]
fn a_catalog_of_a_newer_layout_is_refused_and_left_untouched() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let at = folder.path().join("catalog.db");
    drop(Catalog::open(&at).expect("open"));
    Connection::open(&at).and_then(|raw| raw.execute_batch("PRAGMA user_version = 4")).expect("raise");
    let content = fs::read(&at).expect("read");
    let Err(error) = Catalog::open(&at) else { panic!("opened") };
    assert!(matches!(error, Error::Newer { found: 4, known: 3, .. }), "{error:?}");
    assert_eq!(fs::read(&at).expect("read"), content);
}

#[test]
fn bytes_that_are_no_record_are_damage_where_they_are_read() {
    for wreck in
        ["x''", "x'00'", "x'ffffffff00'", "zeroblob(60)", "substr(record, 1, 20)", "CAST(record || x'00' AS BLOB)"]
    {
        let folder = tempfile::tempdir().expect("temporary directory");
        let at = folder.path().join("catalog.db");
        let mut catalog = Catalog::open(&at).expect("open").0;
        catalog.put(&path("a/b"), &file(7)).expect("put");
        drop(catalog);
        let raw = Connection::open(&at).expect("open");
        raw.execute_batch(&format!("UPDATE nodes SET record = {wreck} WHERE inode = 7")).expect(wreck);
        drop(raw);
        let mut catalog = Catalog::open(&at).expect("open").0;
        let errors = [
            catalog.get(&path("a/b")).map(drop),
            catalog.children(&path("a"), None, 9).map(drop),
            catalog.names_of(7, 9).map(drop),
            catalog.touch_inode(7, Timestamp::default(), 2).map(drop),
        ];
        for error in errors {
            assert!(error.as_ref().is_err_and(Error::is_damage), "{wreck}: {error:?}");
        }
    }
}
