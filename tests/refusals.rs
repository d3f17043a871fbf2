//! What `fulmar` is given and cannot use: every refusal has an exit code and an `error:` that names the cause, and comes
//! before anything is touched.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fulmar_testkit::fixture::Node::File;
use fulmar_testkit::{Cluster, Finished, Rsh, fixture, until};

fn cluster() -> Cluster {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    fixture::build(cluster.source(), &[("d/a", File("1"))]);
    cluster
}

/// All paths of the scene but logs and the primary's state.
fn scene(cluster: &Cluster) -> Vec<PathBuf> {
    let mut paths = oracle_paths(cluster.path());
    paths.retain(|path| !path.starts_with("logs") && !path.starts_with("state"));
    paths
}

fn oracle_paths(root: &Path) -> Vec<PathBuf> {
    let walk = walkdir::WalkDir::new(root).sort_by_file_name().min_depth(1).into_iter().filter_map(Result::ok);
    walk.map(|entry| entry.path().strip_prefix(root).unwrap().to_path_buf()).collect()
}

#[track_caller]
fn assert_refused(finished: &Finished, code: i32) {
    finished.expect(code).expect_error("error:");
    assert!(!finished.stderr.contains("panicked"), "{finished}");
}

#[test]
fn what_cannot_be_a_source_and_replicas_is_refused_before_anything_is_touched() {
    type Arguments = fn(&Cluster) -> Vec<OsString>;
    let table: &[(&str, Arguments)] = &[
        ("a replica inside its source", |cluster| {
            vec![cluster.source().into(), cluster.source().join("d/replica").into()]
        }),
        ("a replica right in the root of its source", |cluster| {
            vec![cluster.source().into(), cluster.source().join("replica").into()]
        }),
        ("a source inside its replica", |cluster| {
            vec![cluster.source().join("d").into(), cluster.source().into(), "--adopt".into()]
        }),
        ("the source as its own replica", |cluster| {
            vec![cluster.source().into(), cluster.source().into(), "--adopt".into()]
        }),
        ("the source by another name as its own replica", |cluster| {
            symlink(cluster.source(), cluster.path().join("alias")).unwrap();
            vec![cluster.source().into(), cluster.path().join("alias").into(), "--adopt".into()]
        }),
        ("a replica inside its source by another name", |cluster| {
            symlink(cluster.source(), cluster.path().join("alias")).unwrap();
            vec![cluster.source().into(), cluster.path().join("alias/d/replica").into()]
        }),
        ("one replica twice", |cluster| {
            vec![cluster.source().into(), cluster.replica(0).into(), cluster.replica(0).into()]
        }),
        ("one replica twice, spelled differently", |cluster| {
            vec![cluster.source().into(), cluster.replica(0).into(), cluster.path().join("./replica0/").into()]
        }),
        ("a replica inside another one", |cluster| {
            vec![cluster.source().into(), cluster.replica(0).into(), cluster.replica(0).join("d/inner").into()]
        }),
        ("a replica inside another one by another name", |cluster| {
            fs::create_dir(cluster.replica(0)).unwrap();
            symlink(cluster.replica(0), cluster.path().join("alias")).unwrap();
            vec![cluster.source().into(), cluster.path().join("alias/inner").into(), cluster.replica(0).into()]
        }),
        ("a replica inside another one on another host", |cluster| {
            vec![cluster.source().into(), "host:/srv".into(), "host:/srv//inner".into(), "--rsh".into(), "true".into()]
        }),
        ("a missing source", |cluster| vec![cluster.path().join("nowhere").into(), cluster.replica(0).into()]),
        ("a file as source", |cluster| vec![cluster.source().join("d/a").into(), cluster.replica(0).into()]),
        ("a file as replica", |cluster| {
            fs::write(cluster.path().join("file"), "").unwrap();
            vec![cluster.source().into(), cluster.path().join("file").into()]
        }),
        ("a replica below a file", |cluster| {
            fs::write(cluster.path().join("file"), "").unwrap();
            vec![cluster.source().into(), cluster.path().join("file/replica").into()]
        }),
        ("a replica where nobody can write", |cluster| vec![cluster.source().into(), "/proc/replica".into()]),
        ("no replica", |cluster| vec![cluster.source().into()]),
        ("nothing", |_| vec![]),
        ("a profile that is none", |cluster| {
            vec![cluster.source().into(), cluster.replica(0).into(), "--profile".into(), "mbox".into()]
        }),
        ("a durability that is none", |cluster| {
            vec![cluster.source().into(), cluster.replica(0).into(), "--durability".into(), "maybe".into()]
        }),
        ("a delete policy that is none", |cluster| {
            vec![cluster.source().into(), cluster.replica(0).into(), "--delete".into(), "all".into()]
        }),
        ("an option that is none", |cluster| {
            vec![cluster.source().into(), cluster.replica(0).into(), "--frobnicate".into()]
        }),
    ];
    for (what, arguments) in table {
        let cluster = cluster();
        let arguments = arguments(&cluster);
        let before = scene(&cluster);
        let finished = cluster.run([OsString::from("sync")].into_iter().chain(arguments));
        eprintln!("{what}: {}", finished.stderr.trim());
        assert_refused(&finished, 2);
        finished.expect_error("\nhint: ");
        assert_eq!(scene(&cluster), before, "{what}: something was created");
    }
}

#[test]
fn a_state_directory_inside_the_source_or_a_replica_is_refused() {
    for inside in ["source/state", "source/d", "source", "replica0", "replica0/state", "replica0/new/state"] {
        let cluster = cluster();
        if inside == "replica0/state" {
            // Of one that exists; the others do not.
            cluster.sync(&[]).expect(0);
        }
        let before = scene(&cluster);
        let state = cluster.path().join(inside);
        let arguments = [
            OsStr::new("sync"),
            cluster.source().as_os_str(),
            cluster.replica(0).as_os_str(),
            OsStr::new("--state-dir"),
            state.as_os_str(),
        ]
        .map(OsString::from);
        let finished = cluster.binary().run(&cluster.path().join("logs"), arguments);
        assert_refused(&finished, 2);
        assert_eq!(scene(&cluster), before, "{inside}: something was created");
    }
}

#[test]
fn a_replica_of_another_source_is_refused_and_stays_as_it_is() {
    let cluster = cluster();
    cluster.sync(&[]).expect(0);
    let other = cluster.path().join("other");
    fixture::build(&other, &[("b", File("another tree"))]);
    let finished = cluster.run([OsStr::new("sync"), other.as_os_str(), cluster.replica(0).as_os_str()]);
    assert_refused(&finished, 2);
    assert_eq!(fs::read_to_string(cluster.replica(0).join("d/a")).unwrap(), "1");
    assert!(!cluster.replica(0).join("b").exists());
}

#[test]
fn when_one_of_several_replicas_is_refused_the_others_are_left_alone() {
    let cluster = cluster();
    let (good, foreign) = (cluster.path().join("good"), cluster.path().join("foreign"));
    fixture::build(&foreign, &[("b", File("of somebody else"))]);
    for verb in ["sync", "follow"] {
        for replicas in [[&good, &foreign], [&foreign, &good]] {
            let source = cluster.source();
            let words = [OsStr::new(verb), source.as_os_str(), replicas[0].as_os_str(), replicas[1].as_os_str()];
            let finished = cluster.run(words);
            assert_refused(&finished, 2);
            finished.expect_error("add --adopt");
            assert!(!good.join("d").exists(), "{verb}: something arrived");
            assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1, "{verb}: something was created");
        }
    }
    cluster.run([OsStr::new("sync"), cluster.source().as_os_str(), good.as_os_str()]).expect(0);
}

#[test]
fn a_replica_inside_one_of_another_source_is_refused_and_nothing_is_touched() {
    let cluster = cluster();
    cluster.sync(&[]).expect(0);
    let other = cluster.path().join("other");
    fixture::build(&other, &[("b", File("another tree"))]);
    let before = scene(&cluster);
    let outer = cluster.replica(0);
    for inside in [outer.join("new"), outer.join("d"), outer.join("d/new")] {
        let words = [OsStr::new("sync"), other.as_os_str(), inside.as_os_str()];
        for more in [&[][..], &["--adopt"], &["--dry-run"]] {
            let finished = cluster.run(words.into_iter().chain(more.iter().map(OsStr::new)));
            assert_refused(&finished, 2);
            finished.expect_error("is inside another replica").expect_error("hint: choose a directory outside");
            assert_eq!(scene(&cluster), before, "{inside:?} {more:?}: something was created");
        }
    }
}

#[test]
fn state_of_a_newer_program_is_refused_with_what_to_do_and_left_as_it_is() {
    for name in ["queue.db", "catalog.db"] {
        let cluster = cluster();
        cluster.sync(&[]).expect(0);
        let files = walkdir::WalkDir::new(cluster.state()).into_iter().filter_map(Result::ok);
        let file = files.map(walkdir::DirEntry::into_path).find(|path| path.ends_with(name)).unwrap();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/store/v1").join(name);
        let mut bytes = fs::read(golden).unwrap();
        // The user version in the header of a SQLite file.
        bytes[60..64].copy_from_slice(&99u32.to_be_bytes());
        fs::write(&file, &bytes).unwrap();
        drop(fs::remove_file(file.with_extension("db-wal")));
        let finished = cluster.sync(&[]);
        assert_refused(&finished, 3);
        let hint = format!("mv {0} {0}.newer", file.display());
        finished.expect_error("has layout 99, this version knows layouts up to").expect_error(&hint);
        assert!(fs::read(&file).unwrap() == bytes, "{name} was written");
    }
}

#[test]
fn a_remote_shell_that_fails_is_a_failure_that_names_the_replica() {
    let cluster = cluster();
    let far = format!("host:{}", cluster.replica(0).display());
    for shell in ["false", "/nonexistent/rsh"] {
        let finished = cluster.sync_to(&[OsStr::new(&far)], &["--rsh", shell]);
        assert_refused(&finished, 3);
        finished.expect_error("host");
        assert!(!cluster.replica(0).exists());
    }
}

#[test]
fn what_a_remote_shell_says_on_stderr_reaches_the_user() {
    let cluster = cluster();
    let rsh = cluster.rsh("rsh");
    rsh.refuse();
    let far = format!("host:{}", cluster.replica(0).display());
    let finished = cluster.sync_to(&[OsStr::new(&far)], &["--rsh", rsh.command().to_str().unwrap()]);
    assert_refused(&finished, 3);
    finished.expect_error("Connection refused");
}

#[test]
fn a_far_host_that_greets_with_a_banner_is_told_apart_from_fulmar() {
    let cluster = cluster();
    let rsh = cluster.rsh("rsh");
    rsh.banner("Welcome to example.com!\nLast login: yesterday\n");
    let far = format!("host:{}", cluster.replica(0).display());
    let finished = cluster.sync_to(&[OsStr::new(&far)], &["--rsh", rsh.command().to_str().unwrap()]);
    assert_refused(&finished, 3);
    finished.expect_error("Welcome");
}

#[test]
fn a_far_end_that_is_no_fulmar_is_an_error_and_never_a_panic_or_a_long_wait() {
    let scripts = [
        ("silence", "exit 0"),
        ("a missing program", "echo 'sh: fulmar: not found' >&2; exit 127"),
        ("text without end", "head -c 3000000 /dev/zero | tr '\\0' x"),
        ("zeros", "head -c 3000000 /dev/zero"),
        ("noise", "head -c 3000000 /dev/urandom"),
        ("ones", "head -c 3000000 /dev/zero | tr '\\0' '\\377'"),
    ];
    for (what, script) in scripts {
        let cluster = cluster();
        let rsh = Rsh::script(&cluster.path().join("rsh"), script);
        let far = format!("host:{}", cluster.replica(0).display());
        let finished = cluster.sync_to(&[OsStr::new(&far)], &["--rsh", rsh.command().to_str().unwrap()]);
        eprintln!("{what}: {}", finished.stderr.chars().take(500).collect::<String>());
        assert_refused(&finished, 3);
        assert!(finished.stderr.len() < 10_000, "{what}: what a stranger says is not repeated at length");
    }
}

#[test]
fn a_far_end_of_another_version_is_an_error_that_names_both() {
    for version in [0u8, 9] {
        let cluster = cluster();
        let preface = format!("\\000fulmar\\n\\000\\00{version}\\000\\00{version}") + &"\\000".repeat(12);
        let script = format!("printf '{}'; cat >/dev/null", preface.replace("009", "011"));
        let rsh = Rsh::script(&cluster.path().join("rsh"), &script);
        let far = format!("host:{}", cluster.replica(0).display());
        let finished = cluster.sync_to(&[OsStr::new(&far)], &["--rsh", rsh.command().to_str().unwrap()]);
        assert_refused(&finished, 3);
        finished.expect_error(&format!("this side speaks 1 to 1, the other side {version} to {version}"));
        finished.expect_error("hint: install the same version on both hosts");
    }
}

#[test]
fn hostile_names_are_escaped_wherever_they_are_printed() {
    let cluster = cluster();
    let name = "evil\u{1b}[2J\nerror: forged";
    let finished =
        cluster.run([OsStr::new("sync"), cluster.path().join(name).as_os_str(), cluster.replica(0).as_os_str()]);
    assert_refused(&finished, 2);
    assert!(!finished.stderr.contains('\u{1b}'), "{finished}");
    assert!(!finished.stderr.contains("\nerror: forged"), "{finished}");
    let replica = cluster.path().join("evil\u{1b}[2J");
    cluster.sync_to(&[replica.as_os_str()], &[]).expect(0).expect_error("/evil\\x1b[2J: in sync");
}

/// What `fulmar COMMAND ARGUMENTS` says on stderr, which must end with `code`.
fn said(cluster: &Cluster, code: i32, arguments: &[&OsStr]) -> String {
    let finished = cluster.run(arguments);
    finished.expect(code);
    assert_eq!(finished.stdout, "", "{finished}");
    finished.stderr
}

#[test]
fn a_question_about_what_is_not_followed_says_so_and_names_what_is() {
    let cluster = cluster();
    let (source, state) = (cluster.source().to_str().unwrap(), cluster.state());
    let asking = ["status", "wait", "approve"];
    for command in asking.map(OsStr::new) {
        let nothing = format!("error: no fulmar follow is running (looked in {})\n", state.display());
        let found = format!("--state-dir {}", state.display());
        let start = &format!("hint: start one: fulmar follow SOURCE REPLICA {found}\n");
        assert_eq!(said(&cluster, 3, &[command]), nothing + start);
        let not_followed = |path: &str| format!("error: {path} is not followed (looked in {})\n", state.display());
        assert_eq!(said(&cluster, 3, &[command, "/no/such".as_ref()]), not_followed("/no/such") + start);
        let start = format!("hint: start it: fulmar follow {source} REPLICA {found}\n");
        assert_eq!(said(&cluster, 3, &[command, source.as_ref()]), not_followed(source) + &start);
    }
    let found = format!("--state-dir {}", state.display());
    let follow = cluster.follow(&[]);
    assert!(follow.log().ends_with(&format!("look with: fulmar status {source} {found}\n")), "{}", follow.log());
    for command in asking {
        let hint = said(&cluster, 3, &[command.as_ref(), cluster.source().join("d").as_os_str()]);
        assert!(hint.ends_with(&format!("hint: this one is: fulmar {command} {source} {found}\n")), "{hint}");
    }
    assert_eq!(said(&cluster, 0, &["approve".as_ref()]), "no removals were held back\n");
    let other = cluster.path().join("other");
    fs::create_dir(&other).unwrap();
    let second = cluster.binary().start(
        &cluster.path().join("logs"),
        [
            "follow".as_ref(),
            other.as_os_str(),
            cluster.replica(1).as_os_str(),
            "--state-dir".as_ref(),
            state.as_os_str(),
        ],
    );
    until(Duration::from_secs(60), "both are followed", || {
        let status = cluster.run(["status"]).stdout;
        if status.contains("/other (") && status.contains("/source (") { Ok(()) } else { Err(status) }
    });
    for command in ["wait", "approve"] {
        let hint = said(&cluster, 2, &[command.as_ref()]);
        let wanted = format!("hint: name one of them: fulmar {command} {} {found}\n", other.display());
        assert!(hint.ends_with(&wanted), "{hint}");
        let hint = said(&cluster, 3, &[command.as_ref(), "/no/such".as_ref()]);
        assert!(hint.ends_with(&format!("hint: list what is followed: fulmar status {found}\n")), "{hint}");
    }
    second.stop();
    follow.stop();
}

#[test]
fn a_far_end_that_refuses_says_why_before_it_ends() {
    let cluster = cluster();
    fs::create_dir(cluster.replica(0)).unwrap();
    fs::write(cluster.replica(0).join("precious"), "somebody's work").unwrap();
    let rsh = cluster.rsh("rsh");
    let target = format!("host:{}", cluster.replica(0).display());
    // The process ends right behind its refusal: once would prove little.
    for _ in 0..10 {
        cluster
            .sync_to(&[OsStr::new(&target)], &["--rsh", rsh.command().to_str().unwrap()])
            .expect(2)
            .expect_error("is not empty and was never a replica")
            .expect_error("--adopt");
    }
}

#[test]
fn a_control_socket_takes_the_place_of_nothing_but_a_socket() {
    let cluster = cluster();
    let precious = cluster.path().join("precious");
    fs::write(&precious, "somebody's work").unwrap();
    let control = ["--control", precious.to_str().unwrap()];
    let mut follow = cluster.start_follow(&[cluster.replica(0).as_os_str()], &control);
    assert!(follow.wait(Duration::from_secs(60)), "it goes on\n{}", follow.log());
    assert_refused(&follow.finish(Duration::ZERO), 3);
    assert_eq!(fs::read_to_string(&precious).unwrap(), "somebody's work");
}

#[test]
fn a_program_that_does_not_exist_is_named_with_what_to_do_while_it_is_tried_again() {
    for (shell, error, hint) in [
        (
            "nosuch",
            "start nosuch: No such file or directory",
            "is it installed on this host? --rsh CMD names what is run",
        ),
        (
            "sh -c 'exec \"nosuch\"'",
            "(exit code 127)",
            "what --rsh names, or fulmar behind it, is not where PATH finds it",
        ),
    ] {
        let cluster = cluster();
        let follow = cluster.follow_to(&["host:/srv".as_ref()], &["--rsh", shell]);
        let away = |status: &serde_json::Value| status["state"] == "away";
        let status = cluster.until_status(0, "the replica is away", away);
        let said = |field: &str, text: &str| status[field].as_str().is_some_and(|said| said.contains(text));
        assert!(said("error", error) && said("hint", hint), "{status:#}");
        let shown = cluster.run(["status".as_ref(), cluster.source().as_os_str()]);
        assert!(shown.stdout.contains(error) && shown.stdout.contains(&format!("    hint: {hint}")), "{shown}");
        let log = follow.log();
        assert!(log.contains(error) && log.contains(hint), "{log}");
        follow.stop().expect(0);
    }
}

#[test]
fn a_quote_that_is_not_closed_is_refused_before_anything_is_made() {
    let cluster = cluster();
    let finished = cluster.sync_to(&["host:/srv".as_ref()], &["--rsh", "sh -c 'exec ssh"]);
    assert_refused(&finished, 2);
    finished.expect_error("--rsh sh -c 'exec ssh: a ' is not closed").expect_error("hint: quotes go around");
    assert!(!cluster.state().exists());
}

/// Runs the program with an end of a pipe that nobody reads, or a device that is full, as one of its outputs.
fn run_unheard(cluster: &Cluster, arguments: &[&str], stdout: Stdio, stderr: Stdio) -> Option<i32> {
    let mut command = std::process::Command::new(cluster.binary().path());
    command.args(arguments).arg("--state-dir").arg(cluster.state()).current_dir(cluster.path());
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).status().unwrap().code()
}

fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn what_nobody_reads_changes_nothing_but_a_full_disk_is_told() {
    let cluster = cluster();
    let full = || Stdio::from(fs::File::options().write(true).open("/dev/full").unwrap());
    let null = || Stdio::null();
    let dry = ["sync", "source", "replica0", "--dry-run"];
    assert_eq!(run_unheard(&cluster, &dry, unread(), null()), Some(1), "as many had enough with | head");
    assert_eq!(run_unheard(&cluster, &dry, full(), null()), Some(3));
    let sync = ["sync", "source", "replica0", "--json"];
    assert_eq!(run_unheard(&cluster, &sync, unread(), unread()), Some(0));
    assert_eq!(run_unheard(&cluster, &sync, full(), null()), Some(3));
    assert_eq!(run_unheard(&cluster, &["sync", "source", "replica0"], null(), full()), Some(0));
    assert_eq!(run_unheard(&cluster, &["sync", "nothing", "replica0"], null(), unread()), Some(2));
}
