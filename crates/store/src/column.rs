//! How the model's values become columns. Integers of SQLite are signed, so inodes, sizes and group numbers are bit-cast
//! (they are only ever compared for equality) and positions, which are compared for order, are clamped.

use crate::record::{self, Columns};
use fulmar_model::{Hash, Id, LinkGroup, Name, Record, RelPath, Seq};
use rusqlite::Row;
use rusqlite::types::{Type, ValueRef};

/// A value this crate never writes.
#[derive(Debug, thiserror::Error)]
#[error("stored value out of range")]
struct BadValue;

/// The error for column `index` holding a value this crate never writes.
pub(crate) fn bad(index: usize, stored: Type) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, stored, Box::new(BadValue))
}

/// Any 64 bits as SQLite's integer. Order is lost above 2^63.
pub(crate) fn bits(value: u64) -> i64 {
    value.cast_signed()
}

/// The reverse of [`bits`].
pub(crate) fn unbits(value: i64) -> u64 {
    value.cast_unsigned()
}

/// A position or a limit for comparisons. Positions count from 1, so the clamp touches only what a peer invented.
pub(crate) fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A number of rows for LIMIT.
pub(crate) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// The lowest bytes behind `after`, for a page of paths: `path >= behind(after)`. One comparison, so that an index serves
/// it; no `after` gives the empty path, which is the root.
pub(crate) fn behind(after: Option<&RelPath>) -> Vec<u8> {
    after.map(|path| [path.as_bytes(), b"\0"].concat()).unwrap_or_default()
}

/// A count as SQLite gives it.
pub(crate) fn count(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(index)?;
    u64::try_from(value).map_err(|_| bad(index, Type::Integer))
}

/// A position.
pub(crate) fn seq(row: &Row<'_>, index: usize) -> rusqlite::Result<Seq> {
    count(row, index).map(Seq)
}

/// A position that may be NULL.
pub(crate) fn seq_or_null(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Seq>> {
    let value: Option<i64> = row.get(index)?;
    value.map(|_| seq(row, index)).transpose()
}

/// A path.
pub(crate) fn path(row: &Row<'_>, index: usize) -> rusqlite::Result<RelPath> {
    RelPath::parse(blob(row, index)?).map_err(|_| bad(index, Type::Blob))
}

/// A path that may be NULL.
pub(crate) fn path_or_null(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<RelPath>> {
    if row.get_ref(index)?.data_type() == Type::Null { Ok(None) } else { path(row, index).map(Some) }
}

/// A file name.
pub(crate) fn name(row: &Row<'_>, index: usize) -> rusqlite::Result<Name> {
    Name::parse(blob(row, index)?).map_err(|_| bad(index, Type::Blob))
}

/// An identity.
pub(crate) fn id(row: &Row<'_>, index: usize) -> rusqlite::Result<Id> {
    blob(row, index)?.try_into().map(Id).map_err(|_| bad(index, Type::Blob))
}

/// A content hash that may be NULL.
pub(crate) fn hash_or_null(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Hash>> {
    if row.get_ref(index)?.data_type() == Type::Null {
        return Ok(None);
    }
    blob(row, index)?.try_into().map(|bytes| Some(Hash(bytes))).map_err(|_| bad(index, Type::Blob))
}

/// The columns of a record in a table that is searched by inode and link group, in the order of [`record`].
macro_rules! record_columns {
    () => {
        "inode, link_group, record"
    };
}

pub(crate) use record_columns;

/// A record, from its three columns on.
pub(crate) fn record(row: &Row<'_>, first: usize) -> rusqlite::Result<Record> {
    let columns = Columns { inode: bits_or_null(row, first)?, group: bits_or_null(row, first + 1)?.map(LinkGroup) };
    whole_record(row, first + 2, columns)
}

/// A record beside columns that were read already.
pub(crate) fn whole_record(row: &Row<'_>, index: usize, columns: Columns) -> rusqlite::Result<Record> {
    record::decode(blob(row, index)?, columns).ok_or_else(|| bad(index, Type::Blob))
}

fn bits_or_null(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<u64>> {
    match row.get_ref(index)? {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(value) => Ok(Some(unbits(value))),
        other => Err(bad(index, other.data_type())),
    }
}

/// The bytes of a BLOB; any other type is damage.
pub(crate) fn blob<'r>(row: &'r Row<'_>, index: usize) -> rusqlite::Result<&'r [u8]> {
    match row.get_ref(index)? {
        ValueRef::Blob(bytes) => Ok(bytes),
        other => Err(bad(index, other.data_type())),
    }
}
