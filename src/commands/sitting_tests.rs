//! What sittings tell together, beside what one audit of the whole tells.

use super::*;
use crate::checkpoint::{Root, Subject};
use crate::report::json;
use fulmar_link::Link;
use fulmar_model::{Filter, Id, ReplicaId};
use fulmar_primary::{Endpoint, Target};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A source and a replica that are the same.
struct Pair {
    folder: tempfile::TempDir,
    profile: Profile,
}

impl Pair {
    fn new(profile: Profile, files: &[(&str, &str)]) -> Self {
        let pair = Self { folder: tempfile::tempdir().expect("a directory"), profile };
        for side in [pair.source(), pair.replica()] {
            for (name, content) in files {
                let at = side.join(name);
                fs::create_dir_all(at.parent().expect("a directory")).expect("made");
                fs::write(at, content).expect("written");
            }
        }
        pair
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    fn replica(&self) -> PathBuf {
        self.folder.path().join("replica")
    }

    /// Everything of one time, so that only what is meant to differ does.
    fn level(&self) -> &Self {
        for side in [self.source(), self.replica()] {
            for entry in walkdir::WalkDir::new(side).contents_first(true).into_iter().flatten() {
                if !entry.path_is_symlink() {
                    fs::File::open(entry.path()).expect("opened").set_modified(UNIX_EPOCH).expect("set");
                }
            }
        }
        self
    }

    fn settings(&self) -> AuditSettings {
        let (root, runtime) = (self.replica(), tokio::runtime::Handle::current());
        let serve = move |link: Link, _| {
            let options = fulmar_replica::Options {
                fresh: ReplicaId(Id([2; 16])),
                boot: Id([3; 16]),
                clock: || 0,
                privileged: false,
                host: Vec::new,
            };
            let root = root.clone();
            runtime.spawn(async move { fulmar_replica::serve(root, link, options).await });
        };
        AuditSettings {
            source: self.source(),
            endpoints: vec![Endpoint { name: "replica".to_owned(), target: Target::Here(Arc::new(serve)) }],
            profile: self.profile,
            patterns: Vec::new(),
            filter: Filter::new(self.profile, []).expect("no patterns"),
            scope: Scope::default(),
            threads: 2,
            rate: None,
            idle: false,
            boot: Id([3; 16]),
            privileged: false,
        }
    }

    fn sitting(&self, entries: u64) -> Sitting {
        let (stage, _) = watch::channel(Stage::default());
        let tree = Tree::open(&self.source()).expect("a tree");
        Sitting { tree, settings: self.settings(), slice: Span { entries, bytes: u64::MAX }, stage }
    }

    fn checkpoint(&self) -> Checkpoint {
        let tree = Tree::open(&self.source()).expect("a tree");
        let subject = Subject {
            host: String::new(),
            source: String::new(),
            root: Root::of(&tree.id()),
            replicas: vec!["replica".to_owned()],
            profile: self.profile.to_string(),
            exclude: Vec::new(),
        };
        Checkpoint::open(&self.folder.path().join("checkpoint"), subject, "2026-11-22T10:00:00Z".to_owned())
            .expect("a checkpoint")
    }

    async fn whole(&self) -> Report {
        let (findings, mut found) = mpsc::channel(FINDINGS);
        let mut inspection = Inspection::start(self.settings(), findings).await.expect("begun");
        let mut all = Vec::new();
        while let Some((_, finding)) = found.recv().await {
            all.push(finding);
        }
        let verdict = inspection.next().await.expect("a replica").result.expect("a verdict");
        Report::new(all, verdict)
    }

    /// A sitting for each slice, and how many that takes.
    async fn in_sittings(&self, entries: u64) -> (Report, u64) {
        while self.sitting(entries).step(&mut self.checkpoint()).await.expect("a step") {}
        let (mut checkpoint, mut all) = (self.checkpoint(), Vec::new());
        let keep = |_, finding| {
            all.push(finding);
            Ok(())
        };
        checkpoint.findings(keep).expect("read");
        let (verdict, sittings) = (checkpoint.totals()[0].clone(), checkpoint.sittings());
        checkpoint.remove();
        (Report::new(all, verdict), sittings)
    }
}

/// As it is printed, but how long it took.
#[derive(Debug, PartialEq)]
struct Report {
    findings: Vec<String>,
    summary: Value,
}

impl Report {
    fn new(findings: Vec<Finding>, verdict: Verdict) -> Self {
        let mut findings: Vec<String> =
            findings.iter().map(|finding| json::finding("replica", finding).to_string()).collect();
        findings.sort();
        let mut summary = json::replica("replica", &Ok(verdict));
        summary["seconds"] = Value::Null;
        Self { findings, summary }
    }
}

fn link(side: &Path, names: &[&str]) {
    for name in &names[1..] {
        let _ = fs::remove_file(side.join(name));
        fs::hard_link(side.join(names[0]), side.join(name)).expect("linked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sittings_add_up_to_what_an_audit_without_a_break_tells() {
    let files = [
        "a/1", "a/2", "a/b/3", "a/b/4", "a-/5", "c/d/6", "c/7", "e/8", "e/9", "f/g/10", "h/i/11", "h/i/j/12", "h/k/13",
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|name| (*name, "content")).collect();
    let pair = Pair::new(Profile::Plain, &files);
    let (source, replica) = (pair.source(), pair.replica());
    // Equal on both sides; broken on the replica; only on the replica. Each over several directories.
    link(&source, &["a/1", "c/7"]);
    link(&replica, &["a/1", "c/7"]);
    link(&source, &["a/2", "e/8"]);
    link(&replica, &["a-/5", "e/9"]);
    fs::write(replica.join("a/b/3"), "CONTENT").expect("written");
    fs::write(replica.join("a/b/4"), "longer content").expect("written");
    fs::remove_file(replica.join("c/d/6")).expect("removed");
    std::os::unix::fs::symlink("target", replica.join("c/d/6")).expect("linked");
    fs::write(replica.join("e/extra"), "").expect("written");
    fs::remove_file(replica.join("f/g/10")).expect("removed");
    fs::create_dir(replica.join("f/empty")).expect("made");
    fs::remove_dir_all(replica.join("h")).expect("removed");
    fs::create_dir_all(replica.join("b/x/y")).expect("made");
    fs::write(replica.join("b/x/y/file"), "12345").expect("written");
    fs::set_permissions(replica.join("c"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("set");
    pair.level();
    fs::File::open(replica.join("a-"))
        .expect("opened")
        .set_modified(UNIX_EPOCH + std::time::Duration::from_secs(1))
        .expect("set");
    let whole = pair.whole().await;
    let kinds = ["content", "size", "kind", "extra", "missing", "mode", "mtime", "hard-links"];
    for kind in kinds {
        let told = format!("\"kind\":\"{kind}\"");
        assert!(whole.findings.iter().any(|line| line.contains(&told)), "{kind} {whole:#?}");
    }
    for (entries, least) in [(0, 9), (4, 4), (u64::MAX, 2)] {
        let (report, sittings) = pair.in_sittings(entries).await;
        assert_eq!(report, whole, "slices of {entries}");
        assert!(sittings >= least, "{sittings} sittings with slices of {entries}");
    }
    let (again, _) = pair.in_sittings(0).await;
    assert_eq!(again, whole, "it begins anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mailboxes_are_judged_once_by_what_was_found_in_every_slice() {
    let mut files = Vec::new();
    let all = ["ann", "bob", "carl", "dan"];
    let names = ["dovecot-uidlist", "cur/1.M1.h,S=4:2,S", "new/2.M1.h,S=4"];
    let list = "3 V100 N3 Gabc\n1 :1.M1.h,S=4\n2 :2.M1.h,S=4\n";
    let paths: Vec<String> = all.iter().flat_map(|user| names.map(|name| format!("{user}/{name}"))).collect();
    for path in &paths {
        files.push((path.as_str(), if path.ends_with("uidlist") { list } else { "mail" }));
    }
    let pair = Pair::new(Profile::Maildir, &files);
    fs::write(pair.replica().join("ann/cur/1.M1.h,S=4:2,S"), "MAIL").expect("written");
    fs::write(pair.replica().join("bob/dovecot-uidlist"), list.replace("V100", "V9")).expect("written");
    fs::write(pair.replica().join("carl/new/2.M1.h,S=4"), "ma").expect("written");
    pair.level();
    let whole = pair.whole().await;
    let mail = |verdict: &str| {
        whole.findings.iter().filter(|line| line.contains(&format!("\"verdict\":\"{verdict}\""))).count()
    };
    assert_eq!((mail("equal"), mail("troubled")), (1, 3), "{whole:#?}");
    for entries in [0, 5, u64::MAX] {
        assert_eq!(pair.in_sittings(entries).await.0, whole, "slices of {entries}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_trees_are_equal_in_sittings_too_and_every_file_is_read_once() {
    let pair = Pair::new(Profile::Plain, &[("a/1", "12345"), ("b/2", "1234567"), ("b/c/3", "")]);
    pair.level();
    let (report, _) = pair.in_sittings(0).await;
    assert_eq!((&report.summary["verdict"], report.findings.len()), (&Value::from("equal"), 0), "{report:#?}");
    assert_eq!(report.summary["on_source"]["bytes_read"], 12);
    assert_eq!(report.summary["on_replica"]["bytes_read"], 12);
    assert_eq!(report, pair.whole().await);
}
