//! The task that verifies: waits until something is due and may begin, verifies, and writes down what came of it.
//!
//! A person's verification goes first: one of its own that is under way is given up, and is due again.

use super::run::{Auditor, Came, Wanted};
use super::schedule::{Admission, Due, Periodic, Schedule, Standing};
use super::slice::{Slice, cut, measure};
use super::tally::{When, left_out, quick, slice};
use crate::audit::Verdict;
use crate::clock::Clock;
use crate::error::chain;
use crate::guard::GuardState;
use crate::keeper::Keeper;
use crate::planner::Planner;
use crate::status::{Pulse, ReplicaState};
use crate::{Error, Result};
use fulmar_model::{Aspect, DeletePolicy, Depth, RelPath, ReplicaId};
use fulmar_store::{CatalogReader, Measure, Queue, Round, Verified};
use fulmar_tree::audit::Scope;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The longest it sleeps: a clock that is set meanwhile is noticed.
const NAP: Duration = Duration::from_secs(60);
/// How often it is looked whether what is due may begin.
const LOOK: Duration = Duration::from_secs(1);
/// A replica whose oldest change is older than that, and grows older, falls behind.
const LAG_MS: i64 = 5_000;

/// Ways to others.
pub(crate) struct Ways {
    pub(crate) queue: Keeper<Queue>,
    pub(crate) planner: Keeper<Planner>,
    /// What the sessions say, in the order of the endpoints.
    pub(crate) pulses: Vec<watch::Receiver<Pulse>>,
    /// How many verifications people have asked for that are under way.
    pub(crate) asked: watch::Receiver<u32>,
    /// What happens to what only a replica has.
    pub(crate) delete: DeletePolicy,
    pub(crate) clock: Clock,
    pub(crate) end: CancellationToken,
}

/// What the task owns.
pub(crate) struct Verifier {
    ways: Ways,
    auditor: Auditor,
    schedule: Schedule,
    slice: Measure,
    /// Age of the oldest change of each replica when it was last looked at, in milliseconds.
    lags_ms: Vec<i64>,
}

/// A replica when something is due.
struct Member {
    name: String,
    id: Option<ReplicaId>,
    standing: Standing,
}

impl Verifier {
    /// Until the primary ends. The rounds go on where they were.
    pub(crate) async fn run(periodic: Periodic, auditor: Auditor, ways: Ways) {
        let end = ways.end.clone();
        tokio::select! {
            () = end.cancelled() => {}
            () = Self::go_on(periodic, auditor, ways) => {}
        }
    }

    async fn go_on(periodic: Periodic, auditor: Auditor, ways: Ways) {
        let mut verifier = match Self::open(periodic, auditor, ways).await {
            Ok(verifier) => verifier,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "nothing is verified: what was written down cannot be read");
                return;
            }
        };
        loop {
            // Whoever else asks the same owners ends the primary where that must be.
            if let Err(error) = verifier.turn().await {
                tracing::warn!(error = %chain(&error), "the periodic verifier is disturbed, and tries again");
                tokio::time::sleep(NAP).await;
            }
        }
    }

    async fn open(periodic: Periodic, auditor: Auditor, ways: Ways) -> Result<Self> {
        let rounds = |queue: &mut Queue| Ok::<_, Error>((queue.round(Depth::Quick)?, queue.round(Depth::Deep)?));
        let (quick, deep) = ways.queue.ask(rounds).await??;
        let (slice, lags_ms) = (periodic.slice, vec![0; ways.pulses.len()]);
        let schedule = Schedule::new(periodic, (ways.clock)(), quick, deep);
        Ok(Self { ways, auditor, schedule, slice, lags_ms })
    }

    async fn turn(&mut self) -> Result<()> {
        let now = (self.ways.clock)();
        match self.schedule.next(now) {
            Due::In(ms) => tokio::time::sleep(Duration::from_millis(ms.unsigned_abs()).min(NAP)).await,
            Due::Verify(depth) => {
                let members = self.members().await?;
                let standings: Vec<_> = members.iter().map(|member| member.standing).collect();
                let hindered = *self.ways.asked.borrow() > 0 || !self.source_is_sound().await?;
                match self.schedule.admit(depth, &standings, hindered, now) {
                    Admission::Go => self.verify(depth, members).await?,
                    Admission::Wait => tokio::time::sleep(LOOK).await,
                }
            }
        }
        Ok(())
    }

    /// Whether the source is there and nothing is held back: else all that is missing in it would be found on the replicas.
    async fn source_is_sound(&self) -> Result<bool> {
        let sound = |planner: &mut Planner| planner.tree.is_some() && planner.guard.state() == GuardState::Clear;
        self.ways.planner.ask(sound).await
    }

    async fn members(&mut self) -> Result<Vec<Member>> {
        let now = (self.ways.clock)();
        let mut members = Vec::new();
        for (at, endpoint) in self.auditor.settings.endpoints.iter().enumerate() {
            let Some(pulse) = self.ways.pulses.get(at).map(|pulse| pulse.borrow().clone()) else { continue };
            let name = endpoint.name.clone();
            let look = move |queue: &mut Queue| -> fulmar_store::Result<_> {
                let row = queue.replica(pulse.replica, &name)?;
                let oldest = match row.as_ref().and_then(|row| row.cursor) {
                    Some(cursor) => queue.backlog(cursor)?.oldest_ms,
                    None => None,
                };
                Ok((row.map(|row| row.id), oldest))
            };
            let (id, oldest) = self.ways.queue.ask(look).await??;
            let lag = oldest.map_or(0, |oldest| now.saturating_sub(oldest));
            let before = self.lags_ms.get_mut(at).map(|before| std::mem::replace(before, lag));
            let standing = match pulse.state {
                ReplicaState::Live if lag > LAG_MS && before.is_some_and(|before| lag > before) => Standing::Behind,
                ReplicaState::Live if id.is_some() => Standing::Ready,
                ReplicaState::Comparing => Standing::Behind,
                _ => Standing::Away,
            };
            members.push(Member { name: endpoint.name.clone(), id, standing });
        }
        Ok(members)
    }

    async fn verify(&mut self, depth: Depth, members: Vec<Member>) -> Result<()> {
        let now = (self.ways.clock)();
        let mut round = match self.schedule.round(depth) {
            Some(round) if depth == Depth::Deep && !round.over => round.clone(),
            _ => {
                let whole = if depth == Depth::Deep { self.measure(None).await? } else { Measure::default() };
                Round { began_ms: now, whole, ..Round::default() }
            }
        };
        let (after, part) = (round.upto.clone(), self.part(depth, &round).await?);
        let Some(scope) = Scope::between(after, part.upto.clone()) else {
            // The end was found behind the beginning; only a damaged database says otherwise.
            return Err(Error::Gone);
        };
        let replicas = members.iter().enumerate().filter(|(_, member)| member.standing == Standing::Ready);
        let replicas: Vec<_> = replicas.map(|(at, member)| (at, member.id)).collect();
        let rate = self.schedule.rate(depth);
        tracing::debug!(depth = depth.word(), ?scope, rate, "verifying");
        let began = Instant::now();
        let Some(came) = self.compare(Wanted { depth, scope, rate, replicas }).await else { return Ok(()) };
        let took_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let ended = (self.ways.clock)();
        tell(depth, &members, &came, self.ways.delete);
        if came.iter().all(|(_, result)| result.is_err()) {
            self.schedule.failed(depth, ended);
        } else {
            (round.paused_ms, round.over, round.upto) = (ended, part.upto.is_none(), part.upto);
            round.done.add(part.size);
            if !round.over && (round.done.entries > round.whole.entries || round.done.bytes > round.whole.bytes) {
                // The tree has grown since it was measured.
                round.whole = round.done;
                round.whole.add(self.measure(round.upto.clone()).await?);
            }
            self.schedule.note(depth, round.clone(), took_ms);
        }
        self.write_down(depth, round, members, came, ended).await
    }

    /// How much is compared at once: quick all of it, deep a slice.
    async fn part(&self, depth: Depth, round: &Round) -> Result<Slice> {
        if depth == Depth::Quick {
            return Ok(Slice { upto: None, size: Measure::default() });
        }
        let (after, most) = (round.upto.clone(), self.slice);
        self.with_catalog(move |catalog, ended| cut(catalog, after.as_ref(), most, ended)).await
    }

    async fn measure(&self, after: Option<RelPath>) -> Result<Measure> {
        self.with_catalog(move |catalog, ended| measure(catalog, after.as_ref(), ended)).await
    }

    async fn with_catalog<T: Send + 'static>(
        &self,
        read: impl FnOnce(&CatalogReader, &dyn Fn() -> bool) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let catalog = self.ways.planner.ask(|planner| planner.catalog.reader()).await??;
        let end = self.ways.end.clone();
        let work = tokio::task::spawn_blocking(move || read(&catalog, &|| end.is_cancelled()));
        work.await.map_err(|_| Error::Gone)?
    }

    /// Compares, and repairs what differs. `None`: it was given up because a person asks for the same.
    async fn compare(&mut self, wanted: Wanted) -> Option<Came> {
        let replicas: Vec<usize> = wanted.replicas.iter().map(|(at, _)| *at).collect();
        let mut asked = self.ways.asked.clone();
        let came = tokio::select! {
            came = self.auditor.run(wanted) => came,
            Ok(_) = asked.wait_for(|count| *count > 0) => return None,
        };
        Some(came.unwrap_or_else(|error| {
            let text = chain(&error);
            replicas.into_iter().map(|at| (at, Err(Error::ReplicaFailed { text: text.clone() }))).collect()
        }))
    }

    async fn write_down(
        &self,
        depth: Depth,
        round: Round,
        members: Vec<Member>,
        came: Came,
        ended_ms: i64,
    ) -> Result<()> {
        let when = When { began_ms: round.began_ms, ended_ms };
        let write = move |queue: &mut Queue| -> fulmar_store::Result<()> {
            let mut rows: Vec<(ReplicaId, Verified)> = Vec::new();
            for (at, member) in members.iter().enumerate() {
                let Some(id) = member.id else { continue };
                let known = queue.verified(id)?;
                let before = if depth == Depth::Quick { known.quick } else { known.under_way };
                let result = came.iter().find(|(index, _)| *index == at).map(|(_, result)| result);
                let row = match (depth, result) {
                    (Depth::Quick, Some(result)) => quick(before, result, when),
                    (Depth::Deep, Some(result)) => slice(before, result, when),
                    (_, None) => left_out(depth, before, member.standing.word(), when),
                };
                rows.push((id, row));
            }
            queue.note_round(depth, &round, &rows)
        };
        Ok(self.ways.queue.ask(write).await??)
    }
}

/// Paths that only the replica has, and that are meant to stay there: each round finds them again, and `status` has their number.
fn kept(verdict: &Verdict, delete: DeletePolicy) -> u64 {
    let extra = verdict.differences.get(&Aspect::Extra).copied().unwrap_or(0);
    if delete == DeletePolicy::Keep { extra } else { 0 }
}

/// What came of it, for the log.
fn tell(depth: Depth, members: &[Member], came: &Came, delete: DeletePolicy) {
    for (at, result) in came {
        let (Some(member), depth) = (members.get(*at), depth.word()) else { continue };
        match result {
            Ok(verdict) if verdict.difference_count() == kept(verdict, delete) && verdict.corrupt == 0 => {
                let (entries, kept) = (verdict.source.tally.entries, verdict.difference_count());
                tracing::info!(replica = %member.name, depth, entries, kept, "verified");
            }
            Ok(verdict) => {
                let differences = verdict.difference_count() - kept(verdict, delete);
                let (repaired, corrupt) = (verdict.repaired, verdict.corrupt);
                tracing::warn!(replica = %member.name, depth, differences, repaired, corrupt, "differed from the source");
            }
            Err(error) => tracing::warn!(replica = %member.name, depth, error = %chain(error), "was not verified"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_to_stay_on_a_replica_is_no_news() {
        let mut verdict = Verdict::default();
        verdict.differences.insert(Aspect::Extra, 3);
        verdict.differences.insert(Aspect::Mode, 1);
        assert_eq!(kept(&verdict, DeletePolicy::Keep), 3);
        assert_eq!(kept(&verdict, DeletePolicy::Quarantine), 0);
        assert_eq!(kept(&Verdict::default(), DeletePolicy::Keep), 0);
    }
}
