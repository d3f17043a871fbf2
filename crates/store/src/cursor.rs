//! The replicas of a queue: how far each has got, and what may therefore go.
//!
//! Invariants:
//! - A cursor only grows, until it is reset.
//! - No row above the smallest cursor is ever pruned. A replica without a cursor holds nothing back: it will compare.
//! - The highest position ever pruned is stored, so a cursor from before it is recognised as of no use.

use crate::column::{self, clamp};
use crate::error::{Error, Result};
use crate::outstanding::{self, Outstanding};
use crate::queue::Queue;
use crate::verified;
use fulmar_model::{RelPath, ReplicaId, Seq};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

/// A registered replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaRow {
    /// Who.
    pub id: ReplicaId,
    /// What people call it.
    pub name: String,
    /// Everything up to here is durable there, or listed as outstanding. `None`: it has to compare first.
    pub cursor: Option<Seq>,
}

/// What a replica reports, stored in one transaction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ack<'a> {
    /// Everything up to here is done or in `add`; `None` leaves the cursor where it is.
    pub cursor: Option<Seq>,
    /// Work that was passed over.
    pub add: &'a [Outstanding],
    /// Paths of outstanding work that is done, comparisons left aside. A path in both lists stays outstanding.
    pub done: &'a [RelPath],
    /// Directories that are as they should be, which says nothing of what is in them: where anything but [`Work::Again`] was
    /// left, they are compared now.
    pub made: &'a [RelPath],
    /// Paths that were removed, with everything below them.
    pub removed: &'a [RelPath],
    /// A subtree whose comparison is complete.
    pub compared: Option<&'a RelPath>,
}

impl Queue {
    /// Every registered replica, by name.
    pub fn replicas(&self) -> Result<Vec<ReplicaRow>> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT replica, name, cursor FROM replicas ORDER BY name, replica")?
                .query_map([], replica_row)?
                .collect()
        })
    }

    /// The row of a replica: by its identity, or, as long as that was not heard, by the name it had before.
    pub fn replica(&self, known: Option<ReplicaId>, name: &str) -> Result<Option<ReplicaRow>> {
        let is_it = |row: &ReplicaRow| known.map_or(row.name == name, |id| id == row.id);
        Ok(self.replicas()?.into_iter().find(is_it))
    }

    /// Makes a replica known, or renames one that is. Who had the name before was in the same place, and is forgotten: nothing would
    /// take its cursor further, and the queue would grow behind it for ever.
    pub fn register(&mut self, replica: ReplicaId, name: &str) -> Result<ReplicaRow> {
        let before = |row: &ReplicaRow| row.name == name && row.id != replica;
        for row in self.replicas()?.into_iter().filter(before) {
            self.forget(row.id)?;
        }
        self.write(|transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO replicas (replica, name) VALUES (?1, ?2) \
                     ON CONFLICT (replica) DO UPDATE SET name = excluded.name",
                )?
                .execute(params![&replica.0.0[..], name])?;
            transaction
                .prepare_cached("SELECT replica, name, cursor FROM replicas WHERE replica = ?1")?
                .query_row([&replica.0.0[..]], replica_row)
        })
    }

    /// Drops a replica, its outstanding work, what came of verifying it, and the rows only it still needed.
    pub fn forget(&mut self, replica: ReplicaId) -> Result<()> {
        let head = self.head();
        self.write(|transaction| {
            outstanding::drop_all(transaction, replica)?;
            verified::drop_all(transaction, replica)?;
            transaction.prepare_cached("DELETE FROM replicas WHERE replica = ?1")?.execute([&replica.0.0[..]])?;
            prune(transaction, head)
        })
    }

    /// Takes a replica's cursor and its outstanding work away: it has to compare.
    pub fn reset_cursor(&mut self, replica: ReplicaId) -> Result<()> {
        let head = self.head();
        self.write(|transaction| {
            outstanding::drop_all(transaction, replica)?;
            transaction
                .prepare_cached("UPDATE replicas SET cursor = NULL WHERE replica = ?1")?
                .execute([&replica.0.0[..]])?;
            prune(transaction, head)
        })
    }

    /// Stores what a replica reports and prunes what no replica needs any more.
    ///
    /// A first cursor for a replica that compares must be given *before* it compares, with the comparison as outstanding
    /// work: from then on it holds rows back. One behind rows that are gone already is refused.
    ///
    /// Durable with the next change (docs/adr/0017): after a power cut the cursor may be where it was before, with the rows
    /// behind it, and what they say is done again.
    pub fn acknowledge(&mut self, replica: ReplicaId, ack: Ack<'_>) -> Result<()> {
        let current = self.read(|connection| cursor(connection, replica))?.ok_or(Error::UnknownReplica { replica })?;
        if let Some(given) = ack.cursor {
            self.check(given, current)?;
        }
        let head = self.head();
        let grown = ack.cursor.filter(|given| current.is_none_or(|current| *given > current));
        self.write_unsynced(|transaction| {
            outstanding::made(transaction, replica, ack.made)?;
            outstanding::remove(transaction, replica, ack.done)?;
            outstanding::remove(transaction, replica, ack.made)?;
            outstanding::removed(transaction, replica, ack.removed)?;
            if let Some(subtree) = ack.compared {
                outstanding::compared(transaction, replica, subtree)?;
            }
            outstanding::add(transaction, replica, ack.add)?;
            if let Some(cursor) = grown {
                transaction
                    .prepare_cached("UPDATE replicas SET cursor = ?2 WHERE replica = ?1")?
                    .execute(params![&replica.0.0[..], clamp(cursor.0)])?;
                prune(transaction, head)?;
            }
            Ok(())
        })
    }

    /// Whether a replica that has everything up to `cursor` can go on from there: nothing above it was pruned, and this
    /// queue did give that position.
    pub fn can_resume(&self, cursor: Seq) -> Result<bool> {
        Ok(cursor <= self.last() && cursor >= self.read(pruned)?)
    }

    fn check(&self, given: Seq, current: Option<Seq>) -> Result<()> {
        if given > self.last() {
            return Err(Error::CursorAhead { cursor: given, last: self.last() });
        }
        let pruned = self.read(pruned)?;
        if current.is_none() && given < pruned {
            return Err(Error::CursorBehind { cursor: given, pruned });
        }
        Ok(())
    }
}

/// Deletes what every replica has. Without any cursor the planner alone decides.
fn prune(transaction: &Transaction<'_>, head: Seq) -> rusqlite::Result<()> {
    let slowest = transaction
        .prepare_cached("SELECT min(cursor) FROM replicas")?
        .query_row([], |row| column::seq_or_null(row, 0))?;
    let bound = clamp(slowest.unwrap_or(head).0);
    let highest = transaction
        .prepare_cached("SELECT max(seq) FROM changes WHERE seq <= ?1")?
        .query_row([bound], |row| column::seq_or_null(row, 0))?;
    if let Some(highest) = highest {
        transaction.prepare_cached("DELETE FROM changes WHERE seq <= ?1")?.execute([bound])?;
        transaction.prepare_cached("UPDATE state SET pruned = max(pruned, ?1)")?.execute([clamp(highest.0)])?;
    }
    Ok(())
}

/// The cursor that is furthest; `None`: there is none.
pub(crate) fn furthest(transaction: &Transaction<'_>) -> rusqlite::Result<Option<Seq>> {
    transaction.prepare_cached("SELECT max(cursor) FROM replicas")?.query_row([], |row| column::seq_or_null(row, 0))
}

fn pruned(connection: &Connection) -> rusqlite::Result<Seq> {
    connection.prepare_cached("SELECT pruned FROM state")?.query_row([], |row| column::seq(row, 0))
}

/// `None`: not registered.
fn cursor(connection: &Connection, replica: ReplicaId) -> rusqlite::Result<Option<Option<Seq>>> {
    connection
        .prepare_cached("SELECT cursor FROM replicas WHERE replica = ?1")?
        .query_row([&replica.0.0[..]], |row| column::seq_or_null(row, 0))
        .optional()
}

fn replica_row(row: &Row<'_>) -> rusqlite::Result<ReplicaRow> {
    Ok(ReplicaRow { id: ReplicaId(column::id(row, 0)?), name: row.get(1)?, cursor: column::seq_or_null(row, 2)? })
}
