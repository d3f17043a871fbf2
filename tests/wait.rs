//! What `fulmar wait` promises: while replicas come and go, and while files are written.

use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use fulmar_testkit::{Cluster, Halted, oracle, until};

#[test]
fn wait_returns_when_a_replica_that_was_away_is_back_and_lacks_nothing() {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    let rsh = cluster.rsh("rsh");
    let mut replica = OsString::from("host:");
    replica.push(cluster.replica(0));
    let command = rsh.command().into_os_string().into_string().unwrap();
    let extra = ["--rsh", &command];
    fs::write(cluster.source().join("file"), "one").unwrap();
    let follow = cluster.follow_to(&[&replica], &extra);
    cluster.settle();
    follow.stop();

    rsh.refuse();
    let mut follow = cluster.start_follow(&[&replica], &extra);
    cluster.until_up(&mut follow);
    let source = cluster.source().as_os_str().to_owned();
    let state = cluster.state().into_os_string();
    let words = ["wait".into(), source, "--timeout".into(), "60s".into(), "--state-dir".into(), state];
    let waiting = cluster.binary().start(cluster.path(), words);
    // By then the first one waits for the replica, too.
    cluster.wait("1s").expect(3);
    rsh.allow();
    waiting.finish(Duration::from_secs(40)).expect(0);
    follow.stop();
}

#[test]
fn what_changes_behind_a_comparison_arrives_though_its_last_change_still_waits_to_be_planned() {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    let rsh = cluster.rsh("rsh");
    let (near, far) = (cluster.replica(0), cluster.replica(1));
    let (mut target, file) = (OsString::from("host:"), cluster.source().join("file"));
    target.push(&far);
    let command = rsh.command().into_os_string().into_string().unwrap();
    fs::write(&file, "one").unwrap();
    let follow = cluster.follow_to(&[near.as_os_str(), &target], &["--rsh", &command]);
    cluster.settle();
    // One replica will be another one when it comes back, the other stays away: what changes meanwhile is planned for nobody,
    // and kept for the one that may come.
    rsh.refuse();
    rsh.kill_far_ends();
    cluster.until_status(1, "it is away", |status| status["state"] == "away");
    fs::remove_dir_all(&far).unwrap();
    fs::remove_dir_all(near.join(".fulmar")).unwrap();
    fs::write(cluster.source().join("bait"), "").unwrap();
    cluster.until_status(0, "it is away, too", |status| status["state"] == "away");
    let backlog = cluster.status_of(0)["backlog"].as_u64();
    fs::write(&file, "two").unwrap();
    cluster.until_status(0, "the change is noticed", |status| status["backlog"].as_u64() > backlog);

    rsh.allow();
    cluster.until_status(1, "it is compared", |status| status["state"] == "live" && status["backlog"] == 0);
    assert_eq!(fs::read_to_string(far.join("file")).unwrap(), "two");
    fs::write(&file, "three").unwrap();
    until(Duration::from_secs(30), "the next version arrives", || match fs::read_to_string(far.join("file")) {
        Ok(content) if content == "three" => Ok(()),
        other => Err(format!("{other:?} {:#}", cluster.status())),
    });
    follow.stop();
}

#[test]
fn a_file_that_is_looked_at_while_it_is_written_in_place_arrives_as_it_is_in_the_end() {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    let file = cluster.source().join("file");
    fs::write(&file, "x".repeat(5000)).unwrap();
    let follow = cluster.follow(&[]);
    cluster.settle();
    let Some(write) = Halted::zeros(&file, 4096) else { return };
    // Somebody else opens it for writing, and closes it: it is looked at, and what comes behind it afterwards.
    drop(fs::File::options().write(true).open(&file).unwrap());
    fs::write(cluster.source().join("marker"), "").unwrap();
    until(Duration::from_secs(60), "it is looked at", || {
        let passed = cluster.replica(0).join("marker").exists() || follow.is_stuck("fulmar-plan");
        if passed { Ok(()) } else { Err(follow.log()) }
    });
    write.finish();
    cluster.settle();
    oracle::assert_equal(cluster.source(), &cluster.replica(0));
    follow.stop();
}
