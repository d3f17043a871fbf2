//! A follow verifies itself: what events could not tell is found, mended and told, and results outlive the process.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fulmar_testkit::{Cluster, Value, need, oracle, until};

fn cluster() -> Cluster {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    for at in ["a/b", "c", "d"] {
        fs::create_dir_all(cluster.source().join(at)).unwrap();
        fs::write(cluster.source().join(at).join("file"), format!("content of {at}")).unwrap();
    }
    cluster
}

/// What `status` says of the last quick verification of replica 0, once it says something.
fn quick(cluster: &Cluster, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let status = cluster.until_status(0, what, |status| wanted(&status["verified"]["quick"]));
    status["verified"]["quick"].clone()
}

fn quarantined(replica: &Path) -> Vec<PathBuf> {
    let directory = replica.join(".fulmar/quarantine");
    oracle::quarantined(replica).iter().map(|path| directory.join(path)).collect()
}

/// Other content of the same length on a replica, and what nobody but that machine's administrator did.
fn meddle(replica: &Path) {
    fs::write(replica.join("a/b/file"), "CONTENT OF a/b").unwrap();
    fs::set_permissions(replica.join("c/file"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::remove_dir_all(replica.join("d")).unwrap();
    fs::create_dir(replica.join("stray")).unwrap();
    fs::write(replica.join("stray/file"), "nobody sent this").unwrap();
}

#[test]
fn what_somebody_did_on_a_replica_is_found_and_mended_and_kept_in_the_quarantine() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    // Longer than it takes until what is young is certain and repaired: the result stands for a while.
    let follow = cluster.follow(&["--verify-quick-every", "15s"]);
    cluster.assert_in_sync(1);
    let replica = cluster.replica(0);
    meddle(&replica);
    let found = quick(&cluster, "it is found", |quick| quick["differences"].as_u64() > Some(0));
    for kind in ["content", "mode", "missing", "extra"] {
        assert!(found["by_kind"][kind].as_u64() > Some(0), "{kind}: {found}");
    }
    until(Duration::from_secs(60), "it is mended", || {
        let content = fs::read_to_string(replica.join("a/b/file"));
        let mended = content.as_ref().is_ok_and(|content| content == "content of a/b");
        let (missing, stray) = (!replica.join("d/file").exists(), replica.join("stray").exists());
        if mended && !missing && !stray { Ok(()) } else { Err(format!("{content:?}, {missing}, {stray}")) }
    });
    cluster.assert_in_sync(1);
    let kept: Vec<String> =
        quarantined(&replica).into_iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    for foreign in ["CONTENT OF a/b", "nobody sent this"] {
        assert!(kept.iter().any(|content| content == foreign), "{foreign}: {kept:?}");
    }
    let later = quick(&cluster, "it is equal again", |quick| quick["equal"] == true);
    assert!(later["ended_ms"].as_i64() > found["ended_ms"].as_i64());
    follow.stop();
}

#[test]
fn the_last_result_outlives_the_process_and_is_told_in_few_words() {
    let cluster = cluster();
    let follow = cluster.follow(&["--verify-quick-every", "1s", "--verify-deep-every", "1d"]);
    cluster.settle();
    let first = quick(&cluster, "it was verified", |quick| quick["equal"] == true);
    assert!(first["entries"].as_u64() >= Some(7) && first["bytes"].as_u64() > Some(0), "{first}");
    follow.stop();
    let follow = cluster.follow(&[]);
    let status = cluster.until_status(0, "it is live", |status| status["state"] == "live");
    assert_eq!(status["verified"]["quick"]["equal"], true, "{status}");
    let tree = cluster.status();
    assert_eq!(tree["verify"]["quick_every_ms"], 3_600_000, "{tree}");
    assert_eq!(tree["verify"]["deep_every_ms"], Value::Null, "{tree}");
    let words = cluster.run([std::ffi::OsStr::new("status"), cluster.source().as_os_str()]);
    words.expect(0);
    assert!(words.stdout.contains(" ago, equal"), "{words}");
    follow.stop();
}

#[test]
fn a_deep_round_compares_everything_once_and_a_quick_one_that_is_off_is_not_made() {
    let cluster = cluster();
    let follow = cluster.follow(&["--verify-quick-every", "never", "--verify-deep-every", "5s"]);
    cluster.settle();
    let over = |status: &Value| status["verified"]["deep"]["ended_ms"].is_i64();
    let status = cluster.until_status(0, "a round is over", over);
    let deep = &status["verified"]["deep"];
    assert!(deep["equal"] == true && deep["missed"] == 0, "{deep}");
    let bytes: u64 = ["a/b", "c", "d"].iter().map(|at| at.len() as u64 + 11).sum();
    assert_eq!((deep["entries"].as_u64(), deep["bytes"].as_u64()), (Some(7), Some(bytes)), "{deep}");
    assert_eq!(status["verified"]["quick"], Value::Null);
    follow.stop();
}

#[test]
fn off_means_off() {
    let cluster = cluster();
    let follow = cluster.follow(&["--verify-quick-every", "0", "--verify-deep-every", "never"]);
    cluster.settle();
    meddle(&cluster.replica(0));
    let on = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    let other = on.follow(&["--verify-quick-every", "1s"]);
    // Long enough for one that is on.
    quick(&on, "another one was verified twice", |quick| quick["ended_ms"].is_i64());
    let first = on.status_of(0)["verified"]["quick"]["ended_ms"].as_i64();
    quick(&on, "another one was verified twice", |quick| quick["ended_ms"].as_i64() > first);
    let (status, tree) = (cluster.status_of(0), cluster.status());
    assert_eq!(status["verified"]["quick"], Value::Null, "{status}");
    assert_eq!(tree["verify"]["quick_every_ms"], Value::Null, "{tree}");
    assert!(cluster.replica(0).join("stray/file").exists());
    let words = cluster.run([std::ffi::OsStr::new("status"), cluster.source().as_os_str()]);
    assert!(!words.stdout.contains("verified"), "{words}");
    other.stop();
    follow.stop();
}

#[test]
fn while_the_source_is_gone_nothing_is_verified_and_nothing_is_lost() {
    let cluster = cluster();
    let follow = cluster.follow(&["--verify-quick-every", "1s"]);
    cluster.settle();
    quick(&cluster, "it was verified", |quick| quick["equal"] == true);
    let away = cluster.path().join("away");
    fs::rename(cluster.source(), &away).unwrap();
    fs::create_dir(cluster.source()).unwrap();
    let tripped = |_: &Value| cluster.status()["guard"]["state"] == "tripped";
    cluster.until_status(0, "removals are held back", tripped);
    let on = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    let other = on.follow(&["--verify-quick-every", "1s"]);
    let first = quick(&on, "another one was verified", |quick| quick["ended_ms"].is_i64())["ended_ms"].as_i64();
    let before = cluster.status_of(0)["verified"]["quick"].clone();
    // Longer than it takes until a difference is certain.
    let later = |quick: &Value| quick["ended_ms"].as_i64() > first.map(|first| first + 12_000);
    quick(&on, "another one was verified for long enough", later);
    assert_eq!(cluster.status_of(0)["verified"]["quick"], before);
    assert!(cluster.replica(0).join("a/b/file").exists());
    other.stop();
    follow.stop();
}

#[test]
fn a_replica_that_is_away_is_told_and_ends_nothing() {
    let cluster = cluster();
    let rsh = cluster.rsh("rsh");
    let command = rsh.command();
    let far = [std::ffi::OsStr::new("host:"), cluster.replica(1).as_os_str()].join(std::ffi::OsStr::new(""));
    let near = cluster.replica(0);
    let follow = cluster
        .follow_to(&[near.as_os_str(), &far], &["--verify-quick-every", "2s", "--rsh", command.to_str().unwrap()]);
    cluster.settle();
    rsh.refuse();
    rsh.kill_far_ends();
    let told = cluster.until_status(1, "it is told", |status| status["verified"]["quick"]["error"].is_string());
    assert_eq!(told["state"], "away", "{told}");
    let before = cluster.status_of(0)["verified"]["quick"]["ended_ms"].as_i64();
    quick(&cluster, "the other is verified", |quick| quick["ended_ms"].as_i64() > before);
    rsh.allow();
    cluster.until_status(1, "it is verified again", |status| status["verified"]["quick"]["equal"] == true);
    oracle::assert_equal(cluster.source(), &cluster.replica(1));
    follow.stop();
}
