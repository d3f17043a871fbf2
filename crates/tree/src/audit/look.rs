//! One path, read again: what is there, whether it held still, and since when.

use super::content::Eye;
use super::describe::{Described, Read};
use super::kept::version;
use super::settings::{Auditing, Meter};
use super::standing::recorded;
use crate::{Clock, Result, Tree};
use fulmar_model::{Entry, Kind, LinkGroup, Look, RelPath, Sighting, Timestamp, Xattrs};
use rustix::fs::FileType;

/// Attributes of more bytes than this are not told.
const XATTRS_TOLD_BYTES_MAX: usize = 256 * 1024;

/// Looks at paths of a tree, one after the other.
pub struct Looker<'a> {
    tree: &'a Tree,
    eye: Eye<'a>,
}

impl<'a> Looker<'a> {
    /// Opens nothing but the records there may be.
    pub fn new(tree: &'a Tree, how: &'a Auditing, meter: &'a Meter) -> Self {
        Self { tree, eye: Eye::new(how, meter) }
    }

    /// Looks at a path; `content`: a file is read, whatever is recorded of it. Failures are sightings, too.
    pub fn look(&mut self, path: &RelPath, content: bool) -> Look {
        let read = if content { Read::Content } else { Read::Metadata };
        // First: what is recorded later is not what was found.
        let record = self.eye.recall_one(path);
        let seen = see(self.tree, path, read, &mut self.eye);
        let recorded = match &seen {
            Ok(found) if self.eye.recalls() => Some(recorded(found.as_ref(), record, Clock::coarse_now())),
            _ => None,
        };
        let (what, steady, version, changed) = match seen {
            Ok(Some(found)) => {
                let (steady, version, changed) = (found.steady, version(&found.stat), Some(found.stat.ctime));
                (sighting(found), steady, version, changed)
            }
            Ok(None) => (Sighting::Absent, true, 0, None),
            Err(errno) => (Sighting::Unreadable { errno }, true, 0, None),
        };
        let last = changed.into_iter().chain(above(self.tree, path)).max();
        let now = Clock::coarse_now();
        // A time to come counts as now.
        let age_ms = last.map_or(0, |last| now.as_millis().saturating_sub(last.as_millis()).max(0).unsigned_abs());
        Look { what, steady, version, age_ms, recorded }
    }
}

/// Number of the error when it cannot be looked at.
fn see(tree: &Tree, path: &RelPath, read: Read, eye: &mut Eye<'_>) -> std::result::Result<Option<Described>, i32> {
    let gone = |error: crate::Error| if error.is_gone() { Ok(None) } else { Err(error.errno()) };
    let Some((parent, name)) = path.split() else {
        return eye.describe_self(tree.root()).map(Some).map_err(rustix::io::Errno::raw_os_error);
    };
    match tree.dir(&parent) {
        Ok(dir) => {
            let found = eye.describe(&dir, &name, FileType::Unknown, read);
            found.map_err(rustix::io::Errno::raw_os_error)
        }
        Err(error) => gone(error),
    }
}

fn sighting(found: Described) -> Sighting {
    let Described { stat, entry, xattrs, unread, .. } = found;
    if let Some(errno) = unread {
        return Sighting::Unreadable { errno: errno.raw_os_error() };
    }
    let linked = stat.links > 1 && stat.kind != Kind::Directory;
    let entry = Entry { group: linked.then_some(LinkGroup(stat.inode)), ..entry };
    let told = xattrs.bytes() <= XATTRS_TOLD_BYTES_MAX;
    Sighting::There { entry, xattrs: told.then_some(xattrs).filter(few) }
}

/// So that what is told fits into a message.
fn few(xattrs: &Xattrs) -> bool {
    xattrs.iter().count() <= 4096
}

/// When the directories above were last changed: whatever came or went in them is at least as old.
fn above(tree: &Tree, path: &RelPath) -> impl Iterator<Item = Timestamp> {
    let stats: Vec<Result<_>> = path.ancestors().iter().map(|above| tree.stat(above)).collect();
    stats.into_iter().filter_map(|stat| Some(stat.ok()??.ctime))
}
