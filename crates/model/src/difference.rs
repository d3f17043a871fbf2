//! In what two sides differ at a path.

use crate::{Device, Entry, Hash, Kind, Node, RelPath, Sighting, Tally, Timestamp, Xattrs};
use std::collections::BTreeSet;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The side that is right by definition.
    Source,
    /// The side that should be the same.
    Replica,
}

impl Side {
    /// The word for reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Replica => "replica",
        }
    }
}

/// What is not the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Aspect {
    /// The source has it, the replica does not.
    Missing,
    /// The replica has it, the source does not.
    Extra,
    /// File, directory, symlink ...; nothing else is compared then.
    Kind,
    /// Length of a file; the content is another one, too, which is not told again.
    Size,
    /// Bytes of a file, of one length on both sides.
    Content,
    /// Where a symlink points.
    Target,
    /// Number of a device.
    Device,
    /// Permissions, setuid, setgid and sticky bits.
    Mode,
    /// Numeric owner or group.
    Owner,
    /// Modification time.
    Mtime,
    /// An extended attribute, file capabilities among them.
    Xattr,
    /// A POSIX ACL.
    Acl,
    /// Which names are one file.
    Links,
}

impl Aspect {
    /// Each of them, the gravest first.
    pub const ALL: [Self; 13] = [
        Self::Missing,
        Self::Extra,
        Self::Kind,
        Self::Size,
        Self::Content,
        Self::Target,
        Self::Device,
        Self::Mode,
        Self::Owner,
        Self::Mtime,
        Self::Xattr,
        Self::Acl,
        Self::Links,
    ];

    /// The word of reports and their machine-readable form; never changed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Kind => "kind",
            Self::Size => "size",
            Self::Content => "content",
            Self::Target => "link-target",
            Self::Device => "device",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Mtime => "mtime",
            Self::Xattr => "xattr",
            Self::Acl => "acl",
            Self::Links => "hard-links",
        }
    }

    /// The reverse of [`Aspect::word`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|aspect| aspect.word() == word)
    }
}

/// What one side has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Nothing,
    /// Something that the other side has not.
    Entry {
        /// What it is.
        kind: Kind,
        /// Length of a file.
        size: u64,
        /// Of a directory, what goes with it.
        below: Option<Tally>,
    },
    /// What it is.
    Kind(Kind),
    /// Length in bytes.
    Size(u64),
    /// BLAKE3 of the content.
    Content(Hash),
    /// Where a symlink points.
    Target(Box<[u8]>),
    /// A device's number.
    Device(Device),
    /// Twelve bits.
    Mode(u16),
    /// Who owns it.
    Owner {
        /// Number of the user.
        uid: u32,
        /// Number of the group.
        gid: u32,
    },
    /// When it was modified.
    Time(Timestamp),
    /// The attribute with a name, and what it holds; `None` of a name: they are too large to be told.
    Attribute {
        /// Its name.
        name: Option<Box<[u8]>>,
        /// What it holds; `None` when it is not there.
        value: Option<Box<[u8]>>,
    },
    /// Names that are one file, set by set; those that stand alone are sets of one.
    Groups(Vec<Vec<RelPath>>),
}

/// One thing that is not the same at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub path: RelPath,
    /// In what.
    pub aspect: Aspect,
    /// What the source has.
    pub source: Value,
    /// What the replica has.
    pub replica: Value,
}

/// POSIX ACLs are attributes with these names.
pub const ACL_NAMES: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// Everything in which two sightings of one path differ, link groups aside. Nothing is said where one cannot be read.
pub fn differences(path: &RelPath, source: &Sighting, replica: &Sighting) -> Vec<Difference> {
    let of = |aspect, source, replica| Difference { path: path.clone(), aspect, source, replica };
    match (source, replica) {
        (Sighting::There { entry, .. }, Sighting::Absent) => vec![of(Aspect::Missing, whole(entry), Value::Nothing)],
        (Sighting::Absent, Sighting::There { entry, .. }) => vec![of(Aspect::Extra, Value::Nothing, whole(entry))],
        (Sighting::There { entry: here, xattrs: mine }, Sighting::There { entry: there, xattrs: theirs }) => {
            let (ours, other) = (here.node.kind(), there.node.kind());
            if ours != other {
                return vec![of(Aspect::Kind, Value::Kind(ours), Value::Kind(other))];
            }
            let mut all: Vec<_> = node(&here.node, &there.node)
                .into_iter()
                .chain(metadata(here, there))
                .map(|(aspect, source, replica)| of(aspect, source, replica))
                .collect();
            if here.xattrs != there.xattrs {
                all.extend(attributes(mine, theirs).into_iter().map(|(aspect, a, b)| of(aspect, a, b)));
            }
            all
        }
        _ => Vec::new(),
    }
}

type Pair = (Aspect, Value, Value);

fn whole(entry: &Entry) -> Value {
    Value::Entry { kind: entry.node.kind(), size: entry.size(), below: None }
}

fn node(source: &Node, replica: &Node) -> Option<Pair> {
    match (source, replica) {
        (Node::File { size: here, .. }, Node::File { size: there, .. }) if here != there => {
            Some((Aspect::Size, Value::Size(*here), Value::Size(*there)))
        }
        (Node::File { hash: Some(here), .. }, Node::File { hash: Some(there), .. }) if here != there => {
            Some((Aspect::Content, Value::Content(*here), Value::Content(*there)))
        }
        (Node::Symlink { target: here }, Node::Symlink { target: there }) if here != there => {
            Some((Aspect::Target, Value::Target(here.clone()), Value::Target(there.clone())))
        }
        (Node::CharDevice(here), Node::CharDevice(there)) | (Node::BlockDevice(here), Node::BlockDevice(there))
            if here != there =>
        {
            Some((Aspect::Device, Value::Device(*here), Value::Device(*there)))
        }
        _ => None,
    }
}

fn metadata(source: &Entry, replica: &Entry) -> Vec<Pair> {
    let mut all = Vec::new();
    // Linux gives every symlink the same mode.
    if source.mode != replica.mode && source.node.kind() != Kind::Symlink {
        all.push((Aspect::Mode, Value::Mode(source.mode), Value::Mode(replica.mode)));
    }
    if (source.uid, source.gid) != (replica.uid, replica.gid) {
        let owner = |entry: &Entry| Value::Owner { uid: entry.uid, gid: entry.gid };
        all.push((Aspect::Owner, owner(source), owner(replica)));
    }
    if source.mtime != replica.mtime {
        all.push((Aspect::Mtime, Value::Time(source.mtime), Value::Time(replica.mtime)));
    }
    all
}

/// One pair for each attribute that is not the same.
fn attributes(source: &Option<Xattrs>, replica: &Option<Xattrs>) -> Vec<Pair> {
    let (Some(source), Some(replica)) = (source, replica) else {
        let untold = Value::Attribute { name: None, value: None };
        return vec![(Aspect::Xattr, untold.clone(), untold)];
    };
    let names: BTreeSet<&[u8]> = source.iter().chain(replica.iter()).map(|(name, _)| name).collect();
    let differing = names.into_iter().filter(|name| source.get(name) != replica.get(name));
    differing
        .map(|name| {
            let value =
                |from: &Xattrs| Value::Attribute { name: Some(name.into()), value: from.get(name).map(Box::from) };
            let aspect = if ACL_NAMES.contains(&name) { Aspect::Acl } else { Aspect::Xattr };
            (aspect, value(source), value(replica))
        })
        .collect()
}

#[cfg(test)]
#[path = "difference_tests.rs"]
mod tests;
