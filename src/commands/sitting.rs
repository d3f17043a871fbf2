//! A sitting of an audit that can be interrupted: slice by slice, each kept in the checkpoint when it is through, then what slices
//! leave.

use crate::checkpoint::{Checkpoint, Position};
use crate::commands::replicas::explain;
use crate::exit::{Failure, Result};
use crate::report::Stage;
use fulmar_model::{Depth, Profile, RelPath};
use fulmar_primary::{AuditSettings, Earlier, Error, Finding, Inspection, Verdict};
use fulmar_tree::Tree;
use fulmar_tree::audit::{Auditing, Meter, Scope, Span, cut};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Findings that wait to be written; full: the comparison waits.
const FINDINGS: usize = 1024;

/// What is lost at most when it is interrupted: some minutes of reading. A slice costs a login to each replica.
pub const SLICE: Span = Span { entries: 100_000, bytes: 8 << 30 };

/// See the head of this file.
pub struct Sitting {
    /// The source, the same directory all the time.
    pub tree: Tree,
    /// What is compared, and how; the range is that of each slice.
    pub settings: AuditSettings,
    /// A slice at most.
    pub slice: Span,
    /// What is under way.
    pub stage: watch::Sender<Stage>,
}

impl Sitting {
    /// Until everything is compared. May be dropped at any time: what `checkpoint` has reached by then is kept.
    pub async fn go_on(&self, checkpoint: &mut Checkpoint) -> Result<()> {
        while self.step(checkpoint).await? {}
        Ok(())
    }

    /// One slice, or the rest; false: there was nothing left.
    async fn step(&self, checkpoint: &mut Checkpoint) -> Result<bool> {
        let (findings, found) = mpsc::channel(FINDINGS);
        let (tree, settings) = (self.tree.clone(), self.settings.clone());
        let (inspection, next) = match checkpoint.position().clone() {
            Position::Behind(after) => {
                let upto = self.cut(after.clone()).await?;
                let scope = Scope::between(after, upto.clone());
                let scope = scope.ok_or_else(|| explain(None, Error::Gone))?;
                let next = upto.map_or(Position::Rest, |upto| Position::Behind(Some(upto)));
                (Inspection::slice(tree, AuditSettings { scope, ..settings }, findings), next)
            }
            Position::Rest => (Inspection::rest(tree, settings, self.earlier(checkpoint)?, findings), Position::Over),
            Position::Over => return Ok(false),
        };
        let inspection = inspection.map_err(|error| explain(None, error))?;
        let totals = if next == Position::Over { &[] } else { checkpoint.totals() };
        self.stage.send_replace(Stage::new(&inspection, totals));
        let verdicts = self.hear(inspection, found, checkpoint).await?;
        checkpoint.mark(next, verdicts)?;
        Ok(true)
    }

    /// Writes down what is found until all replicas are through. The first that fails is the end.
    async fn hear(
        &self,
        mut inspection: Inspection,
        mut found: mpsc::Receiver<(usize, Finding)>,
        checkpoint: &mut Checkpoint,
    ) -> Result<Vec<Verdict>> {
        let names: Vec<&str> = self.settings.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
        let mut verdicts: Vec<Option<Verdict>> = names.iter().map(|_| None).collect();
        loop {
            tokio::select! {
                biased;
                finding = found.recv() => match finding {
                    Some((replica, finding)) => checkpoint.note(names.get(replica).copied().unwrap_or_default(), &finding)?,
                    // Whoever is through has told all it has found before.
                    None => break,
                },
                Some(inspected) = inspection.next() => take(inspected, &names, &mut verdicts)?,
            }
        }
        while let Some(inspected) = inspection.next().await {
            take(inspected, &names, &mut verdicts)?;
        }
        let all: Option<Vec<Verdict>> = verdicts.into_iter().collect();
        all.ok_or_else(|| Failure::failed(anyhow::anyhow!("a part of fulmar has ended unexpectedly")))
    }

    async fn cut(&self, after: Option<RelPath>) -> Result<Option<RelPath>> {
        let AuditSettings { filter, idle, .. } = self.settings.clone();
        let how = Auditing {
            filter,
            scope: Scope::default(),
            trusted: false,
            threads: 1,
            rate: None,
            idle,
            records: None,
            depth: Depth::Deep,
            links_only: false,
        };
        let (tree, most, meter) = (self.tree.clone(), self.slice, Arc::new(Meter::default()));
        let _stopper = Stopper(Arc::clone(&meter));
        let work = tokio::task::spawn_blocking(move || cut(&tree, &how, after.as_ref(), most, &meter));
        let ended = work.await.map_err(|_| explain(None, Error::Gone))?;
        ended.map_err(|error| explain(None, error.into()))
    }

    /// What came of the slices.
    fn earlier(&self, checkpoint: &mut Checkpoint) -> Result<Vec<Earlier>> {
        let mut all: Vec<Earlier> = checkpoint.totals().iter().cloned().map(Earlier::new).collect();
        if self.settings.profile == Profile::Maildir {
            checkpoint.findings(|replica, finding| {
                if let Some(earlier) = all.get_mut(replica) {
                    earlier.note(&finding);
                }
                Ok(())
            })?;
        }
        Ok(all)
    }
}

fn take(inspected: fulmar_primary::Inspected, names: &[&str], verdicts: &mut [Option<Verdict>]) -> Result<()> {
    let verdict = inspected.result.map_err(|error| explain(names.get(inspected.replica).copied(), error))?;
    if let Some(place) = verdicts.get_mut(inspected.replica) {
        *place = Some(verdict);
    }
    Ok(())
}

/// Whoever stops waiting wants nothing more to be looked at.
struct Stopper(Arc<Meter>);

impl Drop for Stopper {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[cfg(test)]
#[path = "sitting_tests.rs"]
mod tests;
