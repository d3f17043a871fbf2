//! What came of reading a tree, and listings of the directories in it that turn out to differ.

use super::ON_THE_WAY;
use super::content::Eye;
use super::describe::{Described, Hinted, Read};
use super::engine::audit;
use super::kept::{Hashes, Kept};
use super::links::Links;
use super::settings::{Auditing, Meter};
use crate::{Dir, Part, Result, Tree};
use fulmar_model::{Below, Entry, Found, Kind, Node, Record, RelPath, Unread};
use rustix::fs::FileType;

/// What was counted on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Paths that could not be read.
    pub unread: u64,
    /// Files whose content is not the recorded one, though nobody wrote there.
    pub rotten: u64,
    /// Directories that were not entered because something is mounted there.
    pub mounts: u64,
}

/// A tree, or a directory of one, that was read from end to end.
#[derive(Debug)]
pub struct Audited {
    pub(super) tree: Tree,
    pub(super) how: Auditing,
    pub(super) entry: Entry,
    pub(super) below: Below,
    pub(super) kept: Kept,
    pub(super) links: Option<Links>,
    pub(super) unread: Vec<Unread>,
    pub(super) rotten: Vec<RelPath>,
    pub(super) counts: Counts,
}

impl Audited {
    /// What it is itself: metadata of the root.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// What is in it.
    pub fn below(&self) -> Below {
        self.below
    }

    /// Which names are one file; `None` when there are too many of them.
    pub fn links(&self) -> Option<&Links> {
        self.links.as_ref()
    }

    /// What could not be read, the first [`super::UNREAD_MAX`] of it.
    pub fn unread(&self) -> &[Unread] {
        &self.unread
    }

    /// Files whose content is not the recorded one, though nobody wrote there: the first [`super::UNREAD_MAX`] of them.
    pub fn rotten(&self) -> &[RelPath] {
        &self.rotten
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// How it was read.
    pub fn how(&self) -> &Auditing {
        &self.how
    }

    /// What is in a directory now. Files that were not touched since they were hashed are not read again; of a directory
    /// that is not remembered, everything below is. Of one that is not in the range only the directories are told that lead
    /// there, as if their metadata were the same on both sides.
    pub fn list(&self, path: &RelPath, part: Part, meter: &Meter) -> Result<Vec<Found>> {
        let dir = self.tree.dir(path)?;
        let mut eye = Eye::new(&self.how, meter);
        let names = eye.names(&dir, |name| part.has(name))?;
        let hashes = self.kept.hashes(path, part);
        let mut found = Vec::with_capacity(names.len());
        let mut records = eye.recall(path, &names.iter().map(|hinted| &hinted.name).collect::<Vec<_>>()).into_iter();
        for hinted in &names {
            let record = records.next().flatten();
            if let Some(entry) = self.found(&mut eye, &dir, hinted, (&hashes, record))? {
                found.push(entry);
            }
        }
        Ok(found)
    }

    fn found(
        &self,
        eye: &mut Eye<'_>,
        dir: &Dir,
        hinted: &Hinted,
        (hashes, record): (&Hashes<'_>, Option<Record>),
    ) -> Result<Option<Found>> {
        if eye.meter.is_stopped() {
            return Err(crate::Error::Stopped);
        }
        let name = &hinted.name;
        let failed = |source| crate::Error::Stat { path: dir.at(name), source };
        if let Some(recalled) = record.and_then(|record| eye.recalled(dir, name, &record).unwrap_or(None)) {
            return Ok(Some(Found { name: name.clone(), entry: recalled.entry, below: None }));
        }
        let Some(described) = eye.describe(dir, name, hinted.hint, Read::Metadata).map_err(failed)? else {
            return Ok(None);
        };
        let Described { stat, mut entry, .. } = described;
        let scope = &self.how.scope;
        if !scope.has(dir.path()) {
            if stat.kind != Kind::Directory {
                return Ok(None);
            }
            entry = ON_THE_WAY;
        }
        if let Node::File { hash, .. } = &mut entry.node {
            *hash = match hashes.of(name, &stat) {
                Some(known) => Some(known),
                None => match eye.describe(dir, name, FileType::RegularFile, Read::Content).map_err(failed)? {
                    Some(read) => {
                        entry = read.entry;
                        return Ok(Some(Found { name: name.clone(), entry, below: None }));
                    }
                    None => return Ok(None),
                },
            };
        }
        let enters = stat.kind == Kind::Directory && stat.device == self.tree.device() && scope.reaches(&dir.at(name));
        let below = if enters { self.below_of(&dir.at(name), eye.meter)? } else { None };
        Ok(Some(Found { name: name.clone(), entry, below }))
    }

    /// `None` when it cannot be read or is gone.
    fn below_of(&self, path: &RelPath, meter: &Meter) -> Result<Option<Below>> {
        if let Some(below) = self.kept.get(path) {
            return Ok(Some(below));
        }
        if self.unread.iter().any(|unread| unread.path == *path) {
            return Ok(None);
        }
        match audit(&self.tree, path, &self.how, meter) {
            Ok(audited) => Ok(Some(audited.below)),
            Err(_) if meter.is_stopped() => Err(crate::Error::Stopped),
            Err(_) => Ok(None),
        }
    }
}
