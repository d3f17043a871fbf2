//! Work that a replica's cursor has passed but that is not done: what is held, what still flows, what must be compared.
//! One row per replica and path, so it never outgrows the tree either.

use crate::column::{self, limit};
use crate::error::Result;
use crate::queue::Queue;
use fulmar_model::{Change, HeldReason, RelPath, ReplicaId, Seq};
use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, Transaction, params};

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
    /// What the replica has there is not what it recorded, though its stat data say so: its record must be forgotten, and the
    /// path planned again.
    Doubted,
    /// It was found gone, and goes once everything that was noticed until then is there.
    Gone {
        /// Whether a person has approved that.
        approved: bool,
    },
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
    /// What is gone and should be under another name waits until the work at this path and below it is done. A comparison: what it
    /// finds to be gone does.
    pub after: Option<RelPath>,
}

/// Outstanding work of one replica, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OutstandingCount {
    /// Rows of [`Work::Held`].
    pub held: u64,
    /// Those of them that wait for approval.
    pub approval: u64,
    /// Rows of [`Work::Content`].
    pub content: u64,
    /// Rows of [`Work::Compare`].
    pub compare: u64,
    /// Rows of [`Work::Again`] and [`Work::Doubted`].
    pub again: u64,
    /// Rows of [`Work::Gone`].
    pub gone: u64,
}

impl OutstandingCount {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.to_do().saturating_add(self.held)
    }

    /// What can be done without anybody's help.
    pub fn to_do(&self) -> u64 {
        [self.content, self.compare, self.again, self.gone].into_iter().fold(0, u64::saturating_add)
    }
}

const HELD: i64 = 1;
const CONTENT: i64 = 2;
const COMPARE: i64 = 3;
const AGAIN: i64 = 4;
const GONE: i64 = 5;
const APPROVED: i64 = 6;
const DOUBTED: i64 = 7;

const COLUMNS: &str = "path, work, reason, errno, since, attempts, retry, after";

impl Queue {
    /// A page of a replica's outstanding work, by path, after `after`.
    pub fn outstanding(&self, replica: ReplicaId, after: Option<&RelPath>, rows: usize) -> Result<Vec<Outstanding>> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM outstanding WHERE replica = ?1 AND path >= ?2 ORDER BY path LIMIT ?3"
                ))?
                .query_map(params![&replica.0.0[..], column::behind(after), limit(rows)], outstanding)?
                .collect()
        })
    }

    /// How much outstanding work a replica has. Walks its rows.
    pub fn outstanding_count(&self, replica: ReplicaId) -> Result<OutstandingCount> {
        self.read(|connection| {
            let mut count = OutstandingCount::default();
            let mut statement = connection.prepare_cached(
                "SELECT work, count(*), count(*) FILTER (WHERE reason = 10) FROM outstanding \
                     WHERE replica = ?1 GROUP BY work",
            )?;
            let mut rows = statement.query([&replica.0.0[..]])?;
            while let Some(row) = rows.next()? {
                let field = match row.get(0)? {
                    HELD => {
                        count.approval = column::count(row, 2)?;
                        &mut count.held
                    }
                    CONTENT => &mut count.content,
                    COMPARE => &mut count.compare,
                    AGAIN | DOUBTED => &mut count.again,
                    GONE | APPROVED => &mut count.gone,
                    _ => return Err(column::bad(0, Type::Integer)),
                };
                *field = field.saturating_add(column::count(row, 1)?);
            }
            Ok(count)
        })
    }

    /// Since when the oldest work of a replica is known, in milliseconds since 1970; `None` when there is none.
    pub fn outstanding_since(&self, replica: ReplicaId) -> Result<Option<i64>> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT min(since) FROM outstanding WHERE replica = ?1")?
                .query_row([&replica.0.0[..]], |row| row.get(0))
        })
    }

    /// Work of a replica whose time has come, the longest due first: up to `rows` rows of everything but content, and up to
    /// `content` rows of that. What is gone has its own way ([`Self::gone`]).
    pub fn due(&self, replica: ReplicaId, now_ms: i64, (rows, content): (usize, usize)) -> Result<Vec<Outstanding>> {
        let mut due = self.due_of(replica, now_ms, "(1, 3, 4, 7)", rows)?;
        due.append(&mut self.due_of(replica, now_ms, "(2)", content)?);
        Ok(due)
    }

    fn due_of(&self, replica: ReplicaId, now_ms: i64, works: &str, rows: usize) -> Result<Vec<Outstanding>> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM outstanding \
                     WHERE replica = ?1 AND retry <= ?2 AND work IN {works} ORDER BY retry, path LIMIT ?3"
                ))?
                .query_map(params![&replica.0.0[..], now_ms, limit(rows)], outstanding)?
                .collect()
        })
    }

    /// A page of what is gone, by path, after `after`.
    pub fn gone(&self, replica: ReplicaId, after: Option<&RelPath>, rows: usize) -> Result<Vec<Outstanding>> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM outstanding \
                     WHERE replica = ?1 AND path >= ?2 AND work IN (5, 6) ORDER BY path LIMIT ?3"
                ))?
                .query_map(params![&replica.0.0[..], column::behind(after), limit(rows)], outstanding)?
                .collect()
        })
    }

    /// Content that is not there yet, or must be sent again; and what is gone and waits for work at another path.
    pub fn unfinished(&self, replica: ReplicaId, rows: usize) -> Result<Unfinished> {
        self.read(|connection| {
            let content = connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM outstanding WHERE replica = ?1 AND work IN (2, 4) LIMIT ?2"
                ))?
                .query_map(params![&replica.0.0[..], limit(rows)], outstanding)?
                .collect::<rusqlite::Result<_>>()?;
            let waiting = connection
                .prepare_cached(
                    // Below a new name only what is as old: a file that never rests is left over anew all the time. '0' follows '/'.
                    "SELECT gone.path, other.path, other.work FROM outstanding AS gone CROSS JOIN outstanding AS other \
                     ON other.replica = gone.replica AND other.path = gone.after \
                     WHERE gone.replica = ?1 AND gone.work IN (5, 6) \
                     UNION ALL \
                     SELECT gone.path, other.path, other.work FROM outstanding AS gone CROSS JOIN outstanding AS other \
                     ON other.replica = gone.replica \
                     AND other.path > CAST(gone.after || '/' AS BLOB) AND other.path < CAST(gone.after || '0' AS BLOB) \
                     WHERE gone.replica = ?1 AND gone.work IN (5, 6) \
                     AND other.work NOT IN (5, 6) AND other.since <= gone.since GROUP BY gone.path LIMIT ?2",
                )?
                .query_map(params![&replica.0.0[..], limit(rows)], |row| {
                    let gone = matches!(row.get(2)?, GONE | APPROVED);
                    Ok(Waiting { path: column::path(row, 0)?, after: column::path(row, 1)?, gone })
                })?
                .collect::<rusqlite::Result<_>>()?;
            Ok(Unfinished { content, waiting })
        })
    }

    /// Whether there is outstanding work at or below a directory, or a comparison that covers it.
    pub fn any_outstanding_in(&self, replica: ReplicaId, directory: &RelPath) -> Result<bool> {
        Ok(self.left_at(replica, directory)?.is_some() || self.any_covering(replica, directory, Reach::Below)?)
    }

    fn any_covering(&self, replica: ReplicaId, directory: &RelPath, reach: Reach) -> Result<bool> {
        let (from, to) = below(directory);
        self.read(|connection| {
            let mut covers =
                connection.prepare_cached("SELECT 1 FROM outstanding WHERE replica = ?1 AND path = ?2 AND work = 3")?;
            for path in directory.ancestors().iter().chain([directory]) {
                if covers.exists(params![&replica.0.0[..], path.as_bytes()])? {
                    return Ok(true);
                }
            }
            if reach == Reach::Path {
                return Ok(false);
            }
            connection
                .prepare_cached("SELECT 1 FROM outstanding WHERE replica = ?1 AND path > ?2 AND path < ?3 LIMIT 1")?
                .exists(params![&replica.0.0[..], from, to])
        })
    }

    /// What a replica has still to be sent that explains another state of `path` there: a change of it or of a directory
    /// above it that speaks of everything below, or work that is outstanding. A replica without a cursor has everything to be
    /// sent.
    pub fn pending(&self, replica: ReplicaId, path: &RelPath, reach: Reach) -> Result<Option<Pending>> {
        let Some(row) = self.replicas()?.into_iter().find(|row| row.id == replica) else {
            return Ok(Some(Pending::Queued));
        };
        let Some(cursor) = row.cursor else { return Ok(Some(Pending::Queued)) };
        let ahead = |change: Option<Change>| change.filter(|change| change.seq > cursor);
        if ahead(self.find(path)?).is_some() || (reach == Reach::Below && self.any_ahead_in(cursor, path)?) {
            return Ok(Some(Pending::Queued));
        }
        if self.covering(path)?.into_iter().any(|change| ahead(Some(change)).is_some()) {
            return Ok(Some(Pending::Queued));
        }
        match self.left_at(replica, path)? {
            Some(row) => Ok(Some(Pending::Left(row.work))),
            None => Ok(self.any_covering(replica, path, reach)?.then_some(Pending::Queued)),
        }
    }

    /// What is left to be done at this very path.
    pub fn left_at(&self, replica: ReplicaId, path: &RelPath) -> Result<Option<Outstanding>> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM outstanding WHERE replica = ?1 AND path = ?2"))?
                .query_row(params![&replica.0.0[..], path.as_bytes()], outstanding)
                .optional()
        })
    }

    fn any_ahead_in(&self, cursor: Seq, directory: &RelPath) -> Result<bool> {
        let (from, to) = below(directory);
        self.read(|connection| {
            connection
                .prepare_cached("SELECT 1 FROM changes WHERE path > ?1 AND path < ?2 AND seq > ?3 LIMIT 1")?
                .exists(params![from, to, column::clamp(cursor.0)])
        })
    }

    /// Gives a replica work at paths, durably.
    pub fn demand(&mut self, replica: ReplicaId, rows: &[Outstanding]) -> Result<()> {
        self.write(|transaction| add(transaction, replica, rows))
    }

    /// Lets everything go that waits for approval, for every replica; gives the number of rows.
    pub fn approve(&mut self) -> Result<u64> {
        self.write(|transaction| {
            let rows = transaction
                .prepare_cached(
                    "UPDATE outstanding SET work = 6, reason = NULL, errno = 0, retry = 0 WHERE reason = 10",
                )?
                .execute([])?;
            Ok(u64::try_from(rows).unwrap_or(u64::MAX))
        })
    }

    /// What waits for approval although nothing is held back any more (it was planned just before) is looked at again.
    pub fn reconsider(&mut self, replica: ReplicaId) -> Result<()> {
        self.write(|transaction| {
            transaction
                .prepare_cached(
                    "UPDATE outstanding SET work = 5, reason = NULL, errno = 0, retry = 0 \
                     WHERE replica = ?1 AND reason = 10",
                )?
                .execute([&replica.0.0[..]])
        })?;
        Ok(())
    }

    /// Number of rows that wait for approval.
    pub fn held_for_approval(&self) -> Result<u64> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT count(*) FROM outstanding WHERE reason = 10")?
                .query_row([], |row| column::count(row, 0))
        })
    }
}

/// How far to look for what is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// What is said of the path, or covers it.
    Path,
    /// Also what is said of paths below it, which moves its times.
    Below,
}

/// Why a replica does not have the source's state of a path yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// A change is ahead of its cursor, or work covers the path.
    Queued,
    /// This is left to be done at the path.
    Left(Work),
}

/// What decides when something that is gone may go.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Unfinished {
    /// Rows of [`Work::Content`] and [`Work::Again`].
    pub content: Vec<Outstanding>,
    /// What is gone and waits for work at another path.
    pub waiting: Vec<Waiting>,
}

/// Something that is gone and waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What.
    pub path: RelPath,
    /// For the work at this path: the one that was named, or one below it.
    pub after: RelPath,
    /// Whether that is gone, too.
    pub gone: bool,
}

/// The bytes before and behind everything below a directory.
fn below(directory: &RelPath) -> (Vec<u8>, Vec<u8>) {
    match directory.as_bytes() {
        b"" => (Vec::new(), vec![0xff; 256]),
        // '0' follows '/'.
        path => ([path, b"/"].concat(), [path, b"0"].concat()),
    }
}

/// Adds or replaces rows; a replaced row keeps `since` and counts one more attempt. A comparison is not replaced by anything
/// less, but what is gone needs none. What is gone and still is keeps its approval; what it waits for it keeps as a comparison too,
/// which may find that what is in it is gone.
pub(crate) fn add(transaction: &Transaction<'_>, replica: ReplicaId, rows: &[Outstanding]) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO outstanding (replica, path, work, reason, errno, since, attempts, retry, after) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (replica, path) DO UPDATE SET \
         work = iif(work = 6 AND excluded.work = 5, 6, excluded.work), \
         after = iif(work IN (3, 5, 6) AND excluded.work IN (3, 5), coalesce(excluded.after, after), excluded.after), \
         reason = excluded.reason, errno = excluded.errno, \
         attempts = min(attempts + 1, 4294967295), retry = excluded.retry \
         WHERE work != 3 OR excluded.work IN (3, 5)",
    )?;
    for row in rows {
        let (work, reason, errno) = match row.work {
            Work::Held { reason, errno } => (HELD, Some(reason.code()), errno),
            Work::Content => (CONTENT, None, 0),
            Work::Compare => (COMPARE, None, 0),
            Work::Again => (AGAIN, None, 0),
            Work::Doubted => (DOUBTED, None, 0),
            Work::Gone { approved: false } => (GONE, None, 0),
            Work::Gone { approved: true } => (APPROVED, None, 0),
        };
        statement.execute(params![
            &replica.0.0[..],
            row.path.as_bytes(),
            work,
            reason,
            errno,
            row.since_ms,
            row.attempts,
            row.retry_ms,
            row.after.as_ref().map(RelPath::as_bytes)
        ])?;
    }
    Ok(())
}

/// Directories at which something was left to be done are compared. One could not be read, or not be made, and what is in it was
/// refused for that. Another was to go: what the replica has in it is not in the catalog, if it was renamed away or never known
/// here. Only what was to be planned again is done.
pub(crate) fn made(transaction: &Transaction<'_>, replica: ReplicaId, directories: &[RelPath]) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "UPDATE outstanding SET work = 3, reason = NULL, errno = 0, retry = 0 \
         WHERE replica = ?1 AND path = ?2 AND work != 4",
    )?;
    for path in directories {
        statement.execute(params![&replica.0.0[..], path.as_bytes()])?;
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

/// Deletes what is said to be gone at and below paths that were removed: it went with them.
pub(crate) fn removed(transaction: &Transaction<'_>, replica: ReplicaId, paths: &[RelPath]) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "DELETE FROM outstanding WHERE replica = ?1 AND (path = ?2 OR (path > ?3 AND path < ?4)) AND work IN (5, 6)",
    )?;
    for path in paths {
        let (from, to) = below(path);
        statement.execute(params![&replica.0.0[..], path.as_bytes(), from, to])?;
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
        DOUBTED => Work::Doubted,
        GONE => Work::Gone { approved: false },
        APPROVED => Work::Gone { approved: true },
        _ => return Err(column::bad(1, Type::Integer)),
    };
    Ok(Outstanding {
        path: column::path(row, 0)?,
        work,
        since_ms: row.get(4)?,
        attempts: row.get(5)?,
        retry_ms: row.get(6)?,
        after: column::path_or_null(row, 7)?,
    })
}
