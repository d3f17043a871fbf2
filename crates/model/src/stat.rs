//! What the kernel says of a path without opening it.

use crate::{Device, Kind, Timestamp};

/// The fields of `statx` that Fulmar uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: Kind,
    /// Device of the file system that holds it.
    pub device: Device,
    /// Inode number.
    pub inode: u64,
    /// Number of names the inode has, in the tree and outside.
    pub links: u32,
    /// The lower twelve bits: setuid, setgid, sticky, and nine permissions.
    pub mode: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Length in bytes (of a symlink: of its target).
    pub size: u64,
    /// Space used, in bytes; less than `size` when there are holes.
    pub allocated: u64,
    /// Content last modified.
    pub mtime: Timestamp,
    /// Inode last changed.
    pub ctime: Timestamp,
    /// Device number of a device node, else zero.
    pub node: Device,
}

impl Stat {
    /// Whether both could be the same unchanged inode: everything equal except space used and the device of the file
    /// system, which may be numbered anew at every boot.
    pub fn same_version(&self, other: &Self) -> bool {
        self.same_content(other)
            && self.ctime == other.ctime
            && (self.links, self.mode, self.uid, self.gid) == (other.links, other.mode, other.uid, other.gid)
    }

    /// Whether kind, inode, size and modification time are equal: content is equal unless somebody put the time back.
    pub fn same_content(&self, other: &Self) -> bool {
        (self.kind, self.inode, self.size, self.mtime, self.node)
            == (other.kind, other.inode, other.size, other.mtime, other.node)
    }
}
