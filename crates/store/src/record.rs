//! A [`Record`] as bytes: the form in which every table holds one, from layout 2 on.
//!
//! What SQL searches by, inode and link group, may stand in columns of their own ([`Columns`]) and is then not repeated here.
//! What is absent, zero, or follows from something else takes no space. Decoding is total: bytes that [`encode`] never
//! writes are `None`, never a panic, and never half a record. docs/store.md has the table.

use fulmar_model::{Device, Hash, Kind, LinkGroup, Record, Stat, Timestamp, XattrDigest};

/// The columns beside a record's bytes. What is not `None` here is not in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Columns {
    pub(crate) inode: Option<u64>,
    pub(crate) group: Option<LinkGroup>,
}

/// Which inodes a catalog is searched by. The others take no room in an index, in which every row repeats its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Searched {
    /// All: a primary recognises what was renamed.
    Every,
    /// Those of directories, and of what has more than one name: a replica is told what was renamed.
    Linked,
}

impl Columns {
    /// What columns hold of a record in a catalog that is searched so.
    pub(crate) fn of(record: &Record, searched: Searched) -> Self {
        let stat = &record.stat;
        let is_searched = searched == Searched::Every || stat.links > 1 || stat.kind == Kind::Directory;
        Self { inode: (is_searched && stat.inode != 0).then_some(stat.inode), group: record.group }
    }
}

/// The longest encoding: head, six varints of 64 or 32 bits, two wide times, a device, both digests.
const BYTES_MAX: usize = 4 + 3 * 10 + 3 * 5 + 2 * 12 + 2 * 5 + 16 + 32;

// The head is 32 bits, little-endian: the mode in 0..12, the code of the kind in 12..15, then these.
const KIND_SHIFT: u32 = 12;
const SETTLED: u32 = 1 << 15;
const INODE: u32 = 1 << 16;
const GROUP: u32 = 1 << 17;
/// The link count is not 1.
const LINKS: u32 = 1 << 18;
/// The group is not the number of the owner.
const GID: u32 = 1 << 19;
const XATTRS: u32 = 1 << 20;
const HASH: u32 = 1 << 21;
const NODE: u32 = 1 << 22;
/// The modification time has nanoseconds.
const MTIME_NANOS: u32 = 1 << 23;
/// Its seconds are not 0..2^32.
const MTIME_WIDE: u32 = 1 << 24;
/// How the ctime is stored.
const CTIME_SHIFT: u32 = 25;
const CTIME_EQUAL: u32 = 0;
/// That many nanoseconds after the modification time.
const CTIME_AFTER: u32 = 1;
const CTIME_NARROW: u32 = 2;
const CTIME_WIDE: u32 = 3;
const UNUSED: u32 = !0 << 27;

const MODE_MASK: u16 = 0o7777;
const SECOND_NS: u64 = 1_000_000_000;
/// A distance below takes seven bytes at most, one less than the time itself: six and a half days.
const AFTER_NS_MAX: u64 = 1 << 49;

/// The bytes of a record beside these columns.
pub(crate) fn encode(record: &Record, columns: Columns) -> Vec<u8> {
    let Record { stat, xattrs, hash, group, settled } = record;
    let inode = (columns.inode.is_none() && stat.inode != 0).then_some(stat.inode);
    let group = group.filter(|_| columns.group.is_none());
    let gid = (stat.gid != stat.uid).then_some(stat.gid);
    let node = (stat.node != Device::default()).then_some(stat.node);
    let xattrs = (!xattrs.is_empty()).then_some(xattrs);
    let (form, after) = ctime_form(stat);
    let flag = |is: bool, bit: u32| if is { bit } else { 0 };
    let head = u32::from(stat.mode & MODE_MASK)
        | u32::from(stat.kind.code()) << KIND_SHIFT
        | flag(*settled, SETTLED)
        | flag(inode.is_some(), INODE)
        | flag(group.is_some(), GROUP)
        | flag(stat.links != 1, LINKS)
        | flag(gid.is_some(), GID)
        | flag(xattrs.is_some(), XATTRS)
        | flag(hash.is_some(), HASH)
        | flag(node.is_some(), NODE)
        | flag(stat.mtime.nanos != 0, MTIME_NANOS)
        | flag(is_wide(stat.mtime), MTIME_WIDE)
        | form << CTIME_SHIFT;
    let mut bytes = Vec::with_capacity(BYTES_MAX);
    bytes.extend_from_slice(&head.to_le_bytes());
    inode.inspect(|inode| put_varint(&mut bytes, *inode));
    group.inspect(|group| put_varint(&mut bytes, group.0));
    if stat.links != 1 {
        put_varint(&mut bytes, stat.links.into());
    }
    put_varint(&mut bytes, stat.uid.into());
    gid.inspect(|gid| put_varint(&mut bytes, (*gid).into()));
    put_varint(&mut bytes, stat.size);
    put_seconds(&mut bytes, stat.mtime);
    if stat.mtime.nanos != 0 {
        bytes.extend_from_slice(&stat.mtime.nanos.to_le_bytes());
    }
    match form {
        CTIME_EQUAL => {}
        CTIME_AFTER => put_varint(&mut bytes, after),
        _ => {
            put_seconds(&mut bytes, stat.ctime);
            bytes.extend_from_slice(&stat.ctime.nanos.to_le_bytes());
        }
    }
    if let Some(Device { major, minor }) = node {
        put_varint(&mut bytes, major.into());
        put_varint(&mut bytes, minor.into());
    }
    xattrs.inspect(|xattrs| bytes.extend_from_slice(&xattrs.0));
    hash.inspect(|hash| bytes.extend_from_slice(&hash.0));
    bytes
}

/// The reverse of [`encode`]; `None` for bytes it never wrote beside these columns.
pub(crate) fn decode(bytes: &[u8], columns: Columns) -> Option<Record> {
    let mut rest = Rest(bytes);
    let head = u32::from_le_bytes(rest.array()?);
    let has = |bit: u32| head & bit != 0;
    if has(UNUSED) || (has(INODE) && columns.inode.is_some()) || (has(GROUP) && columns.group.is_some()) {
        return None;
    }
    let [low, high, ..] = head.to_le_bytes();
    let kind = Kind::from_code((high >> (KIND_SHIFT - 8)) & 7)?;
    let inode = if has(INODE) { rest.varint()? } else { columns.inode.unwrap_or_default() };
    let group = if has(GROUP) { Some(LinkGroup(rest.varint()?)) } else { columns.group };
    let links = if has(LINKS) { rest.narrow()? } else { 1 };
    let uid = rest.narrow()?;
    let gid = if has(GID) { rest.narrow()? } else { uid };
    let size = rest.varint()?;
    let seconds = rest.seconds(has(MTIME_WIDE))?;
    let mtime = Timestamp { seconds, nanos: if has(MTIME_NANOS) { rest.nanos()? } else { 0 } };
    let ctime = match head >> CTIME_SHIFT & 3 {
        CTIME_EQUAL => mtime,
        CTIME_AFTER => later(mtime, rest.varint()?)?,
        form => Timestamp { seconds: rest.seconds(form == CTIME_WIDE)?, nanos: rest.nanos()? },
    };
    let node = if has(NODE) { Device { major: rest.narrow()?, minor: rest.narrow()? } } else { Device::default() };
    let xattrs = if has(XATTRS) { XattrDigest(rest.array()?) } else { XattrDigest::default() };
    let hash = if has(HASH) { Some(Hash(rest.array()?)) } else { None };
    if !rest.0.is_empty() {
        return None;
    }
    let mode = u16::from_le_bytes([low, high]) & MODE_MASK;
    let (device, allocated) = (Device::default(), 0);
    let stat = Stat { kind, device, inode, links, mode, uid, gid, size, allocated, mtime, ctime, node };
    Some(Record { stat, xattrs, hash, group, settled: has(SETTLED) })
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

/// How the ctime is stored, and its distance from the modification time where that is how.
fn ctime_form(stat: &Stat) -> (u32, u64) {
    if stat.ctime == stat.mtime {
        return (CTIME_EQUAL, 0);
    }
    match distance(stat.mtime, stat.ctime) {
        Some(after) => (CTIME_AFTER, after),
        None if is_wide(stat.ctime) => (CTIME_WIDE, 0),
        None => (CTIME_NARROW, 0),
    }
}

/// Nanoseconds from one time to a later one that is near.
fn distance(from: Timestamp, to: Timestamp) -> Option<u64> {
    let seconds = u64::try_from(to.seconds.checked_sub(from.seconds)?).ok()?;
    let forward = seconds.checked_mul(SECOND_NS)?.checked_add(to.nanos.into())?;
    forward.checked_sub(from.nanos.into()).filter(|after| *after < AFTER_NS_MAX)
}

fn later(from: Timestamp, after: u64) -> Option<Timestamp> {
    let nanos = u64::from(from.nanos).checked_add(after)?;
    let seconds = from.seconds.checked_add_unsigned(nanos / SECOND_NS)?;
    Some(Timestamp { seconds, nanos: u32::try_from(nanos % SECOND_NS).ok()? })
}

fn is_wide(time: Timestamp) -> bool {
    u32::try_from(time.seconds).is_err()
}

fn put_seconds(bytes: &mut Vec<u8>, time: Timestamp) {
    match u32::try_from(time.seconds) {
        Ok(narrow) => bytes.extend_from_slice(&narrow.to_le_bytes()),
        Err(_) => bytes.extend_from_slice(&time.seconds.to_le_bytes()),
    }
}

/// Seven bits a byte, the lowest first, the highest bit of a byte set when another follows.
fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

/// What is left to decode.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let low = u64::from(byte & 0x7f);
            // Of the tenth byte one bit is left.
            if shift > 63 || (shift == 63 && low > 1) {
                return None;
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        Some(value)
    }

    fn narrow(&mut self) -> Option<u32> {
        u32::try_from(self.varint()?).ok()
    }

    fn seconds(&mut self, wide: bool) -> Option<i64> {
        if wide { self.array().map(i64::from_le_bytes) } else { self.array().map(|b| u32::from_le_bytes(b).into()) }
    }

    fn nanos(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes).filter(|nanos| u64::from(*nanos) < SECOND_NS)
    }
}
