//! The opened root of a tree: from here on the path that led to it means nothing.

use crate::{Dir, Error, Result, clock, error, sys};
use fulmar_model::{Device, RelPath, RootId, Stat, Timestamp};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An opened root directory. Clones share the handle, which stays on this directory even when the path leads elsewhere.
#[derive(Clone, Debug)]
pub struct Tree(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    root: Dir,
    path: PathBuf,
    id: RootId,
    multigrain: bool,
}

/// Directories above a root; more than this is a loop.
const ANCESTORS_MAX: usize = 8192;

impl Tree {
    /// Opens `root`, which may be reached through symlinks and must be a directory. Fails at once where the kernel or a
    /// sandbox lacks what confinement rests on.
    pub fn open(root: &Path) -> Result<Self> {
        let handle = rustix::fs::open(root, sys::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|source| Error::OpenRoot { path: root.into(), source })?;
        sys::open(handle.as_fd(), b".", sys::PLACE).map_err(|source| Error::ConfinementUnavailable { source })?;
        rustix::fs::statx(CWD, sys::proc_path(handle.as_fd()), AtFlags::empty(), StatxFlags::INO)
            .map_err(|source| Error::ProcUnavailable { source })?;
        let multigrain = clock::has_multigrain_times(handle.as_fd());
        let root_dir = Dir::held(handle, RelPath::root());
        let id = root_dir.identity()?;
        Ok(Self(Arc::new(Opened { root: root_dir, path: root.into(), id, multigrain })))
    }

    /// Which directory was opened.
    pub fn id(&self) -> RootId {
        self.0.id
    }

    /// The path it was opened by, for messages.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The root itself.
    pub fn root(&self) -> &Dir {
        &self.0.root
    }

    /// The device of the root: a directory with another one is a mount point (or another subvolume).
    pub fn device(&self) -> Device {
        self.0.id.device
    }

    /// Opens the directory at `path`, however deep.
    pub fn dir(&self, path: &RelPath) -> Result<Dir> {
        self.root().below(path)
    }

    /// Looks at `path`; `None` when it, or a directory above it, is not there (or is a symlink or file by now).
    pub fn stat(&self, path: &RelPath) -> Result<Option<Stat>> {
        let Some((parent, name)) = path.split() else { return self.root().stat_self().map(Some) };
        match self.root().place_below(&parent) {
            Ok(parent) => parent.stat(&name),
            Err(gone) if gone.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The identities of the root and of every directory above it, up to "/".
    pub fn ancestors(&self) -> Result<Vec<RootId>> {
        self.find_ancestors().map_err(|source| Error::Ancestors { path: self.0.path.clone(), source })
    }

    fn find_ancestors(&self) -> std::result::Result<Vec<RootId>, Errno> {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID;
        let mut at: OwnedFd = rustix::io::fcntl_dupfd_cloexec(&self.root().fd, 0)?;
        let mut here = sys::statx(at.as_fd(), b"", wanted)?;
        let mut all = vec![sys::to_identity(&here)];
        while all.len() < ANCESTORS_MAX {
            // The only ".." in this crate. It leads out of the tree on purpose, and nothing is opened for reading there.
            at = rustix::fs::openat(&at, c"..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            let above = sys::statx(at.as_fd(), b"", wanted)?;
            let identity = sys::to_identity(&above);
            // "/" is its own parent. The mount is compared as well: the root of a bind mount can be the inode above it.
            if all.last() == Some(&identity) && above.stx_mnt_id == here.stx_mnt_id {
                return Ok(all);
            }
            all.push(identity);
            here = above;
        }
        Err(Errno::LOOP)
    }

    /// Makes everything written to the file system durable, by a handle held since `open`: the kernel reports a failed
    /// write-back once to each handle that was open when it happened, so none since then can go unnoticed.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(&self.root().fd).map_err(|source| Error::Sync { path: RelPath::root(), source })
    }

    /// Whether a change that follows a look always gets a later ctime on this file system.
    pub fn multigrain(&self) -> bool {
        self.0.multigrain
    }

    /// Whether an equal ctime will prove that nothing changed since `stat` was taken, at `read_began` (see
    /// [`crate::Clock`]) or later: either the clock had left the tick of the ctime by then, or there are no ticks.
    pub fn is_settled(&self, stat: &Stat, read_began: Timestamp) -> bool {
        self.0.multigrain || stat.ctime < read_began
    }
}

/// Looks at `root` again by its path. `None` when nothing is there, or no directory.
pub fn identify(root: &Path) -> Result<Option<RootId>> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    match rustix::fs::statx(CWD, root, AtFlags::empty(), wanted) {
        Ok(found) if sys::kind(found.stx_mode) == Some(fulmar_model::Kind::Directory) => {
            Ok(Some(sys::to_identity(&found)))
        }
        Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(source) => Err(Error::OpenRoot { path: root.into(), source }),
    }
}

impl Dir {
    /// Opens the directory at `path` below this one.
    pub(crate) fn below(&self, path: &RelPath) -> Result<Self> {
        self.resolve(path, sys::DIRECTORY)
    }

    /// As `below`, but good only for looking at and opening what is in it: needs no permission to list.
    fn place_below(&self, path: &RelPath) -> Result<Self> {
        self.resolve(path, sys::PLACE | OFlags::DIRECTORY)
    }

    /// RACE: a path longer than `PATH_MAX` is resolved in pieces. Who can rename the directory between two pieces to a
    /// place outside the tree makes us look there, and could have moved all below it there as well.
    fn resolve(&self, path: &RelPath, flags: OFlags) -> Result<Self> {
        let (mut piece, mut rest) = first_piece(path.as_bytes());
        let mut held: Option<OwnedFd> = None;
        let whole = self.path_of(path);
        loop {
            let from = held.as_ref().map_or(self.fd.as_fd(), AsFd::as_fd);
            let flags = if rest.is_empty() { flags } else { sys::PLACE | OFlags::DIRECTORY };
            let found = match sys::open(from, piece, flags) {
                Ok(found) => found,
                Err(source) => return Err(error::open_directory(whole)(source)),
            };
            if rest.is_empty() {
                return Ok(Self::held(found, whole));
            }
            held = Some(found);
            (piece, rest) = first_piece(rest);
        }
    }

    fn path_of(&self, below: &RelPath) -> RelPath {
        below.under(self.path())
    }
}

/// The longest path the kernel takes, without the NUL that ends it.
const PIECE_BYTES_MAX: usize = 4095;

/// As many whole names as the kernel takes at once, and what follows them. The empty path is ".".
fn first_piece(path: &[u8]) -> (&[u8], &[u8]) {
    if path.is_empty() {
        return (b".", b"");
    }
    // One byte further, because the slash that ends the piece need not be in it.
    let Some(window) = path.get(..=PIECE_BYTES_MAX) else { return (path, b"") };
    let Some(cut) = window.iter().rposition(|byte| *byte == b'/') else { return (path, b"") };
    let (piece, rest) = path.split_at(cut);
    (piece, rest.strip_prefix(b"/").unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_any_length_is_cut_between_names() {
        for length in [1, 4093, 4094, 4095, 4096, 4097, 9000] {
            let path: Vec<u8> =
                (0..length).map(|at| if at % 10 == 9 && at + 1 < length { b'/' } else { b'x' }).collect();
            let (mut rest, mut names) = (&path[..], 0);
            while !rest.is_empty() {
                let (piece, after) = first_piece(rest);
                assert!(piece.len() <= PIECE_BYTES_MAX && !piece.ends_with(b"/"), "{length}");
                names += piece.split(|b| *b == b'/').count();
                rest = after;
            }
            assert_eq!(names, path.split(|b| *b == b'/').count(), "{length}");
        }
    }
}
