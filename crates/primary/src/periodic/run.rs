//! One verification: this much of the tree, so closely, against these replicas.

use crate::audit::{AuditSettings, Finding, Inspection, Verdict};
use crate::{Error, Result};
use fulmar_model::Depth;
use fulmar_tree::audit::Scope;
use std::num::NonZeroU64;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How audits of this tree are made.
pub(crate) struct Auditor(pub(crate) AuditSettings);

/// What is to be verified.
pub(crate) struct Wanted {
    pub(crate) depth: Depth,
    pub(crate) scope: Scope,
    /// Bytes read a second, on each side.
    pub(crate) rate: NonZeroU64,
    /// Indices of the endpoints that take part.
    pub(crate) replicas: Vec<usize>,
}

/// What came of it for an endpoint, by its index.
pub(crate) type Came = Vec<(usize, Result<Verdict>)>;

impl Auditor {
    /// Reads when nobody else wants the disk. Findings come with the index of the endpoint. An error: there is nothing to
    /// tell of any replica.
    pub(crate) async fn run(
        &self,
        wanted: Wanted,
        findings: mpsc::Sender<(usize, Finding)>,
        stop: CancellationToken,
    ) -> Result<Came> {
        // An audit that knows no records reads every byte, whatever it is asked for.
        let Wanted { depth: Depth::Quick | Depth::Deep, scope, rate, replicas } = wanted;
        let endpoints = replicas.iter().filter_map(|index| self.0.endpoints.get(*index).cloned()).collect();
        // One thread: nobody waits for it.
        let settings = AuditSettings { endpoints, scope, threads: 1, rate: Some(rate), idle: true, ..self.0.clone() };
        let (own, mut found) = mpsc::channel(1);
        let mut inspection = Inspection::start(settings, own).await?;
        let mut came: Came = replicas.iter().map(|index| (*index, Err(Error::Gone))).collect();
        let comparing = async {
            while let Some((at, finding)) = found.recv().await {
                let Some(index) = replicas.get(at) else { continue };
                findings.send((*index, finding)).await.map_err(|_| Error::Gone)?;
            }
            // Whoever is through has told all it has found before.
            while let Some(inspected) = inspection.next().await {
                if let Some((_, result)) = came.get_mut(inspected.replica) {
                    *result = inspected.result;
                }
            }
            Ok(())
        };
        let ended = tokio::select! {
            ended = comparing => ended,
            () = stop.cancelled() => Err(Error::Gone),
        };
        inspection.end();
        ended.map(|()| came)
    }
}
