//! What happens to directories while a replica is away, or has something else in their places.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use fulmar_testkit::{Cluster, Life, Options, Rsh, fresh_seed, need, oracle};

fn cluster() -> Cluster {
    Cluster::new(env!("CARGO_BIN_EXE_fulmar"))
}

fn far(path: &Path) -> OsString {
    let mut far = OsString::from("host:");
    far.push(path);
    far
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The second replica goes away, and that is noticed.
fn cut(cluster: &Cluster, rsh: &Rsh) {
    rsh.refuse();
    rsh.kill_far_ends();
    cluster.until_status(1, "the replica is away", |status| status["state"] == "away");
}

#[test]
fn another_directory_in_the_place_of_one_that_was_renamed_while_a_replica_was_away_has_nothing_of_it() {
    if !need("rsync") {
        return;
    }
    for restart in [false, true] {
        let cluster = cluster();
        let (source, rsh) = (cluster.source().to_path_buf(), cluster.rsh("rsh"));
        write(&source.join("Folder/cur/message"), "old");
        write(&source.join("kept"), "kept");
        let (near, away) = (cluster.replica(0), far(&cluster.replica(1)));
        let start = || cluster.follow_to(&[near.as_os_str(), &away], &["--rsh", rsh.command().to_str().unwrap()]);
        let mut follow = start();
        cluster.settle();

        cut(&cluster, &rsh);
        fs::rename(source.join("Folder"), source.join("Renamed")).unwrap();
        cluster.until_status(0, "the other one has followed", |status| status["backlog"] == 0);
        write(&source.join("Folder/cur/other"), "new");
        cluster.until_status(0, "the other one has followed again", |status| status["backlog"] == 0);
        if restart {
            follow.stop();
            rsh.allow();
            follow = start();
        }
        rsh.allow();
        cluster.settle();
        for replica in 0..2 {
            oracle::assert_equal(&source, &cluster.replica(replica));
        }
        follow.stop();
    }
}

#[test]
fn strays_in_a_directory_that_waits_for_approval_go_when_the_source_makes_it() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    let (source, replica) = (cluster.source().to_path_buf(), cluster.replica(0));
    write(&source.join("kept"), "kept");
    cluster.sync(&[]).expect(0);
    (0..1100).for_each(|number| write(&replica.join(format!("stray/{number}")), "nobody's"));
    (0..1100).for_each(|number| write(&replica.join(format!("stray{number}")), "nobody's"));
    cluster.sync(&[]).expect(1);
    let follow = cluster.follow(&[]);
    write(&source.join("stray/mine"), "mine");
    cluster.until_status(0, "it has arrived", |status| status["backlog"] == 0 && replica.join("stray/mine").exists());
    cluster.run(["approve".as_ref(), source.as_os_str()]).expect(0);
    cluster.settle();
    oracle::assert_equal(&source, &replica);
    follow.stop();
}

/// What is written through a name is told of that name alone, and that one was gone before anybody could plan it.
#[test]
fn what_was_written_through_a_link_that_came_and_went_while_the_replica_was_away_arrives() {
    if !need("rsync") {
        return;
    }
    for restart in [false, true] {
        let cluster = cluster();
        let (source, rsh) = (cluster.source().to_path_buf(), cluster.rsh("rsh"));
        let files = ["removed", "replaced", "renamed", "by-directory"];
        for file in files {
            write(&source.join(file), "before");
        }
        write(&source.join("other"), "another file");
        fs::create_dir(source.join("link")).unwrap();
        let away = far(&cluster.replica(0));
        let start = || cluster.follow_to(&[&away], &["--rsh", rsh.command().to_str().unwrap()]);
        let follow = start();
        cluster.settle();

        rsh.refuse();
        rsh.kill_far_ends();
        cluster.until_status(0, "the replica is away", |status| status["state"] == "away");
        let link = |file: &str| source.join(format!("link/of-{file}"));
        let make_links = || {
            files.iter().for_each(|file| fs::hard_link(source.join(file), link(file)).unwrap());
            fs::rename(link("renamed"), link("renamed-again")).unwrap();
        };
        let follow = if restart {
            follow.stop();
            make_links();
            start()
        } else {
            make_links();
            follow
        };
        // By events the links, and the name that one of them had before. By a scan their directory and the other names as well.
        let noted = if restart { 9 } else { 5 };
        cluster.until_status(0, "the links are noted", |status| status["backlog"].as_u64() >= Some(noted));
        for name in ["removed", "replaced", "renamed-again", "by-directory"] {
            write(&link(name), "written through another name");
        }
        fs::remove_file(link("removed")).unwrap();
        fs::rename(source.join("other"), link("replaced")).unwrap();
        fs::rename(source.join("link"), source.join("moved")).unwrap();
        fs::remove_file(source.join("moved/of-renamed-again")).unwrap();
        fs::remove_file(source.join("moved/of-by-directory")).unwrap();
        rsh.allow();
        cluster.settle();
        oracle::assert_equal(&source, &cluster.replica(0));
        follow.stop();
    }
}

#[test]
fn a_replica_that_is_away_again_and_again_equals_the_source_in_the_end() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    let rsh = cluster.rsh("rsh");
    let (near, away) = (cluster.replica(0), far(&cluster.replica(1)));
    let mut life = Life::with(cluster.source(), fresh_seed(), Options { large_files: false, ..Options::default() });
    life.run(150);
    let command = rsh.command();
    let options = ["--approve-removals", "--rsh", command.to_str().unwrap()];
    let follow = cluster.follow_to(&[near.as_os_str(), &away], &options);
    for _ in 0..4 {
        cluster.assert_follows(&life, 2);
        cut(&cluster, &rsh);
        for _ in 0..4 {
            life.run(20);
            cluster.until_status(0, "the other one has it all", |status| status["backlog"] == 0);
        }
        rsh.allow();
        life.run(20);
    }
    cluster.assert_follows(&life, 2);
    follow.stop();
}
