//! The catalog: one narrow row per path, keyed by the directory it is in and its name.
//!
//! Invariants:
//! - A directory has an id of its own and its children refer to that, so renaming it is one update.
//! - Every row but the root has a directory above it; what was never looked at stands in as a placeholder.
//! - Only a directory has rows below it.
//!
//! Calls outside `begin` and `commit` are transactions of their own. After an error inside one, roll back: SQLite may
//! already have, and whatever is tried next is refused until `rollback` was called.

use crate::column::{self, bits, record_columns};
use crate::error::{At, Error, Result};
use crate::open::{self, Opened};
use crate::reader::{CatalogReader, row_dir};
use crate::record::{self, Columns, Searched};
use crate::schema::{self, Layout};
use crate::seals::Unsealed;
use fulmar_model::{Kind, Record, RelPath, Timestamp};
use rusqlite::{Connection, params};
use std::ops::Deref;
use std::path::Path;

pub(crate) const NEXT_NAME_OF: &str = concat!(
    "SELECT parent, name, dir, ",
    record_columns!(),
    " FROM nodes WHERE inode = ?1 AND (parent, name) > (?2, ?3) ORDER BY parent, name LIMIT 1"
);

/// A catalog with its writing connection. Reading is in [`CatalogReader`].
pub struct Catalog {
    reader: CatalogReader,
    searched: Searched,
    pub(crate) unsealed: Unsealed,
    begun: bool,
}

impl Deref for Catalog {
    type Target = CatalogReader;

    fn deref(&self) -> &CatalogReader {
        &self.reader
    }
}

impl Catalog {
    /// Opens or creates catalog.db at `path`.
    pub fn open(path: &Path) -> Result<(Self, Opened)> {
        Self::open_as(path, &schema::CATALOG)
    }

    /// A catalog that ends with the process and has no second reader.
    pub fn in_memory() -> Result<Self> {
        Self::in_memory_as(&schema::CATALOG)
    }

    pub(crate) fn open_as(path: &Path, layout: &Layout) -> Result<(Self, Opened)> {
        let (connection, opened) = open::open(path, layout, &|_| Ok(()))?;
        let reader = CatalogReader::of_writer(connection, path.to_owned());
        Ok((Self { reader, searched: layout.searched, unsealed: Unsealed::default(), begun: false }, opened))
    }

    pub(crate) fn in_memory_as(layout: &Layout) -> Result<Self> {
        let connection = open::in_memory(layout, &|_| Ok(()))?;
        let reader = CatalogReader::in_memory(connection);
        Ok(Self { reader, searched: layout.searched, unsealed: Unsealed::default(), begun: false })
    }

    /// A connection for another thread. It sees what is committed.
    pub fn reader(&self) -> Result<CatalogReader> {
        self.reader.another()
    }

    /// Remembers `record` at `path`. Directories above it that are missing become placeholders; what was below a
    /// directory that is one no more is removed.
    pub fn put(&mut self, path: &RelPath, record: &Record) -> Result<()> {
        self.write(|this, connection| {
            let (parent, name) = this.make_key(path)?;
            let columns = Columns::of(record, this.searched);
            if record.stat.kind != Kind::Directory
                && upsert(connection, (parent, &name), None, (record, columns), Over::Leaf)?
            {
                return this.unsealed.unseal(connection, parent);
            }
            let before = row_dir(connection, parent, &name)?.flatten();
            // Of its directories a seal knows the number.
            if record.stat.kind != Kind::Directory || before.is_none() {
                this.unsealed.unseal(connection, parent)?;
            }
            let dir = match (record.stat.kind, before) {
                (Kind::Directory, Some(id)) => Some(id),
                (Kind::Directory, None) => Some(next_id(connection)?),
                (_, Some(id)) => {
                    this.forget(Some(path));
                    this.remove_below(connection, id)?;
                    this.unsealed.remove(connection, id)?;
                    None
                }
                (_, None) => None,
            };
            upsert(connection, (parent, &name), dir, (record, columns), Over::Anything).map(drop)
        })
    }

    /// Forgets `path` and everything below it; gives the number of rows.
    pub fn remove(&mut self, path: &RelPath) -> Result<u64> {
        self.write(|this, connection| this.remove_row(connection, path))
    }

    /// Moves a row, with everything below it, over whatever is at `to`. False, and nothing done, when `from` is not
    /// there.
    pub fn rename(&mut self, from: &RelPath, to: &RelPath) -> Result<bool> {
        if from == to {
            return Ok(self.get(from)?.is_some());
        }
        if to.starts_with(from) || from.starts_with(to) {
            return Err(Error::IntoItself { from: from.clone(), to: to.clone() });
        }
        self.write(|this, connection| {
            let Some((parent, name)) = this.key(from)? else { return Ok(false) };
            let Some(dir) = row_dir(connection, parent, &name)? else { return Ok(false) };
            this.remove_row(connection, to)?;
            let (new_parent, new_name) = this.make_key(to)?;
            connection
                .prepare_cached("UPDATE nodes SET parent = ?3, name = ?4 WHERE parent = ?1 AND name = ?2")?
                .execute(params![parent, name, new_parent, new_name])?;
            this.unsealed.unseal(connection, parent)?;
            this.unsealed.unseal(connection, new_parent)?;
            if dir.is_some() {
                this.forget(Some(from));
            }
            Ok(true)
        })
    }

    /// Sets ctime and link count on every path that [`CatalogReader::names_of`] gives of an inode, as our own link, unlink or rename of one of them did; gives
    /// the number of rows.
    pub fn touch_inode(&mut self, inode: u64, ctime: Timestamp, links: u32) -> Result<u64> {
        self.write(|this, connection| {
            let mut touched = 0;
            // One row at a time, by key: the names of an inode may be many, and what is updated must not be walked along.
            let mut next = connection.prepare_cached(NEXT_NAME_OF)?;
            let mut at: (i64, Box<[u8]>) = (i64::MIN, Box::default());
            loop {
                let mut rows = next.query(params![bits(inode), at.0, at.1])?;
                let Some(row) = rows.next()? else { return Ok(touched) };
                let (dir, mut record): (Option<i64>, _) = (row.get(2)?, column::record(row, 3)?);
                at = (row.get(0)?, column::blob(row, 1)?.into());
                drop(rows);
                (record.stat.ctime, record.stat.links) = (ctime, links);
                let columns = Columns::of(&record, this.searched);
                upsert(connection, (at.0, &at.1), dir, (&record, columns), Over::Anything)?;
                this.unsealed.unseal(connection, at.0)?;
                touched += 1;
            }
        })
    }

    /// Begins a transaction.
    pub fn begin(&mut self) -> Result<()> {
        if self.begun {
            return Err(Error::InTransaction { path: self.path.clone() });
        }
        self.connection.execute_batch("BEGIN IMMEDIATE").at(&self.path)?;
        self.begun = true;
        Ok(())
    }

    /// Ends it: everything since `begin` is there, or, on an error, still open.
    pub fn commit(&mut self) -> Result<()> {
        self.in_transaction()?;
        self.connection.execute_batch("COMMIT").at(&self.path)?;
        self.begun = false;
        Ok(())
    }

    /// Takes back everything since `begin`. Without one it does nothing.
    pub fn rollback(&mut self) -> Result<()> {
        self.begun = false;
        self.forget_found();
        if self.connection.is_autocommit() {
            return Ok(());
        }
        self.connection.execute_batch("ROLLBACK").at(&self.path)
    }

    /// Writes the log into the file and cuts the log; for idle moments.
    pub fn checkpoint(&mut self) -> Result<()> {
        open::checkpoint(&self.connection).at(&self.path)
    }

    /// At the end of a process: as [`Self::checkpoint`], unless the log is small.
    pub fn close_log(&mut self) -> Result<()> {
        open::close_log(&self.connection, &self.path)
    }

    /// Whether `begin` was called and neither `commit` nor `rollback` since.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Runs `body` in the open transaction, or in one of its own.
    pub(crate) fn write<T>(&mut self, body: impl FnOnce(&Self, &Connection) -> rusqlite::Result<T>) -> Result<T> {
        let own = !self.begun;
        if own {
            self.begin()?;
        }
        self.in_transaction()?;
        let value = body(self, &self.reader.connection).at(&self.reader.path);
        match (value, own) {
            (Ok(value), true) => match self.commit() {
                Ok(()) => Ok(value),
                Err(error) => Err(self.abandon(error)),
            },
            (Err(error), true) => Err(self.abandon(error)),
            (Err(error), false) => {
                self.forget_found();
                Err(error)
            }
            (value, false) => value,
        }
    }

    /// Ids that were given may not exist, and seals that were taken away may be there again.
    fn forget_found(&self) {
        self.forget(None);
        self.unsealed.forget();
    }

    fn in_transaction(&self) -> Result<()> {
        if !self.begun || self.connection.is_autocommit() {
            return Err(Error::NoTransaction { path: self.path.clone() });
        }
        Ok(())
    }

    fn abandon(&mut self, error: Error) -> Error {
        if let Err(second) = self.rollback() {
            tracing::debug!(error = &second as &dyn std::error::Error, "rollback after a failed write failed too");
        }
        error
    }
}

impl Catalog {
    /// The key of the row of `path`, with placeholders for what is missing above it.
    fn make_key(&self, path: &RelPath) -> rusqlite::Result<(i64, Box<[u8]>)> {
        let Some((above, name)) = path.split() else { return Ok((0, Box::default())) };
        let connection = &self.connection;
        let parent = self.descend(&above, |parent, name| {
            let id = next_id(connection)?;
            let placeholder = (&record::placeholder(), Columns::default());
            upsert(connection, (parent, name), Some(id), placeholder, Over::Anything)?;
            self.unsealed.unseal(connection, parent)?;
            Ok(Some(id))
        })?;
        parent.map(|id| (id, name.as_bytes().into())).ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    fn remove_row(&self, connection: &Connection, path: &RelPath) -> rusqlite::Result<u64> {
        let Some((parent, name)) = self.key(path)? else { return Ok(0) };
        let Some(dir) = row_dir(connection, parent, &name)? else { return Ok(0) };
        let mut removed = 1;
        if let Some(id) = dir {
            self.forget(Some(path));
            removed += self.remove_below(connection, id)?;
            self.unsealed.remove(connection, id)?;
        }
        self.unsealed.unseal(connection, parent)?;
        connection
            .prepare_cached("DELETE FROM nodes WHERE parent = ?1 AND name = ?2")?
            .execute(params![parent, name])?;
        Ok(removed)
    }

    /// Removes what is below a directory, depth first, so that memory is bounded by the depth.
    fn remove_below(&self, connection: &Connection, id: i64) -> rusqlite::Result<u64> {
        let mut files = connection.prepare_cached("DELETE FROM nodes WHERE parent = ?1 AND dir IS NULL")?;
        let mut first = connection.prepare_cached("SELECT dir FROM nodes WHERE parent = ?1 LIMIT 1")?;
        let mut directory = connection.prepare_cached("DELETE FROM nodes WHERE dir = ?1")?;
        let mut removed = rows_of(files.execute([id])?);
        let mut above = vec![id];
        while let Some(&at) = above.last() {
            let mut children = first.query([at])?;
            if let Some(child) = children.next()? {
                let child: i64 = child.get(0)?;
                drop(children);
                if above.contains(&child) {
                    return Err(column::bad(0, rusqlite::types::Type::Integer));
                }
                removed += rows_of(files.execute([child])?);
                above.push(child);
                continue;
            }
            drop(children);
            above.pop();
            if !above.is_empty() {
                self.unsealed.remove(connection, at)?;
                removed += rows_of(directory.execute([at])?);
            }
        }
        Ok(removed)
    }
}

/// An id above every id in use. The highest may be given again after its directory went, with all that referred to it.
fn next_id(connection: &Connection) -> rusqlite::Result<i64> {
    let highest: Option<i64> = connection
        .prepare_cached("SELECT max(dir) FROM nodes WHERE dir IS NOT NULL")?
        .query_row([], |row| row.get(0))?;
    Ok(highest.unwrap_or(0).saturating_add(1))
}

/// What a row may take the place of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    /// Whatever is there.
    Anything,
    /// Not a directory.
    Leaf,
}

macro_rules! upsert {
    ($condition:literal) => {
        concat!(
            "INSERT INTO nodes (parent, name, dir, inode, link_group, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT (parent, name) DO UPDATE SET dir = excluded.dir, inode = excluded.inode, \
             link_group = excluded.link_group, record = excluded.record",
            $condition
        )
    };
}

/// Inserts or replaces a row; gives whether it did, and did not find what it may not replace.
fn upsert(
    connection: &Connection,
    (parent, name): (i64, &[u8]),
    dir: Option<i64>,
    (record, columns): (&Record, Columns),
    over: Over,
) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(match over {
        Over::Anything => upsert!(""),
        Over::Leaf => upsert!(" WHERE dir IS NULL"),
    })?;
    statement.raw_bind_parameter(1, parent)?;
    statement.raw_bind_parameter(2, name)?;
    statement.raw_bind_parameter(3, dir)?;
    statement.raw_bind_parameter(4, columns.inode.map(bits))?;
    statement.raw_bind_parameter(5, columns.group.map(|group| bits(group.0)))?;
    statement.raw_bind_parameter(6, record::encode(record, columns))?;
    Ok(statement.raw_execute()? > 0)
}

fn rows_of(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
