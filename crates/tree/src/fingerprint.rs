//! What a directory holds, in 32 bytes: equal on two sides when everything they must agree on is equal. And what a whole
//! subtree holds, as the fingerprints of its directories.

use crate::Part;
use crate::hash::hash_bytes;
use fulmar_model::{Entry, Hash, Name, Node, RelPath};
use std::cmp::Ordering;

/// What a file takes with a name of 40 bytes.
const FILE_BYTES: usize = 136;

/// Entries in increasing order of names, either those that are directories or the others. The layout is part of the protocol (docs/protocol.md) and never to be changed.
#[derive(Debug, Default)]
pub struct Fingerprint {
    bytes: Vec<u8>,
    /// Whether everything so far is known.
    unknown: bool,
}

impl Fingerprint {
    /// Adds a name. `owners`: whether the owner counts. A file whose hash is not known leaves the whole unknown.
    pub fn add(&mut self, name: &Name, entry: &Entry, owners: bool) {
        let to = &mut self.bytes;
        put_bytes(to, name.as_bytes());
        to.push(entry.node.kind().code());
        // Linux gives every symlink the same mode.
        let mode = if matches!(entry.node, Node::Symlink { .. }) { 0 } else { entry.mode };
        to.extend_from_slice(&mode.to_be_bytes());
        let (uid, gid) = if owners { (entry.uid, entry.gid) } else { (0, 0) };
        to.extend_from_slice(&uid.to_be_bytes());
        to.extend_from_slice(&gid.to_be_bytes());
        to.extend_from_slice(&entry.mtime.seconds.to_be_bytes());
        to.extend_from_slice(&entry.mtime.nanos.to_be_bytes());
        to.extend_from_slice(&entry.xattrs.0);
        to.extend_from_slice(&entry.group.map_or(0, |group| group.0).to_be_bytes());
        match &entry.node {
            Node::File { size, hash } => {
                to.extend_from_slice(&size.to_be_bytes());
                match hash {
                    Some(hash) => to.extend_from_slice(&hash.0),
                    None => self.unknown = true,
                }
            }
            Node::Symlink { target } => put_bytes(to, target),
            Node::CharDevice(device) | Node::BlockDevice(device) => {
                to.extend_from_slice(&device.major.to_be_bytes());
                to.extend_from_slice(&device.minor.to_be_bytes());
            }
            Node::Directory | Node::Fifo => {}
        }
    }

    /// Something in the directory cannot be told.
    pub fn add_unknown(&mut self) {
        self.unknown = true;
    }

    /// Makes room for so many files.
    pub fn reserve(&mut self, files: usize) {
        self.bytes.reserve(files.saturating_mul(FILE_BYTES));
    }

    /// Adds what comes behind, in order of names.
    pub fn append(&mut self, behind: Self) {
        if self.bytes.is_empty() {
            self.bytes = behind.bytes;
            self.unknown |= behind.unknown;
            return;
        }
        self.bytes.extend_from_slice(&behind.bytes);
        self.unknown |= behind.unknown;
    }

    /// `None` when something is not known.
    pub fn finish(self) -> Option<Hash> {
        (!self.unknown).then(|| hash_bytes(&self.bytes))
    }
}

/// The fingerprint of a directory, or of a part of one: of the entries that are no directories, and then of those that are. `None`
/// when something is not known. Part of the protocol, too.
pub fn print_of(leaves: Option<Hash>, directories: Fingerprint) -> Option<Hash> {
    Some(hash_bytes(&[leaves?.0, directories.finish()?.0].concat()))
}

/// Directories, or parts of them, whose fingerprints are kept; a larger tree is listed at once.
pub const DIRECTORIES_MAX: usize = 200_000;

/// A directory, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    /// Which.
    pub directory: RelPath,
    /// Which of its names.
    pub part: Part,
    /// What it holds; `None` when something there is not known.
    pub fingerprint: Option<Hash>,
}

impl Printed {
    /// The order of a survey: each directory before what is in it, siblings by the bytes of their names, the parts of one
    /// directly behind each other. Whoever found them, and when, does not show in it.
    pub fn survey_cmp(&self, other: &Self) -> Ordering {
        let part = |printed: &Self| (printed.part.index(), printed.part.of());
        self.directory.walk_cmp(&other.directory).then_with(|| part(self).cmp(&part(other)))
    }
}

/// One hash over all of them, which are in the order of [`Printed::survey_cmp`]; `None` when one is not known. Part of the
/// protocol, too.
pub fn fingerprint_of(directories: &[Printed]) -> Option<Hash> {
    let mut bytes = Vec::new();
    for printed in directories {
        put_bytes(&mut bytes, printed.directory.as_bytes());
        bytes.extend_from_slice(&printed.part.index().to_be_bytes());
        bytes.extend_from_slice(&printed.part.of().to_be_bytes());
        bytes.extend_from_slice(&printed.fingerprint?.0);
    }
    Some(hash_bytes(&bytes))
}

/// Names have 255 bytes at most, targets 4095, paths 16 384.
fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
    to.extend_from_slice(bytes);
}

#[cfg(test)]
#[path = "fingerprint_tests.rs"]
mod tests;
