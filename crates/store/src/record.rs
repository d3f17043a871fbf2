//! A [`Record`] as sixteen columns, the same in every table that holds one.
//!
//! Narrow on purpose: 0 and 1 take no space in SQLite's format beyond their type byte, NULL neither, so kinds, owners and
//! link counts cost nothing in the common case and absent digests cost nothing at all.

use crate::column::{bad, bits, hash_or_null, unbits};
use fulmar_model::{Device, Kind, LinkGroup, Record, Stat, Timestamp, XattrDigest};
use rusqlite::types::Type;
use rusqlite::{Row, Statement};

/// The columns in the order of [`bind`] and [`read`].
macro_rules! record_columns {
    () => {
        "kind, inode, links, mode, uid, gid, size, mtime, mtime_ns, ctime, ctime_ns, node, xattrs, hash, link_group, settled"
    };
}

/// Sets each of them from the row that was to be inserted.
macro_rules! record_excluded {
    () => {
        "kind = excluded.kind, inode = excluded.inode, links = excluded.links, mode = excluded.mode, \
         uid = excluded.uid, gid = excluded.gid, size = excluded.size, mtime = excluded.mtime, \
         mtime_ns = excluded.mtime_ns, ctime = excluded.ctime, ctime_ns = excluded.ctime_ns, \
         node = excluded.node, xattrs = excluded.xattrs, hash = excluded.hash, \
         link_group = excluded.link_group, settled = excluded.settled"
    };
}

pub(crate) use {record_columns, record_excluded};

/// Binds the sixteen columns from parameter `first` (counted from 1).
pub(crate) fn bind(statement: &mut Statement<'_>, first: usize, record: &Record) -> rusqlite::Result<()> {
    let Record { stat, xattrs, hash, group, settled } = record;
    statement.raw_bind_parameter(first, stat.kind.code())?;
    statement.raw_bind_parameter(first + 1, some_unless_zero(stat.inode))?;
    statement.raw_bind_parameter(first + 2, stat.links)?;
    statement.raw_bind_parameter(first + 3, stat.mode)?;
    statement.raw_bind_parameter(first + 4, stat.uid)?;
    statement.raw_bind_parameter(first + 5, stat.gid)?;
    statement.raw_bind_parameter(first + 6, bits(stat.size))?;
    statement.raw_bind_parameter(first + 7, stat.mtime.seconds)?;
    statement.raw_bind_parameter(first + 8, stat.mtime.nanos)?;
    statement.raw_bind_parameter(first + 9, stat.ctime.seconds)?;
    statement.raw_bind_parameter(first + 10, stat.ctime.nanos)?;
    let Device { major, minor } = stat.node;
    statement.raw_bind_parameter(first + 11, some_unless_zero(u64::from(major) << 32 | u64::from(minor)))?;
    statement.raw_bind_parameter(first + 12, (!xattrs.is_empty()).then_some(&xattrs.0[..]))?;
    statement.raw_bind_parameter(first + 13, hash.as_ref().map(|hash| &hash.0[..]))?;
    statement.raw_bind_parameter(first + 14, group.map(|group| bits(group.0)))?;
    statement.raw_bind_parameter(first + 15, i64::from(*settled))
}

/// Reads the sixteen columns from column `first` (counted from 0).
pub(crate) fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Record> {
    let integer = |offset: usize| row.get::<_, Option<i64>>(first + offset).map(Option::unwrap_or_default);
    let kind = Kind::from_code(row.get(first)?).ok_or_else(|| bad(first, Type::Integer))?;
    let node = unbits(integer(11)?).to_be_bytes();
    let [a, b, c, d, e, f, g, h] = node;
    let stat = Stat {
        kind,
        device: Device::default(),
        inode: unbits(integer(1)?),
        links: row.get(first + 2)?,
        mode: row.get(first + 3)?,
        uid: row.get(first + 4)?,
        gid: row.get(first + 5)?,
        size: unbits(integer(6)?),
        allocated: 0,
        mtime: Timestamp::new(integer(7)?, row.get(first + 8)?),
        ctime: Timestamp::new(integer(9)?, row.get(first + 10)?),
        node: Device { major: u32::from_be_bytes([a, b, c, d]), minor: u32::from_be_bytes([e, f, g, h]) },
    };
    let xattrs = match row.get_ref(first + 12)?.as_blob_or_null().map_err(|_| bad(first + 12, Type::Blob))? {
        None => XattrDigest::default(),
        Some(bytes) => XattrDigest(bytes.try_into().map_err(|_| bad(first + 12, Type::Blob))?),
    };
    Ok(Record {
        stat,
        xattrs,
        hash: hash_or_null(row, first + 13)?,
        group: row.get::<_, Option<i64>>(first + 14)?.map(|group| LinkGroup(unbits(group))),
        settled: row.get::<_, i64>(first + 15)? != 0,
    })
}

/// What is known of a directory that was not looked at, only of something in it.
pub(crate) fn placeholder() -> Record {
    Record {
        stat: Stat {
            kind: Kind::Directory,
            device: Device::default(),
            inode: 0,
            links: 0,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            allocated: 0,
            mtime: Timestamp::default(),
            ctime: Timestamp::default(),
            node: Device::default(),
        },
        xattrs: XattrDigest::default(),
        hash: None,
        group: None,
        settled: false,
    }
}

fn some_unless_zero(value: u64) -> Option<i64> {
    (value != 0).then_some(bits(value))
}
