//! Names of inodes that have others, from the moment in which the watcher saw them appear until they are planned.
//!
//! What is written through a name is told of that name alone. Once it is recorded, whoever loses it looks at the other names of
//! its inode (`plan/gone.rs`). One that came and went before its turn, perhaps because every replica was away, was
//! recorded by nobody: what it was is known from here.
//!
//! In memory: a start looks at the whole source.

use fulmar_model::RelPath;
use std::collections::BTreeSet;

/// Remembered at once. A hundred bytes each, about.
pub(crate) const REMEMBERED_MAX: usize = 65_536;

/// Further names that wait to be planned.
#[derive(Default)]
pub(crate) struct FurtherNames {
    names: BTreeSet<(RelPath, u64)>,
    /// There were too many.
    missed: bool,
}

impl FurtherNames {
    /// The inode got this name, among others.
    pub(crate) fn note(&mut self, path: RelPath, inode: u64) {
        if self.names.len() < REMEMBERED_MAX {
            self.names.insert((path, inode));
        } else {
            self.missed = true;
        }
    }

    /// The path with each inode that has had it as a further name.
    pub(crate) fn of(&self, path: &RelPath) -> Vec<(RelPath, u64)> {
        if self.names.is_empty() {
            return Vec::new();
        }
        self.names.range((path.clone(), 0)..=(path.clone(), u64::MAX)).cloned().collect()
    }

    /// The name is recorded, or those who have lost it are looked at.
    pub(crate) fn forget(&mut self, name: &(RelPath, u64)) {
        self.names.remove(name);
    }

    /// Whether there were more since this was asked last than could be remembered. To be asked when everything is planned; then only
    /// a scan tells.
    pub(crate) fn take_missed(&mut self) -> bool {
        std::mem::take(&mut self.missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_names_than_can_be_remembered_are_left_to_a_scan() {
        let path = |number: usize| RelPath::parse(number.to_string().as_bytes()).expect("a path");
        let mut further = FurtherNames::default();
        (0..REMEMBERED_MAX).for_each(|number| further.note(path(number), 1));
        assert!(!further.take_missed());
        further.note(path(0), 2);
        assert_eq!(further.of(&path(0)), [(path(0), 1)]);
        assert!(further.take_missed());
        assert!(!further.take_missed());
    }

    #[test]
    fn a_path_may_have_been_the_name_of_several() {
        let path = |text: &str| RelPath::parse(text.as_bytes()).expect("a path");
        let mut further = FurtherNames::default();
        for (name, inode) in [("a", 7), ("b", 7), ("b", 3), ("b/c", 3), ("c", 3)] {
            further.note(path(name), inode);
        }
        assert_eq!(further.of(&path("b")), [(path("b"), 3), (path("b"), 7)]);
        further.forget(&(path("b"), 3));
        assert_eq!(further.of(&path("b")), [(path("b"), 7)]);
        assert_eq!(further.of(&path("d")), []);
    }
}
