//! What is remembered of what was read: a digest for each directory, and the hashes of files, so that what is listed because
//! something in its directory differs need not be read a second time.

use crate::{DIRECTORIES_MAX, Part, hash::hash_bytes};
use fulmar_model::{Below, Hash, Name, RelPath, Stat};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Files whose hashes are remembered, 48 bytes each; others are read again when their directory is listed.
pub const HASHES_MAX: usize = 500_000;

/// Half of a BLAKE3 of a path: no two paths of a tree have the same.
pub(super) type Key = u128;

pub(super) fn key(path: &[u8]) -> Key {
    let [first, _] = halves(&hash_bytes(path));
    first
}

fn halves(hash: &Hash) -> [u128; 2] {
    let (mut first, mut second) = ([0; 16], [0; 16]);
    first.copy_from_slice(&hash.0[..16]);
    second.copy_from_slice(&hash.0[16..]);
    [u128::from_be_bytes(first), u128::from_be_bytes(second)]
}

/// A file as it was when it was hashed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    name: u64,
    version: u64,
    hash: Hash,
}

impl Known {
    pub(super) fn new(name: &Name, stat: &Stat, hash: Hash) -> Self {
        Self { name: short(name.as_bytes()), version: version(stat), hash }
    }
}

/// A number that changes with what `Stat::same_version` looks at.
pub(super) fn version(stat: &Stat) -> u64 {
    let mut hasher = DefaultHasher::new();
    (stat.inode, stat.kind, stat.size, stat.mtime, stat.ctime, stat.node).hash(&mut hasher);
    (stat.links, stat.mode, stat.uid, stat.gid).hash(&mut hasher);
    hasher.finish()
}

fn short(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

/// Digests by directory, and hashes by directory and name.
#[derive(Debug)]
pub(super) struct Kept {
    /// By number of names in the path.
    levels: Vec<HashMap<Key, Below>>,
    count: usize,
    /// Directories further down than this are not kept: they were too many.
    depth_max: usize,
    directories_max: usize,
    hashes: HashMap<(Key, Part), Box<[Known]>>,
    hashes_left: usize,
}

impl Default for Kept {
    fn default() -> Self {
        Self::with_room(DIRECTORIES_MAX, HASHES_MAX)
    }
}

impl Kept {
    fn with_room(directories_max: usize, hashes_left: usize) -> Self {
        let (levels, hashes) = (Vec::new(), HashMap::new());
        Self { levels, count: 0, depth_max: usize::MAX, directories_max, hashes, hashes_left }
    }

    /// Remembers a directory. When there are too many, those furthest down are forgotten: they are read again if it turns
    /// out that something near them differs, and each of them is a small part of the tree.
    pub(super) fn put(&mut self, path: &RelPath, below: Below) {
        let depth = path.depth();
        if depth > self.depth_max {
            return;
        }
        if self.levels.len() <= depth {
            self.levels.resize_with(depth + 1, HashMap::new);
        }
        if let Some(level) = self.levels.get_mut(depth)
            && level.insert(key(path.as_bytes()), below).is_none()
        {
            self.count += 1;
        }
        while self.count > self.directories_max {
            let Some(deepest) = self.levels.pop() else { return };
            self.count -= deepest.len();
            self.depth_max = self.levels.len().saturating_sub(1);
        }
    }

    pub(super) fn get(&self, path: &RelPath) -> Option<Below> {
        self.levels.get(path.depth())?.get(&key(path.as_bytes())).copied()
    }

    /// Remembers hashes of files in a part of a directory, as long as there is room.
    pub(super) fn put_hashes(&mut self, directory: &RelPath, part: Part, mut known: Vec<Known>) {
        if known.is_empty() || known.len() > self.hashes_left {
            return;
        }
        self.hashes_left -= known.len();
        known.sort_unstable_by_key(|known| known.name);
        self.hashes.insert((key(directory.as_bytes()), part), known.into_boxed_slice());
    }

    pub(super) fn hashes(&self, directory: &RelPath, part: Part) -> Hashes<'_> {
        let found = self.hashes.get(&(key(directory.as_bytes()), part));
        Hashes(found.map_or(&[], |found| found))
    }
}

/// Of one part of a directory.
pub(super) struct Hashes<'a>(&'a [Known]);

impl Hashes<'_> {
    /// The hash of a file that is still the version that was hashed.
    pub(super) fn of(&self, name: &Name, stat: &Stat) -> Option<Hash> {
        let wanted = short(name.as_bytes());
        let at = self.0.binary_search_by_key(&wanted, |known| known.name).ok()?;
        self.0.get(at).filter(|known| known.version == version(stat)).map(|known| known.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulmar_model::Tally;

    fn below(n: u8) -> Below {
        Below { digest: Hash([n; 32]), names: 1, tally: Tally::default() }
    }

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a path")
    }

    #[test]
    fn the_deepest_directories_are_forgotten_first_and_for_good() {
        let mut kept = Kept::with_room(3, 0);
        for deep in ["a/b/c", "a/b/d", "a/b"] {
            kept.put(&path(deep), below(1));
        }
        assert!(kept.get(&path("a/b/c")).is_some());
        kept.put(&path("a"), below(2));
        assert_eq!((kept.get(&path("a/b/c")), kept.get(&path("a"))), (None, Some(below(2))));
        kept.put(&path("x/y/z"), below(3));
        kept.put(&path("x/y"), below(4));
        assert_eq!((kept.get(&path("x/y/z")), kept.get(&path("x/y"))), (None, Some(below(4))));
    }

    #[test]
    fn one_level_that_is_too_large_leaves_what_is_above() {
        let mut kept = Kept::with_room(3, 0);
        for name in ["a", "b", "c", "d", "e", ""] {
            kept.put(&path(name), below(1));
        }
        assert_eq!((kept.get(&path("a")), kept.get(&path(""))), (None, Some(below(1))));
    }
}
