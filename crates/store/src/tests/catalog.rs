//! Claims about the catalog that a table of cases states best; random histories are in `catalog_model`.

use super::*;
use crate::catalog::NEXT_NAME_OF;
use crate::reader::{CHILDREN, NAMES_IN_GROUP, NAMES_OF};
use crate::{Catalog, CatalogReader, Error, ReplicaStore};
use fulmar_model::{LinkGroup, NAME_BYTES_MAX};

fn catalog(rows: &[(&str, Record)]) -> Catalog {
    let mut catalog = Catalog::in_memory().expect("in memory");
    for (text, record) in rows {
        catalog.put(&path(text), record).expect("put");
    }
    catalog
}

fn get(catalog: &CatalogReader, text: &str) -> Option<Record> {
    catalog.get(&path(text)).expect("get")
}

#[test]
fn every_field_of_a_record_reads_back() {
    let mut catalog = catalog(&[]);
    let mut odd = file(u64::MAX);
    odd.stat.kind = Kind::CharDevice;
    odd.stat.links = u32::MAX;
    odd.stat.mode = 0o7777;
    odd.stat.size = u64::MAX - 1;
    odd.stat.node = Device { major: u32::MAX, minor: 7 };
    odd.stat.mtime = Timestamp::new(i64::MIN, 999_999_999);
    odd.xattrs = XattrDigest([9; 16]);
    odd.group = Some(LinkGroup(u64::MAX));
    odd.settled = false;
    for record in [odd, file(1), directory(2), record(Kind::Symlink, 1 << 63)] {
        catalog.put(&path("a"), &record).expect("put");
        assert_eq!(get(&catalog, "a"), Some(record));
    }
}

#[test]
fn missing_directories_stand_in_until_they_are_looked_at() {
    let mut catalog = catalog(&[("a/b/c", file(3))]);
    assert_eq!(catalog.count().expect("count"), 4, "the root among them");
    let placeholder = get(&catalog, "a/b").expect("there");
    assert_eq!((placeholder.stat.kind, placeholder.stat.inode, placeholder.settled), (Kind::Directory, 0, false));
    assert_eq!(catalog.names_of(0, 9).expect("names_of"), []);
    catalog.put(&path("a/b"), &directory(2)).expect("put");
    assert_eq!(get(&catalog, "a/b"), Some(directory(2)));
    assert_eq!(get(&catalog, "a/b/c"), Some(file(3)));
    catalog.put(&RelPath::root(), &directory(1)).expect("put");
    assert_eq!(catalog.get(&RelPath::root()).expect("get"), Some(directory(1)));
}

#[test]
fn a_path_below_a_file_turns_the_file_into_a_directory_not_looked_at() {
    let mut catalog = catalog(&[("a", file(1))]);
    catalog.put(&path("a/b"), &file(2)).expect("put");
    assert!(!get(&catalog, "a").expect("there").settled);
    assert_eq!(catalog.names_of(1, 9).expect("names_of"), []);
}

#[test]
fn a_file_in_the_place_of_a_directory_removes_what_was_below() {
    let mut catalog = catalog(&[("a/b/c", file(3)), ("a/d", file(4)), ("e", file(5))]);
    catalog.put(&path("a"), &file(6)).expect("put");
    assert_eq!((get(&catalog, "a/b/c"), get(&catalog, "a/d")), (None, None));
    assert_eq!(catalog.count().expect("count"), 3);
    catalog.put(&path("a"), &directory(7)).expect("put");
    assert_eq!(catalog.children(&path("a"), None, 9).expect("children"), []);
}

#[test]
fn renaming_a_directory_is_one_update_whatever_it_holds() {
    let rows: Vec<(String, Record)> = (0..300).map(|n| (format!("a/b/{n}"), file(n + 1))).collect();
    let rows: Vec<(&str, Record)> = rows.iter().map(|(text, record)| (text.as_str(), record.clone())).collect();
    let mut catalog = catalog(&rows);
    let before = catalog.connection.total_changes();
    assert!(catalog.rename(&path("a/b"), &path("c")).expect("rename"));
    assert_eq!(catalog.connection.total_changes() - before, 1);
    assert_eq!(get(&catalog, "a/b/7"), None);
    assert_eq!(get(&catalog, "c/7"), Some(file(8)));
    assert_eq!(catalog.names_of(8, 9).expect("names_of"), [(path("c/7"), file(8))]);
}

#[test]
fn renaming_replaces_the_target_and_makes_its_directories() {
    let mut catalog = catalog(&[("a/x", file(1)), ("b/y/z", file(2))]);
    assert!(catalog.rename(&path("a"), &path("b/y")).expect("rename"));
    assert_eq!((get(&catalog, "b/y/x"), get(&catalog, "b/y/z")), (Some(file(1)), None));
    assert!(catalog.rename(&path("b/y/x"), &path("new/place")).expect("rename"));
    assert_eq!(get(&catalog, "new/place"), Some(file(1)));
    assert!(!catalog.rename(&path("missing"), &path("b")).expect("rename"));
    assert!(get(&catalog, "b").is_some(), "a rename of nothing does nothing");
}

#[test]
fn a_directory_is_not_moved_into_itself_nor_over_its_own_parent() {
    let mut catalog = catalog(&[("a/b/c", file(1))]);
    for (from, to) in [("a", "a/b/d"), ("a/b", "a"), ("a", ""), ("", "a")] {
        let result = catalog.rename(&path(from), &path(to));
        assert!(matches!(result, Err(Error::IntoItself { .. })), "{from} to {to}: {result:?}");
    }
    assert!(catalog.rename(&path("a"), &path("a")).expect("rename"));
    assert_eq!(get(&catalog, "a/b/c"), Some(file(1)));
}

#[test]
fn remove_tells_how_many_rows_went() {
    let mut catalog = catalog(&[("a/b/c", file(1)), ("a/d", file(2)), ("e", file(3))]);
    assert_eq!(catalog.remove(&path("a/none")).expect("remove"), 0);
    assert_eq!(catalog.remove(&path("a")).expect("remove"), 4);
    assert_eq!(catalog.remove(&RelPath::root()).expect("remove"), 2);
    assert_eq!(catalog.count().expect("count"), 0);
}

#[test]
fn children_come_by_bytes_and_by_pages() {
    let catalog = catalog(&[("a", file(1)), ("B", file(2)), ("c/d", file(3)), ("\u{e9}", file(4))]);
    let page = catalog.children(&RelPath::root(), None, 2).expect("children");
    assert_eq!(page, [(name("B"), file(2)), (name("a"), file(1))]);
    let rest = catalog.children(&RelPath::root(), Some(&name("a")), 9).expect("children");
    assert_eq!(rest.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(), [name("c"), name("\u{e9}")]);
    assert_eq!(catalog.children(&path("a"), None, 9).expect("children"), []);
}

#[test]
fn names_of_an_inode_and_of_a_group_are_found_wherever_they_are() {
    let grouped = Record { group: Some(LinkGroup(70)), ..file(7) };
    let mut catalog = catalog(&[("a/x", grouped.clone()), ("b/c/y", grouped.clone()), ("z", file(8))]);
    let names = |rows: Vec<(RelPath, Record)>| rows.into_iter().map(|(path, _)| path).collect::<Vec<_>>();
    let mut found = names(catalog.names_of(7, 9).expect("names_of"));
    found.sort();
    assert_eq!(found, [path("a/x"), path("b/c/y")]);
    assert_eq!(catalog.names_of(7, 1).expect("names_of").len(), 1);
    assert_eq!(catalog.names_in_group(LinkGroup(70), 9).expect("names_in_group").len(), 2);
    assert_eq!(catalog.touch_inode(7, Timestamp::new(4, 5), 9).expect("touch_inode"), 2);
    let touched = get(&catalog, "b/c/y").expect("there").stat;
    assert_eq!((touched.ctime, touched.links), (Timestamp::new(4, 5), 9));
    assert_eq!(get(&catalog, "z"), Some(file(8)));
}

#[test]
fn every_search_is_served_by_an_index() {
    let store = ReplicaStore::in_memory().expect("in memory");
    for connection in [&catalog(&[]).connection, &store.catalog().connection] {
        for (query, plan) in [
            (CHILDREN, "SEARCH nodes USING PRIMARY KEY (parent=? AND name>?)"),
            (NAMES_OF, "SEARCH nodes USING INDEX nodes_inode (inode=?)"),
            (NEXT_NAME_OF, "SEARCH nodes USING INDEX nodes_inode (inode=? AND (parent,name)>(?,?))"),
            (NAMES_IN_GROUP, "SEARCH nodes USING INDEX nodes_group (link_group=?)"),
        ] {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {query}")).expect(query);
            let rows = statement.raw_query().mapped(|row| row.get::<_, String>(3));
            assert_eq!(rows.collect::<Result<Vec<_>, _>>().expect(query), [plan], "{query}");
        }
    }
}

#[test]
fn a_replica_is_searched_by_inodes_of_directories_and_of_what_has_more_names_than_one() {
    let mut store = ReplicaStore::in_memory().expect("in memory");
    let two = |inode| Record { stat: Stat { links: 2, ..file(inode).stat }, ..file(inode) };
    let catalog = store.catalog_mut();
    for (text, record) in [("d/x", file(1)), ("d/y", two(2)), ("z", two(2)), ("d", directory(3))] {
        catalog.put(&path(text), &record).expect("put");
        assert_eq!(get(catalog, text), Some(record));
    }
    let names = |catalog: &Catalog, inode| catalog.names_of(inode, 9).expect("names_of").len();
    assert_eq!((names(catalog, 1), names(catalog, 2), names(catalog, 3)), (0, 2, 1));
    let rows = |catalog: &Catalog| -> i64 {
        let count = "SELECT count(*) FROM nodes INDEXED BY nodes_inode WHERE inode IS NOT NULL";
        catalog.connection.query_row(count, [], |row| row.get(0)).expect("count")
    };
    assert_eq!(rows(catalog), 3, "the file with one name takes no room in the index");
    // One of the names goes, and the other is as any file; then it is linked again.
    catalog.remove(&path("z")).expect("remove");
    assert_eq!(catalog.touch_inode(2, Timestamp::new(4, 5), 1).expect("touch_inode"), 1);
    assert_eq!((names(catalog, 2), rows(catalog)), (0, 1));
    assert_eq!(get(catalog, "d/y").map(|record| (record.stat.inode, record.stat.links)), Some((2, 1)));
    catalog.put(&path("d/y"), &two(2)).expect("put");
    assert_eq!((names(catalog, 2), rows(catalog)), (1, 2));
}

#[test]
fn counting_below_stops_at_the_limit() {
    let catalog = catalog(&[("a/b/c", file(1)), ("a/d", file(2)), ("e", file(3))]);
    for (text, most, expected) in
        [("a", 99, 4), ("a", 3, 3), ("a", 1, 1), ("a", 0, 0), ("", 99, 6), ("e", 9, 1), ("x", 9, 0)]
    {
        assert_eq!(catalog.count_below(&path(text), most).expect("count_below"), expected, "{text} up to {most}");
    }
}

#[test]
fn what_is_rolled_back_was_never_there_for_lookups_either() {
    let mut catalog = catalog(&[("a/x", file(1))]);
    catalog.begin().expect("begin");
    catalog.put(&path("n/m/x"), &file(2)).expect("put");
    catalog.rename(&path("a"), &path("b")).expect("rename");
    catalog.rollback().expect("rollback");
    assert_eq!((get(&catalog, "n/m/x"), get(&catalog, "b/x"), get(&catalog, "a/x")), (None, None, Some(file(1))));
    catalog.put(&path("k/x"), &file(3)).expect("put");
    catalog.put(&path("n/m/x"), &file(4)).expect("put");
    assert_eq!((get(&catalog, "k/x"), get(&catalog, "n/m/x")), (Some(file(3)), Some(file(4))));
}

#[test]
fn transactions_are_begun_once_and_ended_once() {
    let mut catalog = catalog(&[]);
    assert!(matches!(catalog.commit(), Err(Error::NoTransaction { .. })));
    catalog.rollback().expect("nothing to roll back");
    catalog.begin().expect("begin");
    assert!(matches!(catalog.begin(), Err(Error::InTransaction { .. })));
    catalog.put(&path("a"), &file(1)).expect("put");
    catalog.commit().expect("commit");
    assert_eq!(get(&catalog, "a"), Some(file(1)));
}

#[test]
fn a_lost_transaction_is_noticed_by_the_next_write() {
    let mut catalog = catalog(&[]);
    catalog.begin().expect("begin");
    // What SQLite does by itself when the disk is full.
    catalog.connection.execute_batch("ROLLBACK").expect("rollback");
    let put = catalog.put(&path("a"), &file(1));
    assert!(matches!(put, Err(Error::NoTransaction { .. })), "{put:?}");
    catalog.rollback().expect("rollback");
    catalog.put(&path("a"), &file(1)).expect("put");
}

#[test]
fn a_reader_in_another_thread_sees_what_is_committed() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let (mut catalog, _) = Catalog::open(&folder.path().join("catalog.db")).expect("open");
    catalog.put(&path("a/x"), &file(1)).expect("put");
    let reader = catalog.reader().expect("reader");
    assert_eq!(get(&reader, "a/x"), Some(file(1)));
    catalog.begin().expect("begin");
    catalog.rename(&path("a"), &path("b")).expect("rename");
    let reader = std::thread::spawn(move || {
        assert_eq!((get(&reader, "a/x"), get(&reader, "b/x")), (Some(file(1)), None));
        reader
    });
    let reader = reader.join().expect("no panic");
    catalog.commit().expect("commit");
    assert_eq!((get(&reader, "a/x"), get(&reader, "b/x")), (None, Some(file(1))));
    assert!(matches!(Catalog::in_memory().expect("in memory").reader(), Err(Error::InMemory)));
}

#[test]
fn a_reader_finds_directories_where_the_last_commit_left_them() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let (mut catalog, _) = Catalog::open(&folder.path().join("catalog.db")).expect("open");
    catalog.put(&path("a/b/x"), &file(1)).expect("put");
    catalog.put(&path("c/b/x"), &file(2)).expect("put");
    let reader = catalog.reader().expect("reader");
    for _ in 0..2 {
        // Seen before and after each commit, so that whatever is remembered would be found out.
        assert_eq!((get(&reader, "a/b/x"), get(&reader, "c/b/x")), (Some(file(1)), Some(file(2))));
        catalog.rename(&path("a/b"), &path("new")).expect("rename");
        assert_eq!((get(&reader, "a/b/x"), get(&reader, "new/x")), (None, Some(file(1))));
        catalog.rename(&path("c"), &path("a")).expect("rename");
        assert_eq!((get(&reader, "a/b/x"), get(&reader, "c/b/x")), (Some(file(2)), None));
        assert_eq!(reader.children(&path("a/b"), None, 9).expect("children"), [(name("x"), file(2))]);
        catalog.rename(&path("a"), &path("c")).expect("rename");
        catalog.rename(&path("new"), &path("a/b")).expect("rename");
    }
}

#[test]
fn a_reader_between_calls_is_in_nobodys_way() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let (mut catalog, _) = Catalog::open(&folder.path().join("catalog.db")).expect("open");
    catalog.put(&path("a/x"), &file(1)).expect("put");
    let reader = catalog.reader().expect("reader");
    reader.children(&path("a"), None, 9).expect("children");
    assert!(reader.connection.is_autocommit());
    catalog.put(&path("a/y"), &file(2)).expect("put");
    catalog.checkpoint().expect("checkpoint");
    let log = std::fs::metadata(folder.path().join("catalog.db-wal")).expect("log").len();
    assert_eq!(log, 0, "a reader that still looks at an old state keeps the log from being cut");
}

#[test]
fn a_process_leaves_no_large_log_and_does_not_bother_with_a_small_one() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let (mut catalog, _) = Catalog::open(&folder.path().join("catalog.db")).expect("open");
    let log = || std::fs::metadata(folder.path().join("catalog.db-wal")).expect("log").len();
    catalog.put(&path("a"), &file(1)).expect("put");
    catalog.close_log().expect("close");
    assert!(log() > 0);
    catalog.begin().expect("begin");
    for number in 0..20_000 {
        catalog.put(&path(&format!("directory/{number}")), &file(number)).expect("put");
    }
    catalog.commit().expect("commit");
    assert!(log() > 1 << 20, "{}", log());
    catalog.close_log().expect("close");
    assert_eq!(log(), 0);
}

#[test]
fn a_call_of_a_reader_sees_one_state_although_the_writer_commits_meanwhile() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let (mut catalog, _) = Catalog::open(&folder.path().join("catalog.db")).expect("open");
    catalog.put(&path("a/x"), &file(1)).expect("put");
    let reader = catalog.reader().expect("reader");
    let count = |connection: &rusqlite::Connection| {
        connection.query_row("SELECT count(*) FROM nodes", [], |row| row.get::<_, i64>(0))
    };
    let seen = reader.read(|connection| {
        let before = count(connection)?;
        catalog.put(&path("a/y"), &file(2)).expect("put");
        Ok((before, count(connection)?))
    });
    assert_eq!(seen.expect("read"), (3, 3));
    assert_eq!(reader.count().expect("count"), 4);
}

#[test]
fn the_deepest_path_and_the_longest_name_are_stored_and_removed() {
    let deepest = path(&vec!["d"; 8192].join("/"));
    let longest = path(&"n".repeat(NAME_BYTES_MAX));
    let mut catalog = catalog(&[]);
    catalog.put(&deepest, &file(1)).expect("put");
    catalog.put(&longest, &file(2)).expect("put");
    assert_eq!(catalog.names_of(1, 9).expect("names_of"), [(deepest, file(1))]);
    assert_eq!(catalog.remove(&path("d")).expect("remove"), 8192);
}

/// Puts 200 000 files into the catalog of this file.
fn fill(catalog: &mut Catalog, at: &std::path::Path) -> f64 {
    let rows = 200_000u64;
    catalog.begin().expect("begin");
    for n in 0..rows {
        // Fifty directories of Maildir names of 45 bytes. The inodes jump about, which fills the index badly.
        let text = format!(
            "u{:02}/cur/17{:08}.M{:06}P{:05}.mailhost,S={:05}:2,S",
            n / 4000,
            n,
            n * 7 % 1_000_000,
            n % 100_000,
            n % 99_999
        );
        let mut record = file(1);
        record.stat.inode = 1_000_000 + n * 7919 % 10_000_000;
        record.stat.size = 1_000 + n % 50_000;
        record.stat.uid = 5000;
        record.stat.gid = 5000;
        record.stat.mtime = Timestamp::new(1_700_000_000 + n as i64, (n * 104_729 % 1_000_000_000) as u32);
        record.stat.ctime = Timestamp::new(record.stat.mtime.seconds + 1, record.stat.mtime.nanos);
        catalog.put(&path(&text), &record).expect("put");
    }
    catalog.commit().expect("commit");
    catalog.checkpoint().expect("checkpoint");
    let each = std::fs::metadata(at).expect("metadata").len() as f64 / rows as f64;
    println!("{each:.1} bytes a row");
    each
}

#[test]
fn a_row_takes_less_than_195_bytes_and_on_a_replica_less_than_135() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let at = folder.path().join("catalog.db");
    let each = fill(&mut Catalog::open(&at).expect("open").0, &at);
    assert!(each < 195.0, "{each:.1} bytes a row");
    let at = folder.path().join("store.db");
    let each = fill(ReplicaStore::open(&at).expect("open").0.catalog_mut(), &at);
    assert!(each < 135.0, "{each:.1} bytes a row of a replica");
}
