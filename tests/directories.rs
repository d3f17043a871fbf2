//! Directories that a replica does not have yet.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use fulmar_testkit::fixture::Node::File;
use fulmar_testkit::{Cluster, fixture, need, need_root, oracle};

fn cluster() -> Cluster {
    Cluster::new(env!("CARGO_BIN_EXE_fulmar"))
}

#[test]
fn what_a_directory_hands_down_to_new_files_is_not_on_those_that_had_it_not() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    let above = cluster.source().join("above");
    fs::create_dir_all(above.join("below")).unwrap();
    fs::write(above.join("file"), "x").unwrap();
    std::os::unix::fs::symlink("file", above.join("symlink")).unwrap();
    fs::hard_link(above.join("file"), above.join("below/link")).unwrap();
    // Set when everything was there: nobody inherits it here.
    for directory in [&above, &above.join("below")] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o2755)).unwrap();
        let acl = fixture::acl(1234, 7);
        rustix::fs::setxattr(directory, "system.posix_acl_default", &acl, rustix::fs::XattrFlags::empty()).unwrap();
    }
    std::os::unix::fs::chown(&above, None, Some(4321)).unwrap();
    cluster.sync(&[]).expect(0);
    oracle::assert_equal(cluster.source(), &cluster.replica(0));
}

/// A cluster on which [`chattr`] works, its source and its replica.
fn with_immutable() -> Option<(Cluster, PathBuf, PathBuf)> {
    if !need("rsync") || !need("chattr") || !need_root("immutable files") {
        return None;
    }
    let cluster = cluster();
    let (source, replica) = (cluster.source().to_path_buf(), cluster.replica(0));
    Some((cluster, source, replica))
}

/// Sets or takes away the flag that keeps even root from changing, renaming or removing a file or directory.
fn chattr(change: &str, path: &Path) {
    assert!(Command::new("chattr").arg(change).arg(path).status().unwrap().success(), "chattr {change} {path:?}");
}

#[test]
fn a_directory_that_a_replica_cannot_rename_is_copied_before_its_old_name_goes() {
    let Some((cluster, source, replica)) = with_immutable() else { return };
    fixture::build(&source, &[("from/dir/sub/mail", File("1")), ("from/dir/other", File("2")), ("to/mail", File("3"))]);
    let follow = cluster.follow(&[]);
    cluster.settle();
    let stuck = replica.join("from/dir");
    chattr("+i", &stuck);
    fs::rename(source.join("from/dir"), source.join("to/dir")).unwrap();
    cluster.until_status(0, "what cannot go is held", |status| status["held_paths"][0]["path"] == "from/dir");
    let content = |path: &str| fs::read_to_string(replica.join(path)).unwrap_or_default();
    assert_eq!(["to/dir/sub/mail", "to/dir/other"].map(content), ["1", "2"]);
    chattr("-i", &stuck);
    cluster.until_status(0, "nothing is held", |status| status["held"] == 0);
    cluster.settle();
    oracle::assert_equal(&source, &replica);
    follow.stop();
}

#[test]
fn strays_of_a_directory_that_could_not_go_are_gone_when_the_source_makes_it() {
    let Some((cluster, source, replica)) = with_immutable() else { return };
    fixture::build(&source, &[("mail", File("1"))]);
    cluster.sync(&[]).expect(0);
    fixture::build(&replica, &[("stray/file", File("nobody's"))]);
    chattr("+i", &replica.join("stray"));
    cluster.sync(&[]).expect(1).expect_error("held: stray");
    fixture::build(&source, &[("stray/mine", File("2"))]);
    chattr("-i", &replica.join("stray"));
    let follow = cluster.follow(&[]);
    cluster.until_status(0, "nothing is held", |status| status["held"] == 0);
    cluster.settle();
    oracle::assert_equal(&source, &replica);
    follow.stop();
}

#[test]
fn what_was_in_a_directory_that_cannot_move_stays_though_another_takes_its_place() {
    let Some((cluster, source, replica)) = with_immutable() else { return };
    fixture::build(&source, &[("dir/mail", File("1")), ("closed/other", File("2"))]);
    let follow = cluster.follow(&[]);
    cluster.settle();
    let closed = replica.join("closed");
    chattr("+i", &closed);
    fs::rename(source.join("dir"), source.join("closed/dir")).unwrap();
    cluster.until_status(0, "it is held", |status| status["held_paths"].to_string().contains("closed/dir"));
    fixture::build(&source, &[("dir/new", File("3"))]);
    cluster.until_status(0, "the other has arrived", |_| replica.join("dir/new").exists());
    // Behind two rounds of removals.
    for name in ["one", "two"] {
        fs::write(source.join(name), "").unwrap();
        cluster.until_status(0, "it has arrived", |_| replica.join(name).exists());
        fs::remove_file(source.join(name)).unwrap();
        cluster.until_status(0, "it is gone", |_| !replica.join(name).exists());
    }
    cluster.wait("60s").expect(1).expect_error("closed/dir");
    assert_eq!(fs::read_to_string(replica.join("dir/mail")).unwrap(), "1", "the only one it has");
    chattr("-i", &closed);
    cluster.until_status(0, "nothing is held", |status| status["held"] == 0);
    cluster.settle();
    oracle::assert_equal(&source, &replica);
    follow.stop();
}
