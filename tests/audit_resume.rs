//! `fulmar sync --verify --resume FILE`: an audit that was interrupted goes on, and tells everything once.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fulmar_testkit::{Cluster, Finished, Rsh, Running, Value, until};

/// One more than a slice has.
const MANY: usize = 100_001;

fn cluster() -> Cluster {
    Cluster::new(env!("CARGO_BIN_EXE_fulmar"))
}

fn level(at: &Path) {
    fs::File::open(at).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
}

/// `sync --verify --format json --resume FILE` of the cluster's source and one replica.
struct Audit<'a> {
    cluster: &'a Cluster,
    file: PathBuf,
    replica: OsString,
    extra: Vec<OsString>,
}

impl<'a> Audit<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let file = cluster.path().join("checkpoint");
        Self { cluster, file, replica: cluster.replica(0).into(), extra: Vec::new() }
    }

    /// Through a script in the place of ssh that connects as often as it is allowed.
    fn through(cluster: &'a Cluster, link: &Link) -> Self {
        let mut replica = OsString::from("host:");
        replica.push(cluster.replica(0));
        let extra = vec!["--rsh".into(), link.rsh.command().into()];
        Self { replica, extra, ..Self::new(cluster) }
    }

    fn words(&self, more: &[&str]) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["sync".into(), self.cluster.source().into(), self.replica.clone()];
        words.extend(["--verify", "--format", "json", "--resume"].map(OsString::from));
        words.push(self.file.clone().into());
        words.extend(self.extra.iter().cloned());
        words.extend(more.iter().map(OsString::from));
        words
    }

    fn run(&self, more: &[&str]) -> Finished {
        self.cluster.run(self.words(more))
    }

    /// Starts it, so slowly that it does not come to its end, and waits until so many slices are through.
    fn until_slice(&self, slices: usize) -> Running {
        let running = self.cluster.binary().start(self.cluster.path(), self.words(&["--rate", "100k"]));
        until(Duration::from_secs(120), "a slice is through", || {
            let kept = self.kept();
            let through = kept.lines().filter(|line| line.contains("\"type\":\"slice\"")).count();
            if through >= slices { Ok(()) } else { Err(format!("{kept}\n{}", running.log())) }
        });
        running
    }

    fn kept(&self) -> String {
        fs::read_to_string(&self.file).unwrap_or_default()
    }
}

/// What is printed, but when it was, how long it took and in how many sittings.
#[track_caller]
fn report(finished: &Finished) -> (Vec<String>, Value) {
    let (lines, mut summary) = finished.report();
    let mut lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    lines.sort();
    summary["replicas"][0]["seconds"] = Value::Null;
    for when in ["began", "sittings"] {
        summary.as_object_mut().unwrap().remove(when);
    }
    (lines, summary)
}

#[test]
fn an_audit_that_is_ended_in_whatever_way_goes_on_and_tells_everything_once() {
    let cluster = cluster();
    let (source, replica) = (cluster.source().to_path_buf(), cluster.replica(0));
    ["a", "b/c"].iter().for_each(|directory| fs::create_dir_all(source.join(directory)).unwrap());
    (0..MANY).for_each(|number| drop(fs::File::create(source.join(format!("a/{number}"))).unwrap()));
    for (name, len) in [("1", 10), ("b/2", 10), ("b/c/3", 4 << 20)] {
        fs::write(source.join(name), vec![b'x'; len]).unwrap();
        level(&source.join(name));
    }
    assert!(Command::new("cp").args(["-a"]).args([&source, &replica]).status().unwrap().success());
    // In each slice (the root, `a`, what is behind it), and over two of them.
    fs::set_permissions(replica.join("1"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(replica.join("a/7")).unwrap();
    fs::write(replica.join("b/c/3"), vec![b'y'; 4 << 20]).unwrap();
    fs::create_dir_all(replica.join("c/only/here")).unwrap();
    fs::hard_link(replica.join("1"), replica.join("a/one")).unwrap();
    fs::hard_link(source.join("b/2"), source.join("a/one")).unwrap();
    for side in [&source, &replica] {
        ["b/c/3", "b/c", "b", "a", ""].iter().for_each(|name| level(&side.join(name)));
    }
    let whole = cluster.sync(&["--verify", "--format", "json"]);
    whole.expect(1);
    for kind in ["mode", "missing", "content", "extra", "hard-links"] {
        assert!(whole.stdout.contains(&format!("\"kind\":\"{kind}\"")), "{kind} {whole}");
    }

    let audit = Audit::new(&cluster);
    audit.until_slice(1).kill9();
    assert_eq!(audit.file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    let running = audit.until_slice(2);
    running.terminate();
    let ended = running.finish(Duration::from_secs(60));
    ended.expect(3).expect_error("interrupted").expect_error("up to a, which is kept in").expect_error("goes on");
    assert_eq!(ended.stdout, "", "what is printed is printed once");
    // A power cut in the middle of the next slice; and what is through is not looked at again.
    let finding = audit.kept().lines().find(|line| line.contains("\"kind\"")).unwrap().to_owned();
    fs::write(&audit.file, format!("{}{finding}\n{}", audit.kept(), &finding[..20])).unwrap();
    fs::write(replica.join("1"), "other content").unwrap();
    let last = audit.run(&[]);
    last.expect(1);
    assert_eq!(report(&last), report(&whole), "{last}");
    let (_, summary) = last.report();
    assert_eq!(summary["sittings"], 3, "{last}");
    assert_eq!(summary["replicas"][0]["on_replica"]["bytes_read"], 30 + (4 << 20), "{last}");
    assert!(!audit.file.exists(), "it begins anew");
}

/// A link that connects a number of times.
struct Link {
    rsh: Rsh,
    allowed: PathBuf,
}

impl Link {
    fn new(cluster: &Cluster) -> Self {
        let directory = cluster.path().join("link");
        let script = format!(
            "cd '{}'\n[ -s allowed ] || {{ echo 'no route to host' >&2; exit 255; }}\nsed -i 1d allowed\nshift\n\
             eval \"set -- $*\"\nshift\nexec '{}' \"$@\"",
            directory.display(),
            cluster.binary().path().display()
        );
        Self { rsh: Rsh::script(&directory, &script), allowed: directory.join("allowed") }
    }

    fn allow(&self, times: usize) {
        fs::write(&self.allowed, "once\n".repeat(times)).unwrap();
    }
}

/// A small tree, equal on both sides.
fn small() -> Cluster {
    let cluster = cluster();
    fs::create_dir_all(cluster.source().join("a")).unwrap();
    fs::write(cluster.source().join("a/file"), "content").unwrap();
    cluster.sync(&[]).expect(0);
    cluster
}

#[test]
fn a_replica_that_goes_away_and_comes_back_is_gone_on_with() {
    let cluster = small();
    let link = Link::new(&cluster);
    let audit = Audit::through(&cluster, &link);
    // Not even once.
    link.allow(0);
    audit.run(&[]).expect(3).expect_error("no route to host").expect_error("begins from the start");
    // For the only slice, and not for what is left.
    link.allow(1);
    let away = audit.run(&[]);
    away.expect(3).expect_error("no route to host").expect_error("1 file with 7 B are compared");
    assert_eq!(away.stdout, "");
    link.allow(1);
    let back = audit.run(&[]);
    back.expect(0);
    let (lines, summary) = back.report();
    assert_eq!((lines.len(), &summary["sittings"]), (0, &Value::from(2)), "{back}");
    assert_eq!(summary["replicas"][0]["on_replica"]["bytes_read"], 7, "it is not read again");
    assert!(!audit.file.exists());
}

#[test]
fn a_checkpoint_of_another_audit_is_refused_and_kept() {
    let cluster = small();
    let link = Link::new(&cluster);
    let audit = Audit::through(&cluster, &link);
    link.allow(1);
    audit.run(&[]).expect(3);
    let kept = audit.kept();
    link.allow(9);
    for (more, what) in [
        (&["--exclude", "*.tmp"][..], "another set of patterns"),
        (&["--profile", "webroot"], "another profile"),
        (&["/elsewhere"], "another set of replicas"),
    ] {
        let refused = audit.run(more);
        refused.expect(2).expect_error(what).expect_error("hint: ").expect_error("checkpoint");
        assert_eq!(audit.kept(), kept);
    }
    let another = Audit { replica: cluster.replica(0).into(), ..Audit::new(&cluster) };
    another.run(&[]).expect(2).expect_error("another set of replicas");
    // How it is printed, and how fast it goes, is another matter.
    let table = audit.run(&["--rate", "5M", "--format", "table"]);
    assert_eq!(table.code, 2, "given twice");
    let words: Vec<OsString> =
        audit.words(&["--rate", "5M"]).into_iter().filter(|word| word != "json" && word != "--format").collect();
    let table = cluster.run(words);
    table.expect(0);
    assert!(table.stdout.contains(" s, in 2 sittings since 20"), "{table}");
}

#[test]
fn a_file_that_cannot_be_a_checkpoint_is_refused_before_anything_is_read() {
    let cluster = small();
    let audit = Audit::new(&cluster);
    fs::write(&audit.file, "dear diary\n").unwrap();
    audit.run(&[]).expect(2).expect_error("something else than a checkpoint").expect_error("hint: ");
    assert_eq!(audit.kept(), "dear diary\n");
    fs::remove_file(&audit.file).unwrap();
    let elsewhere = cluster.path().join("elsewhere");
    symlink(&elsewhere, &audit.file).unwrap();
    audit.run(&[]).expect(2).expect_error("something else than a checkpoint");
    assert!(!elsewhere.exists());
    for (at, what) in
        [(cluster.source().join("a/new"), "inside the source"), (cluster.replica(0).join("new"), "inside the replica")]
    {
        Audit { file: at.clone(), ..Audit::new(&cluster) }.run(&[]).expect(2).expect_error(what);
        assert!(!at.exists());
    }
    let nowhere = Audit { file: cluster.path().join("no/such/directory"), ..Audit::new(&cluster) };
    nowhere.run(&[]).expect(3).expect_error("open the checkpoint").expect_error("hint: ");
    let source: &OsStr = cluster.source().as_ref();
    let words = [OsStr::new("sync"), source, cluster.replica(0).as_os_str(), OsStr::new("--resume"), OsStr::new("f")]
        .map(OsString::from);
    cluster.run(words).expect(2).expect_error("--verify");
}

#[test]
fn an_audit_without_a_checkpoint_says_how_it_could_go_on() {
    let cluster = small();
    fs::write(cluster.source().join("large"), vec![0; 1 << 20]).unwrap();
    let words: [&OsStr; 6] = [
        "sync".as_ref(),
        cluster.source().as_ref(),
        "/nowhere".as_ref(),
        "--verify".as_ref(),
        "--rate".as_ref(),
        "1k".as_ref(),
    ];
    let replica = cluster.replica(0);
    let words = words.map(|word| if word == "/nowhere" { replica.as_os_str() } else { word });
    let mut running = cluster.binary().start(cluster.path(), words.map(OsString::from));
    // Signals are heard as soon as the audit reads.
    until(Duration::from_secs(60), "the source is read", || {
        let threads = fs::read_dir(format!("/proc/{}/task", running.pid())).into_iter().flatten().flatten();
        let named = |comm: std::io::Result<String>| comm.is_ok_and(|comm| comm.trim_end() == "fulmar-audit");
        let reads = threads.map(|thread| fs::read_to_string(thread.path().join("comm"))).any(named);
        if reads || running.ended().is_some() { Ok(()) } else { Err(running.log()) }
    });
    running.interrupt();
    running.finish(Duration::from_secs(60)).expect(3).expect_error("with --resume FILE it could go on");
}
