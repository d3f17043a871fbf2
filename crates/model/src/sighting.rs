//! What one side of an audit sees: an entry of a listing, and one path looked at closely.

use crate::{Entry, Hash, Name, Recorded, RelPath, Tally, Xattrs};

/// What is in a directory, in a few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Below {
    /// Equal on two sides when everything in the directory and below it is, the directory's own metadata aside.
    pub digest: Hash,
    /// How many names the directory itself holds: decides in how many parts it is listed.
    pub names: u64,
    /// What is in it and below.
    pub tally: Tally,
}

/// An entry of a directory, as one side lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: Name,
    /// What it is; without a link group. The hash of a file is there unless it could not be read.
    pub entry: Entry,
    /// What is in it; `None` of what is no directory, and of a directory that is not entered: it cannot be read, or is a
    /// mount point.
    pub below: Option<Below>,
}

/// What one side has at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// Nothing that takes part.
    Absent,
    /// Something that cannot be read.
    Unreadable {
        /// Number of the system call's error.
        errno: i32,
    },
    /// This.
    There {
        /// What it is; the link group of an inode with several names is this side's inode number.
        entry: Entry,
        /// Its attributes; `None` when they are too large to be told.
        xattrs: Option<Xattrs>,
    },
}

/// A look at a path, and what it is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// What is there.
    pub what: Sighting,
    /// Whether it stayed as it is while it was read.
    pub steady: bool,
    /// Changes with the inode, its size and its times: equal numbers mean that it was not touched in between.
    pub version: u64,
    /// Milliseconds since the path, or a directory above it, was last changed, by the clock of the side that looks.
    pub age_ms: u64,
    /// What this side's record says of it; `None` when it has no records, or was not asked for them.
    pub recorded: Option<Recorded>,
}

impl Look {
    /// Hash of the content, where it is a file that was read.
    pub fn hash(&self) -> Option<Hash> {
        match &self.what {
            Sighting::There { entry, .. } => entry.hash(),
            _ => None,
        }
    }
}

/// A path that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Where.
    pub path: RelPath,
    /// Number of the system call's error.
    pub errno: i32,
}
