//! `wait`: until all that happened before the call is durable on every replica.
//!
//! No marker file is needed: the kernel queues an inotify event before the system call that caused it returns. So when the
//! watcher has read its queue until it was empty after the request arrived, every earlier change is in our queue, or
//! covered by a scan that is waited for too; what remains is to wait for the cursors.

use crate::primary::Parts;
use crate::status::HeldPath;
use crate::{Error, Result};
use fulmar_model::Seq;
use fulmar_store::Work;
use std::time::Duration;
use thiserror::Error as ThisError;
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

impl Parts {
    /// See the head of this file.
    pub(crate) async fn wait(&self, patience: Duration) -> std::result::Result<Waited, WaitError> {
        let deadline = Instant::now() + patience;
        let mut progress = self.progress.subscribe();
        let mut behind = (self.endpoints.first().map(|e| e.name.clone()).unwrap_or_default(), None);
        let all = async {
            self.flush().await?;
            loop {
                let scans = self.settle_scans().await?;
                let target = self.queue.ask(|queue| queue.last()).await?;
                while let Some(late) = self.first_behind(target).await? {
                    behind = late;
                    progress.changed().await.map_err(|_| Error::Gone)?;
                }
                // A renamed directory was scanned on the way: what that found belongs to what was asked.
                if self.settle_scans().await? == scans {
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

    /// Waits until no scan is pending; gives how many there have been.
    async fn settle_scans(&self) -> Result<u64> {
        let mut pending = self.rescans.pending();
        let state = pending.wait_for(|scans| scans.pending == 0).await.map_err(|_| Error::Gone)?;
        Ok(state.requested)
    }

    async fn first_behind(&self, target: Seq) -> std::result::Result<Option<(String, Option<String>)>, WaitError> {
        let mut late = None;
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            match self.standing(index, target).await? {
                Standing::There => {}
                Standing::Held(held) => return Err(WaitError::Held { replica: endpoint.name.clone(), held }),
                Standing::Behind { cause } => {
                    late.get_or_insert((endpoint.name.clone(), cause));
                }
            }
        }
        Ok(late)
    }

    async fn standing(&self, index: usize, target: Seq) -> Result<Standing> {
        let pulse = self.pulses.get(index).map(|pulse| pulse.borrow().clone()).unwrap_or_default();
        let Some(replica) = pulse.replica else { return Ok(Standing::Behind { cause: pulse.error }) };
        let (cursor, rows) = self
            .queue
            .ask(move |queue| {
                let cursor = queue.replicas()?.into_iter().find(|row| row.id == replica).and_then(|row| row.cursor);
                let mut rows = Vec::new();
                if queue.outstanding_count(replica)?.total() > 0 {
                    let mut after = None;
                    loop {
                        let page = queue.outstanding(replica, after.as_ref(), ROWS)?;
                        after = page.last().map(|row| row.path.clone());
                        let full = page.len() == ROWS;
                        // All of it, whenever it was written down: what is left over of an early change is written down
                        // when its batch is answered, which may be after the call.
                        rows.extend(page);
                        if !full || rows.len() > HELD_MAX {
                            break;
                        }
                    }
                }
                Ok::<_, fulmar_store::Error>((cursor, rows))
            })
            .await??;
        let held: Vec<_> = rows.iter().filter_map(held_path).take(HELD_MAX).collect();
        if !held.is_empty() {
            return Ok(Standing::Held(held));
        }
        if rows.is_empty() && cursor.is_some_and(|cursor| cursor >= target) {
            return Ok(Standing::There);
        }
        Ok(Standing::Behind { cause: pulse.error })
    }
}

/// The row as a held path, if it is one.
pub(crate) fn held_path(row: &fulmar_store::Outstanding) -> Option<HeldPath> {
    match row.work {
        // Due at once: it was approved, and is on its way.
        Work::Held { .. } if row.retry_ms == 0 => None,
        Work::Held { reason, errno } => {
            Some(HeldPath { path: row.path.clone(), reason, errno, since_ms: row.since_ms })
        }
        _ => None,
    }
}
