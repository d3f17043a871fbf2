//! One entry of a directory, in the terms two sides can compare.

use super::content::Eye;
use crate::{Dir, digest, sys, xattr};
use fulmar_model::{Depth, Entry, Kind, Name, Record, Stat, Xattrs};
use rustix::fs::{FileType, StatxFlags};
use rustix::io::Errno;
use std::os::fd::AsFd;

/// A name, and what its directory says it is.
#[derive(Clone, Debug)]
pub(super) struct Hinted {
    pub(super) name: Name,
    pub(super) hint: FileType,
}

/// An entry as it is.
pub(super) struct Described {
    pub(super) stat: Stat,
    /// Without a link group. A file that was not read has no hash.
    pub(super) entry: Entry,
    pub(super) xattrs: Xattrs,
    /// Whether it held still while it was looked at.
    pub(super) steady: bool,
    /// Why its content or its attributes could not be read.
    pub(super) unread: Option<Errno>,
}

/// Whether the content of a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Content,
    Metadata,
}

impl Eye<'_> {
    /// What is there. `None`: nothing any more, or a socket, which takes no part.
    pub(super) fn describe(
        &mut self,
        dir: &Dir,
        name: &Name,
        hint: FileType,
        read: Read,
    ) -> Result<Option<Described>, Errno> {
        // The usual case saves a look by name.
        if hint == FileType::RegularFile && read == Read::Content {
            match self.read(dir, name) {
                Ok(Some(content)) => {
                    let xattrs = self.counted(content.xattrs);
                    let entry = plain(Entry::of(&content.stat, Some(content.hash), &[], digest(&xattrs)));
                    let (stat, steady) = (content.stat, content.steady);
                    return Ok(Some(Described { stat, entry, xattrs, steady, unread: None }));
                }
                Ok(None) => {}
                Err(errno) => {
                    let found = self.describe(dir, name, hint, Read::Metadata)?;
                    return Ok(found.map(|found| Described { unread: Some(errno), ..found }));
                }
            }
        }
        let Some(stat) = stat(dir, name)? else { return Ok(None) };
        if stat.kind == Kind::File && read == Read::Content && hint != FileType::RegularFile {
            return self.describe(dir, name, FileType::RegularFile, read);
        }
        if stat.kind == Kind::Socket {
            return Ok(None);
        }
        let target = match stat.kind {
            Kind::Symlink => match rustix::fs::readlinkat(&dir.fd, name.as_bytes(), Vec::new()) {
                Ok(target) => target.into_bytes(),
                Err(Errno::NOENT | Errno::INVAL) => return Ok(None),
                Err(errno) => return Err(errno),
            },
            _ => Vec::new(),
        };
        let (xattrs, unread) = match xattr::read_plain(&xattr::Via::name(dir.fd.as_fd(), name)) {
            Ok(xattrs) => (self.counted(xattrs), None),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => (Xattrs::default(), Some(errno)),
        };
        let steady = self::stat(dir, name)?.is_some_and(|now| now.same_version(&stat));
        let entry = plain(Entry::of(&stat, None, &target, digest(&xattrs)));
        Ok(Some(Described { stat, entry, xattrs, steady, unread }))
    }

    /// What is there as its record has it, where stat data prove that it still is so. Directories are opened in any case.
    pub(super) fn recalled(&self, dir: &Dir, name: &Name, record: &Record) -> Result<Option<Described>, Errno> {
        let usable = match record.stat.kind {
            Kind::File => record.hash.is_some(),
            Kind::Directory | Kind::Socket => false,
            _ => true,
        };
        // The digest in a record counts every attribute.
        let whole = self.how.trusted || record.xattrs.is_empty();
        if !(usable && whole && record.settled && self.how.depth == Depth::Quick) {
            return Ok(None);
        }
        let Some(stat) = stat(dir, name)?.filter(|stat| record.proves(stat)) else { return Ok(None) };
        let target = match stat.kind {
            Kind::Symlink => match rustix::fs::readlinkat(&dir.fd, name.as_bytes(), Vec::new()) {
                Ok(target) => target.into_bytes(),
                Err(_) => return Ok(None),
            },
            _ => Vec::new(),
        };
        let hash = record.hash.filter(|_| stat.kind == Kind::File);
        let entry = plain(Entry::of(&stat, hash, &target, record.xattrs));
        Ok(Some(Described { stat, entry, xattrs: Xattrs::default(), steady: true, unread: None }))
    }

    /// An open directory itself.
    pub(super) fn describe_self(&self, dir: &Dir) -> Result<Described, Errno> {
        let before = stat_self(dir)?;
        let xattrs = self.counted(xattr::read_plain(&xattr::Via::Open(dir.fd.as_fd()))?);
        let stat = stat_self(dir)?;
        let entry = plain(Entry::of(&stat, None, &[], digest(&xattrs)));
        Ok(Described { stat, entry, xattrs, steady: stat.same_version(&before), unread: None })
    }

    /// The names that take part in the range and that `chosen` accepts, sorted. A socket is none; what the directory does not tell is
    /// found out.
    pub(super) fn names(&self, dir: &Dir, chosen: impl Fn(&[u8]) -> bool) -> Result<Vec<Hinted>, crate::Error> {
        let mut names = Vec::new();
        self.each_in_scope(dir, |bytes, hint| {
            if chosen(bytes) {
                names.push(Hinted { name: dir.usable(bytes)?, hint });
            }
            Ok(())
        })?;
        Ok(in_order(names))
    }

    /// Every name that takes part and, in a directory that is not in the range, leads there.
    pub(super) fn each_in_scope(
        &self,
        dir: &Dir,
        mut visit: impl FnMut(&[u8], FileType) -> Result<(), crate::Error>,
    ) -> Result<(), crate::Error> {
        let scope = &self.how.scope;
        if scope.has(dir.path()) {
            return self.each(dir, visit);
        }
        self.each(dir, |bytes, hint| match scope.reaches(&dir.at(&dir.usable(bytes)?)) {
            true => visit(bytes, hint),
            false => Ok(()),
        })
    }

    /// Every name that takes part.
    pub(super) fn each(
        &self,
        dir: &Dir,
        mut visit: impl FnMut(&[u8], FileType) -> Result<(), crate::Error>,
    ) -> Result<(), crate::Error> {
        dir.each_hinted(|bytes, hint| {
            if hint == FileType::Socket {
                return Ok(());
            }
            let hint = match hint {
                FileType::Unknown => match stat(dir, &dir.usable(bytes)?) {
                    Ok(Some(stat)) if stat.kind == Kind::Socket => return Ok(()),
                    Ok(Some(stat)) if stat.kind == Kind::Directory => FileType::Directory,
                    _ => hint,
                },
                told => told,
            };
            match self.how.filter.excludes_in(dir.path(), bytes, hint == FileType::Directory) {
                true => Ok(()),
                false => visit(bytes, hint),
            }
        })
    }

    /// Those that are compared.
    fn counted(&self, xattrs: Xattrs) -> Xattrs {
        let hidden = |name: &[u8]| name.starts_with(b"trusted.");
        if self.how.trusted || !xattrs.iter().any(|(name, _)| hidden(name)) {
            return xattrs;
        }
        let kept = xattrs.iter().filter(|(name, _)| !hidden(name));
        Xattrs::new(kept.map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Sorted by names. A file system may show one twice when the directory is reordered while it is read.
pub(super) fn in_order(mut names: Vec<Hinted>) -> Vec<Hinted> {
    names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    names.dedup_by(|a, b| a.name == b.name);
    names
}

/// Inode numbers of this machine are nothing to compare.
fn plain(entry: Entry) -> Entry {
    Entry { group: None, ..entry }
}

/// `None` when it is not there.
pub(super) fn stat(dir: &Dir, name: &Name) -> Result<Option<Stat>, Errno> {
    match sys::statx(dir.fd.as_fd(), name.as_bytes(), StatxFlags::BASIC_STATS) {
        Ok(found) => Ok(sys::as_stat(&found)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn stat_self(dir: &Dir) -> Result<Stat, Errno> {
    sys::as_stat(&sys::statx(dir.fd.as_fd(), b"", StatxFlags::BASIC_STATS)?).ok_or(Errno::IO)
}
