//! Verifications that repeat themselves: how far the rounds are, and what came of them for each replica.
//!
//! A round is one comparison of the whole tree, at once or in slices. Its position and what came of its last slice are written
//! in one transaction, so that after a crash a slice counts once, or is made again.
//! Durable with the next change of the queue: a power cut may take away the last slices, which are made again.

use crate::column::{self, clamp};
use crate::error::Result;
use crate::queue::Queue;
use fulmar_model::{Aspect, Depth, RelPath, ReplicaId};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use std::collections::BTreeMap;

/// How much of a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// Paths.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
}

impl Measure {
    /// Counts another part; one of the numbers may be a peer's.
    pub fn add(&mut self, other: Self) {
        self.entries = self.entries.saturating_add(other.entries);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// A round under way, or the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// When it began, in milliseconds since 1970.
    pub began_ms: i64,
    /// When its last slice ended, in milliseconds since 1970.
    pub paused_ms: i64,
    /// Whether the whole tree was gone through.
    pub over: bool,
    /// The last directory that was gone through; `None`: none, or all.
    pub upto: Option<RelPath>,
    /// What was gone through.
    pub done: Measure,
    /// What the tree was when the round began.
    pub whole: Measure,
}

impl Round {
    /// How much of the tree was gone through, of a hundred; a hundred only when it is over.
    pub fn percent(&self) -> u64 {
        if self.over {
            return 100;
        }
        // Reading bytes and looking at paths both take their time.
        let of = |done: u64, whole: u64| u128::from(done) * 100 / u128::from(whole.max(1));
        let mean = of(self.done.entries, self.whole.entries) / 2 + of(self.done.bytes, self.whole.bytes) / 2;
        u64::try_from(mean.min(99)).unwrap_or(99)
    }
}

/// What came of a round for a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// When the round began, in milliseconds since 1970.
    pub began_ms: i64,
    /// When the replica was last compared in it, in milliseconds since 1970; 0: never.
    pub ended_ms: i64,
    /// How long comparing took, in milliseconds.
    pub took_ms: u64,
    /// What was compared.
    pub covered: Measure,
    /// Differences, by kind. They were queued to be mended.
    pub differences: BTreeMap<Aspect, u64>,
    /// Paths that kept changing.
    pub busy: u64,
    /// Paths that one side could not read.
    pub unread: u64,
    /// Slices in which not all names of one file could be compared.
    pub ungrouped: u64,
    /// Slices in which the replica took no part.
    pub missed: u64,
    /// Why the last attempt came to nothing.
    pub failed: Option<String>,
}

impl Verified {
    /// Whether everything was compared, and is the same.
    pub fn is_equal(&self) -> bool {
        let left = [self.busy, self.unread, self.ungrouped, self.missed, self.difference_count()];
        self.ended_ms > 0 && left == [0; 5]
    }

    /// Number of differences of every kind.
    pub fn difference_count(&self) -> u64 {
        self.differences.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// All that is known of a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifiedRounds {
    /// Of the last quick verification.
    pub quick: Option<Verified>,
    /// Of the last deep round that went through the tree.
    pub deep: Option<Verified>,
    /// Of the deep round under way.
    pub under_way: Option<Verified>,
}

const QUICK: i64 = 1;
const DEEP: i64 = 2;
const UNDER_WAY: i64 = 3;

impl Queue {
    /// The round of this depth that is under way, or the last.
    pub fn round(&self, depth: Depth) -> Result<Option<Round>> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT began, paused, over, upto, entries, bytes, entries_all, bytes_all FROM rounds WHERE depth = ?1",
                )?
                .query_row([code(depth)], round)
                .optional()
        })
    }

    /// Writes down how far a round is and what came of it, for each replica that was to take part. A deep round that is over
    /// takes the place of the one before.
    pub fn note_round(&mut self, depth: Depth, round: &Round, replicas: &[(ReplicaId, Verified)]) -> Result<()> {
        self.write_unsynced(|transaction| {
            put_round(transaction, depth, round)?;
            let number = if depth == Depth::Quick { QUICK } else { UNDER_WAY };
            for (replica, verified) in replicas {
                put_verified(transaction, *replica, number, verified)?;
            }
            if depth == Depth::Deep && round.over {
                for table in ["differences", "verified"] {
                    transaction.execute(
                        &format!("DELETE FROM {table} WHERE round = ?1 AND replica IN (SELECT replica FROM verified WHERE round = ?2)"),
                        [DEEP, UNDER_WAY],
                    )?;
                }
                for table in ["differences", "verified"] {
                    transaction
                        .execute(&format!("UPDATE {table} SET round = ?1 WHERE round = ?2"), [DEEP, UNDER_WAY])?;
                }
            }
            Ok(())
        })
    }

    /// Reads all of it, which is a few rows: whoever asks for the status later must not meet damage that nothing cures.
    pub(crate) fn check_rounds(&self) -> Result<()> {
        self.round(Depth::Quick)?;
        self.round(Depth::Deep)?;
        self.replicas()?.iter().try_for_each(|row| self.verified(row.id).map(drop))
    }

    /// What came of the rounds for a replica.
    pub fn verified(&self, replica: ReplicaId) -> Result<VerifiedRounds> {
        self.read(|connection| {
            let read = |number| verified(connection, replica, number);
            Ok(VerifiedRounds { quick: read(QUICK)?, deep: read(DEEP)?, under_way: read(UNDER_WAY)? })
        })
    }
}

/// Deletes what is known of a replica.
pub(crate) fn drop_all(transaction: &Transaction<'_>, replica: ReplicaId) -> rusqlite::Result<()> {
    for table in ["differences", "verified"] {
        transaction.execute(&format!("DELETE FROM {table} WHERE replica = ?1"), [&replica.0.0[..]])?;
    }
    Ok(())
}

fn code(depth: Depth) -> i64 {
    match depth {
        Depth::Quick => QUICK,
        Depth::Deep => DEEP,
    }
}

fn put_round(transaction: &Transaction<'_>, depth: Depth, round: &Round) -> rusqlite::Result<()> {
    let Round { began_ms, paused_ms, over, upto, done, whole } = round;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO rounds VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?
        .execute(params![
            code(depth),
            began_ms,
            paused_ms,
            over,
            upto.as_ref().map(RelPath::as_bytes),
            clamp(done.entries),
            clamp(done.bytes),
            clamp(whole.entries),
            clamp(whole.bytes)
        ])
        .map(drop)
}

fn put_verified(
    transaction: &Transaction<'_>,
    replica: ReplicaId,
    number: i64,
    verified: &Verified,
) -> rusqlite::Result<()> {
    let replica = &replica.0.0[..];
    let Verified { began_ms, ended_ms, took_ms, covered, differences, busy, unread, ungrouped, missed, failed } =
        verified;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO verified VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)")?
        .execute(params![
            replica,
            number,
            began_ms,
            ended_ms,
            clamp(*took_ms),
            clamp(covered.entries),
            clamp(covered.bytes),
            clamp(*busy),
            clamp(*unread),
            clamp(*ungrouped),
            clamp(*missed),
            failed
        ])?;
    transaction
        .prepare_cached("DELETE FROM differences WHERE replica = ?1 AND round = ?2")?
        .execute(params![replica, number])?;
    let mut insert = transaction.prepare_cached("INSERT INTO differences VALUES (?1, ?2, ?3, ?4)")?;
    for (aspect, count) in differences {
        insert.execute(params![replica, number, aspect.word(), clamp(*count)])?;
    }
    Ok(())
}

fn round(row: &Row<'_>) -> rusqlite::Result<Round> {
    Ok(Round {
        began_ms: row.get(0)?,
        paused_ms: row.get(1)?,
        over: row.get(2)?,
        upto: column::path_or_null(row, 3)?,
        done: measure(row, 4)?,
        whole: measure(row, 6)?,
    })
}

fn measure(row: &Row<'_>, first: usize) -> rusqlite::Result<Measure> {
    Ok(Measure { entries: column::count(row, first)?, bytes: column::count(row, first + 1)? })
}

fn verified(connection: &Connection, replica: ReplicaId, number: i64) -> rusqlite::Result<Option<Verified>> {
    let found = connection
        .prepare_cached(
            "SELECT began, ended, took, entries, bytes, busy, unread, ungrouped, missed, failed FROM verified \
             WHERE replica = ?1 AND round = ?2",
        )?
        .query_row(params![&replica.0.0[..], number], |row| {
            Ok(Verified {
                began_ms: row.get(0)?,
                ended_ms: row.get(1)?,
                took_ms: column::count(row, 2)?,
                covered: measure(row, 3)?,
                differences: BTreeMap::new(),
                busy: column::count(row, 5)?,
                unread: column::count(row, 6)?,
                ungrouped: column::count(row, 7)?,
                missed: column::count(row, 8)?,
                failed: row.get(9)?,
            })
        })
        .optional()?;
    let Some(mut verified) = found else { return Ok(None) };
    let mut statement =
        connection.prepare_cached("SELECT aspect, number FROM differences WHERE replica = ?1 AND round = ?2")?;
    let mut rows = statement.query(params![&replica.0.0[..], number])?;
    while let Some(row) = rows.next()? {
        let word: String = row.get(0)?;
        let aspect = Aspect::ALL.into_iter().find(|aspect| aspect.word() == word);
        verified.differences.insert(aspect.ok_or_else(|| column::bad(0, Type::Text))?, column::count(row, 1)?);
    }
    Ok(Some(verified))
}
