//! What an audit finds, and what it comes to.

use fulmar_model::{Aspect, Difference, Mailbox, RelPath, Side, Tally, Trouble, Unread};
use std::collections::BTreeMap;
use std::time::Duration;

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Both sides held still, and are not the same.
    Difference(Difference),
    /// Something is wrong with a mailbox, on one side or between both.
    Mailbox {
        /// Where.
        path: RelPath,
        /// What.
        troubles: Vec<Trouble>,
        /// What both sides have of it; the source first.
        sides: Box<[Option<Mailbox>; 2]>,
    },
    /// The path seemed to differ each time, and held still on neither look: nothing can be said.
    Busy(RelPath),
    /// A side cannot read it: nothing can be said.
    Unreadable {
        /// Which.
        side: Side,
        /// What.
        unread: Unread,
    },
}

/// What one side has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Everything that takes part.
    pub tally: Tally,
    /// Paths that could not be read.
    pub unread: u64,
    /// Directories that were not entered because something is mounted there.
    pub mounts: u64,
}

/// Mailboxes, by what came of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Mailboxes that a side has.
    pub count: u64,
    /// Those with which something is wrong.
    pub troubled: u64,
    /// Those that kept changing.
    pub busy: u64,
}

/// What came of the comparison with one replica.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What the replica's machine calls itself.
    pub host: Vec<u8>,
    /// Where the replica is there.
    pub root: Vec<u8>,
    /// What was read of the source.
    pub source: Coverage,
    /// What was read of the replica.
    pub replica: Coverage,
    /// Number of differences, by what differs.
    pub differences: BTreeMap<Aspect, u64>,
    /// Paths of which nothing can be said because they kept changing.
    pub busy: u64,
    /// Whether link groups were compared, all of them.
    pub links: bool,
    /// Whether `trusted.*` attributes were compared: both sides see them.
    pub trusted: bool,
    /// Mailboxes, where the tree is one of Maildirs.
    pub mailboxes: Option<Census>,
    /// How long it took.
    pub took: Duration,
}

impl Verdict {
    /// Whether everything was read, and is the same.
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty() && self.busy == 0 && self.links && self.unread() == 0
    }

    /// Paths that could not be read, on both sides; one of the numbers is a peer's.
    pub fn unread(&self) -> u64 {
        self.source.unread.saturating_add(self.replica.unread)
    }

    /// Number of differences of every kind.
    pub fn difference_count(&self) -> u64 {
        self.differences.values().sum()
    }
}
