//! Verification: an audit beside a running primary, which knows what both sides recorded and what is on its way.

use crate::audit::{AuditSettings, Finding, Insight, Inspection, Pulse, Verdict};
use crate::primary::{Parts, Primary};
use crate::{Error, Result};
use fulmar_model::Depth;
use fulmar_tree::audit::readers;
use std::num::NonZeroU64;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How often it is told how far it is.
const PROGRESS: Duration = Duration::from_secs(1);
/// Findings that wait to be handed on; full: the comparison waits.
const FINDINGS: usize = 64;

/// What is to be verified, and how.
#[derive(Clone, Copy, Debug)]
pub struct Verification {
    /// How closely.
    pub depth: Depth,
    /// Whether what differs is to be repaired.
    pub repair: bool,
    /// Bytes that are read a second, on each side.
    pub rate: Option<NonZeroU64>,
    /// Whether disks are used only when nobody else wants them.
    pub idle: bool,
}

/// What is told while it lasts.
#[derive(Debug)]
pub enum Told {
    /// Something was found.
    Found {
        /// Index of the replica.
        replica: usize,
        /// What.
        finding: Finding,
    },
    /// Every second: how far it is.
    Progress {
        /// Files and bytes of the source that were read.
        source: (u64, u64),
        /// Each replica.
        replicas: Vec<Pulse>,
    },
}

/// What came of it, by the replicas' names.
pub type Verified = Vec<(String, Result<Verdict>)>;

impl Primary {
    /// Compares the source with all replicas, while replication goes on. One at a time: a second is refused. Ends early, with an
    /// error, when `stop` is cancelled, the primary ends, or nobody listens any more.
    pub async fn verify(
        &self,
        wanted: Verification,
        told: mpsc::Sender<Told>,
        stop: CancellationToken,
    ) -> Result<Verified> {
        let parts = self.parts();
        let _only_one = parts.verifying.try_acquire().map_err(|_| Error::Verifying)?;
        let _goes_first = Asking::begin(&parts.asked);
        if parts.planner.ask(|planner| planner.tree.is_none()).await? {
            return Err(Error::SourceGone);
        }
        let (settings, insight) = (parts.audit_settings(&wanted), parts.insight(&wanted).await?);
        let (findings, mut found) = mpsc::channel(FINDINGS);
        let mut inspection = Inspection::begin(settings, Some(insight), findings).await?;
        let result = tokio::select! {
            verdicts = attend(&mut inspection, &mut found, &told, parts) => verdicts,
            () = stop.cancelled() => Err(Error::Stopped),
            () = parts.end.cancelled() => Err(Error::Stopped),
        };
        inspection.end();
        result
    }
}

/// Has the periodic verifier give way as long as it lives.
struct Asking<'a>(&'a watch::Sender<u32>);

impl<'a> Asking<'a> {
    fn begin(asked: &'a watch::Sender<u32>) -> Self {
        asked.send_modify(|count| *count += 1);
        Self(asked)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Hands on what is found until all replicas are through.
async fn attend(
    inspection: &mut Inspection,
    found: &mut mpsc::Receiver<(usize, Finding)>,
    told: &mpsc::Sender<Told>,
    parts: &Parts,
) -> Result<Verified> {
    let mut verdicts: Verified =
        parts.endpoints.iter().map(|endpoint| (endpoint.name.clone(), Err(Error::Gone))).collect();
    let (meter, pulses) = (inspection.read(), inspection.pulses());
    let mut tick = tokio::time::interval(PROGRESS);
    let (mut running, mut found_all) = (true, false);
    while running || !found_all {
        let told_now = tokio::select! {
            ended = inspection.next(), if running => {
                match ended {
                    Some(inspected) => {
                        if let Some((_, verdict)) = verdicts.get_mut(inspected.replica) {
                            *verdict = inspected.result;
                        }
                    }
                    None => running = false,
                }
                continue;
            }
            finding = found.recv(), if !found_all => match finding {
                Some((replica, finding)) => Told::Found { replica, finding },
                None => {
                    found_all = true;
                    continue;
                }
            },
            _ = tick.tick() => {
                Told::Progress { source: meter.read(), replicas: pulses.iter().map(|pulse| *pulse.borrow()).collect() }
            }
        };
        told.send(told_now).await.map_err(|_| Error::Stopped)?;
    }
    Ok(verdicts)
}

impl Parts {
    fn audit_settings(&self, wanted: &Verification) -> AuditSettings {
        let Verification { depth, rate, idle, .. } = *wanted;
        AuditSettings { threads: readers(depth, idle), rate, idle, ..self.audit.clone() }
    }

    async fn insight(&self, wanted: &Verification) -> Result<Insight> {
        Ok(Insight { depth: wanted.depth, repair: wanted.repair, replicas: self.who().await?, ..self.insight.clone() })
    }
}
