//! Everything that is known of one path: what is there, what was recorded of it, what is on its way.

use crate::audit::{Insight, glance};
use crate::primary::{Parts, Primary};
use crate::status::ReplicaState;
use crate::{Error, Result};
use fulmar_model::{Change, Depth, Look, RelPath, Sighting};
use fulmar_store::{Outstanding, Pending, Queue, Reach, VerifiedRounds};
use fulmar_tree::audit::{Auditing, Looker, Meter, Scope};
use std::time::Duration;

/// The longest a replica is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is known of a path.
#[derive(Debug)]
pub struct Explanation {
    /// Where.
    pub path: RelPath,
    /// Whether it is not replicated.
    pub excluded: bool,
    /// Its row of the queue: replicas whose position is behind it have yet to be told.
    pub change: Option<Change>,
    /// The rows of directories above that speak of everything below, the nearest first: what happened to the path may be in them.
    pub above: Vec<Change>,
    /// What the source has there, read now, beside what the catalog says.
    pub source: Look,
    /// Each replica.
    pub replicas: Vec<Explained>,
}

/// What is known of it on one replica.
#[derive(Debug)]
pub struct Explained {
    /// As given.
    pub name: String,
    /// What it does.
    pub state: ReplicaState,
    /// Why it is away.
    pub error: Option<String>,
    /// Why it need not have the source's version yet.
    pub pending: Option<Pending>,
    /// What is left to be done there, with attempts and times.
    pub left: Option<Outstanding>,
    /// What it has there, read now, beside what it recorded; or why that cannot be told.
    pub look: Result<Look>,
    /// When all of it was verified last.
    pub verified: VerifiedRounds,
}

impl Explained {
    /// Whether the replica has what the source has.
    pub fn is_same(&self, path: &RelPath, source: &Look) -> bool {
        self.look.as_ref().is_ok_and(|look| fulmar_model::differences(path, &source.what, &look.what).is_empty())
    }
}

impl Primary {
    /// Looks at a path on both sides, reads it there, and asks the queue. What has happened to it is in the queue by
    /// then, but for removals that still wait for each other.
    pub async fn explain(&self, path: RelPath) -> Result<Explanation> {
        let parts = self.parts();
        parts.barrier.pass().await?;
        let Some(tree) = parts.planner.ask(|planner| planner.tree.clone()).await? else {
            return Err(Error::SourceGone);
        };
        let who = parts.who().await?;
        let insight = Insight { depth: Depth::Deep, ..parts.insight.clone() };
        let mut looks = Vec::new();
        for endpoint in &parts.endpoints {
            let (settings, insight, tree) = (parts.audit.clone(), insight.clone(), tree.clone());
            let (target, path) = (endpoint.target.clone(), path.clone());
            looks.push(tokio::spawn(async move {
                let glance = glance(&settings, &insight, &tree, target, path);
                let text = || format!("no answer within {} seconds", PATIENCE.as_secs());
                tokio::time::timeout(PATIENCE, glance)
                    .await
                    .unwrap_or_else(|_| Err(Error::ReplicaFailed { text: text() }))
            }));
        }
        let source = parts.look_here(&tree, &insight, path.clone()).await?;
        let is_directory =
            matches!(&source.what, Sighting::There { entry, .. } if entry.node == fulmar_model::Node::Directory);
        let excluded = parts.audit.filter.excludes(&path, is_directory);
        let (mut replicas, at) = (Vec::new(), path.clone());
        let (change, above) =
            parts.queue.ask(move |queue| Ok::<_, Error>((queue.find(&at)?, queue.covering(&at)?))).await??;
        for ((at, endpoint), look) in parts.endpoints.iter().enumerate().zip(looks) {
            let look = look.await.map_err(|_| Error::Gone)?;
            let pulse = parts.pulses.get(at).map(|pulse| pulse.borrow().clone()).unwrap_or_default();
            let (id, path) = (who.get(at).copied().flatten(), path.clone());
            let ask = move |queue: &mut Queue| -> fulmar_store::Result<_> {
                let Some(id) = id else { return Ok((Some(Pending::Queued), None, VerifiedRounds::default())) };
                let pending = queue.pending(id, &path, Reach::Path)?;
                Ok((pending, queue.left_at(id, &path)?, queue.verified(id)?))
            };
            let (pending, left, verified) = parts.queue.ask(ask).await??;
            let (name, state, error) = (endpoint.name.clone(), pulse.state, pulse.error);
            replicas.push(Explained { name, state, error, pending, left, look, verified });
        }
        Ok(Explanation { path, excluded, change, above, source, replicas })
    }
}

impl Parts {
    async fn look_here(&self, tree: &fulmar_tree::Tree, insight: &Insight, path: RelPath) -> Result<Look> {
        let how = Auditing {
            filter: self.audit.filter.clone(),
            scope: Scope::default(),
            trusted: self.audit.privileged,
            threads: 1,
            rate: None,
            idle: false,
            records: Some(insight.records()),
            depth: Depth::Deep,
            links_only: false,
        };
        let tree = tree.clone();
        let look = move || Looker::new(&tree, &how, &Meter::default()).look(&path, true);
        tokio::task::spawn_blocking(look).await.map_err(|_| Error::Gone)
    }
}
