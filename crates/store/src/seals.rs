//! Seals of directories: what their rows come to, put together when nothing else is to be done.
//!
//! Invariant: a directory's seal is what a [`Sealer`] makes of its rows as they are. The transaction that writes one of them
//! takes the seal away, so there is nothing to be compared with a version. A reader that looks at rows as well asks for the seal
//! again behind them.

use crate::catalog::Catalog;
use crate::column;
use crate::error::Result;
use crate::reader::CatalogReader;
use fulmar_model::{Kind, RelPath, Seal, Sealer};
use rusqlite::{Connection, OptionalExtension, params};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Directories whose seals are known to be gone; beyond it the whole table is asked which are.
const BROKEN_MAX: usize = 16_384;

/// Directories that are passed over at once; a slice counts them like rows.
const PASSED: i64 = 2048;

/// Which directories have no seal.
pub(crate) struct Unsealed(RefCell<State>);

struct State {
    /// Certainly these.
    broken: BTreeSet<i64>,
    /// And perhaps some above this id. `None`: no others.
    above: Option<i64>,
}

impl Default for Unsealed {
    fn default() -> Self {
        Self(RefCell::new(State { broken: BTreeSet::new(), above: Some(i64::MIN) }))
    }
}

impl Unsealed {
    /// Takes away a directory's seal: a row in it is written.
    pub(crate) fn unseal(&self, connection: &Connection, dir: i64) -> rusqlite::Result<()> {
        let mut state = self.0.borrow_mut();
        // Above the root there is none.
        if dir == 0 || state.broken.contains(&dir) {
            return Ok(());
        }
        delete(connection, dir)?;
        if state.broken.len() >= BROKEN_MAX {
            *state = State { broken: BTreeSet::new(), above: Some(i64::MIN) };
        }
        state.broken.insert(dir);
        Ok(())
    }

    /// The directory itself goes.
    pub(crate) fn remove(&self, connection: &Connection, dir: i64) -> rusqlite::Result<()> {
        self.0.borrow_mut().broken.remove(&dir);
        delete(connection, dir)
    }

    /// What was taken away may be there again.
    pub(crate) fn forget(&self) {
        *self.0.borrow_mut() = State { broken: BTreeSet::new(), above: Some(i64::MIN) };
    }

    /// The next directory without one; many that have one are passed over at once.
    fn next(&self, connection: &Connection) -> rusqlite::Result<Next> {
        let mut state = self.0.borrow_mut();
        if let Some(dir) = state.broken.pop_first() {
            return Ok(Next::Directory(dir));
        }
        let Some(above) = state.above else { return Ok(Next::None) };
        let last: Option<i64> = connection
            .prepare_cached("SELECT max(dir) FROM (SELECT dir FROM nodes WHERE dir > ?1 ORDER BY dir LIMIT ?2)")?
            .query_row(params![above, PASSED], |row| row.get(0))?;
        let Some(last) = last else {
            state.above = None;
            return Ok(Next::None);
        };
        let next = connection
            .prepare_cached(
                "SELECT dir FROM nodes WHERE dir > ?1 AND dir <= ?2 \
                 AND NOT EXISTS (SELECT 1 FROM seals WHERE seals.dir = nodes.dir) ORDER BY dir LIMIT 1",
            )?
            .query_row([above, last], |row| row.get(0))
            .optional()?;
        state.above = Some(next.unwrap_or(last));
        Ok(next.map_or(Next::Passed, Next::Directory))
    }
}

/// What comes next.
enum Next {
    Directory(i64),
    /// Directories that have a seal, [`PASSED`] at most.
    Passed,
    None,
}

fn delete(connection: &Connection, dir: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM seals WHERE dir = ?1")?.execute([dir]).map(drop)
}

impl Catalog {
    /// Seals directories that have no seal, until `rows` rows were read, and the last directory to its end; gives whether there
    /// may be more. Not to be called within a transaction of the caller's.
    pub fn seal<S: Sealer>(&mut self, rows: u64, sealer: impl Fn() -> S) -> Result<bool> {
        self.write(|this, connection| {
            let mut read = 0;
            while read < rows {
                read += match this.unsealed.next(connection)? {
                    Next::Directory(dir) => 1 + seal(connection, dir, sealer())?,
                    Next::Passed => PASSED.unsigned_abs(),
                    Next::None => return Ok(false),
                };
            }
            Ok(true)
        })
    }
}

/// Gives the number of rows.
fn seal(connection: &Connection, dir: i64, mut sealer: impl Sealer) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT name, ",
        column::record_columns!(),
        " FROM nodes WHERE parent = ?1 ORDER BY name"
    ))?;
    let (mut found, mut rows, mut directories, mut wants) = (statement.query([dir])?, 0, 0i64, true);
    while let Some(row) = if wants { found.next()? } else { None } {
        let record = column::record(row, 1)?;
        rows += 1;
        directories += i64::from(record.stat.kind == Kind::Directory);
        wants = sealer.row(&column::name(row, 0)?, &record);
    }
    drop(found);
    let (key, leaves) = sealer.seal().filter(|_| wants).map(|seal| (seal.key.0, seal.leaves.0)).unzip();
    connection
        .prepare_cached("INSERT OR REPLACE INTO seals (dir, directories, key, leaves) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![dir, directories, key, leaves])?;
    Ok(rows)
}

impl CatalogReader {
    /// The seal of a directory; `None` when it has none.
    pub fn seal_of(&self, path: &RelPath) -> Result<Option<Seal>> {
        self.read(|connection| {
            let Some(id) = self.directory(path)? else { return Ok(None) };
            let mut statement =
                connection.prepare_cached("SELECT directories, key, leaves FROM seals WHERE dir = ?1")?;
            let mut rows = statement.query([id])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let (key, leaves) = (column::hash_or_null(row, 1)?, column::hash_or_null(row, 2)?);
            let directories = column::count(row, 0)?;
            Ok(key.zip(leaves).map(|(key, leaves)| Seal { key, leaves, directories }))
        })
    }
}
