//! `fulmar sync`: bringing replicas up to date once. What arrives, what stays untouched, and what happens to what others
//! did to a replica.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fulmar_testkit::fixture::Node::{Dir, File, Link, Same};
use fulmar_testkit::{Cluster, Life, Rsh, Running, fixture, fresh_seed, need, oracle, until};
use rustix::fs::{Mode, OFlags};

fn cluster() -> Cluster {
    Cluster::new(env!("CARGO_BIN_EXE_fulmar"))
}

/// Everything a tree's paths look like to a reader, in bytes and stat data: what a command that changes nothing leaves.
fn snapshot(root: &Path) -> Vec<(PathBuf, u64, i64, i64, u64)> {
    let walk = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().filter_map(Result::ok);
    let stat = |entry: walkdir::DirEntry| {
        entry.metadata().map(|stat| (entry.into_path(), stat.ino(), stat.ctime(), stat.ctime_nsec(), stat.size()))
    };
    walk.filter_map(|entry| stat(entry).ok()).collect()
}

fn quarantined_contents(replica: &Path) -> Vec<String> {
    let directory = replica.join(".fulmar/quarantine");
    oracle::quarantined(replica).iter().filter_map(|path| fs::read_to_string(directory.join(path)).ok()).collect()
}

#[test]
fn a_first_sync_brings_everything_that_a_tree_can_hold() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fixture::everything(cluster.source());
    cluster.sync(&[]).expect(0);
    oracle::assert_equal(cluster.source(), &cluster.replica(0));
    let blocks = |root: &Path| root.join("sparse").metadata().unwrap().blocks();
    assert!(
        blocks(&cluster.replica(0)) < 3_000_000 / 512 / 2,
        "holes stay holes: {} blocks",
        blocks(&cluster.replica(0))
    );
    let private = cluster.replica(0).join(".fulmar").metadata().unwrap();
    assert_eq!(private.permissions().mode() & 0o7777, 0o700, "the private directory is nobody else's");
}

#[test]
fn an_empty_source_makes_an_empty_replica() {
    let cluster = cluster();
    cluster.sync(&[]).expect(0);
    assert_eq!(oracle::paths(&cluster.replica(0)), Vec::<PathBuf>::new());
}

#[test]
fn a_second_sync_changes_no_inode() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fixture::everything(cluster.source());
    cluster.sync(&[]).expect(0);
    let visible = |cluster: &Cluster| {
        let replica = cluster.replica(0);
        let mut paths = snapshot(&replica);
        // The root itself holds the private directory, which may be written to.
        paths.retain(|(path, ..)| *path != replica && !path.starts_with(replica.join(".fulmar")));
        paths
    };
    let before = visible(&cluster);
    cluster.sync(&[]).expect(0);
    assert_eq!(visible(&cluster), before);
    oracle::assert_equal(cluster.source(), &cluster.replica(0));
}

#[test]
fn each_sync_brings_what_a_random_life_did_since_the_last_one() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    let mut life = Life::new(cluster.source(), fresh_seed());
    for _ in 0..5 {
        life.run(200);
        // A life removes as much as it likes; how much at once is the subject of another story.
        cluster.sync(&["--approve-removals"]).expect(0);
        oracle::assert_equal(cluster.source(), &cluster.replica(0));
    }
    assert_eq!(oracle::quarantined(&cluster.replica(0)), Vec::<PathBuf>::new(), "nobody else touched the replica");
}

#[test]
fn a_lost_state_directory_costs_a_comparison_and_nothing_else() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fixture::everything(cluster.source());
    cluster.sync(&[]).expect(0);
    let inode = cluster.replica(0).join("small").metadata().unwrap().ino();
    fs::remove_dir_all(cluster.state()).unwrap();
    fs::write(cluster.source().join("later"), "made while nobody remembered").unwrap();
    fs::remove_file(cluster.source().join("empty")).unwrap();
    cluster.sync(&[]).expect(0);
    oracle::assert_equal(cluster.source(), &cluster.replica(0));
    assert_eq!(cluster.replica(0).join("small").metadata().unwrap().ino(), inode, "equal files stay where they are");
}

#[test]
fn damaged_databases_cost_a_comparison_and_need_nobody() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fixture::everything(cluster.source());
    cluster.sync(&[]).expect(0);
    let walk = [cluster.state(), cluster.replica(0).join(".fulmar")].map(walkdir::WalkDir::new).into_iter().flatten();
    let files = walk.filter_map(|entry| Some(entry.ok()?.into_path()));
    let files: Vec<_> = files.filter(|path| path.extension() == Some(OsStr::new("db"))).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for (number, file) in files.iter().enumerate() {
        fs::write(file, fulmar_testkit::Random::new(7).bytes(20_000)).unwrap();
        // What is left of it in its log would cure it.
        drop(fs::remove_file(file.with_extension("db-wal")));
        // Without its store a replica cannot know whose a version is that the source has no more.
        if !file.ends_with("store.db") {
            fs::write(cluster.source().join("small"), number.to_string()).unwrap();
        }
        // At the start of either command.
        let command = if number % 2 == 0 { cluster.sync(&[]) } else { cluster.follow(&[]).stop() };
        command.expect(0).expect_error("database rebuilt");
        cluster.sync(&[]).expect(0);
        oracle::assert_equal(cluster.source(), &cluster.replica(0));
    }
    assert_eq!(quarantined_contents(&cluster.replica(0)), Vec::<String>::new(), "nothing was taken for foreign");
}

#[test]
fn a_directory_that_was_never_a_replica_is_refused_without_adopt() {
    let cluster = cluster();
    fixture::build(cluster.source(), &[("a", File("source"))]);
    fixture::build(&cluster.replica(0), &[("precious", File("somebody's work"))]);
    let before = snapshot(&cluster.replica(0));
    cluster.sync(&[]).expect(2).expect_error("--adopt");
    assert_eq!(snapshot(&cluster.replica(0)), before);
}

#[test]
fn an_empty_directory_needs_no_adopt() {
    let cluster = cluster();
    fixture::build(cluster.source(), &[("a", File("source"))]);
    fs::create_dir(cluster.replica(0)).unwrap();
    cluster.sync(&[]).expect(0);
    assert_eq!(fs::read_to_string(cluster.replica(0).join("a")).unwrap(), "source");
}

#[test]
fn an_adopted_copy_keeps_the_inodes_of_equal_files() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fixture::everything(cluster.source());
    let copied = Command::new("rsync")
        .args(["-aHAXS", "--numeric-ids", "--exclude=*.sock"])
        .arg(cluster.source().join("."))
        .arg(cluster.replica(0))
        .status();
    assert!(copied.unwrap().success());
    let inode = |name: &str| cluster.replica(0).join(name).metadata().unwrap().ino();
    let before = ["small", "empty", "a/b/c/d/deep", "sparse"].map(|name| (name, inode(name)));
    fs::write(cluster.replica(0).join("extra"), "only in the copy").unwrap();
    cluster.sync(&["--adopt"]).expect(0);
    oracle::assert_equal(cluster.source(), &cluster.replica(0));
    assert_eq!(before.map(|(name, _)| (name, inode(name))), before);
    assert_eq!(
        quarantined_contents(&cluster.replica(0)),
        ["only in the copy"],
        "nothing is destroyed that fulmar did not put there"
    );
}

#[test]
fn links_that_nothing_is_recorded_of_are_nobody_elses() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fixture::build(cluster.source(), &[("a", File("1")), ("b", Same("a")), ("d/c", Same("a")), ("other", File("2"))]);
    cluster.sync(&[]).expect(0);
    fs::remove_file(cluster.replica(0).join(".fulmar/store.db")).unwrap();
    cluster.sync(&[]).expect(0);
    fs::remove_dir_all(cluster.replica(0).join(".fulmar")).unwrap();
    cluster.sync(&["--adopt"]).expect(0);
    oracle::assert_equal(cluster.source(), &cluster.replica(0));
    assert_eq!(quarantined_contents(&cluster.replica(0)), Vec::<String>::new(), "all of it is the source's");
}

#[test]
fn a_dry_run_of_an_adoption_names_what_would_go() {
    let cluster = cluster();
    fixture::build(cluster.source(), &[("d/a", File("1"))]);
    let strays: Vec<_> = (0..1200).map(|number| format!("d/stray{number:04}")).collect();
    let nodes: Vec<_> = strays.iter().map(|path| (path.as_str(), File("x"))).collect();
    fixture::build(&cluster.replica(0), &nodes);
    fixture::build(&cluster.replica(0), &[("tree/of/strays", File("x"))]);
    let said = cluster.sync(&["--dry-run", "--adopt"]);
    let named: Vec<_> = said.expect(1).stdout.lines().filter_map(|line| line.strip_prefix("remove    ")).collect();
    assert_eq!(named, strays.iter().map(String::as_str).chain(["tree"]).collect::<Vec<_>>(), "{said}");
}

#[test]
fn what_others_did_to_a_replica_is_undone_and_kept_in_quarantine() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fixture::build(
        cluster.source(),
        &[
            ("edited", File("original")),
            ("deleted", File("original")),
            ("d/added/next/to", File("original")),
            ("became", Link("somewhere")),
        ],
    );
    cluster.sync(&[]).expect(0);
    let replica = cluster.replica(0);
    fs::write(replica.join("edited"), "edited by hand").unwrap();
    fs::remove_file(replica.join("deleted")).unwrap();
    fs::write(replica.join("d/added/stray"), "added by hand").unwrap();
    fixture::build(&replica, &[("new/tree/of", File("strays"))]);
    fs::remove_file(replica.join("became")).unwrap();
    fs::write(replica.join("became"), "a file by hand").unwrap();
    cluster.sync(&[]).expect(0);
    oracle::assert_equal(cluster.source(), &replica);
    let mut kept = quarantined_contents(&replica);
    kept.sort();
    assert_eq!(kept, ["a file by hand", "added by hand", "edited by hand", "strays"]);
}

#[test]
fn an_edit_that_left_no_trace_but_the_change_time_is_found() {
    let cluster = cluster();
    fixture::build(cluster.source(), &[("f", File("original"))]);
    cluster.sync(&[]).expect(0);
    let file = cluster.replica(0).join("f");
    let time = file.metadata().unwrap().modified().unwrap();
    fs::write(&file, "tampered").unwrap();
    fs::File::open(&file).unwrap().set_modified(time).unwrap();
    cluster.sync(&[]).expect(0);
    assert_eq!(fs::read_to_string(&file).unwrap(), "original");
    assert_eq!(quarantined_contents(&cluster.replica(0)), ["tampered"]);
}

#[test]
fn an_edit_in_the_source_that_left_no_trace_but_the_change_time_arrives() {
    let cluster = cluster();
    fixture::build(cluster.source(), &[("f", File("original"))]);
    cluster.sync(&[]).expect(0);
    let file = cluster.source().join("f");
    let time = file.metadata().unwrap().modified().unwrap();
    fs::write(&file, "improved").unwrap();
    fs::File::open(&file).unwrap().set_modified(time).unwrap();
    cluster.sync(&[]).expect(0);
    assert_eq!(fs::read_to_string(cluster.replica(0).join("f")).unwrap(), "improved");
}

#[test]
fn excluded_paths_stay_at_home() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fixture::build(
        cluster.source(),
        &[
            ("keep/a.txt", File("1")),
            ("keep/a.log", File("2")),
            ("cache/x", File("3")),
            ("deep/cache/y", File("4")),
            ("b.log", File("5")),
        ],
    );
    cluster.sync(&["--exclude", "*.log", "--exclude", "/cache/"]).expect(0);
    oracle::assert_equal_except(cluster.source(), &cluster.replica(0), &["*.log", "/cache/"]);
    let there = oracle::paths(&cluster.replica(0));
    assert_eq!(there, ["deep", "deep/cache", "deep/cache/y", "keep", "keep/a.txt"].map(PathBuf::from));
}

#[test]
fn sockets_are_skipped_and_counted() {
    let cluster = cluster();
    fixture::build(cluster.source(), &[("a", File("1")), ("d/b", File("2")), ("cache/c", File("3"))]);
    let quiet = cluster.sync(&[]);
    quiet.expect(0);
    assert!(!quiet.stderr.contains("socket"), "{quiet}");
    // Bound by short names: a socket's name has room for 107 bytes.
    for (directory, name) in [("", "one.sock"), ("d", "two.sock"), ("d", "left at home.sock"), ("cache", "three.sock")]
    {
        let directory = fs::File::open(cluster.source().join(directory)).unwrap();
        let name = format!("/proc/self/fd/{}/{name}", std::os::fd::AsRawFd::as_raw_fd(&directory));
        std::os::unix::net::UnixListener::bind(name).unwrap();
    }
    let exclude = ["--exclude", "/cache/", "--exclude", "left*"];
    let finished = cluster.sync(&exclude);
    finished.expect(0);
    assert!(finished.stderr.contains("\n  2 sockets skipped\n"), "{finished}");
    let said = cluster.sync(&[&exclude[..], &["--json"]].concat());
    said.expect(0);
    let tree: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(tree["replicas"][0]["sockets"], 2, "{said}");
    fs::remove_file(cluster.source().join("one.sock")).unwrap();
    let finished = cluster.sync(&exclude);
    finished.expect(0);
    assert!(finished.stderr.contains("\n  1 socket skipped\n"), "{finished}");
    assert!(!cluster.replica(0).join("d/two.sock").exists());
}

#[test]
fn delete_keep_keeps_what_the_source_has_no_more_and_what_it_never_had() {
    let cluster = cluster();
    fixture::build(cluster.source(), &[("stays", File("1")), ("goes", File("2"))]);
    cluster.sync(&["--delete", "keep"]).expect(0);
    fs::remove_file(cluster.source().join("goes")).unwrap();
    fs::write(cluster.replica(0).join("stray"), "3").unwrap();
    fs::write(cluster.source().join("stays"), "changed").unwrap();
    cluster.sync(&["--delete", "keep"]).expect(0);
    let content = |name: &str| fs::read_to_string(cluster.replica(0).join(name)).unwrap();
    assert_eq!(["stays", "goes", "stray"].map(content), ["changed", "2", "3"]);
}

#[test]
fn delete_remove_leaves_strays_no_quarantine() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fixture::build(cluster.source(), &[("a", File("1"))]);
    cluster.sync(&[]).expect(0);
    fs::write(cluster.replica(0).join("stray"), "2").unwrap();
    cluster.sync(&["--delete", "remove"]).expect(0);
    oracle::assert_equal(cluster.source(), &cluster.replica(0));
    assert_eq!(quarantined_contents(&cluster.replica(0)), Vec::<String>::new());
}

#[test]
fn a_dry_run_creates_and_changes_nothing() {
    let cluster = cluster();
    fixture::build(cluster.source(), &[("a", File("1")), ("d", Dir), ("b", Same("a"))]);
    let said = cluster.sync(&["--dry-run"]);
    assert!(said.code < 2, "{said}");
    assert!(!cluster.replica(0).exists());
    cluster.sync(&[]).expect(0);
    fs::write(cluster.source().join("a"), "changed").unwrap();
    fs::remove_dir(cluster.source().join("d")).unwrap();
    let visible = |root: &Path| {
        snapshot(root)
            .into_iter()
            .filter(|(path, ..)| path != root && !path.starts_with(root.join(".fulmar")))
            .collect::<Vec<_>>()
    };
    let before = visible(&cluster.replica(0));
    let said = cluster.sync(&["--dry-run"]);
    assert!(said.code < 2, "{said}");
    assert_eq!(visible(&cluster.replica(0)), before);
    cluster.sync(&[]).expect(0);
    assert!(!cluster.replica(0).join("d").exists());
}

#[test]
fn a_dry_run_for_two_replicas_says_whose_each_operation_is() {
    let cluster = cluster();
    fixture::build(cluster.source(), &[("a", File("1"))]);
    cluster.sync(&[]).expect(0);
    fixture::build(cluster.source(), &[("b", File("2"))]);
    let (known, other) = (cluster.replica(0), cluster.replica(1));
    let dry = |more: &[&str]| {
        let finished = cluster.sync_to(&[known.as_os_str(), other.as_os_str()], &[&["--dry-run"], more].concat());
        finished.expect(1);
        let mut lines: Vec<_> =
            finished.stdout.lines().map(str::to_owned).filter(|line| !line.ends_with(": .")).collect();
        lines.sort();
        lines
    };
    let line = |replica: &Path, path: &str| format!("put       {}: {path}", replica.display());
    assert_eq!(dry(&[]), [line(&known, "b"), line(&other, "a"), line(&other, "b")]);
    assert!(dry(&["--json"]).iter().all(|line| line.contains(r#""replica":""#)));
}

#[test]
fn a_dry_run_that_keeps_names_no_removals() {
    let cluster = cluster();
    fixture::build(cluster.source(), &[("a", File("1")), ("gone", File("2"))]);
    cluster.sync(&[]).expect(0);
    fs::remove_file(cluster.source().join("gone")).unwrap();
    fs::write(cluster.replica(0).join("stray"), "x").unwrap();
    let said = cluster.sync(&["--dry-run"]);
    assert!(said.expect(1).stdout.contains("remove    stray"), "{said}");
    let said = cluster.sync(&["--dry-run", "--delete", "keep"]);
    assert!(!said.stdout.contains("remove"), "{said}");
}

#[test]
fn what_is_nested_too_deep_is_held_and_holds_nothing_else_up() {
    let cluster = cluster();
    fixture::build(cluster.source(), &[("a", File("1")), ("z", File("2"))]);
    let name = CString::new("d".repeat(250)).unwrap();
    let mut at = rustix::fs::open(cluster.source(), OFlags::DIRECTORY, Mode::empty()).unwrap();
    // 70 names of 250 bytes: no path of more than 16 KiB is replicated.
    for _ in 0..70 {
        rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, &name, OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    for _ in 0..2 {
        cluster.sync(&[]).expect(1).expect_error("cannot be read on the primary");
        assert_eq!(fs::read_to_string(cluster.replica(0).join("z")).unwrap(), "2");
    }
    let follow = cluster.follow(&[]);
    fs::write(cluster.source().join("z"), "3").unwrap();
    until(Duration::from_secs(60), "the rest is followed", || {
        let content = fs::read_to_string(cluster.replica(0).join("z")).unwrap();
        if content == "3" { Ok(()) } else { Err(format!("{:#}", cluster.status())) }
    });
    follow.stop();
}

#[test]
fn two_replicas_are_brought_up_to_date_in_one_call() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fixture::everything(cluster.source());
    let (one, other) = (cluster.replica(0), cluster.replica(1));
    cluster.sync_to(&[one.as_os_str(), other.as_os_str()], &[]).expect(0);
    oracle::assert_equal(cluster.source(), &one);
    oracle::assert_equal(cluster.source(), &other);
}

#[test]
fn a_replica_behind_a_remote_shell_is_brought_up_to_date() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fixture::everything(cluster.source());
    let rsh = cluster.rsh("rsh");
    // What ssh would take apart: the far path has a space and a quote in it.
    let far = cluster.path().join("far 'away");
    let mut target = std::ffi::OsString::from("host:");
    target.push(&far);
    let command = rsh.command();
    for _ in 0..2 {
        cluster.sync_to(&[&target], &["--rsh", command.to_str().unwrap()]).expect(0);
        oracle::assert_equal(cluster.source(), &far);
        fs::write(cluster.source().join("small"), "changed in between").unwrap();
    }
    assert_eq!(rsh.far_ends(), Vec::<u32>::new(), "the far end ends with its connection");
}

#[test]
fn a_replica_whose_session_fails_is_not_called_in_sync() {
    let cluster = cluster();
    let nodes: Vec<_> = (0..600).map(|number| format!("f{number}")).collect();
    let nodes: Vec<_> = nodes.iter().map(|name| (name.as_str(), File("1"))).collect();
    fixture::build(cluster.source(), &nodes);
    // It says who it is, and dies (with its process group, which is its own) in the middle of what it wants.
    let rsh = cluster.path().join("rsh");
    fs::write(
        &rsh,
        format!("#!/bin/sh\nshift 2\n{:?} \"$@\" | {{ dd bs=1 count=200; kill -9 0; }}\n", cluster.binary().path()),
    )
    .unwrap();
    fs::set_permissions(&rsh, fs::Permissions::from_mode(0o755)).unwrap();
    let target = format!("host:{}", cluster.replica(0).display());
    let finished = cluster.sync_to(&[OsStr::new(&target)], &["--rsh", rsh.to_str().unwrap()]);
    finished.expect(3).expect_error("NOT in sync");
}

#[test]
fn what_goes_to_another_host_is_compressed_where_it_shrinks() {
    let cluster = cluster();
    let directory = cluster.path().join("counting");
    // What goes there is kept beside the script, which ends with the far end.
    let body = format!(
        "shift; eval \"set -- $*\"; shift; tee '{}' | '{}' \"$@\"",
        directory.join("sent").display(),
        cluster.binary().path().display()
    );
    let rsh = Rsh::script(&directory, &body);
    let mut target = std::ffi::OsString::from("host:");
    target.push(cluster.path().join("far"));
    let sent = |name: &str, content: &[u8]| {
        fs::write(cluster.source().join(name), content).unwrap();
        cluster.sync_to(&[&target], &["--rsh", rsh.command().to_str().unwrap()]).expect(0);
        assert_eq!(fs::read(cluster.path().join("far").join(name)).unwrap(), content);
        fs::metadata(directory.join("sent")).unwrap().len()
    };
    let text = (0..50_000).map(|line| format!("line {line} of a log, at {} s\n", line * 7)).collect::<String>();
    let count = sent("text", text.as_bytes());
    assert!(count * 3 < text.len() as u64, "{count} bytes for {}", text.len());
    let mut random = vec![0; 1 << 20];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
    let count = sent("random", &random);
    assert!(count * 100 < random.len() as u64 * 101, "{count} bytes for {}", random.len());
}

#[test]
fn a_sync_that_is_told_to_end_calls_nothing_in_sync() {
    for end in [Running::interrupt, Running::terminate] {
        let cluster = cluster();
        fixture::build(cluster.source(), &[("a", File("1"))]);
        fs::write(cluster.source().join("large"), fulmar_testkit::Random::new(6).bytes(20 << 20)).unwrap();
        let rsh = cluster.rsh("rsh");
        let mut far = OsString::from("host:");
        far.push(cluster.replica(0));
        let words = ["sync".as_ref(), cluster.source().as_os_str(), &far, "--bwlimit".as_ref(), "200k".as_ref()];
        let (command, state) = (rsh.command(), cluster.state());
        let options = ["--rsh".as_ref(), command.as_os_str(), "--state-dir".as_ref(), state.as_os_str()];
        let running = cluster.binary().start(&cluster.path().join("logs"), words.iter().chain(&options));
        until(Duration::from_secs(60), "what is small arrives", || {
            fs::read(cluster.replica(0).join("a")).map(drop).map_err(|error| format!("{error}\n{}", running.log()))
        });
        end(&running);
        let finished = running.finish(Duration::from_secs(60));
        finished.expect(3).expect_error("error: interrupted").expect_error("hint: the same command goes on");
        finished.expect_error(": NOT in sync");
    }
}

#[test]
fn every_durability_brings_the_same_tree() {
    if !need("rsync") {
        return;
    }
    for durability in ["batch", "each", "none"] {
        let cluster = cluster();
        fixture::everything(cluster.source());
        cluster.sync(&["--durability", durability]).expect(0);
        oracle::assert_equal(cluster.source(), &cluster.replica(0));
        let follow = cluster.follow(&["--durability", durability]);
        fs::write(cluster.source().join("small"), durability).unwrap();
        cluster.assert_in_sync(1);
        follow.stop();
    }
}

#[test]
fn progress_is_drawn_on_a_terminal_and_told_in_lines_elsewhere_when_asked_for() {
    let cluster = cluster();
    fixture::everything(cluster.source());
    let asked = cluster.sync(&["--progress"]);
    asked.expect(0).expect_error(" entries compared, ");
    let silent = cluster.sync(&[]);
    assert!(!silent.expect(0).stderr.contains("compared"), "{silent}");
    if !need("script") {
        return;
    }
    let words = [cluster.source(), &cluster.replica(1)].map(|path| path.to_str().unwrap().to_owned()).join(" ");
    let line = format!("{} sync {words} --state-dir {}", cluster.binary().path().display(), cluster.state().display());
    let terminal = Command::new("script").args(["-qec", &line, "/dev/null"]).output().unwrap();
    let drawn = String::from_utf8_lossy(&terminal.stdout);
    assert!(terminal.status.success() && drawn.contains(" entries compared, "), "{drawn}");
    assert!(drawn.contains("\u{1b}["), "it is drawn in place\n{drawn}");
}

#[test]
fn one_replica_that_fails_does_not_stop_the_other() {
    let cluster = cluster();
    fixture::build(cluster.source(), &[("a", File("1"))]);
    let far = format!("host:{}", cluster.replica(1).display());
    let finished = cluster.sync_to(&[OsStr::new(&far), cluster.replica(0).as_os_str()], &["--rsh", "false"]);
    finished.expect(3).expect_error(&far);
    assert!(!cluster.replica(1).exists());
    assert_eq!(fs::read_to_string(cluster.replica(0).join("a")).unwrap(), "1");
}
