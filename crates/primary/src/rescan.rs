//! Looks at a whole subtree and queues what differs from the catalog: after a restart, an overflow, a directory rename, and
//! again and again where events do not reach. No network, no content: one stat an entry.
//!
//! What a scan finds missing is queued last, after its number was told to the guard.
//!
//! Of a Maildir's `cur` and `new`, in which all that happens shows in the names, a scan notes when everything was as recorded,
//! and the next one passes over those that have not changed since: see [`fulmar_model::Record::was_found_whole`].

use crate::capture::advance;
use crate::keeper::Keeper;
use crate::planner::Planner;
use crate::{Error, Result};
use fulmar_model::{Filter, Hash, Kind, Name, Record, RelPath, Scope, Seq, Stat, Timestamp};
use fulmar_store::{CatalogReader, NewChange, Queue, Rows};
use fulmar_tree::{Clock, Listing, Part, Step, Tree, Walk, hash_bytes, unbroken, walk_together, walkers};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Changes written in one transaction.
const GROUP: usize = 512;
/// Missing paths that a thread remembers until the end of a scan; beyond it they are queued as they are found.
const MISSING_MAX: usize = 50_000;

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

/// The thread that scans, with more of its kind where it is the whole tree.
pub(crate) struct Rescan {
    pub(crate) filter: Filter,
    pub(crate) queue: Keeper<Queue>,
    pub(crate) planner: Keeper<Planner>,
    pub(crate) requests: mpsc::UnboundedReceiver<RelPath>,
    pub(crate) rescans: Rescans,
    pub(crate) last: watch::Sender<Seq>,
    pub(crate) clock: crate::Clock,
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

    fn scan(&self, subtree: &RelPath) -> Result<()> {
        // Gone: the guard's business, not a reason to queue removals.
        let Some(tree) = self.planner.ask_blocking(|planner| planner.tree.clone())? else { return Ok(()) };
        let mut first = self.scanner(&tree)?;
        match tree.stat(subtree) {
            Err(error) => {
                tracing::warn!(%subtree, %error, "cannot be looked at; what was shipped of it stays as it is");
                return Ok(());
            }
            Ok(Some(stat)) => {
                if !first.catalog.get(subtree)?.is_some_and(|record| record.proves(&stat)) {
                    first.changed.push(subtree.clone());
                }
                if stat.kind != Kind::Directory {
                    return first.write(true);
                }
            }
            Ok(None) => {
                if first.catalog.get(subtree)?.is_some() {
                    first.changed.push(subtree.clone());
                }
                return first.write(true);
            }
        }
        let mut scanners = vec![first];
        for _ in 1..if subtree.is_root() { walkers() } else { 1 } {
            scanners.push(self.scanner(&tree)?);
        }
        let filter = self.filter.clone();
        let enter = move |path: &RelPath, _: &Stat| !filter.excludes_here(path, true);
        let walk = Walk::filtered(&tree, subtree, Arc::new(enter));
        walk_together(walk, &mut scanners, Scanner::step)?;
        let count = scanners.iter().map(|scanner| scanner.missing.len() as u64).sum();
        if count > 0 {
            self.planner.ask_blocking(move |planner| planner.expect_removals(None, count))??;
        }
        scanners.iter_mut().try_for_each(|scanner| scanner.write(true))
    }

    fn scanner(&self, tree: &Tree) -> Result<Scanner<'_>> {
        let catalog = self.planner.ask_blocking(|planner| planner.catalog.reader())??;
        let rules = hash_bytes(self.filter.as_bytes());
        let (changed, missing, whole) = Default::default();
        let (tree, began) = (tree.clone(), Clock::coarse_now());
        Ok(Scanner { rescan: self, tree, began, catalog, rules, changed, missing, whole, mail: None })
    }
}

/// What one thread has of a scan: a read-only view of the catalog, and what it found.
struct Scanner<'a> {
    rescan: &'a Rescan,
    tree: Tree,
    /// Before anything was looked at, by the clock that file systems stamp changes with.
    began: Timestamp,
    catalog: CatalogReader,
    /// What it goes by.
    rules: Hash,
    changed: Vec<RelPath>,
    missing: Vec<RelPath>,
    /// Directories of mail in which everything is as recorded, to be noted.
    whole: Vec<(RelPath, Stat)>,
    /// The one that is looked through, as it was at first, if everything in it was as recorded so far.
    mail: Option<(RelPath, Stat)>,
}

impl Scanner<'_> {
    fn step(&mut self, walk: &mut Walk, step: Step) -> Result<()> {
        match step {
            Step::Listing(Listing { path, stat, part, entries }) => {
                let found = self.changed.len() + self.missing.len();
                // What is in a directory in there would not show in its names. The number of links does not tell on every file system.
                let flat = entries.iter().all(|(_, stat)| stat.kind != Kind::Directory);
                self.compare(walk, &path, part, entries)?;
                let as_recorded = found == self.changed.len() + self.missing.len();
                if self.rescan.filter.is_mail(&path) {
                    self.note_mail(path, stat, part, flat && as_recorded)?;
                }
                self.write(false)
            }
            Step::Unreadable { path, error } => {
                tracing::warn!(%path, %error, "cannot be read; what was shipped of it stays as it is");
                Ok(())
            }
        }
    }

    /// A part of a directory beside its rows.
    fn compare(&mut self, walk: &mut Walk, path: &RelPath, part: Part, entries: Vec<(Name, Stat)>) -> Result<()> {
        match self.compare_sealed(walk, path, part, &entries)? {
            true => Ok(()),
            false => self.compare_rows(walk, path, part, entries),
        }
    }

    /// Where everything but the directories is as recorded by its seal, and none of those is missing, only they are looked at.
    fn compare_sealed(
        &mut self,
        walk: &mut Walk,
        path: &RelPath,
        part: Part,
        entries: &[(Name, Stat)],
    ) -> Result<bool> {
        let filter = &self.rescan.filter;
        let leaves = entries.iter().filter(|(name, stat)| {
            let takes_part = !matches!(stat.kind, Kind::Directory | Kind::Socket);
            takes_part && !filter.excludes_in(path, name.as_bytes(), false)
        });
        let Some(seal) = unbroken(&self.catalog, path, part, leaves.map(|(name, stat)| (name, stat))) else {
            return Ok(false);
        };
        let mut directories = Vec::new();
        for (name, stat) in entries.iter().filter(|(_, stat)| stat.kind == Kind::Directory) {
            directories.push((name, stat, self.catalog.get(&path.join(name))?));
        }
        let known = directories.iter().filter(|(_, _, known)| known.is_some()).count() as u64;
        // The same seal as before: so the rows of the directories are of one state, and are those it has counted.
        if known != seal.directories || self.catalog.seal_of(path)? != Some(seal) {
            return Ok(false);
        }
        for (name, stat, known) in directories {
            if self.differs(walk, path, (name, stat), known.as_ref()) {
                self.changed.push(path.join(name));
            }
        }
        Ok(true)
    }

    /// Merges it with its rows, both in order of names.
    fn compare_rows(&mut self, walk: &mut Walk, path: &RelPath, part: Part, entries: Vec<(Name, Stat)>) -> Result<()> {
        let (mut rows, mut changed, mut missing) = (self.catalog.rows(path), Vec::new(), Vec::new());
        let mut pass = |rows: &mut Rows<'_>, before: Option<&Name>| {
            while let Some((gone, _)) = rows.next_before(before)? {
                if part.contains(&gone) {
                    missing.push(path.join(&gone));
                }
            }
            Ok::<_, Error>(())
        };
        for (name, stat) in entries {
            pass(&mut rows, Some(&name))?;
            let known = rows.record(&name)?;
            if self.differs(walk, path, (&name, &stat), known.as_ref()) {
                changed.push(path.join(&name));
            }
        }
        pass(&mut rows, None)?;
        self.changed.append(&mut changed);
        self.missing.append(&mut missing);
        Ok(())
    }

    /// Whether what is at a name is for the planner to look at. A directory in which nothing needs a look is not entered.
    fn differs(&self, walk: &mut Walk, path: &RelPath, (name, stat): (&Name, &Stat), known: Option<&Record>) -> bool {
        let is_directory = stat.kind == Kind::Directory;
        if is_directory && known.is_some_and(|record| record.was_found_whole(stat, self.rules)) {
            walk.skip(name);
        }
        if known.is_some_and(|record| record.proves(stat)) {
            return false;
        }
        // A socket is nothing: only what it has replaced is of interest.
        let nothing = stat.kind == Kind::Socket && known.is_none();
        !nothing && !self.rescan.filter.excludes_in(path, name.as_bytes(), is_directory)
    }

    /// A part of a directory of mail has been looked through; `stat`: as it was before, `whole`: nothing there needs another look.
    fn note_mail(&mut self, path: RelPath, stat: Stat, part: Part, whole: bool) -> Result<()> {
        if part.index() == 0 {
            let record = self.catalog.get(&path)?;
            let as_recorded = record.is_some_and(|record| record.proves(&stat) && record.hash != Some(self.rules));
            // Another name may come within the tick of the clock in which the names were read.
            let settled = self.tree.is_settled(&stat, self.began);
            self.mail = (as_recorded && settled).then_some((path, stat));
        } else if self.mail.as_ref().is_some_and(|(first, was)| *first != path || !was.same_version(&stat)) {
            self.mail = None;
        }
        self.mail = self.mail.take().filter(|_| whole);
        if part.next().is_none() {
            self.whole.extend(self.mail.take());
        }
        Ok(())
    }

    fn write(&mut self, end: bool) -> Result<()> {
        if end || self.whole.len() >= GROUP {
            let (whole, rules) = (std::mem::take(&mut self.whole), self.rules);
            self.rescan.planner.ask_blocking(move |planner| planner.found_whole(&whole, rules))??;
        }
        let spill = self.missing.len() > MISSING_MAX;
        if end || spill {
            self.changed.append(&mut self.missing);
        }
        while self.changed.len() >= GROUP || (end && !self.changed.is_empty()) {
            let rest = self.changed.split_off(self.changed.len().min(GROUP));
            let paths = std::mem::replace(&mut self.changed, rest);
            let first_seen_ms = (self.rescan.clock)();
            let changes: Vec<_> =
                paths.into_iter().map(|path| NewChange { path, scope: Scope::Path, first_seen_ms }).collect();
            let last = self.rescan.queue.ask_blocking(move |queue| queue.put(&changes))??;
            advance(&self.rescan.last, last);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "rescan_tests.rs"]
mod tests;
