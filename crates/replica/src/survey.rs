//! What this side has, one fingerprint a directory, so that a primary that has the same need not list it.
//!
//! A fingerprint is made of what is recorded and proved unchanged. What has no record does not belong to it: such strays are
//! what the listing would not have, and are told of when the comparison ends, unless their directory was listed meanwhile.

use crate::Result;
use crate::compare::Comparer;
use crate::drift::group_is_whole;
use crate::open::is_ignored;
use fulmar_model::{Entry, Hash, Kind, LinkGroup, Name, Record, RelPath, Stat};
use fulmar_tree::{
    DIRECTORIES_MAX, Dir, Fingerprint, Listing, Part, Printed, Step, Tree, Walk, digest, fingerprint_of, print_of,
    unbroken,
};
use fulmar_wire::{FromReplica, Print};
use std::collections::HashMap;

/// Strays that are remembered; beyond it everything is listed.
const STRAYS_MAX: usize = 100_000;

/// What a survey has found.
pub(crate) struct Surveyed {
    prints: HashMap<(RelPath, Part), Hash>,
    strays: Strays,
}

/// Paths that no listing has, by directory and part.
#[derive(Default)]
struct Strays {
    paths: HashMap<(RelPath, Part), Vec<RelPath>>,
    count: usize,
}

impl Surveyed {
    /// The directory is listed instead, or cannot be: whatever is said of it comes from there.
    pub(crate) fn forget(&mut self, directory: &RelPath, part: (u32, u32)) {
        if let Some(part) = Part::new(part.0, part.1) {
            self.strays.paths.remove(&(directory.clone(), part));
        }
    }

    /// Paths that the listing would not have had.
    pub(crate) fn into_strays(self) -> impl Iterator<Item = Vec<RelPath>> {
        self.strays.paths.into_values()
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
        let mut strays = Strays::default();
        let prints = self.look_over(subtree, &mut strays)?;
        let fingerprint = prints.as_ref().and_then(|prints| fingerprint_of(prints));
        let known = |printed: Printed| Some(((printed.directory, printed.part), printed.fingerprint?));
        let prints = prints.map(|prints| prints.into_iter().filter_map(known).collect());
        self.surveyed = prints.map(|prints| Surveyed { prints, strays });
        Ok(FromReplica::Surveyed { fingerprint })
    }

    /// In the order of the walk. `None`, and everything is listed: nothing is known here, or not of every entry, or too much.
    fn look_over(&self, subtree: &RelPath, strays: &mut Strays) -> Result<Option<Vec<Printed>>> {
        let (Some(tree), Some(catalog)) = (&self.tree, &self.catalog) else { return Ok(None) };
        if catalog.children(subtree, None, 1)?.is_empty() {
            return Ok(None);
        }
        let mut prints = Vec::new();
        let mut walk = Walk::new(tree, subtree);
        while let Some(step) = walk.next_dir() {
            let Step::Listing(listing) = step else { return Ok(None) };
            let printed = self.print(tree, &mut walk, listing, strays)?;
            let unknown = printed.fingerprint.is_none();
            prints.push(printed);
            if unknown || prints.len() > DIRECTORIES_MAX || strays.count > STRAYS_MAX {
                return Ok(None);
            }
        }
        Ok(Some(prints))
    }

    fn print(&self, tree: &Tree, walk: &mut Walk, listing: Listing, strays: &mut Strays) -> Result<Printed> {
        let Listing { path, part, entries, .. } = listing;
        let leaves = entries.iter().filter(|(_, stat)| stat.kind != Kind::Directory);
        // A seal speaks of owners, too.
        let catalog = self.catalog.as_ref().filter(|_| self.owners);
        let sealed =
            catalog.and_then(|catalog| unbroken(catalog, &path, part, leaves.map(|(name, stat)| (name, stat))));
        let (mut leaves, mut directories) = (Fingerprint::default(), Fingerprint::default());
        let (mut here, mut dir) = (Vec::new(), None);
        let mut rows = self.catalog.as_ref().map(|catalog| catalog.rows(&path));
        for (name, stat) in entries {
            let record = match (sealed, stat.kind, &mut rows) {
                (Some(_), Kind::Directory, _) => {
                    self.catalog.as_ref().map_or(Ok(None), |catalog| catalog.get(&path.join(&name)))?
                }
                (Some(_), ..) => continue,
                (None, _, rows) => rows.as_mut().map_or(Ok(None), |rows| rows.record(&name))?,
            };
            let Some(record) = record else {
                walk.skip(&name);
                if !(path.is_root() && is_ignored(name.as_bytes())) {
                    here.push(path.join(&name));
                }
                continue;
            };
            let print = if stat.kind == Kind::Directory { &mut directories } else { &mut leaves };
            match self.known(tree, &path, &mut dir, (&name, &stat), &record)? {
                Some(entry) => print.add(&name, &entry, self.owners),
                None => print.add_unknown(),
            }
        }
        if !here.is_empty() {
            strays.count += here.len();
            strays.paths.insert((path.clone(), part), here);
        }
        let leaves = sealed.map_or_else(|| leaves.finish(), |seal| Some(seal.leaves));
        Ok(Printed { directory: path, part, fingerprint: print_of(leaves, directories) })
    }

    /// The entry as the primary would tell it; `None` when that is not known. See `Comparer::differs`, which decides the same
    /// of an entry that was told.
    fn known(
        &self,
        tree: &Tree,
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
            *dir = tree.dir(directory).ok();
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
        let Some(catalog) = &self.catalog else { return Ok(None) };
        Ok(match record.group {
            _ if stat.kind == Kind::Directory => Some(record.group),
            Some(group) if proved && group_is_whole(catalog, group, stat.inode)? => Some(Some(group)),
            None if stat.links == 1 || (proved && catalog.names_of(stat.inode, 2)?.len() < 2) => Some(None),
            _ => None,
        })
    }
}
