//! Replicas on another host, through a real ssh and a real sshd: what is typed reaches the far end as it is, connections
//! break and come back, and a login that does not lead to fulmar says why.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fulmar_testkit::fixture::Node::File;
use fulmar_testkit::{Cluster, Finished, Sshd, children, fixture, kill, need, oracle, until};

/// How long a command may take that must end by itself.
const PATIENCE: Duration = Duration::from_secs(60);

fn scene() -> Option<(Cluster, Sshd)> {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    let sshd = Sshd::start(cluster.binary().path())?;
    Some((cluster, sshd))
}

fn at(host: &str, path: &Path) -> OsString {
    let mut replica = OsString::from(host);
    replica.push(path);
    replica
}

fn far(path: &Path) -> OsString {
    at("far:", path)
}

/// `sync`, and what a `follow` says that must end at its first contact.
fn sync_and_follow(cluster: &Cluster, sshd: &Sshd) -> [Finished; 2] {
    let replica = far(&cluster.replica(0));
    let rsh = ["--rsh", &sshd.rsh()];
    [cluster.sync_to(&[&replica], &rsh), cluster.start_follow(&[&replica], &rsh).finish(PATIENCE)]
}

fn until_one(what: &str, pids: impl Fn() -> Vec<u32>) -> u32 {
    until(PATIENCE, what, || match *pids() {
        [pid] => Ok(pid),
        ref others => Err(format!("{others:?}")),
    })
}

#[test]
fn a_replica_is_equal_whatever_a_shell_would_make_of_its_name() {
    if !need("rsync") {
        return;
    }
    let Some((cluster, sshd)) = scene() else { return };
    fixture::everything(cluster.source());
    let names: [&[u8]; 8] = [
        b"with a  space",
        b"it's \"quoted\"",
        b"$HOME ${PATH} `id` $(id)",
        b"back\\slash\\",
        b"* ? [a] {b,c} ~ !! #",
        b"; exit 9 & | > x",
        b"two\nlines\n",
        b"caf\xe9",
    ];
    let roots = names.map(|name| cluster.path().join("replicas").join(OsStr::from_bytes(name)));
    fs::create_dir(cluster.path().join("replicas")).unwrap();
    let replicas = roots.each_ref().map(|root| far(root));
    let replicas = replicas.each_ref().map(OsString::as_os_str);
    for _ in 0..2 {
        cluster.sync_to(&replicas, &["--rsh", &sshd.rsh()]).expect(0);
        for root in &roots {
            oracle::assert_equal(cluster.source(), root);
            assert!(oracle::quarantined(root).is_empty(), "nobody else touched {root:?}");
        }
    }
    assert_eq!(fs::read_dir(cluster.path().join("replicas")).unwrap().count(), names.len());
}

#[test]
fn a_url_names_the_port() {
    if !need("rsync") {
        return;
    }
    let Some((cluster, sshd)) = scene() else { return };
    fixture::build(cluster.source(), &[("d/a", File("1"))]);
    let root = cluster.path().join("a replica's root");
    let url = at(&format!("ssh://elsewhere:{}", sshd.port()), &root);
    cluster.sync_to(&[&url], &["--rsh", &sshd.rsh()]).expect(0);
    oracle::assert_equal(cluster.source(), &root);

    // Without it, the configuration of ssh has the word.
    fs::write(cluster.source().join("d/a"), "2").unwrap();
    cluster.sync_to(&[&at("ssh://far", &root)], &["--rsh", &sshd.rsh()]).expect(0);
    oracle::assert_equal(cluster.source(), &root);
}

#[test]
fn a_follow_outlives_its_connections_and_leaves_none_behind() {
    if !need("rsync") {
        return;
    }
    let Some((cluster, sshd)) = scene() else { return };
    fixture::everything(cluster.source());
    let follow = cluster.follow_to(&[&far(&cluster.replica(0))], &["--rsh", &sshd.rsh()]);
    cluster.assert_in_sync(1);
    fs::write(cluster.source().join("change"), "through the first connection").unwrap();
    cluster.assert_in_sync(1);

    let client = || until_one("one ssh", || children(follow.pid()));
    let session = || until_one("one session of sshd", || sshd.sessions());
    let (first_client, first_session) = (client(), session());
    kill(first_client);
    fs::write(cluster.source().join("change"), "after ssh was killed").unwrap();
    cluster.assert_in_sync(1);

    // The server finds out by itself that the first client is gone.
    let (second_client, second_session) = (client(), session());
    assert!(second_client != first_client && second_session != first_session);
    kill(second_session);
    fs::write(cluster.source().join("change"), "after the session of sshd was killed").unwrap();
    cluster.assert_in_sync(1);
    assert!(client() != second_client && session() != second_session);

    follow.stop();
    until(PATIENCE, "the last session is over", || match &*sshd.sessions() {
        [] => Ok(()),
        left => Err(format!("{left:?}")),
    });
    assert!(oracle::quarantined(&cluster.replica(0)).is_empty(), "nobody else touched the replica");
}

#[test]
fn a_key_that_may_only_serve_one_replica_serves_that_one() {
    if !need("rsync") {
        return;
    }
    let Some((cluster, sshd)) = scene() else { return };
    fixture::build(cluster.source(), &[("d/a", File("1"))]);
    sshd.restrict(&format!("fulmar serve --stdio {}", cluster.replica(0).display()));
    for asked in [cluster.replica(0), cluster.replica(1)] {
        cluster.sync_to(&[&far(&asked)], &["--rsh", &sshd.rsh()]).expect(0);
        oracle::assert_equal(cluster.source(), &cluster.replica(0));
        assert!(!cluster.replica(1).exists());
    }
}

#[test]
fn a_notice_before_the_login_does_no_harm() {
    let Some((cluster, sshd)) = scene() else { return };
    sshd.notice("Authorized use only.\n");
    fixture::build(cluster.source(), &[("d/a", File("1"))]);
    cluster.sync_to(&[&far(&cluster.replica(0))], &["--rsh", &sshd.rsh()]).expect(0);
    assert_eq!(fs::read_to_string(cluster.replica(0).join("d/a")).unwrap(), "1");
}

#[test]
fn a_login_that_prints_is_quoted_and_explained() {
    let Some((cluster, sshd)) = scene() else { return };
    sshd.greet("\nWelcome to mail2!\nYou have mail.\n");
    for finished in sync_and_follow(&cluster, &sshd) {
        eprintln!("{finished}");
        finished.expect(3).expect_error("error: replica far:").expect_error("\\nWelcome to mail2!\\nYou have mail.");
        finished.expect_error("hint: ").expect_error("must print nothing");
    }
    assert!(!cluster.replica(0).exists());
}

#[test]
fn a_host_without_fulmar_is_told_apart_from_one_that_is_away() {
    let Some((cluster, sshd)) = scene() else { return };
    sshd.uninstall();
    let finished = cluster.sync_to(&[&far(&cluster.replica(0))], &["--rsh", &sshd.rsh()]);
    eprintln!("{finished}");
    finished.expect(3).expect_error("error: replica far:").expect_error("fulmar: ").expect_error("not found");
    finished.expect_error("hint: ").expect_error("is fulmar installed on the other host");
}

#[test]
fn a_follow_serves_a_host_as_soon_as_fulmar_is_installed_there() {
    let Some((cluster, sshd)) = scene() else { return };
    sshd.uninstall();
    fixture::build(cluster.source(), &[("d/a", File("1"))]);
    let follow = cluster.follow_to(&[&far(&cluster.replica(0))], &["--rsh", &sshd.rsh()]);
    cluster.until_status(0, "the replica is away, and why", |status| {
        status["state"] == "away" && status["error"].as_str().is_some_and(|error| error.contains("not found"))
    });
    sshd.install(cluster.binary().path());
    cluster.settle();
    assert_eq!(fs::read_to_string(cluster.replica(0).join("d/a")).unwrap(), "1");
    follow.stop();
}

#[test]
fn a_login_that_would_ask_at_the_terminal_fails_at_once() {
    if !need("script") {
        return;
    }
    let Some((cluster, sshd)) = scene() else { return };
    let (log, strangers) = (cluster.path().join("log"), cluster.path().join("known_hosts"));
    let rsh = format!("{} -o StrictHostKeyChecking=ask -o UserKnownHostsFile={}", sshd.rsh(), strangers.display());
    let command = format!(
        "'{}' sync '{}' 'far:{}' --rsh '{rsh}' --state-dir '{}' 2> '{}'",
        cluster.binary().path().display(),
        cluster.source().display(),
        cluster.replica(0).display(),
        cluster.state().display(),
        log.display(),
    );
    // A terminal of its own, with nobody at it; when that is taken away, all that was started there ends.
    let terminal = Command::new("timeout")
        .args(["-s", "KILL", &PATIENCE.as_secs().to_string(), "script", "-qec", &command, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = fs::read_to_string(&log).unwrap_or_default();
    assert_eq!(terminal.status.code(), Some(3), "{terminal:?}\n{said}");
    assert!(said.contains("Host key verification failed"), "{said}");
    assert!(said.contains("hint: the login must work without questions"), "{said}");
}

#[test]
fn a_key_that_is_not_accepted_is_reported_in_the_words_of_ssh() {
    let Some((cluster, sshd)) = scene() else { return };
    sshd.lock_out();
    let finished = cluster.sync_to(&[&far(&cluster.replica(0))], &["--rsh", &sshd.rsh()]);
    eprintln!("{finished}");
    finished.expect(3).expect_error("error: replica far:").expect_error("Permission denied (publickey)");
    finished.expect_error("hint: ").expect_error("test with: ssh far true");
}
