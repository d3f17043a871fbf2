//! What one thread does: opens a directory, or goes through some of its names, and tells the engine.

use super::content::Eye;
use super::describe::{Described, Hinted, Read, in_order, stat};
use super::kept::Known;
use super::standing::standing;
use super::{UNKNOWN, settings};
use crate::sealing::Leaves;
use crate::{Clock, Dir, Error, Fingerprint, NAMES_PER_PART, Part, Tree};
use fulmar_model::{
    Depth, Entry, Hash, Kind, Name, Node, PATH_BYTES_MAX, Record, RelPath, Standing, Tally, Timestamp, Unread,
};
use rustix::fs::FileType;
use rustix::io::Errno;
use std::sync::mpsc::{Receiver, Sender};

/// Names that a thread goes through before it asks for other work.
const CHUNK_NAMES: usize = 256;
/// Bytes after which it offers the names that are left to the others.
const CHUNK_BYTES: u64 = 32 << 20;

/// Bytes of files after which it tells what came of them.
const TOLD_BYTES: u64 = 4 << 20;

/// Up to so many names each file is asked for its size before it is read, ...
const FEW_NAMES: usize = 32;
/// ... and from this mean size on.
const LARGE_MEAN_BYTES: u64 = 1 << 20;

/// Number of a directory that is under way.
pub(super) type Number = usize;

/// What a thread is asked for.
pub(super) enum Task {
    /// A directory, its first part.
    Open { number: Number, path: RelPath },
    /// A further part of one.
    Part { number: Number, path: RelPath, part: Part },
    /// Some of a directory's names, in order; `from` is the index of the first.
    Names { number: Number, path: RelPath, names: Vec<Hinted>, from: usize },
}

/// What a thread tells.
pub(super) enum Told {
    /// A directory was opened: what it is itself, how many names take part, in how many parts.
    Opened { number: Number, entry: Entry, names: u64, part: Part },
    /// It could not be; `entry` when it is there all the same.
    Closed { number: Number, entry: Option<Entry>, unread: Option<Unread>, mount: bool },
    /// Names for somebody else.
    Rest { number: Number, names: Vec<Hinted>, from: usize },
    /// Some names are done.
    Done { number: Number, fragment: Fragment },
    /// This thread has nothing to do.
    Idle { worker: usize },
    /// A thread has ended: it was told to, or by a fault of the program.
    Ended,
}

/// What came of some of a directory's names.
#[derive(Default)]
pub(super) struct Fragment {
    /// Index of the first.
    pub(super) from: usize,
    pub(super) print: Fingerprint,
    /// What all of a part's entries that are no directories come to, where that was known before.
    pub(super) leaves: Option<Hash>,
    /// Directories, in order.
    pub(super) directories: Vec<Name>,
    pub(super) tally: Tally,
    pub(super) links: Vec<(u64, RelPath)>,
    pub(super) known: Vec<Known>,
    pub(super) unread: Vec<Unread>,
    /// Files whose content is not the recorded one, though nobody wrote there.
    pub(super) rotten: Vec<RelPath>,
}

/// A thread of the engine.
pub(super) struct Worker<'a> {
    pub(super) number: usize,
    pub(super) tree: &'a Tree,
    pub(super) eye: Eye<'a>,
    pub(super) tasks: Receiver<Vec<Task>>,
    pub(super) told: Sender<Vec<Told>>,
    /// What is told together.
    outbox: Outbox,
}

/// What the engine does not wait for: told with what follows, so that small directories do not wake it one by one.
#[derive(Default)]
struct Outbox {
    told: Vec<Told>,
    /// Of the files in it.
    bytes: u64,
}

/// Nobody listens any more.
struct Gone;

impl<'a> Worker<'a> {
    pub(super) fn new(
        number: usize,
        tree: &'a Tree,
        eye: Eye<'a>,
        tasks: Receiver<Vec<Task>>,
        told: Sender<Vec<Told>>,
    ) -> Self {
        Self { number, tree, eye, tasks, told, outbox: Outbox::default() }
    }

    /// Until there are no more tasks or it is told to stop.
    pub(super) fn run(mut self) {
        if self.eye.how.idle {
            settings::read_when_idle();
        }
        let (told, number) = (self.told.clone(), self.number);
        let work = std::panic::AssertUnwindSafe(|| {
            while let Ok(tasks) = self.tasks.recv() {
                for task in tasks {
                    if self.eye.meter.is_stopped() || self.perform(task).is_err() {
                        return;
                    }
                }
                self.outbox.told.push(Told::Idle { worker: number });
                if self.flush().is_err() {
                    return;
                }
            }
        });
        // However it ends, the panic hook has told of a fault.
        let _ = std::panic::catch_unwind(work);
        // Nobody listens: then nobody waits either.
        let _ = told.send(vec![Told::Ended]);
    }

    /// At once what has work for others in it, or took long; the rest with it, or when this thread asks for more.
    fn tell(&mut self, told: Told) -> Result<(), Gone> {
        let (urgent, bytes) = match &told {
            Told::Opened { .. } | Told::Closed { .. } => (false, 0),
            Told::Done { fragment, .. } => (!fragment.directories.is_empty(), fragment.tally.bytes),
            Told::Rest { .. } | Told::Idle { .. } | Told::Ended => (true, 0),
        };
        self.outbox.told.push(told);
        self.outbox.bytes = self.outbox.bytes.saturating_add(bytes);
        if urgent || self.outbox.bytes >= TOLD_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Gone> {
        let Outbox { told, .. } = std::mem::take(&mut self.outbox);
        self.told.send(told).map_err(|_| Gone)
    }

    fn perform(&mut self, task: Task) -> Result<(), Gone> {
        match task {
            Task::Open { number, path } => self.open(number, &path),
            Task::Part { number, path, part } => match self.tree.dir(&path) {
                Ok(dir) => self.part(number, &dir, part),
                Err(error) => self.broken(number, &path, &error),
            },
            Task::Names { number, path, names, from } => match self.tree.dir(&path) {
                Ok(dir) => self.names(number, &dir, names, from),
                Err(error) => self.broken(number, &path, &error),
            },
        }
    }

    /// A directory that could be opened cannot be any more: what is left of it counts as unreadable, unless it is gone.
    fn broken(&mut self, number: Number, path: &RelPath, error: &Error) -> Result<(), Gone> {
        let mut fragment = Fragment { from: usize::MAX, ..Fragment::default() };
        if !error.is_gone() {
            fragment.unread.push(Unread { path: path.clone(), errno: error.errno() });
        }
        self.tell(Told::Done { number, fragment })
    }

    fn open(&mut self, number: Number, path: &RelPath) -> Result<(), Gone> {
        let opened = self.tree.dir(path).and_then(|dir| {
            let described = self.eye.describe_self(&dir);
            let described = described.map_err(|source| Error::OpenDirectory { path: path.clone(), source })?;
            let listed = self.list(&dir)?;
            Ok((dir, described, listed))
        });
        match opened {
            Ok((dir, described, (names, part, count))) => {
                self.tell(Told::Opened { number, entry: described.entry, names: count, part })?;
                match self.sealed(&dir, part, &names) {
                    Some(fragment) => self.tell(Told::Done { number, fragment }),
                    None => self.names(number, &dir, names, 0),
                }
            }
            Err(error) => self.closed(number, path, &error),
        }
    }

    /// The names of the first part, which part that is, and how many take part in all.
    fn list(&self, dir: &Dir) -> Result<(Vec<Hinted>, Part, u64), Error> {
        let (mut names, mut count, mut longest) = (Vec::new(), 0u64, 0);
        self.eye.each_in_scope(dir, |name, hint| {
            (count, longest) = (count + 1, longest.max(name.len()));
            match count <= NAMES_PER_PART {
                true => names.push(Hinted { name: dir.usable(name)?, hint }),
                false => names = Vec::new(),
            }
            Ok(())
        })?;
        if dir.path().as_bytes().len() + 1 + longest > PATH_BYTES_MAX {
            return Err(Error::PathTooLong { path: dir.path().clone() });
        }
        if count <= NAMES_PER_PART {
            return Ok((in_order(names), Part::WHOLE, count));
        }
        let part = Part::new(0, Part::number_for(count)).unwrap_or(Part::WHOLE);
        Ok((self.eye.names(dir, |name| part.has(name))?, part, count))
    }

    fn closed(&mut self, number: Number, path: &RelPath, error: &Error) -> Result<(), Gone> {
        let mount = matches!(error, Error::CrossesMount { .. });
        let unread = (!mount && !error.is_gone()).then(|| Unread { path: path.clone(), errno: error.errno() });
        let entry = path.split().and_then(|(parent, name)| {
            let parent = self.tree.dir(&parent).ok()?;
            let found = self.eye.describe(&parent, &name, FileType::Unknown, Read::Metadata).ok()??;
            (found.stat.kind == Kind::Directory).then_some(found.entry)
        });
        self.tell(Told::Closed { number, entry, unread, mount })
    }

    fn part(&mut self, number: Number, dir: &Dir, part: Part) -> Result<(), Gone> {
        match self.eye.names(dir, |name| part.has(name)) {
            Ok(names) => self.names(number, dir, names, 0),
            Err(error) => self.broken(number, dir.path(), &error),
        }
    }

    /// A directory in which all but its directories is as its seal says: no record is read.
    fn sealed(&self, dir: &Dir, part: Part, names: &[Hinted]) -> Option<Fragment> {
        let how = self.eye.how;
        // A seal counts every attribute and every name.
        let usable = how.depth == Depth::Quick && how.trusted && how.scope.is_whole() && part.is_whole();
        let seal = self.eye.recall_seal(dir.path()).filter(|_| usable)?;
        let (mut fragment, mut leaves) = (Fragment::default(), Leaves::with_room(names.len()));
        for hinted in names {
            if hinted.hint == FileType::Directory {
                fragment.directories.push(hinted.name.clone());
                continue;
            }
            let stat = stat(dir, &hinted.name).ok().flatten()?;
            leaves.add(&hinted.name, &stat);
            fragment.tally.entries += 1;
            if stat.kind == Kind::File {
                fragment.tally.files += 1;
                fragment.tally.bytes = fragment.tally.bytes.saturating_add(stat.size);
            }
        }
        fragment.leaves = (leaves.key() == seal.key).then_some(seal.leaves);
        fragment.leaves.is_some().then_some(fragment)
    }

    fn names(&mut self, number: Number, dir: &Dir, mut names: Vec<Hinted>, from: usize) -> Result<(), Gone> {
        if names.len() > CHUNK_NAMES {
            let rest = names.split_off(CHUNK_NAMES);
            self.tell(Told::Rest { number, names: rest, from: from + CHUNK_NAMES })?;
        }
        let mut fragment = Fragment { from, ..Fragment::default() };
        fragment.print.reserve(names.len());
        let began = Clock::coarse_now();
        if !self.eye.how.scope.has(dir.path()) {
            let leading = names.into_iter().filter(|hinted| hinted.hint == FileType::Directory);
            fragment.directories.extend(leading.map(|hinted| hinted.name));
            return self.tell(Told::Done { number, fragment });
        }
        let few = names.len() <= FEW_NAMES;
        let files: Vec<_> = names.iter().map(|hinted| &hinted.name).collect();
        let mut records = self.eye.recall(dir.path(), &files);
        let mut left = names.into_iter().enumerate();
        while let Some((at, hinted)) = left.next() {
            if self.eye.meter.is_stopped() {
                return Err(Gone);
            }
            // Directories of large files have few names, or many large files: only there a look at the size is worth its time.
            let suspect = !self.eye.how.links_only
                && (few || fragment.tally.bytes / (fragment.tally.files + 1) >= LARGE_MEAN_BYTES);
            let enough = fragment.tally.bytes >= CHUNK_BYTES;
            if left.len() > 0 && (enough || (suspect && is_large(dir, &hinted))) {
                let names: Vec<Hinted> = left.by_ref().map(|(_, hinted)| hinted).collect();
                self.tell(Told::Rest { number, names, from: from + at + 1 })?;
            }
            let record = records.get_mut(at).and_then(Option::take);
            self.name(dir, &hinted, record.as_ref(), began, &mut fragment);
        }
        self.eye.give_back(records);
        self.tell(Told::Done { number, fragment })
    }

    /// Whether a directory is gone through.
    fn enters(&self, dir: &Dir, name: &Name) -> bool {
        let scope = &self.eye.how.scope;
        scope.is_whole() || scope.reaches(&dir.at(name))
    }

    fn name(&mut self, dir: &Dir, hinted: &Hinted, record: Option<&Record>, began: Timestamp, fragment: &mut Fragment) {
        if hinted.hint == FileType::Directory && self.enters(dir, &hinted.name) {
            fragment.directories.push(hinted.name.clone());
            return;
        }
        if self.eye.how.links_only {
            return self.link(dir, hinted, fragment);
        }
        let recalled = match record.map(|record| self.eye.recalled(dir, &hinted.name, record)) {
            Some(Ok(recalled)) => recalled,
            // Reading it says why.
            Some(Err(_)) | None => None,
        };
        let described = match recalled {
            // As recorded, so it has not rotted; and the record can be asked again.
            Some(recalled) => return fragment.add(dir, hinted, recalled, false),
            None => self.eye.describe(dir, &hinted.name, hinted.hint, Read::Content),
        };
        match described {
            Ok(None) => {}
            // It took the place of something else since the names were read.
            Ok(Some(found)) if found.stat.kind == Kind::Directory && self.enters(dir, &hinted.name) => {
                fragment.directories.push(hinted.name.clone());
            }
            Ok(Some(found)) => {
                if let Some(errno) = found.unread {
                    fragment.unread.push(Unread { path: dir.at(&hinted.name), errno: errno.raw_os_error() });
                }
                if record.is_some_and(|record| standing(&found, record, Clock::coarse_now()) == Standing::Corrupt) {
                    fragment.rotten.push(dir.at(&hinted.name));
                }
                let settled = self.tree.is_settled(&found.stat, began);
                fragment.add(dir, hinted, found, settled);
            }
            Err(Errno::NOENT | Errno::STALE) => {}
            Err(errno) => {
                fragment.unread.push(Unread { path: dir.at(&hinted.name), errno: errno.raw_os_error() });
            }
        }
    }

    /// Only whether it has other names. What cannot be looked at has none.
    fn link(&self, dir: &Dir, hinted: &Hinted, fragment: &mut Fragment) {
        match stat(dir, &hinted.name) {
            Ok(Some(stat)) if stat.kind == Kind::Directory => {
                if self.enters(dir, &hinted.name) {
                    fragment.directories.push(hinted.name.clone());
                }
            }
            Ok(Some(stat)) if stat.links > 1 && stat.kind != Kind::Socket => {
                fragment.links.push((stat.inode, dir.at(&hinted.name)));
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// Whether reading it takes so long that the names behind it should not wait.
fn is_large(dir: &Dir, hinted: &Hinted) -> bool {
    hinted.hint == FileType::RegularFile
        && stat(dir, &hinted.name).ok().flatten().is_some_and(|stat| stat.size >= CHUNK_BYTES)
}

impl Fragment {
    fn add(&mut self, dir: &Dir, hinted: &Hinted, found: Described, settled: bool) {
        let Described { stat, mut entry, steady, .. } = found;
        self.tally.entries += 1;
        if stat.links > 1 && stat.kind != Kind::Directory {
            self.links.push((stat.inode, dir.at(&hinted.name)));
        }
        if let Node::File { size, hash } = &mut entry.node {
            self.tally.files += 1;
            self.tally.bytes = self.tally.bytes.saturating_add(*size);
            match hash {
                Some(hash) if steady && settled => self.known.push(Known::new(&hinted.name, &stat, *hash)),
                Some(_) => {}
                None => *hash = Some(UNKNOWN),
            }
        }
        self.print.add(&hinted.name, &entry, true);
    }
}
