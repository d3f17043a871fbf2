//! Opening a database file: create it, recognise it, migrate it, or set it aside and begin anew.
//!
//! Order matters. The header is read as plain bytes first, so that the file of a newer version is left without even a
//! WAL beside it; the identity is then read again through SQLite, because a header may still wait in the WAL; only then
//! is anything written.

use crate::error::{At, Error, Result};
use crate::schema::Layout;
use rusqlite::config::DbConfig;
use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a database came to be usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It was there.
    Existing,
    /// There was no file.
    Created,
    /// There was a file of no use. What it held is lost: compare and rescan.
    Rebuilt {
        /// What was wrong with it.
        reason: Rebuilt,
    },
}

/// Why a database was begun anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebuilt {
    /// Not readable as a database; moved to `<name>.damaged-<n>`.
    Damaged,
    /// A database of something else; moved to `<name>.damaged-<n>`.
    WrongApplication,
    /// Nothing in it: cut to nothing by a crash of the file system, or its creation was interrupted.
    Empty,
}

/// Longer than a checkpoint by another connection of ours takes to get out of the way, shorter than anyone waits.
const BUSY: Duration = Duration::from_millis(500);

/// A log that may be left behind.
const LOG_LEFT_BYTES: u64 = 1 << 20;

/// The WAL file is cut to this after a checkpoint.
const JOURNAL_BYTES_MAX: i64 = 64 << 20;

/// Fills in what only the creator knows, within the transaction that creates the tables.
pub(crate) type Seed<'a> = &'a dyn Fn(&Connection) -> rusqlite::Result<()>;

/// Opens or creates the file. A damaged or foreign one is set aside and replaced.
pub(crate) fn open(path: &Path, layout: &Layout, seed: Seed<'_>) -> Result<(Connection, Opened)> {
    let error = match attempt(path, layout, seed) {
        Err(error) if error.is_damage() => error,
        other => return other,
    };
    let aside = set_aside(path)?;
    tracing::warn!(path = %path.display(), aside = %aside.display(), error = &error as &dyn std::error::Error, "database rebuilt");
    let (connection, _) = attempt(path, layout, seed)?;
    let reason = match error {
        Error::WrongApplication { .. } => Rebuilt::WrongApplication,
        _ => Rebuilt::Damaged,
    };
    Ok((connection, Opened::Rebuilt { reason }))
}

/// A database in memory, for tests of what is built on it.
pub(crate) fn in_memory(layout: &Layout, seed: Seed<'_>) -> Result<Connection> {
    let path = Path::new(":memory:");
    let mut connection = Connection::open_in_memory().at(path)?;
    connection.set_prepared_statement_cache_capacity(64);
    migrate(&mut connection, layout, 0, seed).at(path)?;
    Ok(connection)
}

/// A second connection that cannot write.
pub(crate) fn open_read_only(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).at(path)?;
    connect(&connection, 8 * 1024).at(path)?;
    Ok(connection)
}

/// The same of a file that must be there and of the present layout.
pub(crate) fn open_present(path: &Path, layout: &Layout) -> Result<Connection> {
    if !probe(path, layout)? {
        return Err(Error::Open { path: path.to_owned(), source: ErrorKind::NotFound.into() });
    }
    let connection = open_read_only(path)?;
    match identify(&connection, path, layout)? {
        found if found == layout.version() => Ok(connection),
        // Its writer will bring it up to date.
        found => Err(Error::WrongApplication { path: path.to_owned(), found: i32::try_from(found).unwrap_or(0) }),
    }
}

/// Writes the log into the file and cuts the log. Readers that are in the way make it do less; that is no error.
pub(crate) fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// The same, unless the log is so small that the next process reads it as soon as it would be written.
pub(crate) fn close_log(connection: &Connection, path: &Path) -> Result<()> {
    let log = fs::metadata(with_suffix(path, "-wal")).map_or(0, |log| log.len());
    if log > LOG_LEFT_BYTES { checkpoint(connection).at(path) } else { Ok(()) }
}

/// Moves the file and its WAL to `<name>.damaged-<n>` and gives the name; an older one of the kind is removed. No
/// connection to it may be open.
pub fn set_aside(path: &Path) -> Result<PathBuf> {
    let failed = |source| Error::SetAside { path: path.to_owned(), source };
    let older = set_aside_before(path).map_err(failed)?;
    let number = older.iter().map(|(number, _)| *number).max().unwrap_or(0).saturating_add(1);
    let aside = with_suffix(path, &format!(".damaged-{number}"));
    // The database first: without it SQLite discards a WAL, but a database without its WAL looks sound and is stale.
    rename_if_there(path, &aside).map_err(failed)?;
    rename_if_there(&with_suffix(path, "-wal"), &with_suffix(&aside, "-wal")).map_err(failed)?;
    remove_if_there(&with_suffix(path, "-shm")).map_err(failed)?;
    remove_if_there(&with_suffix(path, "-journal")).map_err(failed)?;
    for (_, file) in older.into_iter().filter(|(old, _)| *old != number) {
        remove_if_there(&file).map_err(failed)?;
    }
    Ok(aside)
}

fn attempt(path: &Path, layout: &Layout, seed: Seed<'_>) -> Result<(Connection, Opened)> {
    let there = probe(path, layout)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).at(path)?;
    connect(&connection, layout.cache_kib).at(path)?;
    let found = identify(&connection, path, layout)?;
    if found == 0 {
        connection.pragma_update(None, "page_size", 8192).at(path)?;
    }
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).at(path)?;
    if mode != "wal" {
        tracing::warn!(path = %path.display(), mode, "no write-ahead log here: readers will wait for writers");
    }
    // A power cut may take the last commits away, never the file. Who needs a commit on disk flushes the log.
    connection.pragma_update(None, "synchronous", "NORMAL").at(path)?;
    let is_old = found > 0 && found < layout.version();
    if is_old {
        // Ten million rows take a minute.
        tracing::info!(path = %path.display(), from = found, to = layout.version(), "migrating");
    }
    migrate(&mut connection, layout, found, seed).at(path)?;
    inspect(&connection, layout).at(path)?;
    if is_old {
        shrink(&connection, path);
    }
    let opened = match (there, found) {
        (false, _) => Opened::Created,
        (true, 0) => Opened::Rebuilt { reason: Rebuilt::Empty },
        (true, _) => Opened::Existing,
    };
    Ok((connection, opened))
}

/// Settings of every connection. They are not stored in the file.
fn connect(connection: &Connection, cache_kib: i64) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Otherwise a statement over a partial index is prepared anew for every value bound to it: a sixth of all the time of a
    // first sync.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // A schema edited by somebody else must not be able to call functions.
    connection.pragma_update(None, "trusted_schema", false)?;
    // Finds a damaged page where it is read, before it is half used.
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.query_row("PRAGMA journal_size_limit = 67108864", [], |row| row.get::<_, i64>(0)).map(|limit| {
        debug_assert_eq!(limit, JOURNAL_BYTES_MAX);
    })
}

/// Reads the header without SQLite; gives whether there is a file. Refuses what must not be touched.
fn probe(path: &Path, layout: &Layout) -> Result<bool> {
    let failed = |source| Error::Open { path: path.to_owned(), source };
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.is_file() => return Err(Error::NotAFile { path: path.to_owned() }),
        Ok(_) => {}
    }
    let mut header = Vec::with_capacity(100);
    fs::File::open(path).and_then(|file| file.take(100).read_to_end(&mut header)).map_err(failed)?;
    // Offsets of the SQLite file format, section 1.3: user version at 60, application id at 68, both big-endian.
    let number = |at: usize| header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
    if let (Some(version), Some(id)) = (number(60), number(68)) {
        refuse_newer(path, layout, id, i64::from(version))?;
    }
    Ok(true)
}

/// Gives the version; 0 when the file has no content.
fn identify(connection: &Connection, path: &Path, layout: &Layout) -> Result<i64> {
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).at(path)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).at(path)?;
    let things: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).at(path)?;
    if let Err(error) = refuse_newer(path, layout, id, version) {
        // Closing would write the WAL into the file, and the file is not ours to write.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).at(path)?;
        return Err(error);
    }
    match (id, version, things) {
        (0, 0, 0) => Ok(0),
        (id, _, _) if id != layout.application_id => Err(Error::WrongApplication { path: path.to_owned(), found: id }),
        (_, version, _) if version < 1 => Err(Error::from_sql(path, crate::column::bad(0, Type::Integer))),
        (_, version, _) => Ok(version),
    }
}

fn refuse_newer(path: &Path, layout: &Layout, id: i32, version: i64) -> Result<()> {
    if id == layout.application_id && version > layout.version() {
        return Err(Error::Newer { path: path.to_owned(), found: version, known: layout.version() });
    }
    Ok(())
}

/// Takes the write lock, so that a second writer is met here and not later, and brings the file up to date.
fn migrate(connection: &mut Connection, layout: &Layout, found: i64, seed: Seed<'_>) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    layout.migrate(&transaction, found)?;
    if found == 0 {
        transaction.pragma_update(None, "application_id", layout.application_id)?;
        seed(&transaction)?;
    }
    if found < layout.version() {
        transaction.pragma_update(None, "user_version", layout.version())?;
    }
    transaction.commit()
}

/// Gives the space of a table that was rewritten back to the file system. Without it the file works as well, so what makes
/// it fail, such as too little space for the copy it needs, is nobody's business.
fn shrink(connection: &Connection, path: &Path) {
    if let Err(error) = connection.execute_batch("VACUUM").and_then(|()| checkpoint(connection)) {
        tracing::debug!(path = %path.display(), error = &error as &dyn std::error::Error, "a migrated file keeps its old size");
    }
}

/// Compares the schema with what the migrations make, and touches the first page of each table. A full check would read
/// the whole file; damage further in is met by whoever reads there.
fn inspect(connection: &Connection, layout: &Layout) -> rusqlite::Result<()> {
    let model = Connection::open_in_memory()?;
    layout.migrate(&model, 0)?;
    let mut expected = model.prepare("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL")?;
    let mut expected = expected.query([])?;
    while let Some(row) = expected.next()? {
        let (kind, name, sql): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let same = "SELECT 1 FROM sqlite_schema WHERE type = ?1 AND name = ?2 AND sql = ?3";
        connection.query_row(same, (&kind, &name, &sql), |_| Ok(()))?;
        if kind == "table" {
            connection.prepare(&format!("SELECT 1 FROM \"{name}\" LIMIT 1"))?.exists([])?;
        }
    }
    Ok(())
}

fn set_aside_before(path: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let prefix = [path.file_name().unwrap_or_default().as_bytes(), b".damaged-"].concat();
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let Some(rest) = name.as_bytes().strip_prefix(&prefix[..]) else { continue };
        let digits = rest.strip_suffix(b"-wal").unwrap_or(rest);
        if let Some(number) = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()) {
            found.push((number, folder.join(&name)));
        }
    }
    Ok(found)
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(OsStr::new(suffix));
    PathBuf::from(OsString::from_vec(name.into_vec()))
}

fn rename_if_there(from: &Path, to: &Path) -> std::io::Result<()> {
    if_there(fs::rename(from, to))
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    if_there(fs::remove_file(path))
}

fn if_there(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
