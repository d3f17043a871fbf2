//! Trees written as literals.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, mknodat};

/// What to put at a path.
#[derive(Clone, Copy, Debug)]
pub enum Node<'a> {
    /// A directory, with those above it.
    Dir,
    /// A file with this content.
    File(&'a str),
    /// A symbolic link to this.
    Link(&'a str),
    /// Another name of this path of the tree, which comes earlier in the list.
    Same(&'a str),
}

/// Creates `nodes` below `root`, in order; parents are created as needed.
pub fn build(root: &Path, nodes: &[(&str, Node<'_>)]) {
    fs::create_dir_all(root).expect("the root can be created");
    for (path, node) in nodes {
        put(root, &root.join(path), *node);
    }
}

fn put(root: &Path, at: &Path, node: Node<'_>) {
    fs::create_dir_all(at.parent().expect("a path below the root")).expect("parents can be created");
    match node {
        Node::Dir => fs::create_dir_all(at),
        Node::File(content) => fs::write(at, content),
        Node::Link(target) => symlink(target, at),
        Node::Same(earlier) => fs::hard_link(root.join(earlier), at),
    }
    .unwrap_or_else(|error| panic!("cannot create {at:?}: {error}"));
}

/// A tree with everything in it that is replicated, and a socket, which is not. About 30 paths; what only root can make
/// is left out for others.
pub fn everything(root: &Path) {
    use Node::{Dir, File, Link, Same};
    build(
        root,
        &[
            ("empty", File("")),
            ("small", File("small content\n")),
            ("empty directory", Dir),
            ("a/b/c/d/deep", File("deep")),
            ("a/second name", Same("a/b/c/d/deep")),
            ("third name", Same("a/b/c/d/deep")),
            ("link", Link("small")),
            ("dangling", Link("/nowhere/at all")),
            ("a/up", Link("../../../../..")),
            ("-rf", File("a leading dash")),
            (".hidden", File("a leading dot")),
            ("a/.fulmar/stage/x", File("a name that is only special in the root of a replica")),
            ("new\nline", File("1")),
            ("\u{1b}[31mred", File("2")),
            ("quote\"s 'and' \\back", File("3")),
            ("  spaces  ", File("4")),
            ("glob*?[x]", File("5")),
        ],
    );
    hostile_bytes(root);
    metadata(root);
    sparse(&root.join("sparse"), 3_000_000);
    fifo(&root.join("fifo"));
    mknodat(CWD, root.join("talk.sock"), FileType::Socket, Mode::from_raw_mode(0o600), 0).expect("a socket");
    if crate::is_root() {
        powers(root);
    }
    // Directory times last: creating entries moves them.
    set_mtime(&root.join("a/b"), 1_000_000_000, 123_456_789);
    set_mtime(&root.join("empty directory"), -5, 1);
}

/// Makes a FIFO.
pub fn fifo(at: &Path) {
    mknodat(CWD, at, FileType::Fifo, Mode::from_raw_mode(0o620), 0).expect("a FIFO");
}

fn hostile_bytes(root: &Path) {
    let long = [b'n'; 255];
    for name in [&b"invalid \xff\xfe utf-8"[..], &long, b"\x01\x7f", b"caf\xe9", "caf\u{e9}".as_bytes()] {
        fs::write(root.join(OsStr::from_bytes(name)), name).expect("a hostile name");
    }
}

fn metadata(root: &Path) {
    let chmod =
        |name: &str, mode: u32| fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).expect("chmod");
    fs::write(root.join("setuid"), "#!/bin/true").expect("a file");
    fs::write(root.join("no mode"), "nobody may read this").expect("a file");
    fs::create_dir(root.join("sticky")).expect("a directory");
    chmod("setuid", 0o6755);
    chmod("sticky", 0o1777);
    chmod("no mode", 0o000);
    set_mtime(&root.join("small"), -86_400 * 365, 999_999_999);
    let set = |name: &str, attribute: &str, value: &[u8]| {
        lsetxattr(root.join(name), attribute, value, XattrFlags::empty())
            .unwrap_or_else(|error| panic!("cannot set {attribute} of {name}: {error}"));
    };
    set("small", "user.fulmar", b"a value \x00 with a zero");
    set("a", "user.on a directory", b"");
    set("small", "system.posix_acl_access", &acl(1234, 6));
    set("a/b", "system.posix_acl_default", &acl(1234, 5));
}

fn powers(root: &Path) {
    mknodat(CWD, root.join("null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), rustix::fs::makedev(1, 3))
        .expect("null");
    mknodat(CWD, root.join("block"), FileType::BlockDevice, Mode::from_raw_mode(0o600), rustix::fs::makedev(7, 200))
        .expect("block");
    fs::write(root.join("capable"), "may ping").expect("a file");
    lchown(root.join("capable"), Some(1234), Some(4321)).expect("chown");
    lchown(root.join("link"), Some(1), Some(2)).expect("chown of a link");
    lsetxattr(root.join("capable"), "security.capability", &capability(13), XattrFlags::empty()).expect("capability");
    lsetxattr(root.join("capable"), "trusted.fulmar", b"root only", XattrFlags::empty()).expect("trusted");
}

/// The kernel's form of an ACL: owner rwx, one named user, group r-x, mask rwx, others nothing.
pub fn acl(user: u32, permissions: u16) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in
        [(1u16, 7u16, NOBODY), (2, permissions, user), (4, 5, NOBODY), (0x10, 7, NOBODY), (0x20, 0, NOBODY)]
    {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// The kernel's form (revision 2) of one permitted and effective file capability.
pub fn capability(number: u32) -> Vec<u8> {
    let words = [0x0200_0001u32, 1 << number, 0, 0, 0];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A file of `len` bytes with data only in three places; holes at the start, between, and at the end.
pub fn sparse(at: &Path, len: u64) {
    let file = fs::File::create(at).expect("a sparse file");
    file.set_len(len).expect("a length");
    for third in 1..4 {
        file.write_all_at(b"an island of data", len * third / 5).expect("an island");
    }
}

/// Sets the modification time, of a link itself too; `seconds` may be before 1970.
pub fn set_mtime(at: &Path, seconds: i64, nanoseconds: u32) {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, at, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .unwrap_or_else(|error| panic!("cannot set the time of {at:?}: {error}"));
}

/// A fixed moment, for files whose time must be the same in two trees.
pub fn some_moment() -> std::time::SystemTime {
    UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789)
}

/// `cp -a` with everything: what an administrator did before fulmar came.
pub fn copy(from: &Path, to: &Path) {
    let status =
        std::process::Command::new("cp").arg("-a").arg("--").arg(from).arg(to).status().expect("cp can be run");
    assert!(status.success(), "cp -a {from:?} {to:?}: {status}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_survives_a_copy_by_rsync() {
        if !crate::need("rsync") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        everything(&a);
        let copied = std::process::Command::new("rsync")
            .args(["-aHAXS", "--numeric-ids", "--modify-window=-1", "--exclude=*.sock"])
            .arg(a.join("."))
            .arg(&b)
            .status();
        assert!(copied.unwrap().success());
        crate::oracle::assert_equal(&a, &b);
        assert!(crate::oracle::paths(&a).len() > 30);
    }
}
