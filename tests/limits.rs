//! Where the system grants little: everything is brought all the same.

use std::fs;
use std::io::Write;
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

/// As snapshots made of links have them: more names than a replica takes operations in one batch.
#[test]
fn files_of_many_names_that_change_at_once_arrive_with_all_their_names() {
    const FILES: usize = 220;
    const NAMES: usize = 40;
    if !need("rsync") {
        return;
    }
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    let at = |name: String| cluster.source().join(name);
    (0..NAMES).for_each(|day| fs::create_dir(at(format!("{day}"))).unwrap());
    for file in 0..FILES {
        fs::write(at(format!("{file}.log")), format!("of {file}")).unwrap();
        (0..NAMES).for_each(|day| fs::hard_link(at(format!("{file}.log")), at(format!("{day}/{file}"))).unwrap());
    }
    let follow = cluster.follow(&[]);
    cluster.settle();
    follow.stop();
    for file in 0..FILES {
        let mut log = fs::OpenOptions::new().append(true).open(at(format!("{file}.log"))).unwrap();
        log.write_all(b"; more").unwrap();
    }
    let follow = cluster.follow(&[]);
    cluster.assert_in_sync(1);
    follow.stop();
    // One name of each less: the others have another change time.
    (0..FILES).for_each(|file| fs::remove_file(at(format!("7/{file}"))).unwrap());
    let follow = cluster.follow(&[]);
    cluster.assert_in_sync(1);
    follow.stop();
}
