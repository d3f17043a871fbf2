//! A comparison under way: of a whole tree what both sides have in sum (`survey`), pages that wait for an answer, then the
//! paths only the replica has.

use super::flight::{GONE, Landed, Left};
use super::survey::Survey;
use super::visit::{ASKED_MAX, Visit};
use crate::listing::{Listed, Lister};
use crate::plan::Have;
use crate::planner::Planner;
use crate::status::ReplicaState;
use crate::{Error, Result};
use fulmar_link::Lane;
use fulmar_model::{HeldReason, Kind, Name, RelPath};
use fulmar_store::Work;
use fulmar_wire::{FromPrimary, Page, Want};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tokio::sync::mpsc::{self, Receiver};

/// Pages the replica has not answered, at most. Both sides count on it (docs/protocol.md).
pub(super) const PAGES_MAX: usize = 8;

/// Its state.
pub(super) struct Comparing {
    pub(super) subtree: RelPath,
    /// Since when it is known to be needed, in milliseconds since 1970.
    pub(super) since_ms: i64,
    /// What it finds to be gone waits for the work at this path.
    pub(super) after: Option<RelPath>,
    pub(super) pages: Receiver<Listed>,
    /// By number.
    pub(super) unanswered: HashMap<u32, Unanswered>,
    /// Directories that neither side knows, and that wait for their own page: planned right before what is in them, they come in one
    /// batch with it, and are built whole there. Whoever has a change in them meanwhile plans the way to it. At most [`ASKED_MAX`].
    pub(super) missing: BTreeSet<RelPath>,
    pub(super) stage: Stage,
    /// While it lasts.
    pub(super) survey: Option<Survey>,
    /// Whether it must be made again: the directory was found missing after it was passed.
    pub(super) again: bool,
    /// What is left to do when the subtree itself cannot be read.
    pub(super) left: Option<Left>,
}

/// A page that the replica has not answered.
pub(super) struct Unanswered {
    directory: RelPath,
    names: Vec<(Name, Kind)>,
    /// Names that are planned whatever the answer is, in order.
    unknown: Vec<u32>,
}

impl Comparing {
    /// Whether pages are on their way, or answers to them.
    pub(super) fn is_listing(&self) -> bool {
        self.stage == Stage::Listing || !self.unanswered.is_empty()
    }

    /// A batch was answered. The row of the subtree itself is the comparison's until that is over.
    pub(super) fn landed(&mut self, landed: &Landed) {
        let unread = self.left.as_ref().is_some_and(|left| is_unreadable(left.work));
        if !unread && landed.applied.contains(&self.subtree) {
            // What is in it was refused before, perhaps.
            self.again |= self.left.take().is_some();
        }
        for row in landed.left.iter().filter(|row| row.path == self.subtree) {
            match row.work {
                Work::Held { .. } if !unread => self.left = Some(Left::new(row.work, row.retry_ms)),
                // Found missing again after it was passed: once more from the start, unless it cannot be made.
                Work::Compare => self.again |= self.left.is_none(),
                // Gone, and perhaps there again by the end.
                Work::Gone { .. } => self.again = true,
                _ => {}
            }
        }
    }
}

/// How far it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Both sides go through what they have.
    Surveying,
    /// Pages are being sent.
    Listing,
    /// All pages were sent; what was asked for is being shipped.
    Settling,
    /// The replica was asked how many paths it has in addition.
    Counting,
    /// Their first pages are asked for, until the guard can be told how many are to be removed: `count`, without what is
    /// excluded so far.
    Sifting { count: u64, kept: Vec<RelPath> },
    /// The page of such paths behind `after` was asked for.
    Extras,
    /// A page of them is being shipped; then the one behind this path.
    Removing { last: RelPath },
    /// Nothing is left.
    Over,
}

impl Visit<'_> {
    pub(super) fn wants_page(&self) -> bool {
        let wants = |comparing: &Comparing| match comparing.stage {
            Stage::Surveying => true,
            Stage::Listing => comparing.unanswered.len() < PAGES_MAX,
            _ => false,
        };
        self.asked.len() < ASKED_MAX && self.comparing.as_ref().is_some_and(wants)
    }

    pub(super) async fn begin_comparison(
        &mut self,
        subtree: RelPath,
        since_ms: i64,
        after: Option<RelPath>,
    ) -> Result<()> {
        let catalog = self.session.planner.ask(|planner| planner.catalog.reader()).await??;
        let (pages_in, pages) = mpsc::channel(PAGES_MAX);
        // Below a single directory the listing is as quick as the question whether it is needed.
        let surveys = subtree.is_root() && self.session.would.is_none();
        let (survey, choices) = surveys.then(|| mpsc::channel(1)).map(|(way, end)| (Survey::new(way), end)).unzip();
        let lister = Lister {
            tree: self.tree.clone(),
            filter: self.session.filter.clone(),
            subtree: subtree.clone(),
            owners: self.owners,
            choices,
            pages: pages_in,
        };
        let body = move || {
            if let Err(error) = lister.run(catalog) {
                tracing::warn!(error = %crate::error::chain(&error), "the listing was cut short");
            }
        };
        std::thread::Builder::new().name("fulmar-list".to_owned()).spawn(body).map_err(|_| Error::Gone)?;
        // The way there first, then what is below. A dry run tells what is below only: the way is there, or is made.
        if self.session.would.is_none() {
            self.asked.extend(subtree.ancestors().into_iter().map(|above| (above, Have::Unknown)));
            self.asked.push_back((subtree.clone(), Have::Unknown));
        }
        if surveys {
            let subtree = subtree.clone();
            self.sender.send(Lane::Urgent, FromPrimary::Survey { subtree }.encode()?).await?;
        }
        let stage = if surveys { Stage::Surveying } else { Stage::Listing };
        let (unanswered, again, left) = (HashMap::new(), false, None);
        let missing = BTreeSet::new();
        self.comparing =
            Some(Comparing { subtree, since_ms, after, pages, unanswered, missing, stage, survey, again, left });
        self.session.pulse.send_modify(|pulse| {
            pulse.state = ReplicaState::Comparing;
            (pulse.listed, pulse.listing_ended) = (0, false);
        });
        Ok(())
    }

    pub(super) async fn listed(&mut self, listed: Listed) -> Result<()> {
        let Some(comparing) = self.comparing.as_mut() else { return Ok(()) };
        match listed {
            Listed::Survey(ours) => return self.surveyed_here(ours).await,
            Listed::Page { directory, part, more, entries, mut unknown } => {
                // What a dry run finds equal it does not tell of.
                if self.session.would.is_some() {
                    unknown.clear();
                }
                let (page, count) = (self.next_page, entries.len() as u64);
                self.next_page = self.next_page.wrapping_add(1);
                let names = entries.iter().map(|(name, entry)| (name.clone(), entry.node.kind())).collect();
                comparing.unanswered.insert(page, Unanswered { directory: directory.clone(), names, unknown });
                let page = Page { page, directory, part: (part.index(), part.of()), more, entries };
                self.sender.send(Lane::Urgent, FromPrimary::Page(page).encode()?).await?;
                self.session.pulse.send_modify(|pulse| pulse.listed += count);
            }
            Listed::Unreadable { path, errno } if path == comparing.subtree => {
                comparing.left = Some(unreadable(errno, (self.session.clock)()));
            }
            Listed::Unreadable { path, errno } => {
                let now = (self.session.clock)();
                let held = unreadable(errno, now).at(path, comparing.since_ms);
                self.leave(held).await?;
            }
            Listed::End { entries, sockets } => {
                comparing.stage = Stage::Settling;
                tracing::debug!(entries, sockets, "the listing is complete");
                let whole = comparing.subtree.is_root();
                self.session.pulse.send_modify(|pulse| {
                    // What is equal was not sent, and is there all the same.
                    (pulse.listed, pulse.listing_ended) = (pulse.listed.max(entries), true);
                    pulse.sockets = if whole { sockets } else { pulse.sockets };
                });
            }
        }
        Ok(())
    }

    pub(super) fn wanted(&mut self, page: u32, wants: &[Want]) -> Result<()> {
        let stray = Error::Protocol("an answer to a page that was not sent");
        let Some(comparing) = self.comparing.as_mut() else { return Err(stray) };
        let Some(Unanswered { directory, names, unknown }) = comparing.unanswered.remove(&page) else {
            return Err(stray);
        };
        let mut planned: BTreeMap<_, _> = unknown.iter().map(|index| (*index, Have::Unknown)).collect();
        planned.extend(wants.iter().map(|want| (want.index, want.have.map_or(Have::Missing, Have::Content))));
        self.session.pulse.send_modify(|pulse| pulse.wanted += wants.len() as u64);
        if comparing.missing.remove(&directory) {
            self.asked.push_back((directory.clone(), Have::Missing));
        }
        for (index, have) in planned {
            let name = usize::try_from(index).ok().and_then(|index| names.get(index));
            let (name, kind) = name.ok_or(Error::Protocol("an entry that was not listed"))?;
            let path = directory.join(name);
            let waits = (have, *kind) == (Have::Missing, Kind::Directory) && unknown.binary_search(&index).is_ok();
            if waits && comparing.missing.len() < ASKED_MAX {
                comparing.missing.insert(path);
            } else {
                self.asked.push_back((path, have));
            }
        }
        Ok(())
    }

    pub(super) async fn compared(&mut self, extras: u64) -> Result<()> {
        let Some(comparing) = self.comparing.as_mut().filter(|comparing| comparing.stage == Stage::Counting) else {
            return Err(Error::Protocol("a comparison that was not under way"));
        };
        if extras == 0 {
            comparing.stage = Stage::Over;
            return Ok(());
        }
        comparing.stage = Stage::Sifting { count: extras, kept: Vec::new() };
        self.sender.send(Lane::Urgent, FromPrimary::Extras { after: None }.encode()?).await?;
        Ok(())
    }

    pub(super) async fn extras(&mut self, paths: Vec<RelPath>) -> Result<()> {
        let last = paths.last().cloned();
        let (mut paths, excluded) = self.sift(paths).await?;
        match self.comparing.as_mut().map(|comparing| &mut comparing.stage) {
            Some(Stage::Extras) => {}
            Some(Stage::Sifting { count, kept }) => {
                *count = count.saturating_sub(excluded);
                kept.append(&mut paths);
                if last.is_some() && kept.len() < ASKED_MAX {
                    return Ok(self.sender.send(Lane::Urgent, FromPrimary::Extras { after: last }.encode()?).await?);
                }
                paths.append(kept);
                // A dry run leaves no trace.
                if !paths.is_empty() && self.session.would.is_none() {
                    let (whose, count) = (Some(self.replica), *count);
                    self.session.planner.ask(move |planner| planner.expect_removals(whose, count)).await??;
                }
            }
            _ => return Err(Error::Protocol("paths that were not asked for")),
        }
        if let Some(comparing) = &mut self.comparing {
            comparing.stage = last.map_or(Stage::Over, |last| Stage::Removing { last });
        }
        self.asked.extend(paths.into_iter().map(|path| (path, Have::Stray)));
        Ok(())
    }

    /// These paths without what is excluded, which stays on the replica; and how many that is, as far as the catalog knows
    /// what is below.
    async fn sift(&self, paths: Vec<RelPath>) -> Result<(Vec<RelPath>, u64)> {
        let (tree, filter) = (self.tree.clone(), self.session.filter.clone());
        let sift = move |planner: &mut Planner| {
            let (mut kept, mut excluded) = (Vec::new(), 0);
            for path in paths {
                let kind = match tree.stat(&path).unwrap_or(None) {
                    Some(stat) => Some(stat.kind),
                    None => planner.catalog.get(&path)?.map(|record| record.stat.kind),
                };
                if filter.excludes(&path, kind == Some(Kind::Directory)) {
                    excluded += planner.catalog.count_below(&path, u64::MAX)?.max(1);
                } else {
                    kept.push(path);
                }
            }
            Ok((kept, excluded))
        };
        self.session.planner.ask(sift).await?
    }

    /// Takes the comparison a stage further once everything it asked for has landed.
    pub(super) async fn step_comparison(&mut self) -> Result<bool> {
        let flying = self.flights.iter().any(|flight| flight.errand.comparing);
        let Some(comparing) = self.comparing.as_mut() else { return Ok(false) };
        if flying || !comparing.unanswered.is_empty() || !self.asked.is_empty() {
            return Ok(false);
        }
        if comparing.stage == Stage::Settling && !comparing.missing.is_empty() {
            // They could not be read, or are gone.
            let rest = std::mem::take(&mut comparing.missing);
            self.asked.extend(rest.into_iter().map(|path| (path, Have::Missing)));
            return Ok(true);
        }
        let message = match &comparing.stage {
            Stage::Settling => {
                comparing.stage = Stage::Counting;
                FromPrimary::Listed
            }
            Stage::Removing { last } => {
                let after = Some(last.clone());
                comparing.stage = Stage::Extras;
                FromPrimary::Extras { after }
            }
            Stage::Over => {
                if let Some(over) = self.comparing.take().filter(|over| !over.again) {
                    // What has taken the directory's place meanwhile, if anything, was left over behind the comparison's
                    // row. A directory that comes back must be compared.
                    let other = (!self.is_directory(&over.subtree)).then(|| Left::new(GONE, 0));
                    let left = over.left.or(other);
                    // One that is held itself was compared all the same.
                    let listed = left
                        .as_ref()
                        .is_none_or(|left| matches!(left.work, Work::Held { .. }) && !is_unreadable(left.work));
                    let whole = over.subtree.is_root() && listed;
                    let left = left.map(|left| left.at(over.subtree.clone(), over.since_ms));
                    self.compared_whole(over.subtree, left).await?;
                    if whole {
                        self.note_position().await?;
                    }
                }
                self.due = true;
                self.session.pulse.send_modify(|pulse| pulse.state = ReplicaState::Live);
                self.session.progress.send_modify(|count| *count += 1);
                return Ok(true);
            }
            Stage::Surveying | Stage::Listing | Stage::Counting | Stage::Sifting { .. } | Stage::Extras => {
                return Ok(false);
            }
        };
        self.sender.send(Lane::Urgent, message.encode()?).await?;
        Ok(true)
    }
}

fn is_unreadable(work: Work) -> bool {
    matches!(work, Work::Held { reason: HeldReason::Unreadable, .. })
}

/// A directory that cannot be read is held, and tried again after a minute.
fn unreadable(errno: i32, now_ms: i64) -> Left {
    Left::new(Work::Held { reason: HeldReason::Unreadable, errno }, now_ms + 60_000)
}
