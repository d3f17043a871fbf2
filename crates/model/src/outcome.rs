//! What became of an operation on a replica.

use crate::RelPath;
use std::fmt;

/// Why a path cannot be brought up to date at the moment. The numbers are stored and sent; they never change meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HeldReason {
    /// The replica's disk is full (`ENOSPC`).
    DiskFull,
    /// A quota on the replica is exhausted (`EDQUOT`).
    Quota,
    /// Permission denied (`EACCES`, `EPERM`).
    Permission,
    /// The file system is mounted read-only (`EROFS`).
    ReadOnly,
    /// The replica's file system does not take the name (`ENAMETOOLONG`, `EINVAL`, `EILSEQ`).
    Name,
    /// An extended attribute or ACL is not supported or too large there.
    Xattr,
    /// Any other failure of a system call on the replica; the number tells which.
    ReplicaFailed,
    /// The primary cannot read the path.
    Unreadable,
    /// The file did not hold still while it was read.
    Busy,
    /// Removal waits for a person's approval.
    Approval,
    /// The path is a mount point on the replica, or a directory that cannot be replaced.
    InTheWay,
    /// Larger than this version can transport (a huge attribute set, a path too long).
    TooLarge,
    /// The primary's content is not the one it recorded, though nobody has written there since.
    Corrupt,
}

impl HeldReason {
    const ALL: [(Self, u8, &'static str); 13] = [
        (Self::DiskFull, 1, "disk full on the replica"),
        (Self::Quota, 2, "quota exhausted on the replica"),
        (Self::Permission, 3, "permission denied on the replica"),
        (Self::ReadOnly, 4, "file system of the replica is read-only"),
        (Self::Name, 5, "name not accepted by the replica's file system"),
        (Self::Xattr, 6, "extended attribute or ACL not accepted by the replica's file system"),
        (Self::ReplicaFailed, 7, "system call failed on the replica"),
        (Self::Unreadable, 8, "cannot be read on the primary"),
        (Self::Busy, 9, "keeps changing while it is read"),
        (Self::Approval, 10, "removal waits for approval"),
        (Self::InTheWay, 11, "something on the replica is in the way"),
        (Self::TooLarge, 12, "too large to transport"),
        (
            Self::Corrupt,
            13,
            "corrupt on the primary: the content has changed without a write; restore the file from a replica, or touch it \
             if this content is right",
        ),
    ];

    /// The number stored in databases and sent on the wire.
    pub fn code(self) -> u8 {
        Self::ALL.iter().find(|row| row.0 == self).map_or(0, |row| row.1)
    }

    /// The reverse of [`HeldReason::code`]; an unknown number is some failure of the replica.
    pub fn from_code(code: u8) -> Self {
        Self::ALL.iter().find(|row| row.1 == code).map_or(Self::ReplicaFailed, |row| row.0)
    }

    /// What a person reads.
    pub fn text(self) -> &'static str {
        Self::ALL.iter().find(|row| row.0 == self).map_or("unknown", |row| row.2)
    }

    /// The reverse of [`HeldReason::text`].
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|row| row.2 == text).map(|row| row.0)
    }

    /// The reason behind a failed system call on the replica.
    pub fn from_errno(errno: i32) -> Self {
        // Numbers of Linux on x86-64 and AArch64 (asm-generic/errno.h); the model crate has no libc.
        match errno {
            28 => Self::DiskFull,
            122 => Self::Quota,
            1 | 13 => Self::Permission,
            30 => Self::ReadOnly,
            36 | 84 => Self::Name,
            95 => Self::Xattr,
            16 => Self::InTheWay,
            _ => Self::ReplicaFailed,
        }
    }
}

impl fmt::Display for HeldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// A change that cannot be applied now for a stated reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Where.
    pub path: RelPath,
    /// Why.
    pub reason: HeldReason,
    /// Number of the system call's error, 0 where there is none.
    pub errno: i32,
}

/// What a replica answers for one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, or it was so already.
    Done,
    /// The shortcut does not apply here (other basis, other content): send the content.
    NeedContent,
    /// The replica's directories are not what the operation assumed: compare a subtree first.
    NeedCompare {
        /// Number of names, from the front of the operation's path, that lead to the subtree.
        depth: u16,
    },
    /// Cannot be done now.
    Held {
        /// Why.
        reason: HeldReason,
        /// Number of the system call's error, 0 where there is none.
        errno: i32,
    },
}
