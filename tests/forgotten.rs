//! A primary that has lost its state, or is given a copy that somebody else made: what is equal is not shipped, and has to be
//! known all the same.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;

use fulmar_testkit::fixture::Node::{Dir, File, Link, Same};
use fulmar_testkit::{Cluster, fixture, need, oracle};

fn cluster() -> Cluster {
    Cluster::new(env!("CARGO_BIN_EXE_fulmar"))
}

/// What a follow is to carry over, of things that have been equal on both sides since before it began.
fn live_on(cluster: &Cluster) {
    let (source, replica) = (cluster.source(), cluster.replica(0));
    for gone in ["gone/symlink", "gone/fifo", "gone/file"] {
        fs::remove_file(source.join(gone)).unwrap();
    }
    fs::remove_dir(source.join("gone/directory")).unwrap();
    fs::remove_dir_all(source.join("whole")).unwrap();
    for kind in ["symlink", "fifo", "file"] {
        fs::hard_link(source.join("stays").join(kind), source.join("more").join(kind)).unwrap();
    }
    for kind in ["symlink", "fifo", "file", "directory"] {
        fs::rename(source.join("moves").join(kind), source.join("more/moved ".to_owned() + kind)).unwrap();
    }
    fs::remove_file(source.join("turns")).unwrap();
    symlink("elsewhere", source.join("turns")).unwrap();
    cluster.settle();
    oracle::assert_equal(source, &replica);
    assert_eq!(oracle::quarantined(&replica), Vec::<std::path::PathBuf>::new());
}

/// A tree that was last changed long ago: `rsync` does not set a time that is right to the second.
fn build(cluster: &Cluster) {
    let source = cluster.source();
    for directory in ["gone", "stays", "moves"] {
        let nodes = [("symlink", Link("there")), ("file", File("content")), ("directory", Dir)];
        fixture::build(&source.join(directory), &nodes);
        fixture::fifo(&source.join(directory).join("fifo"));
    }
    let nodes = [
        ("more", Dir),
        ("whole/of/links", Link("a")),
        ("whole/empty", Dir),
        ("turns", Link("there")),
        ("whole/b", Link("c")),
    ];
    fixture::build(source, &nodes);
    let touched = Command::new("find").arg(source).args("-exec touch -h -d @1000000000 {} ;".split(' ')).status();
    assert!(touched.unwrap().success());
}

/// Somebody else's copy of it.
fn copy(cluster: &Cluster) {
    let copied = Command::new("rsync")
        .args(["-aHAXS", "--numeric-ids"])
        .arg(cluster.source().join("."))
        .arg(cluster.replica(0))
        .status();
    assert!(copied.unwrap().success());
}

#[test]
fn what_is_equal_when_the_state_is_lost_is_removed_linked_and_renamed_as_ever() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    build(&cluster);
    cluster.sync(&[]).expect(0);
    fs::remove_dir_all(cluster.state()).unwrap();
    let follow = cluster.follow(&[]);
    cluster.settle();
    live_on(&cluster);
    follow.stop();
}

#[test]
fn what_is_equal_in_a_copy_that_is_adopted_is_removed_linked_and_renamed_as_ever() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    build(&cluster);
    copy(&cluster);
    let follow = cluster.follow(&["--adopt"]);
    cluster.settle();
    live_on(&cluster);
    follow.stop();
}

#[test]
fn a_second_replica_that_joins_equal_does_not_hide_what_goes_from_the_first() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    build(&cluster);
    let replicas = [cluster.replica(0), cluster.replica(1)];
    let replicas = replicas.each_ref().map(|replica| replica.as_os_str());
    cluster.sync_to(&replicas, &[]).expect(0);
    fs::remove_dir_all(cluster.state()).unwrap();
    let follow = cluster.follow_to(&replicas, &[]);
    cluster.settle();
    live_on(&cluster);
    oracle::assert_equal(cluster.source(), &cluster.replica(1));
    follow.stop();
}

#[test]
fn what_is_equal_in_a_copy_that_joins_later_is_removed_linked_and_renamed_as_ever() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    build(&cluster);
    cluster.sync_to(&[cluster.replica(1).as_os_str()], &[]).expect(0);
    copy(&cluster);
    let replicas = [cluster.replica(0), cluster.replica(1)];
    let follow = cluster.follow_to(&replicas.each_ref().map(|replica| replica.as_os_str()), &["--adopt"]);
    cluster.settle();
    live_on(&cluster);
    follow.stop();
}

#[test]
fn a_name_that_is_missing_is_linked_to_those_that_are_equal_when_the_state_is_lost() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fixture::build(cluster.source(), &[("a/one", Link("there")), ("b/two", Same("a/one"))]);
    cluster.sync(&[]).expect(0);
    fs::remove_dir_all(cluster.state()).unwrap();
    fixture::build(cluster.source(), &[("c/three", Same("a/one"))]);
    cluster.sync(&[]).expect(0);
    let inode = |path: &str| cluster.replica(0).join(path).symlink_metadata().unwrap().ino();
    assert_eq!([inode("b/two"), inode("c/three")], [inode("a/one"); 2]);
}
