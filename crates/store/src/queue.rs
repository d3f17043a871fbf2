//! The queue: which paths may differ now, in the order in which they are looked at.
//!
//! Invariants:
//! - One row per path, so the queue never outgrows the tree.
//! - Positions only grow and are never given twice, also when the table was emptied and the process restarted: the
//!   counter is stored in the transaction that uses it, and nobody is told of one that a power cut could take away.
//! - A row goes only when the planner has taken it and every replica with a cursor has acknowledged it (`cursor`).
//!
//! The head, up to which the planner has taken rows, is not stored: after a restart every remaining row is looked at
//! again, which is harmless.

use crate::column::{self, clamp, limit};
use crate::cursor;
use crate::error::{At, Result};
use crate::log::Log;
use crate::open::{self, Opened};
use crate::schema;
use fulmar_model::{Change, QueueId, RelPath, Scope, Seq};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A suspicion without a position yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewChange {
    /// Where to look.
    pub path: RelPath,
    /// How far to look.
    pub scope: Scope,
    /// When it was noticed, in milliseconds since 1970.
    pub first_seen_ms: i64,
}

/// What is still ahead of a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Number of rows.
    pub changes: u64,
    /// When the oldest of them was first seen, in milliseconds since 1970.
    pub oldest_ms: Option<i64>,
}

/// The durable queue of one tree, with the cursors of its replicas.
pub struct Queue {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
    pub(crate) log: Log,
    id: QueueId,
    head: Seq,
    /// The highest position ever given.
    given: Seq,
    durable: Arc<AtomicU64>,
}

/// The log of a queue, for a thread that syncs it beside the queue's owner.
pub struct QueueLog {
    log: Log,
    path: PathBuf,
    durable: Arc<AtomicU64>,
}

impl QueueLog {
    /// Makes everything up to a position that [`Queue::put_unsynced`] gave durable; from here on the planner may take it.
    pub fn flush(&mut self, upto: Seq) -> Result<()> {
        self.log.flush(&self.path)?;
        self.durable.fetch_max(upto.0, Ordering::AcqRel);
        Ok(())
    }
}

impl Queue {
    /// Opens queue.db at `path`; `fresh` becomes its identity if it has to be created or rebuilt. Every remaining row is
    /// ahead of the planner.
    pub fn open(path: &Path, fresh: QueueId) -> Result<(Self, Opened)> {
        let (connection, opened) = open::open(path, &schema::QUEUE, &|new| seed(new, fresh))?;
        match Self::load(connection, path, Log::beside()) {
            Err(error) if error.is_damage() && opened == Opened::Existing => {
                tracing::warn!(path = %path.display(), "state of the queue is unreadable");
                open::set_aside(path)?;
                let (connection, _) = open::open(path, &schema::QUEUE, &|new| seed(new, fresh))?;
                Ok((Self::load(connection, path, Log::beside())?, Opened::Rebuilt { reason: open::Rebuilt::Damaged }))
            }
            queue => Ok((queue?, opened)),
        }
    }

    /// A queue that ends with the process.
    pub fn in_memory(fresh: QueueId) -> Result<Self> {
        let connection = open::in_memory(&schema::QUEUE, &|new| seed(new, fresh))?;
        Self::load(connection, Path::new(":memory:"), Log::nowhere())
    }

    fn load(connection: Connection, path: &Path, log: Log) -> Result<Self> {
        let (id, last) = connection
            .query_row("SELECT queue, last FROM state", [], |row| Ok((column::id(row, 0)?, column::seq(row, 1)?)))
            .at(path)?;
        let highest =
            connection.query_row("SELECT max(seq) FROM changes", [], |row| column::seq_or_null(row, 0)).at(path)?;
        if highest > Some(last) {
            // Positions would be given twice.
            return Err(column::bad(1, Type::Integer)).at(path);
        }
        let durable = Arc::new(AtomicU64::new(last.0));
        let (path, id) = (path.to_owned(), QueueId(id));
        let queue = Self { connection, path, log, id, head: Seq(0), given: last, durable };
        queue.check_rounds()?;
        Ok(queue)
    }

    /// Which life of the queue this is.
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// Up to where the planner has taken rows since the queue was opened or rewound.
    pub fn head(&self) -> Seq {
        self.head
    }

    /// The highest position that is durable. What was put behind it is nobody's business yet.
    pub fn last(&self) -> Seq {
        Seq(self.durable.load(Ordering::Acquire))
    }

    /// Its log, to be synced by who puts.
    pub fn log(&self) -> QueueLog {
        QueueLog { log: self.log.another(), path: self.path.clone(), durable: Arc::clone(&self.durable) }
    }

    /// Adds suspicions in one transaction and gives the highest position, which covers them all.
    ///
    /// A path that the planner has yet to take keeps its place: it will be looked at anyway, and a path that changes for
    /// ever would otherwise be last for ever. A path that was taken moves to the end. So does one whose place is behind a
    /// cursor: a replica that has been compared was given a position ahead of the planner, and asks for nothing before it.
    pub fn put(&mut self, changes: &[NewChange]) -> Result<Seq> {
        if changes.is_empty() {
            return Ok(self.last());
        }
        let last = self.put_unsynced(changes)?;
        self.sync()?;
        Ok(last)
    }

    /// The same, and whoever calls it makes it durable by [`QueueLog::flush`]: meanwhile the owner of the queue has time for
    /// others, who see none of it. (Something else that is durable may be first.)
    pub fn put_unsynced(&mut self, changes: &[NewChange]) -> Result<Seq> {
        if changes.is_empty() {
            return Ok(self.given);
        }
        let (head, mut last) = (self.head, self.given);
        self.write_unsynced(|transaction| {
            let passed = cursor::furthest(transaction)?.unwrap_or(head).max(head);
            let mut changed = false;
            for change in changes {
                changed |= put_one(transaction, change, passed, &mut last)?;
            }
            if changed {
                transaction.prepare_cached("UPDATE state SET last = ?1")?.execute([clamp(last.0)])?;
            }
            Ok(())
        })?;
        self.given = last;
        Ok(last)
    }

    /// The next rows for the planner, in order; the head moves to the last of them.
    pub fn take(&mut self, rows: usize) -> Result<Vec<Change>> {
        let taken = self.between(self.head, self.last(), rows)?;
        if let Some(change) = taken.last() {
            self.head = change.seq;
        }
        Ok(taken)
    }

    /// Puts every remaining row ahead of the planner again.
    pub fn rewind(&mut self) {
        self.head = Seq(0);
    }

    /// Makes the row of `path` speak of its whole subtree, durably; gives whether there is one.
    pub fn widen(&mut self, path: &RelPath) -> Result<bool> {
        let rows = self.write(|transaction| {
            transaction
                .prepare_cached("UPDATE changes SET scope = ?2 WHERE path = ?1")?
                .execute(params![path.as_bytes(), scope_code(Scope::Tree)])
        })?;
        Ok(rows > 0)
    }

    /// Rows with a position above `after` and not above `upto`, in order.
    pub fn between(&self, after: Seq, upto: Seq, rows: usize) -> Result<Vec<Change>> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT seq, path, scope, first_seen FROM changes WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
                )?
                .query_map(params![clamp(after.0), clamp(upto.0), limit(rows)], change)?
                .collect()
        })
    }

    /// The row of `path`.
    pub fn find(&self, path: &RelPath) -> Result<Option<Change>> {
        self.read(|connection| find(connection, path))
    }

    /// The rows of the directories above `path` that speak of more than themselves, the nearest first.
    pub fn covering(&self, path: &RelPath) -> Result<Vec<Change>> {
        let mut rows = Vec::new();
        for above in path.ancestors().iter().rev() {
            rows.extend(self.find(above)?.filter(|change| change.scope != Scope::Path));
        }
        Ok(rows)
    }

    /// Number of rows. Walks the table.
    pub fn len(&self) -> Result<u64> {
        self.backlog(Seq(0)).map(|backlog| backlog.changes)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> Result<bool> {
        self.read(|connection| connection.prepare_cached("SELECT 1 FROM changes LIMIT 1")?.exists([])).map(|any| !any)
    }

    /// What is ahead of a cursor. Walks those rows.
    pub fn backlog(&self, after: Seq) -> Result<Backlog> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT count(*), min(first_seen) FROM changes WHERE seq > ?1")?
                .query_row([clamp(after.0)], |row| {
                    Ok(Backlog { changes: column::count(row, 0)?, oldest_ms: row.get(1)? })
                })
        })
    }

    /// A small value kept for somebody else, by name.
    pub fn meta_get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
                .query_row([key], |row| column::blob(row, 0).map(<[u8]>::to_vec))
                .optional()
        })
    }

    /// Keeps a small value, durably.
    pub fn meta_set(&mut self, key: &str, value: &[u8]) -> Result<()> {
        self.write(|transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                )?
                .execute(params![key, value])
        })?;
        Ok(())
    }

    /// Writes the log into the file and cuts the log; for idle moments.
    pub fn checkpoint(&mut self) -> Result<()> {
        open::checkpoint(&self.connection).at(&self.path)
    }

    /// At the end of a process: as [`Self::checkpoint`], unless the log is small.
    pub fn close_log(&mut self) -> Result<()> {
        open::close_log(&self.connection, &self.path)
    }

    pub(crate) fn read<T>(&self, body: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        body(&self.connection).at(&self.path)
    }

    /// A transaction that is durable when this returns.
    pub(crate) fn write<T>(&mut self, body: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T> {
        let value = self.write_unsynced(body)?;
        self.sync()?;
        Ok(value)
    }

    /// Makes everything so far durable.
    fn sync(&mut self) -> Result<()> {
        self.log.flush(&self.path)?;
        self.durable.fetch_max(self.given.0, Ordering::AcqRel);
        Ok(())
    }

    /// A transaction that is durable with the next one that is synced: a power cut may take it away, and what it says must
    /// be found again then.
    pub(crate) fn write_unsynced<T>(
        &mut self,
        body: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let Self { connection, path, .. } = self;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).at(path)?;
        let value = body(&transaction).at(path)?;
        transaction.commit().at(path)?;
        Ok(value)
    }
}

/// Gives whether anything was written. Up to `passed` somebody may have looked at the paths before this.
fn put_one(transaction: &Transaction<'_>, change: &NewChange, passed: Seq, last: &mut Seq) -> rusqlite::Result<bool> {
    let NewChange { path, scope, first_seen_ms } = change;
    let Some(row) = find(transaction, path)? else {
        *last = Seq(last.0 + 1);
        transaction
            .prepare_cached("INSERT INTO changes (seq, path, scope, first_seen) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![clamp(last.0), path.as_bytes(), scope_code(*scope), first_seen_ms])?;
        return Ok(true);
    };
    let wanted = Change {
        seq: if row.seq > passed { row.seq } else { Seq(last.0 + 1) },
        path: row.path.clone(),
        scope: row.scope.max(*scope),
        first_seen_ms: row.first_seen_ms.min(*first_seen_ms),
    };
    if wanted == row {
        return Ok(false);
    }
    *last = wanted.seq.max(*last);
    transaction
        .prepare_cached("UPDATE changes SET seq = ?2, scope = ?3, first_seen = ?4 WHERE seq = ?1")?
        .execute(params![clamp(row.seq.0), clamp(wanted.seq.0), scope_code(wanted.scope), wanted.first_seen_ms])?;
    Ok(true)
}

fn find(connection: &Connection, path: &RelPath) -> rusqlite::Result<Option<Change>> {
    connection
        .prepare_cached("SELECT seq, path, scope, first_seen FROM changes WHERE path = ?1")?
        .query_row([path.as_bytes()], change)
        .optional()
}

fn change(row: &Row<'_>) -> rusqlite::Result<Change> {
    let scope = match row.get::<_, i64>(2)? {
        0 => Scope::Path,
        1 => Scope::Tree,
        2 => Scope::Moved,
        _ => return Err(column::bad(2, Type::Integer)),
    };
    Ok(Change { seq: column::seq(row, 0)?, path: column::path(row, 1)?, scope, first_seen_ms: row.get(3)? })
}

fn scope_code(scope: Scope) -> i64 {
    match scope {
        Scope::Path => 0,
        Scope::Tree => 1,
        Scope::Moved => 2,
    }
}

fn seed(connection: &Connection, fresh: QueueId) -> rusqlite::Result<()> {
    connection.execute("INSERT INTO state (one, queue, last, pruned) VALUES (1, ?1, 0, 0)", [&fresh.0.0[..]])?;
    Ok(())
}
