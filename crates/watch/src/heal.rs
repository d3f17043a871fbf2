//! What time does: departures that never arrived, listings that could not be made, polled subtrees, overflows.

use crate::RescanReason;
use crate::degrade::cover;
use crate::look::{Look, look};
use crate::lookout::Lookout;
use crate::outbox::Stop;
use crate::pairing::{Adrift, Place};
use crate::tree::NodeId;
use crate::walk::Job;
use std::time::Instant;

/// Attempts to reach a directory by its path before its subtree is polled; between two of them the queue was empty.
const REVISITS_MAX: u32 = 3;

impl Lookout {
    /// Whether something waits for the queue to be empty once more.
    pub(crate) fn is_unsettled(&self) -> bool {
        !(self.pairing.is_empty() && self.revisit.is_empty() && self.doubtful.is_empty())
    }

    /// The queue was seen empty.
    pub(crate) fn tick(&mut self, now: Instant) -> Result<(), Stop> {
        self.look_again()?;
        let due = self.pairing.tick();
        self.settle(due)?;
        self.visit_again()?;
        self.announce()?;
        self.on_time(now)?;
        self.publish();
        Ok(())
    }

    /// Answers an overflow, whatever the time.
    pub(crate) fn repair_at_once(&mut self, now: Instant) -> Result<(), Stop> {
        if self.overflow.is_pending() { self.repair(now) } else { Ok(()) }
    }

    /// Says all that is known to be missing, whatever the time: the end of a flush.
    pub(crate) fn complete(&mut self, now: Instant) -> Result<(), Stop> {
        self.repair_at_once(now)?;
        self.announce()?;
        self.round(now)
    }

    /// When something is due without an event.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let round = (self.remote || self.polled.len() > 0 || !self.foreign.is_empty()).then(|| self.polled.round_due());
        [self.overflow.due(now), round, self.polled.retry_due()].into_iter().flatten().min()
    }

    fn on_time(&mut self, now: Instant) -> Result<(), Stop> {
        if self.overflow.due(now).is_some_and(|due| due <= now) {
            self.repair(now)?;
        }
        if self.polled.retry_due().is_some_and(|due| due <= now) {
            self.retry(now)?;
        }
        if self.polled.round_due() <= now {
            self.round(now)?;
        }
        Ok(())
    }

    /// Some have not arrived. Those that stand where they were seen last go back, the others are gone.
    fn settle(&mut self, mut adrift: Vec<Adrift>) -> Result<(), Stop> {
        loop {
            let waiting = adrift.len();
            let mut lost = Vec::new();
            for adrift in adrift {
                match adrift.directory.filter(|id| self.is_adrift(*id) && self.stands_at_home(*id, &adrift)) {
                    Some(directory) => {
                        self.put(directory, &adrift.home, adrift.disturbed)?;
                        self.lose(Adrift { directory: None, ..adrift })?;
                    }
                    None => lost.push(adrift),
                }
            }
            adrift = lost;
            // One that went back may be the home of another.
            if adrift.len() == waiting || adrift.is_empty() {
                break;
            }
        }
        adrift.into_iter().try_for_each(|adrift| self.lose(adrift))
    }

    fn stands_at_home(&mut self, directory: NodeId, adrift: &Adrift) -> bool {
        let home = &adrift.home;
        if !self.tree.is_live(home.parent) || self.tree.top(home.parent) != self.tree.root() {
            return false;
        }
        let Some(handle) = self.open(home.parent) else { return false };
        let Look::Directory { wd, .. } = look(&self.kernel, &handle, &home.name, self.root.device()) else {
            return false;
        };
        if self.tree.by_wd(wd).is_none() {
            // Somebody new, of whom an event will tell; the watch stays for it.
            self.revisit.push((Job::newcomers(home.parent), 0));
            if self.kernel.unwatch(wd).is_ok() {
                self.retired.insert(wd);
            }
        }
        self.tree.wd(directory) == Some(wd)
    }

    fn look_again(&mut self) -> Result<(), Stop> {
        for place in std::mem::take(&mut self.doubtful) {
            if self.tree.is_live(place.parent) && self.tree.top(place.parent) == self.tree.root() {
                self.look_at(&place, false)?;
            }
        }
        Ok(())
    }

    /// Brings a place in line with what stands there, and with `deep` all below. False if the place could not be reached.
    fn look_at(&mut self, place: &Place, deep: bool) -> Result<bool, Stop> {
        let Some(handle) = self.open(place.parent) else {
            self.revisit.push((Job::newcomers(place.parent), 0));
            return Ok(false);
        };
        let found = look(&self.kernel, &handle, &place.name, self.root.device());
        drop(handle);
        if matches!(found, Look::Absent | Look::Foreign) {
            self.vacate(place.parent, &place.name);
        }
        let mut jobs = Vec::new();
        self.enter(place.parent, &place.name, found, &Job { deep, ..Job::newcomers(place.parent) }, &mut jobs)?;
        jobs.into_iter().try_for_each(|job| self.walk(job))?;
        Ok(true)
    }

    fn visit_again(&mut self) -> Result<(), Stop> {
        for (job, attempts) in std::mem::take(&mut self.revisit) {
            if !self.tree.is_live(job.node) {
                continue;
            }
            let known = self.revisit.len();
            let node = job.node;
            self.walk(job)?;
            // The walk puts what it could not reach back.
            for (again, count) in self.revisit.iter_mut().skip(known) {
                if again.node == node {
                    *count = attempts + 1;
                }
            }
        }
        let (hopeless, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.revisit).into_iter().partition(|(_, attempts)| *attempts >= REVISITS_MAX);
        self.revisit = waiting;
        hopeless.into_iter().try_for_each(|(job, _)| self.question(job.node))
    }

    /// A directory is not at its path, and no event says where it is: asks its parent.
    fn question(&mut self, directory: NodeId) -> Result<(), Stop> {
        if !self.tree.is_live(directory) {
            return Ok(());
        }
        let Some(parent) = self.tree.parent(directory) else {
            // The root (its path is checked elsewhere), or adrift.
            return Ok(());
        };
        let name = self.tree.name(directory).into();
        if !self.look_at(&Place { parent, name }, true)? {
            self.poll(directory, RescanReason::Unreadable);
        }
        Ok(())
    }

    /// Tells of subtrees that are polled from here on.
    fn announce(&mut self) -> Result<(), Stop> {
        let fresh = self.polled.take_unannounced();
        for directory in cover(&self.tree, fresh) {
            // One that covers several has no reason of its own.
            let reason = self.polled.reason(directory).unwrap_or(RescanReason::Poll);
            self.rescan(directory, reason)?;
        }
        Ok(())
    }

    /// One poll of everything that is polled.
    fn round(&mut self, now: Instant) -> Result<(), Stop> {
        self.polled.round_done(now);
        self.doubtful.extend(self.foreign.drain());
        let mut all = self.polled.all();
        if self.remote {
            all.push(self.tree.root());
        }
        for directory in cover(&self.tree, all) {
            let whole = self.remote && directory == self.tree.root();
            self.rescan(directory, if whole { RescanReason::Remote } else { RescanReason::Poll })?;
        }
        Ok(())
    }

    fn rescan(&mut self, directory: NodeId, reason: RescanReason) -> Result<(), Stop> {
        match self.path_of(directory, b"") {
            Some(path) => self.outbox.rescan(path, reason),
            None => Ok(()),
        }
    }

    /// Tries to watch what is polled.
    fn retry(&mut self, now: Instant) -> Result<(), Stop> {
        let mut healed = false;
        let mut exhausted = false;
        for directory in self.polled.all() {
            let reason = self.polled.reason(directory);
            if reason.is_none() || (exhausted && reason == Some(RescanReason::WatchLimit)) {
                continue;
            }
            let cured = self.retry_one(directory)?;
            healed |= cured;
            exhausted |= !cured && reason == Some(RescanReason::WatchLimit);
        }
        self.polled.retried(now, healed);
        self.announce()
    }

    /// Whether the directory is watched now, or gone.
    fn retry_one(&mut self, directory: NodeId) -> Result<bool, Stop> {
        let Some(path) = self.path_of(directory, b"") else { return Ok(false) };
        let Some(parent) = self.tree.parent(directory) else {
            // The root: opening watches it.
            if self.open(directory).is_none() {
                return Ok(false);
            }
            self.polled.remove(directory);
            self.walk(Job::structure(directory))?;
            self.outbox.rescan(path, RescanReason::Healed)?;
            return Ok(true);
        };
        let Some(handle) = self.open(parent) else { return Ok(false) };
        let name: Box<[u8]> = self.tree.name(directory).into();
        let found = look(&self.kernel, &handle, &name, self.root.device());
        drop(handle);
        match &found {
            Look::Refused(_) => return Ok(false),
            Look::Absent | Look::Foreign => self.remove(directory),
            Look::Directory { .. } => {
                let mut jobs = Vec::new();
                self.enter(parent, &name, found, &Job::structure(parent), &mut jobs)?;
                if self.polled.reason(directory).is_some() {
                    return Ok(false);
                }
                jobs.into_iter().try_for_each(|job| self.walk(job))?;
            }
        }
        self.outbox.rescan(path, RescanReason::Healed)?;
        Ok(true)
    }

    /// Events were lost: brings the tree in line with the file system, then says that everything may differ.
    fn repair(&mut self, now: Instant) -> Result<(), Stop> {
        self.overflow.answer(now);
        // The other halves may be among the lost.
        let adrift = self.pairing.give_up();
        self.settle(adrift)?;
        // IGNORED may be among them, too; numbers come back only after 2^31 others.
        self.retired.clear();
        self.walk(Job::structure(self.tree.root()))?;
        let adrift = self.pairing.give_up();
        self.settle(adrift)?;
        self.announce()?;
        self.rescan(self.tree.root(), RescanReason::Overflow)
    }
}
