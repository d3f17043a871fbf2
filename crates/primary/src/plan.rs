//! From a path and what the catalog knows of it to the steps that bring a replica up to date.
//!
//! The steps are in the order in which the catalog was changed: at each of them the replica's tree is what the catalog was,
//! so every shortcut finds what it was planned on. Appearances are planned before disappearances, a directory before what
//! is in it, and at the end come the times of every directory that the steps touch, because each of them moves those.
//!
//! What is gone may have another name that nobody has looked at yet. So it is only noted ([`Action::Gone`]), stays in the
//! catalog, and goes in a later plan, when the session knows that the replica has every name there is (`session/removals`).
//!
//! What the catalog already has is shipped all the same, as metadata under its hash: that it was planned once does not mean
//! that it arrived, and a replica that has it answers at once.
//!
//! Two moods. *For everyone*: a change that every connected replica follows; the catalog says what they have, shortcuts
//! (rename, link, metadata only) are taken from it, and it moves on with the plan. *For one*: what a single replica needs
//! to catch up; the state alone decides. Then the catalog only moves where no other replica depends on it: a record that
//! says "shipped" before it was shipped to everyone would hide a change from the others.

mod collect;
mod directory;
mod gone;
mod shortcut;

use crate::chunks::Arrived;
use crate::further::{FurtherName, FurtherNames};
use crate::guard::Guard;
use crate::prepare::{Content, Found, is_rotten, read};
use crate::step::{Action, Step};
use crate::{Error, Result};
use fulmar_model::{Filter, Hash, HeldReason, Kind, LinkGroup, Name, Record, RelPath, ReplicaId, Stat, Timestamp};
use fulmar_store::Catalog;
use fulmar_tree::{Clock, Dir, Handles, Tree};
use fulmar_wire::{Content as Carried, Operation, XATTR_BYTES_MAX};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Paths planned together at most.
pub(crate) const BATCH_CHANGES: usize = 512;
/// Bytes of frames after which a batch takes no further path.
const BATCH_BYTES: usize = 8 << 20;

/// The same for one replica that has much to catch up with: each batch costs it two syncs of its file system.
pub(crate) const BULK_CHANGES: usize = 2048;
const BULK_BYTES: usize = 16 << 20;

/// Steps after which either takes no further path: each name of a file that has changed is one.
const STEPS_MAX: usize = 4096;

/// Other names of an inode that are looked at.
pub(crate) const NAMES_MAX: usize = 1000;

/// Marks the record of a directory that was shipped to one of several replicas, by its group, which a source's records have
/// no other use for. The others may lack it and all that is in it, though every record is there.
const FOR_ONE: LinkGroup = LinkGroup(u64::MAX);

/// Marks the record of what is gone, once that was planned for everyone: then whoever removes it first may forget it. Before,
/// the record is what tells the plan for everyone that there is something to be removed.
pub(crate) const TOLD_GONE: LinkGroup = LinkGroup(u64::MAX - 1);

/// For whom a plan is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Every replica that follows.
    Everyone,
    /// One replica, and whether others depend on the catalog.
    One {
        /// Which.
        replica: ReplicaId,
        /// Whether there are others.
        shared: bool,
    },
    /// One replica, to be told and not to be changed.
    DryRun,
}

/// What is known of a replica's content at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Have {
    /// Nothing is known: shortcuts are tried.
    Unknown,
    /// It has nothing of the kind.
    Missing,
    /// This content.
    Content(Hash),
    /// Shortcuts were tried and failed: the content goes.
    Nothing,
    /// As `Nothing`, and the file has not held still for so long that a torn version is better than none.
    NothingTorn,
    /// Something, which the catalog may know nothing of.
    Stray,
    /// Something that is gone here, and may go there: it has everything that was noticed until that was seen.
    Gone {
        /// Whether a person has approved that it goes.
        approved: bool,
    },
}

/// What the order of planning does not settle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// In order of planning.
    Change,
    /// Files that refer to others by name (a Maildir's uidlist) come behind what they name.
    Index,
    /// What is gone.
    Removal,
}

/// A plan in the making. Borrows the planner's parts.
pub(crate) struct Plan<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) catalog: &'a mut Catalog,
    pub(crate) filter: &'a Filter,
    pub(crate) guard: &'a mut Guard,
    further: &'a FurtherNames,
    pub(crate) now_ms: i64,
    pub(crate) mood: Mood,
    /// Before anything was looked at, by the clock that file systems stamp changes with.
    began: Timestamp,
    steps: Vec<(Class, Step)>,
    /// Directories whose times may differ; true: an operation moves them.
    touched: BTreeMap<RelPath, bool>,
    /// Paths a rename took away in this plan.
    renamed: BTreeSet<RelPath>,
    /// Paths to which a directory was renamed.
    pub(crate) moved_here: BTreeSet<RelPath>,
    /// Paths whose own change this plan is for.
    asked: BTreeSet<RelPath>,
    /// Paths this plan removes, with everything below.
    removed: BTreeSet<RelPath>,
    /// Directories that are gone, or something else, and whose recorded names have been gone through.
    walked: BTreeSet<RelPath>,
    /// Names handled along with another of their inode.
    linked: BTreeSet<RelPath>,
    /// Names that were recorded along with another of their inode, with the same metadata: that one's operation is theirs.
    followed: BTreeSet<RelPath>,
    /// Other names of inodes that lost a name here: what was written through that name shows in them.
    siblings: BTreeSet<RelPath>,
    /// The same for a name here whose record was not replaced yet: whoever plans it again finds them again.
    reminders: BTreeSet<RelPath>,
    /// The same for what was in a directory that is gone: they may be many, and each gets a change of its own.
    others: BTreeSet<RelPath>,
    /// Further names that need not be remembered any more.
    dealt_with: Vec<FurtherName>,
    rescans: Vec<RelPath>,
    /// Queue rows that must say "and everything below" before the catalog moves on.
    widen: Vec<RelPath>,
    handles: Handles,
    /// Of the frames so far.
    bytes: usize,
}

/// What a plan yields.
pub(crate) struct Planned {
    /// In order.
    pub(crate) steps: Vec<Step>,
    /// Subtrees to be looked at again.
    pub(crate) rescans: Vec<RelPath>,
    /// Changes whose row must be widened to the subtree before the catalog is committed.
    pub(crate) widen: Vec<RelPath>,
    /// Paths with a step and no change of their own: other names of an inode, old names of what is renamed. Once the catalog
    /// is committed only a change tells a replica that did not live to apply the step.
    pub(crate) owed: BTreeSet<RelPath>,
    /// Further names that need not be remembered any more, once the catalog is committed.
    pub(crate) dealt_with: Vec<FurtherName>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(
        tree: &'a Tree,
        (catalog, filter): (&'a mut Catalog, &'a Filter),
        (guard, further): (&'a mut Guard, &'a FurtherNames),
        now_ms: i64,
        mood: Mood,
    ) -> Self {
        Self {
            tree,
            catalog,
            filter,
            guard,
            further,
            now_ms,
            mood,
            began: Clock::coarse_now(),
            steps: Vec::new(),
            touched: BTreeMap::new(),
            renamed: BTreeSet::new(),
            moved_here: BTreeSet::new(),
            asked: BTreeSet::new(),
            removed: BTreeSet::new(),
            walked: BTreeSet::new(),
            linked: BTreeSet::new(),
            followed: BTreeSet::new(),
            siblings: BTreeSet::new(),
            reminders: BTreeSet::new(),
            others: BTreeSet::new(),
            dealt_with: Vec::new(),
            rescans: Vec::new(),
            widen: Vec::new(),
            handles: Handles::default(),
            bytes: 0,
        }
    }

    /// The directory a path is in, kept open for the rest of the plan: what moves it is later than the changes planned here,
    /// and is a change of its own.
    fn place(&mut self, path: &RelPath) -> Result<Option<(Arc<Dir>, Name)>> {
        let Some((parent, name)) = path.split() else { return Ok(None) };
        match self.handles.dir(self.tree, &parent) {
            Ok(dir) => Ok(Some((dir, name))),
            Err(error) if error.is_gone() => Ok(None),
            // Whatever else the system says, it does not say that nothing is there.
            Err(error) => Err(error.into()),
        }
    }

    /// What is at a path now; sockets and excluded paths count as nothing.
    fn look(&mut self, path: &RelPath) -> Result<Option<Stat>> {
        let stat = if path.is_root() {
            Some(self.tree.root().stat_self()?)
        } else {
            match self.place(path)? {
                None => None,
                Some((dir, name)) => match dir.stat(&name) {
                    Ok(stat) => stat,
                    Err(error) if error.is_gone() => None,
                    Err(error) => return Err(error.into()),
                },
            }
        };
        Ok(stat.filter(|stat| stat.kind != Kind::Socket))
    }

    /// Plans paths from the front, until the batch is full; appearances before disappearances, so that a rename finds both
    /// its ends.
    pub(crate) fn paths(&mut self, paths: &mut VecDeque<(RelPath, Have)>) -> Result<()> {
        let mut gone = Vec::new();
        let (changes, bytes) = match self.mood {
            Mood::Everyone => (BATCH_CHANGES, BATCH_BYTES),
            Mood::One { .. } | Mood::DryRun => (BULK_CHANGES, BULK_BYTES),
        };
        let is_full = |plan: &Self| plan.bytes >= bytes || plan.steps.len() >= STEPS_MAX;
        while self.asked.len() < changes && !is_full(self) {
            let Some((path, have)) = paths.pop_front() else { break };
            self.asked.insert(path.clone());
            match self.appears(path.clone(), have) {
                Ok(true) => {}
                Ok(false) => gone.push((path, have)),
                Err(error) => self.hold(path, error)?,
            }
        }
        // A directory takes what is below it along.
        gone.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (path, have) in gone {
            if let Err(error) = self.gone(path.clone(), have) {
                self.hold(path, error)?;
            }
        }
        let further = self.asked.iter().flat_map(|path| self.further.of(path)).collect();
        self.loses_unrecorded(further)?;
        for path in self.siblings.union(&self.reminders).cloned().collect::<Vec<_>>() {
            if is_full(self) {
                self.others.extend(self.siblings.take(&path));
            } else if let Err(error) = self.sibling(&path) {
                self.hold(path, error)?;
            }
        }
        Ok(())
    }

    /// A path that the system does not let us look at is held; everything else ends the plan.
    fn hold(&mut self, path: RelPath, error: Error) -> Result<()> {
        let Error::Tree(error) = error else { return Err(error) };
        let action = Action::Hold { reason: HeldReason::Unreadable, errno: error.errno() };
        self.push(Class::Change, Step::new(path, action));
        Ok(())
    }

    /// Plans a path that is there; false when it is not.
    fn appears(&mut self, path: RelPath, have: Have) -> Result<bool> {
        let stat = self.look(&path)?;
        if self.filter.excludes(&path, stat.is_some_and(|stat| stat.kind == Kind::Directory)) {
            // A pattern for directories: before, it was something else.
            let now = stat.map(|stat| (stat.inode, stat.kind));
            if let Some(old) = self.catalog.get(&path)?.filter(|old| now != Some((old.stat.inode, old.stat.kind))) {
                self.loses(&path, &old)?;
            }
            return Ok(true);
        }
        if let Some(parent) = path.parent() {
            self.touched.entry(parent).or_insert(false);
        }
        let Some(stat) = stat else { return Ok(false) };
        if self.everyone() {
            self.way_to(&path)?;
        }
        match stat.kind {
            Kind::Directory => {
                if matches!(have, Have::Gone { .. } | Have::Stray) {
                    // There again: the replica may still have what was in another one.
                    self.push(Class::Change, Step::new(path.clone(), Action::Compare));
                }
                self.directory(path, stat)?;
            }
            _ => self.file(path, stat, have)?,
        }
        Ok(true)
    }

    /// Directories above the path that nobody knows yet come first.
    fn way_to(&mut self, path: &RelPath) -> Result<()> {
        let mut unknown = Vec::new();
        let mut above = path.parent();
        while let Some(at) = above.filter(|at| !at.is_root()) {
            if self
                .catalog
                .get(&at)?
                .is_some_and(|record| record.stat.kind == Kind::Directory && record.stat.inode != 0)
            {
                break;
            }
            above = at.parent();
            unknown.push(at);
        }
        for path in unknown.into_iter().rev() {
            if let Some(stat) = self.look(&path)?.filter(|stat| stat.kind == Kind::Directory) {
                self.directory(path, stat)?;
            }
        }
        Ok(())
    }

    /// A large file has been shipped beside the batches: the operation that uses it. What has changed since is planned
    /// again instead, or an old version would replace a newer one that was shipped meanwhile.
    pub(crate) fn shipped(&mut self, arrived: &Arrived) -> Result<()> {
        let Arrived { path, content, stream, torn } = arrived;
        if self.linked.contains(path) {
            // Another name of it has arrived, too, and brings this one along.
            return Ok(());
        }
        let usable = match (self.look(path), torn) {
            (Err(error), _) => return self.hold(path.clone(), error),
            (Ok(None), _) => false,
            (Ok(Some(now)), true) => now.inode == content.stat.inode && now.size > fulmar_wire::INLINE_BYTES_MAX,
            (Ok(Some(now)), false) => now.same_version(&content.stat),
        };
        if usable {
            // From here on the record no longer tells who plans the path for others that it was another inode.
            if let Some(old) = self.catalog.get(path)?.filter(|old| old.stat.inode != content.stat.inode) {
                self.loses(path, &old)?;
            }
            self.touched.entry(path.parent().unwrap_or_default()).or_insert(false);
            self.content(path.clone(), content, Carried::Stream(*stream))?;
            self.loses_unrecorded(self.further.of(path))?;
        }
        if *torn || !usable {
            self.push(Class::Change, Step::new(path.clone(), Action::Again));
        }
        Ok(())
    }

    fn everyone(&self) -> bool {
        self.mood == Mood::Everyone
    }

    fn record(&mut self, path: &RelPath, mut record: Record) -> Result<()> {
        match self.mood {
            Mood::DryRun => return Ok(()),
            // Unsettled: the next plan for everyone still ships it, as metadata if the content is there.
            Mood::One { shared: true, .. } => {
                record.settled = false;
                let known = self.catalog.get(path)?;
                let known = known.is_some_and(|known| self.is_recorded(path, &record.stat, &known).unwrap_or(true));
                if !known && record.stat.kind == Kind::Directory {
                    record.group = Some(FOR_ONE);
                }
            }
            _ => {}
        }
        Ok(self.catalog.put(path, &record)?)
    }

    // Everything but directories that is there.

    fn file(&mut self, path: RelPath, stat: Stat, have: Have) -> Result<()> {
        if self.linked.contains(&path) {
            return Ok(());
        }
        let Some(old) = self.catalog.get(&path)? else { return self.file_there(path, stat, have, None) };
        let inode = old.stat.inode;
        if (inode, old.stat.kind) == (stat.inode, stat.kind) {
            self.file_there(path.clone(), stat, have, Some(old.clone()))?;
            // RACE: another one may have taken its place between the look and the reading, and what was written through the name
            // just before shows in the others only. The change that is still to come finds the other one recorded.
            let read = self.catalog.get(&path)?.map(|read| read.stat.inode);
            return if read == Some(inode) { Ok(()) } else { self.loses(&path, &old) };
        }
        let others = std::mem::take(&mut self.siblings);
        self.loses(&path, &old)?;
        let found = std::mem::replace(&mut self.siblings, others);
        self.file_there(path.clone(), stat, have, Some(old))?;
        let waits = self.catalog.get(&path)?.is_some_and(|record| record.stat.inode == inode);
        (if waits { &mut self.reminders } else { &mut self.siblings }).extend(found);
        Ok(())
    }

    fn file_there(&mut self, path: RelPath, stat: Stat, have: Have, record: Option<Record>) -> Result<()> {
        let proved = record.as_ref().filter(|record| record.proves(&stat)).cloned();
        if !matches!(have, Have::Nothing | Have::NothingTorn) && self.shortcut(&path, &stat, record.as_ref(), have)? {
            return Ok(());
        }
        let Some((dir, name)) = self.place(&path)? else { return self.gone(path, have) };
        match read(&dir, &name, stat) {
            Found::Gone => self.gone(path, have),
            Found::Unreadable(errno) => {
                self.push(Class::Change, Step::new(path, Action::Hold { reason: HeldReason::Unreadable, errno }));
                Ok(())
            }
            Found::Large(stat) => self.large(path, stat, have, proved),
            Found::Moving(_) if have != Have::NothingTorn => {
                self.push(Class::Change, Step::new(path, Action::Again));
                Ok(())
            }
            Found::Moving(content) => {
                self.put_content(path.clone(), content, have, record.as_ref())?;
                self.push(Class::Change, Step::new(path, Action::Again));
                Ok(())
            }
            Found::Read(content) if is_rotten(&content.stat, content.hash, record.as_ref()) => {
                self.push(Class::Change, Step::new(path, Action::Hold { reason: HeldReason::Corrupt, errno: 0 }));
                Ok(())
            }
            Found::Read(content) => self.put_content(path, content, have, record.as_ref()),
        }
    }

    /// A replica that probably has a large content is asked by hash first.
    fn large(&mut self, path: RelPath, stat: Stat, have: Have, proved: Option<Record>) -> Result<()> {
        let known = proved.and_then(|record| record.hash);
        match (known, have) {
            (Some(hash), Have::Unknown) => self.metadata(path, stat, hash),
            (Some(hash), Have::Content(theirs)) if hash == theirs => self.metadata(path, stat, hash),
            _ => {
                self.push(Class::Change, Step::new(path, Action::Large));
                Ok(())
            }
        }
    }

    fn put_content(&mut self, path: RelPath, mut content: Content, have: Have, record: Option<&Record>) -> Result<()> {
        let hash = content.hash;
        let known = match have {
            Have::Content(theirs) => Some(theirs),
            Have::Unknown if self.everyone() => record.and_then(|record| record.hash),
            _ => None,
        };
        if content.stat.kind == Kind::File && hash.is_some() && hash == known {
            // The same bytes again: only metadata differs.
            let entry = content.entry();
            self.record(&path, content.record(self.tree))?;
            self.touch_parent(&path);
            let operation = Operation::Metadata { path: path.clone(), entry, xattrs: content.xattrs };
            self.operate(Class::Change, path, operation);
            return Ok(());
        }
        let carried = match content.stat.kind {
            Kind::File => Carried::Inline(std::mem::take(&mut content.segments)),
            _ => Carried::None,
        };
        self.content(path, &content, carried)
    }

    /// The content goes, and every other known name of the inode is linked to it again.
    fn content(&mut self, path: RelPath, content: &Content, carried: Carried) -> Result<()> {
        if content.xattrs.bytes() > XATTR_BYTES_MAX {
            self.push(Class::Change, Step::new(path, Action::Hold { reason: HeldReason::TooLarge, errno: 7 }));
            return Ok(());
        }
        let entry = content.entry();
        self.record(&path, content.record(self.tree))?;
        self.touch_parent(&path);
        let is_index = path.split().is_some_and(|(_, name)| name.as_bytes().starts_with(b"dovecot-uidlist"));
        let class = if is_index { Class::Index } else { Class::Change };
        let operation = Operation::Put {
            path: path.clone(),
            entry: entry.clone(),
            xattrs: content.xattrs.clone(),
            content: carried,
        };
        self.operate(class, path.clone(), operation);
        if content.stat.links > 1 {
            for (other, _) in self.catalog.names_of(content.stat.inode, NAMES_MAX)? {
                let alive = other != path && self.look(&other)?.is_some_and(|now| now.inode == content.stat.inode);
                if alive {
                    // Also one that was put before, when this name was not known.
                    self.linked.insert(other.clone());
                    self.record(&other, content.record(self.tree))?;
                    self.touch_parent(&other);
                    self.operate_link(other, path.clone(), entry.clone(), content.xattrs.clone());
                }
            }
            self.linked.insert(path);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
