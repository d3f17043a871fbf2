//! One kernel event: what it does to the tree, and what it lets us say.
//!
//! RACE: the file system is ahead of the queue. A look at a place may find what a later event will speak of, or nothing.
//! That is harmless because every event that puts a directory somewhere makes a look of its own: after the last one the
//! tree is right, and in between a wrong entry costs a listing, never a directory.

use crate::kernel::Raw;
use crate::look::{Look, appearance, look};
use crate::lookout::Lookout;
use crate::outbox::Stop;
use crate::pairing::{Adrift, Place};
use crate::tree::NodeId;
use crate::walk::Job;
use crate::{Event, Pace, RescanReason, RootGone};
use fulmar_model::RelPath;
use rustix::fs::inotify::ReadFlags;
use rustix::fs::{AtFlags, statat};
use std::time::Instant;

impl Lookout {
    /// Takes one event. Unknown watches and unknown mask bits are passed over: they belong to what was given up.
    pub(crate) fn apply(&mut self, raw: &Raw<'_>) -> Result<(), Stop> {
        if raw.mask.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.note_overflow(Instant::now());
            return Ok(());
        }
        if !self.retired.is_empty() && self.retired.contains(&raw.wd) {
            if raw.mask.contains(ReadFlags::IGNORED) {
                self.retired.remove(&raw.wd);
            }
            return Ok(());
        }
        let Some(directory) = self.tree.by_wd(raw.wd) else { return Ok(()) };
        if raw.mask.contains(ReadFlags::UNMOUNT) {
            return Err(Stop::RootGone(RootGone::Unmounted));
        }
        if raw.name.is_empty() { self.itself(directory, raw.mask) } else { self.named(directory, raw) }
    }

    /// An event about a watched directory, as seen by itself. Its parent tells the same, except of the root.
    fn itself(&mut self, directory: NodeId, mask: ReadFlags) -> Result<(), Stop> {
        let root = directory == self.tree.root();
        if root && mask.contains(ReadFlags::MOVE_SELF) {
            return Err(Stop::RootGone(RootGone::Moved));
        }
        if root && mask.intersects(ReadFlags::DELETE_SELF.union(ReadFlags::IGNORED)) {
            return Err(Stop::RootGone(RootGone::Deleted));
        }
        if root && mask.contains(ReadFlags::ATTRIB) && !self.outbox.repeats(directory.index(), b"", Pace::Settled) {
            self.outbox.changed(RelPath::root(), Pace::Settled)?;
        }
        if mask.contains(ReadFlags::IGNORED) {
            // The kernel ended the watch, normally because the directory was removed and its parent says so.
            self.tree.set_wd(directory, None);
            self.revisit.push((Job::newcomers(directory), 0));
        }
        Ok(())
    }

    fn named(&mut self, directory: NodeId, raw: &Raw<'_>) -> Result<(), Stop> {
        let mask = raw.mask;
        let is_directory = mask.contains(ReadFlags::ISDIR);
        if !is_directory && mask.intersects(ReadFlags::MODIFY) {
            return self.plain(directory, raw.name, Pace::Writing);
        }
        if mask.intersects(ReadFlags::CLOSE_WRITE) || (!is_directory && mask.intersects(ReadFlags::ATTRIB)) {
            return self.plain(directory, raw.name, Pace::Settled);
        }
        if !is_directory && mask.intersects(ReadFlags::DELETE) {
            return self.plain(directory, raw.name, Pace::Gone);
        }
        let Some(path) = self.path_of(directory, raw.name) else {
            self.disturb(directory);
            return Ok(());
        };
        if mask.contains(ReadFlags::MOVED_TO) {
            return self.arrive(directory, raw, path, is_directory);
        }
        if self.filter.excludes_here(&path, is_directory) {
            self.tree.veil(directory, is_directory);
            return Ok(());
        }
        if mask.contains(ReadFlags::MOVED_FROM) {
            self.depart(directory, raw, path, is_directory);
            return Ok(());
        }
        if !is_directory {
            // Only CREATE is left. `link` gives nothing but this. Whoever made a regular file is probably about to write it.
            let event = self.appearance(path, Pace::Writing);
            if let Event::Changed { pace, .. } = event
                && self.outbox.repeats(directory.index(), raw.name, pace)
            {
                return Ok(());
            }
            return self.outbox.send(event);
        }
        self.outbox.forget();
        self.outbox.changed(path, if mask.contains(ReadFlags::DELETE) { Pace::Gone } else { Pace::Settled })?;
        if mask.contains(ReadFlags::CREATE) {
            self.appear(directory, raw.name, Pace::Writing)?;
        } else if let Some(child) = self.tree.child(directory, raw.name) {
            if mask.contains(ReadFlags::DELETE) {
                self.remove(child);
            } else if self.polled.reason(child).is_some() {
                // Its mode or owner was changed: it may be readable now.
                self.polled.hurry(Instant::now());
            }
        }
        Ok(())
    }

    /// A fact about a path that changes nothing in the tree. What was said last is not said again and costs nothing.
    fn plain(&mut self, directory: NodeId, name: &[u8], pace: Pace) -> Result<(), Stop> {
        if self.outbox.repeats(directory.index(), name, pace) {
            return Ok(());
        }
        let Some(path) = self.path_of(directory, name) else {
            self.disturb(directory);
            return Ok(());
        };
        if self.filter.excludes_here(&path, false) {
            return Ok(());
        }
        self.outbox.changed(path, pace)
    }

    /// What was seen in the directory has no path, because it or one above is on its way.
    pub(crate) fn disturb(&mut self, directory: NodeId) {
        self.outbox.forget();
        self.pairing.disturb(self.tree.top(directory));
    }

    /// What is there to be said of a name that appeared, of which no directory is known. `pace`: of a regular file that has no
    /// other name.
    fn appearance(&mut self, path: RelPath, pace: Pace) -> Event {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        // Gone already, perhaps, or deeper than the kernel takes as one path.
        let stat = self.root_handle().and_then(|root| statat(&root, path.as_bytes(), flags).ok());
        appearance(path, stat.as_ref(), pace)
    }

    fn depart(&mut self, directory: NodeId, raw: &Raw<'_>, path: RelPath, is_directory: bool) {
        let home = Place { parent: directory, name: raw.name.into() };
        let child = self.tree.child(directory, raw.name).filter(|_| is_directory);
        if let Some(child) = child {
            self.outbox.forget();
            self.tree.detach(child);
        }
        self.pairing.depart(raw.cookie, path, child, home);
    }

    fn arrive(&mut self, directory: NodeId, raw: &Raw<'_>, path: RelPath, is_directory: bool) -> Result<(), Stop> {
        self.outbox.forget();
        let departed = self.pairing.arrive(raw.cookie);
        if self.filter.excludes_here(&path, is_directory) {
            self.tree.veil(directory, is_directory);
            return departed.map_or(Ok(()), |adrift| self.lose(adrift));
        }
        let event = match is_directory {
            true => Event::Changed { path, pace: Pace::Moved },
            false => self.appearance(path, Pace::Settled),
        };
        self.outbox.send(event)?;
        let mut known = None;
        if let Some(mut adrift) = departed {
            if let Some(old) = adrift.old_path.take() {
                self.outbox.changed(old, Pace::Settled)?;
            }
            known = adrift.directory.filter(|id| self.is_adrift(*id)).map(|id| (id, adrift));
        }
        match known {
            _ if !is_directory => Ok(()),
            None => self.appear(directory, raw.name, Pace::Settled),
            Some((known, adrift)) => self.resettle(directory, raw.name, known, adrift),
        }
    }

    /// A directory stands at a place where none was expected: look, watch, list, and send all of it.
    fn appear(&mut self, parent: NodeId, name: &[u8], pace: Pace) -> Result<(), Stop> {
        let Some(handle) = self.open(parent) else {
            self.revisit.push((Job::newcomers(parent), 0));
            return Ok(());
        };
        let found = look(&self.kernel, &handle, name, self.root.device());
        drop(handle);
        self.found(parent, name, found, pace)
    }

    fn found(&mut self, parent: NodeId, name: &[u8], found: Look, pace: Pace) -> Result<(), Stop> {
        let mut jobs = Vec::new();
        let cause = Job { report: Some(pace), newcomers: Some(pace), ..Job::newcomers(parent) };
        self.enter(parent, name, found, &cause, &mut jobs)?;
        jobs.into_iter().try_for_each(|job| self.walk(job))
    }

    /// A known directory arrives at a new place: it takes all below along, unless a look shows another one there.
    fn resettle(&mut self, parent: NodeId, name: &[u8], known: NodeId, adrift: Adrift) -> Result<(), Stop> {
        let found = match self.open(parent) {
            Some(handle) => look(&self.kernel, &handle, name, self.root.device()),
            None => {
                self.revisit.push((Job::newcomers(parent), 0));
                Look::Absent
            }
        };
        let (had, sees) = (self.tree.wd(known), if let Look::Directory { wd, .. } = &found { Some(*wd) } else { None });
        if had.is_some() && sees.is_some() && had != sees {
            self.pairing.displace(known, adrift.home, adrift.disturbed);
            return self.found(parent, name, found, Pace::Settled);
        }
        if sees.is_none() {
            // Of an exchange the kernel tells one half behind the other, though both were made at once: who left by the second
            // half may be who came by the first, and still be there.
            self.doubtful.push(adrift.home);
        }
        self.put(known, &Place { parent, name: name.into() }, adrift.disturbed)?;
        if had.is_none() || sees.is_none() {
            self.found(parent, name, found, Pace::Settled)?;
        }
        Ok(())
    }

    /// Attaches a directory that was adrift.
    pub(crate) fn put(&mut self, directory: NodeId, place: &Place, disturbed: bool) -> Result<(), Stop> {
        self.vacate(place.parent, &place.name);
        self.tree.attach(directory, place.parent, &place.name);
        self.refilter(directory);
        if disturbed && let Some(path) = self.path_of(directory, b"") {
            self.walk(Job { newcomers: Some(Pace::Writing), ..Job::structure(directory) })?;
            self.outbox.rescan(path, RescanReason::Moved)?;
        }
        Ok(())
    }

    /// It left the tree, or went where nobody looks.
    pub(crate) fn lose(&mut self, adrift: Adrift) -> Result<(), Stop> {
        if let Some(directory) = adrift.directory.filter(|id| self.is_adrift(*id)) {
            self.remove(directory);
        }
        match adrift.old_path {
            Some(old) => self.outbox.changed(old, Pace::Gone),
            None => Ok(()),
        }
    }

    pub(crate) fn is_adrift(&self, directory: NodeId) -> bool {
        self.tree.is_live(directory) && directory != self.tree.root() && self.tree.parent(directory).is_none()
    }

    /// Patterns may name places: below a directory that was renamed, others may be excluded than before. What is excluded
    /// is dropped; what may not be excluded any more is looked for. This goes through memory only.
    fn refilter(&mut self, directory: NodeId) {
        let mut pending = vec![directory];
        while let Some(at) = pending.pop() {
            if self.tree.is_veiled(at) {
                self.revisit.push((Job::newcomers(at), 0));
            }
            for child in self.tree.children(at) {
                if self.path_of(child, b"").is_none_or(|path| self.filter.excludes_here(&path, true)) {
                    self.tree.veil(at, true);
                    self.remove(child);
                } else {
                    pending.push(child);
                }
            }
        }
    }
}
