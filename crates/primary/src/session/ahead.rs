//! What a comparison asked for, planned while the replica has enough to do: one batch, which is sent before anything that is
//! planned later.

use super::flight::Errand;
use super::visit::Visit;
use crate::plan::BULK_CHANGES;
use crate::planner::Asked;
use crate::step::Step;
use crate::{Error, Result};
use fulmar_model::RelPath;
use std::collections::VecDeque;
use tokio_util::task::AbortOnDropHandle;

/// The batch, with the planner or back from it.
pub(super) struct Ahead {
    paths: Vec<RelPath>,
    plan: Plan,
}

enum Plan {
    Begun(AbortOnDropHandle<Result<Looked>>),
    Made(Looked),
}

/// Steps, and what was too much for one batch.
type Looked = (Vec<Step>, VecDeque<Asked>);

impl Visit<'_> {
    /// Whether more of what a comparison asks for is coming, and the replica has enough to do until then.
    fn gathers(&self) -> bool {
        let few = !self.asked.is_empty() && self.asked.len() < BULK_CHANGES;
        few && !self.flights.is_empty() && self.comparing.as_ref().is_some_and(|comparing| comparing.is_listing())
    }

    /// Has the planner begin with what the comparison asked for, if it is not at it.
    pub(super) fn plan_ahead(&mut self) -> bool {
        if self.ahead.is_some() || self.asked.is_empty() || self.gathers() {
            return false;
        }
        let asked: VecDeque<_> = self.asked.drain(..BULK_CHANGES.min(self.asked.len())).collect();
        let paths = asked.iter().map(|(path, _)| path.clone()).collect();
        let replica = self.session.would.is_none().then_some(self.replica);
        let planner = self.session.planner.clone();
        let plan = tokio::spawn(async move { planner.ask(move |planner| planner.look(asked, replica)).await? });
        self.ahead = Some(Ahead { paths, plan: Plan::Begun(AbortOnDropHandle::new(plan)) });
        true
    }

    /// Sends what was planned ahead; false: nothing is, yet.
    pub(super) async fn ship_ahead(&mut self) -> Result<bool> {
        let made = self.ahead.take_if(|ahead| matches!(ahead.plan, Plan::Made(_)));
        let Some(Ahead { paths: mut asked, plan: Plan::Made((steps, mut rest)) }) = made else { return Ok(false) };
        asked.truncate(asked.len() - rest.len());
        while let Some(path) = rest.pop_back() {
            self.asked.push_front(path);
        }
        if asked.is_empty() {
            // Whoever has a tree plans one path at least.
            return Err(Error::SourceGone);
        }
        let since_ms = match &self.comparing {
            Some(comparing) => Some(comparing.since_ms),
            None => asked.iter().filter_map(|path| self.busy.get(path)).min().copied(),
        };
        self.turn = true;
        let after = self.comparing.as_ref().and_then(|comparing| comparing.after.clone());
        self.send(steps, Errand { asked, since_ms, comparing: true, after, ..Errand::default() }).await?;
        Ok(true)
    }
}

/// Waits until the plan in the making is made, if there is one. Cancel-safe.
pub(super) async fn made(ahead: &mut Option<Ahead>) -> Result<()> {
    let Some(Ahead { plan, .. }) = ahead else { return std::future::pending().await };
    let Plan::Begun(making) = plan else { return std::future::pending().await };
    *plan = Plan::Made(making.await.map_err(|_| Error::Gone)??);
    Ok(())
}
