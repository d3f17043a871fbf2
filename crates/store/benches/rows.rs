//! What a row of the catalog costs: bytes, time to write, time to read, beside layout 1, whose statements are kept below.
//!
//! ```sh
//! cargo bench -p fulmar-store                # 200 000 files
//! cargo bench -p fulmar-store -- 1000000     # so many; a gigabyte below $TMPDIR
//! ```
//!
//! Files with names as in a Maildir, 4000 a directory, one transaction; "small directories" are the same with 8 a directory,
//! which makes the call, not the row, what is measured. One thread, processor time of the best of five runs, the two layouts
//! in turn. Times differ between machines and hours, the ratios less.

use fulmar_model::{Hash, Kind, Name, Record, RelPath, Timestamp};
use fulmar_store::{Catalog, CatalogReader, ReplicaStore};
use rusqlite::{Connection, params};
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

const RUNS: usize = 5;
/// Rows a page, as the scans ask for.
const PAGE: usize = 4096;

fn main() {
    let files = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(200_000);
    println!("{files} files\n\n{:<44}{:>12}{:>12}{:>8}", "", "layout 1", "now", "ratio");
    let large = Tree { files, each: 4000 };
    let mut best = Figures::default();
    for _ in 0..RUNS {
        best.keep(&measure(large));
    }
    best.print("");
    let small = Tree { files, each: 8 };
    let mut best = Figures::default();
    for _ in 0..RUNS {
        best.keep(&measure(small));
    }
    best.print(", small directories");
}

/// Names of figures, and what they are for layout 1 and now.
#[derive(Default)]
struct Figures(Vec<(&'static str, f64, f64)>);

impl Figures {
    fn keep(&mut self, run: &[(&'static str, f64, f64)]) {
        if self.0.is_empty() {
            self.0 = run.to_vec();
        }
        for (best, new) in self.0.iter_mut().zip(run) {
            (best.1, best.2) = (best.1.min(new.1), best.2.min(new.2));
        }
    }

    fn print(&self, which: &str) {
        for (name, old, new) in &self.0 {
            println!("{:<44}{old:>12.3}{new:>12.3}{:>8.2}", format!("{name}{which}"), new / old);
        }
    }
}

#[derive(Clone, Copy)]
struct Tree {
    files: u64,
    /// In a directory.
    each: u64,
}

impl Tree {
    fn directories(self) -> impl Iterator<Item = RelPath> {
        (0..self.files.div_ceil(self.each)).map(|n| parse(&format!("user{:05}/cur{n}", n / 20)))
    }

    fn rows(self) -> impl Iterator<Item = (RelPath, Record)> {
        let directories: Vec<_> = self.directories().collect();
        (0..self.files).map(move |n| {
            let directory = &directories[(n / self.each) as usize];
            (directory.join(&name(n)), record(n))
        })
    }
}

fn parse(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

/// 45 bytes.
fn name(n: u64) -> Name {
    let text = format!(
        "17{:08}.M{:06}P{:05}.mailhost,S={:05}:2,S",
        n * 37,
        n * 7919 % 1_000_000,
        n * 31 % 100_000,
        n * 17 % 99_999
    );
    Name::parse(text.as_bytes()).expect("a name")
}

fn record(n: u64) -> Record {
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (at % 8 * 8)) as u8 ^ at as u8;
    }
    let mut record = Record {
        stat: fulmar_model::Stat {
            kind: Kind::File,
            device: Default::default(),
            inode: 1_000_000 + n * 7919 % 10_000_000,
            links: 1,
            mode: 0o600,
            uid: 5000,
            gid: 5000,
            size: 1_000 + n * 7 % 50_000,
            allocated: 0,
            mtime: Timestamp::new(1_700_000_000 + n as i64 * 37, (n * 104_729 % 1_000_000_000) as u32),
            ctime: Timestamp::default(),
            node: Default::default(),
        },
        xattrs: Default::default(),
        hash: Some(Hash(hash)),
        group: None,
        settled: true,
    };
    // Delivered a millisecond before it was renamed into place.
    record.stat.ctime =
        Timestamp::new(record.stat.mtime.seconds, (record.stat.mtime.nanos + 1_234_567).min(999_999_999));
    record
}

fn measure(tree: Tree) -> Vec<(&'static str, f64, f64)> {
    let folder = tempfile::tempdir().expect("temporary directory");
    let at = |name: &str| folder.path().join(name);
    let rows: Vec<_> = tree.rows().collect();
    let directories: Vec<_> = tree.directories().collect();
    let each = |total: f64| total / tree.files as f64;
    let micros = |time: Duration| each(time.as_secs_f64() * 1e6);
    let bytes = |path: &Path| each(std::fs::metadata(path).expect("metadata").len() as f64);

    let mut old = First::create(&at("old.db"));
    let old_write = timed(|| old.write(&rows));
    let (mut now, _) = Catalog::open(&at("now.db")).expect("open");
    let now_write = timed(|| {
        now.begin().expect("begin");
        rows.iter().for_each(|(path, record)| now.put(path, record).expect("put"));
        now.commit().expect("commit");
    });
    old.checkpoint();
    now.checkpoint().expect("checkpoint");
    let (mut replica, _) = ReplicaStore::open(&at("replica.db")).expect("open");
    let replica_write = timed(|| {
        replica.begin().expect("begin");
        rows.iter().for_each(|(path, record)| replica.catalog_mut().put(path, record).expect("put"));
        replica.commit().expect("commit");
    });
    replica.checkpoint().expect("checkpoint");

    let reader = now.reader().expect("reader");
    let mut count = 0;
    let old_read = timed(|| count += directories.iter().map(|path| old.pages(path)).sum::<u64>());
    let now_read = timed(|| count += directories.iter().map(|path| pages(&reader, path)).sum::<u64>());
    assert_eq!(count, 2 * tree.files, "every row was read");
    vec![
        ("bytes a file, primary", bytes(&at("old.db")), bytes(&at("now.db"))),
        ("bytes a file, replica", bytes(&at("old.db")), bytes(&at("replica.db"))),
        ("us to write a file, primary", micros(old_write), micros(now_write)),
        ("us to write a file, replica", micros(old_write), micros(replica_write)),
        ("us to read a file", micros(old_read), micros(now_read)),
    ]
}

fn pages(catalog: &CatalogReader, path: &RelPath) -> u64 {
    let (mut count, mut after) = (0, None);
    loop {
        let page = black_box(catalog.children(path, after.as_ref(), PAGE).expect("children"));
        count += page.len() as u64;
        after = page.last().map(|(name, _)| name.clone());
        if page.len() < PAGE {
            return count;
        }
    }
}

/// Processor time of this thread: other work on the machine does not count.
fn timed(work: impl FnOnce()) -> Duration {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let before = now();
    work();
    now() - before
}

/// Layout 1 as it was written and read.
struct First {
    connection: Connection,
    reader: Connection,
}

const RECORD: &str = "kind, inode, links, mode, uid, gid, size, mtime, mtime_ns, ctime, ctime_ns, node, xattrs, hash, link_group, settled";

impl First {
    fn create(path: &Path) -> Self {
        let open = |cache: i64| {
            let connection = Connection::open(path).expect("open");
            connection.set_prepared_statement_cache_capacity(64);
            connection.pragma_update(None, "page_size", 8192).expect("pragma");
            let _mode: String =
                connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).expect("pragma");
            connection.pragma_update(None, "synchronous", "NORMAL").expect("pragma");
            connection.pragma_update(None, "cell_size_check", true).expect("pragma");
            connection.pragma_update(None, "cache_size", -cache).expect("pragma");
            connection
                .set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
                .expect("configuration");
            connection
        };
        let connection = open(32 * 1024);
        connection.execute_batch(include_str!("../src/sql/catalog_1.sql")).expect("create");
        Self { connection, reader: open(8 * 1024) }
    }

    fn checkpoint(&self) {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("checkpoint");
    }

    /// What `Catalog::put` did: the directory's id from memory, the row that was there, then the new one.
    fn write(&mut self, rows: &[(RelPath, Record)]) {
        let connection = &self.connection;
        connection.execute_batch("BEGIN IMMEDIATE").expect("begin");
        let mut known = std::collections::HashMap::<RelPath, i64>::new();
        known.insert(RelPath::root(), 1);
        self.row(0, b"", Some(1), &rows[0].1);
        for (path, record) in rows {
            let (above, name) = path.split().expect("not the root");
            for directory in above.ancestors().iter().skip(1).chain([&above]) {
                if !known.contains_key(directory) {
                    let (parent, name) = directory.split().expect("not the root");
                    let id = known.len() as i64 + 1;
                    self.row(known[&parent], name.as_bytes(), Some(id), record);
                    known.insert(directory.clone(), id);
                }
            }
            let parent = known[&above];
            let before = connection
                .prepare_cached("SELECT dir FROM nodes WHERE parent = ?1 AND name = ?2")
                .and_then(|mut statement| statement.exists(params![parent, name.as_bytes()]))
                .expect("select");
            assert!(!before);
            self.row(parent, name.as_bytes(), None, record);
        }
        connection.execute_batch("COMMIT").expect("commit");
    }

    fn row(&self, parent: i64, name: &[u8], dir: Option<i64>, record: &Record) {
        let mut statement = self
            .connection
            .prepare_cached(
                "INSERT INTO nodes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, \
                 ?18, ?19) ON CONFLICT (parent, name) DO UPDATE SET dir = excluded.dir, kind = excluded.kind, \
                 inode = excluded.inode, links = excluded.links, mode = excluded.mode, uid = excluded.uid, \
                 gid = excluded.gid, size = excluded.size, mtime = excluded.mtime, mtime_ns = excluded.mtime_ns, \
                 ctime = excluded.ctime, ctime_ns = excluded.ctime_ns, node = excluded.node, xattrs = excluded.xattrs, \
                 hash = excluded.hash, link_group = excluded.link_group, settled = excluded.settled",
            )
            .expect("prepare");
        let stat = &record.stat;
        // Directories have inodes of their own.
        let inode = dir.map_or(stat.inode as i64, |id| id + 20_000_000);
        statement
            .execute(params![
                parent,
                name,
                dir,
                if dir.is_some() { 2 } else { 1 },
                inode,
                stat.links,
                stat.mode,
                stat.uid,
                stat.gid,
                stat.size as i64,
                stat.mtime.seconds,
                stat.mtime.nanos,
                stat.ctime.seconds,
                stat.ctime.nanos,
                None::<i64>,
                None::<&[u8]>,
                record.hash.as_ref().map(|hash| &hash.0[..]),
                None::<i64>,
                1
            ])
            .expect("insert");
    }

    /// What `CatalogReader::children` did: a transaction, a walk down from the root, a page.
    fn pages(&self, path: &RelPath) -> u64 {
        let (mut count, mut after): (u64, Option<Name>) = (0, None);
        loop {
            let transaction = self.reader.unchecked_transaction().expect("begin");
            let mut id = 0i64;
            let names = path.ancestors().into_iter().chain([path.clone()]);
            for name in names.map(|path| path.split().map(|(_, name)| name)) {
                let name = name.as_ref().map(Name::as_bytes).unwrap_or_default();
                id = self
                    .reader
                    .prepare_cached("SELECT dir FROM nodes WHERE parent = ?1 AND name = ?2")
                    .and_then(|mut statement| statement.query_row(params![id, name], |row| row.get(0)))
                    .expect("select");
            }
            let query =
                format!("SELECT name, {RECORD} FROM nodes WHERE parent = ?1 AND name > ?2 ORDER BY name LIMIT ?3");
            let page: Vec<(Name, Record)> = self
                .reader
                .prepare_cached(&query)
                .and_then(|mut statement| {
                    let last = after.as_ref().map(Name::as_bytes).unwrap_or_default();
                    statement
                        .query_map(params![id, last, PAGE as i64], |row| Ok((first_name(row), first_record(row))))?
                        .collect()
                })
                .expect("select");
            transaction.commit().expect("commit");
            let page = black_box(page);
            count += page.len() as u64;
            after = page.last().map(|(name, _)| name.clone());
            if page.len() < PAGE {
                return count;
            }
        }
    }
}

fn first_name(row: &rusqlite::Row<'_>) -> Name {
    row.get_ref(0).ok().and_then(|value| Name::parse(value.as_blob().ok()?).ok()).expect("a name")
}

fn first_record(row: &rusqlite::Row<'_>) -> Record {
    let integer = |index: usize| row.get::<_, Option<i64>>(index).map(Option::unwrap_or_default).expect("an integer");
    let narrow = |index: usize| row.get::<_, u32>(index).expect("an integer");
    let digest = |index: usize| row.get_ref(index).and_then(|value| Ok(value.as_blob_or_null()?)).expect("bytes");
    let stat = fulmar_model::Stat {
        kind: Kind::from_code(row.get(1).expect("an integer")).expect("a kind"),
        device: Default::default(),
        inode: integer(2) as u64,
        links: narrow(3),
        mode: row.get(4).expect("an integer"),
        uid: narrow(5),
        gid: narrow(6),
        size: integer(7) as u64,
        allocated: 0,
        mtime: Timestamp::new(integer(8), narrow(9)),
        ctime: Timestamp::new(integer(10), narrow(11)),
        node: match integer(12) {
            0 => Default::default(),
            node => fulmar_model::Device { major: (node >> 32) as u32, minor: node as u32 },
        },
    };
    Record {
        stat,
        xattrs: digest(13).map_or_else(Default::default, |b| fulmar_model::XattrDigest(b.try_into().expect("16"))),
        hash: digest(14).map(|bytes| Hash(bytes.try_into().expect("32"))),
        group: row.get::<_, Option<i64>>(15).expect("an integer").map(|group| fulmar_model::LinkGroup(group as u64)),
        settled: integer(16) != 0,
    }
}
