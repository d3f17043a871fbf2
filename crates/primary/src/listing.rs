//! The primary's half of a comparison: walks a subtree and tells what is there, page by page. What the catalog proves
//! unchanged comes with its hash; everything else without, and the replica then asks.

use crate::prepare::entry;
use crate::{Error, Result};
use fulmar_model::{Entry, Filter, Kind, Name, Record, RelPath, Stat};
use fulmar_store::CatalogReader;
use fulmar_tree::{Dir, Part, Tree, Walk, digest};
use fulmar_wire::{FRAME_BYTES_MAX, PAGE_ENTRIES_MAX};
use std::collections::HashMap;
use tokio::sync::mpsc::Sender;

/// Bytes of names and link targets in one page, and what the rest of an entry takes at most: a page must fit in a frame.
const PAGE_BYTES_MAX: usize = FRAME_BYTES_MAX / 2;
const ENTRY_BYTES: usize = 128;
/// Rows of the catalog read at once.
const ROWS: usize = 4096;

/// What a listing yields.
#[derive(Debug)]
pub(crate) enum Listed {
    /// Entries of one directory.
    Page { directory: RelPath, part: Part, more: bool, entries: Vec<(Name, Entry)> },
    /// A directory that cannot be read. Nothing is said of what is in it, so nothing of it is removed.
    Unreadable { path: RelPath, errno: i32 },
    /// The end, how many entries there were, and how many sockets: those are not replicated.
    End { entries: u64, sockets: u64 },
}

/// Walks on a thread of its own.
pub(crate) struct Lister {
    pub(crate) tree: Tree,
    pub(crate) catalog: CatalogReader,
    pub(crate) filter: Filter,
    pub(crate) subtree: RelPath,
    pub(crate) pages: Sender<Listed>,
}

impl Lister {
    /// Runs until the subtree is listed or nobody listens.
    pub(crate) fn run(self) -> Result<()> {
        let filter = self.filter.clone();
        let enter = move |path: &RelPath, _: &Stat| !filter.excludes_here(path, true);
        let mut walk = Walk::filtered(&self.tree, &self.subtree, Box::new(enter));
        let (mut count, mut sockets) = (0, 0);
        while let Some(step) = walk.next_dir() {
            let sent = match step {
                // It goes with its own change; the subtree itself is looked at again when the comparison ends.
                fulmar_tree::Step::Unreadable { error, .. } if error.is_gone() => continue,
                fulmar_tree::Step::Unreadable { path, error } => {
                    self.send(Listed::Unreadable { path, errno: error.errno() })
                }
                fulmar_tree::Step::Listing(listing) => {
                    count += listing.entries.len() as u64;
                    sockets += self.sockets(&listing.path, &listing.entries);
                    self.directory(&listing.path, listing.part, listing.entries)
                }
            };
            match sent {
                Err(Error::Gone) => return Ok(()),
                other => other?,
            }
        }
        match self.send(Listed::End { entries: count, sockets }) {
            Err(Error::Gone) => Ok(()),
            other => other,
        }
    }

    /// Sockets among these entries, those that are excluded aside.
    fn sockets(&self, directory: &RelPath, entries: &[(Name, Stat)]) -> u64 {
        let sockets = entries.iter().filter(|(_, stat)| stat.kind == Kind::Socket);
        sockets.filter(|(name, _)| !self.filter.excludes_here(&directory.join(name), false)).count() as u64
    }

    fn send(&self, listed: Listed) -> Result<()> {
        self.pages.blocking_send(listed).map_err(|_| Error::Gone)
    }

    fn directory(&self, path: &RelPath, part: Part, found: Vec<(Name, Stat)>) -> Result<()> {
        let records = self.records(path, part)?;
        let dir = match self.tree.dir(path) {
            Ok(dir) => dir,
            // It goes with its own change.
            Err(error) if error.is_gone() => return Ok(()),
            Err(error) => return self.send(Listed::Unreadable { path: path.clone(), errno: error.errno() }),
        };
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for (name, stat) in found {
            let here = path.join(&name);
            if stat.kind == Kind::Socket || self.filter.excludes_here(&here, stat.kind == Kind::Directory) {
                continue;
            }
            if let Some(entry) = describe(&dir, &name, &stat, records.get(&name)) {
                let size = name.as_bytes().len() + ENTRY_BYTES + target_bytes(&entry);
                bytes += size;
                if entries.len() == PAGE_ENTRIES_MAX || bytes > PAGE_BYTES_MAX {
                    bytes = size;
                    let entries = std::mem::take(&mut entries);
                    self.send(Listed::Page { directory: path.clone(), part, more: true, entries })?;
                }
                entries.push((name, entry));
            }
        }
        self.send(Listed::Page { directory: path.clone(), part, more: false, entries })
    }

    fn records(&self, path: &RelPath, part: Part) -> Result<HashMap<Name, Record>> {
        let mut records = HashMap::new();
        let mut after: Option<Name> = None;
        loop {
            let rows = self.catalog.children(path, after.as_ref(), ROWS)?;
            let full = rows.len() == ROWS;
            after = rows.last().map(|(name, _)| name.clone());
            records.extend(rows.into_iter().filter(|(name, _)| part.contains(name)));
            if !full {
                return Ok(records);
            }
        }
    }
}

fn target_bytes(entry: &Entry) -> usize {
    match &entry.node {
        fulmar_model::Node::Symlink { target } => target.len(),
        _ => 0,
    }
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
        None => digest(&dir.xattrs(name, stat.kind).ok()?),
    };
    let hash = proved.filter(|_| stat.kind == Kind::File).and_then(|record| record.hash);
    Some(entry(stat, hash, &target, xattrs))
}
