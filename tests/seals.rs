//! Directories are sealed when nothing else is to be done, and what changes in them is found all the same: by a scan, by a
//! comparison, by a verification.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use fulmar_model::RelPath;
use fulmar_store::CatalogReader;
use fulmar_testkit::{Cluster, Value, fixture, oracle, until};

/// Sealed directories with what a change needs: files, and directories below.
const DIRECTORIES: [&str; 3] = ["mail/new", "mail/cur", "mail"];

/// A tree that a `sync` has brought to a replica and sealed, on both sides.
fn sealed() -> Cluster {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    for directory in DIRECTORIES {
        fs::create_dir_all(cluster.source().join(directory)).unwrap();
        for number in 0..20 {
            fs::write(cluster.source().join(directory).join(format!("{number:02}")), b"content").unwrap();
        }
    }
    fs::create_dir(cluster.source().join("mail/empty")).unwrap();
    cluster.sync(&[]).expect(0);
    // What was written within the tick of the clock in which it was recorded is recorded anew, once.
    until(std::time::Duration::from_secs(20), "both sides are sealed", || {
        cluster.sync(&[]).expect(0);
        if is_sealed(&cluster) { Ok(()) } else { Err("not yet".to_owned()) }
    });
    cluster
}

fn is_sealed(cluster: &Cluster) -> bool {
    let files = walkdir::WalkDir::new(cluster.state()).into_iter().filter_map(Result::ok);
    let catalog = files.map(walkdir::DirEntry::into_path).find(|path| path.ends_with("catalog.db")).unwrap();
    let ours = CatalogReader::open_catalog(&catalog).unwrap();
    let theirs = CatalogReader::open_replica(&cluster.replica(0).join(".fulmar/store.db")).unwrap();
    let paths = DIRECTORIES.map(|directory| RelPath::parse(directory.as_bytes()).unwrap());
    [ours, theirs].iter().all(|reader| paths.iter().all(|path| reader.seal_of(path).unwrap().is_some()))
}

/// Changes what only the time of its last change tells.
fn slyly(file: &Path, content: &str) {
    let before = file.symlink_metadata().unwrap();
    fs::write(file, content).unwrap();
    fixture::set_mtime(file, before.mtime(), u32::try_from(before.mtime_nsec()).unwrap());
}

/// One change of each kind that shows in a directory, none of which touches another's.
fn change(root: &Path) {
    for directory in DIRECTORIES.map(|directory| root.join(directory)) {
        slyly(&directory.join("01"), "CONTENT");
        fs::set_permissions(directory.join("02"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::remove_file(directory.join("03")).unwrap();
        fs::rename(directory.join("04"), directory.join("renamed")).unwrap();
        fs::write(directory.join("more"), "more").unwrap();
        fs::remove_file(directory.join("05")).unwrap();
        fs::create_dir(directory.join("05")).unwrap();
        fs::write(directory.join("05/below"), "below").unwrap();
    }
    fs::remove_dir(root.join("mail/empty")).unwrap();
}

#[test]
fn a_comparison_finds_what_changed_in_sealed_directories_on_either_side() {
    let cluster = sealed();
    change(cluster.source());
    cluster.sync(&[]).expect(0);
    oracle::assert_equal(cluster.source(), &cluster.replica(0));
    let cluster = sealed();
    change(&cluster.replica(0));
    cluster.sync(&[]).expect(0);
    oracle::assert_equal(cluster.source(), &cluster.replica(0));
}

#[test]
fn a_follow_that_starts_finds_what_changed_in_sealed_directories() {
    let cluster = sealed();
    cluster.follow(&[]).stop();
    change(cluster.source());
    let follow = cluster.follow(&[]);
    cluster.settle();
    oracle::assert_equal(cluster.source(), &cluster.replica(0));
    follow.stop();
}

#[test]
fn a_quick_verification_finds_what_changed_in_sealed_directories_of_a_replica() {
    let cluster = sealed();
    let follow = cluster.follow(&[]);
    cluster.settle();
    assert!(is_sealed(&cluster), "nothing was written since");
    let verify = |extra: &[&str]| {
        let words = ["verify", cluster.source().to_str().unwrap(), "--json"];
        cluster.run(words.iter().chain(extra))
    };
    verify(&[]).expect(0);
    change(&cluster.replica(0));
    let told = verify(&[]);
    told.expect(1);
    let (findings, _) = told.report();
    let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    let mut found: Vec<String> =
        findings.iter().map(|line| format!("{} {}", text(line, "kind"), text(line, "path"))).collect();
    found.sort();
    let of = |directory: &str| {
        let told = [
            "content D/01",
            "mode D/02",
            "missing D/03",
            "missing D/04",
            "extra D/renamed",
            "extra D/more",
            "kind D/05",
        ];
        told.map(|told| told.replace('D', directory))
    };
    let mut expected: Vec<String> = DIRECTORIES.into_iter().flat_map(of).collect();
    expected.push("missing mail/empty".to_owned());
    // What was done in them has moved their times.
    expected.extend(DIRECTORIES.map(|directory| format!("mtime {directory}")));
    expected.sort();
    assert_eq!(found, expected, "{told}");
    verify(&["--repair"]).expect(0);
    oracle::assert_equal(cluster.source(), &cluster.replica(0));
    follow.stop();
}
