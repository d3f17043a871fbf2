//! Which names of a tree are one file, in a form that two sides can compare without telling all of it.
//!
//! Every name of a group is given the group's mark: the smallest key (half of a BLAKE3) of the paths in it. Groups are equal
//! as sets exactly when every name has the same mark, or none, on both sides. Names fall into 256 buckets by their keys, so
//! that only those are told whose buckets differ.

use super::kept::{Key, key};
use crate::hash::hash_bytes;
use fulmar_model::{Hash, RelPath};
use std::collections::HashMap;

/// Bytes of names (paths, and about [`NAME_BYTES`] beside each) of files with several names; a tree with more is audited
/// without its link groups, and the report says so.
pub const LINK_BYTES_MAX: usize = 64 << 20;

/// What a name takes besides its path.
const NAME_BYTES: usize = 64;

/// Names that may turn out to be one file, as they are found.
#[derive(Debug)]
pub(super) struct Gathering {
    names: Vec<(u64, RelPath)>,
    bytes: usize,
    bytes_max: usize,
}

impl Default for Gathering {
    fn default() -> Self {
        Self { names: Vec::new(), bytes: 0, bytes_max: LINK_BYTES_MAX }
    }
}

impl Gathering {
    pub(super) fn add(&mut self, found: Vec<(u64, RelPath)>) {
        self.bytes += found.iter().map(|(_, path)| path.as_bytes().len() + NAME_BYTES).sum::<usize>();
        if self.bytes > self.bytes_max {
            self.names = Vec::new();
        } else {
            self.names.extend(found);
        }
    }

    /// `None`: there are too many.
    pub(super) fn finish(mut self) -> Option<Links> {
        if self.bytes > self.bytes_max {
            return None;
        }
        self.names.sort_unstable_by_key(|(inode, _)| *inode);
        let mut names = Vec::new();
        for group in self.names.chunk_by(|(a, _), (b, _)| a == b).filter(|group| group.len() > 1) {
            let keys = group.iter().map(|(_, path)| key(path.as_bytes()));
            let mark = keys.min().unwrap_or_default();
            names.extend(group.iter().map(|(_, path)| Linked { key: key(path.as_bytes()), mark, path: path.clone() }));
        }
        names.sort_unstable_by_key(|name| name.key);
        Some(Links { names })
    }
}

/// A name of a file that has others in the tree.
#[derive(Clone, Debug)]
struct Linked {
    key: Key,
    mark: Key,
    path: RelPath,
}

/// All names that are one file with others in the tree.
#[derive(Debug, Default)]
pub struct Links {
    names: Vec<Linked>,
}

impl Links {
    /// Equal on two sides when all groups are.
    pub fn digest(&self) -> Hash {
        digest(&self.names)
    }

    /// The same for each bucket.
    pub fn bucket_digests(&self) -> Vec<Hash> {
        (0..=u8::MAX).map(|bucket| digest(self.slice(bucket))).collect()
    }

    /// Names of a bucket with the marks of their groups.
    pub fn bucket(&self, bucket: u8) -> impl Iterator<Item = (&RelPath, u128)> {
        self.slice(bucket).iter().map(|name| (&name.path, name.mark))
    }

    /// All names, by the marks of their groups, of which at least one is among `marks`.
    pub fn groups<'a>(&'a self, marks: &HashMap<u128, usize>) -> impl Iterator<Item = (&'a RelPath, u128)> {
        self.names.iter().filter(|name| marks.contains_key(&name.mark)).map(|name| (&name.path, name.mark))
    }

    fn slice(&self, bucket: u8) -> &[Linked] {
        let of = |name: &Linked| name.key.to_be_bytes()[0];
        let from = self.names.partition_point(|name| of(name) < bucket);
        let to = self.names.partition_point(|name| of(name) <= bucket);
        self.names.get(from..to).unwrap_or_default()
    }
}

fn digest(names: &[Linked]) -> Hash {
    let mut bytes = Vec::with_capacity(names.len() * 32);
    for name in names {
        bytes.extend_from_slice(&name.key.to_be_bytes());
        bytes.extend_from_slice(&name.mark.to_be_bytes());
    }
    hash_bytes(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(names: &[(u64, &str)]) -> Links {
        let mut gathering = Gathering::default();
        let path = |text: &str| RelPath::parse(text.as_bytes()).expect("a path");
        gathering.add(names.iter().map(|(inode, text)| (*inode, path(text))).collect());
        gathering.finish().expect("few")
    }

    #[test]
    fn groups_are_compared_as_sets_whatever_their_inodes() {
        let one = links(&[(1, "a"), (1, "b"), (2, "c"), (2, "d"), (3, "alone")]);
        let same = links(&[(9, "d"), (9, "c"), (4, "b"), (4, "a")]);
        assert_eq!((one.digest(), one.bucket_digests()), (same.digest(), same.bucket_digests()));
        for other in [
            links(&[(1, "a"), (1, "c"), (2, "b"), (2, "d")]),
            links(&[(1, "a"), (1, "b")]),
            links(&[(1, "a"), (1, "b"), (1, "c"), (1, "d")]),
            links(&[]),
        ] {
            assert_ne!(one.digest(), other.digest());
        }
    }

    #[test]
    fn buckets_hold_every_name_once() {
        let names: Vec<String> = (0..1000).map(|n| format!("n{n}")).collect();
        let all = links(&names.iter().map(|name| (7, name.as_str())).collect::<Vec<_>>());
        assert_eq!((0..=u8::MAX).map(|bucket| all.bucket(bucket).count()).sum::<usize>(), 1000);
    }

    #[test]
    fn too_many_names_are_not_compared_by_halves() {
        let mut gathering = Gathering { bytes_max: 200, ..Gathering::default() };
        for name in [&b"a"[..], b"b", b"c", b"d"] {
            gathering.add(vec![(1, RelPath::parse(name).expect("a path"))]);
        }
        assert!(gathering.names.len() < 4 && gathering.finish().is_none());
    }
}
