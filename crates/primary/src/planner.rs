//! The owner of catalog and guard: takes changes from the queue, plans them once for everyone, and answers what single
//! replicas ask.
//!
//! Plans made for everyone are kept for a while, by the position they start at: replicas that keep up share them. A
//! replica that is further behind gets plans of its own from the rows of the queue.

use crate::capture::advance;
use crate::chunks::Arrived;
use crate::clock::Clock;
use crate::further::FurtherNames;
use crate::guard::{Guard, GuardState, Trip, Whose};
use crate::keeper::Keeper;
use crate::plan::{BATCH_CHANGES, Have, Mood, NAMES_MAX, Plan, Planned, TOLD_GONE};
use crate::rescan::Rescans;
use crate::step::{Action, Batch, Step};
use crate::{Error, Result};
use fulmar_model::{Change, Filter, Hash, Record, RelPath, ReplicaId, Scope, Seq, Stat};
use fulmar_store::{Catalog, NewChange, Outstanding, Queue, Unfinished, Work};
use fulmar_tree::{Names, Tree};
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Plans kept for replicas that keep up, in bytes of their frames.
const RECENT_BYTES: usize = 32 << 20;
/// And their number.
const RECENT: usize = 256;

/// The planner of one tree.
pub(crate) struct Planner {
    pub(crate) tree: Option<Tree>,
    pub(crate) catalog: Catalog,
    pub(crate) filter: Filter,
    pub(crate) guard: Guard,
    pub(crate) queue: Keeper<Queue>,
    pub(crate) rescans: Rescans,
    pub(crate) last: watch::Sender<Seq>,
    /// Directories that were planned for the first time, for the watcher: whoever found them, it must know them too.
    found: mpsc::Sender<RelPath>,
    pub(crate) clock: Clock,
    /// Changes up to here have been planned for everyone.
    planned: Seq,
    /// See [`Self::owed`].
    owed: Seq,
    /// Taken from the queue and not planned yet.
    taken: VecDeque<Change>,
    recent: VecDeque<Arc<Batch>>,
    recent_bytes: usize,
    further: FurtherNames,
}

/// A path a replica asks for, and what it has.
pub(crate) type Asked = (RelPath, Have);

impl Planner {
    /// `last`: the highest position, told to the sessions. Changes up to the one given before this start are shipped to each replica by state
    /// alone, because nobody knows whether the plan made for them then was carried out.
    pub(crate) fn new(
        tree: Tree,
        (catalog, filter, guard): (Catalog, Filter, Guard),
        (queue, rescans, last): (Keeper<Queue>, Rescans, watch::Sender<Seq>),
        (found, further, clock): (mpsc::Sender<RelPath>, FurtherNames, Clock),
    ) -> Self {
        let planned = *last.borrow();
        Self {
            tree: Some(tree),
            catalog,
            filter,
            guard,
            queue,
            rescans,
            last,
            found,
            clock,
            planned,
            owed: Seq(0),
            taken: VecDeque::new(),
            recent: VecDeque::new(),
            recent_bytes: 0,
            further,
        }
    }

    /// The next steps for a replica that has those of every change up to `after`; `None` when there is no change behind it,
    /// or the source is gone.
    pub(crate) fn next(&mut self, after: Seq, replica: ReplicaId) -> Result<Option<Arc<Batch>>> {
        if self.tree.is_none() {
            return Ok(None);
        }
        loop {
            if let Some(batch) = self.recent.iter().find(|batch| batch.after == after) {
                return Ok(Some(Arc::clone(batch)));
            }
            if after < self.planned {
                return self.catch_up(after, replica).map(Some);
            }
            let Some(batch) = self.plan_next()? else { return Ok(None) };
            let batch = Arc::new(batch);
            self.recent_bytes += batch.bytes();
            self.recent.push_back(Arc::clone(&batch));
            while self.recent_bytes > RECENT_BYTES || self.recent.len() > RECENT {
                let Some(old) = self.recent.pop_front() else { break };
                self.recent_bytes -= old.bytes();
            }
        }
    }

    /// Plans the next changes for everyone.
    fn plan_next(&mut self) -> Result<Option<Batch>> {
        if self.taken.is_empty() {
            self.taken = self.queue.ask_blocking(|queue| queue.take(BATCH_CHANGES))??.into();
        }
        if self.taken.is_empty() {
            return Ok(None);
        }
        let after = self.planned;
        let moved = self.taken.iter().filter(|change| change.scope == Scope::Moved);
        let moved = moved.map(|change| change.path.clone()).collect();
        let mut asked: VecDeque<_> = self.taken.iter().map(|change| (change.path.clone(), Have::Unknown)).collect();
        self.check_source()?;
        let mut steps = self.with_plan(Mood::Everyone, |plan| {
            plan.moved_here = moved;
            plan.paths(&mut asked)
        })?;
        // Only when the plan is made are they off our hands.
        let rest = self.taken.split_off(self.taken.len() - asked.len());
        let done = std::mem::replace(&mut self.taken, rest);
        for change in done {
            tracing::trace!(path = %change.path, seq = change.seq.0, "planned for everyone");
            if change.scope == Scope::Tree {
                steps.push(Step::new(change.path, Action::Compare));
            }
            self.planned = change.seq;
        }
        if self.taken.is_empty() && *self.last.borrow() <= self.planned && self.further.take_missed() {
            self.rescans.request(RelPath::root());
        }
        Ok(Some(Batch { after, upto: self.planned, alone: false, steps }))
    }

    /// The position of the last change that a plan for everyone has added to the queue: up to there it has what the changes
    /// planned so far say of other paths.
    pub(crate) fn owed(&self) -> Seq {
        self.owed
    }

    /// Steps for one replica that has fallen behind what was planned for everyone.
    fn catch_up(&mut self, after: Seq, replica: ReplicaId) -> Result<Arc<Batch>> {
        let planned = self.planned;
        let rows = self.queue.ask_blocking(move |queue| queue.between(after, planned, BATCH_CHANGES))??;
        let full = rows.len() == BATCH_CHANGES;
        let mut asked = rows.iter().map(|row| (row.path.clone(), Have::Unknown)).collect();
        let mood = self.for_one(replica)?;
        let mut steps = self.plan(&mut asked, mood)?;
        let taken = rows.len() - asked.len();
        let upto = match rows.get(..taken).and_then(<[_]>::last) {
            Some(last) if full || !asked.is_empty() => last.seq,
            _ => planned,
        };
        // The old name of a rename that was planned for everyone and has not reached this replica: its own change, which is
        // still to come, finds nothing in the catalog any more.
        let batches = self.recent.iter().filter(|batch| batch.after < upto && batch.upto > after);
        let from: BTreeSet<_> = batches.flat_map(|batch| &batch.steps).filter_map(|step| step.from.clone()).collect();
        let mut from: VecDeque<_> = from.into_iter().map(|path| (path, Have::Unknown)).collect();
        while !from.is_empty() {
            steps.extend(self.plan(&mut from, mood)?);
        }
        let whole = rows.into_iter().take(taken).filter(|row| row.scope == Scope::Tree);
        steps.extend(whole.map(|row| Step::new(row.path, Action::Compare)));
        Ok(Arc::new(Batch { after, upto, alone: true, steps }))
    }

    /// Whether another replica than this one depends on the catalog.
    fn for_one(&self, replica: ReplicaId) -> Result<Mood> {
        let replicas = self.queue.ask_blocking(|queue| queue.replicas())??;
        Ok(Mood::One { replica, shared: replicas.iter().any(|row| row.id != replica) })
    }

    /// Steps for paths that one replica asks for; those that would be too much at once stay in `asked`.
    pub(crate) fn look(
        &mut self,
        mut asked: VecDeque<Asked>,
        replica: Option<ReplicaId>,
    ) -> Result<(Vec<Step>, VecDeque<Asked>)> {
        if self.tree.is_none() {
            return Ok((Vec::new(), asked));
        }
        let mood = match replica {
            Some(replica) => self.for_one(replica)?,
            None => Mood::DryRun,
        };
        Ok((self.plan(&mut asked, mood)?, asked))
    }

    /// Steps that remove what is gone, from a replica that has all that was noticed until it was seen to be gone; and the
    /// paths they settle. What may still be on its way there under another name stays.
    pub(crate) fn remove(
        &mut self,
        gone: Vec<Outstanding>,
        unfinished: &Unfinished,
        replica: ReplicaId,
    ) -> Result<(Vec<Step>, Vec<RelPath>)> {
        let Some(tree) = self.tree.clone() else { return Ok((Vec::new(), Vec::new())) };
        let mut needed = HashSet::new();
        let keep = |path: &RelPath, needed: &mut HashSet<RelPath>| {
            needed.extend(path.ancestors());
            needed.insert(path.clone());
        };
        for row in &unfinished.content {
            // Whatever the reason, a look that fails says nothing of other names.
            let Some(stat) = tree.stat(&row.path).unwrap_or(None) else { continue };
            for (name, _) in self.catalog.names_of(stat.inode, NAMES_MAX)? {
                if name != row.path {
                    keep(&name, &mut needed);
                }
            }
        }
        // What waits for something that is gone itself waits no longer than that: they may go together.
        loop {
            let before = needed.len();
            for waiting in &unfinished.waiting {
                if !waiting.gone || needed.contains(&waiting.after) {
                    keep(&waiting.path, &mut needed);
                }
            }
            if needed.len() == before {
                break;
            }
        }
        let mut asked = VecDeque::new();
        for row in gone {
            // Nobody knows which inode an unknown path was.
            let older = || unfinished.content.iter().any(|other| other.since_ms <= row.since_ms);
            let stays = needed.contains(&row.path) || (self.catalog.get(&row.path)?.is_none() && older());
            if !stays {
                let approved = row.work == Work::Gone { approved: true };
                asked.push_back((row.path, Have::Gone { approved }));
            }
        }
        let mut paths: Vec<_> = asked.iter().map(|(path, _)| path.clone()).collect();
        let steps = self.plan(&mut asked, self.for_one(replica)?)?;
        paths.truncate(paths.len() - asked.len());
        Ok((steps, paths))
    }

    /// The steps that use large files which have reached a replica beside the batches.
    pub(crate) fn shipped(&mut self, arrived: &[Arrived], replica: ReplicaId) -> Result<Vec<Step>> {
        let mood = self.for_one(replica)?;
        self.with_plan(mood, |plan| arrived.iter().try_for_each(|arrived| plan.shipped(arrived)))
    }

    /// Plans paths from the front of `asked`, as many as fit in one batch.
    fn plan(&mut self, asked: &mut VecDeque<Asked>, mood: Mood) -> Result<Vec<Step>> {
        if mood != Mood::DryRun {
            self.check_source()?;
        }
        self.with_plan(mood, |plan| plan.paths(asked))
    }

    /// Makes a plan inside one transaction of the catalog.
    fn with_plan(&mut self, mood: Mood, fill: impl FnOnce(&mut Plan<'_>) -> Result<()>) -> Result<Vec<Step>> {
        let Some(tree) = self.tree.clone() else { return Ok(Vec::new()) };
        let before = self.guard.state();
        self.further.gather();
        self.catalog.begin()?;
        let (catalog, guard) = (&mut self.catalog, &mut self.guard);
        let mut plan = Plan::new(&tree, (catalog, &self.filter), (guard, &self.further), (self.clock)(), mood);
        let planned = match fill(&mut plan).and_then(|()| plan.finish()) {
            Ok(planned) => planned,
            Err(error) => {
                self.catalog.rollback()?;
                return Err(error);
            }
        };
        let Planned { steps, rescans, widen, owed, dealt_with } = planned;
        if !owed.is_empty() {
            let first_seen_ms = (self.clock)();
            let owed: Vec<_> =
                owed.into_iter().map(|path| NewChange { path, scope: Scope::Path, first_seen_ms }).collect();
            self.owed = self.queue.ask_blocking(move |queue| queue.put(&owed))??;
            advance(&self.last, self.owed);
        }
        if !widen.is_empty() {
            // Before the catalog says that the directory has moved: a replica that is behind must compare the subtree.
            self.queue.ask_blocking(move |queue| widen.iter().try_for_each(|path| queue.widen(path).map(drop)))??;
        }
        self.catalog.commit()?;
        dealt_with.iter().for_each(|name| self.further.forget(name));
        for subtree in rescans {
            // Events have told of nearly all of them. Where so many come at once that this is full, nothing is lost by it.
            let _ = self.found.try_send(subtree.clone());
            self.rescans.request(subtree);
        }
        if self.guard.state() != before {
            self.save_guard()?;
        }
        Ok(steps)
    }

    /// Trips the guard when the source is empty and was not. (That it is gone, or another, is noticed by the primary.)
    fn check_source(&mut self) -> Result<()> {
        let Some(tree) = &self.tree else { return Ok(()) };
        let empty = match tree.root().names_if_few() {
            // What it holds cannot be told: each path that changes is held for the same reason.
            Err(error) if !error.is_gone() => return Ok(()),
            Err(error) => return Err(error.into()),
            Ok(Names::All(names)) => {
                names.iter().all(|name| self.filter.excludes_in(&RelPath::root(), name.as_bytes(), false))
            }
            Ok(Names::TooMany(_)) => false,
        };
        if empty && self.catalog.count_below(&RelPath::root(), 2)? > 1 {
            self.trip(Trip::SourceEmpty)?;
        }
        Ok(())
    }

    /// Whether the source has nothing to replicate at all.
    pub(crate) fn source_is_empty(&self) -> bool {
        let names = self.tree.as_ref().map(|tree| tree.root().names_if_few());
        match names {
            Some(Ok(Names::All(names))) => {
                names.iter().all(|name| self.filter.excludes_in(&RelPath::root(), name.as_bytes(), false))
            }
            _ => false,
        }
    }

    /// These are gone, events say. What a scan has found before, or nobody knows, is not removed once more.
    pub(crate) fn expect_gone<'a>(&mut self, paths: impl Iterator<Item = &'a RelPath>) -> Result<()> {
        let mut count = 0;
        for path in paths {
            count += u64::from(self.catalog.get(path)?.is_some_and(|record| record.group != Some(TOLD_GONE)));
        }
        self.expect_removals(None, count)
    }

    /// This many paths are about to be removed.
    pub(crate) fn expect_removals(&mut self, whose: Whose, count: u64) -> Result<()> {
        if count > 0 && self.source_is_empty() {
            self.trip(Trip::SourceEmpty)?;
        }
        let before = self.guard.state();
        let tree = self.catalog.count()?.max(count);
        self.guard.expect(whose, count, tree, (self.clock)());
        if self.guard.state() != before {
            self.save_guard()?;
        }
        Ok(())
    }

    /// A scan that went by `rules` has found everything in these directories as recorded, and themselves.
    pub(crate) fn found_whole(&mut self, directories: &[(RelPath, Stat)], rules: Hash) -> Result<()> {
        if directories.is_empty() {
            return Ok(());
        }
        self.catalog.begin()?;
        for (path, stat) in directories {
            // Otherwise something in it was planned meanwhile.
            if let Some(record) = self.catalog.get(path)?.filter(|record| record.proves(stat)) {
                self.catalog.put(path, &Record { hash: Some(rules), ..record })?;
            }
        }
        Ok(self.catalog.commit()?)
    }

    /// Stops removals.
    pub(crate) fn trip(&mut self, why: Trip) -> Result<()> {
        self.guard.trip(why);
        self.save_guard()
    }

    /// Paths that may differ, though no event told of them.
    pub(crate) fn suspect(&mut self, paths: Vec<RelPath>) -> Result<()> {
        let first_seen_ms = (self.clock)();
        let changes: Vec<_> =
            paths.into_iter().map(|path| NewChange { path, scope: Scope::Path, first_seen_ms }).collect();
        advance(&self.last, self.queue.ask_blocking(move |queue| queue.put(&changes))??);
        Ok(())
    }

    /// A person approves what is held back: that, and no more. Gives the number of removals.
    pub(crate) fn approve(&mut self) -> Result<u64> {
        // Nobody can mean what cannot be looked at, and what is to go is not known before it is back.
        if self.tree.is_none() {
            return Err(Error::SourceGone);
        }
        let (held, replicas) = self
            .queue
            .ask_blocking(|queue| Ok::<_, fulmar_store::Error>((queue.approve()?, queue.replicas()?.len() as u64)))??;
        // Part of the wave may not have been planned yet, and so not been held: the same number once more for each.
        let known = match self.guard.state() {
            GuardState::Tripped(Trip::Wave { removals, .. }) => removals,
            // The root stays.
            GuardState::Tripped(_) => self.catalog.count()?.saturating_sub(1),
            GuardState::Clear => 0,
        };
        self.guard.approve(known.saturating_mul(replicas), (self.clock)());
        self.save_guard()?;
        Ok(held.max(known))
    }

    /// A person approves whatever this run removes.
    pub(crate) fn approve_all(&mut self) -> Result<()> {
        self.queue.ask_blocking(|queue| queue.approve())??;
        self.guard.approve(u64::MAX, (self.clock)());
        self.save_guard()
    }

    /// The source is gone.
    pub(crate) fn source_is_gone(&mut self) -> Result<()> {
        self.tree = None;
        self.trip(Trip::SourceGone)
    }

    /// There is a source again; the `same` as the one that a person knows of.
    pub(crate) fn source_is_back(&mut self, tree: Tree, same: bool) -> Result<()> {
        self.tree = Some(tree);
        self.guard.source_is_back(same);
        self.save_guard()
    }

    fn save_guard(&mut self) -> Result<()> {
        let state = self.guard.state().encode();
        Ok(self.queue.ask_blocking(move |queue| queue.meta_set("guard", &state))??)
    }
}

#[cfg(test)]
#[path = "planner_tests.rs"]
mod tests;
