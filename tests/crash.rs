//! Ends without warning: the primary, the far end and the power of a machine, at any moment. What `wait` confirmed is
//! there after the restart, nothing at its final name is ever torn, and the next start converges.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use fulmar_testkit::{Cluster, Confirmed, Ledger, Life, LoopMount, Options, Random, Rsh, fresh_seed, need, oracle};

fn cluster() -> Cluster {
    Cluster::new(env!("CARGO_BIN_EXE_fulmar"))
}

fn rounds(default: usize) -> usize {
    std::env::var("FULMAR_KILLS").map_or(default, |text| text.parse().expect("FULMAR_KILLS is a number"))
}

fn far(path: &Path) -> OsString {
    let mut target = OsString::from("host:");
    target.push(path);
    target
}

/// Everything that happens in a source of these stories: files that can be checked, and life around them.
struct Source {
    ledger: Ledger,
    life: Life,
    random: Random,
}

impl Source {
    fn new(root: &Path) -> Self {
        let seed = fresh_seed();
        // The life has a directory of its own: it would rename the ledger's files too.
        let options = Options { removals: false, large_files: false, ..Options::default() };
        Self {
            ledger: Ledger::new(root, seed),
            life: Life::with(&root.join("life"), seed, options),
            random: Random::new(seed),
        }
    }

    /// A random stretch of both.
    fn run(&mut self, steps_max: usize) {
        for _ in 0..self.random.below(steps_max) {
            let (pages, steps) = (self.random.below(4), self.random.below(4));
            self.ledger.run(pages);
            self.life.run(steps);
        }
    }

    /// The oracle, after a verification has repaired what only that finds: see [`Life::lost_a_name`].
    #[track_caller]
    fn assert_followed(&self, cluster: &Cluster, replica: &Path) {
        let left_over = oracle::differences(cluster.source(), replica);
        let unseen = |line: &String| {
            let file = oracle::file_of(line);
            file.as_ref()
                .and_then(|path| path.strip_prefix("life").ok())
                .is_some_and(|path| self.life.lost_a_name(path))
        };
        // Who else is linked to such a file is told beside it.
        let together = |line: &String| unseen(line) || oracle::file_of(line).is_none();
        if left_over.iter().any(unseen) && left_over.iter().all(together) {
            println!("seed {}: left to a verification: {left_over:#?}", self.life.seed());
            cluster.run(["verify".as_ref(), cluster.source().as_os_str(), "--repair".as_ref()]).expect(0);
        }
        oracle::assert_equal(cluster.source(), replica);
    }

    /// What is confirmed by a wait that is called after this moment.
    fn settle(&self, cluster: &Cluster) -> Confirmed {
        let now = self.ledger.snapshot();
        cluster.settle();
        now
    }
}

/// In the moment after a crash, before anything is started again: what was confirmed is there, under one of the names it
/// has had since, and nothing is torn.
#[track_caller]
fn assert_kept(source: &Source, replica: &Path, confirmed: &Confirmed) {
    let faults = source.ledger.faults(replica, confirmed);
    assert!(faults.is_empty(), "in {replica:?}: {faults:#?}");
}

/// Nobody else touched the replica: nothing of ours may be taken for foreign.
#[track_caller]
fn assert_no_drift(replica: &Path) {
    assert_eq!(oracle::quarantined(replica), Vec::<std::path::PathBuf>::new(), "in {replica:?}");
}

#[test]
fn what_wait_confirmed_survives_any_kill_of_the_primary() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    let replica = cluster.replica(0);
    let mut source = Source::new(cluster.source());
    let mut confirmed = Confirmed::default();
    for _ in 0..rounds(8) {
        // The kill may hit the start, the first comparison or the middle of everything.
        let follow = if source.random.chance(30) {
            cluster.start_follow(&[replica.as_os_str()], &[])
        } else {
            cluster.follow(&[])
        };
        source.run(20);
        if cluster.is_up() && source.random.chance(60) {
            confirmed = source.settle(&cluster);
            source.run(20);
        }
        follow.kill9();
        assert_kept(&source, &replica, &confirmed);
        source.run(6);
    }
    let follow = cluster.follow(&[]);
    confirmed = source.settle(&cluster);
    source.ledger.assert_kept(&replica, &confirmed, "in the end");
    oracle::assert_equal(cluster.source(), &replica);
    follow.stop();
    assert_no_drift(&replica);
}

#[test]
fn what_wait_confirmed_survives_any_kill_of_the_far_end() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    let replica = cluster.replica(0);
    let rsh = cluster.rsh("rsh");
    let mut source = Source::new(cluster.source());
    let mut confirmed = Confirmed::default();
    let follow = cluster.follow_to(&[&far(&replica)], &["--rsh", rsh.command().to_str().unwrap()]);
    for _ in 0..rounds(12) {
        source.run(20);
        if source.random.chance(50) {
            confirmed = source.settle(&cluster);
            source.run(20);
        }
        rsh.refuse();
        rsh.kill_far_ends();
        assert_kept(&source, &replica, &confirmed);
        rsh.allow();
    }
    confirmed = source.settle(&cluster);
    source.ledger.assert_kept(&replica, &confirmed, "in the end");
    source.assert_followed(&cluster, &replica);
    follow.stop();
    assert_no_drift(&replica);
}

#[test]
fn a_lost_state_directory_after_a_kill_accuses_nobody_of_drift() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    let mut source = Source::new(cluster.source());
    for _ in 0..3 {
        let follow = cluster.follow(&[]);
        source.run(30);
        follow.kill9();
        fs::remove_dir_all(cluster.state()).unwrap();
    }
    let follow = cluster.follow(&[]);
    cluster.assert_in_sync(1);
    follow.stop();
    assert_no_drift(&cluster.replica(0));
}

#[test]
fn a_replica_that_loses_power_keeps_what_was_confirmed_and_tears_nothing() {
    if !need("rsync") {
        return;
    }
    let Some(mut mount) = LoopMount::new(512 << 20) else { return };
    let cluster = cluster();
    let replica = mount.path().join("replica");
    let rsh = cluster.rsh("rsh");
    let mut source = Source::new(cluster.source());
    let follow = cluster.follow_to(&[&far(&replica)], &["--rsh", rsh.command().to_str().unwrap()]);
    for _ in 0..rounds(6) {
        source.run(25);
        let confirmed = source.settle(&cluster);
        // The cut comes while more is on its way.
        source.run(40);
        cut_power(&mut mount, &rsh);
        assert_kept(&source, &replica, &confirmed);
        rsh.allow();
    }
    cluster.settle();
    source.assert_followed(&cluster, &replica);
    follow.stop();
    assert_no_drift(&replica);
}

fn cut_power(mount: &mut LoopMount, rsh: &Rsh) {
    rsh.refuse();
    mount.shutdown();
    rsh.kill_far_ends();
    mount.remount();
}

#[test]
fn a_primary_that_loses_power_with_its_source_and_state_converges() {
    if !need("rsync") {
        return;
    }
    let Some(mut mount) = LoopMount::new(512 << 20) else { return };
    let source = mount.path().join("source");
    fs::create_dir(&source).unwrap();
    let cluster = cluster().with_source(source.clone());
    let (state, logs, replica) = (mount.path().join("state"), cluster.path().join("logs"), cluster.replica(0));
    let words = |verb: &str, rest: &[&Path]| {
        let paths = rest.iter().map(|path| path.as_os_str().to_os_string());
        [OsString::from(verb), source.clone().into()]
            .into_iter()
            .chain(paths)
            .chain(["--state-dir".into(), state.clone().into()])
            .collect::<Vec<_>>()
    };
    let mut confirmed_by_kernel = 0;
    for round in 0..rounds(4) {
        // After a cut a file system may hold any mixture of old and new: each round writes files of its own.
        let mut ledger = Ledger::new(&source.join(round.to_string()), fresh_seed() + round as u64);
        let mut follow = cluster.binary().start(&logs, words("follow", &[&replica]));
        ledger.run(60);
        fulmar_testkit::until(std::time::Duration::from_secs(90), "something has arrived", || {
            assert_eq!(follow.ended(), None, "{}", follow.log());
            let arrived = oracle::paths(&replica).len();
            if arrived > confirmed_by_kernel { Ok(()) } else { Err(format!("{arrived} paths\n{}", follow.log())) }
        });
        ledger.run(60);
        mount.shutdown();
        follow.kill9();
        mount.remount();
        let finished = cluster.binary().run(&logs, words("sync", &[&replica, Path::new("--approve-removals")]));
        finished.expect(0);
        oracle::assert_equal(&source, &replica);
        confirmed_by_kernel = oracle::paths(&replica).len();
    }
}
