//! `fulmar follow`: changes arrive while they happen, `wait` tells when, `status` tells how it stands, and replicas come,
//! go and come back.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use fulmar_testkit::fixture::Node::File;
use fulmar_testkit::{Cluster, Life, LoopMount, Options, Rsh, fixture, fresh_seed, need, oracle, until};

fn cluster() -> Cluster {
    Cluster::new(env!("CARGO_BIN_EXE_fulmar"))
}

fn far(path: &Path) -> OsString {
    let mut target = OsString::from("host:");
    target.push(path);
    target
}

#[track_caller]
fn assert_content(path: &Path, wanted: &str) {
    let content = fs::read_to_string(path);
    assert_eq!(content.as_deref().ok(), Some(wanted), "{path:?}: {content:?}");
}

#[test]
fn each_change_has_arrived_when_wait_returns() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fixture::everything(cluster.source());
    let follow = cluster.follow(&[]);
    cluster.assert_in_sync(1);
    let (source, replica) = (cluster.source(), cluster.replica(0));
    fs::write(source.join("new"), "1").unwrap();
    cluster.settle();
    assert_content(&replica.join("new"), "1");
    fs::write(source.join("new"), "2, in place").unwrap();
    cluster.settle();
    assert_content(&replica.join("new"), "2, in place");
    fs::rename(source.join("new"), source.join("a/renamed")).unwrap();
    cluster.settle();
    assert_content(&replica.join("a/renamed"), "2, in place");
    assert!(!replica.join("new").exists());
    fs::remove_file(source.join("a/renamed")).unwrap();
    cluster.assert_in_sync(1);
    follow.stop();
}

#[test]
fn wait_covers_what_was_written_into_directories_that_did_not_exist() {
    let cluster = cluster();
    let follow = cluster.follow(&[]);
    for round in 0..10 {
        let deep = Path::new("x").join(round.to_string()).join("a/b/c/d/e/f");
        fs::create_dir_all(cluster.source().join(&deep)).unwrap();
        fs::write(cluster.source().join(&deep).join("at once"), round.to_string()).unwrap();
        cluster.settle();
        assert_content(&cluster.replica(0).join(&deep).join("at once"), &round.to_string());
    }
    follow.stop();
}

#[test]
fn a_burst_of_new_trees_arrives_whole() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    let follow = cluster.follow(&[]);
    for tree in 0..40 {
        for leaf in 0..20 {
            let directory = cluster.source().join(format!("t{tree}/{}/l{leaf}", leaf % 4));
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("f"), format!("{tree} {leaf}")).unwrap();
        }
    }
    cluster.assert_in_sync(1);
    follow.stop();
}

#[test]
fn a_directory_of_2000_files_is_renamed_without_touching_them() {
    if !need("rsync") {
        return;
    }
    use std::os::unix::fs::MetadataExt;
    let cluster = cluster();
    let before = cluster.source().join("before/deep");
    fs::create_dir_all(&before).unwrap();
    for number in 0..2000 {
        fs::write(before.join(number.to_string()), format!("content {number}")).unwrap();
    }
    let follow = cluster.follow(&[]);
    cluster.settle();
    let inode = |path: &str| cluster.replica(0).join(path).metadata().map(|stat| stat.ino()).ok();
    let original = inode("before/deep/77");
    fs::rename(cluster.source().join("before"), cluster.source().join("after")).unwrap();
    fs::write(cluster.source().join("after/deep/2000"), "written right after").unwrap();
    cluster.assert_in_sync(1);
    assert_eq!(inode("after/deep/77"), original, "the file was renamed, not copied");
    follow.stop();
}

#[test]
fn what_changed_below_a_directory_that_was_renamed_there_and_back_arrives() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fs::create_dir(cluster.source().join("home")).unwrap();
    let follow = cluster.follow(&[]);
    cluster.settle();
    for round in 0..10 {
        fs::rename(cluster.source().join("home"), cluster.source().join("away")).unwrap();
        fs::write(cluster.source().join("away").join(round.to_string()), "written while it was away").unwrap();
        fs::rename(cluster.source().join("away"), cluster.source().join("home")).unwrap();
        cluster.assert_in_sync(1);
    }
    follow.stop();
}

#[test]
fn a_new_directory_with_the_name_and_the_inode_number_of_one_that_is_gone_starts_empty() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    let (folder, trash) = (cluster.source().join("folder"), cluster.source().join("trash"));
    fs::create_dir_all(folder.join("cur")).unwrap();
    fs::write(folder.join("cur/mail"), "deleted with its folder").unwrap();
    let follow = cluster.follow(&[]);
    for round in 0..5 {
        cluster.settle();
        follow.pause();
        fs::rename(&folder, &trash).unwrap();
        fs::remove_dir_all(&trash).unwrap();
        // ext4 likes to give the numbers that have just become free.
        fs::create_dir_all(folder.join("cur")).unwrap();
        fs::write(folder.join("cur").join(round.to_string()), "delivered into the new one").unwrap();
        follow.resume();
        cluster.assert_in_sync(1);
    }
    follow.stop();
}

#[test]
fn names_of_one_large_file_that_get_files_of_their_own_arrive() {
    let cluster = cluster();
    let rsh = cluster.rsh("rsh");
    let at = |name: &str| cluster.source().join(name);
    fs::write(at("a"), "one inode").unwrap();
    for name in ["b", "c"] {
        fs::hard_link(at("a"), at(name)).unwrap();
    }
    let command = rsh.command();
    let slow = ["--rsh", command.to_str().unwrap(), "--bwlimit", "2M"];
    let follow = cluster.follow_to(&[&far(&cluster.replica(0))], &slow);
    cluster.settle();
    for (name, queued) in [("a", 1), ("b", 2), ("c", 3)] {
        // Incompressible, and not equal: none can be had from another.
        fs::write(at("new"), fulmar_testkit::Random::new(queued).bytes(6 << 20)).unwrap();
        fs::rename(at("new"), at(name)).unwrap();
        cluster.until_status(0, "it waits for its turn", |status| status["large"].as_u64() == Some(queued));
    }
    cluster.settle();
    oracle::assert_equal(cluster.source(), &cluster.replica(0));
    let told = cluster.run([OsStr::new("wait"), cluster.source().as_os_str(), OsStr::new("-v")]);
    told.expect(0);
    // Nine or so; each plan that makes changes of what it was reminded of would make hundreds.
    let changes = told.stderr.split_whitespace().find_map(|word| word.parse::<u64>().ok());
    assert!(changes.is_some_and(|changes| changes < 50), "{told}");
    follow.stop();
}

#[test]
fn a_reader_sees_the_old_file_or_the_new_one_and_nothing_between() {
    let cluster = cluster();
    let page = |version: usize| format!("{version}\n").repeat(40_000);
    let publish = |version: usize| {
        fs::write(cluster.source().join(".page.tmp"), page(version)).unwrap();
        fs::rename(cluster.source().join(".page.tmp"), cluster.source().join("page")).unwrap();
    };
    publish(0);
    let follow = cluster.follow(&[]);
    cluster.settle();
    let mut last = 0;
    for version in 1..15 {
        publish(version);
        until(Duration::from_secs(60), "the version arrives", || {
            let seen = fs::read_to_string(cluster.replica(0).join("page")).expect("the page is always there");
            let number =
                seen.lines().next().and_then(|line| line.parse().ok()).expect("a page begins with its version");
            assert!(seen == page(number), "a torn page: version {number}, {} bytes", seen.len());
            assert!(number >= last, "back from {last} to {number}");
            last = number;
            if number == version { Ok(()) } else { Err(format!("version {number} of {version}")) }
        });
    }
    follow.stop();
}

#[test]
fn a_small_change_does_not_wait_for_a_large_file() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    let follow = cluster.follow(&[]);
    let large = fs::File::create(cluster.source().join("large")).unwrap();
    let block = fulmar_testkit::Random::new(1).bytes(8 << 20);
    for _ in 0..24 {
        std::io::Write::write_all(&mut &large, &block).unwrap();
    }
    drop(large);
    fs::write(cluster.source().join("small"), "a message").unwrap();
    until(Duration::from_secs(30), "the small file arrives", || {
        let there = cluster.replica(0).join("small").exists();
        if there { Ok(()) } else { Err(format!("{:#}", cluster.status())) }
    });
    cluster.assert_in_sync(1);
    follow.stop();
}

#[test]
fn what_happened_while_nobody_followed_arrives_after_the_start() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    let options = Options { removals: false, ..Options::default() };
    let mut life = Life::with(cluster.source(), fresh_seed(), options);
    for _ in 0..4 {
        life.run(100);
        let follow = cluster.follow(&[]);
        life.run(100);
        cluster.assert_follows(&life, 1);
        follow.stop();
    }
}

#[test]
fn a_replica_that_has_everything_is_not_compared_again_after_a_restart() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fixture::build(cluster.source(), &[("a", File("1")), ("d/b", File("2"))]);
    cluster.sync(&[]).expect(0);
    for round in 0..3 {
        fs::write(cluster.source().join("new"), format!("while nobody followed, {round}")).unwrap();
        let follow = cluster.follow(&[]);
        cluster.assert_in_sync(1);
        let status = cluster.status_of(0);
        assert_eq!(status["listed"], 0, "round {round}: {status:#}");
        follow.stop();
    }
}

#[test]
fn wait_without_a_follow_says_so() {
    let cluster = cluster();
    cluster.wait("5s").expect(3).expect_error("error:");
    let follow = cluster.follow(&[]);
    cluster.settle();
    follow.stop();
    cluster.wait("5s").expect(3).expect_error("error:");
}

#[test]
fn a_follow_ends_cleanly_when_it_is_told_to_and_leaves_nothing_running() {
    let cluster = cluster();
    let rsh = cluster.rsh("rsh");
    let (one, other) = (cluster.replica(0), far(&cluster.replica(1)));
    let follow = cluster.follow_to(&[one.as_os_str(), &other], &["--rsh", rsh.command().to_str().unwrap()]);
    cluster.settle();
    assert_eq!(rsh.far_ends().len(), 1);
    follow.terminate();
    follow.finish(Duration::from_secs(60)).expect(0);
    until(Duration::from_secs(30), "the far end ends too", || match &*rsh.far_ends() {
        [] => Ok(()),
        left => Err(format!("{left:?}")),
    });
}

/// Killed when the test is over.
struct Unheard(std::process::Child);

impl Drop for Unheard {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_follow_goes_on_when_nobody_reads_its_log() {
    let cluster = cluster();
    fixture::build(cluster.source(), &[("a", File("1"))]);
    cluster.sync(&[]).expect(0);
    fs::write(cluster.replica(0).join("a"), "edited by hand, which is worth a warning").unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std::process::Command::new(cluster.binary().path());
    command.args(["follow", "-vv", "source", "replica0", "--state-dir", "state"]).current_dir(cluster.path());
    let mut follow = Unheard(command.stderr(writer).spawn().unwrap());
    until(Duration::from_secs(60), "the follow answers", || {
        assert!(follow.0.try_wait().unwrap().is_none(), "the follow has ended");
        if cluster.is_up() { Ok(()) } else { Err("it does not".to_owned()) }
    });
    fs::write(cluster.source().join("a"), "2").unwrap();
    cluster.settle();
    assert_content(&cluster.replica(0).join("a"), "2");
    assert_eq!(oracle::quarantined(&cluster.replica(0)).len(), 1);
}

#[test]
fn what_is_confirmed_is_at_the_replicas_path_though_it_was_moved_or_lost_its_records() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fixture::build(cluster.source(), &[("a", File("1"))]);
    let follow = cluster.follow(&[]);
    cluster.settle();
    let (replica, away) = (cluster.replica(0), cluster.path().join("away"));
    fs::rename(&replica, &away).unwrap();
    fs::write(cluster.source().join("b"), "2").unwrap();
    cluster.assert_in_sync(1);
    assert!(!away.join("b").exists());
    fs::remove_dir_all(replica.join(".fulmar")).unwrap();
    fs::write(cluster.source().join("a"), "3").unwrap();
    cluster.until_status(0, "it is away", |replica| {
        replica["error"].as_str().is_some_and(|error| error.contains("was never a replica"))
    });
    assert_content(&replica.join("a"), "1");
    follow.stop();
}

#[test]
fn a_second_follow_of_the_same_tree_is_refused_and_names_the_first() {
    let cluster = cluster();
    let follow = cluster.follow(&[]);
    let second = cluster.start_follow(&[cluster.replica(1).as_os_str()], &[]).finish(Duration::from_secs(60));
    assert!(second.code >= 2, "{second}");
    second.expect_error("error:").expect_error(&follow.pid().to_string());
    cluster.settle();
    follow.stop();
}

#[test]
fn a_replica_that_was_away_comes_back_and_holds_nobody_up() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    let rsh = cluster.rsh("rsh");
    let (near, away) = (cluster.replica(0), far(&cluster.replica(1)));
    let mut life = Life::with(cluster.source(), fresh_seed(), Options { removals: false, ..Options::default() });
    life.run(150);
    let follow = cluster.follow_to(&[near.as_os_str(), &away], &["--rsh", rsh.command().to_str().unwrap()]);
    cluster.assert_follows(&life, 2);

    rsh.refuse();
    assert_eq!(rsh.kill_far_ends(), 1);
    cluster.until_status(1, "the replica is away", |status| status["state"] == "away");
    cluster.run([OsStr::new("status"), cluster.source().as_os_str()]).expect(1);
    life.run(150);
    fs::write(cluster.source().join("marker"), "while it was away").unwrap();
    cluster.until_status(1, "the backlog grows and ages", |status| {
        status["backlog"].as_u64() > Some(0) && status["lag_ms"].as_u64() > Some(0)
    });
    cluster.until_status(0, "the other one has it all", |status| status["backlog"] == 0);
    assert_content(&near.join("marker"), "while it was away");
    assert!(!cluster.replica(1).join("marker").exists());
    cluster.wait("1s").expect(3);

    rsh.allow();
    life.run(50);
    cluster.assert_follows(&life, 2);
    cluster
        .until_status(1, "it is live and has no backlog", |status| status["state"] == "live" && status["backlog"] == 0);
    follow.stop();
    assert!(oracle::quarantined(&cluster.replica(1)).is_empty(), "nobody else touched the replica");
}

#[test]
fn a_replica_is_killed_again_and_again_while_life_goes_on() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    let rsh = cluster.rsh("rsh");
    let replica = far(&cluster.replica(0));
    let mut life = Life::with(cluster.source(), fresh_seed(), Options { removals: false, ..Options::default() });
    let follow = cluster.follow_to(&[&replica], &["--rsh", rsh.command().to_str().unwrap()]);
    for _ in 0..6 {
        life.run(60);
        rsh.kill_far_ends();
        life.run(30);
        until_connected(&rsh);
    }
    cluster.assert_follows(&life, 1);
    follow.stop();
}

#[test]
fn a_wait_outlives_first_comparisons_that_are_cut_short() {
    let cluster = cluster();
    let rsh = cluster.rsh("rsh");
    let mut random = fulmar_testkit::Random::new(8);
    // Minutes, at this rate.
    (0..2000).for_each(|file| fs::write(cluster.source().join(file.to_string()), random.bytes(20_000)).unwrap());
    let options = ["--rsh", rsh.command().to_str().unwrap(), "--bwlimit", "200k"].map(str::to_owned);
    let follow = cluster.follow_to(&[&far(&cluster.replica(0))], &options.each_ref().map(|option| &**option));
    let comparing = || cluster.until_status(0, "it is reached", |replica| replica["state"] == "comparing");
    comparing();
    let state = cluster.state();
    let words = ["wait".as_ref(), "--timeout".as_ref(), "100s".as_ref(), "--state-dir".as_ref(), state.as_os_str()];
    let mut wait = cluster.binary().start(&cluster.path().join("logs"), words);
    for round in 0..6 {
        rsh.refuse();
        rsh.kill_far_ends();
        cluster.until_status(0, "it is noticed", |replica| replica["state"] == "away");
        if round % 2 == 1 {
            // What comes back is another replica in the same place.
            fs::remove_dir_all(cluster.replica(0)).unwrap();
        }
        rsh.allow();
        comparing();
        assert_eq!(wait.ended(), None, "{}\n{:#}", wait.log(), cluster.status());
    }
    assert!(oracle::paths(&cluster.replica(0)).len() < 2000);
    drop(follow);
}

fn until_connected(rsh: &Rsh) {
    until(Duration::from_secs(90), "fulmar connects again", || {
        if rsh.far_ends().is_empty() { Err("no far end".to_owned()) } else { Ok(()) }
    });
}

#[test]
fn a_replica_is_added_later() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fixture::everything(cluster.source());
    let replicas = [cluster.replica(0), cluster.replica(1), cluster.replica(2)];
    let replicas = replicas.each_ref().map(|path| path.as_os_str());
    let follow = cluster.follow_to(&replicas[..2], &[]);
    cluster.settle();
    follow.stop();
    fs::write(cluster.source().join("small"), "changed in between").unwrap();
    let follow = cluster.follow_to(&replicas, &[]);
    fs::write(cluster.source().join("empty"), "not any more").unwrap();
    cluster.assert_in_sync(3);
    follow.stop();
}

#[test]
fn a_replica_that_is_full_holds_what_does_not_fit_and_heals_by_itself() {
    if !need("rsync") {
        return;
    }
    let Some(mount) = LoopMount::new(48 << 20) else { return };
    let cluster = cluster();
    let replica = mount.path().join("replica");
    let filler = mount.path().join("filler");
    fs::write(&filler, vec![1; 24 << 20]).unwrap();
    let follow = cluster.follow_to(&[replica.as_os_str()], &[]);
    cluster.settle();

    fs::write(cluster.source().join("too large"), fulmar_testkit::Random::new(3).bytes(25 << 20)).unwrap();
    fs::write(cluster.source().join("fits"), "in spite of its neighbour").unwrap();
    let status = cluster.until_status(0, "the file is held", |status| status["held"].as_u64() == Some(1));
    assert_eq!(status["held_paths"][0]["path"], "too large", "{status:#}");
    assert!(status["held_paths"][0]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{status:#}");
    cluster.wait("60s").expect(1).expect_error("too large");
    until(Duration::from_secs(30), "what fits arrives", || {
        fs::read_to_string(replica.join("fits")).map(drop).map_err(|error| error.to_string())
    });

    fs::remove_file(&filler).unwrap();
    cluster.until_status(0, "the held file heals", |status| status["held"] == 0);
    cluster.settle();
    oracle::assert_equal(cluster.source(), &replica);
    follow.stop();
}

#[test]
fn a_wait_that_is_pending_fails_when_a_path_is_held() {
    let Some(mount) = LoopMount::new(32 << 20) else { return };
    let cluster = cluster();
    let replica = mount.path().join("replica");
    let follow = cluster.follow_to(&[replica.as_os_str()], &[]);
    cluster.settle();
    fs::write(cluster.source().join("too large"), fulmar_testkit::Random::new(4).bytes(40 << 20)).unwrap();
    // Called before anybody can know that it will not fit.
    cluster.wait("120s").expect(1).expect_error("too large");
    follow.stop();
}

#[test]
fn a_file_that_never_stops_growing_arrives_all_the_same() {
    use std::io::Write;
    let cluster = cluster();
    let follow = cluster.follow(&[]);
    let log = cluster.source().join("log");
    let mut writer = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
    let copy = cluster.replica(0).join("log");
    let mut written = 0u64;
    until(Duration::from_secs(90), "the log arrives while it grows", || {
        writeln!(writer, "line {written}").unwrap();
        written += 1;
        let size = copy.metadata().map_or(0, |stat| stat.len());
        if size > 100 { Ok(()) } else { Err(format!("{size} bytes after {written} lines\n{:#}", cluster.status())) }
    });
    drop(writer);
    cluster.settle();
    assert_content(&copy, &fs::read_to_string(&log).unwrap());
    follow.stop();
}

#[test]
fn hostile_names_are_escaped_in_status_and_log() {
    let Some(mount) = LoopMount::new(32 << 20) else { return };
    let cluster = cluster();
    let replica = mount.path().join("replica");
    let follow = cluster.follow_to(&[replica.as_os_str()], &[]);
    let name = "evil\u{1b}[2J\nforged";
    fixture::build(cluster.source(), &[(name, File("x"))]);
    fs::write(cluster.source().join(name), fulmar_testkit::Random::new(5).bytes(40 << 20)).unwrap();
    cluster.until_status(0, "the file is held", |status| status["held"].as_u64() == Some(1));
    let said = [
        follow.log(),
        cluster.wait("60s").stderr,
        cluster.run([OsStr::new("status"), cluster.source().as_os_str()]).stdout,
    ];
    for text in said {
        assert!(!text.contains('\u{1b}') && !text.contains("\nforged"), "{text:?}");
    }
    follow.stop();
}

#[test]
fn the_control_socket_answers_what_it_cannot_understand_and_goes_on() {
    use std::io::{BufRead, BufReader, Write};
    let cluster = cluster();
    let follow = cluster.follow(&[]);
    let sockets = walkdir::WalkDir::new(cluster.state()).into_iter().filter_map(Result::ok);
    let socket = sockets.map(walkdir::DirEntry::into_path).find(|path| path.ends_with("control.sock")).unwrap();
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "whoever connects may read names and approve removals");
    let mut to = std::os::unix::net::UnixStream::connect(socket).unwrap();
    let mut from = BufReader::new(to.try_clone().unwrap()).lines();
    let mut ask = |request: &[u8]| {
        to.write_all(request).unwrap();
        let answer: serde_json::Value = serde_json::from_str(&from.next().unwrap().unwrap()).unwrap();
        format!("{}: {}", answer["answer"].as_str().unwrap(), answer["message"].as_str().unwrap_or_default())
    };
    let status = br#"{"version":1,"command":"status"}"#;
    let padded = |bytes: usize| [status, b" ".repeat(bytes - status.len() - 1).as_slice(), b"\n"].concat();
    let most = 131_072;
    assert_eq!(ask(&padded(most)), "status: ");
    for bytes in [most + 1, most + status.len() + 1, 10 * most] {
        assert_eq!(
            ask(&padded(bytes)),
            format!("error: a request has at most {most} bytes with its line break"),
            "{bytes}"
        );
    }
    for request in [b"\xff\xfe\n".as_slice(), b"{}\n", b"{\"version\":1,\"command\":\"sing\"}\n"] {
        let answer = ask(request);
        assert!(answer.starts_with("error: not understood"), "{}: {answer}", request.escape_ascii());
    }
    assert_eq!(ask(&padded(100)), "status: ");
    follow.stop();
}
