//! `fulmar wait` while replicas come and go.

use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use fulmar_testkit::Cluster;

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
