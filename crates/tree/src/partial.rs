//! Large files on their way: they outlive the process that writes them, so that the next one need not begin anew. What is
//! found here is a basis like any other, nothing is believed of it.

use crate::hash::ContentHasher;
use crate::staged::{Made, Staged, StagedFile};
use crate::{Dir, Error, Part, Reader, Result, sys};
use fulmar_model::{Kind, Name, RelPath};
use rustix::fs::{Mode, OFlags};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Kept from one session to the next; older ones go first.
const PARTIALS_MAX: usize = 16;

/// The directory `partial/` of a replica.
#[derive(Debug)]
pub struct Partials {
    dir: Arc<Dir>,
    next: AtomicU64,
}

impl Partials {
    /// Removes all but the most recently written. Only where nobody else writes.
    pub(crate) fn new(dir: Dir) -> Result<Self> {
        let mut found = dir.list(Part::WHOLE)?;
        found.sort_by_key(|(_, stat)| std::cmp::Reverse(stat.mtime));
        for (name, stat) in found.iter().skip(PARTIALS_MAX) {
            dir.remove(name, stat.kind)?;
        }
        Ok(Self { dir: Arc::new(dir), next: AtomicU64::new(0) })
    }

    /// An empty file for the content of `path`; it stays when it is dropped before it was published. What was begun for
    /// the path before goes, though whoever has it open may read on.
    pub fn file(&self, path: &RelPath) -> Result<StagedFile> {
        for name in self.of(path)? {
            self.dir.remove(&name, Kind::File)?;
        }
        // The number keeps a file that is still being written apart from the next one for the same path.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = Name::parse(format!("{}.{number}", key(path)).as_bytes()).expect("digits are a name");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let fd = sys::create(self.dir.fd.as_fd(), name.as_bytes(), flags, Mode::RUSR | Mode::WUSR)
            .map_err(|source| Error::Create { path: self.dir.at(&name), source })?;
        let staged = Staged::new(self.dir.clone(), name, fd, Made::Partial);
        Ok(StagedFile::new(staged, ContentHasher::default()))
    }

    /// What was written for the path before, if anything.
    pub fn open(&self, path: &RelPath) -> Result<Option<Reader>> {
        match self.of(path)?.first() {
            Some(name) => self.dir.open_file(name).map(Some),
            None => Ok(None),
        }
    }

    fn of(&self, path: &RelPath) -> Result<Vec<Name>> {
        let key = key(path);
        let names = self.dir.names(Part::WHOLE)?;
        Ok(names.into_iter().filter(|name| name.as_bytes().starts_with(key.as_bytes())).collect())
    }
}

/// A name for whatever path there is: 32 digits of its hash.
fn key(path: &RelPath) -> String {
    blake3::hash(path.as_bytes()).to_hex().chars().take(32).collect()
}
