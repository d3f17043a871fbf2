//! Reading a catalog. A path is found by walking down from the root, one directory id per name.
//!
//! Every call on a reader of its own sees one state of the file: the steps of a walk are one read transaction, because
//! the writer may rename a directory between two of them. What a call learns of directories serves the next ones for as
//! long as the file says that nobody has committed since: in a scan beside an idle writer, most of the work of a small
//! directory would be to find it.

use crate::column::{self, bits, clamp, limit, record_columns};
use crate::directories::Directories;
use crate::error::{At, Error, Result};
use crate::open;
use crate::rows::Rows;
use crate::schema::{self, Layout};
use fulmar_model::{LinkGroup, Name, PATH_BYTES_MAX, Recall, Record, RelPath, Seal};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params};
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

/// What can be asked of a catalog. [`crate::Catalog`] derefs to one; [`crate::Catalog::reader`] makes one for another
/// thread.
pub struct CatalogReader {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
    /// Ids of directories in the state that is being read.
    known: RefCell<Directories>,
    side: Side,
}

enum Side {
    /// The writing connection: it knows when an id moves.
    Writer,
    /// The same, of what no other connection sees.
    Memory,
    /// Beside a writer, with the `data_version` in which the directories were found.
    Beside(Cell<Option<i64>>),
}

pub(crate) const CHILDREN: &str =
    concat!("SELECT name, ", record_columns!(), " FROM nodes WHERE parent = ?1 AND name > ?2 ORDER BY name LIMIT ?3");
pub(crate) const AMONG: &str = concat!(
    "SELECT name, ",
    record_columns!(),
    " FROM nodes WHERE parent = ?1 AND name BETWEEN ?2 AND ?3 ORDER BY name"
);
pub(crate) const NAMES_OF: &str =
    concat!("SELECT parent, name, ", record_columns!(), " FROM nodes WHERE inode = ?1 LIMIT ?2");
pub(crate) const NAMES_IN_GROUP: &str =
    concat!("SELECT parent, name, ", record_columns!(), " FROM nodes WHERE link_group = ?1 LIMIT ?2");

/// The parent's id and the name: the key of a row.
pub(crate) type Key = (i64, Box<[u8]>);

/// A question that fails is answered as if nothing were recorded: then the tree is read.
impl Recall for CatalogReader {
    fn of(&self, path: &RelPath) -> Option<Record> {
        self.get(path).unwrap_or_else(|error| {
            tracing::debug!(%path, %error, "a record that cannot be read");
            None
        })
    }

    fn within(&self, directory: &RelPath, names: &[&Name], told: &mut [Option<Record>]) {
        if let Err(error) = self.find(directory, names, told) {
            tracing::debug!(%directory, %error, "records that cannot be read");
            told.fill(None);
        }
    }

    fn seal(&self, directory: &RelPath) -> Option<Seal> {
        self.seal_of(directory).unwrap_or_else(|error| {
            tracing::debug!(%directory, %error, "a seal that cannot be read");
            None
        })
    }
}

impl CatalogReader {
    /// Opens a primary's catalog.db that somebody else writes, to read; an error when there is none of this version.
    pub fn open_catalog(path: &Path) -> Result<Self> {
        Self::open_beside(path, &schema::CATALOG)
    }

    /// The same for a replica's store.db.
    pub fn open_replica(path: &Path) -> Result<Self> {
        Self::open_beside(path, &schema::REPLICA)
    }

    fn open_beside(path: &Path, layout: &Layout) -> Result<Self> {
        Ok(Self::beside_writer(open::open_present(path, layout)?, path.to_owned()))
    }

    /// The reading half of the writing connection.
    pub(crate) fn of_writer(connection: Connection, path: PathBuf) -> Self {
        Self { connection, path, known: RefCell::default(), side: Side::Writer }
    }

    /// The only connection there is.
    pub(crate) fn in_memory(connection: Connection) -> Self {
        Self { connection, path: PathBuf::from(":memory:"), known: RefCell::default(), side: Side::Memory }
    }

    /// One more, for another thread. It sees what is committed.
    pub fn another(&self) -> Result<Self> {
        match self.side {
            Side::Memory => Err(Error::InMemory),
            Side::Writer | Side::Beside(_) => {
                Ok(Self::beside_writer(open::open_read_only(&self.path)?, self.path.clone()))
            }
        }
    }

    /// A connection that only reads, beside a writer.
    pub(crate) fn beside_writer(connection: Connection, path: PathBuf) -> Self {
        Self { connection, path, known: RefCell::default(), side: Side::Beside(Cell::new(None)) }
    }

    /// What is remembered of `path`.
    pub fn get(&self, path: &RelPath) -> Result<Option<Record>> {
        self.read(|connection| {
            let Some((parent, name)) = self.key(path)? else { return Ok(None) };
            connection
                .prepare_cached(concat!("SELECT ", record_columns!(), " FROM nodes WHERE parent = ?1 AND name = ?2"))?
                .query_row(params![parent, name], |row| column::record(row, 0))
                .optional()
        })
    }

    /// A page of what a directory contains, ordered by the bytes of the name, after `after`.
    pub fn children(&self, path: &RelPath, after: Option<&Name>, rows: usize) -> Result<Vec<(Name, Record)>> {
        self.read(|connection| {
            let Some(id) = self.directory(path)? else { return Ok(Vec::new()) };
            let after = after.map(Name::as_bytes).unwrap_or_default();
            connection
                .prepare_cached(CHILDREN)?
                .query_map(params![id, after, limit(rows)], |row| Ok((column::name(row, 0)?, column::record(row, 1)?)))?
                .collect()
        })
    }

    /// The records of names in a directory, one for each. They must come in increasing order; rows between the first and the last
    /// are passed over.
    pub fn records(&self, path: &RelPath, names: &[&Name]) -> Result<Vec<Option<Record>>> {
        let mut found = vec![None; names.len()];
        self.find(path, names, &mut found)?;
        Ok(found)
    }

    fn find(&self, path: &RelPath, names: &[&Name], found: &mut [Option<Record>]) -> Result<()> {
        let (Some(first), Some(last)) = (names.first(), names.last()) else { return Ok(()) };
        self.read(|connection| {
            let Some(id) = self.directory(path)? else { return Ok(()) };
            let mut statement = connection.prepare_cached(AMONG)?;
            let mut rows = statement.query(params![id, first.as_bytes(), last.as_bytes()])?;
            let mut wanted = names.iter().zip(found).peekable();
            while let Some(row) = rows.next()? {
                let name = column::blob(row, 0)?;
                while wanted.next_if(|(wanted, _)| wanted.as_bytes() < name).is_some() {}
                if let Some((_, slot)) = wanted.next_if(|(wanted, _)| wanted.as_bytes() == name) {
                    *slot = Some(column::record(row, 1)?);
                }
            }
            Ok(())
        })
    }

    /// All that a directory contains, to be gone through beside a listing.
    pub fn rows<'a>(&'a self, path: &'a RelPath) -> Rows<'a> {
        Rows::new(self, path)
    }

    /// The paths whose record has this inode. Placeholders have none. A replica's catalog is not searched by the inodes of
    /// files that were recorded with one name.
    pub fn names_of(&self, inode: u64, rows: usize) -> Result<Vec<(RelPath, Record)>> {
        self.found_by(NAMES_OF, bits(inode), rows)
    }

    /// The paths of a link group of the primary.
    pub fn names_in_group(&self, group: LinkGroup, rows: usize) -> Result<Vec<(RelPath, Record)>> {
        self.found_by(NAMES_IN_GROUP, bits(group.0), rows)
    }

    /// Number of rows, placeholders included. Walks an index.
    pub fn count(&self) -> Result<u64> {
        self.read(|connection| {
            connection.prepare_cached("SELECT count(*) FROM nodes")?.query_row([], |row| column::count(row, 0))
        })
    }

    /// Number of rows at and below `path`, counted no further than `most`.
    pub fn count_below(&self, path: &RelPath, most: u64) -> Result<u64> {
        self.read(|connection| {
            let Some((parent, name)) = self.key(path)? else { return Ok(0) };
            let Some(dir) = row_dir(connection, parent, &name)? else { return Ok(0) };
            let mut total = 1.min(most);
            // Never more ids than rows counted.
            let mut ahead: Vec<i64> = dir.into_iter().collect();
            let mut rows = connection.prepare_cached("SELECT dir FROM nodes WHERE parent = ?1 LIMIT ?2")?;
            while let (Some(id), true) = (ahead.pop(), total < most) {
                let mut children = rows.query(params![id, clamp(most - total)])?;
                while let Some(child) = children.next()? {
                    total += 1;
                    ahead.extend(child.get::<_, Option<i64>>(0)?);
                }
            }
            Ok(total)
        })
    }

    /// Runs `body` in one state of the file.
    pub(crate) fn read<T>(&self, body: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        match &self.side {
            Side::Writer | Side::Memory => body(&self.connection).at(&self.path),
            Side::Beside(seen) => self.read_beside(seen, body).at(&self.path),
        }
    }

    /// The question for the version begins an implicit transaction, which lasts as long as a statement is not done: no
    /// other takes part in its beginning and end, as BEGIN and COMMIT would.
    fn read_beside<T>(
        &self,
        seen: &Cell<Option<i64>>,
        body: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let mut version = self.connection.prepare_cached("PRAGMA data_version")?;
        let mut version = version.query([])?;
        let now = version.next()?.map(|row| row.get(0)).transpose()?;
        if seen.replace(now) != now {
            self.known.borrow_mut().clear();
        }
        let value = body(&self.connection);
        drop(version);
        value
    }

    /// The key of the row of `path`; `None` when the directory it is in is not there.
    pub(crate) fn key(&self, path: &RelPath) -> rusqlite::Result<Option<Key>> {
        match path.split() {
            None => Ok(Some((0, Box::default()))),
            Some((parent, name)) => Ok(self.directory(&parent)?.map(|id| (id, name.as_bytes().into()))),
        }
    }

    /// The id of a directory; `None` when there is none of that path.
    pub(crate) fn directory(&self, path: &RelPath) -> rusqlite::Result<Option<i64>> {
        self.descend(path, |_, _| Ok(None))
    }

    /// Walks down to a directory. `absent` is called with the key of each that is missing and may supply an id.
    pub(crate) fn descend(
        &self,
        path: &RelPath,
        mut absent: impl FnMut(i64, &[u8]) -> rusqlite::Result<Option<i64>>,
    ) -> rusqlite::Result<Option<i64>> {
        if let Some(id) = self.known.borrow().get(path) {
            return Ok(Some(id));
        }
        let mut step = |at: &RelPath, parent: i64, name: &[u8]| -> rusqlite::Result<Option<i64>> {
            let id = match row_dir(&self.connection, parent, name)?.flatten() {
                Some(id) => Some(id),
                None => absent(parent, name)?,
            };
            if let Some(id) = id {
                self.known.borrow_mut().insert(at, id);
            }
            Ok(id)
        };
        let mut at = path.clone();
        let mut below: Vec<Name> = Vec::new();
        let mut id = loop {
            if let Some(id) = self.known.borrow().get(&at) {
                break id;
            }
            match at.split() {
                Some((parent, name)) => {
                    below.push(name);
                    at = parent;
                }
                None => match step(&at, 0, b"")? {
                    Some(id) => break id,
                    None => return Ok(None),
                },
            }
        };
        while let Some(name) = below.pop() {
            at = at.join(&name);
            match step(&at, id, name.as_bytes())? {
                Some(next) => id = next,
                None => return Ok(None),
            }
        }
        Ok(Some(id))
    }

    /// Forgets the ids at and below `path`, or all.
    pub(crate) fn forget(&self, path: Option<&RelPath>) {
        match path {
            Some(path) => self.known.borrow_mut().forget(path),
            None => self.known.borrow_mut().clear(),
        }
    }

    fn found_by(&self, query: &str, key: i64, rows: usize) -> Result<Vec<(RelPath, Record)>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(query)?;
            let mut found = statement.query(params![key, limit(rows)])?;
            let mut all = Vec::new();
            while let Some(row) = found.next()? {
                let name: Box<[u8]> = column::blob(row, 1)?.into();
                all.push((climb(connection, row.get(0)?, name)?, column::record(row, 2)?));
            }
            Ok(all)
        })
    }
}

/// Outer `None`: no such row. Inner: its own id if it is a directory.
pub(crate) fn row_dir(connection: &Connection, parent: i64, name: &[u8]) -> rusqlite::Result<Option<Option<i64>>> {
    connection
        .prepare_cached("SELECT dir FROM nodes WHERE parent = ?1 AND name = ?2")?
        .query_row(params![parent, name], |row| row.get(0))
        .optional()
}

/// The path of a row. Parents that form a circle or lead nowhere are damage.
fn climb(connection: &Connection, mut parent: i64, name: Box<[u8]>) -> rusqlite::Result<RelPath> {
    let mut names = vec![name];
    let mut statement = connection.prepare_cached("SELECT parent, name FROM nodes WHERE dir = ?1")?;
    while parent != 0 {
        let (above, name) = statement.query_row([parent], |row| Ok((row.get(0)?, column::blob(row, 1)?.into())))?;
        names.push(name);
        parent = above;
        if names.len() > PATH_BYTES_MAX {
            return Err(column::bad(0, Type::Integer));
        }
    }
    // The last one is the root, which has no name.
    names.pop();
    names.reverse();
    RelPath::parse(&names.join(&b'/')).map_err(|_| column::bad(1, Type::Blob))
}
