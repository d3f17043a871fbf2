//! Looks at a whole subtree and queues what differs from the catalog: after a restart, an overflow, a directory rename, and
//! again and again where events do not reach. No network, no content: one stat an entry.
//!
//! What a scan finds missing is queued last, after its number was told to the guard.

use crate::capture::advance;
use crate::clock::Clock;
use crate::keeper::Keeper;
use crate::planner::Planner;
use crate::{Error, Result};
use fulmar_model::{Filter, Kind, Name, RelPath, Scope, Seq, Stat};
use fulmar_store::{CatalogReader, NewChange, Queue, Rows};
use fulmar_tree::{Part, Walk};
use std::collections::BTreeSet;
use tokio::sync::{mpsc, watch};

/// Changes written in one transaction.
const GROUP: usize = 512;
/// Missing paths remembered until the end of a scan; beyond it they are queued as they are found.
const MISSING_MAX: usize = 100_000;

/// A way to ask for scans.
#[derive(Clone)]
pub(crate) struct Rescans {
    requests: mpsc::UnboundedSender<RelPath>,
    pending: watch::Sender<Scans>,
}

/// Scans asked for since the start, and how many of those are not complete.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scans {
    pub(crate) requested: u64,
    pub(crate) pending: u64,
}

impl Rescans {
    /// The way, and its end for the scanner. The channel needs no bound: whoever scans takes all requests at once and
    /// keeps only their uppermost directories.
    pub(crate) fn channel() -> (Self, mpsc::UnboundedReceiver<RelPath>) {
        let (requests, inbox) = mpsc::unbounded_channel();
        (Self { requests, pending: watch::Sender::default() }, inbox)
    }

    /// Asks for a scan of everything below a path.
    pub(crate) fn request(&self, subtree: RelPath) {
        self.pending.send_modify(|scans| {
            scans.requested += 1;
            scans.pending += 1;
        });
        if self.requests.send(subtree).is_err() {
            self.pending.send_modify(|scans| scans.pending -= 1);
        }
    }

    /// How many there are.
    pub(crate) fn pending(&self) -> watch::Receiver<Scans> {
        self.pending.subscribe()
    }
}

/// Owns a read-only view of tree and catalog.
pub(crate) struct Rescan {
    pub(crate) catalog: CatalogReader,
    pub(crate) filter: Filter,
    pub(crate) queue: Keeper<Queue>,
    pub(crate) planner: Keeper<Planner>,
    pub(crate) requests: mpsc::UnboundedReceiver<RelPath>,
    pub(crate) rescans: Rescans,
    pub(crate) last: watch::Sender<Seq>,
    pub(crate) clock: Clock,
}

impl Rescan {
    /// Runs until the primary ends.
    pub(crate) fn run(mut self) -> Result<()> {
        while let Some(first) = self.requests.blocking_recv() {
            let (mut taken, mut subtrees) = (1, BTreeSet::from([first]));
            while let Ok(next) = self.requests.try_recv() {
                taken += 1;
                subtrees.insert(next);
            }
            // In byte order a directory comes before what is below it, though not always next to it.
            let mut done: Vec<RelPath> = Vec::new();
            for subtree in subtrees {
                if !done.iter().any(|above| subtree.starts_with(above)) {
                    self.scan(&subtree)?;
                    done.push(subtree);
                }
            }
            self.rescans.pending.send_modify(|scans| scans.pending -= taken);
        }
        Ok(())
    }

    fn scan(&mut self, subtree: &RelPath) -> Result<()> {
        // Gone: the guard's business, not a reason to queue removals.
        let Some(tree) = self.planner.ask_blocking(|planner| planner.tree.clone())? else { return Ok(()) };
        let mut found = Found::default();
        match tree.stat(subtree) {
            Err(error) => {
                tracing::warn!(%subtree, %error, "cannot be looked at; what was shipped of it stays as it is");
                return Ok(());
            }
            Ok(Some(stat)) => {
                if !self.catalog.get(subtree)?.is_some_and(|record| record.proves(&stat)) {
                    found.differs(subtree.clone());
                }
                if stat.kind != Kind::Directory {
                    return self.write(&mut found, true);
                }
            }
            Ok(None) => {
                if self.catalog.get(subtree)?.is_some() {
                    found.differs(subtree.clone());
                }
                return self.write(&mut found, true);
            }
        }
        let filter = self.filter.clone();
        let enter = move |path: &RelPath, _: &Stat| !filter.excludes_here(path, true);
        let mut walk = Walk::filtered(&tree, subtree, Box::new(enter));
        while let Some(step) = walk.next_dir() {
            match step {
                fulmar_tree::Step::Listing(listing) => {
                    self.compare(&listing.path, listing.part, listing.entries, &mut found)?;
                    self.write(&mut found, false)?;
                }
                fulmar_tree::Step::Unreadable { path, error } => {
                    tracing::warn!(%path, %error, "cannot be read; what was shipped of it stays as it is");
                }
            }
        }
        let count = found.missing.len() as u64;
        if count > 0 {
            self.planner.ask_blocking(move |planner| planner.expect_removals(None, count))??;
        }
        self.write(&mut found, true)
    }

    /// Merges a part of a directory with its rows, both in order of names.
    fn compare(&self, path: &RelPath, part: Part, entries: Vec<(Name, Stat)>, found: &mut Found) -> Result<()> {
        let mut rows = self.catalog.rows(path);
        let pass = |rows: &mut Rows<'_>, before: Option<&Name>, found: &mut Found| {
            while let Some((gone, _)) = rows.next_before(before)? {
                if part.contains(&gone) {
                    found.missing(path.join(&gone));
                }
            }
            Ok::<_, Error>(())
        };
        for (name, stat) in entries {
            pass(&mut rows, Some(&name), found)?;
            let known = rows.record(&name)?;
            if known.as_ref().is_some_and(|record| record.proves(&stat)) {
                continue;
            }
            // A socket is nothing: only what it has replaced is of interest.
            let here = path.join(&name);
            let nothing = stat.kind == Kind::Socket && known.is_none();
            if !nothing && !self.filter.excludes_here(&here, stat.kind == Kind::Directory) {
                found.differs(here);
            }
        }
        pass(&mut rows, None, found)
    }

    fn write(&self, found: &mut Found, end: bool) -> Result<()> {
        let spill = found.missing.len() > MISSING_MAX;
        if end || spill {
            found.changed.append(&mut found.missing);
        }
        while found.changed.len() >= GROUP || (end && !found.changed.is_empty()) {
            let rest = found.changed.split_off(found.changed.len().min(GROUP));
            let paths = std::mem::replace(&mut found.changed, rest);
            let first_seen_ms = (self.clock)();
            let changes: Vec<_> =
                paths.into_iter().map(|path| NewChange { path, scope: Scope::Path, first_seen_ms }).collect();
            let last = self.queue.ask_blocking(move |queue| queue.put(&changes))??;
            advance(&self.last, last);
        }
        Ok(())
    }
}

#[derive(Default)]
struct Found {
    changed: Vec<RelPath>,
    missing: Vec<RelPath>,
}

impl Found {
    fn differs(&mut self, path: RelPath) {
        self.changed.push(path);
    }

    fn missing(&mut self, path: RelPath) {
        self.missing.push(path);
    }
}
