//! A deep round goes through the tree slice by slice, compares everything once, and goes on where it was.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fulmar_link::Link;
use fulmar_model::{DeletePolicy, Durability, Filter, Id, Profile, QueueId, ReplicaId, TreeId};
use fulmar_primary::{Endpoint, Mode, Periodic, Primary, Sessions, Settings, Target, TreeStatus};
use fulmar_store::Measure;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn settings(folder: &Path, deep: Duration) -> Settings {
    let (runtime, replica) = (tokio::runtime::Handle::current(), folder.join("replica"));
    let serve = move |link: Link, _| {
        let options = fulmar_replica::Options {
            fresh: ReplicaId(Id([2; 16])),
            boot: Id([3; 16]),
            clock: now_ms,
            privileged: false,
            host: Vec::new,
        };
        let root = replica.clone();
        runtime.spawn(async move { fulmar_replica::serve(root, link, options).await });
    };
    Settings {
        source: folder.join("source"),
        state: folder.join("state"),
        mode: Mode::Follow,
        endpoints: vec![Endpoint { name: "replica".to_owned(), target: Target::Here(Arc::new(serve)) }],
        profile: Profile::Plain,
        patterns: Vec::new(),
        filter: Filter::default(),
        adopt: false,
        durability: Durability::Batch,
        delete: DeletePolicy::Quarantine,
        approve_removals: false,
        tree: TreeId(Id([1; 16])),
        fresh_queue: QueueId(Id([4; 16])),
        boot: Id([3; 16]),
        privileged: false,
        clock: now_ms,
        settle: (Duration::from_millis(100), Duration::from_secs(5)),
        periodic: Periodic {
            quick: None,
            deep: Some(deep),
            slice: Measure { entries: 6, bytes: u64::MAX },
            rate: Periodic::RATE,
            random: 5,
        },
        advice: |_, _| None,
    }
}

/// Twelve directories of five files each: twelve slices and one for the root.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("state")).unwrap();
    for directory in 0..12 {
        let at = folder.path().join(format!("source/d{directory:02}"));
        fs::create_dir_all(&at).unwrap();
        (0..5).for_each(|file| fs::write(at.join(file.to_string()), format!("{directory} {file}")).unwrap());
    }
    folder
}

const ENTRIES: u64 = 12 + 60;

async fn start(settings: Settings) -> (Primary, Sessions) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        // The one before may be about to let go of its lock.
        match Primary::start(settings.clone(), None).await {
            Ok(started) => return started,
            Err(error) if tokio::time::Instant::now() > deadline => panic!("{error:?}"),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn until(primary: &Primary, what: &str, wanted: impl Fn(&TreeStatus) -> bool) -> TreeStatus {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let status = primary.status().await.expect("a status");
        if wanted(&status) {
            return status;
        }
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}\n{status:#?}");
        tick.tick().await;
    }
}

async fn end(primary: Primary, mut sessions: Sessions) {
    primary.end();
    while sessions.next().await.is_some() {}
}

fn round(status: &TreeStatus) -> Option<&fulmar_store::Round> {
    status.verify.as_ref()?.deep.as_ref()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_goes_on_at_its_slice_after_a_restart_and_compares_everything_once() {
    let folder = folder();
    let settings = settings(folder.path(), Duration::from_secs(12));
    let (primary, sessions) = start(settings.clone()).await;
    let some = |status: &TreeStatus| round(status).is_some_and(|round| round.done.entries >= ENTRIES / 3);
    let before = until(&primary, "a third of the round", some).await;
    end(primary, sessions).await;
    let before = round(&before).unwrap().clone();
    assert!(!before.over && before.upto.is_some() && before.whole.entries == ENTRIES, "{before:?}");

    let (primary, sessions) = start(settings).await;
    let status = primary.status().await.expect("a status");
    let (found, under_way) = (round(&status).unwrap().clone(), status.replicas[0].verified.under_way.clone());
    assert_eq!((found.began_ms, found.whole), (before.began_ms, before.whole), "known at once");
    assert!(found.done.entries >= before.done.entries && found.upto.is_some(), "{found:?}");
    assert_eq!(under_way.expect("a result").covered.entries, found.done.entries);
    let over = until(&primary, "the round is over", |status| status.replicas[0].verified.deep.is_some()).await;
    let deep = over.replicas[0].verified.deep.clone().unwrap();
    assert_eq!((deep.began_ms, deep.covered.entries, deep.missed), (before.began_ms, ENTRIES, 0));
    assert!(deep.is_equal(), "{deep:?}");
    end(primary, sessions).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_in_a_late_slice_is_found_and_counted_in_the_round() {
    let folder = folder();
    let (primary, sessions) = start(settings(folder.path(), Duration::from_secs(4))).await;
    until(&primary, "the replica is complete", |_| folder.path().join("replica/d11/4").exists()).await;
    let begun = |status: &TreeStatus| round(status).is_some_and(|round| !round.over && round.upto.is_some());
    until(&primary, "a round is under way", begun).await;
    fs::write(folder.path().join("replica/d11/4"), "somebody else's").unwrap();
    let count = |status: &TreeStatus| {
        let deep = status.replicas[0].verified.deep.as_ref();
        deep.map_or(0, fulmar_store::Verified::difference_count)
    };
    until(&primary, "a round has found it", |status| count(status) > 0).await;
    until(&primary, "it is mended", |_| fs::read(folder.path().join("replica/d11/4")).unwrap() == b"11 4").await;
    end(primary, sessions).await;
}
