//! What does not look the same is looked at again, on both sides, after growing pauses, until it is the same, or certain, or
//! has kept changing too long.
//!
//! A difference is certain when both sides held still while they were read, and have been as they are for [`STILL`]: because
//! nothing on the way to the path was changed since, by that side's clock, or because two looks that long apart saw the same.
//! What is not there is judged by the directory it is not in. So what a `follow` is about to repair is waited for.

use super::inspection::Visit;
use super::verdict::Finding;
use super::{PAUSES_MS, STILL};
use crate::{Error, Result};
use fulmar_model::{Difference, Kind, Look, Node, RelPath, Side, Sighting, Tally, Unread, Value, differences};
use fulmar_tree::audit::Looker;
use fulmar_wire::LOOKS_MAX;
use std::time::{Duration, Instant};

/// A path that does not look the same.
pub(super) struct Suspect {
    pub(super) path: RelPath,
    pub(super) read: Read,
    /// Of a directory on one side, what is in it.
    tally: Option<Tally>,
    /// What becomes of it when it turns out to be a directory on both sides.
    then: Then,
    began: Instant,
    pub(super) held: Option<Held>,
}

/// Whether the content of a file is read again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// It was not the same, or was not compared.
    Always,
    /// Both listings had the same.
    IfTouched,
    /// A side cannot.
    Never,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// What is in it was or will be compared.
    Nothing,
    /// It was on one side when it was listed.
    Descend,
    /// It could not be listed.
    Busy,
}

impl Suspect {
    /// It was listed on one side only.
    pub(super) fn one_sided(path: RelPath, tally: Option<Tally>) -> Self {
        Self { path, read: Read::IfTouched, tally, then: Then::Descend, began: Instant::now(), held: None }
    }

    /// It was listed on both sides.
    pub(super) fn both_sided(path: RelPath, read: Read) -> Self {
        Self { path, read, tally: None, then: Then::Nothing, began: Instant::now(), held: None }
    }

    /// A directory that a side could not list, though it could before.
    pub(super) fn lost(path: RelPath) -> Self {
        Self { path, read: Read::IfTouched, tally: None, then: Then::Busy, began: Instant::now(), held: None }
    }
}

/// Since when both sides look as they do.
pub(super) struct Held {
    pub(super) source: Look,
    pub(super) replica: Look,
    since: Instant,
}

/// What a pair of looks says.
enum Judged {
    Equal,
    /// Nothing, because a side cannot be read.
    Unreadable(Vec<(Side, i32)>),
    Certain(Vec<Difference>),
    Open,
}

impl Visit {
    /// Until every suspect is the same, certain or busy.
    pub(super) async fn settle(&mut self) -> Result<()> {
        let mut left = std::mem::take(&mut self.suspects);
        for pause in PAUSES_MS {
            if left.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let (mut open, mut certain) = (Vec::new(), Vec::new());
            while !left.is_empty() {
                let rest = left.split_off(left.len().min(LOOKS_MAX));
                let some = std::mem::replace(&mut left, rest);
                let asked = some.iter().map(|suspect| (suspect.path.clone(), suspect.read == Read::Always)).collect();
                for (mut suspect, (source, replica)) in some.into_iter().zip(self.look(asked).await?) {
                    match suspect.judge(source, replica) {
                        Judged::Open => open.push(suspect),
                        Judged::Certain(differences) => certain.push((suspect, differences)),
                        judged => self.judged(suspect, judged).await?,
                    }
                }
            }
            open.extend(self.blame(certain).await?);
            left = open;
        }
        for suspect in left {
            self.give_up(suspect.path).await?;
        }
        Ok(())
    }

    async fn judged(&mut self, suspect: Suspect, judged: Judged) -> Result<()> {
        if let Judged::Unreadable(sides) = judged {
            for (side, errno) in sides {
                self.unlisted(side, &suspect.path, errno).await?;
            }
        }
        self.go_on(suspect).await
    }

    /// With what is in it, where it is a directory on both sides by now.
    pub(super) async fn go_on(&mut self, suspect: Suspect) -> Result<()> {
        let held = suspect.held.as_ref();
        let directories = held.is_some_and(|held| is_directory(&held.source) && is_directory(&held.replica));
        match suspect.then {
            Then::Descend if directories => self.descend_into(suspect.path),
            Then::Busy if directories => self.busy(suspect.path).await?,
            _ => {}
        }
        Ok(())
    }

    /// What is at some paths on both sides, looked at together; [`LOOKS_MAX`] of them at most.
    pub(super) async fn look(&mut self, paths: Vec<(RelPath, bool)>) -> Result<Vec<(Look, Look)>> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let (question, count) = (self.far.ask_looks(paths.clone()).await?, paths.len());
        let (source, meter) = (self.source.clone(), self.meter.clone());
        let ours = tokio::task::spawn_blocking(move || {
            let mut looker = Looker::new(source.tree(), source.how(), &meter);
            paths.iter().map(|(path, content)| looker.look(path, *content)).collect::<Vec<_>>()
        });
        let mut theirs = Vec::with_capacity(count);
        for _ in 0..count {
            theirs.push(self.far.look(question).await?);
        }
        let ours = ours.await.map_err(|_| Error::Gone)?;
        Ok(ours.into_iter().zip(theirs).collect())
    }

    /// A path that could not be read though its directory was.
    pub(super) async fn unlisted(&mut self, side: Side, path: &RelPath, errno: i32) -> Result<()> {
        // ENOENT, ENXIO, ENOTDIR, ELOOP, ESTALE: it is gone, and a look says so.
        let gone = [2, 6, 20, 40, 116].contains(&errno);
        let told = self.scope().tells(path) || self.scope().has(path);
        if gone || !told || !self.unread.insert((side, path.clone())) {
            return Ok(());
        }
        let coverage = match side {
            Side::Source => &mut self.verdict.source,
            Side::Replica => &mut self.verdict.replica,
        };
        coverage.unread = coverage.unread.saturating_add(1);
        self.send(Finding::Unreadable { side, unread: Unread { path: path.clone(), errno } }).await
    }

    pub(super) async fn busy(&mut self, path: RelPath) -> Result<()> {
        self.tell(Finding::Busy(path)).await
    }
}

pub(super) fn is_directory(look: &Look) -> bool {
    matches!(&look.what, Sighting::There { entry, .. } if entry.node.kind() == Kind::Directory)
}

fn is_file(look: &Look) -> bool {
    matches!(&look.what, Sighting::There { entry, .. } if matches!(entry.node, Node::File { .. }))
}

/// Since when a side is as it is, as far as is known.
pub(super) fn still(look: &Look, watched: Duration) -> bool {
    look.steady && watched.max(Duration::from_millis(look.age_ms)) >= STILL
}

impl Suspect {
    fn judge(&mut self, source: Look, replica: Look) -> Judged {
        let errno = |look: &Look| match look.what {
            Sighting::Unreadable { errno } => Some(errno),
            _ => None,
        };
        let sides = [(Side::Source, errno(&source)), (Side::Replica, errno(&replica))];
        let unreadable: Vec<_> = sides.into_iter().filter_map(|(side, errno)| Some((side, errno?))).collect();
        if !unreadable.is_empty() {
            return Judged::Unreadable(unreadable);
        }
        let now = Instant::now();
        let same = |held: &Held| same(&held.source, &source) && same(&held.replica, &replica);
        let since = self.held.as_ref().filter(|held| same(held)).map_or(now, |held| held.since);
        let mut differences = differences(&self.path, &source.what, &replica.what);
        let untouched =
            |look: &Look| Duration::from_millis(look.age_ms) > self.began.elapsed() + Duration::from_secs(1);
        let known = match self.read {
            Read::Always | Read::Never => true,
            // Nobody was there since both listings had the same content.
            Read::IfTouched => {
                let listed = self.then == Then::Nothing && untouched(&source) && untouched(&replica);
                listed || !(is_file(&source) && is_file(&replica))
            }
        };
        let certain = still(&source, now - since) && still(&replica, now - since);
        self.held = Some(Held { source, replica, since });
        if !known {
            self.read = Read::Always;
            return Judged::Open;
        }
        if differences.is_empty() {
            return Judged::Equal;
        }
        if !certain {
            return Judged::Open;
        }
        for difference in &mut differences {
            for value in [&mut difference.source, &mut difference.replica] {
                if let Value::Entry { kind: Kind::Directory, below, .. } = value {
                    *below = self.tally;
                }
            }
        }
        Judged::Certain(differences)
    }
}

/// Whether nothing has moved between two looks.
pub(super) fn same(before: &Look, now: &Look) -> bool {
    before.version == now.version
        && before.steady
        && matches!(before.what, Sighting::Absent) == matches!(now.what, Sighting::Absent)
}
