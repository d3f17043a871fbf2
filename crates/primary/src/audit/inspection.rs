//! One replica: greeted, read together with the source, compared, judged.

use super::descent::Descend;
use super::earlier::Earlier;
use super::far::Far;
use super::flaws::Flaws;
use super::insight::{Insight, Ledger};
use super::repair::Repair;
use super::suspects::{Read, Suspect};
use super::verdict::{Coverage, Finding, Verdict};
use crate::session::{Endpoint, Target};
use crate::{Error, Result};
use fulmar_model::{Below, Depth, Filter, Hash, Id, Mailbox, Profile, RelPath, Side, Tally};
use fulmar_tree::Tree;
use fulmar_tree::audit::{Audited, Auditing, Meter, Scope, audit};
use fulmar_wire::{Ancestor, Answer, Begin, Digest, Question};
use std::collections::HashSet;
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OnceCell, mpsc, watch};
use tokio::task::JoinSet;

/// Everything an audit must be told.
#[derive(Clone)]
pub struct AuditSettings {
    /// The directory that is right by definition.
    pub source: PathBuf,
    /// Those that should be the same.
    pub endpoints: Vec<Endpoint>,
    /// Exclusions that belong to the kind of tree.
    pub profile: Profile,
    /// Further exclusions, in the syntax of gitignore.
    pub patterns: Vec<Box<[u8]>>,
    /// Both of them, understood.
    pub filter: Filter,
    /// How much of the tree.
    pub scope: Scope,
    /// Threads that read the source.
    pub threads: usize,
    /// Bytes that are read a second, on each side.
    pub rate: Option<NonZeroU64>,
    /// Whether disks are used only when nobody else wants them.
    pub idle: bool,
    /// The kernel's boot id.
    pub boot: Id,
    /// Whether this process sees `trusted.*` attributes.
    pub privileged: bool,
}

/// How far a replica is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pulse {
    /// Files it has read.
    pub files: u64,
    /// Bytes it has read.
    pub bytes: u64,
    /// Whether everything was read, and what differs is looked at.
    pub compares: bool,
    /// Differences found.
    pub differences: u64,
}

/// How the inspection of one replica ended.
#[derive(Debug)]
pub struct Inspected {
    /// Index of the replica.
    pub replica: usize,
    /// What came of it.
    pub result: Result<Verdict>,
}

/// An audit under way.
pub struct Inspection {
    visits: JoinSet<Inspected>,
    meter: Arc<Meter>,
    pulses: Vec<watch::Receiver<Pulse>>,
}

impl Inspection {
    /// Opens the source and begins with all replicas at once. What is found goes to `findings`, with the index of the replica.
    pub async fn start(settings: AuditSettings, findings: mpsc::Sender<(usize, Finding)>) -> Result<Self> {
        Self::begin(settings, None, findings).await
    }

    /// The same with what a running primary knows.
    pub(crate) async fn begin(
        settings: AuditSettings,
        insight: Option<Insight>,
        findings: mpsc::Sender<(usize, Finding)>,
    ) -> Result<Self> {
        let path = settings.source.clone();
        let tree = tokio::task::spawn_blocking(move || Tree::open(&path)).await.map_err(|_| Error::Gone)??;
        Self::on(tree, settings, insight, (Share::Whole, Vec::new()), findings)
    }

    /// One slice of several, of a source that is open: the settings' range, and neither link groups nor mailboxes, which may be in
    /// several slices. [`Inspection::rest`] is for them.
    pub fn slice(tree: Tree, settings: AuditSettings, findings: mpsc::Sender<(usize, Finding)>) -> Result<Self> {
        Self::on(tree, settings, None, (Share::Slice, Vec::new()), findings)
    }

    /// What slices leave: which names are one file, and mailboxes, of the whole tree; no file is read for it. `earlier`: what came of the
    /// slices, for each replica. Its verdicts are about everything.
    pub fn rest(
        tree: Tree,
        settings: AuditSettings,
        earlier: Vec<Earlier>,
        findings: mpsc::Sender<(usize, Finding)>,
    ) -> Result<Self> {
        let settings = AuditSettings { scope: Scope::default(), ..settings };
        Self::on(tree, settings, None, (Share::Rest, earlier), findings)
    }

    fn on(
        tree: Tree,
        settings: AuditSettings,
        insight: Option<Insight>,
        (share, earlier): (Share, Vec<Earlier>),
        findings: mpsc::Sender<(usize, Finding)>,
    ) -> Result<Self> {
        let links_only = (share == Share::Rest).then_some(true);
        let begin = Begin { links_only, ..begin(&settings, insight.as_ref(), &tree)? };
        let meter = Arc::new(Meter::default());
        let source = Arc::new(Source {
            tree,
            settings,
            insight,
            share,
            meter: Arc::clone(&meter),
            readings: Default::default(),
            mailboxes: Arc::default(),
        });
        let (mut visits, mut pulses) = (JoinSet::new(), Vec::new());
        let mut earlier = earlier.into_iter();
        for (index, endpoint) in source.settings.endpoints.iter().enumerate() {
            let (pulse, seen) = watch::channel(Pulse::default());
            pulses.push(seen);
            let (source, begin, target) = (Arc::clone(&source), begin.clone(), endpoint.target.clone());
            let teller = Teller { replica: index, findings: findings.clone(), pulse };
            let earlier = earlier.next();
            visits.spawn(async move {
                let result = inspect(source, (target, begin), teller, earlier).await;
                Inspected { replica: index, result }
            });
        }
        Ok(Self { visits, meter, pulses })
    }

    /// The next replica that is through; `None` when all are. Cancel-safe.
    pub async fn next(&mut self) -> Option<Inspected> {
        // A task that panicked has its replica without a verdict, which the caller counts as failed.
        self.visits.join_next().await?.ok().or(Some(Inspected { replica: usize::MAX, result: Err(Error::Gone) }))
    }

    /// Files and bytes of the source that were read.
    pub fn read(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// How far each replica is.
    pub fn pulses(&self) -> Vec<watch::Receiver<Pulse>> {
        self.pulses.clone()
    }

    /// Ends it soon.
    pub fn end(&mut self) {
        self.meter.stop();
        self.visits.abort_all();
    }
}

/// Whoever stops waiting for it wants nothing more to be read.
impl Drop for Inspection {
    fn drop(&mut self) {
        self.end();
    }
}

pub(super) fn begin(settings: &AuditSettings, insight: Option<&Insight>, tree: &Tree) -> Result<Begin> {
    let ancestors = tree.ancestors()?;
    Ok(Begin {
        boot: settings.boot,
        ancestors: ancestors.iter().map(|root| Ancestor { device: root.device, inode: root.inode }).collect(),
        source: settings.source.as_os_str().as_bytes().into(),
        profile: settings.profile,
        patterns: settings.patterns.clone(),
        privileged: settings.privileged,
        idle: settings.idle,
        rate: settings.rate.map(NonZeroU64::get),
        trust: insight.map(Insight::trust),
        after: settings.scope.after().cloned(),
        upto: settings.scope.upto().cloned(),
        links_only: None,
    })
}

/// Which share of an audit is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    Whole,
    Slice,
    Rest,
}

/// The source, which is read once for all replicas that see the same attributes.
struct Source {
    tree: Tree,
    settings: AuditSettings,
    insight: Option<Insight>,
    share: Share,
    meter: Arc<Meter>,
    /// Without and with `trusted.*` attributes.
    readings: [OnceCell<Arc<Audited>>; 2],
    mailboxes: Arc<OnceCell<Vec<Mailbox>>>,
}

impl Source {
    async fn read(&self, trusted: bool) -> Result<Arc<Audited>> {
        let [without, with] = &self.readings;
        let reading = if trusted { with } else { without };
        let AuditSettings { filter, scope, threads, rate, idle, .. } = self.settings.clone();
        let records = self.insight.as_ref().map(Insight::records);
        let depth = self.insight.as_ref().map_or(Depth::Deep, |insight| insight.depth);
        let links_only = self.share == Share::Rest;
        let how = Auditing { filter, scope, trusted, threads, rate, idle, records, depth, links_only };
        let (tree, meter) = (self.tree.clone(), Arc::clone(&self.meter));
        let read = || async {
            let work = tokio::task::spawn_blocking(move || audit(&tree, &RelPath::root(), &how, &meter));
            Ok(Arc::new(work.await.map_err(|_| Error::Gone)??))
        };
        reading.get_or_try_init(read).await.cloned()
    }
}

struct Teller {
    replica: usize,
    findings: mpsc::Sender<(usize, Finding)>,
    pulse: watch::Sender<Pulse>,
}

async fn inspect(
    source: Arc<Source>,
    (target, begin): (Target, Begin),
    teller: Teller,
    earlier: Option<Earlier>,
) -> Result<Verdict> {
    let began = Instant::now();
    let privileged = begin.privileged;
    let mut far = Far::new(target.connect(None).await?, teller.pulse.clone());
    far.ask(Question::Begin(begin)).await?;
    let Answer::Begun(begun) = far.answer().await? else { return Err(Error::Protocol("no word of welcome")) };
    let trusted = privileged && begun.privileged;
    // Both sides read at the same time; who is first waits. Others need the source, whatever becomes of this replica.
    let reading = tokio::spawn({
        let source = Arc::clone(&source);
        async move { source.read(trusted).await }
    });
    let theirs = digest(&mut far).await?;
    let audited = reading.await.map_err(|_| Error::Gone)??;
    teller.pulse.send_modify(|pulse| pulse.compares = true);
    let coverage = |below: Below, unread, mounts, read| Coverage { tally: below.tally, unread, mounts, read };
    let counts = audited.counts();
    let (host, root) = (begun.host.into(), begun.root.into());
    let verdict = Verdict {
        host,
        root,
        source: coverage(audited.below(), counts.unread, counts.mounts, Some(source.meter.read().1)),
        replica: coverage(theirs.below, theirs.unread, theirs.mounts, theirs.read),
        trusted,
        depth: source.insight.as_ref().map(|insight| insight.depth),
        recalls: begun.recalls,
        ..Verdict::default()
    };
    let (verdict, flaws) = match earlier {
        Some(earlier) => earlier.go_on(verdict),
        None => (verdict, Flaws::default()),
    };
    let meter = Arc::clone(&source.meter);
    // Looking at every message takes as long as everything else that a quick look does.
    let quick = source.insight.as_ref().is_some_and(|insight| insight.depth == Depth::Quick);
    // And a mailbox is several directories, which may be in two slices.
    let whole = source.share != Share::Slice && source.settings.scope.is_whole();
    let wanted = source.settings.profile == Profile::Maildir && whole && !quick;
    let mailboxes = wanted.then(|| Arc::clone(&source.mailboxes));
    let ledger = source.insight.as_ref().map(|insight| insight.of(teller.replica));
    let mut visit = Visit {
        source: audited,
        meter,
        far,
        teller,
        verdict,
        ledger,
        mailboxes,
        flaws,
        stack: Vec::new(),
        suspects: Vec::new(),
        further: Vec::new(),
        unread: HashSet::new(),
        rotten: HashSet::new(),
        repairs: Vec::new(),
        repaired_trees: HashSet::new(),
    };
    match source.share {
        Share::Whole => visit.compare_all(theirs).await?,
        Share::Slice => visit.compare_entries(&theirs).await?,
        Share::Rest => visit.compare_rest(theirs.links).await?,
    }
    visit.verdict.took = visit.verdict.took.saturating_add(began.elapsed());
    Ok(visit.verdict)
}

async fn digest(far: &mut Far) -> Result<Digest> {
    match far.answer().await? {
        Answer::Digest(digest) => Ok(digest),
        _ => Err(Error::Protocol("an answer to something else")),
    }
}

/// The comparison with one replica.
pub(super) struct Visit {
    pub(super) source: Arc<Audited>,
    pub(super) meter: Arc<Meter>,
    pub(super) far: Far,
    teller: Teller,
    pub(super) verdict: Verdict,
    /// What is to be listed; the last comes first.
    pub(super) stack: Vec<Descend>,
    pub(super) suspects: Vec<Suspect>,
    /// Directories of one side that were told with the directory they are in, and what the range has of them.
    pub(super) further: Vec<(RelPath, Tally)>,
    /// What was told to be unreadable.
    pub(super) unread: HashSet<(Side, RelPath)>,
    /// Of the source, once they were looked at; `None` where mailboxes are not compared.
    pub(super) mailboxes: Option<Arc<OnceCell<Vec<Mailbox>>>>,
    /// What those have to answer for.
    pub(super) flaws: Flaws,
    /// Beside a running primary.
    pub(super) ledger: Option<Ledger>,
    /// What was told to have rotted on the source.
    pub(super) rotten: HashSet<RelPath>,
    pub(super) repairs: Vec<Repair>,
    /// Directories that were repaired with what is in them.
    pub(super) repaired_trees: HashSet<RelPath>,
}

impl Visit {
    /// How much of the tree is compared.
    pub(super) fn scope(&self) -> &Scope {
        &self.source.how().scope
    }

    async fn compare_all(&mut self, theirs: Digest) -> Result<()> {
        self.compare_entries(&theirs).await?;
        self.compare_rest(theirs.links).await
    }

    async fn compare_entries(&mut self, theirs: &Digest) -> Result<()> {
        self.tell_unread(theirs.unread).await?;
        if self.scope().has(&RelPath::root()) && *self.source.entry() != theirs.entry {
            self.suspects.push(Suspect::both_sided(RelPath::root(), Read::IfTouched));
        }
        let ours = self.source.below();
        self.compare(&RelPath::root(), ours, theirs.below);
        self.descend().await
    }

    async fn compare_rest(&mut self, links: Option<Hash>) -> Result<()> {
        self.compare_links(links).await?;
        // What was repaired because of those.
        self.descend().await?;
        self.tell_rotten().await?;
        // Their verdicts depend on everything that was told before.
        self.compare_mailboxes().await
    }

    async fn tell_unread(&mut self, theirs: u64) -> Result<()> {
        let ours = self.source.unread().to_vec();
        let ours = ours.into_iter().map(|unread| (Side::Source, unread));
        let mut all: Vec<_> = ours.collect();
        if theirs > 0 {
            self.far.ask(Question::Unread).await?;
            loop {
                let Answer::Unread { more, paths } = self.far.answer().await? else {
                    return Err(Error::Protocol("an answer to something else"));
                };
                all.extend(paths.into_iter().map(|unread| (Side::Replica, unread)));
                if !more || all.len() > 4 * fulmar_tree::audit::UNREAD_MAX {
                    break;
                }
            }
        }
        for (side, unread) in all {
            self.unread.insert((side, unread.path.clone()));
            self.send(Finding::Unreadable { side, unread }).await?;
        }
        Ok(())
    }

    /// Counts a finding and hands it on.
    pub(super) async fn tell(&mut self, finding: Finding) -> Result<()> {
        match &finding {
            Finding::Difference(difference, why) => {
                let sum = self.verdict.differences.entry(difference.aspect).or_default();
                *sum = sum.saturating_add(1);
                if let Some(why) = why {
                    *self.verdict.blames.entry(why.blame).or_default() += 1;
                    self.verdict.repaired += u64::from(why.repaired == Some(true));
                }
                self.teller.pulse.send_modify(|pulse| pulse.differences += 1);
            }
            Finding::Busy(_) => self.verdict.busy = self.verdict.busy.saturating_add(1),
            Finding::Arriving { .. } => self.verdict.arriving += 1,
            Finding::Corrupt { .. } => self.verdict.corrupt += 1,
            Finding::Mailbox { .. } | Finding::Further { .. } | Finding::Unreadable { .. } => {}
        }
        self.send(finding).await
    }

    pub(super) async fn send(&mut self, finding: Finding) -> Result<()> {
        if self.mailboxes.is_some() {
            self.flaws.note(&finding);
        }
        self.teller.findings.send((self.teller.replica, finding)).await.map_err(|_| Error::Gone)
    }
}
