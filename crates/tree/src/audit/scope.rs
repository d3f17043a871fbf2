//! A range of directories, so that a tree can be audited slice by slice.
//!
//! Directories are in the order in which a walk meets them ([`RelPath::walk_cmp`]): each before what is in it, siblings by their
//! names. A range holds the directories behind one path, up to and with another. What is told of a path belongs to the
//! directory it is in, so that slices that join tell everything once:
//! - a directory in the range has its entries compared: files, and the metadata of its directories;
//! - one that is not, but above one that is, is gone through for the names that lead there, and tells nothing;
//! - everything else is not opened. Where a directory in the range holds one that is not, that one is an entry.
//!
//! The ends need not exist; `cut` finds some that make slices of bounded work. Which names are one file is compared among the names in the range.

use fulmar_model::{Name, PRIVATE_DIRECTORY, RelPath};
use std::cmp::Ordering;

/// Which directories take part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    after: Option<RelPath>,
    upto: Option<RelPath>,
}

impl Scope {
    /// The directories behind `after` (`None`: from the root on) up to and with `upto` (`None`: to the end). `None` when the
    /// end is not behind the beginning.
    pub fn between(after: Option<RelPath>, upto: Option<RelPath>) -> Option<Self> {
        let turned = after.as_ref().zip(upto.as_ref()).is_some_and(|(after, upto)| after.walk_cmp(upto).is_ge());
        (!turned).then_some(Self { after, upto })
    }

    /// No directory at all: what is private never takes part.
    pub fn nothing() -> Self {
        let private = RelPath::parse(PRIVATE_DIRECTORY).ok();
        let within = private.as_ref().zip(Name::parse(b"-").ok()).map(|(private, name)| private.join(&name));
        Self { after: private, upto: within }
    }

    /// Behind which directory it begins.
    pub fn after(&self) -> Option<&RelPath> {
        self.after.as_ref()
    }

    /// With which directory it ends.
    pub fn upto(&self) -> Option<&RelPath> {
        self.upto.as_ref()
    }

    /// Whether every directory is in the range.
    pub fn is_whole(&self) -> bool {
        self.after.is_none() && self.upto.is_none()
    }

    /// Whether a directory is in the range.
    pub fn has(&self, directory: &RelPath) -> bool {
        self.after.as_ref().is_none_or(|after| directory.walk_cmp(after) == Ordering::Greater) && self.begins(directory)
    }

    /// Whether a directory, or one that could be below it, is in the range.
    pub fn reaches(&self, directory: &RelPath) -> bool {
        self.has(directory)
            || (self.begins(directory) && self.after.as_ref().is_some_and(|after| after.starts_with(directory)))
    }

    /// Whether what is found at a path is told here.
    pub fn tells(&self, path: &RelPath) -> bool {
        self.has(&path.parent().unwrap_or_default())
    }

    /// Whether the range does not end before it.
    fn begins(&self, directory: &RelPath) -> bool {
        self.upto.as_ref().is_none_or(|upto| directory.walk_cmp(upto) != Ordering::Greater)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a path")
    }

    fn scope(after: Option<&str>, upto: Option<&str>) -> Scope {
        Scope::between(after.map(path), upto.map(path)).expect("a range")
    }

    #[test]
    fn a_range_has_what_is_behind_its_beginning_up_to_its_end_and_reaches_what_is_above() {
        let some = scope(Some("b/c"), Some("d/e"));
        // `b-` is behind all that is in `b`, though its bytes are before those of `b/c`.
        for (directory, has, reaches) in [
            ("", false, true),
            ("a", false, false),
            ("b", false, true),
            ("b/a", false, false),
            ("b/c", false, true),
            ("b/c/a", true, true),
            ("b/d", true, true),
            ("b-", true, true),
            ("d", true, true),
            ("d/e", true, true),
            ("d/e/a", false, false),
            ("d/f", false, false),
            ("e", false, false),
        ] {
            let at = path(directory);
            assert_eq!((some.has(&at), some.reaches(&at)), (has, reaches), "{directory}");
        }
        assert!(some.tells(&path("d/e/a")) && !some.tells(&path("b/c/a")) && !some.tells(&path("")));
    }

    #[test]
    fn ranges_that_join_have_every_directory_once() {
        let all = ["", "a", "a/b", "a/b/c", "a-", "a.b", "a.b/c", "b", "b/a"].map(path);
        for cut in &all {
            let before = Scope::between(None, Some(cut.clone())).expect("a range");
            let behind = Scope::between(Some(cut.clone()), None).expect("a range");
            for directory in &all {
                assert_ne!(before.has(directory), behind.has(directory), "{directory} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_none() {
        for (after, upto) in [("b", "a"), ("a", "a"), ("a", ""), ("a-", "a/b")] {
            assert_eq!(Scope::between(Some(path(after)), Some(path(upto))), None, "{after} to {upto}");
        }
        assert!(Scope::between(Some(path("a/b")), Some(path("a-"))).is_some());
    }
}
