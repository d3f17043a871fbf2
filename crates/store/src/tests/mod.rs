//! Tests, one file per subject, and the small literals they share.

mod catalog;
mod catalog_model;
mod cursor;
mod damage;
mod golden;
mod migration;
mod queue;
mod record;
mod replica;
mod seals;
mod verified;

use fulmar_model::{Device, Hash, Id, Kind, Name, QueueId, Record, RelPath, ReplicaId, Stat, Timestamp, XattrDigest};

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a valid path")
}

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).expect("a valid name")
}

fn queue_id(byte: u8) -> QueueId {
    QueueId(Id([byte; 16]))
}

fn replica_id(byte: u8) -> ReplicaId {
    ReplicaId(Id([byte; 16]))
}

/// A record in which every field tells `inode`.
fn record(kind: Kind, inode: u64) -> Record {
    let low = u32::try_from(inode % 1000).expect("below 1000");
    Record {
        stat: Stat {
            kind,
            device: Device::default(),
            inode,
            links: 1,
            mode: 0o644,
            uid: low,
            gid: low + 1,
            size: inode.wrapping_mul(3),
            allocated: 0,
            mtime: Timestamp::new(15_000_000_000, low),
            ctime: Timestamp::new(-5, low + 2),
            node: Device::default(),
        },
        xattrs: XattrDigest::default(),
        hash: (kind == Kind::File).then_some(Hash([low as u8; 32])),
        group: None,
        settled: true,
    }
}

fn file(inode: u64) -> Record {
    record(Kind::File, inode)
}

fn directory(inode: u64) -> Record {
    record(Kind::Directory, inode)
}
