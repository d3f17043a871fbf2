//! `fulmar explain`: what is known of one path, and why it is, or is not, on each replica.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fulmar_testkit::{Cluster, Finished, Value};

fn explain(cluster: &Cluster, path: &Path, extra: &[&str]) -> Finished {
    let mut words = vec!["explain".into(), path.as_os_str().to_owned(), "--state-dir".into(), cluster.state().into()];
    words.extend(extra.iter().map(Into::into));
    cluster.binary().run(cluster.path(), words)
}

#[test]
fn what_is_there_and_why_is_told_of_what_is_the_same_drifted_excluded_and_gone() {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    let (source, replica) = (cluster.source().to_owned(), cluster.replica(0));
    fs::create_dir(source.join("a")).unwrap();
    fs::write(source.join("a/file"), "content").unwrap();
    fs::write(source.join("a/note.bak"), "at home").unwrap();
    fs::write(source.join("stays"), "").unwrap();
    std::os::unix::fs::symlink("file", source.join("a/link")).unwrap();
    let follow = cluster.follow(&["--exclude", "*.bak", "--verify-quick-every", "never"]);
    cluster.settle();

    let same = explain(&cluster, &source.join("a/file"), &[]);
    same.expect(0);
    for text in ["a/file in ", "source   file, 7 bytes, mode 0644", "as recorded", ": the same (live)"] {
        assert!(same.stdout.contains(text), "{text}\n{same}");
    }
    let link = explain(&cluster, &source.join("a/link"), &["--json"]);
    let link: Value = link.expect(0).stdout.parse().expect("JSON");
    assert_eq!((&link["path"], &link["on_source"]["target"]), (&"a/link".into(), &"file".into()), "{link}");

    fs::write(replica.join("a/file"), "CONTENT").unwrap();
    fs::set_permissions(replica.join("a/file"), fs::Permissions::from_mode(0o600)).unwrap();
    let drifted = explain(&cluster, &source.join("a/file"), &[]);
    drifted.expect(1);
    for text in [
        "NOT the same",
        "changed since it was recorded",
        "content",
        "mode     source 0644; replica 0600",
        "fulmar verify --repair",
    ] {
        assert!(drifted.stdout.contains(text), "{text}\n{drifted}");
    }
    let json = explain(&cluster, &source.join("a/file"), &["--json"]);
    let json: Value = json.expect(1).stdout.parse().expect("JSON");
    let at = &json["replicas"][0];
    assert_eq!((&at["same"], &at["on_replica"]["mode"], &at["pending"]), (&false.into(), &"0600".into(), &Value::Null));
    assert_ne!(json["on_source"]["hash"], at["on_replica"]["hash"]);
    assert_eq!(json["on_source"]["recorded_hash"], at["on_replica"]["recorded_hash"]);

    let excluded = explain(&cluster, &source.join("a/note.bak"), &[]);
    excluded.expect(0);
    assert!(excluded.stdout.contains("excluded: "), "{excluded}");

    fs::remove_dir_all(source.join("a")).unwrap();
    cluster.settle();
    let gone = explain(&cluster, &source.join("a/link"), &[]);
    gone.expect(0);
    assert!(gone.stdout.contains("source   nothing, as recorded"), "{gone}");
    explain(&cluster, cluster.path(), &[]).expect(2).expect_error("is in no source that is followed");
    follow.stop();
    explain(&cluster, &source, &[]).expect(3).expect_error("no fulmar follow is running");
}

#[test]
fn a_path_that_is_held_and_a_replica_that_is_away_are_told_with_the_reason() {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    let rsh = cluster.rsh("rsh");
    let mut away = std::ffi::OsString::from("host:");
    away.push(cluster.replica(0));
    fs::write(cluster.source().join("file"), "1").unwrap();
    fs::create_dir(cluster.source().join("before")).unwrap();
    fs::write(cluster.source().join("before/inside"), "").unwrap();
    let follow = cluster.follow_to(&[&away], &["--rsh", rsh.command().to_str().unwrap()]);
    cluster.settle();
    rsh.refuse();
    assert_eq!(rsh.kill_far_ends(), 1);
    cluster.until_status(0, "it is away", |status| status["state"] == "away");
    fs::write(cluster.source().join("file"), "2").unwrap();
    let told = explain(&cluster, &cluster.source().join("file"), &[]);
    told.expect(1);
    for text in ["cannot be asked (away)", "on its way: a change of it", "queue    change "] {
        assert!(told.stdout.contains(text), "{text}\n{told}");
    }
    fs::rename(cluster.source().join("before"), cluster.source().join("after")).unwrap();
    let told = explain(&cluster, &cluster.source().join("after/inside"), &[]);
    for text in ["queue    nothing of its own", "part of change ", " of after and everything below, first noticed "] {
        assert!(told.stdout.contains(text), "{text}\n{told}");
    }
    let told = explain(&cluster, &cluster.source().join("after/inside"), &["--json"]);
    let told: Value = told.expect(1).stdout.parse().expect("JSON");
    assert_eq!((&told["change"], &told["above"][0]["path"]), (&Value::Null, &"after".into()), "{told}");
    rsh.allow();
    cluster.settle();
    explain(&cluster, &cluster.source().join("file"), &[]).expect(0);
    follow.stop();
}
