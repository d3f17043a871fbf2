//! What is gone goes last.
//!
//! A path that is gone may have another name by now, whose change is still with the kernel, in the queue, or on its way. So
//! a removal waits as outstanding work, until the replica has everything that was noticed up to the moment in which the
//! path was seen to be gone: at every moment, also one in which either side dies, it has one of the two names.
//!
//! A round: ask the watcher for everything that has happened (the kernel queues an event before the system call that
//! caused it returns) → ship up to the position that gives → wait for the answers → remove what was noted before the
//! round began. Not removed in it: what a batch under way may bring back, what waits for the name it was renamed to, and
//! what large or repeated content may be another name of.

use super::Until;
use super::flight::Errand;
use super::visit::{ASKED_MAX, Visit};
use crate::Result;
use crate::plan::BATCH_CHANGES;
use fulmar_model::{RelPath, Seq};
use fulmar_store::{Outstanding, Work};
use std::collections::HashSet;
use std::time::{Duration, Instant};
use tokio_util::task::AbortOnDropHandle;

/// Pause after a round in which something had to stay.
const PAUSE: Duration = Duration::from_secs(1);

/// Where a replica's removals stand.
pub(super) struct Removals {
    stage: Stage,
    /// Noted since the round began: not covered by it. At most [`ASKED_MAX`], or the round begins anew.
    fresh: HashSet<RelPath>,
    not_before: Instant,
    stayed: bool,
}

enum Stage {
    /// No round.
    Idle,
    /// Everything that has happened is being queued.
    Flushing(AbortOnDropHandle<Result<Seq>>),
    /// Changes up to here are to be sent.
    Shipping { upto: Seq },
    /// Batches up to this number are to be answered.
    Landing { batch: u64 },
    /// What is gone goes, in order of paths; those up to `after` have gone.
    Removing { after: Option<RelPath> },
}

impl Removals {
    pub(super) fn new() -> Self {
        Self { stage: Stage::Idle, fresh: HashSet::new(), not_before: Instant::now(), stayed: false }
    }

    /// Rows are about to be written.
    pub(super) fn note(&mut self, rows: &[Outstanding]) {
        if matches!(self.stage, Stage::Idle) {
            return;
        }
        self.fresh.extend(rows.iter().filter(|row| matches!(row.work, Work::Gone { .. })).map(|row| row.path.clone()));
        if self.fresh.len() > ASKED_MAX {
            self.stage = Stage::Idle;
        }
    }

    /// A batch was sent that may lack changes which moved behind it.
    pub(super) fn note_gap(&mut self) {
        if matches!(self.stage, Stage::Flushing(_) | Stage::Shipping { .. }) {
            self.stage = Stage::Idle;
        }
    }

    /// Resolves when a flush under way is complete.
    pub(super) async fn flushed(&mut self) {
        let Stage::Flushing(flush) = &mut self.stage else { return std::future::pending().await };
        let flushed = flush.await;
        self.stage = match flushed {
            Ok(Ok(upto)) => Stage::Shipping { upto },
            // The source is gone, or the primary ends: its session notices.
            Ok(Err(_)) | Err(_) => {
                self.not_before = Instant::now() + PAUSE;
                Stage::Idle
            }
        };
    }
}

impl Visit<'_> {
    /// Takes the removals a stage further; true when that made a difference.
    pub(super) async fn ship_removals(&mut self) -> Result<bool> {
        let comparing = self.comparing.is_some() || self.outstanding.compare > 0;
        let next = match &self.removals.stage {
            Stage::Idle => {
                if self.outstanding.gone == 0 || comparing || Instant::now() < self.removals.not_before {
                    return Ok(false);
                }
                self.removals.fresh.clear();
                self.removals.stayed = false;
                let barrier = self.session.barrier.clone();
                Stage::Flushing(AbortOnDropHandle::new(tokio::spawn(async move { barrier.pass().await })))
            }
            Stage::Flushing(_) => return Ok(false),
            Stage::Shipping { upto } => {
                // A run that ends when the replica is in sync ships no changes: it compares.
                if self.session.until == Until::Told && self.position < *upto {
                    return Ok(false);
                }
                Stage::Landing { batch: self.next_batch }
            }
            Stage::Landing { batch } => {
                if comparing || self.flights.front().is_some_and(|flight| flight.number < *batch) {
                    return Ok(false);
                }
                Stage::Removing { after: None }
            }
            Stage::Removing { after } => {
                let after = after.clone();
                self.remove_behind(after).await?
            }
        };
        self.removals.stage = next;
        Ok(true)
    }

    async fn remove_behind(&mut self, after: Option<RelPath>) -> Result<Stage> {
        let replica = self.replica;
        let (rows, unfinished) = self
            .session
            .queue
            .ask(move |queue| {
                let rows = queue.gone(replica, after.as_ref(), BATCH_CHANGES)?;
                Ok::<_, fulmar_store::Error>((rows, queue.unfinished(replica, ASKED_MAX)?))
            })
            .await??;
        let end = rows.len() < BATCH_CHANGES;
        let after = rows.last().map(|row| row.path.clone());
        let too_much = unfinished.content.len().max(unfinished.waiting.len()) >= ASKED_MAX;
        let found = rows.len();
        let mut gone = rows;
        gone.retain(|row| !(too_much || self.removals.fresh.contains(&row.path) || self.is_sent(&row.path)));
        let since_ms = gone.iter().map(|row| row.since_ms).min();
        let (steps, asked) =
            self.session.planner.ask(move |planner| planner.remove(gone, &unfinished, replica)).await??;
        if asked.len() < found {
            tracing::debug!(found, removed = asked.len(), "not everything that is gone can go yet");
            self.removals.stayed = true;
        }
        if !asked.is_empty() {
            self.send(steps, Errand { asked, since_ms, ..Errand::default() }).await?;
        }
        if !end {
            return Ok(Stage::Removing { after });
        }
        if self.removals.stayed {
            self.removals.not_before = Instant::now() + PAUSE;
        }
        Ok(Stage::Idle)
    }

    /// Whether a batch under way does something at the path.
    fn is_sent(&self, path: &RelPath) -> bool {
        let mut steps = self.flights.iter().flat_map(|flight| &flight.operated);
        steps.any(|step| step.path == *path || (step.subtree && path.starts_with(&step.path)))
    }
}
