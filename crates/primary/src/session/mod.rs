//! One replica: reach it, ship what it lacks, keep its cursor; when it goes away, come back. Nothing here waits for another
//! replica.
//!
//! Reading order: this file (reaching it, again and again; at first together, `gate`), `visit` (one connection), `ear` (what
//! is heard on it, and when it is given up), `cursor` (what is written down of it), `flight` (a batch under way) and `moves` (the directories it renames), `comparing` (a
//! comparison under way; before it `survey`) and `ahead` (what it asked for, being planned), `due` (what is tried again, and
//! large files), `removals` (what is gone).

mod ahead;
mod comparing;
mod cursor;
mod due;
mod ear;
mod flight;
mod gate;
mod moves;
mod removals;
mod survey;
mod visit;

pub(crate) use gate::Gate;

use crate::clock::Clock;
use crate::error::chain;
use crate::keeper::Keeper;
use crate::planner::Planner;
use crate::preparations::Preparations;
use crate::signatures::Signatures;
use crate::status::{Pulse, ReplicaState};
use crate::waiting::Barrier;
use crate::{Error, Result, Would};
use fulmar_link::{Invocation, Link, pair};
use fulmar_model::{Filter, Seq};
use fulmar_store::Queue;
use fulmar_tree::Lender;
use fulmar_wire::Hello;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// First and longest pause between two attempts to reach a replica.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long the far end may take to say anything: a host that is slow to log in, not one that is stuck.
const PREFACE: Duration = Duration::from_secs(60);

/// How a replica is reached.
#[derive(Clone)]
pub enum Target {
    /// In this process: given the far end of a link, and perhaps the source to clone from, starts to serve.
    Here(Arc<dyn Fn(Link, Option<Lender>) + Send + Sync>),
    /// Through a program.
    Program(Invocation),
}

/// A replica as the user named it.
#[derive(Clone)]
pub struct Endpoint {
    /// What the user typed.
    pub name: String,
    /// How to reach it.
    pub target: Target,
}

/// When a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// The replica has everything it can have.
    InSync,
    /// It is told to end.
    Told,
}

/// What a session needs of its primary.
pub(crate) struct Session {
    pub(crate) endpoint: Endpoint,
    pub(crate) hello: Hello,
    pub(crate) until: Until,
    pub(crate) queue: Keeper<Queue>,
    pub(crate) planner: Keeper<Planner>,
    pub(crate) filter: Filter,
    pub(crate) last: watch::Receiver<Seq>,
    pub(crate) barrier: Barrier,
    pub(crate) signatures: Signatures,
    /// Where there are other replicas.
    pub(crate) preparations: Option<Preparations>,
    /// Changes when the source was gone and is back.
    pub(crate) restarts: watch::Receiver<u64>,
    pub(crate) pulse: watch::Sender<Pulse>,
    /// Bumped whenever something was acknowledged.
    pub(crate) progress: watch::Sender<u64>,
    /// Told what a dry run would do.
    pub(crate) would: Option<mpsc::Sender<Would>>,
    pub(crate) end: CancellationToken,
    /// Until the first contact, where there are others on this machine.
    pub(crate) gate: Option<Gate>,
    pub(crate) clock: Clock,
    /// What can be done about a replica that is away.
    pub(crate) advice: fn(&str, &Error) -> Option<String>,
    /// How long a file may keep changing before a torn version of it is shipped.
    pub(crate) delay_max: Duration,
}

impl Session {
    /// Until the replica is in sync, or the session is told to end. An error: it makes no sense to go on.
    pub(crate) async fn run(mut self) -> Result<()> {
        let end = self.end.clone();
        let mut pause = PAUSE_MIN;
        let (mut welcomed, mut known) = (false, false);
        loop {
            let began = Instant::now();
            let visit = async {
                let lender = self.lender().await?;
                let link = self.endpoint.target.connect(lender.clone()).await?;
                visit::Visit::open(&mut self, (link, lender), &mut welcomed).await
            };
            let error = tokio::select! {
                biased;
                () = end.cancelled() => return Ok(()),
                ended = visit => match ended {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                },
            };
            // A replica that worked before and refuses now is one that is away: the others go on.
            known |= welcomed;
            let hopeless = error.is_final() && !known;
            let over = self.until == Until::InSync || hopeless || matches!(error, Error::Store(_) | Error::Gone);
            match self.gate.take() {
                Some(gate) if over => gate.close(),
                Some(gate) => gate.give_way(),
                None => {}
            }
            if over {
                return Err(error);
            }
            // One that fails as soon as it is reached is in trouble; one that has served for a while was only interrupted.
            if std::mem::take(&mut welcomed) && began.elapsed() > pause {
                pause = PAUSE_MIN;
            }
            let (text, hint) = (chain(&error), (self.advice)(&self.endpoint.name, &error));
            tracing::warn!(replica = %self.endpoint.name, error = %text, hint, "the replica is away; trying again");
            self.pulse.send_modify(|pulse| {
                pulse.state = ReplicaState::Away;
                (pulse.error, pulse.hint) = (Some(text), hint);
            });
            self.progress.send_modify(|count| *count += 1);
            tokio::select! {
                () = end.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// For a replica behind a program, patches are worth their work.
    fn signatures(&self) -> Option<Signatures> {
        match self.endpoint.target {
            Target::Here(_) => None,
            Target::Program(_) => Some(self.signatures.clone()),
        }
    }

    /// For a replica in this process, as long as the source is there.
    async fn lender(&self) -> Result<Option<Lender>> {
        match self.endpoint.target {
            Target::Here(_) => self.planner.ask(|planner| planner.tree.clone().and_then(Lender::if_able)).await,
            Target::Program(_) => Ok(None),
        }
    }
}

impl Target {
    /// Reaches it.
    pub(crate) async fn connect(&self, lender: Option<Lender>) -> Result<Link> {
        match self {
            Self::Here(serve) => {
                let (near, far) = pair();
                serve(far, lender);
                Ok(near)
            }
            Self::Program(invocation) => match tokio::time::timeout(PREFACE, invocation.connect()).await {
                Ok(link) => Ok(link?),
                Err(_) => Err(Error::ReplicaFailed { text: format!("no word for {} seconds", PREFACE.as_secs()) }),
            },
        }
    }
}
