//! From layout 1 to 2: sixteen columns of a record become one value. The scripts around it rename the old tables and drop
//! them; this copies the rows between.
//!
//! Released with layout 2, so it changes no more: should the bytes of a record, it needs its own copy of how they were.

use crate::column::{bad, bits, hash_or_null, unbits};
use crate::record::{self, Columns, Searched};
use fulmar_model::{Device, Kind, LinkGroup, Record, Stat, Timestamp, XattrDigest};
use rusqlite::types::{ToSqlOutput, Type, ValueRef};
use rusqlite::{Connection, Row, params};

/// The columns of a record in layout 1, in the order of [`read`].
macro_rules! columns_1 {
    () => {
        "kind, inode, links, mode, uid, gid, size, mtime, mtime_ns, ctime, ctime_ns, node, xattrs, hash, link_group, settled"
    };
}

/// Copies `nodes_1` into `nodes`.
pub(crate) fn copy_nodes(connection: &Connection, searched: Searched) -> rusqlite::Result<()> {
    let mut old = connection.prepare(concat!(
        "SELECT parent, name, dir, ",
        columns_1!(),
        " FROM nodes_1 ORDER BY parent, name"
    ))?;
    let mut new = connection
        .prepare("INSERT INTO nodes (parent, name, dir, inode, link_group, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    let mut rows = old.query([])?;
    while let Some(row) = rows.next()? {
        let record = read(row, 3)?;
        let columns = Columns::of(&record, searched);
        new.execute(params![
            same(row, 0)?,
            same(row, 1)?,
            same(row, 2)?,
            columns.inode.map(bits),
            columns.group.map(|group| bits(group.0)),
            record::encode(&record, columns)
        ])?;
    }
    Ok(())
}

/// Copies `intents_1` into `intents`.
pub(crate) fn copy_intents(connection: &Connection) -> rusqlite::Result<()> {
    let mut old = connection.prepare(concat!(
        "SELECT ordinal, path, source, ",
        columns_1!(),
        " FROM intents_1 ORDER BY ordinal"
    ))?;
    let mut new = connection.prepare("INSERT INTO intents (ordinal, path, source, record) VALUES (?1, ?2, ?3, ?4)")?;
    let mut rows = old.query([])?;
    while let Some(row) = rows.next()? {
        let record = record::encode(&read(row, 3)?, Columns::default());
        new.execute(params![same(row, 0)?, same(row, 1)?, same(row, 2)?, record])?;
    }
    Ok(())
}

/// A value as it is.
fn same<'r>(row: &'r Row<'_>, index: usize) -> rusqlite::Result<ToSqlOutput<'r>> {
    row.get_ref(index).map(ToSqlOutput::Borrowed)
}

fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Record> {
    let integer = |offset: usize| row.get::<_, Option<i64>>(first + offset).map(Option::unwrap_or_default);
    let kind = Kind::from_code(row.get(first)?).ok_or_else(|| bad(first, Type::Integer))?;
    let [a, b, c, d, e, f, g, h] = integer(11)?.to_be_bytes();
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
    let xattrs = match row.get_ref(first + 12)? {
        ValueRef::Null => XattrDigest::default(),
        ValueRef::Blob(bytes) => XattrDigest(bytes.try_into().map_err(|_| bad(first + 12, Type::Blob))?),
        other => return Err(bad(first + 12, other.data_type())),
    };
    Ok(Record {
        stat,
        xattrs,
        hash: hash_or_null(row, first + 13)?,
        group: row.get::<_, Option<i64>>(first + 14)?.map(|group| LinkGroup(unbits(group))),
        settled: row.get::<_, i64>(first + 15)? != 0,
    })
}
