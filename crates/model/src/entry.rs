//! What a path is, in the terms two sides can compare: no inode number of this machine, no ctime.

use crate::{Device, Hash, Kind, RelPath, Stat, Timestamp, XattrDigest};

/// Names of one inode on the primary. The number is the primary's inode number; it says "the same file as", nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkGroup(pub u64);

/// The part of an entry that depends on its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A regular file of `size` bytes; the hash where it is known.
    File {
        /// Length in bytes.
        size: u64,
        /// Hash of the content, when it has been read.
        hash: Option<Hash>,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it points, as stored; 1..=4095 bytes without NUL.
        target: Box<[u8]>,
    },
    /// A named pipe.
    Fifo,
    /// A character device node.
    CharDevice(Device),
    /// A block device node.
    BlockDevice(Device),
}

impl Node {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::File { .. } => Kind::File,
            Self::Directory => Kind::Directory,
            Self::Symlink { .. } => Kind::Symlink,
            Self::Fifo => Kind::Fifo,
            Self::CharDevice(_) => Kind::CharDevice,
            Self::BlockDevice(_) => Kind::BlockDevice,
        }
    }
}

/// Everything that must be equal on both sides, but for the content itself and the values of extended attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Kind, and what belongs to it.
    pub node: Node,
    /// Setuid, setgid, sticky and permissions: twelve bits.
    pub mode: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Timestamp,
    /// Digest of the extended attributes.
    pub xattrs: XattrDigest,
    /// Set when the inode has more than one name.
    pub group: Option<LinkGroup>,
}

impl Entry {
    /// The entry of an inode of a primary with this stat data. A socket has none; the caller leaves sockets out.
    pub fn of(stat: &Stat, hash: Option<Hash>, target: &[u8], xattrs: XattrDigest) -> Self {
        let node = match stat.kind {
            Kind::File => Node::File { size: stat.size, hash },
            Kind::Directory => Node::Directory,
            Kind::Symlink => Node::Symlink { target: target.into() },
            Kind::Fifo | Kind::Socket => Node::Fifo,
            Kind::CharDevice => Node::CharDevice(stat.node),
            Kind::BlockDevice => Node::BlockDevice(stat.node),
        };
        // A directory carries its inode always: that is how a replica knows which one is renamed.
        let grouped = stat.links > 1 || stat.kind == Kind::Directory;
        let Stat { mode, uid, gid, mtime, .. } = *stat;
        Self { node, mode, uid, gid, mtime, xattrs, group: grouped.then_some(LinkGroup(stat.inode)) }
    }

    /// The content hash of a file, when known.
    pub fn hash(&self) -> Option<Hash> {
        match self.node {
            Node::File { hash, .. } => hash,
            _ => None,
        }
    }

    /// Length of a file, else 0.
    pub fn size(&self) -> u64 {
        match self.node {
            Node::File { size, .. } => size,
            _ => 0,
        }
    }

    /// One line for a person: kind, size, mode, owner.
    pub fn describe(&self, path: &RelPath) -> String {
        format!("{} {:04o} {}:{} {} bytes {path}", self.node.kind().word(), self.mode, self.uid, self.gid, self.size())
    }
}
