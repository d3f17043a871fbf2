//! What a replica keeps: the catalog of what it applied, how far it followed which queue, what it is about to make
//! visible, paths the primary does not have, and the list of its quarantine. One file, so that one commit covers all.
//!
//! Order of a batch: `intend` → durable → renames in the tree → `begin`, catalog, `set_position`, `clear_intents`,
//! `commit` → durable. After a crash between the first and the last, the intents tell our own work from foreign edits.
//! What makes it durable is the caller's choice: `flush`, or a sync of the whole file system that the file is on. Commits
//! become durable in their order: a later one never without those before it.

use crate::catalog::Catalog;
use crate::column::{self, bits, clamp, limit, unbits};
use crate::error::{Error, Result};
use crate::log::Log;
use crate::open::Opened;
use crate::record::{self, Columns};
use crate::schema;
use fulmar_model::{QueueId, Record, RelPath, Seq};
use rusqlite::{OptionalExtension, params};
use std::path::Path;

/// What is about to be visible at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Where.
    pub path: RelPath,
    /// What will be there.
    pub record: Record,
    /// The path it is renamed from, when it is.
    pub from: Option<RelPath>,
}

/// A foreign version that was moved away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Its number, given by the caller; the same number again replaces the row.
    pub id: u64,
    /// Where it was.
    pub path: RelPath,
    /// Its name in the quarantine directory.
    pub stored_as: Vec<u8>,
    /// When, in milliseconds since 1970.
    pub when_ms: i64,
    /// Why, as a code of the caller's.
    pub why: u8,
}

/// The store of one replica: store.db in its private directory.
pub struct ReplicaStore {
    catalog: Catalog,
    log: Log,
}

impl ReplicaStore {
    /// Opens or creates the file.
    pub fn open(path: &Path) -> Result<(Self, Opened)> {
        let (catalog, opened) = Catalog::open_as(path, &schema::REPLICA)?;
        Ok((Self { catalog, log: Log::beside() }, opened))
    }

    /// A store that ends with the process.
    pub fn in_memory() -> Result<Self> {
        Ok(Self { catalog: Catalog::in_memory_as(&schema::REPLICA)?, log: Log::nowhere() })
    }

    /// What was applied at each path.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The same, to change it.
    pub fn catalog_mut(&mut self) -> &mut Catalog {
        &mut self.catalog
    }

    /// Begins a transaction over everything in the store.
    pub fn begin(&mut self) -> Result<()> {
        self.catalog.begin()
    }

    /// Ends it: everything since `begin` is there, and durable with the next `flush`.
    pub fn commit(&mut self) -> Result<()> {
        self.catalog.commit()
    }

    /// Takes back everything since `begin`.
    pub fn rollback(&mut self) -> Result<()> {
        self.catalog.rollback()
    }

    /// Writes the log into the file and cuts the log; for idle moments.
    pub fn checkpoint(&mut self) -> Result<()> {
        self.catalog.checkpoint()
    }

    /// Which queue was followed and how far; `None` before the first comparison is complete.
    pub fn position(&self) -> Result<Option<(QueueId, Seq)>> {
        self.catalog.read(|connection| {
            connection
                .prepare_cached("SELECT queue, seq FROM position")?
                .query_row([], |row| Ok((QueueId(column::id(row, 0)?), column::seq(row, 1)?)))
                .optional()
        })
    }

    /// Everything up to `seq` of that queue is in the tree and in this store.
    pub fn set_position(&mut self, queue: QueueId, seq: Seq) -> Result<()> {
        self.run(
            "INSERT INTO position (one, queue, seq) VALUES (1, ?1, ?2) \
             ON CONFLICT (one) DO UPDATE SET queue = excluded.queue, seq = excluded.seq",
            params![&queue.0.0[..], clamp(seq.0)],
        )
    }

    /// Nothing is known any more of how far the tree is.
    pub fn clear_position(&mut self) -> Result<()> {
        self.run("DELETE FROM position", [])
    }

    /// Makes every commit so far durable.
    pub fn flush(&mut self) -> Result<()> {
        self.log.flush(&self.catalog.path)
    }

    /// Notes what is about to become visible, as a transaction of its own.
    pub fn intend(&mut self, intents: &[Intent]) -> Result<()> {
        if self.catalog.has_begun() {
            return Err(Error::InTransaction { path: self.catalog.path.clone() });
        }
        self.catalog.write(|_, connection| {
            let mut statement =
                connection.prepare_cached("INSERT INTO intents (path, source, record) VALUES (?1, ?2, ?3)")?;
            for Intent { path, record, from } in intents {
                let record = record::encode(record, Columns::default());
                statement.execute(params![path.as_bytes(), from.as_ref().map(RelPath::as_bytes), record])?;
            }
            Ok(())
        })
    }

    /// What was intended and not cleared, in the order it was given. Bounded by the caller's batches.
    pub fn intents(&self) -> Result<Vec<Intent>> {
        self.catalog.read(|connection| {
            connection
                .prepare_cached("SELECT path, source, record FROM intents ORDER BY ordinal")?
                .query_map([], |row| {
                    let (path, from) = (column::path(row, 0)?, column::path_or_null(row, 1)?);
                    Ok(Intent { path, record: column::whole_record(row, 2, Columns::default())?, from })
                })?
                .collect()
        })
    }

    /// What was intended is in the catalog; belongs into the transaction that put it there.
    pub fn clear_intents(&mut self) -> Result<()> {
        self.run("DELETE FROM intents", [])
    }

    /// Notes a path that a comparison found and the primary does not have.
    pub fn extra_add(&mut self, path: &RelPath) -> Result<()> {
        self.run("INSERT INTO extras (path) VALUES (?1) ON CONFLICT DO NOTHING", [path.as_bytes()])
    }

    /// Number of such paths.
    pub fn extras_count(&self) -> Result<u64> {
        self.count("SELECT count(*) FROM extras")
    }

    /// A page of them, by bytes, after `after`.
    pub fn extras(&self, after: Option<&RelPath>, rows: usize) -> Result<Vec<RelPath>> {
        self.catalog.read(|connection| {
            connection
                .prepare_cached("SELECT path FROM extras WHERE path >= ?1 ORDER BY path LIMIT ?2")?
                .query_map(params![column::behind(after), limit(rows)], |row| column::path(row, 0))?
                .collect()
        })
    }

    /// Forgets them all.
    pub fn extras_clear(&mut self) -> Result<()> {
        self.run("DELETE FROM extras", [])
    }

    /// Lists something in the quarantine.
    pub fn quarantine_add(&mut self, item: &Quarantined) -> Result<()> {
        self.run(
            "INSERT INTO quarantine (id, path, stored_as, moved, why) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (id) DO UPDATE SET path = excluded.path, stored_as = excluded.stored_as, \
             moved = excluded.moved, why = excluded.why",
            params![bits(item.id), item.path.as_bytes(), item.stored_as, item.when_ms, item.why],
        )
    }

    /// A page of the quarantine, by number, after `after`.
    pub fn quarantined(&self, after: Option<u64>, rows: usize) -> Result<Vec<Quarantined>> {
        let from = match after {
            None => i64::MIN,
            Some(id) => match bits(id).checked_add(1) {
                Some(next) => next,
                None => return Ok(Vec::new()),
            },
        };
        self.catalog.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT id, path, stored_as, moved, why FROM quarantine \
                     WHERE id >= ?1 ORDER BY id LIMIT ?2",
                )?
                .query_map(params![from, limit(rows)], |row| {
                    Ok(Quarantined {
                        id: unbits(row.get(0)?),
                        path: column::path(row, 1)?,
                        stored_as: column::blob(row, 2)?.to_vec(),
                        when_ms: row.get(3)?,
                        why: row.get(4)?,
                    })
                })?
                .collect()
        })
    }

    /// The highest number in the quarantine, 0 when it is empty.
    pub fn quarantined_last(&self) -> Result<u64> {
        self.count("SELECT coalesce(max(id), 0) FROM quarantine")
    }

    /// Number of things in the quarantine.
    pub fn quarantine_count(&self) -> Result<u64> {
        self.count("SELECT count(*) FROM quarantine")
    }

    fn run(&mut self, statement: &str, parameters: impl rusqlite::Params) -> Result<()> {
        self.catalog.write(|_, connection| connection.prepare_cached(statement)?.execute(parameters).map(drop))
    }

    fn count(&self, query: &str) -> Result<u64> {
        self.catalog.read(|connection| connection.prepare_cached(query)?.query_row([], |row| column::count(row, 0)))
    }
}
