//! A vanished source deletes nothing: what stops removals, how fulmar says so, and how a person lets them through.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fulmar_testkit::fixture::Node::File;
use fulmar_testkit::{Cluster, fixture, need, oracle, until};

const FILES: usize = 3000;

fn cluster() -> Cluster {
    Cluster::new(env!("CARGO_BIN_EXE_fulmar"))
}

fn fill(root: &Path, files: usize) {
    for number in 0..files {
        let directory = root.join(format!("d{}", number % 30));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("f{number}")), number.to_string()).unwrap();
    }
}

fn empty(root: &Path) {
    for entry in fs::read_dir(root).unwrap() {
        fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
}

fn files(root: &Path) -> usize {
    oracle::paths(root).iter().filter(|path| root.join(path).is_file()).count()
}

/// The guard of the one tree, once it is `wanted`.
fn until_guard(cluster: &Cluster, wanted: &str) {
    until(Duration::from_secs(60), "the guard's state changes", || {
        let guard = cluster.status()["guard"].clone();
        if guard["state"] == wanted { Ok(()) } else { Err(format!("{guard:#}, wanted {wanted}")) }
    });
}

#[test]
fn an_emptied_source_deletes_nothing_until_it_is_approved() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fill(cluster.source(), FILES);
    cluster.sync(&[]).expect(0);
    empty(cluster.source());
    for _ in 0..2 {
        let finished = cluster.sync(&[]);
        finished.expect(1).expect_error("--approve-removals").expect_error(" more (--json lists the first hundred)");
        assert_eq!(finished.stderr.matches("  held: ").count(), 10, "{finished}");
        assert_eq!(files(&cluster.replica(0)), FILES);
    }
    cluster.sync(&["--approve-removals"]).expect(0);
    oracle::assert_equal(cluster.source(), &cluster.replica(0));
}

#[test]
fn a_wave_of_removals_is_held_and_all_else_goes_through() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fill(cluster.source(), FILES);
    cluster.sync(&[]).expect(0);
    for number in 0..28 {
        fs::remove_dir_all(cluster.source().join(format!("d{number}"))).unwrap();
    }
    fs::write(cluster.source().join("d29/new"), "news").unwrap();
    cluster.sync(&[]).expect(1).expect_error("--approve-removals");
    assert_eq!(files(&cluster.replica(0)), FILES + 1);
    assert_eq!(fs::read_to_string(cluster.replica(0).join("d29/new")).unwrap(), "news");
    cluster.sync(&["--approve-removals"]).expect(0);
    oracle::assert_equal(cluster.source(), &cluster.replica(0));
}

#[test]
fn everyday_removals_need_nobody() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fill(cluster.source(), FILES);
    cluster.sync(&[]).expect(0);
    fs::remove_dir_all(cluster.source().join("d3")).unwrap();
    fs::remove_file(cluster.source().join("d4/f4")).unwrap();
    cluster.sync(&[]).expect(0);
    oracle::assert_equal(cluster.source(), &cluster.replica(0));
}

#[test]
fn what_becomes_excluded_is_no_removal() {
    let cluster = cluster();
    fill(cluster.source(), FILES);
    cluster.sync(&[]).expect(0);
    // Most of the tree by its files, then by its directories.
    cluster.sync(&["--exclude", "f*"]).expect(0);
    assert_eq!(files(&cluster.replica(0)), FILES);
    fs::remove_dir_all(cluster.source().join("d0")).unwrap();
    fs::remove_file(cluster.source().join("d3/f3")).unwrap();
    let directories = ["--exclude", "/d1*/", "--exclude", "/d2*/"];
    cluster.sync(&directories).expect(0);
    // d0 had a hundred files.
    assert_eq!(files(&cluster.replica(0)), FILES - 101);
    for number in (0..30).filter(|number| number % 10 != 0) {
        fs::remove_dir_all(cluster.source().join(format!("d{number}"))).unwrap();
    }
    cluster.sync(&["--exclude", "/d1*/"]).expect(1).expect_error("--approve-removals");
    assert_eq!(files(&cluster.replica(0)), FILES - 101, "a wave is one all the same");
}

#[test]
fn a_dry_run_tells_of_a_wave_and_holds_nothing_back() {
    let cluster = cluster();
    fill(cluster.source(), FILES);
    cluster.sync(&[]).expect(0);
    for number in 0..28 {
        fs::remove_dir_all(cluster.source().join(format!("d{number}"))).unwrap();
    }
    let said = cluster.sync(&["--dry-run"]);
    said.expect(1);
    assert_eq!(said.stdout.lines().filter(|line| line.starts_with("remove ")).count(), 28, "{said}");
    // A new replica has nothing to lose.
    let follow = cluster.follow_to(&[cluster.replica(1).as_os_str()], &[]);
    cluster.settle();
    assert_eq!(cluster.status()["guard"]["state"], "ok", "{:#}", cluster.status());
    follow.stop();
}

#[test]
fn another_directory_at_the_sources_path_deletes_nothing() {
    let cluster = cluster();
    fill(cluster.source(), FILES);
    cluster.sync(&[]).expect(0);
    fs::rename(cluster.source(), cluster.path().join("away")).unwrap();
    fixture::build(cluster.source(), &[("impostor", File("another tree"))]);
    let finished = cluster.sync(&[]);
    assert_ne!(finished.code, 0, "{finished}");
    for number in [0, 1, FILES - 1] {
        assert!(
            cluster.replica(0).join(format!("d{}/f{number}", number % 30)).exists(),
            "f{number} is gone\n{finished}"
        );
    }
}

#[test]
fn a_source_that_is_emptied_under_a_follow_trips_the_guard_until_approved() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fill(cluster.source(), FILES);
    let follow = cluster.follow(&[]);
    cluster.settle();
    empty(cluster.source());
    until_guard(&cluster, "tripped");
    fs::write(cluster.source().join("sign of life"), "still writing").unwrap();
    until(Duration::from_secs(60), "what is made arrives in spite of the guard", || {
        let there = cluster.replica(0).join("sign of life").exists();
        if there { Ok(()) } else { Err(format!("{:#}", cluster.status())) }
    });
    assert_eq!(files(&cluster.replica(0)), FILES + 1);
    assert!(!cluster.status()["guard"]["reason"].is_null(), "a tripped guard gives its reason");
    assert_ne!(cluster.wait("2s").code, 0, "what is held is not in sync");
    cluster.run(["approve".as_ref(), cluster.source().as_os_str()]).expect(0);
    until_guard(&cluster, "ok");
    cluster.assert_in_sync(1);
    follow.stop();
}

#[test]
fn what_events_and_a_scan_both_find_gone_is_counted_once() {
    let cluster = cluster();
    let site = cluster.source().join("site");
    fill(&cluster.source().join("stays"), 2200);
    fill(&site, 800);
    let follow = cluster.follow(&[]);
    cluster.settle();
    fs::remove_dir_all(&site).unwrap();
    fs::create_dir(&site).unwrap();
    fs::write(site.join("new"), "").unwrap();
    // By a scan of what is another directory now; the events still wait for each other.
    until(Duration::from_secs(60), "what was there is gone", || {
        let left = oracle::paths(&cluster.replica(0).join("site"));
        if left.len() == 1 { Ok(()) } else { Err(format!("{} are left", left.len())) }
    });
    cluster.settle();
    assert_eq!(cluster.status()["guard"]["state"], "ok", "{:#}", cluster.status());
    follow.stop();
}

#[test]
fn removals_that_the_guard_holds_survive_a_restart() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fill(cluster.source(), FILES);
    let follow = cluster.follow(&[]);
    cluster.settle();
    empty(cluster.source());
    until_guard(&cluster, "tripped");
    follow.kill9();
    let follow = cluster.follow(&[]);
    until_guard(&cluster, "tripped");
    assert_eq!(files(&cluster.replica(0)), FILES);
    // What the scan of the start finds only after an approval may be a wave of its own.
    until(Duration::from_secs(60), "everything is approved, and gone", || {
        cluster.run(["approve".as_ref(), cluster.source().as_os_str()]).expect(0);
        let waited = cluster.wait("30s");
        if waited.code == 0 { Ok(()) } else { Err(waited.to_string()) }
    });
    cluster.assert_in_sync(1);
    follow.stop();
}

#[test]
fn a_root_that_is_moved_away_deletes_nothing_and_is_taken_up_again_when_it_is_back() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fill(cluster.source(), FILES);
    let follow = cluster.follow(&[]);
    cluster.settle();
    let away = cluster.path().join("away");
    fs::rename(cluster.source(), &away).unwrap();
    until_guard(&cluster, "tripped");
    assert_eq!(files(&cluster.replica(0)), FILES);
    // It may only be unmounted: nobody can mean that all of it goes.
    cluster
        .run([OsStr::new("approve"), cluster.source().as_os_str()])
        .expect(3)
        .expect_error("source directory is gone");
    let status = cluster.run(["status"]);
    status.expect(1);
    assert!(status.stdout.contains("gone or unmounted") && !status.stdout.contains("fulmar approve"), "{status}");
    assert_eq!(cluster.status()["guard"]["cause"], "source_gone");
    fs::write(away.join("d0/while away"), "1").unwrap();
    fs::rename(&away, cluster.source()).unwrap();
    until_guard(&cluster, "ok");
    cluster.assert_in_sync(1);
    follow.stop();
}

#[test]
fn a_root_that_is_put_back_in_the_place_of_another_needs_no_approval() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fill(cluster.source(), FILES);
    let follow = cluster.follow(&[]);
    cluster.settle();
    let (away, impostor) = (cluster.path().join("away"), cluster.path().join("impostor"));
    fs::rename(cluster.source(), &away).unwrap();
    until_guard(&cluster, "tripped");
    fixture::build(cluster.source(), &[("impostor", File("another tree"))]);
    cluster.until_status(0, "removals are held back", |replica| replica["held"].as_u64() > Some(0));
    fs::rename(cluster.source(), &impostor).unwrap();
    fs::rename(&away, cluster.source()).unwrap();
    until_guard(&cluster, "ok");
    cluster.assert_in_sync(1);
    follow.stop();
}

#[test]
fn a_follow_starts_on_an_emptied_source_and_deletes_nothing() {
    let cluster = cluster();
    fill(cluster.source(), FILES);
    cluster.sync(&[]).expect(0);
    empty(cluster.source());
    let follow = cluster.follow(&[]);
    until_guard(&cluster, "tripped");
    assert_eq!(files(&cluster.replica(0)), FILES);
    assert_eq!(oracle::quarantined(&cluster.replica(0)), Vec::<PathBuf>::new());
    follow.stop();
}
