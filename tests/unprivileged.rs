//! Without root's powers: what this user may not read or enter is held, named, and in nobody's way.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use fulmar_testkit::fixture::Node::File;
use fulmar_testkit::{Cluster, NOBODY, fixture, need, need_root};

/// A source that belongs to root, and the program run by somebody else.
fn cluster() -> Option<Cluster> {
    if !need_root("running as another user") || !need("setpriv") {
        return None;
    }
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar")).as_nobody();
    fixture::build(cluster.source(), &[("a", File("1")), ("closed/b", File("2"))]);
    Some(cluster)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_directory_that_cannot_be_read_is_held_until_it_can() {
    let Some(cluster) = cluster() else { return };
    let closed = cluster.source().join("closed");
    for mode in [0o700, 0o744] {
        set_mode(&closed, mode);
        // The second time it is there already, and differs in nothing.
        for _ in 0..2 {
            cluster.sync(&[]).expect(1).expect_error("held: closed: cannot be read on the primary");
        }
        set_mode(&closed, 0o755);
        cluster.sync(&[]).expect(0);
        assert_eq!(fs::read_to_string(cluster.replica(0).join("closed/b")).unwrap(), "2");
    }
}

#[test]
fn a_device_that_root_has_made_on_both_sides_is_not_made_again() {
    let Some(cluster) = cluster() else { return };
    set_mode(&cluster.source().join("closed"), 0o755);
    let (device, replica) = (cluster.source().join("null"), cluster.replica(0));
    fixture::everything(&cluster.path().join("everything"));
    fs::create_dir(&replica).unwrap();
    chown(&replica, Some(NOBODY), Some(NOBODY)).unwrap();
    for (from, to) in [(cluster.path().join("everything/null"), device.clone()), (device, replica.join("null"))] {
        assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    }
    for _ in 0..2 {
        cluster.sync(&["--adopt"]).expect(0);
    }
    assert_eq!(fs::read_to_string(replica.join("a")).unwrap(), "1");
}

#[test]
fn a_directory_that_cannot_be_read_any_more_is_no_success_of_wait() {
    let Some(cluster) = cluster() else { return };
    let follow = cluster.follow(&[]);
    cluster.settle();
    fs::create_dir(cluster.source().join("new")).unwrap();
    set_mode(&cluster.source().join("new"), 0o700);
    cluster.until_status(0, "it is held", |replica| replica["held_paths"][0]["path"] == "new");
    cluster.wait("30s").expect(1).expect_error("new: cannot be read on the primary");
    fs::write(cluster.source().join("new/file"), "3").unwrap();
    set_mode(&cluster.source().join("new"), 0o755);
    cluster.until_status(0, "nothing is held", |replica| replica["held"] == 0);
    cluster.settle();
    assert_eq!(fs::read_to_string(cluster.replica(0).join("new/file")).unwrap(), "3");
    follow.stop();
}

#[test]
fn a_source_that_cannot_be_read_any_more_is_no_success_of_wait() {
    let Some(cluster) = cluster() else { return };
    let follow = cluster.follow(&[]);
    cluster.wait("30s");
    set_mode(cluster.source(), 0o700);
    fs::write(cluster.source().join("new"), "3").unwrap();
    cluster.wait("30s").expect(1).expect_error(": cannot be read on the primary");
    assert_eq!(fs::read_to_string(cluster.replica(0).join("a")).unwrap(), "1");
    set_mode(cluster.source(), 0o755);
    cluster.until_status(0, "nothing is held", |replica| replica["held"] == 0);
    cluster.settle();
    assert_eq!(fs::read_to_string(cluster.replica(0).join("new")).unwrap(), "3");
    follow.stop();
}

#[test]
fn what_cannot_be_put_into_a_directory_is_held_directories_too() {
    let Some(cluster) = cluster() else { return };
    // Large enough to go beside the batches.
    let large = "4".repeat(300_000);
    fixture::build(&cluster.source().join("closed/sub"), &[("c", File("3")), ("large", File(&large))]);
    set_mode(&cluster.source().join("closed"), 0o555);
    let finished = cluster.sync(&["-vv"]);
    let sent = finished.stderr.matches("path=closed/sub operation=").count();
    assert!(sent < 10, "what cannot be made is tried {sent} times");
    finished.expect(1).expect_error("held: closed/b: permission denied on the replica");
    finished.expect_error("held: closed/sub: permission denied on the replica");
    assert_eq!(fs::read_to_string(cluster.replica(0).join("a")).unwrap(), "1");
}

#[test]
fn a_directory_that_its_own_owner_cannot_open_holds_nothing_else_up() {
    let Some(cluster) = cluster() else { return };
    let closed = cluster.source().join("closed");
    chown(&closed, Some(NOBODY), Some(NOBODY)).unwrap();
    set_mode(&closed, 0o300);
    cluster.sync(&[]).expect(1).expect_error("held: closed: cannot be read on the primary");
    assert_eq!(fs::read_to_string(cluster.replica(0).join("a")).unwrap(), "1");
    assert_eq!(fs::metadata(cluster.replica(0).join("closed")).unwrap().permissions().mode() & 0o777, 0o300);
}
