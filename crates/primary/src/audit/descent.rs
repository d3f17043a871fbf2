//! From the root down: directories whose digests differ are listed on both sides, and what does not look the same becomes a
//! suspect. Some directories are asked for ahead, so that a slow link is not waited for at each.

use super::SUSPECTS_MAX;
use super::inspection::Visit;
use super::suspects::{Read, Suspect};
use super::verdict::Finding;
use crate::{Error, Result};
use fulmar_model::{Below, Found, Kind, Node, RelPath, Side, Sighting, differences};
use fulmar_tree::Part;
use std::cmp::Ordering;
use std::collections::VecDeque;
use tokio::task::JoinHandle;

/// Listings that are asked for and not answered; half of what a replica lets wait.
const LISTINGS: usize = 8;
/// A directory, or a part of one, to be listed.
pub(super) struct Descend {
    pub(super) path: RelPath,
    part: Part,
}

/// Parts of a directory that are gone through; no file system has so many names in one.
const PARTS_MAX: u32 = 65_536;

type Listed = std::result::Result<Vec<Found>, fulmar_tree::Error>;

/// A listing under way.
struct Asked {
    descend: Descend,
    question: u32,
    ours: JoinHandle<Listed>,
}

impl Visit {
    /// Until nothing is left to list or to be certain of.
    pub(super) async fn descend(&mut self) -> Result<()> {
        let mut asked = VecDeque::new();
        loop {
            while asked.len() < LISTINGS && self.suspects.len() < SUSPECTS_MAX {
                let Some(descend) = self.stack.pop() else { break };
                if let Some(part) = descend.part.next() {
                    self.stack.push(Descend { path: descend.path.clone(), part });
                }
                asked.push_back(self.ask(descend).await?);
            }
            match asked.pop_front() {
                Some(first) => self.answered(first).await?,
                None if self.suspects.is_empty() && self.repairs.is_empty() => return Ok(()),
                None if self.suspects.is_empty() => self.repair().await?,
                None => self.settle().await?,
            }
        }
    }

    async fn ask(&mut self, descend: Descend) -> Result<Asked> {
        let question = self.far.ask_list(&descend.path, descend.part).await?;
        let (source, meter) = (self.source.clone(), self.meter.clone());
        let (path, part) = (descend.path.clone(), descend.part);
        let ours = tokio::task::spawn_blocking(move || source.list(&path, part, &meter));
        Ok(Asked { descend, question, ours })
    }

    async fn answered(&mut self, asked: Asked) -> Result<()> {
        let theirs = self.far.list(asked.question).await?;
        let ours = asked.ours.await.map_err(|_| Error::Gone)?;
        if self.meter.is_stopped() {
            return Err(Error::Gone);
        }
        let path = asked.descend.path;
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => {
                self.merge(&path, ours, theirs);
                for (path, tally) in std::mem::take(&mut self.further) {
                    self.send(Finding::Further { path, tally }).await?;
                }
                Ok(())
            }
            // Whichever side has lost it, or cannot read it any more, a look at it says so.
            (ours, theirs) => {
                for (side, errno) in
                    [(Side::Source, ours.err().map(|error| error.errno())), (Side::Replica, theirs.err())]
                {
                    if let Some(errno) = errno {
                        self.unlisted(side, &path, errno).await?;
                    }
                }
                if self.scope().tells(&path) {
                    self.suspects.push(Suspect::lost(path));
                }
                Ok(())
            }
        }
    }

    /// Both sorted by names.
    fn merge(&mut self, directory: &RelPath, ours: Vec<Found>, theirs: Vec<Found>) {
        let (mut ours, mut theirs) = (ours.into_iter().peekable(), theirs.into_iter().peekable());
        loop {
            let order = match (ours.peek(), theirs.peek()) {
                (Some(here), Some(there)) => here.name.cmp(&there.name),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return,
            };
            let here = if order == Ordering::Greater { None } else { ours.next() };
            let there = if order == Ordering::Less { None } else { theirs.next() };
            match (here, there) {
                (Some(here), Some(there)) => self.both(directory, &here, &there),
                (Some(one), None) => self.one(directory, &one),
                // What mkfs leaves in the root of a file system is nobody's.
                (None, Some(one)) if directory.is_root() && one.name.as_bytes() == b"lost+found" => {}
                (None, Some(one)) => self.one(directory, &one),
                (None, None) => return,
            }
        }
    }

    fn one(&mut self, directory: &RelPath, found: &Found) {
        let tally = found.below.map(|below| below.tally);
        // One that only leads to the range is told with the directory it is in.
        if !self.scope().has(directory) {
            self.further.extend(tally.map(|tally| (directory.join(&found.name), tally)));
            return;
        }
        self.suspects.push(Suspect::one_sided(directory.join(&found.name), tally));
    }

    fn both(&mut self, directory: &RelPath, here: &Found, there: &Found) {
        if here == there {
            return;
        }
        let path = directory.join(&here.name);
        let seen = |found: &Found| Sighting::There { entry: found.entry.clone(), xattrs: None };
        if !differences(&path, &seen(here), &seen(there)).is_empty() {
            self.suspects.push(Suspect::both_sided(path.clone(), read(&here.entry.node, &there.entry.node)));
        }
        if here.entry.node.kind() == Kind::Directory
            && let (Some(ours), Some(theirs)) = (here.below, there.below)
        {
            self.compare(&path, ours, theirs);
        }
    }

    /// Goes into a directory if there is something to be found.
    pub(super) fn compare(&mut self, path: &RelPath, ours: Below, theirs: Below) {
        let parts = Part::number_for(ours.names.max(theirs.names)).min(PARTS_MAX);
        if let Some(part) = Part::new(0, parts).filter(|_| ours.digest != theirs.digest) {
            self.stack.push(Descend { path: path.clone(), part });
        }
    }

    /// Goes into a directory that was on one side only a moment ago. What is found one-sided in it is further down, so
    /// this comes to an end.
    pub(super) fn descend_into(&mut self, path: RelPath) {
        self.stack.push(Descend { path, part: Part::WHOLE });
    }
}

/// Whether content is to be read again.
fn read(source: &Node, replica: &Node) -> Read {
    match (source, replica) {
        // That is told by itself.
        (Node::File { hash: None, .. }, _) | (_, Node::File { hash: None, .. }) => Read::Never,
        (Node::File { hash: ours, .. }, Node::File { hash: theirs, .. }) if ours != theirs => Read::Always,
        _ => Read::IfTouched,
    }
}
