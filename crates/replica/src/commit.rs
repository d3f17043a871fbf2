//! Batches, one after the other: intents written → staged data and intents durable → apply in order → directories durable →
//! catalog and position in one commit → answer when that is durable. While this goes on, the stager fills the next batch.
//!
//! The sync that makes the next batch's stage durable covers the commit before it. So where a batch is waiting already, the
//! answer to the one before goes out after that sync; where none is, the commit is made durable by itself. Batches that are
//! waiting together are made durable together: the syncs are what takes time, and they cost as much for one as for all.
//!
//! The committer is the only one who changes the tree and the store.

use crate::apply::Applier;
use crate::compare::page;
use crate::drift::NAMES_MAX;
use crate::stager::{Batch, Prepared};
use crate::{Error, Result};
use fulmar_link::{Lane, Sender};
use fulmar_model::{Durability, Kind, LinkGroup, Outcome, QueueId, Record, RelPath};
use fulmar_store::Intent;
use fulmar_tree::{Ownership, Sealing};
use fulmar_wire::{FromReplica, Operation};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

/// Up to this many files are synced one by one, which spares them the wait for whatever else is dirty on the file system; beyond
/// it one `syncfs` is cheaper. Measured on ext4, each written out before: 2 files 10 ms against 5, 8 files 12 against 5,
/// 50 files 17 to 25 against 10.
const SINGLE_FILES_MAX: usize = 4;

/// The same of directories: they have no content that could be dirty, and the first sync commits the journal for all.
const SINGLE_DIRECTORIES_MAX: usize = 64;

/// Paths in one answer to `Extras`.
const EXTRAS_PAGE: usize = 512;

/// Directories are sealed for the next comparison when nothing has come for this long, so many rows at once (some 10 ms; a directory of 65 536
/// names some 100), ...
const CALM: Duration = Duration::from_millis(200);
const SEALED_ROWS: u64 = 8192;
/// ... for the first time so long after the beginning of a visit, ...
pub(crate) const SEALING_FIRST: Duration = Duration::from_secs(60);
/// ... again after so long: one in which something happens all the time is read in vain, ...
const SEALING_EVERY: Duration = Duration::from_secs(15 * 60);
/// ... and at the end of a visit no longer than that: the next one is refused as long as the lock is held.
const SEALING_MAX: Duration = Duration::from_secs(2);

/// What the committer is told.
pub(crate) enum Job {
    /// A batch from the stager.
    Batch(Batch),
    /// Paths the primary's listing did not have.
    Extra(Vec<RelPath>),
    /// The listing is complete.
    Listed,
    /// What was recorded of these paths proves nothing.
    Doubt(Vec<RelPath>),
    /// The primary asks for the extras behind a path.
    Extras { after: Option<RelPath> },
}

/// Owns the applier, and with it the store and the right to change the tree.
pub(crate) struct Committer {
    pub(crate) applier: Applier,
    pub(crate) durability: Durability,
    pub(crate) queue: QueueId,
    pub(crate) jobs: Receiver<Job>,
    pub(crate) answers: Sender,
    /// To the batches before, whose commit is not known to be durable.
    pub(crate) owed: Vec<FromReplica>,
    /// When directories are to be sealed.
    pub(crate) sealing: Instant,
}

impl Committer {
    /// Runs until everybody who could send a job is gone.
    pub(crate) fn run(mut self) -> Result<()> {
        let mut next = None;
        loop {
            let waiting = match next.take().map_or_else(|| self.jobs.try_recv(), Ok) {
                Err(TryRecvError::Empty) => {
                    self.settle()?;
                    self.rest()
                }
                other => other.ok(),
            };
            let Some(job) = waiting else { break };
            let answer = match job {
                Job::Batch(batch) => {
                    let mut batches = vec![batch];
                    while let Ok(job) = self.jobs.try_recv() {
                        match job {
                            Job::Batch(batch) => batches.push(batch),
                            other => {
                                next = Some(other);
                                break;
                            }
                        }
                    }
                    self.owed = self.commit(batches)?;
                    continue;
                }
                Job::Extra(paths) => {
                    self.extra(&paths)?;
                    continue;
                }
                Job::Doubt(paths) => {
                    self.doubt(&paths)?;
                    continue;
                }
                Job::Listed => FromReplica::Compared { extras: self.count_extras()? },
                Job::Extras { after } => self.extras(after.as_ref())?,
            };
            self.settle()?;
            self.answer(&answer)?;
        }
        self.settle()?;
        let began = Instant::now();
        while self.seal() && began.elapsed() < SEALING_MAX {}
        self.applier.store.checkpoint()?;
        Ok(())
    }

    /// Waits for a job, and puts things in order meanwhile. `None`: there will be none.
    fn rest(&mut self) -> Option<Job> {
        loop {
            let left = self.sealing.saturating_duration_since(Instant::now());
            match self.jobs.recv_timeout(left.max(CALM)) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) if self.seal() => {}
                Err(RecvTimeoutError::Timeout) => self.sealing = Instant::now() + SEALING_EVERY,
            }
        }
    }

    /// Whether there is more to do.
    fn seal(&mut self) -> bool {
        // A seal speaks of owners: where they are not kept nobody could use it.
        if self.applier.ownership == Ownership::Skip {
            return false;
        }
        self.applier.store.catalog_mut().seal(SEALED_ROWS, Sealing::default).unwrap_or_else(|error| {
            // The next comparison reads records instead.
            tracing::debug!(error = &error as &dyn std::error::Error, "directories cannot be sealed");
            false
        })
    }

    fn answer(&self, answer: &FromReplica) -> Result<()> {
        Ok(self.answers.send_blocking(Lane::Urgent, answer.encode()?)?)
    }

    /// Makes the last commit durable, and answers what was in it.
    fn settle(&mut self) -> Result<()> {
        if !self.owed.is_empty() {
            self.flush()?;
        }
        self.durable()
    }

    fn flush(&mut self) -> Result<()> {
        match self.durability {
            Durability::None => Ok(()),
            Durability::Batch | Durability::Each => Ok(self.applier.store.flush()?),
        }
    }

    /// The last commit is durable.
    fn durable(&mut self) -> Result<()> {
        std::mem::take(&mut self.owed).iter().try_for_each(|answer| self.answer(answer))
    }

    fn extra(&mut self, paths: &[RelPath]) -> Result<()> {
        self.applier.store.begin()?;
        for path in paths {
            self.applier.store.extra_add(path)?;
        }
        Ok(self.applier.store.commit()?)
    }

    /// Records of these paths, and of the other names of what is there, vouch for nothing from here on: the next operation
    /// reads what it finds, and takes another content for somebody else's.
    fn doubt(&mut self, paths: &[RelPath]) -> Result<()> {
        self.applier.store.begin()?;
        for path in paths {
            let Some(record) = self.applier.store.catalog().get(path)? else { continue };
            let mut doubted = vec![(path.clone(), record.clone())];
            if record.stat.links > 1 && record.stat.kind != Kind::Directory {
                doubted.extend(self.applier.store.catalog().names_of(record.stat.inode, NAMES_MAX)?);
            }
            for (path, record) in doubted {
                self.applier.store.catalog_mut().put(&path, &Record { settled: false, ..record })?;
            }
        }
        Ok(self.applier.store.commit()?)
    }

    /// Paths the primary does not have, those below directories included: as many as would be removed.
    fn count_extras(&self) -> Result<u64> {
        let (mut count, mut after) = (0u64, None);
        loop {
            let page = self.applier.store.extras(after.as_ref(), EXTRAS_PAGE)?;
            for path in &page {
                count = count.saturating_add(self.applier.store.catalog().count_below(path, u64::MAX)?.max(1));
            }
            match page.last() {
                Some(last) => after = Some(last.clone()),
                None => return Ok(count),
            }
        }
    }

    fn extras(&mut self, after: Option<&RelPath>) -> Result<FromReplica> {
        let paths = page(self.applier.store.extras(after, EXTRAS_PAGE)?);
        if paths.is_empty() {
            self.applier.store.extras_clear()?;
        }
        Ok(FromReplica::Extras { paths })
    }

    /// Makes batches durable and visible, in order; gives the answer to each, to be sent when the commit is durable too.
    fn commit(&mut self, mut batches: Vec<Batch>) -> Result<Vec<FromReplica>> {
        if !self.applier.private.is_in_place()? {
            return Err(Error::Displaced);
        }
        self.intend(&mut batches)?;
        self.sync_staged(&batches)?;
        self.durable()?;
        self.applier.store.begin()?;
        let mut answers = Vec::new();
        for Batch { number, position, operations } in batches {
            let outcomes = self.apply(operations)?;
            if let Some(position) = position {
                self.applier.store.set_position(self.queue, position)?;
            }
            answers.push((number, outcomes));
        }
        self.sync_directories()?;
        self.applier.forget_handles();
        self.applier.store.clear_intents()?;
        self.applier.store.commit()?;
        let quarantined = self.applier.store.quarantine_count()?;
        let answer = |(batch, outcomes)| FromReplica::Committed { batch, outcomes, quarantined };
        Ok(answers.into_iter().map(answer).collect())
    }

    /// Outcomes other than done, by index.
    fn apply(&mut self, operations: Vec<Prepared>) -> Result<Vec<(u32, Outcome)>> {
        let mut outcomes = Vec::new();
        for (index, prepared) in operations.into_iter().enumerate() {
            let outcome = match prepared.failed {
                Some(outcome) => outcome,
                None => self.applier.apply(prepared.operation, prepared.staged.zip(prepared.stat))?,
            };
            if outcome != Outcome::Done {
                outcomes.push((u32::try_from(index).unwrap_or(u32::MAX), outcome));
            }
        }
        Ok(outcomes)
    }

    /// Content and metadata of staged files are on disk before a rename makes them visible: otherwise a power cut leaves
    /// an empty file under the final name. So are the intents, and with them every commit before.
    fn sync_staged(&mut self, batches: &[Batch]) -> Result<()> {
        // The largest files were synced by the chunk writer; another fsync of a clean file costs next to nothing.
        let staged =
            || batches.iter().flat_map(|batch| &batch.operations).filter_map(|prepared| prepared.staged.as_ref());
        let count = staged().filter(|staged| staged.needs_sync()).count();
        match self.durability {
            Durability::None => {}
            // The store is on the tree's file system.
            Durability::Batch if count > SINGLE_FILES_MAX => self.applier.tree.sync()?,
            Durability::Batch | Durability::Each if count == 0 => self.flush()?,
            // Neither needs the other, and the file system may commit its journal once for both.
            Durability::Batch | Durability::Each => std::thread::scope(|scope| {
                let files = scope.spawn(|| {
                    staged().try_for_each(fulmar_tree::Staged::write_out)?;
                    staged().try_for_each(fulmar_tree::Staged::sync)
                });
                let log = self.flush();
                files.join().map_err(|_| Error::Panicked)??;
                log
            })?,
        }
        Ok(())
    }

    /// Writes down what is about to become visible, so that after a crash it is not taken for somebody else's work.
    fn intend(&mut self, batches: &mut [Batch]) -> Result<()> {
        let mut intents: Vec<Intent> = Vec::new();
        for prepared in batches.iter_mut().flat_map(|batch| &mut batch.operations) {
            if let (Operation::Put { path, entry, .. }, Some(staged)) = (&prepared.operation, &prepared.staged) {
                let stat = staged.stat()?;
                prepared.stat = Some(stat);
                let record = Record {
                    stat,
                    xattrs: entry.xattrs,
                    hash: crate::apply::recorded_hash(entry),
                    group: entry.group.map(|group| LinkGroup(group.0)),
                    settled: false,
                };
                intents.push(Intent { path: path.clone(), record, from: None });
            }
            let (path, known_at, from) = match &prepared.operation {
                Operation::Rename { from, to, .. } => (to, from, Some(from.clone())),
                Operation::Link { path, target, .. } => (path, target, None),
                _ => continue,
            };
            if let Some(record) = self.expected(known_at, &intents)? {
                intents.push(Intent { path: path.clone(), record, from });
            }
        }
        if !intents.is_empty() {
            self.applier.store.intend(&intents)?;
        }
        Ok(())
    }

    /// What will be recorded at a path once the operations with these intents are carried out.
    fn expected(&self, path: &RelPath, intents: &[Intent]) -> Result<Option<Record>> {
        let mut path = path.clone();
        for intent in intents.iter().rev() {
            match (&intent.from, path.strip(&intent.path)) {
                (Some(from), Some(below)) => path = below.under(from),
                (None, Some(below)) if below.is_root() => return Ok(Some(intent.record.clone())),
                _ => {}
            }
        }
        Ok(self.applier.store.catalog().get(&path)?)
    }

    fn sync_directories(&mut self) -> Result<()> {
        let touched = self.applier.take_touched();
        match self.durability {
            Durability::None => return Ok(()),
            _ if touched.len() > SINGLE_DIRECTORIES_MAX => return Ok(self.applier.tree.sync()?),
            _ => {}
        }
        for path in touched {
            match self.applier.dir(&path) {
                Ok(dir) => dir.sync()?,
                Err(error) if error.is_gone() => {}
                // Its mode forbids even its owner to open it; what is durable does not depend on that.
                Err(_) => return Ok(self.applier.tree.sync()?),
            }
        }
        Ok(())
    }
}
