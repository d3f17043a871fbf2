//! What can fail, named after the act. Every path is relative to the root of the tree unless it is a `PathBuf`.

use fulmar_model::{Escaped, Kind, RelPath, escape};
use rustix::io::Errno;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A system call that failed, or an answer that cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant means; the fields are what it prints")]
pub enum Error {
    #[error("cannot open the root directory {}", shown(.path))]
    OpenRoot { path: PathBuf, source: Errno },
    #[error(
        "openat2 is refused by this kernel or sandbox; fulmar needs Linux 5.6 and a seccomp profile that allows it"
    )]
    ConfinementUnavailable { source: Errno },
    #[error("/proc is not mounted; fulmar needs /proc/self/fd to reach metadata through open handles")]
    ProcUnavailable { source: Errno },
    #[error("cannot open directory {path}")]
    OpenDirectory { path: RelPath, source: Errno },
    #[error("{path} is beyond a mount point")]
    CrossesMount { path: RelPath },
    #[error("cannot open {path}")]
    Open { path: RelPath, source: Errno },
    #[error("{path} is a {}, not a file", kind.word())]
    NotAFile { path: RelPath, kind: Kind },
    #[error("{path} was replaced while fulmar worked on it")]
    Replaced { path: RelPath },
    #[error("cannot look at {path}")]
    Stat { path: RelPath, source: Errno },
    #[error("{path} has file type {file_type:#o}, which no Linux file has")]
    UnknownKind { path: RelPath, file_type: u16 },
    #[error("cannot look at the directories above the root {}", shown(.path))]
    Ancestors { path: PathBuf, source: Errno },
    #[error("cannot list directory {path}")]
    List { path: RelPath, source: Errno },
    #[error("directory {path} holds a name that cannot be replicated: {}", escape(.name))]
    UnusableName { path: RelPath, name: Box<[u8]> },
    #[error("directory {path} holds a name whose path is longer than can be replicated")]
    PathTooLong { path: RelPath },
    #[error("cannot read symlink {path}")]
    ReadLink { path: RelPath, source: Errno },
    #[error("cannot list extended attributes of {path}")]
    ListXattrs { path: RelPath, source: Errno },
    #[error("cannot read extended attribute {} of {path}", escape(.name))]
    ReadXattr { path: RelPath, name: Box<[u8]>, source: Errno },
    #[error("cannot set extended attribute {} of {path}", escape(.name))]
    SetXattr { path: RelPath, name: Box<[u8]>, source: Errno },
    #[error("cannot remove extended attribute {} of {path}", escape(.name))]
    RemoveXattr { path: RelPath, name: Box<[u8]>, source: Errno },
    #[error("cannot give {path} to {uid}:{gid}")]
    SetOwner { path: RelPath, uid: u32, gid: u32, source: Errno },
    #[error("cannot set mode {mode:04o} of {path}")]
    SetMode { path: RelPath, mode: u16, source: Errno },
    #[error("cannot set modification time of {path}")]
    SetTimes { path: RelPath, source: Errno },
    #[error("cannot read {path}")]
    Read { path: RelPath, source: Errno },
    #[error("cannot create {path}")]
    Create { path: RelPath, source: Errno },
    #[error("cannot create {path}: a {} is not made this way", kind.word())]
    NotSpecial { path: RelPath, kind: Kind },
    #[error("cannot write {path}")]
    Write { path: RelPath, source: Errno },
    #[error("content of {path} arrived out of order: byte {offset} after byte {written}")]
    OutOfOrder { path: RelPath, offset: u64, written: u64 },
    #[error("cannot share the content of {path}")]
    Clone { path: RelPath, source: Errno },
    #[error("cannot remove {path}")]
    Remove { path: RelPath, source: Errno },
    #[error("cannot rename {from} to {to}")]
    Rename { from: RelPath, to: RelPath, source: Errno },
    #[error("cannot link {to} to {from}")]
    Link { from: RelPath, to: RelPath, source: Errno },
    #[error("cannot make {path} durable")]
    Sync { path: RelPath, source: Errno },
    #[error(
        "private directory {path} belongs to user {uid} with mode {mode:04o}; it must be ours and writable by nobody else"
    )]
    PrivateExposed { path: RelPath, uid: u32, mode: u16 },
    #[error("the reading of the tree was ended")]
    Stopped,
    #[error("cannot lock {}", shown(.path))]
    Lock { path: PathBuf, source: Errno },
    #[error("{} is locked by process {}", shown(.path), escape(.holder.as_bytes()))]
    Locked { path: PathBuf, holder: String },
}

fn shown(path: &Path) -> Escaped<'_> {
    escape(path.as_os_str().as_bytes())
}

impl Error {
    /// The kernel's error number; where fulmar itself refused, the number that comes closest.
    pub fn errno(&self) -> i32 {
        let source = std::error::Error::source(self).and_then(|source| source.downcast_ref::<Errno>());
        let number = source.copied().unwrap_or(match self {
            Self::CrossesMount { .. } => Errno::XDEV,
            Self::Locked { .. } => Errno::WOULDBLOCK,
            Self::NotAFile { .. } | Self::Replaced { .. } => Errno::STALE,
            Self::PrivateExposed { .. } => Errno::PERM,
            Self::PathTooLong { .. } => Errno::NAMETOOLONG,
            Self::UnknownKind { .. } | Self::UnusableName { .. } => Errno::IO,
            _ => Errno::INVAL,
        });
        number.raw_os_error()
    }

    /// Whether what was asked for is no longer there, or a part of its path is something else by now. Never true for
    /// the root itself or for `/proc`, whose absence says nothing of a path in the tree.
    pub fn is_gone(&self) -> bool {
        let about_a_path = !matches!(
            self,
            Self::OpenRoot { .. }
                | Self::ProcUnavailable { .. }
                | Self::ConfinementUnavailable { .. }
                | Self::Lock { .. }
        );
        // ENXIO: a file whose place a socket has taken.
        let gone = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::STALE, Errno::NXIO].map(Errno::raw_os_error);
        about_a_path && gone.contains(&self.errno())
    }
}

/// Turns the errno of opening `path` as a directory into an error. `openat2` answers EXDEV both for a mount point and
/// for an escape from the tree; a `RelPath` cannot express an escape, and what is moved away meanwhile is asked for again, so
/// it is a mount point.
pub(crate) fn open_directory(path: RelPath) -> impl FnOnce(Errno) -> Error {
    move |source| match source {
        Errno::XDEV => Error::CrossesMount { path },
        source => Error::OpenDirectory { path, source },
    }
}

/// The same for anything else than a directory.
pub(crate) fn open(path: RelPath) -> impl FnOnce(Errno) -> Error {
    move |source| match source {
        Errno::XDEV => Error::CrossesMount { path },
        source => Error::Open { path, source },
    }
}
