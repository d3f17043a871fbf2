//! What the names and stat data of a directory come to, and what its rows do: where the first is what a [`Seal`] says, the
//! second need not be read.

use crate::hash::hash_bytes;
use crate::{Fingerprint, NAMES_PER_PART, Part};
use fulmar_model::{Entry, Hash, Kind, Name, Recall, Record, RelPath, Seal, Sealer, Stat};

/// What a leaf takes with a name of 40 bytes.
const LEAF_BYTES: usize = 120;

/// The key of a seal: hashed like a fingerprint, but of everything that [`Stat::same_version`] looks at. It never leaves this
/// machine; another layout of it makes seals that fit nothing, which costs time once.
#[derive(Debug, Default)]
pub(crate) struct Leaves(Vec<u8>);

impl Leaves {
    pub(crate) fn with_room(leaves: usize) -> Self {
        Self(Vec::with_capacity(leaves.saturating_mul(LEAF_BYTES)))
    }

    pub(crate) fn add(&mut self, name: &Name, stat: &Stat) {
        let to = &mut self.0;
        // A name has no byte 0.
        to.extend_from_slice(name.as_bytes());
        to.extend_from_slice(&[0, stat.kind.code()]);
        to.extend_from_slice(&stat.inode.to_le_bytes());
        to.extend_from_slice(&stat.size.to_le_bytes());
        to.extend_from_slice(&stat.links.to_le_bytes());
        to.extend_from_slice(&stat.mode.to_le_bytes());
        to.extend_from_slice(&stat.uid.to_le_bytes());
        to.extend_from_slice(&stat.gid.to_le_bytes());
        for time in [stat.mtime, stat.ctime] {
            to.extend_from_slice(&time.seconds.to_le_bytes());
            to.extend_from_slice(&time.nanos.to_le_bytes());
        }
        to.extend_from_slice(&stat.node.major.to_le_bytes());
        to.extend_from_slice(&stat.node.minor.to_le_bytes());
    }

    pub(crate) fn key(&self) -> Hash {
        hash_bytes(&self.0)
    }
}

/// The seal of a directory, where what was found in it is what the seal says: `leaves` are its names that are no directories,
/// in order, as they are now. Then all their records vouch for them, and there are no others.
pub fn unbroken<'a>(
    records: &dyn Recall,
    directory: &RelPath,
    part: Part,
    leaves: impl Iterator<Item = (&'a Name, &'a Stat)>,
) -> Option<Seal> {
    // A directory in parts has no seal.
    let seal = part.is_whole().then(|| records.seal(directory)).flatten()?;
    let mut found = Leaves::with_room(leaves.size_hint().1.unwrap_or(0));
    leaves.for_each(|(name, stat)| found.add(name, stat));
    (found.key() == seal.key).then_some(seal)
}

/// Makes seals of rows that stand for themselves: settled, files with a hash, nothing that has other names elsewhere, and
/// no symlink, whose target no row has. Memory: 250 bytes a row, of no more rows than a part of a directory has names.
#[derive(Debug, Default)]
pub struct Sealing {
    leaves: Leaves,
    print: Fingerprint,
    directories: u64,
    rows: u64,
    weak: bool,
}

impl Sealer for Sealing {
    fn row(&mut self, name: &Name, record: &Record) -> bool {
        let stat = &record.stat;
        self.rows += 1;
        // It would be listed in parts.
        self.weak |= self.rows > NAMES_PER_PART;
        if stat.kind == Kind::Directory {
            self.directories += 1;
            return !self.weak;
        }
        self.weak |= !record.settled || stat.links != 1 || record.group.is_some();
        self.weak |= matches!(stat.kind, Kind::Symlink | Kind::Socket);
        if !self.weak {
            self.leaves.add(name, stat);
            self.print.add(name, &Entry::of(stat, record.hash, &[], record.xattrs), true);
        }
        !self.weak
    }

    fn seal(self) -> Option<Seal> {
        let Self { leaves, print, directories, weak, .. } = self;
        // A file without a hash leaves it unknown.
        let print = print.finish().filter(|_| !weak)?;
        Some(Seal { key: leaves.key(), leaves: print, directories })
    }
}

#[cfg(test)]
#[path = "sealing_tests.rs"]
mod tests;
