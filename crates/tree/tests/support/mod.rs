//! Trees for tests, and short ways to name what is in them.

#![allow(dead_code, reason = "every test file includes this and uses a part of it")]

use fulmar_model::{Kind, Name, RelPath, Stat, Timestamp, Xattrs};
use fulmar_tree::{Dir, Metadata, Tree};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub struct Fixture {
    held: tempfile::TempDir,
    pub tree: Tree,
}

impl Fixture {
    pub fn new() -> Self {
        Self::in_dir(&std::env::temp_dir())
    }

    /// On a tmpfs.
    pub fn in_memory() -> Self {
        Self::in_dir(Path::new("/dev/shm"))
    }

    fn in_dir(parent: &Path) -> Self {
        let held = tempfile::tempdir_in(parent).expect("a temporary directory");
        std::fs::create_dir(held.path().join("root")).expect("a root");
        let tree = Tree::open(&held.path().join("root")).expect("the root opens");
        Self { held, tree }
    }

    /// Outside the tree.
    pub fn outside(&self) -> &Path {
        self.held.path()
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.held.path().join("root").join(below)
    }

    pub fn file(&self, below: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(below);
        std::fs::create_dir_all(path.parent().expect("not the root")).expect("directories");
        std::fs::write(path, content).expect("a file");
        self
    }

    pub fn mkdir(&self, below: &str) -> &Self {
        std::fs::create_dir_all(self.path(below)).expect("directories");
        self
    }

    pub fn root(&self) -> &Dir {
        self.tree.root()
    }
}

pub fn name(text: impl AsRef<[u8]>) -> Name {
    Name::parse(text.as_ref()).expect("a name")
}

pub fn rel(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

pub fn xattrs(pairs: &[(&str, &[u8])]) -> Xattrs {
    Xattrs::new(pairs.iter().map(|(name, value)| (name.as_bytes().into(), (*value).into())).collect())
}

/// An ACL in the kernel's form: version 2, then tag, permissions and id of each entry.
/// user::rw- user:1001:rw- group::r-- mask::rw- other::---
pub const ACL: &[u8] = &[
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 6, 0, 0xe9, 3, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 6, 0,
    255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
];

/// The metadata that `stat` shows, without attributes.
pub fn metadata_of(stat: &Stat) -> Metadata {
    Metadata { mode: stat.mode, uid: stat.uid, gid: stat.gid, mtime: stat.mtime, xattrs: Xattrs::default() }
}

pub fn long_ago() -> Timestamp {
    Timestamp::new(1_000_000_000, 123_456_789)
}

pub fn stat_of(dir: &Dir, of: &str) -> Stat {
    dir.stat(&name(of)).expect("it can be looked at").expect("it is there")
}

/// Every path below, relative, sorted, found by the standard library.
pub fn everything(root: &Path) -> Vec<String> {
    let (mut found, mut pending) = (Vec::new(), vec![root.to_owned()]);
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).expect("a directory") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_dir() {
                pending.push(entry.path());
            }
            let path = entry.path();
            let below = path.strip_prefix(root).expect("below the root").as_os_str().as_bytes().to_vec();
            found.push(String::from_utf8_lossy(&below).into_owned());
        }
    }
    found.sort();
    found
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn is_dir(stat: &Stat) -> bool {
    stat.kind == Kind::Directory
}

/// Runs on a thread that is user 12345 and has no capability. Credentials belong to threads; libc's wrappers, which would
/// change all threads of the process, are not used.
pub fn unprivileged<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    use rustix::thread::{set_thread_gid, set_thread_uid};
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (uid, gid) = (rustix::fs::Uid::from_raw(12345), rustix::fs::Gid::from_raw(12345));
            set_thread_gid(gid).expect("another group");
            set_thread_uid(uid).expect("another user");
            work()
        });
        thread.join().expect("the thread ends well")
    })
}
