//! More happens than inotify can tell: a queue that overflows, too few watches, and bursts that stay just within. Nothing is
//! lost, `status` says what happened, and coverage comes back.
//!
//! The limits are the kernel's and shared by everything of one user, so these tests run one after the other.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fulmar_testkit::{Cluster, Value, need, need_root, until};

const WATCHES_MAX: &str = "/proc/sys/fs/inotify/max_user_watches";
const QUEUED_EVENTS_MAX: &str = "/proc/sys/fs/inotify/max_queued_events";
/// Files of a burst; each is worth three events at least.
const BURST: usize = 20_000;

static LIMITS: Mutex<()> = Mutex::new(());

fn one_at_a_time() -> MutexGuard<'static, ()> {
    // A test that failed has put its limit back.
    LIMITS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn cluster() -> Cluster {
    Cluster::new(env!("CARGO_BIN_EXE_fulmar"))
}

/// A lowered limit of the kernel, as before when dropped.
struct Lowered {
    before: String,
}

impl Lowered {
    fn watches(to: u32) -> Self {
        let before = fs::read_to_string(WATCHES_MAX).expect("inotify");
        fs::write(WATCHES_MAX, to.to_string()).expect("root may change it");
        Self { before }
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        if let Err(error) = fs::write(WATCHES_MAX, &self.before) {
            eprintln!("{WATCHES_MAX} is not {} again: {error}", self.before.trim());
        }
    }
}

/// Writes a file beside its place and renames it there.
fn publish(path: &Path, content: &str) {
    let beside = path.with_extension("tmp");
    fs::write(&beside, content).unwrap();
    fs::rename(&beside, path).unwrap();
}

/// Waits until what `status` says of the watcher satisfies `wanted`.
#[track_caller]
fn until_watch(cluster: &Cluster, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    until(Duration::from_secs(150), what, || {
        let status = cluster.status();
        if wanted(&status["watch"]) { Ok(status["watch"].clone()) } else { Err(format!("{status:#}")) }
    })
}

#[test]
fn an_overflow_loses_nothing_and_is_answered_once() {
    let _alone = one_at_a_time();
    if !need("rsync") {
        return;
    }
    let queued_max = fs::read_to_string(QUEUED_EVENTS_MAX).unwrap().trim().parse::<usize>().unwrap();
    if BURST * 3 <= queued_max {
        fulmar_testkit::skipped(&format!("a burst does not fill a queue of {queued_max} events"));
        return;
    }
    let cluster = cluster();
    let at = |directory: usize, name: &str| cluster.source().join(format!("d{directory}")).join(name);
    for directory in 0..100 {
        fs::create_dir(at(directory, "")).unwrap();
        (0..20).for_each(|file| fs::write(at(directory, &format!("old{file}")), "before").unwrap());
    }
    let follow = cluster.follow(&[]);
    cluster.settle();
    assert_eq!(cluster.status()["watch"]["overflows"], 0);

    follow.pause();
    (0..BURST).for_each(|file| publish(&at(file % 100, &format!("new{file}")), &file.to_string()));
    // The queue is full: of none of these there is an event. Few enough removals for the guard to let them pass.
    for directory in 0..100 {
        (0..3).for_each(|file| fs::remove_file(at(directory, &format!("old{file}"))).unwrap());
        (3..6).for_each(|file| fs::write(at(directory, &format!("old{file}")), "behind the overflow").unwrap());
        fs::create_dir_all(at(directory, "fresh/deep")).unwrap();
        fs::write(at(directory, "fresh/deep/file"), "in a directory without a watch").unwrap();
    }
    fs::rename(at(7, "fresh"), at(8, "moved")).unwrap();
    fs::rename(at(99, ""), cluster.source().join("renamed")).unwrap();
    follow.resume();
    cluster.assert_in_sync(1);
    let (watch, overflows) = watch_and_overflows(&cluster);
    assert!(overflows >= 1, "{watch:#}");
    // Everything that came into being unseen is watched.
    assert_eq!(watch["watched"], watch["directories"], "{watch:#}");
    assert_eq!((&watch["directories"], &watch["polled"]), (&301.into(), &0.into()), "{watch:#}");
    assert_eq!(cluster.status()["guard"]["state"], "ok");

    // What follows is told by events, at the price of what changed.
    let before = acknowledged(&cluster);
    publish(&cluster.source().join("renamed/fresh/deep/file"), "live again");
    cluster.assert_in_sync(1);
    let cost = acknowledged(&cluster) - before;
    assert!(cost <= 10, "{cost} operations for one file\n{:#}", cluster.status());
    assert_eq!(watch_and_overflows(&cluster).1, overflows, "one overflow leads to no other");
    follow.stop();
}

#[test]
fn beyond_the_watch_limit_changes_arrive_and_coverage_comes_back() {
    let _alone = one_at_a_time();
    if !(need_root("lowering the limit of watches") && need("rsync")) {
        return;
    }
    let cluster = cluster();
    let file = |directory: usize| cluster.source().join(format!("d{directory}/file"));
    for directory in 0..200 {
        fs::create_dir(cluster.source().join(format!("d{directory}"))).unwrap();
        fs::write(file(directory), "before").unwrap();
    }
    let lowered = Lowered::watches(50);
    let follow = cluster.follow(&[]);
    cluster.settle();
    let watch = until_watch(&cluster, "the limit is reported", |watch| watch["limit_reached"] == true);
    assert!(watch["polled"].as_u64() > Some(0) && watch["watched"].as_u64() <= Some(50), "{watch:#}");
    (0..200).for_each(|directory| publish(&file(directory), "whether watched or not"));
    cluster.settle();
    drop(lowered);
    cluster.assert_in_sync(1);

    let watch = until_watch(&cluster, "every directory is watched", |watch| {
        watch["watched"] == 201 && watch["directories"] == 201 && watch["polled"] == 0
    });
    assert_eq!(watch["limit_reached"], false, "{watch:#}");
    (0..200).for_each(|directory| publish(&file(directory), "seen by events"));
    cluster.assert_in_sync(1);
    follow.stop();
}

#[test]
fn a_burst_of_renames_into_place_converges() {
    let _alone = one_at_a_time();
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    let maildir = cluster.source().join("new");
    fs::create_dir(&maildir).unwrap();
    fs::create_dir(cluster.source().join("tmp")).unwrap();
    let follow = cluster.follow(&[]);
    cluster.settle();
    for file in 0..BURST {
        let beside = cluster.source().join(format!("tmp/{file}"));
        fs::write(&beside, file.to_string()).unwrap();
        fs::rename(&beside, maildir.join(file.to_string())).unwrap();
    }
    cluster.assert_in_sync(1);
    assert_eq!(fs::read_dir(cluster.replica(0).join("new")).unwrap().count(), BURST);
    follow.stop();
}

fn watch_and_overflows(cluster: &Cluster) -> (Value, u64) {
    let watch = cluster.status()["watch"].clone();
    let overflows = watch["overflows"].as_u64().unwrap_or_else(|| panic!("no count in {watch:#}"));
    (watch, overflows)
}

/// Operations the replica has acknowledged.
fn acknowledged(cluster: &Cluster) -> u64 {
    cluster.status_of(0)["applied"].as_u64().expect("a count")
}
