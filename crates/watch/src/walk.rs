//! Listing directories: the first pass, what came with a new directory, and the repair after an overflow.
//!
//! A directory is watched while its parent is listed, through the parent's handle, before it is listed itself. A listing
//! that finds its directory not at its path is made later: events that say where it stands are in the queue then.

use crate::look::{Look, appearance, look};
use crate::lookout::Lookout;
use crate::outbox::Stop;
use crate::pairing::Place;
use crate::tree::NodeId;
use crate::{Pace, RescanReason};
use rustix::fs::{AtFlags, FileType, RawDir, statat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::OwnedFd;

/// Bytes of directory entries read at once.
pub(crate) const LIST_BYTES: usize = 32 * 1024;
/// Directory handles kept open for listing; a directory beyond is opened again by its path.
const HELD_MAX: usize = 64;

/// A directory to be listed.
pub(crate) struct Job {
    pub node: NodeId,
    pub handle: Option<OwnedFd>,
    /// Whether its entries are sent, and the pace of its regular files.
    pub report: Option<Pace>,
    /// The same for directories below that were not known.
    pub newcomers: Option<Pace>,
    /// Whether to list known directories below as well.
    pub deep: bool,
}

impl Job {
    /// Adds what is missing in the tree and drops what is wrong, in the whole subtree, without sending anything.
    pub(crate) fn structure(node: NodeId) -> Self {
        Self { node, handle: None, report: None, newcomers: None, deep: true }
    }

    /// Looks for directories in this one that nobody has heard of.
    pub(crate) fn newcomers(node: NodeId) -> Self {
        Self { node, handle: None, report: None, newcomers: Some(Pace::Writing), deep: false }
    }
}

/// What a place in the tree turned out to hold.
enum Adopted {
    /// A directory that was not watched.
    New(NodeId),
    /// The one that is known there.
    Same(NodeId),
    /// One that was known elsewhere; whatever happened to its path on the way is not known.
    Moved(NodeId),
    /// One that stands elsewhere, too.
    Twice,
}

impl Lookout {
    /// Lists a directory and, as the job says, what is below.
    pub(crate) fn walk(&mut self, job: Job) -> Result<(), Stop> {
        let mut jobs = vec![job];
        let mut held = 0;
        while let Some(mut job) = jobs.pop() {
            if !self.tree.is_live(job.node) {
                continue;
            }
            held -= usize::from(job.handle.is_some()).min(held);
            let Some(handle) = job.handle.take().or_else(|| self.open(job.node)) else {
                self.revisit.push((job, 0));
                continue;
            };
            let before = jobs.len();
            self.list(&job, &handle, &mut jobs)?;
            for job in jobs.iter_mut().skip(before) {
                if held >= HELD_MAX {
                    job.handle = None;
                }
                held += usize::from(job.handle.is_some());
            }
            self.publish();
        }
        Ok(())
    }

    fn list(&mut self, job: &Job, directory: &OwnedFd, jobs: &mut Vec<Job>) -> Result<(), Stop> {
        if self.path_of(job.node, b"").is_none() {
            // Detached: whoever puts it back lists it.
            self.disturb(job.node);
            return Ok(());
        }
        self.listing = self.listing.wrapping_add(1);
        let listing = self.listing;
        let first = jobs.len();
        let mut buffer = std::mem::take(&mut self.list_buffer);
        let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
        let complete = loop {
            match entries.next() {
                None => break true,
                Some(Ok(entry)) => {
                    let name = entry.file_name();
                    if !matches!(name.to_bytes(), b"." | b"..") {
                        self.entry(job, directory, name, entry.file_type(), jobs)?;
                        // Beyond the bound handles are given up while the listing goes on, not after it.
                        if jobs.len() - first > HELD_MAX
                            && let Some(last) = jobs.last_mut()
                        {
                            last.handle = None;
                        }
                    }
                }
                Some(Err(Errno::INTR)) => {}
                Some(Err(Errno::NOENT)) => break false,
                Some(Err(error)) => {
                    tracing::debug!(%error, "directory cannot be listed");
                    self.polled.insert(job.node, RescanReason::Unreadable, std::time::Instant::now());
                    break false;
                }
            }
        };
        self.list_buffer = buffer;
        if complete {
            self.sweep(job.node, listing);
        }
        Ok(())
    }

    fn entry(
        &mut self,
        job: &Job,
        directory: &OwnedFd,
        entry_name: &CStr,
        kind: FileType,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Stop> {
        let kind = match kind {
            FileType::Unknown => match statat(directory, entry_name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(_) => return Ok(()),
            },
            kind => kind,
        };
        let is_directory = kind == FileType::Directory;
        if !is_directory && job.report.is_none() {
            return Ok(());
        }
        let name = entry_name.to_bytes();
        let Some(path) = self.path_of(job.node, name) else { return Ok(()) };
        if self.filter.excludes_here(&path, is_directory) {
            self.tree.veil(job.node, is_directory);
            return Ok(());
        }
        match job.report {
            None => {}
            Some(_) if is_directory => self.outbox.changed(path, Pace::Settled)?,
            Some(pace) => {
                let stat = statat(directory, entry_name, AtFlags::SYMLINK_NOFOLLOW).ok();
                self.outbox.send(appearance(path, stat.as_ref(), pace))?;
            }
        }
        if is_directory {
            let found = look(&self.kernel, directory, name, self.root.device());
            self.enter(job.node, name, found, job, jobs)?;
        }
        Ok(())
    }

    /// Brings the tree in line with what was found at a place, and adds the listings that follow from it.
    pub(crate) fn enter(
        &mut self,
        parent: NodeId,
        name: &[u8],
        found: Look,
        job: &Job,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Stop> {
        let (handle, wd) = match found {
            Look::Absent => return Ok(()),
            Look::Foreign => {
                self.foreign.insert(Place { parent, name: name.into() });
                return Ok(());
            }
            Look::Refused(reason) => {
                self.refuse(parent, name, reason);
                return Ok(());
            }
            Look::Directory { handle, wd } => (handle, wd),
        };
        match self.adopt(parent, name, wd) {
            Adopted::New(node) => {
                if job.report.is_none()
                    && job.newcomers.is_some()
                    && let Some(path) = self.path_of(parent, name)
                {
                    self.outbox.changed(path, Pace::Settled)?;
                }
                jobs.push(Job {
                    node,
                    handle: Some(handle),
                    report: job.newcomers,
                    newcomers: job.newcomers,
                    deep: job.deep,
                });
            }
            Adopted::Same(node) if job.deep => {
                jobs.push(Job { node, handle: Some(handle), report: None, newcomers: job.newcomers, deep: true });
            }
            Adopted::Same(_) => {}
            Adopted::Moved(node) => {
                if job.newcomers.is_some()
                    && let Some(path) = self.path_of(parent, name)
                {
                    self.outbox.rescan(path, RescanReason::Moved)?;
                }
                jobs.push(Job { node, handle: Some(handle), report: None, newcomers: job.newcomers, deep: true });
            }
            Adopted::Twice => self.refuse(parent, name, RescanReason::MountedTwice),
        }
        Ok(())
    }

    /// The directory there cannot be watched.
    fn refuse(&mut self, parent: NodeId, name: &[u8], reason: RescanReason) {
        let node = self.tree.child(parent, name).unwrap_or_else(|| self.tree.insert(parent, name));
        self.tree.mark(node, self.listing);
        self.poll(node, reason);
    }

    /// The inode behind `wd` stands at this place: whoever was known by that watch is put here.
    fn adopt(&mut self, parent: NodeId, name: &[u8], wd: i32) -> Adopted {
        let here = self.tree.child(parent, name);
        let adopted = match (self.tree.by_wd(wd), here) {
            (Some(known), Some(here)) if known == here => Adopted::Same(here),
            (Some(known), _) => {
                // A directory has one place, unless it is mounted at a second one.
                let attached = self.tree.top(known) == self.tree.root();
                if self.tree.is_within(parent, known) || (attached && self.open(known).is_some()) {
                    return Adopted::Twice;
                }
                if let Some(left) = self.tree.parent(known) {
                    // No event has said so yet, and of an unmounted directory none will: somebody else may stand there.
                    self.doubtful.push(Place { parent: left, name: self.tree.name(known).into() });
                }
                self.vacate(parent, name);
                self.tree.attach(known, parent, name);
                Adopted::Moved(known)
            }
            (None, Some(here)) if self.tree.wd(here).is_none() => {
                self.own(here, wd);
                Adopted::New(here)
            }
            (None, _) => {
                self.vacate(parent, name);
                let node = self.tree.insert(parent, name);
                self.own(node, wd);
                Adopted::New(node)
            }
        };
        if let Adopted::Same(node) | Adopted::Moved(node) | Adopted::New(node) = adopted {
            self.tree.mark(node, self.listing);
            self.polled.remove(node);
        }
        adopted
    }

    /// Makes room at a place: who stood there stands elsewhere by now, or nowhere.
    pub(crate) fn vacate(&mut self, parent: NodeId, name: &[u8]) {
        if let Some(occupant) = self.tree.child(parent, name) {
            self.outbox.forget();
            self.tree.detach(occupant);
            self.pairing.displace(occupant, Place { parent, name: name.into() }, false);
        }
    }

    /// Directories that the listing did not show have left.
    fn sweep(&mut self, node: NodeId, listing: u32) {
        for child in self.tree.children(node) {
            if !self.tree.is_marked(child, listing) {
                let name: Box<[u8]> = self.tree.name(child).into();
                self.vacate(node, &name);
            }
        }
    }
}
