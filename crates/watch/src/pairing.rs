//! Directories and names on their way: the two halves of a rename, and directories that were found to be elsewhere.
//!
//! The kernel gives both halves the same cookie, but other events may stand between them, and a read may end there. So a
//! departure waits until the queue was seen empty, and one short wait longer, before it counts as moved out of the tree.
//! A directory whose place turned out to be taken by another one waits in the same way: either a later event says where
//! it stands, or it still stands where it was seen last, or it is gone.

use crate::tree::NodeId;
use fulmar_model::RelPath;
use std::collections::BTreeMap;

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub parent: NodeId,
    pub name: Box<[u8]>,
}

/// Something that left its place and has not arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Adrift {
    /// The path to report when it does not arrive; `None` when the events tell of it by themselves.
    pub old_path: Option<RelPath>,
    /// The directory, detached, if it is a known one.
    pub directory: Option<NodeId>,
    /// Where it was seen last.
    pub home: Place,
    /// Events came from within, which had no path at that time.
    pub disturbed: bool,
    /// Number of the moment at which it left.
    pub since: u64,
}

#[derive(Default)]
pub(crate) struct Pairing {
    departed: BTreeMap<u32, Adrift>,
    displaced: Vec<Adrift>,
    tick: u64,
}

impl Pairing {
    /// First half of a rename.
    pub(crate) fn depart(&mut self, cookie: u32, old_path: RelPath, directory: Option<NodeId>, home: Place) {
        let adrift = Adrift { old_path: Some(old_path), directory, home, disturbed: false, since: self.tick };
        // The kernel's cookies repeat after 2^32 renames: the one that waited so long is not lost for that.
        self.displaced.extend(self.departed.insert(cookie, adrift));
    }

    /// Second half of a rename: gives the first, if it was seen.
    pub(crate) fn arrive(&mut self, cookie: u32) -> Option<Adrift> {
        self.departed.remove(&cookie)
    }

    /// A detached directory of which only the last place is known.
    pub(crate) fn displace(&mut self, directory: NodeId, home: Place, disturbed: bool) {
        let adrift = Adrift { old_path: None, directory: Some(directory), home, disturbed, since: self.tick };
        self.displaced.push(adrift);
    }

    /// An event came from a directory at or below this detached one.
    pub(crate) fn disturb(&mut self, top: NodeId) {
        for adrift in self.departed.values_mut().chain(&mut self.displaced) {
            adrift.disturbed |= adrift.directory == Some(top);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.departed.is_empty() && self.displaced.is_empty()
    }

    /// The queue was seen empty (or a long time has passed): gives what has waited since before the last such moment.
    pub(crate) fn tick(&mut self) -> Vec<Adrift> {
        let due = self.take(|adrift, tick| adrift.since < tick);
        self.tick += 1;
        due
    }

    /// Gives everything: no second half will come.
    pub(crate) fn give_up(&mut self) -> Vec<Adrift> {
        self.take(|_, _| true)
    }

    fn take(&mut self, due: impl Fn(&Adrift, u64) -> bool) -> Vec<Adrift> {
        if self.is_empty() {
            return Vec::new();
        }
        let tick = self.tick;
        let (mut taken, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.displaced).into_iter().partition(|adrift| due(adrift, tick));
        self.displaced = waiting;
        let (cookies, waiting): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.departed).into_iter().partition(|(_, adrift)| due(adrift, tick));
        self.departed = waiting;
        taken.extend(cookies.into_values());
        taken
    }
}
