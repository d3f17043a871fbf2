//! `fulmar sync --verify`: every difference is found and named, nothing else is, and nothing is changed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fulmar_testkit::fixture::Node::{Dir, File};
use fulmar_testkit::{
    Cluster, Finished, Life, Options, Rsh, Value, fixture, fresh_seed, is_root, need, need_root, oracle, until,
    until_equal,
};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, mknodat};

fn cluster() -> Cluster {
    Cluster::new(env!("CARGO_BIN_EXE_fulmar"))
}

/// Replica 0 as rsync makes it: fulmar has never seen it.
fn copied(cluster: &Cluster) -> PathBuf {
    let replica = cluster.replica(0);
    let (from, to) = (cluster.source().join("."), replica.join("."));
    let words = ["-aHAXS", "--numeric-ids", "--modify-window=-1", "--delete"];
    fs::create_dir_all(&replica).unwrap();
    assert!(Command::new("rsync").args(words).arg(from).arg(to).status().unwrap().success());
    replica
}

fn verify(cluster: &Cluster, extra: &[&str]) -> Finished {
    cluster.sync(&[&["--verify"], extra].concat())
}

/// "kind path" of each difference, sorted.
#[track_caller]
fn kinds(finished: &Finished) -> Vec<String> {
    let (lines, _) = finished.report();
    let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    let mut all: Vec<String> = lines
        .iter()
        .map(|line| match text(line, "type").as_str() {
            "difference" => format!("{} {}", text(line, "kind"), text(line, "path")),
            other => format!("{other}! {}", text(line, "path")),
        })
        .collect();
    all.sort();
    all
}

fn keep_time(path: &Path, act: impl FnOnce()) {
    let before = path.symlink_metadata().unwrap();
    act();
    fixture::set_mtime(path, before.mtime(), before.mtime_nsec() as u32);
}

/// Inode, times and size of everything: what a command that changes nothing leaves.
fn snapshot(root: &Path) -> BTreeMap<PathBuf, (u64, i64, i64, u64)> {
    let walk = walkdir::WalkDir::new(root).into_iter().filter_map(Result::ok);
    let stat = |entry: walkdir::DirEntry| {
        let stat = entry.metadata().ok()?;
        Some((entry.into_path(), (stat.ino(), stat.ctime(), stat.ctime_nsec(), stat.size())))
    };
    walk.filter_map(stat).collect()
}

#[test]
fn a_replica_made_by_rsync_is_equal_and_nothing_is_changed_on_either_side() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fixture::everything(cluster.source());
    let replica = copied(&cluster);
    let before = (snapshot(cluster.source()), snapshot(&replica));
    let finished = verify(&cluster, &[]);
    finished.expect(0);
    assert!(finished.stdout.lines().last().is_some_and(|line| line.starts_with("EQUAL: ")), "{finished}");
    assert_eq!((snapshot(cluster.source()), snapshot(&replica)), before);
    assert!(!cluster.state().exists() && !replica.join(".fulmar").exists(), "no state is made");
}

#[test]
fn a_replica_that_is_being_followed_is_audited_beside_it() {
    let cluster = cluster();
    fixture::everything(cluster.source());
    let follow = cluster.follow(&[]);
    cluster.settle();
    verify(&cluster, &[]).expect(0);
    follow.stop();
}

/// What is done to the replica of [`fixture::everything`], and what must be told of it. Times of directories are put back.
type Damage = (&'static str, fn(&Path), &'static [&'static str]);

const DAMAGES: &[Damage] = &[
    (
        "content",
        |r| keep_time(&r.join("small"), || fs::write(r.join("small"), "SMALL content\n").unwrap()),
        &["content small"],
    ),
    ("size", |r| keep_time(&r.join("empty"), || fs::write(r.join("empty"), "not").unwrap()), &["size empty"]),
    ("missing", |r| fs::remove_file(r.join("-rf")).unwrap(), &["missing -rf"]),
    ("a missing tree", |r| fs::remove_dir_all(r.join("a/.fulmar")).unwrap(), &["missing a/.fulmar"]),
    ("extra", |r| fs::write(r.join("a/b/extra"), "").unwrap(), &["extra a/b/extra"]),
    ("an extra tree", |r| fs::create_dir_all(r.join("x/y/z")).unwrap(), &["extra x"]),
    (
        "kind",
        |r| {
            fs::remove_dir(r.join("empty directory")).unwrap();
            fs::write(r.join("empty directory"), "").unwrap();
        },
        &["kind empty directory"],
    ),
    ("mode", |r| fs::set_permissions(r.join("setuid"), fs::Permissions::from_mode(0o755)).unwrap(), &["mode setuid"]),
    (
        "mode of a directory",
        |r| fs::set_permissions(r.join("sticky"), fs::Permissions::from_mode(0o777)).unwrap(),
        &["mode sticky"],
    ),
    ("mtime by a nanosecond", |r| fixture::set_mtime(&r.join("a/b"), 1_000_000_000, 123_456_788), &["mtime a/b"]),
    ("mtime of a symlink", |r| fixture::set_mtime(&r.join("dangling"), 5, 5), &["mtime dangling"]),
    (
        "xattr",
        |r| lsetxattr(r.join("small"), "user.fulmar", b"b value", XattrFlags::empty()).unwrap(),
        &["xattr small"],
    ),
    ("xattr of a directory", |r| rustix::fs::lremovexattr(r.join("a"), "user.on a directory").unwrap(), &["xattr a"]),
    (
        "acl",
        |r| lsetxattr(r.join("small"), "system.posix_acl_access", &fixture::acl(1234, 4), XattrFlags::empty()).unwrap(),
        &["acl small"],
    ),
    ("default acl", |r| rustix::fs::lremovexattr(r.join("a/b"), "system.posix_acl_default").unwrap(), &["acl a/b"]),
    (
        "link target",
        |r| {
            let before = r.join("dangling").symlink_metadata().unwrap();
            fs::remove_file(r.join("dangling")).unwrap();
            symlink("/nowhere/at ALL", r.join("dangling")).unwrap();
            fixture::set_mtime(&r.join("dangling"), before.mtime(), before.mtime_nsec() as u32);
        },
        &["link-target dangling"],
    ),
    (
        "a broken hard link",
        |r| {
            let (name, beside) = (r.join("third name"), r.join("third name.new"));
            fixture::copy(&name, &beside);
            fs::rename(beside, name).unwrap();
        },
        &["hard-links a/b/c/d/deep"],
    ),
    ("one name of several", |r| fs::remove_file(r.join("third name")).unwrap(), &["missing third name"]),
];

const POWERFUL: &[Damage] = &[
    ("owner", |r| lchown(r.join("empty"), Some(7), Some(8)).unwrap(), &["owner empty"]),
    ("group of a symlink", |r| lchown(r.join("dangling"), None, Some(8)).unwrap(), &["owner dangling"]),
    ("capability", |r| rustix::fs::lremovexattr(r.join("capable"), "security.capability").unwrap(), &["xattr capable"]),
    (
        "trusted attribute",
        |r| lsetxattr(r.join("capable"), "trusted.fulmar", b"else", XattrFlags::empty()).unwrap(),
        &["xattr capable"],
    ),
    (
        "device number",
        |r| {
            let before = r.join("null").symlink_metadata().unwrap();
            fs::remove_file(r.join("null")).unwrap();
            mknodat(
                CWD,
                r.join("null"),
                FileType::CharacterDevice,
                Mode::from_raw_mode(0o666),
                rustix::fs::makedev(1, 5),
            )
            .unwrap();
            fs::set_permissions(r.join("null"), fs::Permissions::from_mode(before.mode() & 0o7777)).unwrap();
            fixture::set_mtime(&r.join("null"), before.mtime(), before.mtime_nsec() as u32);
        },
        &["device null"],
    ),
];

/// The times of all directories, to be put back.
fn directory_times(root: &Path) -> Vec<(PathBuf, i64, i64)> {
    let walk = walkdir::WalkDir::new(root).into_iter().filter_map(Result::ok);
    let directories = walk.filter(|entry| entry.file_type().is_dir());
    directories
        .filter_map(|entry| Some((entry.path().to_path_buf(), entry.metadata().ok()?)))
        .map(|(path, stat)| (path, stat.mtime(), stat.mtime_nsec()))
        .collect()
}

fn put_back(times: &[(PathBuf, i64, i64)], except: &[&str], root: &Path) {
    for (path, seconds, nanoseconds) in times {
        let told = except.iter().any(|line| line.strip_prefix("mtime ").is_some_and(|name| root.join(name) == *path));
        if !told && path.symlink_metadata().is_ok_and(|stat| stat.is_dir()) {
            fixture::set_mtime(path, *seconds, *nanoseconds as u32);
        }
    }
}

#[test]
fn each_difference_is_found_and_named_and_nothing_else_is() {
    if !need("rsync") {
        return;
    }
    // All of them at once, each in a replica of its own: what is fresh is watched for some seconds.
    let all: Vec<&Damage> = DAMAGES.iter().chain(POWERFUL.iter().filter(|_| is_root())).collect();
    std::thread::scope(|scope| {
        for (what, damage, expected) in all {
            scope.spawn(move || {
                let cluster = cluster();
                fixture::everything(cluster.source());
                let replica = copied(&cluster);
                let times = directory_times(&replica);
                damage(&replica);
                put_back(&times, expected, &replica);
                let finished = verify(&cluster, &["--format", "json"]);
                assert_eq!(kinds(&finished), *expected, "{what}\n{finished}");
                finished.expect(1);
            });
        }
    });
}

/// A remote shell that keeps what crosses it.
struct Wire {
    rsh: Rsh,
    directory: PathBuf,
}

impl Wire {
    fn new(cluster: &Cluster) -> Self {
        let directory = cluster.path().join("wire");
        let script = format!(
            "cd '{}'\nshift\neval \"set -- $*\"\nshift\ntee sent | '{}' \"$@\" | tee answered",
            directory.display(),
            cluster.binary().path().display()
        );
        Self { rsh: Rsh::script(&directory, &script), directory }
    }

    /// `sync --verify` of replica 0 over it, and how many bytes crossed it both ways.
    fn verify(&self, cluster: &Cluster) -> (Finished, u64) {
        let mut far = OsString::from("host:");
        far.push(cluster.replica(0));
        let command = self.rsh.command();
        let words = ["--verify", "--format", "json", "--rsh", command.to_str().unwrap()];
        let finished = cluster.sync_to(&[&far], &words);
        let bytes = |name: &str| self.directory.join(name).metadata().map_or(0, |file| file.len());
        (finished, bytes("sent") + bytes("answered"))
    }
}

#[test]
fn equal_trees_cost_a_few_hundred_bytes_on_the_wire_and_one_difference_the_way_to_it() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    for directory in 0..100 {
        let directory = cluster.source().join(format!("{}/{directory}", directory % 10));
        fs::create_dir_all(&directory).unwrap();
        for file in 0..20 {
            fs::write(directory.join(format!("file {file}")), file.to_string()).unwrap();
        }
    }
    let replica = copied(&cluster);
    let wire = Wire::new(&cluster);
    let (finished, bytes) = wire.verify(&cluster);
    finished.expect(0);
    assert!(bytes < 600, "{bytes} bytes for trees that are equal");
    keep_time(&replica.join("3/33/file 7"), || fs::write(replica.join("3/33/file 7"), "8").unwrap());
    let (finished, bytes) = wire.verify(&cluster);
    assert_eq!(kinds(&finished), ["content 3/33/file 7"], "{finished}");
    assert!(bytes < 10_000, "{bytes} bytes for one file of 2000");
    let (_, summary) = finished.report();
    assert_eq!(summary["replicas"][0]["root"], replica.to_str().unwrap(), "the far end says where it is");
    assert_eq!(summary["replicas"][0]["on_source"]["files"], 2000);
}

#[test]
fn odd_names_are_escaped_in_every_form() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    let long = "n".repeat(255);
    let names: [&[u8]; 5] = [b"new\nline", b"\x1b[31mred", b"not utf-8 \xff\xfe", b"<b>&\"'", long.as_bytes()];
    fs::create_dir(cluster.replica(0)).unwrap();
    for name in names {
        fs::create_dir(cluster.source().join(OsStr::from_bytes(name))).unwrap();
        fs::write(cluster.source().join(OsStr::from_bytes(name)).join(OsStr::from_bytes(name)), "1").unwrap();
    }
    let replica = copied(&cluster);
    for name in names {
        fs::write(replica.join(OsStr::from_bytes(name)).join(OsStr::from_bytes(name)), "22").unwrap();
    }
    let shown = ["new\\nline", "\\x1b[31mred", "not utf-8 \\xff\\xfe", "<b>&\"'", &*long];
    let json = verify(&cluster, &["--format", "json"]);
    for name in shown {
        assert!(kinds(&json).contains(&format!("size {name}/{name}")), "{name}\n{json}");
    }
    let table = verify(&cluster, &[]);
    for name in shown {
        assert!(table.stdout.contains(&format!("\n  {name}\n")) && !table.stdout.contains('\x1b'), "{name}\n{table}");
    }
    let html = verify(&cluster, &["--format", "html"]);
    for name in ["new\\nline", "\\x1b[31mred", "not utf-8 \\xff\\xfe", "&lt;b&gt;&amp;&quot;&#39;", &*long] {
        assert!(html.stdout.contains(&format!("<td class=\"name\">{name}</td>")), "{name}\n{html}");
    }
    assert!(!html.stdout.contains("<b>") && !html.stdout.contains("<script") && html.stdout.ends_with("</html>\n"));
    for finished in [json, table, html] {
        finished.expect(1);
    }
}

#[test]
fn what_takes_no_part_is_no_difference() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fixture::everything(cluster.source());
    // A private directory, and holes that are filled.
    cluster.sync(&[]).expect(0);
    let sparse = cluster.replica(0).join("sparse");
    let zeros = fs::read(&sparse).unwrap();
    keep_time(&sparse, || fs::write(&sparse, zeros).unwrap());
    assert!(
        sparse.metadata().unwrap().blocks() * 512 > cluster.source().join("sparse").metadata().unwrap().blocks() * 512
    );
    verify(&cluster, &[]).expect(0);
    let (source, replica) = (cluster.source().join("a"), cluster.replica(0).join("a"));
    keep_time(&source, || fs::write(source.join("left.out"), "").unwrap());
    keep_time(&replica, || fs::create_dir(replica.join("also.out")).unwrap());
    keep_time(&replica, || {
        mknodat(CWD, replica.join("b.socket"), FileType::Socket, Mode::from_raw_mode(0o600), 0).unwrap();
    });
    verify(&cluster, &["--exclude", "*.out"]).expect(0);
    let finished = verify(&cluster, &["--format", "json"]);
    assert_eq!(kinds(&finished), ["extra a/also.out", "missing a/left.out"], "{finished}");
}

#[test]
fn what_cannot_be_read_is_told_with_the_side_and_the_reason() {
    if !(need_root("a user without powers") && need("rsync")) {
        return;
    }
    let cluster = cluster();
    fixture::build(cluster.source(), &[("open", File("1")), ("closed", File("2")), ("shut/in", File("3")), ("d", Dir)]);
    for name in ["closed", "shut"] {
        fs::set_permissions(cluster.source().join(name), fs::Permissions::from_mode(0o000)).unwrap();
    }
    let replica = copied(&cluster);
    fs::set_permissions(replica.join("closed"), fs::Permissions::from_mode(0o644)).unwrap();
    let cluster = cluster.as_nobody();
    let finished = verify(&cluster, &["--format", "json"]);
    finished.expect(1);
    let unreadable = ["unreadable! closed", "unreadable! shut", "unreadable! shut"];
    assert_eq!(kinds(&finished), [&["mode closed"][..], &unreadable].concat(), "{finished}");
    let (lines, summary) = finished.report();
    let closed = lines.iter().find(|line| line["path"] == "closed" && line["type"] == "unreadable").unwrap();
    assert_eq!((closed["side"].as_str(), closed["error"].as_str()), (Some("source"), Some("permission denied")));
    assert_eq!(summary["replicas"][0]["on_source"]["unreadable"], 2, "{finished}");
    assert_eq!(summary["replicas"][0]["on_replica"]["unreadable"], 1, "{finished}");
    assert_eq!(summary["replicas"][0]["trusted_compared"], false);
}

#[test]
fn a_tree_that_is_being_replicated_has_no_false_difference() {
    let cluster = cluster();
    let mut life = Life::with(cluster.source(), fresh_seed(), Options { large_files: false, ..Options::default() });
    life.run(300);
    let follow = cluster.follow(&["--approve-removals"]);
    cluster.settle();
    let over = AtomicBool::new(false);
    let audits = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                life.run(40);
                cluster.settle();
            }
        });
        let audits = [(); 2].map(|()| verify(&cluster, &["--format", "json"]));
        over.store(true, Ordering::Relaxed);
        audits
    });
    for finished in audits {
        let (lines, _) = finished.report();
        let wrong: Vec<_> = lines.iter().filter(|line| line["type"] != "busy").collect();
        assert!(wrong.is_empty() && finished.code <= 1, "{finished}");
    }
    cluster.settle();
    verify(&cluster, &[]).expect(0);
    follow.stop();
}

#[test]
fn an_audit_that_is_interrupted_ends_on_both_sides_and_says_so() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fixture::build(cluster.source(), &[("a", File("some bytes that take hours"))]);
    copied(&cluster);
    let rsh = cluster.rsh("rsh");
    let mut far = OsString::from("host:");
    far.push(cluster.replica(0));
    let mut words: Vec<OsString> =
        ["sync", "--verify", "--rate", "1", "--io-priority", "idle", "--rsh"].map(OsString::from).into();
    words.extend([rsh.command().into(), cluster.source().into(), far]);
    let audit = cluster.binary().start(&cluster.path().join("logs"), &words);
    until(Duration::from_secs(60), "the far end reads", || match rsh.far_ends().as_slice() {
        [] => Err("no far end".to_owned()),
        _ => Ok(()),
    });
    audit.interrupt();
    audit.finish(Duration::from_secs(30)).expect(3).expect_error("interrupted");
    until_equal(Duration::from_secs(30), "the far end has ended", &0, || rsh.far_ends().len());
}

#[test]
fn each_replica_has_its_verdict_and_the_worst_decides() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    fixture::everything(cluster.source());
    let good = copied(&cluster);
    let bad = cluster.replica(1);
    fixture::copy(&good, &bad);
    fs::write(bad.join("stray"), "").unwrap();
    let none = cluster.replica(2);
    let json = |replicas: &[&Path]| {
        let replicas: Vec<&OsStr> = replicas.iter().map(|path| path.as_os_str()).collect();
        cluster.sync_to(&replicas, &["--verify", "--format", "json"])
    };
    let finished = json(&[&good, &bad]);
    let verdicts = |finished: &Finished| {
        let (_, summary) = finished.report();
        let all = summary["replicas"].as_array().unwrap().clone();
        all.iter().map(|one| one["verdict"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(verdicts(&finished), ["equal", "different"], "{finished}");
    finished.expect(1);
    let finished = json(&[&good, &none]);
    assert_eq!(verdicts(&finished), ["equal", "failed"], "{finished}");
    finished.expect(2).expect_error("does not exist");
    assert!(!none.exists(), "an audit makes nothing");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let cluster = cluster();
    fs::create_dir(cluster.replica(0)).unwrap();
    for words in [&["--format", "json"][..], &["--limit", "3"], &["--rate", "1M"], &["--io-priority", "idle"]] {
        cluster.sync(words).expect(2).expect_error("--verify");
    }
    for word in ["--dry-run", "--adopt", "--json", "--approve-removals", "--delete=keep", "--durability=none"] {
        verify(&cluster, &[word]).expect(2);
    }
    let source = cluster.source().to_path_buf();
    cluster.sync_to(&[source.as_os_str()], &["--verify"]).expect(2).expect_error("is the source itself");
    let unreachable = cluster.rsh("rsh");
    unreachable.refuse();
    let command = unreachable.command();
    let far = [OsStr::new("host:/srv")];
    cluster.sync_to(&far, &["--verify", "--rsh", command.to_str().unwrap()]).expect(3).expect_error("refused");
}

#[test]
fn a_directory_of_more_names_than_fit_into_memory_is_compared_in_parts() {
    let cluster = cluster();
    let (source, replica) = (cluster.source().join("d"), cluster.replica(0).join("d"));
    for (directory, names) in [(&source, 0..65_540), (&replica, 10..65_545)] {
        fs::create_dir_all(directory).unwrap();
        for name in names {
            fs::write(directory.join(name.to_string()), "").unwrap();
            fixture::set_mtime(&directory.join(name.to_string()), 1, 1);
        }
        fixture::set_mtime(directory, 1, 1);
        fixture::set_mtime(directory.parent().unwrap(), 1, 1);
    }
    let finished = verify(&cluster, &["--format", "json"]);
    let missing = (0..10).map(|name| format!("missing d/{name}"));
    let mut expected: Vec<String> = (65_540..65_545).map(|name| format!("extra d/{name}")).chain(missing).collect();
    expected.sort();
    assert_eq!(kinds(&finished), expected);
}

#[test]
fn rsync_finds_the_same_paths_in_trees_that_grew_apart() {
    if !need("rsync") {
        return;
    }
    let seed = fresh_seed();
    assert!((seed..seed + 3).any(is_confirmed_by_rsync), "rsync never came to a verdict");
}

/// False: rsync did not come to a verdict.
fn is_confirmed_by_rsync(seed: u64) -> bool {
    let cluster = cluster();
    let options = Options { hostile_names: false, large_files: false, ..Options::default() };
    Life::with(cluster.source(), seed, options.clone()).run(400);
    let replica = copied(&cluster);
    Life::with(cluster.source(), seed ^ 1, options.clone()).run(60);
    Life::with(&replica, seed ^ 2, options).run(60);
    let finished = verify(&cluster, &["--format", "json"]);
    let (lines, _) = finished.report();
    let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    let ours: Vec<(String, String)> = lines.iter().map(|line| (text(line, "kind"), text(line, "path"))).collect();
    let linked: Vec<String> = lines.iter().filter(|line| line["kind"] == "hard-links").flat_map(names_of).collect();
    let lines_of_rsync = oracle::differences(cluster.source(), &replica);
    if lines_of_rsync.iter().any(|line| line.starts_with(oracle::NO_VERDICT)) {
        return false;
    }
    let theirs = rsync_paths(&lines_of_rsync, &replica);
    for (path, other) in &theirs {
        let covers = |(kind, at): &(String, String)| {
            let one_sided = ["missing", "extra", "kind"].contains(&&**kind);
            let below = |path: &String| path == at || path.starts_with(&format!("{at}/"));
            // A name whose other name is missing is not told of: that is missing.
            at == path || (one_sided && (below(path) || other.as_ref().is_some_and(below)))
        };
        let found = ours.iter().any(covers) || linked.contains(path);
        assert!(found, "rsync alone finds {path:?} (seed {seed})\n{finished}\n{}", lines_of_rsync.join("\n"));
    }
    let groups = oracle::link_groups(cluster.source());
    for (kind, path) in ours.iter().filter(|(kind, _)| kind != "hard-links") {
        let told = |path: &Path| theirs.iter().any(|(at, _)| Path::new(at) == path);
        // Of several names of one file it tells one.
        let fellows = groups.iter().find(|group| group.iter().any(|name| name == Path::new(path)));
        let is_told = told(Path::new(path)) || fellows.is_some_and(|names| names.iter().any(|name| told(name)));
        assert!(is_told, "the audit alone finds {kind} {path:?} (seed {seed})\n{finished}\n{theirs:?}");
    }
    if !linked.is_empty() {
        assert_ne!(groups, oracle::link_groups(&replica), "{finished}");
    }
    true
}

fn names_of(line: &Value) -> Vec<String> {
    let sides = [&line["on_source"], &line["on_replica"]];
    let groups = sides.into_iter().filter_map(Value::as_array).flatten().filter_map(Value::as_array).flatten();
    groups.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// Paths that rsync would do something about, sockets aside, and for a further name of a file the first one.
fn rsync_paths(lines: &[String], replica: &Path) -> Vec<(String, Option<String>)> {
    let lines = lines.iter().filter(|line| !line.starts_with("linked in") && !line.starts_with("a socket"));
    // In place of the usual line of a directory that would stay because of a socket, which is left out.
    let stays = "cannot delete non-empty directory: ";
    let path = |line: &str| line.strip_prefix(stays).or_else(|| line.get(12..)).map(str::to_owned);
    // A dry run makes no way for anything, and complains of what it then finds: of a directory that is not empty where
    // something else belongs, and of a place below what is no directory yet.
    let paths = lines.flat_map(|line| {
        if !line.starts_with("rsync: exit status: 23") {
            return path(line).into_iter().collect();
        }
        let below = format!("\"{}/", replica.display());
        let complaints = line.lines().filter_map(|line| {
            let place = line.split_once("could not make way for new ").and_then(|(_, rest)| rest.split_once(": "));
            let looked = || line.split_once(&below)?.1.split_once("\" failed: ");
            let other = || (!line.is_empty() && !line.starts_with("rsync error: ")).then_some(line);
            place.map(|(_, path)| path).or_else(|| looked().map(|(path, _)| path)).or_else(other)
        });
        complaints.map(str::to_owned).collect::<Vec<_>>()
    });
    let paths = paths.map(|path| {
        let (path, other) =
            path.split_once(" => ").map_or((&*path, None), |(path, other)| (path, Some(other.to_owned())));
        let path = path.split(" -> ").next().unwrap_or(path).trim_end_matches('/');
        (if path.is_empty() { "." } else { path }.to_owned(), other)
    });
    paths.collect()
}
