//! The judge: a tool nobody here wrote says whether two trees are equal.
//!
//! `rsync` compares content, mode, owner, times to the nanosecond, links, attributes and ACLs in a dry run and must print
//! nothing. Hard-link groups are compared once more as sets, since rsync only looks at them from one side. Sockets are not
//! replicated: names in `.sock` are left out, and the replica must hold no socket at all.
//!
//! A dry run of rsync 3.5 over trees that differ much may wait for itself for ever (one of 1600 trees here, with hard links
//! below what is no directory yet): then it ends with [`NO_VERDICT`].

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The private directory of a replica, left out of every comparison.
pub const PRIVATE: &str = ".fulmar";
/// What the last of rsync's lines begins with when it was given up, and so said nothing.
pub const NO_VERDICT: &str = "rsync: exit status: 124:";
/// Seconds that rsync may take. Its own `--timeout` does not end it: the three processes keep each other awake.
const RSYNC_SECONDS_MAX: &str = "120";

/// What differs, one line each: rsync's itemized lines (`man rsync`, `--itemize-changes`), then link groups and sockets.
pub fn differences(source: &Path, replica: &Path) -> Vec<String> {
    differences_except(source, replica, &[])
}

/// As [`differences`], leaving out what matches `excluded` (rsync's patterns).
pub fn differences_except(source: &Path, replica: &Path, excluded: &[&str]) -> Vec<String> {
    let mut lines = rsync(source, replica, excluded);
    if excluded.is_empty() {
        let (ours, theirs) = (link_groups(source), link_groups(replica));
        lines.extend(ours.difference(&theirs).map(|group| format!("linked in the source only: {group:?}")));
        lines.extend(theirs.difference(&ours).map(|group| format!("linked in the replica only: {group:?}")));
    }
    lines.extend(sockets(replica).into_iter().map(|path| format!("a socket in the replica: {path:?}")));
    lines
}

/// Panics with the first differences, if any.
#[track_caller]
pub fn assert_equal(source: &Path, replica: &Path) {
    assert_equal_except(source, replica, &[]);
}

/// As [`assert_equal`], leaving out what matches `excluded`.
#[track_caller]
pub fn assert_equal_except(source: &Path, replica: &Path, excluded: &[&str]) {
    let lines = differences_except(source, replica, excluded);
    let shown = lines.iter().take(40).map(|line| format!("\n  {line}")).collect::<String>();
    assert!(lines.is_empty(), "{} differences between {source:?} and {replica:?}:{shown}", lines.len());
}

/// The path of a regular file that a line of [`differences`] is about.
pub fn file_of(line: &str) -> Option<PathBuf> {
    let (what, path) = line.split_at_checked(12)?;
    if what.as_bytes().get(1) != Some(&b'f') {
        return None;
    }
    // rsync shows a byte that it does not like as \#ooo.
    let (mut bytes, mut rest) = (Vec::new(), path);
    while let Some(at) = rest.find("\\#") {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        bytes.push(u8::from_str_radix(rest.get(at + 2..at + 5)?, 8).ok()?);
        rest = rest.get(at + 5..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(PathBuf::from(OsString::from_vec(bytes)))
}

/// Every set of names that share an inode, as paths relative to `root`; the private directory aside.
pub fn link_groups(root: &Path) -> BTreeSet<Vec<PathBuf>> {
    let mut groups = BTreeMap::<(u64, u64), Vec<PathBuf>>::new();
    for entry in entries(root) {
        let Ok(stat) = entry.path().symlink_metadata() else { continue };
        if !stat.is_dir() && !stat.file_type().is_socket() && stat.nlink() > 1 {
            groups.entry((stat.dev(), stat.ino())).or_default().push(relative(root, entry.path()));
        }
    }
    // Names outside the tree (moved away, or excluded) leave groups of one, which are no groups.
    groups.into_values().filter(|group| group.len() > 1).collect()
}

/// The files below the replica's quarantine, relative to it. Empty when there is none.
pub fn quarantined(replica: &Path) -> Vec<PathBuf> {
    let root = replica.join(PRIVATE).join("quarantine");
    let walk = walkdir::WalkDir::new(&root).sort_by_file_name().min_depth(1);
    let found = walk.into_iter().filter_map(Result::ok).filter(|entry| !entry.file_type().is_dir());
    found.map(|entry| relative(&root, entry.path())).collect()
}

/// Every path below `root`, relative, sorted; the private directory aside.
pub fn paths(root: &Path) -> Vec<PathBuf> {
    entries(root).map(|entry| relative(root, entry.path())).collect()
}

fn rsync(source: &Path, replica: &Path, excluded: &[&str]) -> Vec<String> {
    let slash = |path: &Path| {
        let mut text = OsString::from(path);
        text.push("/");
        text
    };
    let mut command = Command::new("timeout");
    command.env("LC_ALL", "C").args([RSYNC_SECONDS_MAX, "rsync"]).args([
        "-naHAXi",
        "--checksum",
        "--delete",
        "--numeric-ids",
        "--modify-window=-1",
    ]);
    command.args([&format!("--exclude=/{PRIVATE}"), "--exclude=*.sock"]);
    command.args(excluded.iter().map(|pattern| format!("--exclude={pattern}")));
    let output = command.arg("--").arg(slash(source)).arg(slash(replica)).output().expect("rsync can be run");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines().map(str::to_owned).collect::<Vec<_>>();
    if !output.status.success() {
        lines.push(format!("rsync: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    lines
}

fn sockets(root: &Path) -> Vec<PathBuf> {
    entries(root).filter(|entry| entry.file_type().is_socket()).map(|entry| relative(root, entry.path())).collect()
}

fn entries(root: &Path) -> impl Iterator<Item = walkdir::DirEntry> {
    let private = root.join(PRIVATE);
    let walk = walkdir::WalkDir::new(root).sort_by_file_name().min_depth(1).into_iter();
    walk.filter_entry(move |entry| entry.path() != private).filter_map(Result::ok)
}

fn relative(root: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(root).expect("a walk stays below its root").to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_line_tells_which_file_it_is_about() {
        let path = |line| file_of(line).map(|path| path.into_os_string().into_vec());
        assert_eq!(path(r">fcst...... a/b \#303\#134#x").as_deref(), Some(&b"a/b \xc3\\#x"[..]));
        assert_eq!(path(".f........x name").as_deref(), Some(&b"name"[..]));
        assert_eq!(path(".d..t...... a/"), None);
        assert_eq!(path("*deleting   a"), None);
    }

    /// Two equal trees with one file, one directory and one pair of names.
    fn pair() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        fs::create_dir_all(a.join("d")).unwrap();
        fs::write(a.join("d/f"), "one").unwrap();
        fs::write(a.join("x"), "linked").unwrap();
        fs::hard_link(a.join("x"), a.join("y")).unwrap();
        assert!(Command::new("cp").arg("-a").arg(&a).arg(&b).status().unwrap().success());
        (dir, a, b)
    }

    #[test]
    fn equal_trees_have_no_differences() {
        if !crate::need("rsync") {
            return;
        }
        let (_dir, a, b) = pair();
        assert_equal(&a, &b);
        fs::create_dir(b.join(PRIVATE)).unwrap();
        fs::set_permissions(&b, fs::Permissions::from_mode(a.metadata().unwrap().mode())).unwrap();
        let root_time = a.metadata().unwrap().modified().unwrap();
        fs::File::open(&b).unwrap().set_modified(root_time).unwrap();
        assert_equal(&a, &b);
    }

    #[test]
    fn each_kind_of_difference_is_seen() {
        if !crate::need("rsync") {
            return;
        }
        type Damage = fn(&Path, &Path);
        let damages: &[(&str, Damage)] = &[
            ("content", |_, b| {
                let time = b.join("d/f").metadata().unwrap().modified().unwrap();
                fs::write(b.join("d/f"), "two").unwrap();
                fs::File::open(b.join("d/f")).unwrap().set_modified(time).unwrap();
            }),
            ("a nanosecond", |a, b| {
                let time = a.join("d/f").metadata().unwrap().modified().unwrap();
                fs::File::open(b.join("d/f")).unwrap().set_modified(time + std::time::Duration::from_nanos(1)).unwrap();
            }),
            ("mode", |_, b| fs::set_permissions(b.join("d/f"), fs::Permissions::from_mode(0o600)).unwrap()),
            ("directory mtime", |_, b| {
                fs::File::open(b.join("d")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap()
            }),
            ("missing", |_, b| fs::remove_file(b.join("d/f")).unwrap()),
            ("extra", |_, b| fs::write(b.join("extra"), "").unwrap()),
            ("broken link", |_, b| {
                fs::copy(b.join("y"), b.join("z")).unwrap();
                fs::rename(b.join("z"), b.join("y")).unwrap();
            }),
            ("linked too much", |_, b| {
                fs::remove_file(b.join("d/f")).unwrap();
                fs::hard_link(b.join("x"), b.join("d/f")).unwrap();
            }),
            ("xattr", |_, b| {
                rustix::fs::lsetxattr(b.join("d"), "user.x", b"1", rustix::fs::XattrFlags::empty()).unwrap();
            }),
        ];
        for (what, damage) in damages {
            let (_dir, a, b) = pair();
            damage(&a, &b);
            assert!(!differences(&a, &b).is_empty(), "{what} went unnoticed");
        }
    }
}
