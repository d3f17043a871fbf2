//! One connection to a replica, from hello to the end. A loop that waits for the next event and then does what can be done.
//!
//! Order of work: changes of the queue first, so that a message never waits for a comparison; then what the replica asked
//! for and what is due again, by turns. Large content flows beside all of it.
//! Bounds: [`FLIGHTS_MAX`] batches and [`PAGES_MAX`] pages without an answer, [`ASKED_MAX`] paths waiting to be planned.

use super::ahead::{Ahead, made};
use super::comparing::Comparing;
use super::cursor::{Settled, resume};
use super::ear;
use super::flight::{Errand, Flight, Left, Patience};
use super::moves::Moves;
use super::removals::Removals;
use super::{Session, Until};
use crate::chunks::{Arrived, Parcel, Shipping};
use crate::plan::BULK_CHANGES;
use crate::planner::Asked;
use crate::preparations::Preparations;
use crate::status::ReplicaState;
use crate::step::{Action, Step};
use crate::{Error, Result, Would};
use fulmar_link::{Lane, Link, Sender};
use fulmar_model::{DeletePolicy, HeldReason, RelPath, ReplicaId, Seq};
use fulmar_store::{Outstanding, OutstandingCount, Queue, Work};
use fulmar_tree::{Lender, Tree};
use fulmar_wire::{BATCH_OPERATIONS_MAX, Frame, FromPrimary, FromReplica};
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Batches the replica has not answered: it makes those durable together that wait together, and answers when the next are.
const FLIGHTS_MAX: usize = 8;
/// Paths waiting to be planned before further pages are sent.
pub(super) const ASKED_MAX: usize = 4 * BULK_CHANGES;
/// How long a replica may take to say who it is.
const WELCOME: Duration = Duration::from_secs(60);
/// How often what is due again is looked for.
const TICK: Duration = Duration::from_millis(250);

/// State of a connection.
pub(super) struct Visit<'a> {
    pub(super) session: &'a mut Session,
    pub(super) tree: Tree,
    pub(super) replica: ReplicaId,
    /// Whether it keeps owners.
    pub(super) owners: bool,
    pub(super) sender: Sender,
    inbox: mpsc::Receiver<Result<FromReplica>>,
    /// Changes up to here were sent.
    pub(super) position: Seq,
    /// Whether the replica knows a position of this queue, or will from a batch that was sent.
    pub(super) noted: bool,
    pub(super) flights: VecDeque<Flight>,
    pub(super) next_batch: u64,
    /// What the comparison under way found to differ.
    pub(super) asked: VecDeque<Asked>,
    /// The next of it, with the planner. Everything that is planned later must be sent later.
    pub(super) ahead: Option<Ahead>,
    /// What of the last batch the link had no room for at once.
    rest: Option<AbortOnDropHandle<Result<()>>>,
    /// Large files in the replica's stage, to be used by the next batch.
    pub(super) arrived: Vec<Arrived>,
    /// What is tried again. Apart from `asked`: a comparison may not wait for retries, which may wait for it.
    pub(super) retries: VecDeque<Asked>,
    /// Whether those are next: something that was asked for has gone since the last of them did.
    pub(super) turn: bool,
    /// Paths of outstanding work that is under way, and since when it is known.
    pub(super) busy: HashMap<RelPath, i64>,
    pub(super) attempts: HashMap<RelPath, u32>,
    moves: Moves,
    pub(super) comparing: Option<Comparing>,
    /// The comparison that begins next, once every batch before this one has been answered.
    pub(super) fence: Option<(RelPath, u64)>,
    pub(super) next_page: u32,
    pub(super) shipping: Shipping,
    pub(super) next_stream: u64,
    /// Whether there may be work that is due.
    pub(super) due: bool,
    /// Whether it was only looked at for large files, because of a plan that is being made or comes next.
    passed_over: bool,
    pub(super) outstanding: OutstandingCount,
    pub(super) removals: Removals,
}

impl<'a> Visit<'a> {
    /// Says hello and stays until the session is over, or the connection is.
    pub(super) async fn open(
        session: &'a mut Session,
        (link, lender): (Link, Option<Lender>),
        welcomed: &mut bool,
    ) -> Result<()> {
        let Link { sender, mut receiver } = link;
        session.restarts.mark_unchanged();
        let tree = session.planner.ask(|planner| planner.tree.clone()).await?.ok_or(Error::SourceGone)?;
        sender.send(Lane::Urgent, FromPrimary::Hello(session.hello.clone()).encode()?).await?;
        let first =
            tokio::time::timeout(WELCOME, receiver.receive()).await.map_err(|_| fulmar_link::Error::Closed)??;
        let welcome = match FromReplica::decode(first.body())? {
            FromReplica::Welcome(welcome) => welcome,
            FromReplica::Refused { reason, text } => return Err(Error::Refused { reason, text }),
            FromReplica::Failed { text } => return Err(Error::ReplicaFailed { text }),
            _ => return Err(Error::Protocol("something came before welcome")),
        };
        *welcomed = true;
        if let Some(gate) = session.gate.take() {
            gate.pass().await?;
        }
        let (inbox, ear) = ear::open(receiver, sender.clone());
        let (position, noted) = resume(session, &welcome).await?;
        let shipping = Shipping::start(
            tree.clone(),
            (sender.clone(), welcome.credit),
            session.signatures(),
            session.preparations.as_ref().map(Preparations::another),
            lender,
        )?;
        session.pulse.send_modify(|pulse| {
            pulse.replica = Some(welcome.replica);
            (pulse.error, pulse.hint) = (None, None);
            pulse.quarantined = welcome.quarantined;
            pulse.owners = welcome.owners;
            pulse.state = ReplicaState::Live;
            (pulse.listed, pulse.listing_ended, pulse.wanted, pulse.done, pulse.bytes) = (0, false, 0, 0, 0);
        });
        // Who waits for a replica that lacks nothing hears nothing else.
        session.progress.send_modify(|count| *count += 1);
        let mut visit = Self {
            session,
            tree,
            replica: welcome.replica,
            owners: welcome.owners,
            sender,
            inbox,
            position,
            noted,
            flights: VecDeque::new(),
            next_batch: 1,
            asked: VecDeque::new(),
            ahead: None,
            rest: None,
            arrived: Vec::new(),
            retries: VecDeque::new(),
            turn: false,
            busy: HashMap::new(),
            attempts: HashMap::new(),
            moves: Moves::default(),
            comparing: None,
            fence: None,
            next_page: 0,
            shipping,
            next_stream: 1,
            due: true,
            passed_over: false,
            outstanding: OutstandingCount::default(),
            removals: Removals::new(),
        };
        ear.beside(visit.run()).await
    }

    async fn run(&mut self) -> Result<()> {
        if self.session.would.is_some() {
            self.begin_comparison(RelPath::root(), 0, None).await?;
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.advance().await?;
            if self.session.until == Until::InSync && self.is_in_sync().await? {
                return Ok(());
            }
            let page_wanted = self.wants_page();
            let next_page = async {
                match self.comparing.as_mut() {
                    Some(comparing) if page_wanted => comparing.pages.recv().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                answer = self.inbox.recv() => {
                    self.answered(answer.unwrap_or(Err(Error::Link(fulmar_link::Error::Closed)))?).await?;
                }
                delivery = self.shipping.deliveries.recv() => {
                    self.delivered(delivery.ok_or(Error::Gone)??).await?;
                }
                () = self.removals.flushed() => {}
                made = made(&mut self.ahead) => made?,
                sent = sent(&mut self.rest) => sent?,
                listed = next_page => self.listed(listed.ok_or(Error::Gone)?).await?,
                _ = self.session.restarts.changed() => return Err(Error::SourceGone),
                changed = self.session.last.changed() => changed.map_err(|_| Error::Gone)?,
                _ = tick.tick() => self.due = true,
            }
        }
    }

    /// Does what can be done without waiting for the replica.
    async fn advance(&mut self) -> Result<()> {
        loop {
            self.due |= self.passed_over && !self.is_planning();
            if self.due {
                self.due = false;
                self.passed_over = self.is_planning();
                self.take_due().await?;
            }
            // The planner goes on while the replica has enough to do, except where something else must be planned first.
            if self.is_quiet() && self.arrived.is_empty() && !self.is_retries_turn() {
                self.plan_ahead();
            }
            if self.flights.len() >= FLIGHTS_MAX || self.rest.is_some() {
                return Ok(());
            }
            // What was planned first goes first.
            if self.ahead.is_some() {
                if !self.ship_ahead().await? {
                    return Ok(());
                }
                continue;
            }
            if !self.arrived.is_empty() {
                self.ship_arrived().await?;
                continue;
            }
            if self.ship_changes().await? || (self.is_retries_turn() && self.ship_retries().await?) {
                continue;
            }
            if self.plan_ahead() || self.ship_retries().await? {
                continue;
            }
            if self.step_comparison().await? || self.ship_removals().await? {
                continue;
            }
            return Ok(());
        }
    }

    /// Whether every change that is noticed was sent.
    fn is_quiet(&self) -> bool {
        // A run that ends when the replica is in sync compares; what is queued is covered by that.
        self.session.until == Until::InSync || *self.session.last.borrow() <= self.position
    }

    /// The next changes of the queue, if there are any.
    async fn ship_changes(&mut self) -> Result<bool> {
        self.session.last.mark_unchanged();
        if self.is_quiet() {
            return Ok(false);
        }
        let (after, replica) = (self.position, self.replica);
        let Some(batch) = self.session.planner.ask(move |planner| planner.next(after, replica)).await?? else {
            return Ok(false);
        };
        self.position = batch.upto;
        if batch.alone {
            self.removals.note_gap();
        }
        self.send(batch.steps.clone(), Errand { position: Some(batch.upto), ..Errand::default() }).await?;
        Ok(true)
    }

    /// Whether a plan is being made, or there are retries to be planned.
    pub(super) fn is_planning(&self) -> bool {
        self.ahead.is_some() || !self.retries.is_empty()
    }

    /// A comparison may take minutes, and always ask for something: what is tried again takes turns with that.
    fn is_retries_turn(&self) -> bool {
        self.turn && !self.retries.is_empty()
    }

    /// What is tried again.
    async fn ship_retries(&mut self) -> Result<bool> {
        if self.retries.is_empty() {
            return Ok(false);
        }
        self.turn = false;
        let retries = std::mem::take(&mut self.retries);
        let mut asked: Vec<_> = retries.iter().map(|(path, _)| path.clone()).collect();
        let replica = self.session.would.is_none().then_some(self.replica);
        let (steps, rest) = self.session.planner.ask(move |planner| planner.look(retries, replica)).await??;
        asked.truncate(asked.len() - rest.len());
        self.retries = rest;
        if asked.is_empty() {
            return Ok(false);
        }
        let since_ms = asked.iter().filter_map(|path| self.busy.get(path)).min().copied();
        self.send(steps, Errand { asked, since_ms, ..Errand::default() }).await?;
        Ok(true)
    }

    pub(super) async fn send(&mut self, steps: Vec<Step>, errand: Errand) -> Result<()> {
        if let Some(would) = &self.session.would {
            let name = &self.session.endpoint.name;
            let tell = |operation, path| Would { replica: name.clone(), operation, path };
            for step in steps {
                if step.removes && self.session.hello.delete == DeletePolicy::Keep {
                    continue;
                }
                if let Action::Operate { word, .. } = &step.action {
                    // Nobody listening is no reason to stop.
                    let _ = would.send(tell(word, step.path)).await;
                } else if matches!(step.action, Action::Large) {
                    let _ = would.send(tell("put", step.path)).await;
                }
            }
            return Ok(());
        }
        for (steps, errand) in errand.in_batches(steps, BATCH_OPERATIONS_MAX) {
            self.send_batch(steps, errand).await?;
        }
        Ok(())
    }

    async fn send_batch(&mut self, steps: Vec<Step>, errand: Errand) -> Result<()> {
        let position = errand.position;
        self.noted |= position.is_some();
        let mut flight = Flight::new(self.next_batch, errand, steps, (self.session.clock)());
        self.note_moves(&mut flight).await?;
        self.next_batch += 1;
        let (mut frames, mut bytes) = (Vec::with_capacity(flight.operated.len() + 1), 0);
        for step in &mut flight.operated {
            // Its bytes are not needed again.
            if let Action::Operate { frame, word } = std::mem::replace(&mut step.action, Action::Sent) {
                let from = step.from.as_ref().map(tracing::field::display);
                tracing::debug!(path = %step.path, operation = word, from, batch = flight.number, replica = %self.session.endpoint.name);
                bytes += frame.as_bytes().len() as u64;
                frames.push(frame);
            }
        }
        frames.push(FromPrimary::Commit { batch: flight.number, position }.encode()?);
        self.forward(frames).await?;
        self.session.pulse.send_modify(|pulse| pulse.bytes += bytes);
        self.flights.push_back(flight);
        Ok(())
    }

    /// Hands a batch to the link: what that has room for at once, and the rest beside whatever else there is to do.
    async fn forward(&mut self, frames: Vec<Frame>) -> Result<()> {
        if let Some(rest) = self.rest.take() {
            rest.await.map_err(|_| Error::Gone)??;
        }
        let mut frames = frames.into_iter();
        while let Some(frame) = frames.next() {
            let Some(frame) = self.sender.try_send(Lane::Urgent, frame)? else { continue };
            let sender = self.sender.clone();
            let rest = async move {
                for frame in std::iter::once(frame).chain(frames) {
                    sender.send(Lane::Urgent, frame).await?;
                }
                Ok(())
            };
            self.rest = Some(AbortOnDropHandle::new(tokio::spawn(rest)));
            break;
        }
        Ok(())
    }

    /// What is left over below a directory means nothing once it is renamed: the subtree is compared under its new name. Of
    /// what batches under way leave over, see [`Moves`].
    async fn note_moves(&mut self, flight: &mut Flight) -> Result<()> {
        let renamed = flight.operated.iter().filter(|step| step.subtree);
        let moves: Vec<_> = renamed.filter_map(|step| Some((step.from.clone()?, step.path.clone()))).collect();
        for (from, to) in moves {
            let (replica, at) = (self.replica, from.clone());
            let below = |path: &RelPath| path.starts_with(&from);
            let leftovers = self.busy.keys().any(below)
                || flight.left.keys().any(below)
                || self.session.queue.ask(move |queue| queue.any_outstanding_in(replica, &at)).await??;
            if leftovers {
                flight.left.insert(to.clone(), Left::new(Work::Compare, 0));
            }
            self.moves.note(flight.number, from, to);
        }
        Ok(())
    }

    async fn answered(&mut self, answer: FromReplica) -> Result<()> {
        match answer {
            FromReplica::Committed { batch, outcomes, quarantined } => {
                let flight = self.flights.pop_front().filter(|flight| flight.number == batch);
                let flight = flight.ok_or(Error::Protocol("an answer to a batch that was not sent"))?;
                self.landed(flight, &outcomes, quarantined).await
            }
            FromReplica::Wanted { page, wants } => self.wanted(page, &wants),
            FromReplica::Surveyed { fingerprint } => self.surveyed_there(fingerprint).await,
            FromReplica::Differing { page, prints } => self.differing(page, &prints).await,
            FromReplica::Compared { extras } => self.compared(extras).await,
            FromReplica::Extras { paths } => self.extras(paths).await,
            FromReplica::Credit { bytes } => self.shipping.tell(Parcel::Credit(bytes)),
            FromReplica::Basis(basis) => self.shipping.tell(Parcel::Basis(basis)),
            FromReplica::Pong => Ok(()),
            FromReplica::Failed { text } => Err(Error::ReplicaFailed { text }),
            FromReplica::Welcome(_) | FromReplica::Refused { .. } => Err(Error::Protocol("a second welcome")),
            FromReplica::Audit(_) => Err(Error::Protocol("an answer of an audit")),
        }
    }

    async fn landed(
        &mut self,
        flight: Flight,
        outcomes: &[(u32, fulmar_model::Outcome)],
        quarantined: u64,
    ) -> Result<()> {
        let operations = flight.operated.len() as u64;
        let (position, batch) = (flight.errand.position, flight.number);
        let paths: Vec<_> =
            flight.errand.asked.iter().chain(flight.operated.iter().map(|step| &step.path)).cloned().collect();
        let patience = if self.comparing.is_some() { Patience::Comparing } else { Patience::None };
        let landed = flight.land(outcomes, &self.attempts, patience, (self.session.clock)());
        let mut landed = landed.ok_or(Error::Protocol("an outcome of an operation that was not sent"))?;
        self.moves.follow(batch, &landed.stayed, &mut landed.left);
        let held = self.held_among(std::mem::take(&mut landed.lacking)).await?;
        landed.left.retain(|row| row.work != Work::Compare || !held.contains(&row.path));
        for path in paths {
            self.busy.remove(&path);
        }
        for path in &landed.applied {
            self.attempts.remove(path);
        }
        self.due |= !landed.left.is_empty() || self.fence.is_some();
        if let Some(comparing) = &mut self.comparing {
            comparing.landed(&landed);
        }
        let settled = match self.outstanding.total() {
            0 => Settled::default(),
            _ => Settled { done: landed.done, made: landed.made, removed: landed.removed },
        };
        self.acknowledge(position, landed.left, settled).await?;
        self.session.pulse.send_modify(|pulse| {
            pulse.done += operations;
            pulse.quarantined = quarantined;
        });
        self.session.progress.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Those of these directories that are held on the replica. That it lacks them is known, then: they are compared when they
    /// are not held any more, not for each change in them.
    async fn held_among(&self, directories: Vec<RelPath>) -> Result<HashSet<RelPath>> {
        if directories.is_empty() || self.outstanding.held == 0 {
            return Ok(HashSet::new());
        }
        let replica = self.replica;
        let is_held = |row: &Outstanding| match row.work {
            Work::Held { reason, .. } => !matches!(reason, HeldReason::Unreadable | HeldReason::Approval),
            _ => false,
        };
        let look = move |queue: &mut Queue| {
            let mut held = HashSet::new();
            for path in directories {
                held.extend(queue.left_at(replica, &path)?.filter(is_held).map(|row| row.path));
            }
            Ok::<_, Error>(held)
        };
        self.session.queue.ask(look).await?
    }

    /// Whether nothing is left but what is held.
    async fn is_in_sync(&mut self) -> Result<bool> {
        let waiting = !self.asked.is_empty() || self.ahead.is_some() || !self.arrived.is_empty();
        let waiting = waiting || !self.retries.is_empty();
        if self.comparing.is_some() || !self.flights.is_empty() || waiting {
            return Ok(false);
        }
        if self.session.would.is_some() {
            return Ok(true);
        }
        // What was counted last changes with what lands, and is counted anew with every tick.
        if self.outstanding.to_do() > 0 {
            return Ok(false);
        }
        let replica = self.replica;
        let count = self.session.queue.ask(move |queue| queue.outstanding_count(replica)).await??;
        Ok(count.to_do() == 0)
    }
}

/// Waits until the link has taken the rest of a batch, if there is one.
async fn sent(rest: &mut Option<AbortOnDropHandle<Result<()>>>) -> Result<()> {
    let Some(sending) = rest else { return std::future::pending().await };
    let sent = sending.await;
    *rest = None;
    sent.map_err(|_| Error::Gone)?
}
