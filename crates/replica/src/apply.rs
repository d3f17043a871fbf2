//! One operation applied to the tree and to the catalog.
//!
//! Every operation states a result, so the first question is always what is there already. What is there and not ours goes
//! to quarantine before it is replaced or removed. A failed system call is the operation's outcome; only a failing store
//! ends the session.

use crate::drift::{NAMES_MAX, Owner, content_hash, group_is_whole, owner};
use crate::open::missing_depth;
use crate::quarantine::{Why, quarantine};
use crate::stager::{held, held_metadata, metadata};
use crate::{Error, Result};
use fulmar_model::{DeletePolicy, Entry, Hash, HeldReason, Kind, Name, Node, Outcome, Record, RelPath, Stat, Xattrs};
use fulmar_store::ReplicaStore;
use fulmar_tree::{Clock, Dir, Handles, Ownership, Private, Replace, Stage, Staged, Tree, hash_bytes};
use fulmar_wire::Operation;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The one who changes the tree.
pub(crate) struct Applier {
    pub(crate) tree: Tree,
    pub(crate) private: Private,
    pub(crate) stage: Arc<Stage>,
    pub(crate) store: ReplicaStore,
    pub(crate) ownership: Ownership,
    pub(crate) delete: DeletePolicy,
    pub(crate) clock: fn() -> i64,
    touched: BTreeSet<RelPath>,
    /// Directories that were built and have no place to go, until what is in them has left.
    spare: Vec<Staged>,
    /// Directories that were built, and are in their places, with their inodes: what was built in them is where it belongs.
    whole: HashMap<RelPath, u64>,
    /// Directories of the batch under way.
    handles: Handles,
}

/// What is staged, and what was written down of it before anything of its batch became visible.
pub(crate) type Built = (Staged, Stat);

/// Whether what is at a path is what was built for it: it came with the directory it was built in.
fn came_along(now: Option<&Stat>, built: &Stat) -> bool {
    now.is_some_and(|now| (now.inode, now.kind) == (built.inode, built.kind))
}

/// Why an operation stops: an answer for the primary, or the end of the session.
pub(crate) enum Stop {
    Outcome(Outcome),
    Fatal(Error),
}

pub(crate) type Step<T = ()> = std::result::Result<T, Stop>;

impl From<fulmar_store::Error> for Stop {
    fn from(error: fulmar_store::Error) -> Self {
        Self::Fatal(error.into())
    }
}

impl From<fulmar_tree::Error> for Stop {
    fn from(error: fulmar_tree::Error) -> Self {
        tracing::debug!(%error, "an operation failed");
        Self::Outcome(held(&error))
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error {
            Error::Tree(error) => error.into(),
            fatal => Self::Fatal(fatal),
        }
    }
}

const NEED_CONTENT: Stop = Stop::Outcome(Outcome::NeedContent);

impl Applier {
    pub(crate) fn new(
        tree: Tree,
        private: Private,
        stage: Arc<Stage>,
        store: ReplicaStore,
        (ownership, delete, clock): (Ownership, DeletePolicy, fn() -> i64),
    ) -> Self {
        Self {
            tree,
            private,
            stage,
            store,
            ownership,
            delete,
            clock,
            touched: BTreeSet::new(),
            spare: Vec::new(),
            whole: HashMap::new(),
            handles: Handles::default(),
        }
    }

    /// Directories whose names or times have changed since the last call; the end of a batch.
    pub(crate) fn take_touched(&mut self) -> BTreeSet<RelPath> {
        while let Some(innermost) = self.spare.pop() {
            drop(innermost);
        }
        self.whole.clear();
        std::mem::take(&mut self.touched)
    }

    /// The directory at `path`, where it was in use in this batch as it was held then.
    pub(crate) fn dir(&mut self, path: &RelPath) -> fulmar_tree::Result<Arc<Dir>> {
        self.handles.dir(&self.tree, path)
    }

    /// Paths may lead elsewhere from here on, or the batch is over.
    pub(crate) fn forget_handles(&mut self) {
        self.handles.forget();
    }

    /// Applies one operation. What is staged comes with what was written down of it.
    pub(crate) fn apply(&mut self, operation: Operation, staged: Option<Built>) -> Result<Outcome> {
        let other = match &operation {
            Operation::Rename { from, .. } => Some(from),
            Operation::Link { target, .. } => Some(target),
            _ => None,
        };
        if operation.path().is_private() || other.is_some_and(fulmar_model::RelPath::is_private) {
            return Err(Error::Protocol("an operation on the private directory"));
        }
        let (word, shown) = (operation.word(), operation.path().clone());
        let done = match operation {
            Operation::Put { path, entry, xattrs, .. } if path.is_root() => self.root(&entry, &xattrs),
            Operation::Metadata { path, entry, xattrs } if path.is_root() => self.root(&entry, &xattrs),
            Operation::Put { path, entry, xattrs, .. } => match entry.node {
                Node::Directory => self.directory(&path, &entry, &xattrs, staged),
                _ => self.put(&path, &entry, &xattrs, staged),
            },
            Operation::Metadata { path, entry, xattrs } => self.metadata(&path, &entry, &xattrs),
            Operation::Rename { from, to, entry, xattrs } => self.rename(&from, &to, &entry, &xattrs),
            Operation::Link { path, target, entry, xattrs } => self.link(&path, &target, &entry, &xattrs),
            Operation::Remove { path } => self.remove(&path),
        };
        let outcome = match done {
            Ok(()) => Outcome::Done,
            Err(Stop::Outcome(outcome)) => outcome,
            Err(Stop::Fatal(error)) => return Err(error),
        };
        tracing::debug!(path = %shown, operation = word, ?outcome);
        Ok(outcome)
    }

    /// The directory a path is in, and its name there.
    pub(crate) fn place(&mut self, path: &RelPath) -> Step<(Arc<Dir>, Name)> {
        let Some((parent, name)) = path.split() else {
            return Err(Stop::Fatal(Error::Protocol("an operation that the root cannot undergo")));
        };
        match self.dir(&parent) {
            Ok(dir) => Ok((dir, name)),
            Err(error) if error.is_gone() => {
                Err(Stop::Outcome(Outcome::NeedCompare { depth: missing_depth(&self.tree, path) }))
            }
            Err(fulmar_tree::Error::CrossesMount { .. }) => {
                Err(Stop::Outcome(Outcome::Held { reason: HeldReason::InTheWay, errno: 18 }))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn touch(&mut self, path: &RelPath) {
        self.touched.extend(path.parent());
    }

    fn root(&mut self, entry: &Entry, xattrs: &Xattrs) -> Step {
        if entry.node != Node::Directory {
            return Err(Stop::Fatal(Error::Protocol("a root that is no directory")));
        }
        let root = self.tree.root();
        root.set_metadata_self(&root.stat_self()?, &metadata(entry, xattrs), self.ownership)
            .map_err(|error| Stop::Outcome(held_metadata(&error)))?;
        let now = root.stat_self()?;
        self.touched.insert(RelPath::root());
        self.record(&RelPath::root(), entry, now)
    }

    /// Writes down what is at `path`, which was looked at just before.
    fn record(&mut self, path: &RelPath, entry: &Entry, now: Stat) -> Step {
        let record = self.record_of(entry, now);
        Ok(self.store.catalog_mut().put(path, &record)?)
    }

    fn record_of(&self, entry: &Entry, now: Stat) -> Record {
        let settled = self.tree.is_settled(&now, Clock::coarse_now());
        Record { stat: now, xattrs: entry.xattrs, hash: recorded_hash(entry), group: entry.group, settled }
    }

    /// Looks at `path` again and writes it down, and with it every other name of its inode.
    fn record_again(&mut self, dir: &Dir, name: &Name, path: &RelPath, entry: &Entry) -> Step {
        let now = dir.stat(name)?.ok_or(NEED_CONTENT)?;
        self.record(path, entry, now)?;
        if now.links > 1 && now.kind != Kind::Directory {
            self.refresh(&now, Some(entry))?;
        }
        Ok(())
    }

    /// An inode with several names has changed: every record of it follows. Without an entry only its ctime and link
    /// count have (another of its names went or came).
    fn refresh(&mut self, now: &Stat, entry: Option<&Entry>) -> Step {
        let Some(entry) = entry else {
            self.store.catalog_mut().touch_inode(now.inode, now.ctime, now.links)?;
            return Ok(());
        };
        let record = self.record_of(entry, *now);
        for (path, known) in self.store.catalog().names_of(now.inode, NAMES_MAX)? {
            // Each name has a change of its own, and they are many.
            if known != record {
                self.store.catalog_mut().put(&path, &record)?;
            }
        }
        Ok(())
    }

    /// A name of `inode` was replaced or removed: its other names have a new ctime and link count.
    pub(crate) fn one_name_less(&mut self, before: &Stat) -> Step {
        if before.links > 1 && before.kind != Kind::Directory {
            let others = self.store.catalog().names_of(before.inode, 2)?;
            for (path, _) in others {
                if let Some(now) = self.tree.stat(&path)?.filter(|now| now.inode == before.inode) {
                    return self.refresh(&now, None);
                }
            }
        }
        Ok(())
    }

    /// Whether it was built in a directory that has become visible, and nobody has looked at since. What is done to it from then on
    /// is drift.
    fn came_whole(&self, path: &RelPath, staged: &Staged) -> bool {
        let above = path.parent().and_then(|parent| self.whole.get(&parent));
        above.is_some() && above.copied() == staged.home()
    }

    fn put(&mut self, path: &RelPath, entry: &Entry, xattrs: &Xattrs, mut staged: Option<Built>) -> Step {
        if let Some((built, stat)) = staged.take_if(|(built, _)| self.came_whole(path, built)) {
            built.settle();
            self.touch(path);
            return self.record(path, entry, stat);
        }
        let (dir, name) = self.place(path)?;
        let now = dir.stat(&name)?;
        let staged = match staged {
            Some((staged, built)) if came_along(now.as_ref(), &built) => {
                staged.settle();
                self.touch(path);
                // As it was before anybody could see it: what has happened to it since is drift.
                return self.record(path, entry, built);
            }
            other => other.map(|(staged, _)| staged),
        };
        let Some(now) = now else {
            staged.ok_or(NEED_CONTENT)?.publish_new(&dir, &name)?;
            self.touch(path);
            return self.record_again(&dir, &name, path, entry);
        };
        if self.is_there(&dir, &name, path, &now, entry)? {
            return self.set(&dir, &name, path, &now, entry, xattrs);
        }
        let staged = staged.ok_or(NEED_CONTENT)?;
        self.replace(&dir, &name, path, &now, entry, staged)?;
        self.record_again(&dir, &name, path, entry)
    }

    /// Whether the entry's content is at the path already, under an inode that may stay.
    fn is_there(&mut self, dir: &Dir, name: &Name, path: &RelPath, now: &Stat, entry: &Entry) -> Step<bool> {
        if now.kind != entry.node.kind() {
            return Ok(false);
        }
        let record = self.store.catalog().get(path)?;
        // A link made just before a crash was not recorded: only the record of this very inode says whose group it is in.
        let group = record.as_ref().filter(|record| record.stat.inode == now.inode).and_then(|record| record.group);
        let right_inode = match entry.group {
            // Also a link that somebody made for a snapshot: its inode is left to them.
            None => now.links == 1 || now.kind == Kind::Directory,
            Some(wanted) if group == Some(wanted) => {
                now.kind == Kind::Directory || group_is_whole(self.store.catalog(), wanted, now.inode)?
            }
            Some(_) => group.is_none() && now.links == 1 && self.first_of(entry)?,
        };
        if !right_inode {
            return Ok(false);
        }
        Ok(match &entry.node {
            Node::File { size, .. } if now.size != *size => false,
            Node::File { hash, .. } => match record {
                Some(record) if record.proves(now) => record.hash == *hash,
                _ => hash.is_some() && content_hash(dir, name)? == *hash,
            },
            Node::Symlink { target } => dir.read_link(name)? == *target,
            Node::CharDevice(device) | Node::BlockDevice(device) => now.node == *device,
            Node::Directory | Node::Fifo => true,
        })
    }

    /// Whether no other name of the entry's link group is here yet.
    fn first_of(&self, entry: &Entry) -> Step<bool> {
        Ok(match entry.group {
            Some(group) => self.store.catalog().names_in_group(group, 1)?.is_empty(),
            None => true,
        })
    }

    /// Sets metadata on what is there, and writes it down.
    fn set(&mut self, dir: &Dir, name: &Name, path: &RelPath, now: &Stat, entry: &Entry, xattrs: &Xattrs) -> Step {
        let wanted = metadata(entry, xattrs);
        let held = if now.kind == Kind::Directory { self.dir(path).ok() } else { None };
        let done = match held {
            Some(held) => held.set_metadata_self(now, &wanted, self.ownership),
            // No directory, or one that even its owner may not open.
            None => dir.set_metadata(name, now, &wanted, self.ownership),
        };
        done.map_err(|error| Stop::Outcome(held_metadata(&error)))?;
        if now.kind == Kind::Directory {
            self.touched.insert(path.clone());
        } else {
            self.touch(path);
        }
        self.record_again(dir, name, path, entry)
    }

    /// Puts what is staged in the place of what is there, in one step. What is foreign there goes to quarantine first.
    fn replace(&mut self, dir: &Dir, name: &Name, path: &RelPath, now: &Stat, entry: &Entry, staged: Staged) -> Step {
        self.touch(path);
        if now.kind == Kind::Directory {
            // Foreign content goes; ours leaves with the directory, which changes places with what is staged.
            self.clear_foreign(dir, name, path, Why::Overwritten)?;
            self.handles.forget();
            // RACE: what somebody makes in it between that and this leaves with it.
            staged.exchange(dir, name, now)?;
            self.store.catalog_mut().remove(path)?;
            return Ok(());
        }
        if self.would_lose(dir, name, path, now, entry)? {
            // RACE: between this rename and the next the path is absent. Only a version that nobody replicated is ever
            // affected, and keeping it matters more than the gap.
            self.quarantine(dir, name, path, Why::Overwritten)?;
            staged.publish_new(dir, name)?;
        } else if staged.stat()?.kind == Kind::Directory {
            staged.exchange(dir, name, now)?;
        } else {
            staged.publish(dir, name)?;
        }
        self.one_name_less(now)
    }

    /// Whether something is lost when the entry takes the place of what is at the path: a version that is not ours, and not
    /// the same content either, as the links of a copy that was adopted, or whose records are lost.
    fn would_lose(&mut self, dir: &Dir, name: &Name, path: &RelPath, now: &Stat, entry: &Entry) -> Step<bool> {
        Ok(owner(self.store.catalog(), dir, (path, name), now)? == Owner::Foreign
            && !(now.kind == entry.node.kind() && self.has_content(dir, name, path, now, entry)?))
    }

    pub(crate) fn quarantine(&mut self, dir: &Dir, name: &Name, path: &RelPath, why: Why) -> Step {
        self.handles.forget();
        quarantine(&self.private, &mut self.store, (dir, name, path), ((self.clock)(), why))?;
        self.touch(path);
        Ok(())
    }

    fn directory(&mut self, path: &RelPath, entry: &Entry, xattrs: &Xattrs, staged: Option<Built>) -> Step {
        let (dir, name) = match self.place(path) {
            Ok(place) => place,
            Err(stop) => {
                self.spare.extend(staged.map(|(staged, _)| staged));
                return Err(stop);
            }
        };
        let inode = staged.as_ref().map(|(_, built)| built.inode);
        match (dir.stat(&name)?, staged) {
            (now, Some((staged, built))) if came_along(now.as_ref(), &built) => staged.settle(),
            (Some(now), staged) if now.kind == Kind::Directory => {
                self.spare.extend(staged.map(|(staged, _)| staged));
                return self.set_directory(&dir, &name, path, &now, entry, xattrs);
            }
            (now, staged) => {
                let staged = match staged {
                    Some((staged, _)) => staged,
                    None => self.make_directory(entry, xattrs)?,
                };
                match now {
                    Some(now) => self.replace(&dir, &name, path, &now, entry, staged)?,
                    None => staged.publish_new(&dir, &name)?,
                }
            }
        }
        self.whole.extend(inode.map(|inode| (path.clone(), inode)));
        self.touch(path);
        self.touched.insert(path.clone());
        self.record_again(&dir, &name, path, entry)
    }

    fn make_directory(&self, entry: &Entry, xattrs: &Xattrs) -> Step<Staged> {
        let mut staged = self.stage.directory()?;
        staged
            .set_metadata(&metadata(entry, xattrs), self.ownership)
            .map_err(|error| Stop::Outcome(held_metadata(&error)))?;
        Ok(staged)
    }

    fn metadata(&mut self, path: &RelPath, entry: &Entry, xattrs: &Xattrs) -> Step {
        let (dir, name) = self.place(path)?;
        let now = dir.stat(&name)?.ok_or(NEED_CONTENT)?;
        if !self.is_there(&dir, &name, path, &now, entry)? && now.kind != Kind::Directory {
            return Err(NEED_CONTENT);
        }
        if now.kind != entry.node.kind() {
            return Err(NEED_CONTENT);
        }
        match now.kind {
            Kind::Directory => self.set_directory(&dir, &name, path, &now, entry, xattrs),
            _ => self.set(&dir, &name, path, &now, entry, xattrs),
        }
    }

    /// Sets metadata on a directory that is there. Where it stood for another one of the primary's, what is in it is
    /// that one's: whatever should have taken its place meanwhile may have failed here.
    fn set_directory(
        &mut self,
        dir: &Dir,
        name: &Name,
        path: &RelPath,
        now: &Stat,
        entry: &Entry,
        xattrs: &Xattrs,
    ) -> Step {
        let record = self.store.catalog().get(path)?.filter(|record| record.stat.inode == now.inode);
        self.set(dir, name, path, now, entry, xattrs)?;
        if record.is_some_and(|record| record.group.is_some() && record.group != entry.group) {
            let depth = u16::try_from(path.depth()).unwrap_or(u16::MAX);
            return Err(Stop::Outcome(Outcome::NeedCompare { depth }));
        }
        Ok(())
    }

    fn rename(&mut self, from: &RelPath, to: &RelPath, entry: &Entry, xattrs: &Xattrs) -> Step {
        let is_directory = entry.node == Node::Directory;
        let fallback = || match is_directory {
            true => Stop::Outcome(Outcome::NeedCompare { depth: u16::try_from(to.depth()).unwrap_or(u16::MAX) }),
            false => NEED_CONTENT,
        };
        let (to_dir, to_name) = self.place(to)?;
        let there = to_dir.stat(&to_name)?;
        let Ok((from_dir, from_name)) = self.place(from) else { return Err(fallback()) };
        let record = self.store.catalog().get(from)?;
        let Some(now) = from_dir.stat(&from_name)? else {
            // Done before, by a process that did not live to record it.
            let moved = record.zip(there).filter(|(record, there)| record.stat.same_content(there));
            return match moved {
                Some((record, there)) if is_directory && record.group == entry.group => {
                    self.store.catalog_mut().rename(from, to)?;
                    self.set(&to_dir, &to_name, to, &there, entry, xattrs)
                }
                _ => self.metadata(to, entry, xattrs).map_err(|stop| match stop {
                    Stop::Outcome(Outcome::NeedContent) => fallback(),
                    other => other,
                }),
            };
        };
        let is_it = now.kind == entry.node.kind()
            && match is_directory {
                true => record.as_ref().is_some_and(|r| r.stat.inode == now.inode && r.group == entry.group),
                false => self.is_there(&from_dir, &from_name, from, &now, entry)?,
            };
        if !is_it || to.starts_with(from) || from.starts_with(to) {
            return Err(fallback());
        }
        if let Some(there) = there {
            // Two names of one inode, a directory in the way, or anything in a directory's way: the long way round.
            if there.inode == now.inode || there.kind == Kind::Directory || is_directory {
                return Err(fallback());
            }
            if self.would_lose(&to_dir, &to_name, to, &there, entry)? {
                self.quarantine(&to_dir, &to_name, to, Why::Overwritten)?;
            }
        }
        from_dir
            .set_metadata(&from_name, &now, &metadata(entry, xattrs), self.ownership)
            .map_err(|error| Stop::Outcome(held_metadata(&error)))?;
        from_dir.rename_to(&from_name, &to_dir, &to_name, Replace::Yes)?;
        self.touch(from);
        self.touch(to);
        if is_directory {
            self.handles.forget();
            self.touched.insert(to.clone());
        }
        self.store.catalog_mut().rename(from, to)?;
        if let Some(there) = there {
            self.one_name_less(&there)?;
        }
        self.record_again(&to_dir, &to_name, to, entry)
    }

    fn link(&mut self, path: &RelPath, target: &RelPath, entry: &Entry, xattrs: &Xattrs) -> Step {
        let Ok((target_dir, target_name)) = self.place(target) else { return Err(NEED_CONTENT) };
        let target_now = target_dir.stat(&target_name)?.ok_or(NEED_CONTENT)?;
        if target_now.kind != entry.node.kind()
            || !self.has_content(&target_dir, &target_name, target, &target_now, entry)?
        {
            return Err(NEED_CONTENT);
        }
        let (dir, name) = self.place(path)?;
        let now = dir.stat(&name)?;
        // The target may still be the inode of another group, which it has left on the primary.
        let known = self.store.catalog().get(target)?.filter(|record| record.stat.inode == target_now.inode);
        let group = known.and_then(|record| record.group);
        if group.is_some() && group != entry.group {
            return Err(NEED_CONTENT);
        }
        match now {
            Some(now) if now.inode == target_now.inode => {}
            Some(now) => {
                let staged = self.stage.link(&target_dir, &target_name)?;
                self.replace(&dir, &name, path, &now, entry, staged)?;
            }
            None => self.stage.link(&target_dir, &target_name)?.publish_new(&dir, &name)?,
        }
        self.touch(path);
        let linked = dir.stat(&name)?.ok_or(NEED_CONTENT)?;
        // The names may have come together while something else about the inode changed as well.
        dir.set_metadata(&name, &linked, &metadata(entry, xattrs), self.ownership)
            .map_err(|error| Stop::Outcome(held_metadata(&error)))?;
        let linked = dir.stat(&name)?.ok_or(NEED_CONTENT)?;
        self.record(target, entry, linked)?;
        self.record(path, entry, linked)?;
        self.refresh(&linked, Some(entry))
    }

    /// Whether the entry's content is there, whatever the inode's other names.
    fn has_content(&mut self, dir: &Dir, name: &Name, path: &RelPath, now: &Stat, entry: &Entry) -> Step<bool> {
        Ok(match &entry.node {
            Node::File { size, .. } if now.size != *size => false,
            Node::File { hash, .. } => match self.store.catalog().get(path)? {
                Some(record) if record.proves(now) => record.hash == *hash,
                _ => hash.is_some() && content_hash(dir, name)? == *hash,
            },
            Node::Symlink { target } => dir.read_link(name)? == *target,
            Node::CharDevice(device) | Node::BlockDevice(device) => now.node == *device,
            Node::Fifo => true,
            Node::Directory => false,
        })
    }
}

/// The hash a record keeps: of a file what the entry says, of a symlink that of its target.
pub(crate) fn recorded_hash(entry: &Entry) -> Option<Hash> {
    match &entry.node {
        Node::File { hash, .. } => *hash,
        Node::Symlink { target } => Some(hash_bytes(target)),
        _ => None,
    }
}
