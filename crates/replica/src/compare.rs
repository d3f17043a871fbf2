//! The primary's listing against this tree, page by page. The comparer changes nothing and decides nothing: it answers which
//! entries are not so here, and notes which paths the listing did not have. The primary looks at each of them again
//! before it sends an operation, so a listing that is out of date does no harm.
//!
//! Memory: one part of one directory.

use crate::Result;
use crate::commit::Job;
use crate::drift::{content_hash, group_is_whole};
use crate::open::is_ignored;
use crate::survey::Surveyed;
use fulmar_link::{Lane, Sender};
use fulmar_model::{Entry, Hash, Kind, Name, Node, Record, RelPath, Stat};
use fulmar_store::CatalogReader;
use fulmar_tree::{Dir, Part, Tree, digest};
use fulmar_wire::{FromReplica, Page, Print, Want};
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::mpsc::{Receiver, SyncSender};

/// Rows of the catalog read at once.
const ROWS: usize = 4096;
/// Extras handed on at once.
const EXTRAS_MAX: usize = 512;

/// What the comparer is told.
pub(crate) enum Listing {
    /// A page.
    Page(Page),
    /// No more pages.
    End,
    /// What does everything below this directory come to?
    Survey(RelPath),
    /// Some of the directories that were surveyed.
    Prints { page: u32, prints: Vec<Print> },
    /// In a dry run against a directory that is no replica: the paths behind this one that the listing did not have. (A
    /// replica's are in its store.)
    Extras { after: Option<RelPath> },
}

/// Bytes of such paths that are kept; a dry run names no more than that.
const LOOKED_BYTES_MAX: usize = 16 << 20;

/// Owns a read-only view of the tree and of the catalog.
pub(crate) struct Comparer {
    /// `None` in a dry run against a directory that does not exist.
    pub(crate) tree: Option<Tree>,
    /// `None` in a dry run against a directory that is no replica.
    pub(crate) catalog: Option<CatalogReader>,
    pub(crate) owners: bool,
    pub(crate) listings: Receiver<Listing>,
    pub(crate) committer: Option<SyncSender<Job>>,
    pub(crate) answers: Sender,
    /// See [`Listing::Extras`].
    pub(crate) looked: Looked,
    /// What the last survey has found, until the comparison ends.
    pub(crate) surveyed: Option<Surveyed>,
}

/// Paths only this side has, where there is no store to note them.
#[derive(Default)]
pub(crate) struct Looked {
    paths: BTreeSet<RelPath>,
    bytes: usize,
}

impl Looked {
    fn note(&mut self, paths: Vec<RelPath>) {
        for path in paths {
            self.bytes += path.as_bytes().len() + size_of::<RelPath>();
            if self.bytes > LOOKED_BYTES_MAX {
                return;
            }
            self.paths.insert(path);
        }
    }

    fn page(&self, after: Option<RelPath>) -> Vec<RelPath> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        page(self.paths.range((from, Bound::Unbounded)).take(EXTRAS_MAX).cloned().collect())
    }
}

/// As many of these paths as fit in an answer; the primary asks again behind the last it was given.
pub(crate) fn page(mut paths: Vec<RelPath>) -> Vec<RelPath> {
    let mut bytes = 0;
    paths.retain(|path| {
        bytes += path.as_bytes().len() + 8;
        bytes <= fulmar_wire::FRAME_BYTES_MAX / 2
    });
    paths
}

/// The part of a directory that is being compared.
struct Local {
    directory: RelPath,
    part: (u32, u32),
    dir: Option<Dir>,
    /// What is here, by name; the front is what the listing has not reached.
    entries: std::iter::Peekable<std::vec::IntoIter<(Name, Stat)>>,
    records: HashMap<Name, Record>,
    extras: Vec<RelPath>,
}

impl Comparer {
    /// Runs until the session is gone.
    pub(crate) fn run(mut self) -> Result<()> {
        let mut local: Option<Local> = None;
        let mut counted = 0u64;
        while let Ok(listing) = self.listings.recv() {
            let page = match listing {
                Listing::Extras { after } => {
                    self.answer(&FromReplica::Extras { paths: self.looked.page(after) })?;
                    continue;
                }
                Listing::Survey(subtree) => {
                    let answer = self.survey(&subtree)?;
                    self.answer(&answer)?;
                    continue;
                }
                Listing::Prints { page, prints } => {
                    let differing = self.surveyed.as_mut().map(|surveyed| surveyed.differing(prints));
                    let prints = differing.ok_or(crate::Error::Protocol("fingerprints without a survey"))?;
                    self.answer(&FromReplica::Differing { page, prints })?;
                    continue;
                }
                Listing::Page(page) => Some(page),
                Listing::End => None,
            };
            let Some(page) = page else {
                self.hand_over(local.take(), &mut counted)?;
                for strays in self.surveyed.take().into_iter().flat_map(Surveyed::into_strays) {
                    self.extras(strays, &mut counted)?;
                }
                match &self.committer {
                    Some(committer) => {
                        if committer.send(Job::Listed).is_err() {
                            return Ok(());
                        }
                    }
                    None => self.answer(&FromReplica::Compared { extras: counted })?,
                }
                counted = 0;
                continue;
            };
            let same = local.as_ref().is_some_and(|at| at.directory == page.directory && at.part == page.part);
            if !same {
                self.hand_over(local.take(), &mut counted)?;
                if let Some(surveyed) = &mut self.surveyed {
                    surveyed.forget(&page.directory, page.part);
                }
                local = Some(self.open(&page)?);
            }
            let Some(at) = local.as_mut() else { continue };
            let wants = self.compare(at, &page)?;
            self.answer(&FromReplica::Wanted { page: page.page, wants })?;
            if !page.more {
                let rest: Vec<_> = at.entries.by_ref().map(|(name, _)| name).collect();
                rest.into_iter().for_each(|name| at.extra(&name));
                self.hand_over(local.take(), &mut counted)?;
            } else if at.extras.len() >= EXTRAS_MAX {
                let extras = std::mem::take(&mut at.extras);
                self.extras(extras, &mut counted)?;
            }
        }
        Ok(())
    }

    fn answer(&self, answer: &FromReplica) -> Result<()> {
        Ok(self.answers.send_blocking(Lane::Urgent, answer.encode()?)?)
    }

    fn hand_over(&mut self, local: Option<Local>, counted: &mut u64) -> Result<()> {
        self.extras(local.map(|local| local.extras).unwrap_or_default(), counted)
    }

    fn extras(&mut self, extras: Vec<RelPath>, counted: &mut u64) -> Result<()> {
        *counted += extras.len() as u64;
        match &self.committer {
            Some(committer) if !extras.is_empty() => {
                committer.send(Job::Extra(extras)).map_err(|_| crate::Error::Panicked)?;
            }
            Some(_) => {}
            None => self.looked.note(extras),
        }
        Ok(())
    }

    /// Lists the page's directory here; what cannot be listed is empty, so that the primary names everything in it.
    fn open(&mut self, page: &Page) -> Result<Local> {
        if page.directory.is_private() {
            return Err(crate::Error::Protocol("a listing of the private directory"));
        }
        let (index, of) = page.part;
        let part = Part::new(index, of).ok_or(crate::Error::Protocol("an impossible part of a directory"))?;
        let dir = self.tree.as_ref().and_then(|tree| tree.dir(&page.directory).ok());
        let entries = dir.as_ref().and_then(|dir| dir.list(part).ok()).unwrap_or_default();
        let mut records = HashMap::new();
        if let (Some(catalog), false) = (&self.catalog, entries.is_empty()) {
            let mut after: Option<Name> = None;
            loop {
                let rows = catalog.children(&page.directory, after.as_ref(), ROWS)?;
                after = rows.last().map(|(name, _)| name.clone());
                let full = rows.len() == ROWS;
                records.extend(rows.into_iter().filter(|(name, _)| part.contains(name)));
                if !full {
                    break;
                }
            }
        }
        let entries = entries.into_iter().peekable();
        Ok(Local { directory: page.directory.clone(), part: page.part, dir, entries, records, extras: Vec::new() })
    }

    fn compare(&self, at: &mut Local, page: &Page) -> Result<Vec<Want>> {
        let mut wants = Vec::new();
        for (index, (name, entry)) in page.entries.iter().enumerate() {
            while let Some((extra, _)) = at.entries.next_if(|(here, _)| here < name) {
                at.extra(&extra);
            }
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let here = at.entries.next_if(|(here, _)| here == name).map(|(_, stat)| stat);
            match here {
                None => wants.push(Want { index, have: None }),
                Some(now) => wants.extend(self.differs(at, name, entry, &now)?.map(|have| Want { index, have })),
            }
        }
        Ok(wants)
    }

    /// `None` when the entry is so here, proved by recorded hashes; else what this side has of it.
    fn differs(&self, at: &Local, name: &Name, entry: &Entry, now: &Stat) -> Result<Option<Option<Hash>>> {
        let record = at.records.get(name);
        let proved = record.filter(|record| record.proves(now));
        let same_kind = entry.node.kind() == now.kind;
        let metadata = same_kind
            && (entry.mode == now.mode || now.kind == Kind::Symlink)
            && (!self.owners || (entry.uid, entry.gid) == (now.uid, now.gid))
            && entry.mtime == now.mtime;
        let Some(dir) = &at.dir else { return Ok(Some(None)) };
        // What is here and nowhere recorded would be somebody else's when its turn comes to be replaced or to go.
        let is_it = |record: &Record| (record.stat.inode, record.stat.kind) == (now.inode, now.kind);
        let equal = metadata
            && (self.catalog.is_none() || record.is_some_and(is_it))
            && self.same_attributes(dir, name, entry, now, proved)
            && self.same_links(entry, now, proved)?
            && match &entry.node {
                Node::File { size, hash } => {
                    *size == now.size && hash.is_some() && proved.is_some_and(|record| record.hash == *hash)
                }
                Node::Symlink { target } => dir.read_link(name).is_ok_and(|here| here == *target),
                Node::CharDevice(device) | Node::BlockDevice(device) => now.node == *device,
                Node::Directory | Node::Fifo => true,
            };
        if equal {
            return Ok(None);
        }
        Ok(Some(match proved {
            Some(record) => record.hash,
            None if same_kind && now.kind == Kind::File && now.size == entry.size() => {
                content_hash(dir, name).unwrap_or(None)
            }
            None => None,
        }))
    }

    fn same_attributes(&self, dir: &Dir, name: &Name, entry: &Entry, now: &Stat, proved: Option<&Record>) -> bool {
        match proved {
            Some(record) => record.xattrs == entry.xattrs,
            None => dir.xattrs(name, now.kind).is_ok_and(|here| digest(&here) == entry.xattrs),
        }
    }

    /// Link groups: names recorded under one group share an inode, because that is how they were made.
    fn same_links(&self, entry: &Entry, now: &Stat, proved: Option<&Record>) -> Result<bool> {
        let recorded = proved.and_then(|record| record.group);
        if let Some(group) = entry.group {
            let catalog = self.catalog.as_ref().filter(|_| now.kind != Kind::Directory);
            let whole = catalog.map_or(Ok(true), |catalog| group_is_whole(catalog, group, now.inode))?;
            return Ok(recorded == Some(group) && whole);
        }
        if now.links == 1 || now.kind == Kind::Directory {
            return Ok(true);
        }
        let Some(catalog) = &self.catalog else { return Ok(false) };
        Ok(proved.is_some() && catalog.names_of(now.inode, 2)?.len() < 2)
    }
}

impl Local {
    fn extra(&mut self, name: &Name) {
        if !(self.directory.is_root() && is_ignored(name.as_bytes())) {
            self.extras.push(self.directory.join(name));
        }
    }
}
