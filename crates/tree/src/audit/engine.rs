//! Deals the directories of a tree to threads, and puts together what they tell.
//!
//! The **digest of a directory** is the BLAKE3 hash over its parts, each the hash of a 1 and: the hash of its entries that are no
//! directories (as in a [`Fingerprint`], the link group 0), then for each directory in order of names the hash of its name and
//! entry (a fingerprint of one) and the digest of what is in it. A directory of more than [`crate::NAMES_PER_PART`] names that
//! take part comes in parts, one after the other with all below it. What cannot be read, and what is not entered, counts as a
//! hash of zeros. Of a directory that only leads to the range ([`Scope`]) only the directories count that lead there, too, as if
//! their metadata were the same; one in the range that holds a directory the range does not reach has it among its other
//! entries. Part of the protocol (docs/protocol.md), as both sides must come to the same.
//!
//! One thread owns what is under way; the others own a buffer each and get tasks by messages. The directory found last is
//! opened first, so that what waits is bounded by the names on the way down.

use super::audited::{Audited, Counts};
use super::content::Eye;
use super::kept::{Kept, Known};
use super::links::Gathering;
use super::scope::Scope;
use super::settings::{Auditing, Meter};
use super::worker::{Fragment, Number, Task, Told, Worker};
use super::{ON_THE_WAY, UNKNOWN, UNREAD_MAX};
use crate::hash::hash_bytes;
use crate::{Error, Fingerprint, Part, Result, Tree};
use fulmar_model::{Below, Entry, Hash, Name, RelPath, Tally, Unread};
use rustix::io::Errno;
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

/// The most tasks that are handed to a thread at once: directories of a few names are not worth a message each.
const TASKS_AT_ONCE: usize = 16;

/// Reads everything at `start` and below. Fails when `start` cannot be opened, or when `meter` is told to stop.
pub fn audit(tree: &Tree, start: &RelPath, how: &Auditing, meter: &Meter) -> Result<Audited> {
    let threads = how.threads.max(1);
    std::thread::scope(|scope| {
        let (telling, told) = channel();
        let mut workers = Vec::new();
        for number in 0..threads {
            let (sender, tasks) = sync_channel(1);
            let worker = Worker::new(number, tree, Eye::new(how, meter), tasks, telling.clone());
            let spawned =
                std::thread::Builder::new().name("fulmar-audit".into()).spawn_scoped(scope, move || worker.run());
            spawned.map_err(|_| Error::Stopped)?;
            workers.push(sender);
        }
        drop(telling);
        Engine::new(start.clone(), how.scope.clone(), workers, told).run()
    })
    .map(|(below, entry, gathered)| gathered.finish(tree, how, entry, below))
}

/// A directory that is under way.
struct Pending {
    path: RelPath,
    /// The directory it is in, and where in it.
    parent: Option<(Number, Place)>,
    entry: Option<Entry>,
    names: u64,
    part: Part,
    /// What came of the parts before this one.
    parts: Vec<Hash>,
    fragments: Vec<(usize, Fingerprint)>,
    /// What they come to, where that was known before.
    leaves: Option<Hash>,
    known: Vec<Known>,
    children: Vec<(Place, Hash)>,
    tally: Tally,
    /// Tasks and directories of this part that have not come back.
    waiting: usize,
}

/// Index of the fragment's first name, and of the directory among its directories: in order of names.
type Place = (usize, usize);

/// What is remembered of everything.
#[derive(Default)]
struct Gathered {
    kept: Kept,
    links: Gathering,
    unread: Vec<Unread>,
    rotten: Vec<RelPath>,
    counts: Counts,
}

impl Gathered {
    fn note_rotten(&mut self, rotten: Vec<RelPath>) {
        self.counts.rotten += rotten.len() as u64;
        let room = UNREAD_MAX.saturating_sub(self.rotten.len());
        self.rotten.extend(rotten.into_iter().take(room));
    }

    fn finish(self, tree: &Tree, how: &Auditing, entry: Entry, below: Below) -> Audited {
        Audited {
            tree: tree.clone(),
            how: how.clone(),
            entry,
            below,
            kept: self.kept,
            links: self.links.finish(),
            unread: self.unread,
            rotten: self.rotten,
            counts: self.counts,
        }
    }
}

struct Engine {
    scope: Scope,
    workers: Vec<SyncSender<Vec<Task>>>,
    idle: Vec<usize>,
    told: Receiver<Vec<Told>>,
    stack: Vec<Task>,
    pending: HashMap<Number, Pending>,
    next: Number,
    gathered: Gathered,
    root: Option<(Below, Entry)>,
}

impl Engine {
    fn new(start: RelPath, scope: Scope, workers: Vec<SyncSender<Vec<Task>>>, told: Receiver<Vec<Told>>) -> Self {
        let idle = (0..workers.len()).collect();
        let (stack, pending, gathered) = (Vec::new(), HashMap::new(), Gathered::default());
        let mut engine = Self { scope, workers, idle, told, stack, pending, next: 0, gathered, root: None };
        engine.begin(start, None);
        engine
    }

    fn run(mut self) -> Result<(Below, Entry, Gathered)> {
        loop {
            if let Some((below, entry)) = self.root.take() {
                return Ok((below, entry, self.gathered));
            }
            self.deal()?;
            match self.told.recv() {
                Ok(told) => told.into_iter().try_for_each(|told| self.hear(told))?,
                Err(_) => return Err(Error::Stopped),
            }
        }
    }

    /// Gives work to who has none.
    fn deal(&mut self) -> Result<()> {
        while !self.stack.is_empty() {
            let Some(worker) = self.idle.pop() else { return Ok(()) };
            let fair = self.stack.len() / (self.workers.len() * 2);
            let count = fair.clamp(1, TASKS_AT_ONCE);
            let tasks = self.stack.split_off(self.stack.len() - count);
            let sender = self.workers.get(worker).ok_or(Error::Stopped)?;
            // The one found last first.
            sender.send(tasks.into_iter().rev().collect()).map_err(|_| Error::Stopped)?;
        }
        Ok(())
    }

    fn begin(&mut self, path: RelPath, parent: Option<(Number, Place)>) {
        let number = self.next;
        self.next += 1;
        self.stack.push(Task::Open { number, path: path.clone() });
        let pending = Pending {
            path,
            parent,
            entry: None,
            names: 0,
            part: Part::WHOLE,
            parts: Vec::new(),
            fragments: Vec::new(),
            leaves: None,
            known: Vec::new(),
            children: Vec::new(),
            tally: Tally::default(),
            waiting: 1,
        };
        self.pending.insert(number, pending);
    }

    fn hear(&mut self, told: Told) -> Result<()> {
        match told {
            Told::Idle { worker } => self.idle.push(worker),
            Told::Ended => return Err(Error::Stopped),
            Told::Opened { number, entry, names, part } => {
                if let Some(pending) = self.pending.get_mut(&number) {
                    (pending.entry, pending.names, pending.part) = (Some(entry), names, part);
                }
            }
            Told::Closed { number, entry, unread, mount } => {
                let pending = self.pending.get(&number);
                let start = pending.is_some_and(|pending| pending.parent.is_none());
                let told = pending.is_some_and(|pending| self.scope.has(&pending.path));
                self.gathered.counts.mounts += u64::from(mount && told);
                if start {
                    let errno = unread.map_or(Errno::NOENT, |unread| Errno::from_raw_os_error(unread.errno));
                    return Err(Error::OpenDirectory { path: RelPath::root(), source: errno });
                }
                self.note_unread(unread.filter(|_| told));
                self.close(number, entry, None);
            }
            Told::Rest { number, names, from } => {
                if let Some(pending) = self.pending.get_mut(&number) {
                    pending.waiting += 1;
                    self.stack.push(Task::Names { number, path: pending.path.clone(), names, from });
                }
            }
            Told::Done { number, fragment } => self.done(number, fragment),
        }
        Ok(())
    }

    fn note_unread(&mut self, unread: impl IntoIterator<Item = Unread>) {
        for unread in unread {
            self.gathered.counts.unread += 1;
            if self.gathered.unread.len() < UNREAD_MAX {
                self.gathered.unread.push(unread);
            }
        }
    }

    fn done(&mut self, number: Number, fragment: Fragment) {
        let Fragment { from, print, leaves, directories, tally, links, known, unread, rotten } = fragment;
        self.gathered.links.add(links);
        if self.pending.get(&number).is_some_and(|pending| self.scope.has(&pending.path)) {
            self.note_unread(unread);
        }
        self.gathered.note_rotten(rotten);
        let Some(pending) = self.pending.get_mut(&number) else { return };
        pending.fragments.push((from, print));
        pending.leaves = leaves;
        pending.known.extend(known);
        pending.tally.add(tally);
        pending.waiting += directories.len();
        pending.waiting -= 1;
        let path = pending.path.clone();
        // The first one last: it is opened next.
        for (at, name) in directories.iter().enumerate().rev() {
            self.begin(path.join(name), Some((number, (from, at))));
        }
        self.settle(number);
    }

    /// Goes on with a directory of which nothing is waited for: the next part of it, or up.
    fn settle(&mut self, number: Number) {
        let Some(pending) = self.pending.get_mut(&number).filter(|pending| pending.waiting == 0) else { return };
        pending.finish_part();
        self.gathered.kept.put_hashes(&pending.path, pending.part, std::mem::take(&mut pending.known));
        if let Some(part) = pending.part.next() {
            (pending.part, pending.waiting) = (part, 1);
            self.stack.push(Task::Part { number, path: pending.path.clone(), part });
            return;
        }
        let below = Below { digest: pending.digest(), names: pending.names, tally: pending.tally };
        self.gathered.kept.put(&pending.path, below);
        let entry = pending.entry.take();
        self.close(number, entry, Some(below));
    }

    /// A directory is through; `below`: unless it was not entered. One that is gone counts for nothing.
    fn close(&mut self, number: Number, entry: Option<Entry>, below: Option<Below>) {
        let Some(Pending { path, parent, .. }) = self.pending.remove(&number) else { return };
        let Some((parent, place)) = parent else {
            self.root = entry.zip(below).map(|(entry, below)| (below, entry));
            return;
        };
        let Some(above) = self.pending.get_mut(&parent) else { return };
        above.waiting -= 1;
        if let (Some(entry), Some((_, name))) = (entry, path.split()) {
            let told = self.scope.has(&above.path);
            above.tally.entries += u64::from(told);
            above.tally.add(below.map(|below| below.tally).unwrap_or_default());
            let entry = if told { entry } else { ON_THE_WAY };
            above.children.push((place, child(&name, &entry, below.map(|below| below.digest))));
        }
        self.settle(parent);
    }
}

fn child(name: &Name, entry: &Entry, below: Option<Hash>) -> Hash {
    let mut print = Fingerprint::default();
    print.add(name, entry, true);
    let own = print.finish().unwrap_or(UNKNOWN);
    hash_bytes(&[own.0, below.unwrap_or(UNKNOWN).0].concat())
}

impl Pending {
    fn finish_part(&mut self) {
        let mut fragments = std::mem::take(&mut self.fragments);
        fragments.sort_unstable_by_key(|(from, _)| *from);
        let mut whole = Fingerprint::default();
        fragments.into_iter().for_each(|(_, fragment)| whole.append(fragment));
        let leaves = self.leaves.take().or_else(|| whole.finish());
        let mut children = std::mem::take(&mut self.children);
        children.sort_unstable_by_key(|(place, _)| *place);
        let mut bytes = vec![1];
        bytes.extend_from_slice(&leaves.unwrap_or(UNKNOWN).0);
        children.iter().for_each(|(_, child)| bytes.extend_from_slice(&child.0));
        self.parts.push(hash_bytes(&bytes));
    }

    fn digest(&self) -> Hash {
        let bytes: Vec<u8> = self.parts.iter().flat_map(|part| part.0).collect();
        hash_bytes(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_files_that_have_rotted_than_are_remembered_are_counted() {
        let mut gathered = Gathered::default();
        let paths = |from: usize, to: usize| -> Vec<_> {
            let path = |number: usize| RelPath::parse(number.to_string().as_bytes()).expect("a path");
            (from..to).map(path).collect()
        };
        gathered.note_rotten(paths(0, UNREAD_MAX - 1));
        gathered.note_rotten(paths(UNREAD_MAX, UNREAD_MAX + 5));
        gathered.note_rotten(paths(UNREAD_MAX + 5, UNREAD_MAX + 7));
        assert_eq!((gathered.rotten.len(), gathered.counts.rotten), (UNREAD_MAX, UNREAD_MAX as u64 + 6));
    }
}
