//! What `fulmar wait` promises: while replicas come and go, and while files are written.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::time::Duration;

use fulmar_testkit::{Cluster, Halted, Random, Rsh, fresh_seed, oracle, until};

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
    let waiting = cluster.start_wait("60s");
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

/// Rows of the queue in one batch for a replica that is behind.
const BATCH: u64 = 512;

#[test]
fn what_a_change_says_of_another_name_is_waited_for_by_a_replica_that_is_behind() {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    let here = cluster.path().join("rsh");
    let refused = |host: &str| here.join(host);
    let rsh = Rsh::script(
        &here,
        &format!(
            "[ ! -e '{here}/'$1 ] || exit 255\nshift\neval \"set -- $*\"\nshift\n: > '{here}/pids/'$$\nexec '{binary}' \"$@\"",
            here = here.display(),
            binary = cluster.binary().path().display(),
        ),
    );
    let command = rsh.command().into_os_string().into_string().unwrap();
    let target = |host: &str, number| {
        let mut target = OsString::from(host);
        target.push(":");
        target.push(cluster.replica(number));
        target
    };
    let at = |name: &str| cluster.source().join(name);
    fs::write(at("one"), vec![b'x'; 32 << 20]).unwrap();
    fs::hard_link(at("one"), at("other")).unwrap();
    let follow = cluster.follow_to(&[&target("near", 0), &target("far", 1)], &["--rsh", &command]);
    cluster.settle();
    for host in ["near", "far"] {
        fs::write(refused(host), "").unwrap();
    }
    rsh.kill_far_ends();
    cluster.until_status(1, "it is away", |status| status["state"] == "away");
    cluster.until_status(0, "it is away, too", |status| status["state"] == "away");

    // Nothing is planned while both are away. The last row of a batch is the last change that is waited for.
    File::options().write(true).open(at("one")).unwrap().write_all(b"written through one name").unwrap();
    fs::write(at("beside"), "").unwrap();
    fs::rename(at("beside"), at("one")).unwrap();
    cluster.wait("1s").expect(3);
    let backlog = cluster.status_of(1)["backlog"].as_u64().unwrap();
    for number in backlog..BATCH {
        fs::write(at(&number.to_string()), "").unwrap();
    }
    let waiting = cluster.start_wait("90s");
    // By then the first one waits for what there is, too.
    cluster.wait("1s").expect(3);
    assert_eq!(cluster.status_of(1)["backlog"], BATCH);

    fs::remove_file(refused("near")).unwrap();
    cluster.until_status(0, "one has it all", |status| status["backlog"] == 0);
    // So much that nothing of it is kept for the other one.
    let mut random = Random::new(fresh_seed());
    for number in 0..160 {
        fs::write(at(&format!("noise{number}")), random.bytes(250_000)).unwrap();
    }
    cluster.until_status(0, "one has it all", |status| status["backlog"] == 0);
    fs::remove_file(refused("far")).unwrap();
    waiting.finish(Duration::from_secs(90)).expect(0);
    let mut begin = [0; 7];
    File::open(cluster.replica(1).join("other")).unwrap().read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"written");
    follow.stop();
}
