//! What the catalog remembers of one path.

use crate::{Hash, Kind, LinkGroup, Name, RelPath, Seal, Stat, XattrDigest};

/// One row of a catalog: on the primary what was last seen, on a replica what was last applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Stat data of this machine's file. `device` and `allocated` are not stored and read back as zero.
    pub stat: Stat,
    /// Digest of the extended attributes.
    pub xattrs: XattrDigest,
    /// Content hash of a file or of a symlink's target, when it was read. Of a directory, on a primary: what a scan went by
    /// when it found everything in it as recorded ([`Record::was_found_whole`]).
    pub hash: Option<Hash>,
    /// On a replica, the primary's link group; on a primary always `None` (the inode says it).
    pub group: Option<LinkGroup>,
    /// Whether an equal ctime proves that nothing changed. False when the record was taken within the clock's
    /// granularity of the ctime itself.
    pub settled: bool,
}

impl Record {
    /// Whether the directory is certainly as it was when a scan that went by `rules` found everything in it as recorded. What is
    /// planned for something in it records the directory anew, without this.
    pub fn was_found_whole(&self, now: &Stat, rules: Hash) -> bool {
        self.stat.kind == Kind::Directory && self.hash == Some(rules) && self.proves(now)
    }

    /// Whether `now` is certainly the version that was recorded: hash and attribute digest then hold without reading.
    pub fn proves(&self, now: &Stat) -> bool {
        self.settled && self.stat.same_version(now)
    }
}

/// Records as somebody asks for them who reads the tree itself. What cannot be looked up counts as not recorded: then the
/// tree is read.
pub trait Recall: Send {
    /// What is recorded of a path.
    fn of(&self, path: &RelPath) -> Option<Record>;

    /// Puts what is recorded of these names in a directory into `told`, which has a place for each, empty at first. They come in
    /// increasing order.
    fn within(&self, directory: &RelPath, names: &[&Name], told: &mut [Option<Record>]);

    /// What all that is recorded in a directory comes to.
    fn seal(&self, directory: &RelPath) -> Option<Seal>;
}

/// How what is at a path stands to what is recorded of it. The numbers are sent; they never change meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is as recorded; or there is nothing, and nothing is recorded.
    Kept,
    /// It is not as recorded, and nothing says that it ought to be.
    Changed,
    /// Its content is not the recorded one, though stat data vouch for it: nobody wrote there.
    Corrupt,
}

impl Standing {
    const ALL: [(Self, u8); 3] = [(Self::Kept, 1), (Self::Changed, 2), (Self::Corrupt, 3)];

    /// The number that is sent.
    pub fn code(self) -> u8 {
        Self::ALL.iter().find(|row| row.0 == self).map_or(0, |row| row.1)
    }

    /// The reverse of [`Standing::code`].
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().find(|row| row.1 == code).map(|row| row.0)
    }
}

/// What a side's own record says of a path that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Whether what is there is that.
    pub standing: Standing,
    /// The recorded hash of a file's content.
    pub hash: Option<Hash>,
}
