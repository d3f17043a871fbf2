//! One primary's visit. The session is a task that only receives, and hands on to the threads that do the work.

use crate::apply::Applier;
use crate::basis::Bases;
use crate::chunks::{CREDIT_BYTES, Piece, Writer};
use crate::commit::{Committer, Job, SEALING_FIRST};
use crate::compare::{Comparer, Listing, Looked};
use crate::open::{Opening, Ready, open};
use crate::stager::{Order, Stager};
use crate::{Error, Result, audit};
use fulmar_link::{Lane, Link, Receiver, Sender};
use fulmar_model::{Id, ReplicaId};
use fulmar_tree::{Lender, Lock, Ownership, Tree};
use fulmar_wire::{DOUBTS_MAX, Frame, FromPrimary, FromReplica, Hello, Operation, Question, Welcome};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

/// How often a replica says that it is alive while it is busy, or while something arrives: a batch may take many minutes to do
/// so. Well below the silence after which a primary gives up.
const ALIVE: Duration = Duration::from_secs(10);
/// Silence after which the primary counts as gone, and the replica is free for another connection: a host that lost its power says
/// no farewell. A primary that is there says something every minute.
const SILENCE_END: Duration = Duration::from_secs(300);
/// How long the primary is given to take the reason why it is left.
const FAREWELL: Duration = Duration::from_secs(5);
/// Operations that have arrived together are handed to the stager together, up to this many bytes of frames and one more:
/// to wake a thread costs as much as a small operation.
const GATHER_BYTES: usize = 256 * 1024;
/// Hands full of operations waiting for the stager; full: the session stops reading, and the primary feels it.
const ORDERS: usize = 4;
/// Batches waiting for the committer, which takes them together; full: the stager waits. As many as a primary sends at most.
const JOBS: usize = 8;
/// Pages waiting for the comparer. The primary sends at most this many before it has an answer.
const PAGES: usize = 8;
/// Chunks waiting for the chunk writer: what the credit allows in the smallest chunks.
const PIECES: usize = (CREDIT_BYTES / fulmar_wire::CHUNK_COST_MIN) as usize + 16;

/// What the program that serves knows and this crate does not ask the system for.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Identity to give a directory that becomes a replica.
    pub fresh: ReplicaId,
    /// The kernel's boot id.
    pub boot: Id,
    /// Milliseconds since 1970.
    pub clock: fn() -> i64,
    /// Whether this process may give files away.
    pub privileged: bool,
    /// What this machine calls itself.
    pub host: fn() -> Vec<u8>,
}

/// Serves one primary over `link` until it leaves. `Ok` when it left between two batches or in one; the next visit
/// goes on from there.
pub async fn serve(root: PathBuf, link: Link, options: Options) -> Result<()> {
    serve_beside(root, link, options, None).await
}

/// The same in the process of the primary, which lends what is in its source.
pub async fn serve_beside(root: PathBuf, mut link: Link, options: Options, lender: Option<Lender>) -> Result<()> {
    let result = match FromPrimary::decode(link.receiver.receive().await?.body())? {
        FromPrimary::Hello(hello) => visit(root, &hello, &mut link, (options, lender)).await,
        FromPrimary::Audit(Question::Begin(begin)) => audit::answer(root, begin, &mut link, options).await,
        _ => return Err(Error::Protocol("something came before hello")),
    };
    match result {
        Err(Error::Link(fulmar_link::Error::Closed)) | Ok(()) => Ok(()),
        Err(error) => {
            let farewell = match &error {
                Error::Refused { reason, text } => FromReplica::Refused { reason: *reason, text: text.clone() },
                other => FromReplica::Failed { text: chain(other) },
            };
            // The primary may be gone already; the error itself is what counts.
            let _ = link.sender.send(Lane::Urgent, farewell.encode()?).await;
            // Who serves may end its process next, and the reason with it.
            link.finish(FAREWELL).await;
            Err(error)
        }
    }
}

/// What a visit is given beside the root.
type Means = (Options, Option<Lender>);

async fn visit(root: PathBuf, hello: &Hello, link: &mut Link, (options, lender): Means) -> Result<()> {
    let asked = hello.clone();
    let opened = tokio::task::spawn_blocking(move || open(&root, &asked, &options)).await;
    match opened.map_err(|_| Error::Panicked)?? {
        Ready::Open(opening) => follow(*opening, hello, link, (options, lender)).await,
        Ready::Look(tree) => look(tree, hello, link, options).await,
    }
}

/// An error with its causes, for the other side.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The threads of a visit and the ways to them.
struct Crew {
    orders: tokio::sync::mpsc::Sender<Order>,
    listings: SyncSender<Listing>,
    pieces: SyncSender<Piece>,
    jobs: SyncSender<Job>,
    threads: Vec<JoinHandle<Result<()>>>,
    /// Yields when a thread has ended.
    ended: tokio::sync::mpsc::Receiver<()>,
    /// Held until every thread has ended.
    _lock: Lock,
}

async fn follow(opening: Opening, hello: &Hello, link: &mut Link, means: Means) -> Result<()> {
    let welcome = Welcome {
        replica: opening.identity.replica,
        position: opening.store.position()?,
        owners: means.0.privileged,
        credit: CREDIT_BYTES,
        quarantined: opening.store.quarantine_count()?,
    };
    link.sender.send(Lane::Urgent, FromReplica::Welcome(welcome).encode()?).await?;
    let mut crew = Crew::start(opening, hello, &link.sender, means)?;
    let result = crew.serve(link).await;
    // A receiver that is gone ends the threads that wait for room to answer.
    let stopped = tokio::task::spawn_blocking(move || crew.stop()).await.map_err(|_| Error::Panicked)?;
    match (result, stopped) {
        // A thread that failed closed its channel: its error is the cause of what the session saw.
        (_, Err(cause)) if !matches!(cause, Error::Link(_)) => Err(cause),
        (result, _) => result,
    }
}

impl Crew {
    fn start(mut opening: Opening, hello: &Hello, answers: &Sender, (options, lender): Means) -> Result<Self> {
        // A comparison that was cut short has left extras that mean nothing to the next.
        opening.store.extras_clear()?;
        let reader = opening.store.catalog().reader()?;
        let bases = Bases::new(opening.tree.clone(), opening.store.catalog().reader()?);
        let Opening { tree, private, stage, partials, store, lock, .. } = opening;
        let ownership = if options.privileged { Ownership::Keep } else { Ownership::Skip };
        let stage = Arc::new(stage);
        let (orders, orders_end) = tokio::sync::mpsc::channel(ORDERS);
        let (jobs, jobs_end) = sync_channel(JOBS);
        let (listings, listings_end) = sync_channel(PAGES + 1);
        let (pieces, pieces_end) = sync_channel(PIECES);
        let (alive, ended) = tokio::sync::mpsc::channel(1);
        let comparer = Comparer {
            tree: Some(tree.clone()),
            catalog: Some(reader),
            owners: options.privileged,
            listings: listings_end,
            committer: Some(jobs.clone()),
            answers: answers.clone(),
            looked: Looked::default(),
            surveyed: None,
        };
        let writer = Writer {
            stage: Arc::clone(&stage),
            partials,
            bases,
            lender,
            refused: std::collections::VecDeque::new(),
            durability: hello.durability,
            pieces: pieces_end,
            stager: orders.clone(),
            answers: answers.clone(),
        };
        let stager = Stager {
            tree: tree.clone(),
            stage: Arc::clone(&stage),
            ownership,
            orders: orders_end,
            committer: jobs.clone(),
        };
        let committer = Committer {
            applier: Applier::new(tree, private, stage, store, (ownership, hello.delete, options.clock)),
            durability: hello.durability,
            queue: hello.queue,
            jobs: jobs_end,
            answers: answers.clone(),
            owed: Vec::new(),
            sealing: std::time::Instant::now() + SEALING_FIRST,
        };
        let threads = vec![
            spawn("fulmar-compare", alive.clone(), move || comparer.run())?,
            spawn("fulmar-chunks", alive.clone(), move || writer.run())?,
            spawn("fulmar-stage", alive.clone(), move || stager.run())?,
            spawn("fulmar-commit", alive, move || committer.run())?,
        ];
        Ok(Self { orders, listings, pieces, jobs, threads, ended, _lock: lock })
    }

    /// Hands on what the primary says until it leaves or something fails.
    async fn serve(&mut self, link: &mut Link) -> Result<()> {
        let answers = link.sender.clone();
        let mut life = Life::new();
        let (mut gathered, mut bytes) = (Vec::new(), 0);
        loop {
            let frame = match link.receiver.ready()? {
                Some(frame) if bytes < GATHER_BYTES => frame,
                ready => {
                    bytes = 0;
                    self.hand_over(&mut gathered, &answers).await?;
                    match ready {
                        Some(frame) => frame,
                        None => tokio::select! {
                            frame = life.receive(&mut link.receiver, &answers) => frame?,
                            _ = self.ended.recv() => return Err(Error::Panicked),
                        },
                    }
                }
            };
            let message = FromPrimary::decode(frame.body())?;
            if !matches!(message, FromPrimary::Operate(_)) {
                self.hand_over(&mut gathered, &answers).await?;
            }
            let sent = match message {
                FromPrimary::Operate(operation) => {
                    bytes += frame.body().len();
                    gathered.push(operation);
                    true
                }
                FromPrimary::Commit { batch, position } => {
                    self.order(Order::Commit { batch, position }, &answers).await?
                }
                FromPrimary::Page(page) => hand(&self.listings, Listing::Page(page))?,
                FromPrimary::Listed => hand(&self.listings, Listing::End)?,
                FromPrimary::Survey { subtree } => hand(&self.listings, Listing::Survey(subtree))?,
                FromPrimary::Prints { page, prints } => hand(&self.listings, Listing::Prints { page, prints })?,
                FromPrimary::Extras { after } => wait_for(&self.jobs, Job::Extras { after }, &answers).await?,
                // Credit bounds the chunks an honest primary has under way. Offers, and what takes them back, cost none, and are
                // many where many files move while they are read; so a chunk may find no room, either. Who waits is the session.
                FromPrimary::Chunk { stream, offset, bytes } => {
                    wait_for(&self.pieces, Piece::Bytes { stream, offset, bytes }, &answers).await?
                }
                FromPrimary::Offer(offer) => wait_for(&self.pieces, Piece::Offer(offer), &answers).await?,
                FromPrimary::Lend(lend) => wait_for(&self.pieces, Piece::Lend(lend), &answers).await?,
                FromPrimary::Abandon { stream } => wait_for(&self.pieces, Piece::Abandon { stream }, &answers).await?,
                FromPrimary::Ping => {
                    link.sender.send(Lane::Urgent, FromReplica::Pong.encode()?).await?;
                    true
                }
                FromPrimary::Doubt { paths } if paths.len() > DOUBTS_MAX => {
                    return Err(Error::Protocol("a doubt of too much"));
                }
                FromPrimary::Doubt { paths } => wait_for(&self.jobs, Job::Doubt(paths), &answers).await?,
                FromPrimary::Hello(_) => return Err(Error::Protocol("a second hello")),
                FromPrimary::Audit(_) => return Err(Error::Protocol("a question of an audit")),
            };
            if !sent {
                return Err(Error::Panicked);
            }
        }
    }

    async fn hand_over(&self, gathered: &mut Vec<Operation>, answers: &Sender) -> Result<()> {
        if gathered.is_empty() {
            return Ok(());
        }
        match self.order(Order::Operate(std::mem::take(gathered)), answers).await? {
            true => Ok(()),
            false => Err(Error::Panicked),
        }
    }

    /// Hands an order to the stager. While there is no room, the primary is told that somebody is alive here.
    async fn order(&self, order: Order, answers: &Sender) -> Result<bool> {
        // Most of the time there is room, and nobody needs a clock.
        let order = match self.orders.try_send(order) {
            Ok(()) => return Ok(true),
            Err(error) => error.into_inner(),
        };
        loop {
            match timeout(ALIVE, self.orders.reserve()).await {
                Ok(Ok(room)) => {
                    room.send(order);
                    return Ok(true);
                }
                Ok(Err(_)) => return Ok(false),
                Err(_) => answers.send(Lane::Urgent, FromReplica::Pong.encode()?).await?,
            }
        }
    }

    /// Closes every channel and waits for the threads; the first error is the cause of the others.
    fn stop(self) -> Result<()> {
        let Self { orders, listings, pieces, jobs, threads, .. } = self;
        drop((orders, listings, pieces, jobs));
        let mut first = Ok(());
        for thread in threads {
            let ended = thread.join().unwrap_or(Err(Error::Panicked));
            if first.is_ok() || matches!(first, Err(Error::Panicked | Error::Link(_))) {
                first = ended.and(first);
            }
        }
        first
    }
}

/// Tells the primary that somebody is alive here while something arrives.
struct Life {
    tick: Interval,
    /// What has arrived up to here was spoken of.
    told: Instant,
}

impl Life {
    fn new() -> Self {
        let told = Instant::now();
        let mut tick = interval_at(told + ALIVE, ALIVE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { tick, told }
    }

    /// The next frame. Cancel-safe.
    async fn receive(&mut self, receiver: &mut Receiver, answers: &Sender) -> Result<Frame> {
        let since = Instant::now();
        loop {
            tokio::select! {
                frame = receiver.receive() => return Ok(frame?),
                _ = self.tick.tick() => {}
            }
            if receiver.heard().max(since).elapsed() >= SILENCE_END {
                tracing::info!(seconds = SILENCE_END.as_secs(), "no word from the primary: as if it had left");
                return Err(fulmar_link::Error::Closed.into());
            }
            if receiver.heard() > self.told {
                self.told = receiver.heard();
                // Where there is no room, answers are on their way, and say as much.
                answers.try_send(Lane::Urgent, FromReplica::Pong.encode()?)?;
            }
        }
    }
}

/// Puts something into a channel. While there is no room, the primary is told that somebody is alive here.
async fn wait_for<T: Send + 'static>(channel: &SyncSender<T>, item: T, answers: &Sender) -> Result<bool> {
    let item = match channel.try_send(item) {
        Ok(()) => return Ok(true),
        Err(TrySendError::Disconnected(_)) => return Ok(false),
        Err(TrySendError::Full(item)) => item,
    };
    let channel = channel.clone();
    let mut handed = tokio::task::spawn_blocking(move || channel.send(item).is_ok());
    loop {
        match timeout(ALIVE, &mut handed).await {
            Ok(handed) => return handed.map_err(|_| Error::Panicked),
            Err(_) => answers.send(Lane::Urgent, FromReplica::Pong.encode()?).await?,
        }
    }
}

/// Puts something into a channel that has room by agreement.
fn hand<T>(channel: &SyncSender<T>, item: T) -> Result<bool> {
    match channel.try_send(item) {
        Ok(()) => Ok(true),
        Err(TrySendError::Full(_)) => Err(Error::Protocol("more was sent than was agreed on")),
        Err(TrySendError::Disconnected(_)) => Ok(false),
    }
}

/// Starts a thread that says so when it ends.
fn spawn(
    name: &str,
    alive: tokio::sync::mpsc::Sender<()>,
    run: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<JoinHandle<Result<()>>> {
    let body = move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or(Err(Error::Panicked));
        // Full means that another thread's end is being told already.
        let _ = alive.try_send(());
        result
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|_| Error::Panicked)
}

/// A dry run against a directory that is no replica yet: only compares.
async fn look(tree: Option<Tree>, _hello: &Hello, link: &mut Link, options: Options) -> Result<()> {
    let welcome =
        Welcome { replica: options.fresh, position: None, owners: options.privileged, credit: 0, quarantined: 0 };
    link.sender.send(Lane::Urgent, FromReplica::Welcome(welcome).encode()?).await?;
    let (listings, listings_end) = sync_channel(PAGES + 1);
    let comparer = Comparer {
        tree,
        catalog: None,
        owners: options.privileged,
        listings: listings_end,
        committer: None,
        answers: link.sender.clone(),
        looked: Looked::default(),
        surveyed: None,
    };
    let (alive, mut ended) = tokio::sync::mpsc::channel(1);
    let thread = spawn("fulmar-compare", alive, move || comparer.run())?;
    let mut life = Life::new();
    let result = loop {
        let frame = tokio::select! {
            frame = life.receive(&mut link.receiver, &link.sender) => frame,
            _ = ended.recv() => break Err(Error::Panicked),
        };
        let message = match frame {
            Ok(frame) => FromPrimary::decode(frame.body())?,
            Err(error) => break Err(error),
        };
        let handed = match message {
            FromPrimary::Page(page) => hand(&listings, Listing::Page(page)),
            FromPrimary::Listed => hand(&listings, Listing::End),
            FromPrimary::Extras { after } => hand(&listings, Listing::Extras { after }),
            FromPrimary::Ping => {
                link.sender.send(Lane::Urgent, FromReplica::Pong.encode()?).await?;
                Ok(true)
            }
            _ => Err(Error::Protocol("an operation in a dry run")),
        };
        match handed {
            Ok(true) => {}
            Ok(false) => break Err(Error::Panicked),
            Err(error) => break Err(error),
        }
    };
    drop(listings);
    tokio::task::spawn_blocking(move || thread.join()).await.map_err(|_| Error::Panicked)?.unwrap_or(Ok(())).or(result)
}
