//! What comes up while a comparison is under way: the replica is played here, at the far end of a link in memory.

mod played;

use fulmar_link::{Lane, Link};
use fulmar_model::{Id, Outcome, RelPath, ReplicaId};
use fulmar_primary::{Mode, Primary, Settings};
use fulmar_wire::{FromPrimary, FromReplica, Operation, Page, Want, Welcome};
use played::settings;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// How long something that is due may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    i64::try_from(now.as_millis()).expect("a time")
}

/// What a replica has heard.
#[derive(Default)]
struct Ear {
    /// Pages without an answer, by directory.
    pages: HashMap<RelPath, Page>,
    /// Paths of the batch that comes.
    paths: Vec<RelPath>,
    /// Paths in the order in which they were first sent.
    order: Vec<RelPath>,
    /// Paths that were sent more than once, and all.
    again: HashSet<RelPath>,
    all: HashSet<RelPath>,
    /// The last batch, if it came just now.
    batch: Option<(u64, Vec<RelPath>)>,
    /// The last question about what only the replica has.
    asks: Option<Asks>,
}

enum Asks {
    Listed,
    Extras,
}

struct Replica {
    link: Link,
    ear: Ear,
}

impl Replica {
    async fn say(&mut self, what: FromReplica) {
        self.link.sender.send(Lane::Urgent, what.encode().expect("a frame")).await.expect("the primary listens");
    }

    async fn hear(&mut self) {
        self.ear.batch = None;
        let frame = self.link.receiver.receive().await.expect("the primary speaks");
        match FromPrimary::decode(frame.body()).expect("a message") {
            FromPrimary::Hello(_) => {
                let replica = ReplicaId(Id([4; 16]));
                let welcome = Welcome { replica, position: None, owners: true, credit: 4 << 20, quarantined: 0 };
                self.say(FromReplica::Welcome(welcome)).await;
            }
            FromPrimary::Survey { .. } => self.say(FromReplica::Surveyed { fingerprint: None }).await,
            FromPrimary::Page(page) => drop(self.ear.pages.insert(page.directory.clone(), page)),
            FromPrimary::Operate(Operation::Put { path, .. } | Operation::Metadata { path, .. }) => {
                if self.ear.all.insert(path.clone()) {
                    self.ear.order.push(path.clone());
                } else {
                    self.ear.again.insert(path.clone());
                }
                self.ear.paths.push(path);
            }
            FromPrimary::Listed => self.ear.asks = Some(Asks::Listed),
            FromPrimary::Extras { .. } => self.ear.asks = Some(Asks::Extras),
            FromPrimary::Commit { batch, .. } => self.ear.batch = Some((batch, std::mem::take(&mut self.ear.paths))),
            _ => {}
        }
    }

    /// Answers the page of a directory once it comes: wants all of it, or nothing.
    async fn wants(&mut self, directory: &str, all: bool) {
        let directory = RelPath::parse(directory.as_bytes()).expect("a path");
        let page = loop {
            if let Some(page) = self.ear.pages.remove(&directory) {
                break page;
            }
            self.hear_and_answer().await;
        };
        let wants = (0..).zip(&page.entries).filter(|_| all).map(|(index, _)| Want { index, have: None }).collect();
        self.say(FromReplica::Wanted { page: page.page, wants }).await;
    }

    async fn hear_and_answer(&mut self) {
        self.hear().await;
        if let Some((batch, _)) = self.ear.batch.take() {
            self.say(FromReplica::Committed { batch, outcomes: Vec::new(), quarantined: 0 }).await;
        }
    }

    /// The batch with that path, without an answer, and the path's index in it.
    async fn batch_with(&mut self, path: &RelPath) -> (u64, u32) {
        loop {
            self.hear().await;
            let Some((batch, paths)) = self.ear.batch.take() else { continue };
            if let Some(index) = paths.iter().position(|one| one == path) {
                return (batch, u32::try_from(index).expect("a small batch"));
            }
            self.say(FromReplica::Committed { batch, outcomes: Vec::new(), quarantined: 0 }).await;
        }
    }
}

async fn play(link: Link, done: UnboundedSender<()>) {
    let mut replica = Replica { link, ear: Ear::default() };
    let path = |text: &str| RelPath::parse(text.as_bytes()).expect("a path");
    replica.wants("", false).await;
    replica.wants("d0", true).await;
    // Asks for its content once more.
    let (batch, index) = replica.batch_with(&path("d0/f")).await;
    let outcomes = vec![(index, Outcome::NeedContent)];
    replica.say(FromReplica::Committed { batch, outcomes, quarantined: 0 }).await;
    // With a batch that is not answered, and a path that waits for others to go with it.
    replica.wants("d1", true).await;
    let (_unanswered, _) = replica.batch_with(&path("d1/f")).await;
    replica.wants("d2", true).await;
    // The listing does not go on.
    while !replica.ear.again.contains(&path("d0/f")) {
        replica.hear().await;
    }
    // Who waits for it may have given up.
    let _ = done.send(());
    std::future::pending::<()>().await;
}

/// Has a directory that the source makes after the comparison has passed its place.
async fn play_stray(link: Link, stray: PathBuf, done: UnboundedSender<()>) {
    let mut replica = Replica { link, ear: Ear::default() };
    let path = RelPath::parse(b"stray").expect("a path");
    replica.wants("", false).await;
    let mut paths = vec![path.clone()];
    while !replica.ear.pages.contains_key(&path) {
        replica.hear_and_answer().await;
        match std::mem::take(&mut replica.ear.asks) {
            Some(Asks::Listed) => replica.say(FromReplica::Compared { extras: paths.len() as u64 }).await,
            Some(Asks::Extras) => {
                std::fs::create_dir_all(&stray).expect("a directory");
                replica.say(FromReplica::Extras { paths: std::mem::take(&mut paths) }).await;
            }
            None => {}
        }
    }
    let _ = done.send(());
    std::future::pending::<()>().await;
}

/// Lacks everything, and tells what came in which order.
async fn play_empty(link: Link, order: UnboundedSender<Vec<RelPath>>) {
    let mut replica = Replica { link, ear: Ear::default() };
    for directory in ["", "d0", "d1", "d2"] {
        replica.wants(directory, true).await;
    }
    while !matches!(replica.ear.asks, Some(Asks::Listed)) {
        replica.hear_and_answer().await;
    }
    let _ = order.send(replica.ear.order);
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_missing_comes_right_before_what_is_in_it() {
    let directory = tempfile::tempdir().expect("a directory");
    for number in 0..2 {
        std::fs::create_dir_all(directory.path().join(format!("source/d{number}"))).expect("a directory");
        std::fs::write(directory.path().join(format!("source/d{number}/f")), "content").expect("a file");
    }
    std::fs::create_dir(directory.path().join("source/d2")).expect("a directory");
    std::fs::create_dir(directory.path().join("state")).expect("a directory");
    let (tell, mut order) = unbounded_channel();
    let serve = move |link| drop(tokio::spawn(play_empty(link, tell.clone())));
    let settings = Settings { clock: now_ms, ..settings(directory.path(), serve) };
    let (_primary, _sessions) = Primary::start(settings, None).await.expect("it starts");
    let order = tokio::time::timeout(PATIENCE, order.recv()).await.expect("in time").expect("all of it");
    let order: Vec<_> = order.iter().filter(|path| !path.is_root()).map(RelPath::to_string).collect();
    assert_eq!(order, ["d0", "d0/f", "d1", "d1/f", "d2"]);
}

/// Takes everything, goes away, and lacks everything when it comes back, but answers no page below the root.
async fn play_twice(link: Link, second: bool, order: UnboundedSender<Vec<RelPath>>) {
    let mut replica = Replica { link, ear: Ear::default() };
    replica.wants("", true).await;
    if !second {
        for directory in ["d0", "d1", "d2"] {
            replica.wants(directory, true).await;
        }
        while !matches!(replica.ear.asks, Some(Asks::Listed)) {
            replica.hear_and_answer().await;
        }
        return;
    }
    let last = RelPath::parse(b"d2").expect("a path");
    while !replica.ear.all.contains(&last) {
        replica.hear_and_answer().await;
    }
    let _ = order.send(replica.ear.order);
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_the_primary_knows_does_not_wait_for_its_page() {
    let directory = tempfile::tempdir().expect("a directory");
    let source = directory.path().join("source");
    for number in 0..3 {
        std::fs::create_dir_all(source.join(format!("d{number}"))).expect("a directory");
        std::fs::write(source.join(format!("d{number}/f")), "content").expect("a file");
    }
    std::fs::create_dir(directory.path().join("state")).expect("a directory");
    let (tell, mut order) = unbounded_channel();
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let serve = move |link| {
        let second = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0;
        drop(tokio::spawn(play_twice(link, second, tell.clone())));
    };
    let settings = Settings { clock: now_ms, mode: Mode::Follow, ..settings(directory.path(), serve) };
    let (_primary, _sessions) = Primary::start(settings, None).await.expect("it starts");
    let order = tokio::time::timeout(PATIENCE, order.recv()).await.expect("in time").expect("all of it");
    let order: Vec<_> = order.iter().filter(|path| !path.is_root()).map(RelPath::to_string).collect();
    assert_eq!(order, ["d0", "d1", "d2"], "what happens in it meanwhile would be refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stray_whose_place_the_source_takes_meanwhile_is_compared() {
    let directory = tempfile::tempdir().expect("a directory");
    let source = directory.path().join("source");
    std::fs::create_dir_all(directory.path().join("state")).expect("a directory");
    std::fs::create_dir(&source).expect("a directory");
    std::fs::write(source.join("file"), "content").expect("a file");
    let (done, mut is_done) = unbounded_channel();
    let serve = move |link| drop(tokio::spawn(play_stray(link, source.join("stray"), done.clone())));
    let settings = Settings { clock: now_ms, ..settings(directory.path(), serve) };
    let (_primary, _sessions) = Primary::start(settings, None).await.expect("it starts");
    let heard = tokio::time::timeout(PATIENCE, is_done.recv()).await;
    assert!(matches!(heard, Ok(Some(()))), "what the replica has in it stays there: {heard:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_due_again_goes_while_a_comparison_lists() {
    let directory = tempfile::tempdir().expect("a directory");
    for number in 0..12 {
        std::fs::create_dir_all(directory.path().join(format!("source/d{number}"))).expect("a directory");
        std::fs::write(directory.path().join(format!("source/d{number}/f")), "content").expect("a file");
    }
    std::fs::create_dir(directory.path().join("state")).expect("a directory");
    let (done, mut is_done) = unbounded_channel();
    let serve = move |link| drop(tokio::spawn(play(link, done.clone())));
    let settings = Settings { clock: now_ms, ..settings(directory.path(), serve) };
    let (_primary, _sessions) = Primary::start(settings, None).await.expect("it starts");
    let heard = tokio::time::timeout(PATIENCE, is_done.recv()).await;
    assert!(matches!(heard, Ok(Some(()))), "it waits for the end of the listing: {heard:?}");
}
