//! Where the system grants little: everything is brought all the same.

use std::fs;
use std::process::Command;

use fulmar_testkit::{Cluster, fixture, need, oracle};

#[test]
fn a_first_sync_needs_few_open_files_where_few_are_granted() {
    if !need("rsync") || !need("prlimit") {
        return;
    }
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    fixture::everything(cluster.source());
    for directory in 0..300 {
        let directory = cluster.source().join(format!("d{directory}"));
        fs::create_dir(&directory).unwrap();
        (0..10).for_each(|file| fs::write(directory.join(file.to_string()), "x").unwrap());
    }
    let mut command = Command::new("prlimit");
    command.arg("--nofile=256:256").arg(cluster.binary().path()).arg("sync").arg(cluster.source());
    let output = command.arg(cluster.replica(0)).arg("--state-dir").arg(cluster.state()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    oracle::assert_equal(cluster.source(), &cluster.replica(0));
}
