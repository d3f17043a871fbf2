//! What a running primary adds to an audit: what both sides recorded, and what is still on its way to a replica.

use crate::keeper::Keeper;
use crate::planner::Planner;
use crate::waiting::Barrier;
use crate::{Error, Result};
use fulmar_model::{Depth, Recall, RelPath, ReplicaId, TreeId};
use fulmar_store::{CatalogReader, Outstanding, Pending, Queue, Reach, Work};
use fulmar_tree::audit::Records;
use fulmar_wire::Trust;
use std::path::PathBuf;

/// Shared by the visits to all replicas.
#[derive(Clone)]
pub(crate) struct Insight {
    pub(crate) tree: TreeId,
    pub(crate) depth: Depth,
    pub(crate) repair: bool,
    /// Where the catalog is.
    pub(crate) catalog: PathBuf,
    pub(crate) queue: Keeper<Queue>,
    pub(crate) planner: Keeper<Planner>,
    pub(crate) barrier: Barrier,
    pub(crate) clock: crate::Clock,
    /// Who the replicas are, in the order of the endpoints; `None`: it was never reached.
    pub(crate) replicas: Vec<Option<ReplicaId>>,
}

impl Insight {
    /// What a replica is asked to bring in.
    pub(super) fn trust(&self) -> Trust {
        Trust { tree: self.tree, depth: self.depth }
    }

    /// The source's records.
    pub(crate) fn records(&self) -> Records {
        let path = self.catalog.clone();
        Records::new(move || match CatalogReader::open_catalog(&path) {
            Ok(reader) => Some(Box::new(reader) as Box<dyn Recall>),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the catalog cannot be read");
                None
            }
        })
    }

    /// As one replica sees it.
    pub(super) fn of(&self, replica: usize) -> Ledger {
        Ledger { insight: self.clone(), replica: self.replicas.get(replica).copied().flatten() }
    }
}

/// What is known of one replica.
pub(super) struct Ledger {
    insight: Insight,
    replica: Option<ReplicaId>,
}

/// What is to be done at a path so that the replica has what the source has.
pub(super) enum Demand {
    /// Everybody may lack it: a change, as an event would have made it.
    Change(RelPath),
    /// This replica lacks it.
    Work(RelPath, Work),
}

impl Ledger {
    pub(super) fn repairs(&self) -> bool {
        self.insight.repair
    }

    /// Everything that happened to the source before is in the queue.
    pub(super) async fn pass(&self) -> Result<()> {
        self.insight.barrier.pass().await.map(drop)
    }

    /// What is still to reach the replica at each of these paths.
    pub(super) async fn pending(&self, paths: Vec<(RelPath, Reach)>) -> Result<Vec<Option<Pending>>> {
        let Some(replica) = self.replica else { return Ok(vec![Some(Pending::Queued); paths.len()]) };
        let ask = move |queue: &mut Queue| {
            paths.iter().map(|(path, reach)| queue.pending(replica, path, *reach)).collect::<fulmar_store::Result<_>>()
        };
        Ok(self.insight.queue.ask(ask).await??)
    }

    /// Puts work into the queue, to be looked at by the planner and shipped like any other. `removals`: how many paths are
    /// about to go by that.
    pub(super) async fn demand(&self, demands: Vec<Demand>, removals: u64) -> Result<()> {
        let replica = self.replica.ok_or(Error::Gone)?;
        if removals > 0 {
            let expect = move |planner: &mut Planner| planner.expect_removals(Some(replica), removals);
            self.insight.planner.ask(expect).await??;
        }
        let since_ms = (self.insight.clock)();
        let (mut changes, mut rows) = (Vec::new(), Vec::new());
        for demand in demands {
            match demand {
                Demand::Change(path) => changes.push(path),
                Demand::Work(path, work) => {
                    rows.push(Outstanding { path, work, since_ms, attempts: 0, retry_ms: 0, after: None });
                }
            }
        }
        self.insight.planner.ask(move |planner| planner.suspect(changes)).await??;
        Ok(self.insight.queue.ask(move |queue| queue.demand(replica, &rows)).await??)
    }
}
