//! Names of inodes that have others, from the moment in which the watcher saw them appear until they are planned.
//!
//! What is written through a name is told of that name alone. Once it is recorded, whoever loses it looks at the other names of
//! its inode (`plan/gone.rs`). One that came and went before its turn, perhaps because every replica was away, was
//! recorded by nobody: what it was is known from here.
//!
//! In memory: a start looks at the whole source.

use fulmar_model::RelPath;
use std::collections::BTreeSet;
use tokio::sync::mpsc;

/// Remembered at once, and on their way to be. A hundred bytes each, about.
pub(crate) const REMEMBERED_MAX: usize = 65_536;

/// A path, and the inode that got it as one of several names.
pub(crate) type FurtherName = (RelPath, u64);

/// Further names that wait to be planned.
pub(crate) struct FurtherNames {
    /// Whoever plans is busy now and then: nobody waits for that.
    inbox: mpsc::Receiver<FurtherName>,
    names: BTreeSet<FurtherName>,
    /// There were too many.
    missed: bool,
}

impl FurtherNames {
    /// Nothing yet, and the way in. A name must be sent before its path can be planned; where there is no room it is missed.
    pub(crate) fn channel() -> (mpsc::Sender<FurtherName>, Self) {
        let (sender, inbox) = mpsc::channel(REMEMBERED_MAX);
        (sender, Self { inbox, names: BTreeSet::new(), missed: false })
    }

    /// Takes what was sent until now.
    pub(crate) fn gather(&mut self) {
        let sent = self.inbox.len();
        // Another one may have found no room.
        self.missed |= sent == REMEMBERED_MAX;
        for _ in 0..sent {
            let Ok(name) = self.inbox.try_recv() else { break };
            if self.names.len() < REMEMBERED_MAX {
                self.names.insert(name);
            } else {
                self.missed = true;
            }
        }
    }

    /// The path with each inode that has had it as a further name.
    pub(crate) fn of(&self, path: &RelPath) -> Vec<FurtherName> {
        if self.names.is_empty() {
            return Vec::new();
        }
        self.names.range((path.clone(), 0)..=(path.clone(), u64::MAX)).cloned().collect()
    }

    /// The name is recorded, or those who have lost it are looked at.
    pub(crate) fn forget(&mut self, name: &FurtherName) {
        self.names.remove(name);
    }

    /// Everything is planned. Whether there were more than could be remembered, of which only a scan tells now; it tells of those
    /// that are remembered as well.
    pub(crate) fn take_missed(&mut self) -> bool {
        if self.missed {
            self.names.clear();
        }
        std::mem::take(&mut self.missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a path")
    }

    #[test]
    fn more_names_than_can_be_remembered_are_left_to_a_scan() {
        for at_once in [false, true] {
            let (sender, mut further) = FurtherNames::channel();
            for number in 1..REMEMBERED_MAX {
                sender.try_send((path(&number.to_string()), 1)).expect("there is room");
            }
            further.gather();
            assert!(!further.take_missed());
            assert_eq!(further.of(&path("7")), [(path("7"), 1)]);
            for number in 0..if at_once { REMEMBERED_MAX as u64 } else { 2 } {
                sender.try_send((path("one more"), number)).expect("there is room");
            }
            further.gather();
            assert!(further.take_missed());
            assert_eq!(further.of(&path("7")), []);
            assert!(!further.take_missed());
        }
    }

    #[test]
    fn a_path_may_have_been_the_name_of_several() {
        let (sender, mut further) = FurtherNames::channel();
        for (name, inode) in [("a", 7), ("b", 7), ("b", 3), ("b/c", 3), ("c", 3)] {
            sender.try_send((path(name), inode)).expect("there is room");
        }
        further.gather();
        assert_eq!(further.of(&path("b")), [(path("b"), 3), (path("b"), 7)]);
        further.forget(&(path("b"), 3));
        assert_eq!(further.of(&path("b")), [(path("b"), 7)]);
        assert_eq!(further.of(&path("d")), []);
    }
}
