//! What the catalog remembers of one path.

use crate::{Hash, Kind, LinkGroup, Stat, XattrDigest};

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
