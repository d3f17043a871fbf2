//! What an audit finds, and what it comes to.

use fulmar_model::{
    Aspect, Blame, Depth, Difference, Hash, HeldReason, Mailbox, RelPath, Side, Tally, Trouble, Unread,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Both sides held still, and are not the same; with whose doing it is, where records tell.
    Difference(Difference, Option<Why>),
    /// The replica does not have it yet: it is on its way, or held for this reason.
    Arriving {
        /// Where.
        path: RelPath,
        /// Why it does not get on.
        held: Option<HeldReason>,
    },
    /// The source's content is not the recorded one, though nobody wrote there; the replica has the same as the source, or nothing
    /// to compare.
    Corrupt {
        /// Where.
        path: RelPath,
        /// Hash of what was there.
        recorded: Hash,
        /// Hash of what is.
        found: Hash,
        /// Whether the replica has what was there.
        good_copy: bool,
    },
    /// A mailbox, whatever its verdict is.
    Mailbox {
        /// Where.
        path: RelPath,
        /// What is wrong with it; nothing: it is equal.
        troubles: Vec<Trouble>,
        /// What both sides have of it; the source first.
        sides: Box<[Option<Mailbox>; 2]>,
    },
    /// The path seemed to differ each time, and held still on neither look: nothing can be said.
    Busy(RelPath),
    /// More of a directory that only one side has, which an earlier slice has told.
    Further {
        /// Where.
        path: RelPath,
        /// How much is in it that belongs to this slice.
        tally: Tally,
    },
    /// A side cannot read it: nothing can be said.
    Unreadable {
        /// Which.
        side: Side,
        /// What.
        unread: Unread,
    },
}

/// Whose doing a difference is, and what was done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Why {
    /// Whose.
    pub blame: Blame,
    /// Whether the replica has the content that the source recorded.
    pub good_copy: bool,
    /// Whether it was repaired; `None` where nobody tried.
    pub repaired: Option<bool>,
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
    /// Bytes that were read to find out; `None`: not told.
    pub read: Option<u64>,
}

impl Coverage {
    fn add(&mut self, other: Self) {
        self.tally.add(other.tally);
        self.unread = self.unread.saturating_add(other.unread);
        self.mounts = self.mounts.saturating_add(other.mounts);
        self.read = self.read.zip(other.read).map(|(one, other)| one.saturating_add(other));
    }
}

/// What a verdict comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is the same.
    Equal,
    /// No difference is left, and not everything could be compared.
    Open,
    /// Something is not as it should be.
    Different,
}

/// Mailboxes, by what came of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Mailboxes that a side has.
    pub count: u64,
    /// Those with which something is wrong.
    pub troubled: u64,
    /// Those that kept changing, or in which something could not be compared.
    pub busy: u64,
}

impl Census {
    /// Those that are the same, and well.
    pub fn equal(&self) -> u64 {
        self.count.saturating_sub(self.troubled).saturating_sub(self.busy)
    }
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
    /// Number of differences, by whose doing they are, where records tell.
    pub blames: BTreeMap<Blame, u64>,
    /// Paths that are on their way, or held.
    pub arriving: u64,
    /// Files that have rotted on the source, though the replica does not differ: also those beyond what is remembered by name.
    pub corrupt: u64,
    /// Differences that were repaired.
    pub repaired: u64,
    /// How closely was looked, where records were asked.
    pub depth: Option<Depth>,
    /// Whether the replica had records; `None`: it was not asked.
    pub recalls: Option<bool>,
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
    /// With what came of another slice, of which the same was asked at the same place.
    pub fn add(&mut self, slice: &Self) {
        self.source.add(slice.source);
        self.replica.add(slice.replica);
        for (aspect, count) in &slice.differences {
            let sum = self.differences.entry(*aspect).or_default();
            *sum = sum.saturating_add(*count);
        }
        self.busy = self.busy.saturating_add(slice.busy);
        self.links &= slice.links;
        self.trusted &= slice.trusted;
        self.took = self.took.saturating_add(slice.took);
    }

    /// Whether everything was compared, and is the same, at the end at least.
    pub fn is_equal(&self) -> bool {
        let open = [self.busy, self.arriving, self.corrupt, self.unread()];
        self.difference_count() == self.repaired && open == [0; 4] && self.links
    }

    /// The same in a word.
    pub fn outcome(&self) -> Outcome {
        let open = self.difference_count().saturating_sub(self.repaired).saturating_add(self.corrupt);
        match (self.is_equal(), open) {
            (true, _) => Outcome::Equal,
            (false, 0) => Outcome::Open,
            (false, _) => Outcome::Different,
        }
    }

    /// Paths that could not be read, on both sides; one of the numbers is a peer's.
    pub fn unread(&self) -> u64 {
        self.source.unread.saturating_add(self.replica.unread)
    }

    /// Number of differences of every kind.
    pub fn difference_count(&self) -> u64 {
        self.differences.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(entries: u64, read: Option<u64>) -> Verdict {
        let tally = Tally { entries, files: 1, bytes: 10 };
        let side = Coverage { tally, unread: 1, mounts: 2, read };
        let differences = BTreeMap::from([(Aspect::Size, 1), (Aspect::Mode, entries)]);
        let took = Duration::from_secs(entries);
        Verdict { source: side, replica: side, differences, busy: 4, trusted: true, took, ..Verdict::default() }
    }

    #[test]
    fn slices_add_up_and_what_one_of_them_lacks_is_lacking() {
        let mut sum = verdict(3, Some(5));
        sum.add(&verdict(4, Some(6)));
        assert_eq!(sum.source.tally, Tally { entries: 7, files: 2, bytes: 20 });
        assert_eq!((sum.replica.unread, sum.replica.mounts, sum.replica.read), (2, 4, Some(11)));
        assert_eq!(sum.differences, BTreeMap::from([(Aspect::Size, 2), (Aspect::Mode, 7)]));
        assert_eq!((sum.busy, sum.trusted, sum.took), (8, true, Duration::from_secs(7)));
        sum.add(&Verdict { trusted: false, ..verdict(u64::MAX, None) });
        assert_eq!((sum.source.tally.entries, sum.source.read, sum.trusted), (u64::MAX, None, false));
        assert_eq!(sum.difference_count(), u64::MAX);
    }
}
