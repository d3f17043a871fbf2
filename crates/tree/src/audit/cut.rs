//! Cuts a tree into slices of bounded work by what is in it, without holding the tree: from where the last slice ended the end
//! of the next one is found. A directory is never split, so one that is larger than a slice is one by itself.
//!
//! Of each directory on the way down the next [`SIBLINGS`] directories are held, by names; for those behind them it is listed
//! again. What cannot be read ends nothing: the audit of the slice tells it.

use super::content::Eye;
use super::describe::stat;
use super::settings::{Auditing, Meter};
use crate::{Dir, Error, Result, Tree};
use fulmar_model::{Kind, Name, RelPath};
use rustix::fs::FileType;
use std::collections::BinaryHeap;

/// Directories in one directory that are held.
const SIBLINGS: usize = 16_384;

/// How much is in a slice at most, unless one directory has more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Entries of its directories.
    pub entries: u64,
    /// Bytes of the files among them, holes included.
    pub bytes: u64,
}

/// With which directory the slice behind `after` (`None`: from the root on) ends; `None`: with the tree. Only the filter of `how`
/// counts. Fails when `meter` is told to stop.
pub fn cut(tree: &Tree, how: &Auditing, after: Option<&RelPath>, most: Span, meter: &Meter) -> Result<Option<RelPath>> {
    Cutter { tree, eye: Eye::new(how, meter), siblings: SIBLINGS, stack: above(after) }.cut(after.is_none(), most)
}

/// The directories on the way to a path and the path itself, of which what is behind it is left.
fn above(after: Option<&RelPath>) -> Vec<Level> {
    let mut levels = Vec::new();
    let mut at = after.cloned();
    let mut behind = None;
    while let Some(path) = at {
        let (parent, name) = path.split().unzip();
        levels.push(Level { path, behind, next: Vec::new(), more: true });
        (at, behind) = (parent, name);
    }
    levels.reverse();
    levels
}

/// A directory that was met, of which some directories are left.
struct Level {
    path: RelPath,
    /// Those up to here are done, or in `next`.
    behind: Option<Name>,
    /// Those that are next, the first one last.
    next: Vec<Name>,
    /// Whether there may be further ones.
    more: bool,
}

struct Cutter<'a> {
    tree: &'a Tree,
    eye: Eye<'a>,
    siblings: usize,
    stack: Vec<Level>,
}

impl Cutter<'_> {
    fn cut(mut self, from_root: bool, most: Span) -> Result<Option<RelPath>> {
        let (mut upto, mut sum) = (None, Span { entries: 0, bytes: 0 });
        let mut next = if from_root { Some(RelPath::root()) } else { self.following()? };
        while let Some(directory) = next {
            let own = self.enter(&directory)?;
            sum = Span { entries: sum.entries.saturating_add(own.entries), bytes: sum.bytes.saturating_add(own.bytes) };
            if upto.is_some() && (sum.entries > most.entries || sum.bytes > most.bytes) {
                return Ok(upto);
            }
            upto = Some(directory);
            next = self.following()?;
        }
        Ok(None)
    }

    /// The directory that a walk meets next.
    fn following(&mut self) -> Result<Option<RelPath>> {
        loop {
            let Some(level) = self.stack.last_mut() else { return Ok(None) };
            if let Some(name) = level.next.pop() {
                return Ok(Some(level.path.join(&name)));
            }
            if !level.more {
                self.stack.pop();
                continue;
            }
            let (path, behind) = (level.path.clone(), level.behind.take());
            let (level, _) = self.list(path, behind, false)?;
            if let Some(top) = self.stack.last_mut() {
                *top = level;
            }
        }
    }

    /// What is in a directory itself; those in it come next.
    fn enter(&mut self, directory: &RelPath) -> Result<Span> {
        let (level, own) = self.list(directory.clone(), None, true)?;
        self.stack.push(level);
        Ok(own)
    }

    /// The first directories behind a name, and, where it is to be measured, what all entries come to.
    fn list(&self, path: RelPath, behind: Option<Name>, measured: bool) -> Result<(Level, Span)> {
        let mut own = Span { entries: 0, bytes: 0 };
        let (mut first, mut more) = (BinaryHeap::new(), false);
        let listed = self.tree.dir(&path).and_then(|dir| {
            self.eye.each(&dir, |bytes, hint| {
                if self.eye.meter.is_stopped() {
                    return Err(Error::Stopped);
                }
                if hint == FileType::Directory {
                    let name = dir.usable(bytes)?;
                    if behind.as_ref().is_none_or(|behind| name > *behind) {
                        first.push(name);
                        if first.len() > self.siblings {
                            more = true;
                            first.pop();
                        }
                    }
                }
                if measured {
                    own.entries = own.entries.saturating_add(1);
                    own.bytes = own.bytes.saturating_add(size(&dir, bytes, hint)?);
                }
                Ok(())
            })
        });
        if let Err(Error::Stopped) = listed {
            return Err(Error::Stopped);
        }
        let behind = first.peek().cloned();
        let mut next = first.into_sorted_vec();
        next.dedup();
        next.reverse();
        // What it held until it could not be read further: the audit says that.
        Ok((Level { path, behind, next, more: more && listed.is_ok() }, own))
    }
}

/// Bytes of a file; of anything else none.
fn size(dir: &Dir, name: &[u8], hint: FileType) -> Result<u64> {
    if !matches!(hint, FileType::RegularFile | FileType::Unknown) {
        return Ok(0);
    }
    let found = stat(dir, &dir.usable(name)?).ok().flatten();
    Ok(found.filter(|found| found.kind == Kind::File).map_or(0, |found| found.size))
}

#[cfg(test)]
mod tests {
    use super::super::scope::Scope;
    use super::*;
    use fulmar_model::{Depth, Filter, Profile};
    use std::fs;

    const EVERYTHING: Span = Span { entries: u64::MAX, bytes: u64::MAX };

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a path")
    }

    /// Directories with so many files of so many bytes each.
    fn tree(directories: &[(&str, u64, usize)]) -> (tempfile::TempDir, Tree) {
        let folder = tempfile::tempdir().expect("a directory");
        for (directory, files, bytes) in directories {
            let at = folder.path().join(directory);
            fs::create_dir_all(&at).expect("a directory");
            for file in 0..*files {
                fs::write(at.join(format!("f{file}")), vec![0; *bytes]).expect("a file");
            }
        }
        let tree = Tree::open(folder.path()).expect("a tree");
        (folder, tree)
    }

    fn how() -> Auditing {
        Auditing {
            filter: Filter::new(Profile::Plain, [b"left-out".as_slice()]).expect("a pattern"),
            scope: Scope::default(),
            trusted: false,
            threads: 1,
            rate: None,
            idle: false,
            records: None,
            depth: Depth::Deep,
            links_only: false,
        }
    }

    /// The ends of all slices, with so many directories held of each.
    fn ends(tree: &Tree, most: Span, siblings: usize) -> Vec<String> {
        let (how, meter, mut all, mut after) = (how(), Meter::default(), Vec::new(), None::<RelPath>);
        loop {
            let stack = above(after.as_ref());
            let cutter = Cutter { tree, eye: Eye::new(&how, &meter), siblings, stack };
            let upto = cutter.cut(after.is_none(), most).expect("a slice");
            all.push(upto.as_ref().map_or("end".to_owned(), ToString::to_string));
            match upto {
                Some(upto) => after = Some(upto),
                None => return all,
            }
        }
    }

    #[test]
    fn a_slice_ends_before_the_directory_that_would_make_it_too_large() {
        let (_folder, tree) =
            tree(&[("", 1, 10), ("a", 2, 10), ("a/b", 3, 10), ("a-", 4, 10), ("c", 1, 500), ("left-out", 9, 9)]);
        // The root has a file and three directories.
        assert_eq!(ends(&tree, Span { entries: 7, ..EVERYTHING }, 10), ["a", "a-", "end"]);
        assert_eq!(ends(&tree, Span { bytes: 60, ..EVERYTHING }, 10), ["a/b", "a-", "end"]);
        assert_eq!(ends(&tree, EVERYTHING, 10), ["end"]);
    }

    #[test]
    fn a_directory_that_is_larger_than_a_slice_is_one_by_itself() {
        let (_folder, tree) = tree(&[("a", 1, 1), ("b", 200, 1), ("c", 1, 1)]);
        assert_eq!(ends(&tree, Span { entries: 5, ..EVERYTHING }, 10), ["a", "b", "end"]);
    }

    #[test]
    fn directories_come_in_the_order_of_a_walk_however_few_are_held() {
        let names: Vec<String> = (0..9).flat_map(|n| [format!("d{n}"), format!("d{n}/x"), format!("d{n}-")]).collect();
        let all: Vec<(&str, u64, usize)> = names.iter().map(|name| (name.as_str(), 1, 0)).collect();
        let (_folder, tree) = tree(&all);
        let each = Span { entries: 0, bytes: 0 };
        let mut expected: Vec<RelPath> = names.iter().map(|name| path(name)).collect();
        expected.push(RelPath::root());
        expected.sort_by(RelPath::walk_cmp);
        // The last one is the slice that has no end.
        let mut expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        *expected.last_mut().expect("some") = "end".to_owned();
        for siblings in [1, 2, 3, 100] {
            assert_eq!(ends(&tree, each, siblings), expected, "{siblings} held");
        }
    }

    #[test]
    fn it_goes_on_behind_what_is_gone_and_behind_what_cannot_be_entered() {
        let (folder, tree) = tree(&[("a", 1, 1), ("a/b", 1, 1), ("b", 1, 1), ("c", 0, 0)]);
        let (how, meter, each) = (how(), Meter::default(), Span { entries: 0, bytes: 0 });
        for (after, upto) in
            [("a/a", Some("a/b")), ("a/b/c/d", Some("b")), ("a/c", Some("b")), ("b", None), ("z", None)]
        {
            let found = cut(&tree, &how, Some(&path(after)), each, &meter).expect("a slice");
            assert_eq!(found, upto.map(path), "behind {after}");
        }
        fs::remove_dir_all(folder.path().join("a")).expect("removed");
        assert_eq!(cut(&tree, &how, Some(&path("a/a")), each, &meter).expect("a slice"), Some(path("b")));
        meter.stop();
        assert!(matches!(cut(&tree, &how, None, each, &meter), Err(Error::Stopped)));
    }
}
