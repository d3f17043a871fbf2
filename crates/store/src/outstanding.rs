//! Work that a replica's cursor has passed but that is not done: what is held, what still flows, what must be compared.
//! One row per replica and path, so it never outgrows the tree either.

use crate::column::{self, limit};
use crate::error::Result;
use crate::queue::Queue;
use fulmar_model::{HeldReason, RelPath, ReplicaId};
use rusqlite::types::Type;
use rusqlite::{Row, Transaction, params};

/// What is left to do at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It failed and will be tried again.
    Held {
        /// Why.
        reason: HeldReason,
        /// Number of the system call's error, 0 where there is none.
        errno: i32,
    },
    /// Large content is still under way.
    Content,
    /// The subtree must be compared.
    Compare,
    /// It must be planned again right away.
    Again,
}

/// A row of outstanding work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outstanding {
    /// Where.
    pub path: RelPath,
    /// What.
    pub work: Work,
    /// When it was first passed over, in milliseconds since 1970. Kept when the row is replaced.
    pub since_ms: i64,
    /// How often it was tried. Counted by the store when the row is replaced.
    pub attempts: u32,
    /// When to try again, in milliseconds since 1970; `i64::MAX`: when something else says so.
    pub retry_ms: i64,
}

/// Outstanding work of one replica, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OutstandingCount {
    /// Rows of [`Work::Held`].
    pub held: u64,
    /// Rows of [`Work::Content`].
    pub content: u64,
    /// Rows of [`Work::Compare`].
    pub compare: u64,
    /// Rows of [`Work::Again`].
    pub again: u64,
}

impl OutstandingCount {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.held.saturating_add(self.content).saturating_add(self.compare).saturating_add(self.again)
    }
}

const HELD: i64 = 1;
const CONTENT: i64 = 2;
const COMPARE: i64 = 3;
const AGAIN: i64 = 4;

impl Queue {
    /// A page of a replica's outstanding work, by path, after `after`.
    pub fn outstanding(&self, replica: ReplicaId, after: Option<&RelPath>, rows: usize) -> Result<Vec<Outstanding>> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT path, work, reason, errno, since, attempts, retry FROM outstanding \
                     WHERE replica = ?1 AND path >= ?2 ORDER BY path LIMIT ?3",
                )?
                .query_map(params![&replica.0.0[..], column::behind(after), limit(rows)], outstanding)?
                .collect()
        })
    }

    /// How much outstanding work a replica has. Walks its rows.
    pub fn outstanding_count(&self, replica: ReplicaId) -> Result<OutstandingCount> {
        self.read(|connection| {
            let mut count = OutstandingCount::default();
            let mut statement =
                connection.prepare_cached("SELECT work, count(*) FROM outstanding WHERE replica = ?1 GROUP BY work")?;
            let mut rows = statement.query([&replica.0.0[..]])?;
            while let Some(row) = rows.next()? {
                let field = match row.get(0)? {
                    HELD => &mut count.held,
                    CONTENT => &mut count.content,
                    COMPARE => &mut count.compare,
                    AGAIN => &mut count.again,
                    _ => return Err(column::bad(0, Type::Integer)),
                };
                *field = column::count(row, 1)?;
            }
            Ok(count)
        })
    }

    /// Work of a replica whose time has come, the longest due first.
    pub fn due(&self, replica: ReplicaId, now_ms: i64, rows: usize) -> Result<Vec<Outstanding>> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT path, work, reason, errno, since, attempts, retry FROM outstanding \
                     WHERE replica = ?1 AND retry <= ?2 ORDER BY retry, path LIMIT ?3",
                )?
                .query_map(params![&replica.0.0[..], now_ms, limit(rows)], outstanding)?
                .collect()
        })
    }

    /// Makes everything that waits for approval due at once, for every replica; gives the number of rows.
    pub fn approve(&mut self) -> Result<u64> {
        self.write(|transaction| {
            let rows = transaction
                .prepare_cached("UPDATE outstanding SET retry = 0 WHERE reason = 10 AND retry <> 0")?
                .execute([])?;
            Ok(u64::try_from(rows).unwrap_or(u64::MAX))
        })
    }

    /// Number of rows that wait for approval. What was approved (its `retry_ms` is 0) is not counted.
    pub fn held_for_approval(&self) -> Result<u64> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT count(*) FROM outstanding WHERE reason = 10 AND retry <> 0")?
                .query_row([], |row| column::count(row, 0))
        })
    }
}

/// Adds or replaces rows; a replaced row keeps `since` and counts one more attempt.
pub(crate) fn add(transaction: &Transaction<'_>, replica: ReplicaId, rows: &[Outstanding]) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO outstanding (replica, path, work, reason, errno, since, attempts, retry) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (replica, path) DO UPDATE SET \
         work = excluded.work, reason = excluded.reason, errno = excluded.errno, \
         attempts = min(attempts + 1, 4294967295), retry = excluded.retry \
         WHERE work != 3 OR excluded.work = 3",
    )?;
    for row in rows {
        let (work, reason, errno) = match row.work {
            Work::Held { reason, errno } => (HELD, Some(reason.code()), errno),
            Work::Content => (CONTENT, None, 0),
            Work::Compare => (COMPARE, None, 0),
            Work::Again => (AGAIN, None, 0),
        };
        statement.execute(params![
            &replica.0.0[..],
            row.path.as_bytes(),
            work,
            reason,
            errno,
            row.since_ms,
            row.attempts,
            row.retry_ms
        ])?;
    }
    Ok(())
}

/// Deletes the rows of these paths, but for comparisons: that the path itself is right says nothing of what is below it.
pub(crate) fn remove(transaction: &Transaction<'_>, replica: ReplicaId, paths: &[RelPath]) -> rusqlite::Result<()> {
    let mut statement =
        transaction.prepare_cached("DELETE FROM outstanding WHERE replica = ?1 AND path = ?2 AND work != 3")?;
    for path in paths {
        statement.execute(params![&replica.0.0[..], path.as_bytes()])?;
    }
    Ok(())
}

/// Deletes the row of a comparison that is complete.
pub(crate) fn compared(transaction: &Transaction<'_>, replica: ReplicaId, subtree: &RelPath) -> rusqlite::Result<()> {
    let mut statement =
        transaction.prepare_cached("DELETE FROM outstanding WHERE replica = ?1 AND path = ?2 AND work = 3")?;
    statement.execute(params![&replica.0.0[..], subtree.as_bytes()]).map(drop)
}

/// Deletes every row of a replica.
pub(crate) fn drop_all(transaction: &Transaction<'_>, replica: ReplicaId) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM outstanding WHERE replica = ?1")?.execute([&replica.0.0[..]])?;
    Ok(())
}

fn outstanding(row: &Row<'_>) -> rusqlite::Result<Outstanding> {
    let work = match row.get(1)? {
        HELD => Work::Held { reason: HeldReason::from_code(row.get(2)?), errno: row.get(3)? },
        CONTENT => Work::Content,
        COMPARE => Work::Compare,
        AGAIN => Work::Again,
        _ => return Err(column::bad(1, Type::Integer)),
    };
    Ok(Outstanding {
        path: column::path(row, 0)?,
        work,
        since_ms: row.get(4)?,
        attempts: row.get(5)?,
        retry_ms: row.get(6)?,
    })
}
