//! "This path may differ now."

use crate::RelPath;
use std::fmt;

/// Position in the queue: grows by at least one with every change, never used twice within one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How much of the tree a change speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The path itself.
    Path,
    /// The path, to which a directory was renamed: changes below it may be queued under the name it had for a while.
    Moved,
    /// The path and everything below it: whoever has not followed live must compare the subtree.
    Tree,
}

/// A row of the queue. It says where, never what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its position.
    pub seq: Seq,
    /// Where to look.
    pub path: RelPath,
    /// How far to look.
    pub scope: Scope,
    /// When it was first noticed, in milliseconds since 1970; lag is measured from here.
    pub first_seen_ms: i64,
}
