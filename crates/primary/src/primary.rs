//! Starts the parts of a primary, and ends them.

use crate::audit::{AuditSettings, Insight};
use crate::clock::Clock;
use crate::further::FurtherNames;
use crate::guard::{Guard, GuardState, LIMITS, Trip, decode_root, encode_root};
use crate::housekeeping::{keep_house, seal_at_end};
use crate::keeper::{Keeper, background};
use crate::periodic::{Auditor, Periodic, Verifier, Ways};
use crate::planner::Planner;
use crate::preparations::Preparations;
use crate::rescan::{Rescan, Rescans};
use crate::session::{Endpoint, Gate, Session, Target, Until};
use crate::signatures::Signatures;
use crate::status::{Pulse, ReplicaStatus, TreeStatus, VerifyStatus, WatchStatus};
use crate::supervisor::Supervisor;
use crate::waiting::{Barrier, WaitError, Waited, held_path};
use crate::{Error, Result};
use fulmar_model::{
    DeletePolicy, Depth, Durability, Filter, Id, Profile, QueueId, RelPath, ReplicaId, RootId, Term, TreeId,
};
use fulmar_store::{Catalog, Opened, Queue, VerifiedRounds, set_aside};
use fulmar_tree::audit::Scope;
use fulmar_tree::{Lock, Tree, identify, lock_file};
use fulmar_watch::Meter;
use fulmar_wire::{Ancestor, Hello};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// New directories that the watcher has not heard of yet.
const FOUND: usize = 4096;

/// The catalog, in the state directory.
const CATALOG: &str = "catalog.db";

/// Held paths listed in a status.
pub const HELD_LISTED: usize = 100;

/// What a primary is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Bring the replicas up to date, then end.
    Sync,
    /// Tell what `Sync` would do, then end.
    DryRun,
    /// Follow changes until told to end.
    Follow,
}

/// Everything a primary must be told.
#[derive(Clone)]
pub struct Settings {
    /// The directory that is authoritative.
    pub source: PathBuf,
    /// Directory of the state of this tree on this machine; it exists, and is not inside the source.
    pub state: PathBuf,
    /// What to do.
    pub mode: Mode,
    /// The replicas.
    pub endpoints: Vec<Endpoint>,
    /// Exclusions that belong to the kind of tree.
    pub profile: Profile,
    /// Further exclusions, in the syntax of gitignore.
    pub patterns: Vec<Box<[u8]>>,
    /// Both of them, understood: what is not replicated.
    pub filter: Filter,
    /// Whether a directory with foreign content may become a replica.
    pub adopt: bool,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// What happens to paths that are gone from the source.
    pub delete: DeletePolicy,
    /// Whether a person has approved the removals of this run.
    pub approve_removals: bool,
    /// The tree.
    pub tree: TreeId,
    /// Identity for a queue that has to be made.
    pub fresh_queue: QueueId,
    /// The kernel's boot id.
    pub boot: Id,
    /// Whether this process sees `trusted.*` attributes.
    pub privileged: bool,
    /// Milliseconds since 1970.
    pub clock: Clock,
    /// How long a path that is being written waits without, and with, further writes.
    pub settle: (Duration, Duration),
    /// How it verifies by itself while it follows.
    pub periodic: Periodic,
    /// What a person can do about a replica, as it was named, that is away for this reason.
    pub advice: fn(&str, &Error) -> Option<String>,
}

/// What a dry run would do.
#[derive(Debug)]
pub struct Would {
    /// To which replica, as it was named.
    pub replica: String,
    /// What, in a word.
    pub operation: &'static str,
    /// Where.
    pub path: RelPath,
}

/// How a session ended.
#[derive(Debug)]
pub struct Finished {
    /// The replica.
    pub name: String,
    /// Why it did not end well.
    pub error: Option<Error>,
}

/// What the parts share: ways to the owners, nothing that is locked.
pub(crate) struct Parts {
    pub(crate) source: PathBuf,
    pub(crate) tree: TreeId,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) queue: Keeper<Queue>,
    pub(crate) planner: Keeper<Planner>,
    pub(crate) rescans: Rescans,
    pub(crate) pulses: Vec<watch::Receiver<Pulse>>,
    pub(crate) progress: watch::Sender<u64>,
    pub(crate) meter: Option<Arc<Meter>>,
    pub(crate) barrier: Barrier,
    pub(crate) clock: Clock,
    /// How an audit of this tree is made.
    pub(crate) audit: AuditSettings,
    /// What a verification knows beside that, but for whom it is of.
    pub(crate) insight: Insight,
    /// One verification at a time.
    pub(crate) verifying: Semaphore,
    periodic: Option<Periodic>,
    /// How many verifications people have asked for that are under way; the periodic one gives way to them.
    pub(crate) asked: watch::Sender<u32>,
    pub(crate) end: CancellationToken,
    /// Kept: sessions would take its end for a restart.
    _restarts: watch::Sender<u64>,
    _lock: Lock,
}

/// A running primary. Clones speak to the same one.
#[derive(Clone)]
pub struct Primary(Arc<Parts>);

/// The sessions of a primary, to be waited for.
pub struct Sessions(JoinSet<Finished>);

impl Primary {
    /// Opens the state, watches the source, and starts a session for every replica. `would` is told what a dry run would do.
    ///
    /// Errors leave nothing running. A damaged database is set aside and built anew.
    pub async fn start(settings: Settings, would: Option<mpsc::Sender<Would>>) -> Result<(Self, Sessions)> {
        let end = CancellationToken::new();
        let opening = settings.clone();
        let opened = tokio::task::spawn_blocking(move || State::open(&opening)).await.map_err(|_| Error::Gone)??;
        let State { tree, lock, queue, catalog, guard } = opened;
        let (last, last_seen) = watch::channel(queue.last());
        let queue_id = queue.id();
        let queue = Keeper::start("fulmar-queue", queue)?;
        let (rescans, requests) = Rescans::channel();
        let (found, found_out) = mpsc::channel(FOUND);
        let (further, further_names) = FurtherNames::channel();
        let planner = Planner::new(
            tree.clone(),
            (catalog, settings.filter.clone(), guard),
            (queue.clone(), rescans.clone(), last.clone()),
            (found, further_names, settings.clock),
        );
        let planner = Keeper::start("fulmar-plan", planner)?;
        if settings.approve_removals {
            planner.ask(Planner::approve_all).await??;
        }
        let rescan = Rescan {
            filter: settings.filter.clone(),
            queue: queue.clone(),
            planner: planner.clone(),
            requests,
            rescans: rescans.clone(),
            last: last.clone(),
            clock: settings.clock,
        };
        background("fulmar-scan", end.clone(), move || rescan.run())?;
        let restarts = watch::Sender::new(0);
        let (mut meter, mut flushes) = (None, None);
        if settings.mode == Mode::Follow {
            let names: Vec<_> = settings.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
            let resumable = queue.ask(move |queue| forget_others(queue, &names)).await??;
            let (flush_in, flush_out) = mpsc::channel(16);
            let supervisor = Supervisor {
                settings: settings.clone(),
                queue: queue.clone(),
                planner: planner.clone(),
                rescans: rescans.clone(),
                restarts: restarts.clone(),
                end: end.clone(),
                meter: Arc::default(),
            };
            meter = Some(Arc::clone(&supervisor.meter));
            supervisor.start(last.clone(), further, flush_out, found_out).await?;
            flushes = Some(flush_in);
            // With nobody to resume, comparisons see everything that is there, and what else the replicas have.
            if resumable {
                rescans.request(RelPath::root());
            }
        }
        let barrier = Barrier { flushes, rescans: rescans.clone(), queue: queue.clone() };
        let hello = hello(&settings, &tree, queue_id)?;
        let signatures = Signatures::new(settings.state.join("signatures"), settings.clock);
        let replicas = settings.endpoints.len();
        let shared = replicas > 1 && would.is_none();
        let preparations = shared.then(|| Preparations::new(settings.state.clone(), replicas)).transpose()?;
        let progress = watch::Sender::new(0);
        let (mut sessions, mut pulses) = (JoinSet::new(), Vec::new());
        let here = settings.endpoints.iter().filter(|endpoint| matches!(endpoint.target, Target::Here(_))).count();
        let gate = (here > 1 && would.is_none()).then(|| Gate::new(here));
        for endpoint in &settings.endpoints {
            let (pulse, seen) = watch::channel(Pulse::default());
            pulses.push(seen);
            let session = Session {
                endpoint: endpoint.clone(),
                hello: hello.clone(),
                until: if settings.mode == Mode::Follow { Until::Told } else { Until::InSync },
                queue: queue.clone(),
                planner: planner.clone(),
                filter: settings.filter.clone(),
                last: last_seen.clone(),
                barrier: barrier.clone(),
                signatures: signatures.clone(),
                preparations: preparations.clone(),
                restarts: restarts.subscribe(),
                pulse,
                progress: progress.clone(),
                would: would.clone(),
                end: end.clone(),
                gate: gate.clone().filter(|_| matches!(endpoint.target, Target::Here(_))),
                clock: settings.clock,
                advice: settings.advice,
                delay_max: settings.settle.1,
            };
            let name = endpoint.name.clone();
            sessions.spawn(async move { Finished { name, error: session.run().await.err() } });
        }
        let asked = watch::Sender::new(0);
        let insight = Insight {
            tree: settings.tree,
            depth: Depth::Quick,
            repair: false,
            catalog: settings.state.join(CATALOG),
            queue: queue.clone(),
            planner: planner.clone(),
            barrier: barrier.clone(),
            clock: settings.clock,
            replicas: Vec::new(),
        };
        if settings.mode == Mode::Follow {
            let ways = Ways {
                queue: queue.clone(),
                planner: planner.clone(),
                pulses: pulses.clone(),
                asked: asked.subscribe(),
                delete: settings.delete,
                clock: settings.clock,
                end: end.clone(),
            };
            let auditor = Auditor { settings: audit_settings(&settings), insight: insight.clone() };
            tokio::spawn(Verifier::run(settings.periodic.clone(), auditor, ways));
            tokio::spawn(keep_house(planner.clone(), end.clone()));
        }
        let parts = Parts {
            audit: audit_settings(&settings),
            insight,
            verifying: Semaphore::new(1),
            periodic: Some(settings.periodic).filter(|_| settings.mode == Mode::Follow),
            asked,
            source: settings.source,
            tree: settings.tree,
            endpoints: settings.endpoints,
            queue,
            planner,
            rescans,
            pulses,
            progress,
            meter,
            barrier,
            clock: settings.clock,
            end,
            _restarts: restarts,
            _lock: lock,
        };
        Ok((Self(Arc::new(parts)), Sessions(sessions)))
    }

    /// Until all that happened before this call is durable on every replica.
    pub async fn wait(&self, patience: Duration) -> std::result::Result<Waited, WaitError> {
        self.0.wait(patience).await
    }

    /// Lets removals that were held back go ahead; gives their number.
    pub async fn approve(&self) -> Result<u64> {
        let count = self.0.planner.ask(Planner::approve).await??;
        if let Some(root) = identify(&self.0.source)? {
            let root = encode_root(&root);
            self.0.queue.ask(move |queue| queue.meta_set("root", &root)).await??;
        }
        Ok(count)
    }

    /// Tells every part to end.
    pub fn end(&self) {
        self.0.end.cancel();
    }

    /// Leaves the state in order at the end of the process: directories sealed, no log that grew large beside its database.
    /// Without it nothing is lost.
    pub async fn close(&self) -> Result<()> {
        seal_at_end(&self.0.planner).await;
        self.0.planner.ask(|planner| planner.catalog.close_log()).await??;
        Ok(self.0.queue.ask(|queue| queue.close_log()).await??)
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0
    }

    /// The whole picture.
    pub async fn status(&self) -> Result<TreeStatus> {
        self.0.status().await
    }
}

impl Sessions {
    /// The next session that ends; `None` when all have.
    pub async fn next(&mut self) -> Option<Finished> {
        let ended = self.0.join_next().await?;
        Some(ended.unwrap_or(Finished { name: String::new(), error: Some(Error::Gone) }))
    }
}

impl Parts {
    async fn status(&self) -> Result<TreeStatus> {
        let guard = self.planner.ask(|planner| planner.guard.state()).await?;
        let mut replicas = Vec::new();
        for (endpoint, pulse) in self.endpoints.iter().zip(&self.pulses) {
            let pulse = pulse.borrow().clone();
            replicas.push(self.replica_status(&endpoint.name, pulse, guard).await?);
        }
        let coverage = self.meter.as_ref().map(|meter| meter.read());
        let watch = coverage.map(|coverage| WatchStatus {
            known: coverage.known,
            watched: coverage.watched,
            polled: coverage.polled,
            overflows: coverage.overflows,
            limit_reached: coverage.limit_reached,
        });
        let verify = match &self.periodic {
            Some(periodic) => Some(VerifyStatus {
                quick_every: periodic.quick,
                deep_every: periodic.deep,
                deep: self.queue.ask(|queue| queue.round(Depth::Deep)).await??,
            }),
            None => None,
        };
        Ok(TreeStatus {
            verify,
            source: self.source.clone(),
            tree: self.tree,
            guard,
            watch,
            scanning: self.rescans.pending().borrow().pending > 0,
            replicas,
        })
    }

    /// Who the replicas are, in the order of the endpoints; `None`: it was never reached.
    pub(crate) async fn who(&self) -> Result<Vec<Option<ReplicaId>>> {
        let known: Vec<_> = self.pulses.iter().map(|pulse| pulse.borrow().replica).collect();
        let names: Vec<_> = self.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
        let who = move |queue: &mut Queue| -> fulmar_store::Result<_> {
            let one = |(known, name): (Option<ReplicaId>, String)| Ok(queue.replica(known, &name)?.map(|row| row.id));
            known.into_iter().zip(names).map(one).collect()
        };
        Ok(self.queue.ask(who).await??)
    }

    async fn replica_status(&self, name: &str, pulse: Pulse, guard: GuardState) -> Result<ReplicaStatus> {
        let mut status = ReplicaStatus {
            name: name.to_owned(),
            replica: pulse.replica,
            state: pulse.state,
            error: pulse.error,
            hint: pulse.hint,
            lag_ms: None,
            backlog: 0,
            held: 0,
            held_paths: Vec::new(),
            large: 0,
            quarantined: pulse.quarantined,
            owners: pulse.owners,
            listed: (pulse.listed, pulse.listing_ended),
            sockets: pulse.sockets,
            counts: (pulse.wanted, pulse.done, pulse.bytes),
            verified: VerifiedRounds::default(),
        };
        let wanted = name.to_owned();
        let picture = move |queue: &mut Queue| -> fulmar_store::Result<_> {
            let Some(row) = queue.replica(pulse.replica, &wanted)? else {
                return Ok((None, VerifiedRounds::default()));
            };
            let verified = queue.verified(row.id)?;
            let Some(cursor) = row.cursor else { return Ok((None, verified)) };
            let backlog = queue.backlog(cursor)?;
            let count = queue.outstanding_count(row.id)?;
            let (mut held, mut oldest, mut after) = (Vec::new(), backlog.oldest_ms, None);
            while count.total() > 0 {
                let page = queue.outstanding(row.id, after.as_ref(), 1000)?;
                after = page.last().map(|row| row.path.clone());
                oldest = page.iter().map(|row| row.since_ms).chain(oldest).min();
                held.extend(page.iter().filter_map(|row| held_path(row, guard)).take(HELD_LISTED - held.len()));
                if page.len() < 1000 || held.len() >= HELD_LISTED {
                    break;
                }
            }
            Ok((Some((backlog.changes + count.total() - count.held, oldest, count, held)), verified))
        };
        let (found, verified) = self.queue.ask(picture).await??;
        status.verified = verified;
        if let Some((backlog, oldest, count, held)) = found {
            status.backlog = backlog;
            status.lag_ms = Some(oldest.map_or(0, |oldest| ((self.clock)() - oldest).max(0)));
            (status.held, status.held_paths, status.large) = (count.held, held, count.content);
        }
        Ok(status)
    }
}

/// What is opened before anything runs.
struct State {
    tree: Tree,
    lock: Lock,
    queue: Queue,
    catalog: Catalog,
    guard: Guard,
}

impl State {
    fn open(settings: &Settings) -> Result<Self> {
        let tree = Tree::open(&settings.source)?;
        let lock = lock_file(&settings.state.join("lock"))?;
        let queue_path = settings.state.join("queue.db");
        let (mut queue, queue_opened) = rebuilt(&queue_path, |path| Queue::open(path, settings.fresh_queue))?;
        let catalog_path = settings.state.join(CATALOG);
        // Nothing waits for its commits to be on disk. After a power cut it may be behind what replicas have, which the scan
        // at the start finds as if it had changed since, and they answer that they have it (docs/adr/0015).
        let (catalog, catalog_opened) = rebuilt(&catalog_path, Catalog::open)?;
        for (path, opened) in [(&queue_path, queue_opened), (&catalog_path, catalog_opened)] {
            if let Opened::Rebuilt { reason } = opened {
                tracing::warn!(path = %path.display(), ?reason, "was damaged and is built anew; replicas are compared");
            }
        }
        if catalog_opened != Opened::Existing {
            // What the replicas have is not known any more.
            for row in queue.replicas()? {
                queue.reset_cursor(row.id)?;
            }
        }
        // What was taken before this start counts as planned: it is shipped by state alone.
        while !queue.take(4096)?.is_empty() {}
        let guard = open_guard(settings, &tree, &mut queue)?;
        Ok(Self { tree, lock, queue, catalog, guard })
    }
}

/// How this tree is audited.
fn audit_settings(settings: &Settings) -> AuditSettings {
    AuditSettings {
        source: settings.source.clone(),
        endpoints: settings.endpoints.clone(),
        profile: settings.profile,
        patterns: settings.patterns.clone(),
        filter: settings.filter.clone(),
        scope: Scope::default(),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        rate: None,
        idle: false,
        boot: settings.boot,
        privileged: settings.privileged,
    }
}

/// A replica that is not followed any more must not keep the queue from being pruned. Should it come back, it compares.
/// Gives whether one of the others can go on from a cursor.
fn forget_others(queue: &mut Queue, names: &[String]) -> fulmar_store::Result<bool> {
    let mut resumable = false;
    for row in queue.replicas()? {
        if names.contains(&row.name) {
            resumable |= row.cursor.is_some();
        } else {
            queue.forget(row.id)?;
        }
    }
    Ok(resumable)
}

/// Opens a database; one that is damaged is set aside first.
fn rebuilt<T>(
    path: &std::path::Path,
    open: impl Fn(&std::path::Path) -> fulmar_store::Result<(T, Opened)>,
) -> Result<(T, Opened)> {
    match open(path) {
        Err(error) if error.is_damage() => {
            set_aside(path)?;
            let (opened, _) = open(path)?;
            Ok((opened, Opened::Rebuilt { reason: fulmar_store::Rebuilt::Damaged }))
        }
        other => Ok(other?),
    }
}

fn open_guard(settings: &Settings, tree: &Tree, queue: &mut Queue) -> Result<Guard> {
    let mut state = queue.meta_get("guard")?.map_or(GuardState::Clear, |bytes| GuardState::decode(&bytes));
    let known = queue.meta_get("root")?.and_then(|bytes| decode_root(&bytes));
    let replaced = known.is_some_and(|known| !known.is_same(&tree.id()));
    match state {
        // The source is here, and a comparison counts its removals anew.
        GuardState::Tripped(Trip::SourceGone | Trip::SourceEmpty) => state = GuardState::Clear,
        GuardState::Tripped(Trip::SourceReplaced) if !replaced => state = GuardState::Clear,
        GuardState::Tripped(Trip::Wave { .. }) if settings.mode != Mode::Follow => state = GuardState::Clear,
        _ => {}
    }
    let held = queue.held_for_approval()?;
    if settings.mode == Mode::Follow && state == GuardState::Clear && held > 0 {
        // They wait for a person, and the status must say so, whatever held them back at first.
        state = GuardState::Tripped(Trip::Wave { removals: held, tree: held });
    }
    let mut guard = Guard::new(LIMITS, state);
    if replaced && !settings.approve_removals {
        guard.trip(Trip::SourceReplaced);
    } else {
        queue.meta_set("root", &encode_root(&tree.id()))?;
    }
    queue.meta_set("guard", &guard.state().encode())?;
    Ok(guard)
}

fn hello(settings: &Settings, tree: &Tree, queue: QueueId) -> Result<Hello> {
    let ancestor = |root: &RootId| Ancestor { device: root.device, inode: root.inode };
    Ok(Hello {
        tree: settings.tree,
        term: Term(1),
        queue,
        boot: settings.boot,
        ancestors: tree.ancestors()?.iter().map(ancestor).collect(),
        source: settings.source.as_os_str().as_bytes().into(),
        adopt: settings.adopt,
        dry_run: settings.mode == Mode::DryRun,
        durability: settings.durability,
        delete: settings.delete,
    })
}
