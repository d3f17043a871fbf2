//! One verification: this much of the tree, so closely, against these replicas. What differs is repaired by it.

use crate::audit::{AuditSettings, Finding, Insight, Inspection, Verdict};
use crate::{Error, Result};
use fulmar_model::{Blame, Depth, ReplicaId};
use fulmar_tree::audit::Scope;
use std::num::NonZeroU64;
use tokio::sync::mpsc;

/// Findings that wait to be looked at.
const FINDINGS: usize = 64;

/// How this tree is verified.
pub(crate) struct Auditor {
    pub(crate) settings: AuditSettings,
    pub(crate) insight: Insight,
}

/// What is to be verified.
pub(crate) struct Wanted {
    pub(crate) depth: Depth,
    pub(crate) scope: Scope,
    /// Bytes read a second, on each side.
    pub(crate) rate: NonZeroU64,
    /// Indices of the endpoints that take part, and who they are.
    pub(crate) replicas: Vec<(usize, Option<ReplicaId>)>,
}

/// What came of it for an endpoint, by its index.
pub(crate) type Came = Vec<(usize, Result<Verdict>)>;

impl Auditor {
    /// Reads when nobody else wants the disk. Ends soon when it is dropped. An error: there is nothing to tell of any replica.
    pub(crate) async fn run(&self, wanted: Wanted) -> Result<Came> {
        let Wanted { depth, scope, rate, replicas } = wanted;
        let endpoints = replicas.iter().filter_map(|(index, _)| self.settings.endpoints.get(*index).cloned()).collect();
        let who = replicas.iter().map(|(_, replica)| *replica).collect();
        let insight = Insight { depth, repair: true, replicas: who, ..self.insight.clone() };
        // One thread: nobody waits for it.
        let (threads, rate) = (1, Some(rate));
        let settings = AuditSettings { endpoints, scope, threads, rate, idle: true, ..self.settings.clone() };
        let (findings, mut found) = mpsc::channel(FINDINGS);
        let mut inspection = Inspection::begin(settings, Some(insight), findings).await?;
        // What is repaired is counted in the verdicts. What cannot be is not left to them alone.
        while let Some((_, finding)) = found.recv().await {
            raise_alarm(&finding);
        }
        let mut came: Came = replicas.iter().map(|(index, _)| (*index, Err(Error::Gone))).collect();
        // Whoever is through has told all it has found before.
        while let Some(inspected) = inspection.next().await {
            if let Some((_, result)) = came.get_mut(inspected.replica) {
                *result = inspected.result;
            }
        }
        Ok(came)
    }
}

fn raise_alarm(finding: &Finding) {
    let rotten = match finding {
        Finding::Corrupt { path, good_copy, .. } => Some((path, *good_copy)),
        Finding::Difference(difference, Some(why)) if why.blame == Blame::CorruptSource => {
            Some((&difference.path, why.good_copy))
        }
        _ => None,
    };
    if let Some((path, good_copy)) = rotten {
        tracing::error!(%path, good_copy, "has rotted on the source: other content, though nobody wrote it");
    }
}
