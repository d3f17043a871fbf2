//! The primary's half of a comparison: walks a subtree and tells what is there, page by page. What the catalog proves
//! unchanged comes with its hash; everything else without, and the replica then asks. What has no hash and is not in the catalog
//! is marked, or it would be equal, and nobody would know of it when it is gone, renamed or linked. Before that, what each
//! directory comes to: what is equal on both sides is not listed.

use crate::plan::TOLD_GONE;
use crate::{Error, Result};
use fulmar_model::{Entry, Filter, Kind, Name, Record, RelPath, Stat, Xattrs};
use fulmar_store::CatalogReader;
use fulmar_tree::{
    Dir, Fingerprint, Listing, Part, Printed, Step, SurveyBounds, Surveyor, Tree, Walk, digest, list_part, print_of,
    survey, unbroken,
};
use fulmar_wire::{FRAME_BYTES_MAX, PAGE_ENTRIES_MAX};
use std::sync::Arc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{Receiver, Sender};

/// Bytes of names and link targets in one page, and what the rest of an entry takes at most: a page must fit in a frame.
const PAGE_BYTES_MAX: usize = FRAME_BYTES_MAX / 2;
const ENTRY_BYTES: usize = 128;

/// What a listing yields.
#[derive(Debug)]
pub(crate) enum Listed {
    /// First, where a survey was asked for and not taken back: what each directory comes to. `None`: there are too many.
    Survey(Option<Vec<Printed>>),
    /// Entries of one directory; by number, in order, those that are to be planned whatever the replica says.
    Page { directory: RelPath, part: Part, more: bool, entries: Vec<(Name, Entry)>, unknown: Vec<u32> },
    /// A directory that cannot be read. Nothing is said of what is in it, so nothing of it is removed.
    Unreadable { path: RelPath, errno: i32 },
    /// The end, how many entries there were, and how many sockets: those are not replicated.
    End { entries: u64, sockets: u64 },
}

/// What is listed.
#[derive(Debug)]
pub(crate) enum Choice {
    /// Everything below.
    All,
    /// These parts of directories, in the order of a survey.
    Only(Vec<(RelPath, Part)>),
}

/// Walks on a thread of its own, and surveys with more of its kind.
pub(crate) struct Lister {
    pub(crate) tree: Tree,
    pub(crate) filter: Filter,
    pub(crate) subtree: RelPath,
    /// Whether the replica keeps owners.
    pub(crate) owners: bool,
    /// Where it is: a survey comes first, and here is what to do then.
    pub(crate) choices: Option<Receiver<Choice>>,
    pub(crate) pages: Sender<Listed>,
}

/// What was seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    entries: u64,
    sockets: u64,
}

impl Lister {
    /// Runs until the subtree is listed or nobody listens.
    pub(crate) fn run(self, catalog: CatalogReader) -> Result<()> {
        match self.work(catalog) {
            Err(Error::Gone) => Ok(()),
            other => other,
        }
    }

    fn work(mut self, catalog: CatalogReader) -> Result<()> {
        let (choice, catalog, mut count) = match self.choices.take() {
            Some(choices) => self.survey(choices, catalog, SurveyBounds::default())?,
            None => (Choice::All, catalog, Count::default()),
        };
        match choice {
            Choice::Only(parts) => {
                for (path, part) in parts {
                    let step = match list_part(&self.tree, &path, part) {
                        Ok(listing) => Step::Listing(listing),
                        Err(error) => Step::Unreadable { path, error },
                    };
                    self.tell(&catalog, step)?;
                }
            }
            Choice::All => {
                count = Count::default();
                let mut walk = self.walk();
                while let Some(step) = walk.next_dir() {
                    self.count(&step, &mut count);
                    self.tell(&catalog, step)?;
                }
            }
        }
        self.send(Listed::End { entries: count.entries, sockets: count.sockets })
    }

    fn walk(&self) -> Walk {
        let filter = self.filter.clone();
        let enter = move |path: &RelPath, _: &Stat| !filter.excludes_here(path, true);
        Walk::filtered(&self.tree, &self.subtree, Arc::new(enter))
    }

    fn count(&self, step: &Step, count: &mut Count) {
        if let Step::Listing(listing) = step {
            count.entries += listing.entries.len() as u64;
            count.sockets += self.sockets(&listing.path, &listing.entries);
        }
    }

    /// Sockets among these entries, those that are excluded aside.
    fn sockets(&self, directory: &RelPath, entries: &[(Name, Stat)]) -> u64 {
        let sockets = entries.iter().filter(|(_, stat)| stat.kind == Kind::Socket);
        sockets.filter(|(name, _)| !self.filter.excludes_in(directory, name.as_bytes(), false)).count() as u64
    }

    fn send(&self, listed: Listed) -> Result<()> {
        self.pages.blocking_send(listed).map_err(|_| Error::Gone)
    }

    // What each directory comes to.

    /// Tells what each directory comes to, and waits for what is to be listed.
    fn survey(
        &self,
        mut choices: Receiver<Choice>,
        catalog: CatalogReader,
        bounds: SurveyBounds,
    ) -> Result<(Choice, CatalogReader, Count)> {
        let first = ListSurveyor { lister: self, choices: &choices, catalog, count: Count::default() };
        let (ListSurveyor { catalog, count, .. }, prints) = survey(self.walk(), bounds, first)?;
        let choice = match choices.try_recv() {
            Ok(choice) => Some(choice),
            Err(TryRecvError::Empty) => {
                self.send(Listed::Survey(prints))?;
                choices.blocking_recv()
            }
            Err(TryRecvError::Disconnected) => None,
        };
        Ok((choice.ok_or(Error::Gone)?, catalog, count))
    }

    fn print(&self, catalog: &CatalogReader, listing: Listing) -> Result<Printed> {
        let Listing { path, part, mut entries, .. } = listing;
        entries.retain(|(name, stat)| !self.leaves_out(&path, name, stat));
        let leaves = entries.iter().filter(|(_, stat)| stat.kind != Kind::Directory);
        // A seal speaks of owners, too.
        let sealed = match self.owners {
            true => unbroken(catalog, &path, part, leaves.map(|(name, stat)| (name, stat))),
            false => None,
        };
        let (mut leaves, mut directories) = (Fingerprint::default(), Fingerprint::default());
        let (mut rows, mut dir) = (catalog.rows(&path), None);
        for (name, stat) in entries {
            let record = match (sealed, stat.kind) {
                (Some(_), Kind::Directory) => catalog.get(&path.join(&name))?,
                (Some(_), _) => continue,
                (None, _) => rows.record(&name)?,
            };
            let known = record.as_ref().filter(|record| record.proves(&stat));
            let entry = match (known, stat.kind) {
                // Nothing that is not in the record or in the stat data.
                (Some(record), kind) if kind != Kind::Symlink => {
                    Some(Entry::of(&stat, record.hash, &[], record.xattrs))
                }
                (None, Kind::File) => None,
                (None, _) if is_unknown(&stat, record.as_ref()) => None,
                _ => {
                    if dir.is_none() {
                        dir = self.tree.dir(&path).ok();
                    }
                    dir.as_ref().and_then(|dir| describe(dir, &name, &stat, record.as_ref()))
                }
            };
            let print = if stat.kind == Kind::Directory { &mut directories } else { &mut leaves };
            match entry {
                Some(entry) => print.add(&name, &entry, self.owners),
                None => print.add_unknown(),
            }
        }
        let leaves = sealed.map_or_else(|| leaves.finish(), |seal| Some(seal.leaves));
        Ok(Printed { directory: path, part, fingerprint: print_of(leaves, directories) })
    }

    fn leaves_out(&self, directory: &RelPath, name: &Name, stat: &Stat) -> bool {
        stat.kind == Kind::Socket || self.filter.excludes_in(directory, name.as_bytes(), stat.kind == Kind::Directory)
    }

    // Pages.

    fn tell(&self, catalog: &CatalogReader, step: Step) -> Result<()> {
        match step {
            // It goes with its own change; the subtree itself is looked at again when the comparison ends.
            Step::Unreadable { error, .. } if error.is_gone() => Ok(()),
            Step::Unreadable { path, error } => self.send(Listed::Unreadable { path, errno: error.errno() }),
            Step::Listing(listing) => self.directory(catalog, listing),
        }
    }

    fn directory(&self, catalog: &CatalogReader, listing: Listing) -> Result<()> {
        let Listing { path, part, entries: found, .. } = listing;
        let dir = match self.tree.dir(&path) {
            Ok(dir) => dir,
            Err(error) => return self.tell(catalog, Step::Unreadable { path, error }),
        };
        let (mut entries, mut unknown, mut bytes, mut rows) = (Vec::new(), Vec::new(), 0, catalog.rows(&path));
        for (name, stat) in found {
            if self.leaves_out(&path, &name, &stat) {
                continue;
            }
            let record = rows.record(&name)?;
            if let Some(entry) = describe(&dir, &name, &stat, record.as_ref()) {
                let size = name.as_bytes().len() + ENTRY_BYTES + target_bytes(&entry);
                bytes += size;
                if entries.len() == PAGE_ENTRIES_MAX || bytes > PAGE_BYTES_MAX {
                    bytes = size;
                    let (entries, unknown) = (std::mem::take(&mut entries), std::mem::take(&mut unknown));
                    self.send(Listed::Page { directory: path.clone(), part, more: true, entries, unknown })?;
                }
                if is_unknown(&stat, record.as_ref()) {
                    unknown.extend(u32::try_from(entries.len()));
                }
                entries.push((name, entry));
            }
        }
        self.send(Listed::Page { directory: path, part, more: false, entries, unknown })
    }
}

/// What one thread has of a survey.
struct ListSurveyor<'a> {
    lister: &'a Lister,
    /// Only looked at: what comes is taken when all have ended.
    choices: &'a Receiver<Choice>,
    catalog: CatalogReader,
    count: Count,
}

impl Surveyor for ListSurveyor<'_> {
    type Error = Error;

    fn another(&self) -> Result<Self> {
        Ok(Self { catalog: self.catalog.another()?, count: Count::default(), ..*self })
    }

    fn step(&mut self, _: &mut Walk, step: Step) -> Result<Option<Printed>> {
        // A replica that knows nothing says so at once; or there is nobody any more who would choose.
        if !self.choices.is_empty() || self.choices.is_closed() {
            return Ok(None);
        }
        self.lister.count(&step, &mut self.count);
        Ok(Some(match step {
            Step::Listing(listing) => self.lister.print(&self.catalog, listing)?,
            // To be listed, which says why.
            Step::Unreadable { path, .. } => Printed { directory: path, part: Part::WHOLE, fingerprint: None },
        }))
    }

    fn join(&mut self, other: Self) {
        self.count.entries += other.count.entries;
        self.count.sockets += other.count.sockets;
    }
}

fn target_bytes(entry: &Entry) -> usize {
    match &entry.node {
        fulmar_model::Node::Symlink { target } => target.len(),
        _ => 0,
    }
}

/// Whether the catalog does not know of what is there, and a replica may find it equal all the same.
fn is_unknown(stat: &Stat, record: Option<&Record>) -> bool {
    let knows = |record: &Record| {
        (record.stat.inode, record.stat.kind) == (stat.inode, stat.kind) && record.group != Some(TOLD_GONE)
    };
    stat.kind != Kind::File && !record.is_some_and(knows)
}

/// The entry of what is there; `None` when it vanished meanwhile.
fn describe(dir: &Dir, name: &Name, stat: &Stat, record: Option<&Record>) -> Option<Entry> {
    let proved = record.filter(|record| record.proves(stat));
    let target = match stat.kind {
        Kind::Symlink => dir.read_link(name).ok()?,
        _ => Box::default(),
    };
    let xattrs = match proved {
        Some(record) => record.xattrs,
        // Without a hash it is not found to be the same, whatever its attributes are.
        None if stat.kind == Kind::File => digest(&Xattrs::default()),
        None => digest(&dir.xattrs(name, stat.kind).ok()?),
    };
    let hash = proved.and_then(|record| record.hash);
    Some(Entry::of(stat, hash, &target, xattrs))
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
