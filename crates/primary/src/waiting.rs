//! `wait`: until all that happened before the call is durable on every replica.
//!
//! No marker file is needed: the kernel queues an inotify event before the system call that caused it returns. So when the
//! watcher has read its queue until it was empty after the request arrived, every earlier change is in our queue, or
//! covered by a scan that is waited for too; what remains is to wait for the cursors.

use crate::capture::Flush;
use crate::guard::GuardState;
use crate::keeper::Keeper;
use crate::primary::Parts;
use crate::rescan::Rescans;
use crate::status::HeldPath;
use crate::{Error, Result};
use fulmar_model::{HeldReason, ReplicaId, Seq};
use fulmar_store::{Queue, Work};
use std::time::Duration;
use thiserror::Error as ThisError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// What was waited for has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    /// Every change up to here is durable everywhere.
    pub upto: Seq,
}

/// Why waiting ended without it.
#[derive(Debug, ThisError)]
pub enum WaitError {
    /// A path is held: waiting longer would not help.
    #[error("{} path(s) held on {replica}", .held.len())]
    Held {
        /// The replica.
        replica: String,
        /// The paths, up to a hundred.
        held: Vec<HeldPath>,
    },
    /// The time is over.
    #[error("not everything is durable on {replica} after {} s", .after.as_secs_f32())]
    Timeout {
        /// The replica that is furthest behind.
        replica: String,
        /// The time given.
        after: Duration,
        /// Why that replica is away, when it is.
        cause: Option<String>,
    },
    /// The source is gone: nothing can be said of its changes.
    #[error("the source is gone")]
    SourceGone,
    /// The tree is not followed, or ends.
    #[error("the tree is not followed")]
    Ended(#[source] Error),
}

impl From<Error> for WaitError {
    fn from(error: Error) -> Self {
        Self::Ended(error)
    }
}

/// Paths named in one answer.
const HELD_MAX: usize = 100;
/// Rows of outstanding work read at once.
const ROWS: usize = 1000;

/// Where one replica stands against a target.
enum Standing {
    There,
    Behind { cause: Option<String> },
    Held(Vec<HeldPath>),
}

/// The name of a replica that is behind, and why it is away, when it is.
type Late = (String, Option<String>);

/// The replica whose cursor is known to be at the target, and since when.
type Reached = Option<(ReplicaId, i64)>;

/// A way to know that everything which has happened is in the queue.
#[derive(Clone)]
pub(crate) struct Barrier {
    /// `None` where nothing is watched.
    pub(crate) flushes: Option<mpsc::Sender<Flushing>>,
    pub(crate) rescans: Rescans,
    pub(crate) queue: Keeper<Queue>,
}

/// A request to the watcher's supervisor; an answer that is dropped says that the source is gone.
pub(crate) type Flushing = (Flush, oneshot::Sender<Seq>);

impl Barrier {
    /// Every path that exists now, and every name it was given before this call, is in the queue at the position this
    /// gives or before it.
    pub(crate) async fn pass(&self) -> Result<Seq> {
        self.flush(Flush::Present).await?;
        self.settle_scans().await?;
        self.queue.ask(|queue| queue.last()).await
    }

    async fn flush(&self, flush: Flush) -> Result<()> {
        let Some(flushes) = &self.flushes else { return Ok(()) };
        let (answer, wait) = oneshot::channel();
        flushes.send((flush, answer)).await.map_err(|_| Error::Gone)?;
        wait.await.map(drop).map_err(|_| Error::SourceGone)
    }

    /// Waits until no scan is pending; gives how many there have been.
    async fn settle_scans(&self) -> Result<u64> {
        let mut pending = self.rescans.pending();
        let state = pending.wait_for(|scans| scans.pending == 0).await.map_err(|_| Error::Gone)?;
        Ok(state.requested)
    }
}

impl Parts {
    /// See the head of this file.
    pub(crate) async fn wait(&self, patience: Duration) -> std::result::Result<Waited, WaitError> {
        let deadline = Instant::now() + patience;
        let mut progress = self.progress.subscribe();
        let mut behind = (self.endpoints.first().map(|e| e.name.clone()).unwrap_or_default(), None);
        let all = async {
            self.barrier.flush(Flush::Everything).await.map_err(|error| match error {
                Error::SourceGone => WaitError::SourceGone,
                other => other.into(),
            })?;
            loop {
                let scans = self.barrier.settle_scans().await?;
                let target = self.queue.ask(|queue| queue.last()).await?;
                self.reach(target, &mut progress, &mut behind).await?;
                // What the plans of these changes say of other paths belongs to what was asked: a replica that catches up has it
                // from rows of their own.
                let owed = self.planner.ask(|planner| planner.owed()).await?;
                if owed > target {
                    self.reach(owed, &mut progress, &mut behind).await?;
                }
                // A renamed directory was scanned on the way: what that found belongs to what was asked.
                if self.barrier.settle_scans().await? == scans {
                    return Ok(Waited { upto: target });
                }
            }
        };
        match tokio::time::timeout_at(deadline, all).await {
            Ok(result) => result,
            Err(_) => {
                let (replica, cause) = behind;
                Err(WaitError::Timeout { replica, after: patience, cause })
            }
        }
    }

    /// Until every replica is at the target; keeps in `behind` the first that is not, and why it is away.
    async fn reach(
        &self,
        target: Seq,
        progress: &mut watch::Receiver<u64>,
        behind: &mut Late,
    ) -> std::result::Result<(), WaitError> {
        let mut reached = vec![None; self.endpoints.len()];
        while let Some(late) = self.first_behind(target, &mut reached).await? {
            *behind = late;
            progress.changed().await.map_err(|_| Error::Gone)?;
        }
        Ok(())
    }

    async fn first_behind(&self, target: Seq, reached: &mut [Reached]) -> std::result::Result<Option<Late>, WaitError> {
        let mut late = None;
        for ((index, endpoint), reached) in self.endpoints.iter().enumerate().zip(reached) {
            match self.standing(index, target, reached).await? {
                Standing::There => {}
                Standing::Held(held) => return Err(WaitError::Held { replica: endpoint.name.clone(), held }),
                Standing::Behind { cause } => {
                    late.get_or_insert((endpoint.name.clone(), cause));
                }
            }
        }
        Ok(late)
    }

    /// What early changes leave to be done was written down when the cursor had `reached` the target; what is written down
    /// later belongs to later changes.
    async fn standing(&self, index: usize, target: Seq, reached: &mut Reached) -> Result<Standing> {
        let pulse = self.pulses.get(index).map(|pulse| pulse.borrow().clone()).unwrap_or_default();
        let Some(replica) = pulse.replica else { return Ok(Standing::Behind { cause: pulse.error }) };
        let cursor = self
            .queue
            .ask(move |queue| {
                let row = queue.replicas()?.into_iter().find(|row| row.id == replica);
                Ok::<_, fulmar_store::Error>(row.and_then(|row| row.cursor))
            })
            .await??;
        // Another replica in the same place has nothing yet of what the one before had.
        *reached = reached.filter(|(id, _)| *id == replica);
        if cursor.is_some_and(|cursor| cursor >= target) {
            reached.get_or_insert((replica, (self.clock)()));
        }
        let until = reached.map_or(i64::MAX, |(_, ms)| ms);
        let rows = self
            .queue
            .ask(move |queue| {
                let (mut rows, mut after) = (Vec::new(), None);
                loop {
                    let page = queue.outstanding(replica, after.as_ref(), ROWS)?;
                    after = page.last().map(|row| row.path.clone());
                    let full = page.len() == ROWS;
                    rows.extend(page.into_iter().filter(|row| row.since_ms <= until));
                    if !full || rows.len() > HELD_MAX {
                        break;
                    }
                }
                Ok::<_, fulmar_store::Error>(rows)
            })
            .await??;
        let guard = self.planner.ask(|planner| planner.guard.state()).await?;
        let held: Vec<_> = rows.iter().filter_map(|row| held_path(row, guard)).take(HELD_MAX).collect();
        if !held.is_empty() {
            return Ok(Standing::Held(held));
        }
        if rows.is_empty() && reached.is_some() {
            return Ok(Standing::There);
        }
        Ok(Standing::Behind { cause: pulse.error })
    }
}

/// The row as a held path, if it is one.
pub(crate) fn held_path(row: &fulmar_store::Outstanding, guard: GuardState) -> Option<HeldPath> {
    match row.work {
        // Approved while it was under way: it is looked at again.
        Work::Held { reason: HeldReason::Approval, .. } if guard == GuardState::Clear => None,
        Work::Held { reason, errno } => {
            Some(HeldPath { path: row.path.clone(), reason, errno, since_ms: row.since_ms })
        }
        _ => None,
    }
}
