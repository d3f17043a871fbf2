//! What names a directory holds.
//!
//! A listing while others change the directory holds every name that was there throughout, once; of a name that came or
//! went meanwhile it may hold either state.

use crate::{Dir, Error, NAMES_PER_PART, Part, Result, sys};
use fulmar_model::{Name, Stat};
use rustix::fs::{FileType, RawDir};
use std::os::fd::AsFd;

/// Bytes given to one getdents64: about 500 names of 40 bytes.
const BUFFER_BYTES: usize = 32 * 1024;

/// A listing that knows when to stop.
#[derive(Debug, PartialEq, Eq)]
pub enum Names {
    /// Every name, sorted by bytes.
    All(Vec<Name>),
    /// More than one part may hold; this many.
    TooMany(u64),
}

impl Dir {
    /// How many names it holds.
    pub fn count(&self) -> Result<u64> {
        let mut count = 0;
        self.each_name(|_| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }

    /// The names in `part`, sorted by bytes.
    pub fn names(&self, part: Part) -> Result<Vec<Name>> {
        let mut names = Vec::new();
        self.each_name(|bytes| {
            if part.has(bytes) {
                names.push(self.usable(bytes)?);
            }
            Ok(())
        })?;
        sort(&mut names);
        Ok(names)
    }

    /// All names where they fit into one part, else their number: one pass either way.
    pub fn names_if_few(&self) -> Result<Names> {
        let (mut names, mut count) = (Vec::new(), 0u64);
        self.each_name(|bytes| {
            count += 1;
            match count <= NAMES_PER_PART {
                true => names.push(self.usable(bytes)?),
                false => names = Vec::new(),
            }
            Ok(())
        })?;
        if count > NAMES_PER_PART {
            return Ok(Names::TooMany(count));
        }
        sort(&mut names);
        Ok(Names::All(names))
    }

    /// The names in `part` with what they are, sorted by bytes. A name that vanished before it was looked at is left out.
    pub fn list(&self, part: Part) -> Result<Vec<(Name, Stat)>> {
        self.stat_all(self.names(part)?)
    }

    /// Looks at every name; those that vanished are left out.
    pub(crate) fn stat_all(&self, names: Vec<Name>) -> Result<Vec<(Name, Stat)>> {
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            if let Some(stat) = self.stat(&name)? {
                entries.push((name, stat));
            }
        }
        Ok(entries)
    }

    pub(crate) fn usable(&self, bytes: &[u8]) -> Result<Name> {
        Name::parse(bytes).map_err(|_| Error::UnusableName { path: self.path().clone(), name: bytes.into() })
    }

    fn each_name(&self, mut visit: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.each_hinted(|name, _| visit(name))
    }

    /// Every name, with what the directory says it is: `Unknown` on file systems that do not tell.
    ///
    /// Reads through a handle of its own, because the position in a directory belongs to the handle.
    pub(crate) fn each_hinted(&self, mut visit: impl FnMut(&[u8], FileType) -> Result<()>) -> Result<()> {
        let failed = |source| Error::List { path: self.path().clone(), source };
        let own = sys::open(self.fd.as_fd(), b".", sys::DIRECTORY).map_err(failed)?;
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        let mut listing = RawDir::new(own, buffer.spare_capacity_mut());
        while let Some(entry) = listing.next() {
            let entry = entry.map_err(failed)?;
            match entry.file_name().to_bytes() {
                b"." | b".." => {}
                name => visit(name, entry.file_type())?,
            }
        }
        Ok(())
    }
}

/// A file system may show a name twice when the directory is reordered while it is read.
fn sort(names: &mut Vec<Name>) {
    names.sort_unstable();
    names.dedup();
}
