//! The story of a web farm: a real tree of software, made of the files of installed packages, with what such trees have in
//! the way of setuid programs, capabilities, links and ACLs. It is shipped, upgraded in place, half removed and restored;
//! after each step the front ends are equal.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use fulmar_testkit::{Cluster, Random, fixture, fresh_seed, is_root, need, oracle};

const PACKAGES: &[&str] = &[
    "perl-base",
    "perl-modules-5.36",
    "python3-minimal",
    "libpython3.11-minimal",
    "git",
    "coreutils",
    "rsync",
    "tzdata",
    "bash",
];
/// A file larger than this is left out: the story is about many files.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Copies the packages' files below `root`. How many there are.
fn install(root: &Path) -> usize {
    let mut files = Vec::new();
    for package in PACKAGES {
        // A package that is not installed lists nothing.
        let output = Command::new("dpkg").args(["-L", package]).output().expect("dpkg can be run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        files.extend(text.lines().filter_map(|line| line.strip_prefix('/')).map(PathBuf::from).filter(|path| {
            Path::new("/").join(path).symlink_metadata().is_ok_and(|stat| !stat.is_dir() && stat.len() < FILE_BYTES_MAX)
        }));
    }
    assert!(files.len() > 200, "only {} files of {PACKAGES:?}", files.len());
    for chunk in files.chunks(500) {
        let output = Command::new("cp")
            .args(["-a", "--parents", "-t"])
            .arg(root)
            .args(chunk)
            .current_dir("/")
            .output()
            .expect("cp can be run");
        assert!(output.status.success(), "cp: {}", String::from_utf8_lossy(&output.stderr));
    }
    extras(root);
    files.len()
}

fn extras(root: &Path) {
    let set = |name: &str, attribute: &str, value: &[u8]| {
        set_attribute(&root.join(name), attribute, value);
    };
    fs::create_dir_all(root.join("srv/www/uploads")).unwrap();
    fs::write(root.join("srv/www/suexec"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("srv/www/suexec"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::set_permissions(root.join("srv/www/uploads"), fs::Permissions::from_mode(0o3770)).unwrap();
    fs::write(root.join("srv/www/index.html"), "<h1>release 1</h1>\n").unwrap();
    fs::hard_link(root.join("srv/www/index.html"), root.join("srv/www/default.html")).unwrap();
    symlink("www", root.join("srv/current")).unwrap();
    symlink("/etc/ssl/certs", root.join("srv/www/certs")).unwrap();
    set("srv/www/index.html", "user.mime_type", b"text/html");
    set("srv/www/uploads", "system.posix_acl_default", &fixture::acl(33, 6));
    if is_root() {
        fs::write(root.join("srv/www/ping"), "a program").unwrap();
        set("srv/www/ping", "security.capability", &fixture::capability(13));
    }
}

fn set_attribute(path: &Path, attribute: &str, value: &[u8]) {
    let hex = value.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let status = Command::new("setfattr").args(["-n", attribute, "-v", &format!("0x{hex}")]).arg(path).status();
    assert!(status.expect("setfattr can be run").success(), "{attribute} of {path:?}");
}

fn regular_files(root: &Path) -> Vec<PathBuf> {
    oracle::paths(root)
        .into_iter()
        .map(|path| root.join(path))
        .filter(|path| path.symlink_metadata().is_ok_and(|stat| stat.is_file()))
        .collect()
}

/// As a package manager does: beside the name, final mode, rename. Some files change a little, some all, some their mode
/// only; a few directories are new, a few files gone.
fn upgrade(root: &Path, release: usize, random: &mut Random) -> usize {
    let mut touched = 0;
    for path in regular_files(root) {
        match random.below(10) {
            0..4 => {
                let mut content = fs::read(&path).unwrap();
                let line = format!("release {release}\n");
                let at = random.below(content.len());
                content.splice(at..at, line.bytes());
                replace(&path, &content);
            }
            4 => {
                let len = random.below(50_000);
                replace(&path, &random.bytes(len));
            }
            5 => fs::set_permissions(&path, fs::Permissions::from_mode(*random.pick(&[0o644, 0o755, 0o640, 0o2755])))
                .unwrap(),
            6 if random.chance(10) => fs::remove_file(&path).unwrap(),
            _ => continue,
        }
        touched += 1;
    }
    let fresh = root.join(format!("opt/release-{release}/lib"));
    fs::create_dir_all(&fresh).unwrap();
    for number in 0..100 {
        fs::write(fresh.join(format!("module{number}.pm")), random.bytes(number * 37)).unwrap();
    }
    symlink(format!("release-{release}"), root.join("opt/next")).unwrap();
    fs::rename(root.join("opt/next"), root.join("opt/current")).unwrap();
    touched
}

fn replace(path: &Path, content: &[u8]) {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".dpkg-new");
    let beside = path.with_file_name(name);
    fs::write(&beside, content).unwrap();
    fs::set_permissions(&beside, path.metadata().unwrap().permissions()).unwrap();
    fs::rename(beside, path).unwrap();
}

/// Nine files of ten go: more than half of the tree, directories and links included.
fn remove_most(root: &Path) {
    for (number, path) in regular_files(root).into_iter().enumerate() {
        if number % 10 != 0 {
            fs::remove_file(path).unwrap();
        }
    }
}

fn ready() -> bool {
    need("rsync") && need("dpkg") && need("setfattr")
}

#[test]
fn software_is_shipped_upgraded_half_removed_and_restored() {
    if !ready() {
        return;
    }
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    let mut random = Random::new(fresh_seed());
    let (one, other) = (cluster.replica(0), cluster.replica(1));
    let replicas = [one.as_os_str(), other.as_os_str()];
    let sync = |extra: &[&str], code: i32| {
        cluster.sync_to(&replicas, &[&["--profile", "webroot"], extra].concat()).expect(code);
    };
    let equal = || [&one, &other].map(|replica| oracle::assert_equal(cluster.source(), replica));

    let installed = install(cluster.source());
    sync(&[], 0);
    equal();
    let backup = cluster.path().join("backup");
    fixture::copy(cluster.source(), &backup);

    let touched = upgrade(cluster.source(), 2, &mut random);
    assert!(touched > installed / 4, "{touched} of {installed}");
    sync(&[], 0);
    equal();

    let before = oracle::paths(&one).len();
    remove_most(cluster.source());
    sync(&[], 1);
    assert_eq!(oracle::paths(&one).len(), before, "nothing goes before it is approved");
    sync(&["--approve-removals"], 0);
    equal();

    let restored = Command::new("rsync")
        .args(["-aHAX", "--delete", "--numeric-ids"])
        .arg(backup.join("."))
        .arg(cluster.source())
        .status();
    assert!(restored.unwrap().success());
    sync(&["--approve-removals"], 0);
    equal();
    assert_eq!(oracle::quarantined(&one), Vec::<PathBuf>::new());
}

#[test]
fn an_upgrade_under_a_follow_arrives_and_local_edits_are_undone_and_kept() {
    if !ready() {
        return;
    }
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    let mut random = Random::new(fresh_seed());
    install(cluster.source());
    let follow =
        cluster.follow_to(&[cluster.replica(0).as_os_str(), cluster.replica(1).as_os_str()], &["--profile", "webroot"]);
    cluster.assert_in_sync(2);
    for release in 2..4 {
        upgrade(cluster.source(), release, &mut random);
        cluster.assert_in_sync(2);
    }
    follow.stop();

    let page = Path::new("srv/www/edited.html");
    fs::write(cluster.source().join(page), "<h1>ours</h1>\n").unwrap();
    cluster.sync_to(&[cluster.replica(0).as_os_str()], &["--profile", "webroot"]).expect(0);
    fs::write(cluster.replica(0).join(page), "<h1>a hasty fix on the front end</h1>\n").unwrap();
    fs::write(cluster.replica(0).join("srv/www/shell.php"), "<?php").unwrap();
    cluster.sync_to(&[cluster.replica(0).as_os_str()], &["--profile", "webroot"]).expect(0);
    oracle::assert_equal(cluster.source(), &cluster.replica(0));
    let kept = oracle::quarantined(&cluster.replica(0));
    let contents = kept
        .iter()
        .filter_map(|path| fs::read_to_string(cluster.replica(0).join(".fulmar/quarantine").join(path)).ok())
        .collect::<Vec<_>>();
    assert!(
        contents.iter().any(|text| text.contains("a hasty fix")) && contents.iter().any(|text| text == "<?php"),
        "{kept:?}"
    );
}

#[test]
fn a_release_switch_is_one_step_for_readers() {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    let release = |number: usize| {
        let directory = cluster.source().join(format!("releases/{number}"));
        fs::create_dir_all(&directory).unwrap();
        // Of what is in a directory before it is watched no event tells that it is complete, so that it waits for a quiet moment.
        if number > 1 {
            cluster.settle();
        }
        for page in 0..50 {
            fs::write(directory.join(format!("p{page}.html")), format!("release {number} page {page}")).unwrap();
        }
        symlink(format!("releases/{number}"), cluster.source().join("next")).unwrap();
        fs::rename(cluster.source().join("next"), cluster.source().join("current")).unwrap();
    };
    release(1);
    let follow = cluster.follow(&["--profile", "webroot"]);
    cluster.settle();
    for number in 2..6 {
        release(number);
        fulmar_testkit::until(std::time::Duration::from_secs(60), "the switch arrives", || {
            let current = fs::read_link(cluster.replica(0).join("current")).expect("there is always a current release");
            let name = current.file_name().and_then(OsStr::to_str).expect("a number").to_owned();
            let last = fs::read_to_string(cluster.replica(0).join(&current).join("p49.html"));
            // The link goes last: what it names is complete whenever it is seen.
            assert_eq!(last.ok(), Some(format!("release {name} page 49")), "{current:?} is not complete");
            if name == number.to_string() { Ok(()) } else { Err(format!("still {name}")) }
        });
    }
    follow.stop();
}
