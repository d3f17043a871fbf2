//! What this side has, one fingerprint a directory, so that a primary that has the same need not list it.
//!
//! A fingerprint is made of what is recorded and proved unchanged. What has no record does not belong to it: such strays are
//! what the listing would not have, and are told of when the comparison ends, unless their directory was listed meanwhile.

use crate::compare::Comparer;
use crate::drift::group_is_whole;
use crate::open::is_ignored;
use crate::{Error, Result};
use fulmar_model::{Entry, Hash, Kind, LinkGroup, Name, Record, RelPath, Stat};
use fulmar_store::CatalogReader;
use fulmar_tree::{
    Dir, Fingerprint, Listing, Part, Printed, Step, SurveyBounds, Surveyor, Tree, Walk, digest, fingerprint_of,
    print_of, survey, unbroken,
};
use fulmar_wire::{FromReplica, Print};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Strays that all threads together remember; beyond it everything is listed.
const STRAYS_MAX: usize = 100_000;

/// What a survey has found.
pub(crate) struct Surveyed {
    prints: HashMap<(RelPath, Part), Hash>,
    strays: Strays,
}

/// Paths that no listing has, by directory and part.
type Strays = HashMap<(RelPath, Part), Vec<RelPath>>;

impl Surveyed {
    /// The directory is listed instead, or cannot be: whatever is said of it comes from there.
    pub(crate) fn forget(&mut self, directory: &RelPath, part: (u32, u32)) {
        if let Some(part) = Part::new(part.0, part.1) {
            self.strays.remove(&(directory.clone(), part));
        }
    }

    /// Paths that the listing would not have had.
    pub(crate) fn into_strays(self) -> impl Iterator<Item = Vec<RelPath>> {
        self.strays.into_values()
    }

    /// Which of the primary's directories are not so here.
    pub(crate) fn differing(&mut self, theirs: Vec<Print>) -> Vec<u32> {
        let mut differing = Vec::new();
        for (at, theirs) in (0..).zip(theirs) {
            let part = Part::new(theirs.part.0, theirs.part.1);
            let ours = part.and_then(|part| self.prints.get(&(theirs.directory.clone(), part)));
            if ours.is_none() || ours != theirs.fingerprint.as_ref() {
                self.forget(&theirs.directory, theirs.part);
                differing.push(at);
            }
        }
        differing
    }
}

impl Comparer {
    /// The answer to a survey of everything below a directory; what was found is kept in `surveyed`.
    pub(crate) fn survey(&mut self, subtree: &RelPath) -> Result<FromReplica> {
        let found = self.look_over(subtree, SurveyBounds::default(), STRAYS_MAX)?;
        let fingerprint = found.as_ref().and_then(|(prints, _)| fingerprint_of(prints));
        let known = |printed: Printed| Some(((printed.directory, printed.part), printed.fingerprint?));
        self.surveyed =
            found.map(|(prints, strays)| Surveyed { prints: prints.into_iter().filter_map(known).collect(), strays });
        Ok(FromReplica::Surveyed { fingerprint })
    }

    /// `None`, and everything is listed: nothing is known here, or not of every entry, or too much.
    fn look_over(
        &mut self,
        subtree: &RelPath,
        bounds: SurveyBounds,
        strays_max: usize,
    ) -> Result<Option<(Vec<Printed>, Strays)>> {
        let Some(tree) = &self.tree else { return Ok(None) };
        let Some(catalog) = self.catalog.take() else { return Ok(None) };
        if catalog.children(subtree, None, 1)?.is_empty() {
            self.catalog = Some(catalog);
            return Ok(None);
        }
        let (owners, strays, count) = (self.owners, Strays::new(), AtomicUsize::new(0));
        let first = TreeSurveyor { tree, catalog, owners, strays, strays_max, count: &count };
        let (TreeSurveyor { catalog, strays, .. }, prints) = survey(Walk::new(tree, subtree), bounds, first)?;
        self.catalog = Some(catalog);
        Ok(prints.map(|prints| (prints, strays)))
    }
}

/// What one thread has of a survey.
struct TreeSurveyor<'a> {
    tree: &'a Tree,
    catalog: CatalogReader,
    owners: bool,
    strays: Strays,
    strays_max: usize,
    /// Strays of all.
    count: &'a AtomicUsize,
}

impl Surveyor for TreeSurveyor<'_> {
    type Error = Error;

    fn another(&self) -> Result<Self> {
        Ok(Self { catalog: self.catalog.another()?, strays: Strays::new(), ..*self })
    }

    fn step(&mut self, walk: &mut Walk, step: Step) -> Result<Option<Printed>> {
        let Step::Listing(listing) = step else { return Ok(None) };
        let printed = self.print(walk, listing)?;
        let known = printed.fingerprint.is_some() && self.count.load(Ordering::Relaxed) <= self.strays_max;
        Ok(known.then_some(printed))
    }

    fn join(&mut self, other: Self) {
        self.strays.extend(other.strays);
    }
}

impl TreeSurveyor<'_> {
    fn print(&mut self, walk: &mut Walk, listing: Listing) -> Result<Printed> {
        let Listing { path, part, entries, .. } = listing;
        let leaves = entries.iter().filter(|(_, stat)| stat.kind != Kind::Directory);
        // A seal speaks of owners, too.
        let sealed = match self.owners {
            true => unbroken(&self.catalog, &path, part, leaves.map(|(name, stat)| (name, stat))),
            false => None,
        };
        let (mut leaves, mut directories) = (Fingerprint::default(), Fingerprint::default());
        let (mut here, mut dir, mut rows) = (Vec::new(), None, self.catalog.rows(&path));
        for (name, stat) in entries {
            let record = match (sealed, stat.kind) {
                (Some(_), Kind::Directory) => self.catalog.get(&path.join(&name))?,
                (Some(_), _) => continue,
                (None, _) => rows.record(&name)?,
            };
            let Some(record) = record else {
                walk.skip(&name);
                if !(path.is_root() && is_ignored(name.as_bytes())) {
                    here.push(path.join(&name));
                }
                continue;
            };
            let print = if stat.kind == Kind::Directory { &mut directories } else { &mut leaves };
            match self.known(&path, &mut dir, (&name, &stat), &record)? {
                Some(entry) => print.add(&name, &entry, self.owners),
                None => print.add_unknown(),
            }
        }
        if !here.is_empty() {
            self.count.fetch_add(here.len(), Ordering::Relaxed);
            self.strays.insert((path.clone(), part), here);
        }
        let leaves = sealed.map_or_else(|| leaves.finish(), |seal| Some(seal.leaves));
        Ok(Printed { directory: path, part, fingerprint: print_of(leaves, directories) })
    }

    /// The entry as the primary would tell it; `None` when that is not known. See `Comparer::differs`, which decides the same
    /// of an entry that was told.
    fn known(
        &self,
        directory: &RelPath,
        dir: &mut Option<Dir>,
        (name, stat): (&Name, &Stat),
        record: &Record,
    ) -> Result<Option<Entry>> {
        let proved = record.proves(stat);
        if (stat.kind == Kind::File && !proved) || stat.kind == Kind::Socket {
            return Ok(None);
        }
        if dir.is_none() && (!proved || stat.kind == Kind::Symlink) {
            *dir = self.tree.dir(directory).ok();
        }
        let target = match (stat.kind, &dir) {
            (Kind::Symlink, Some(dir)) => dir.read_link(name).ok(),
            (Kind::Symlink, None) => None,
            _ => Some(Box::default()),
        };
        let xattrs = match (proved, &dir) {
            (true, _) => Some(record.xattrs),
            (false, Some(dir)) => dir.xattrs(name, stat.kind).ok().map(|xattrs| digest(&xattrs)),
            (false, None) => None,
        };
        let (Some(target), Some(xattrs)) = (target, xattrs) else { return Ok(None) };
        let Some(group) = self.known_group(stat, record, proved)? else { return Ok(None) };
        Ok(Some(Entry { group, ..Entry::of(stat, record.hash, &target, xattrs) }))
    }

    /// Outer `None`: the link group is not known to be whole.
    fn known_group(&self, stat: &Stat, record: &Record, proved: bool) -> Result<Option<Option<LinkGroup>>> {
        Ok(match record.group {
            _ if stat.kind == Kind::Directory => Some(record.group),
            Some(group) if proved && group_is_whole(&self.catalog, group, stat.inode)? => Some(Some(group)),
            None if stat.links == 1 || (proved && self.catalog.names_of(stat.inode, 2)?.len() < 2) => Some(None),
            _ => None,
        })
    }
}

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
