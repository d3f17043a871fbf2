//! One directory, held open: what is in it is named by single names, so that nothing that happens above can divert a call.

use crate::{Error, Metadata, Ownership, Reader, Result, error, sys};
use crate::{metadata, xattr};
use fulmar_model::{Kind, Name, RelPath, RootId, Stat, Xattrs};
use rustix::fs::{AtFlags, Mode, RenameFlags, StatxFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    pub(crate) fd: OwnedFd,
    path: RelPath,
}

/// Whether a rename may replace what has the new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// What is there goes.
    Yes,
    /// What is there makes the rename fail with EEXIST.
    No,
    /// Both names change places.
    Exchange,
}

impl Dir {
    /// Takes over a handle. The path is for messages only.
    pub(crate) fn held(fd: OwnedFd, path: RelPath) -> Self {
        Self { fd, path }
    }

    /// Where it was when it was opened, relative to the root of its tree. For messages; it may have been renamed since.
    pub fn path(&self) -> &RelPath {
        &self.path
    }

    pub(crate) fn at(&self, name: &Name) -> RelPath {
        self.path.join(name)
    }

    /// Opens a directory in this one.
    pub fn dir(&self, name: &Name) -> Result<Self> {
        let path = self.at(name);
        match sys::open(self.fd.as_fd(), name.as_bytes(), sys::DIRECTORY) {
            Ok(fd) => Ok(Self { fd, path }),
            Err(source) => Err(error::open_directory(path)(source)),
        }
    }

    /// Looks at the directory itself.
    pub fn stat_self(&self) -> Result<Stat> {
        sys::stat_handle(self.fd.as_fd(), &self.path)
    }

    /// Looks at a name, not following a symlink; `None` when there is no such name.
    pub fn stat(&self, name: &Name) -> Result<Option<Stat>> {
        match sys::statx(self.fd.as_fd(), name.as_bytes(), StatxFlags::BASIC_STATS) {
            Ok(found) => sys::to_stat(&found, &self.at(name)).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(source) => Err(Error::Stat { path: self.at(name), source }),
        }
    }

    /// Which directory it is, across renames and (where the file system keeps birth times) reboots.
    pub fn identity(&self) -> Result<RootId> {
        let found = sys::statx(self.fd.as_fd(), b"", StatxFlags::BASIC_STATS | StatxFlags::BTIME);
        found.map(|found| sys::to_identity(&found)).map_err(|source| Error::Stat { path: self.path.clone(), source })
    }

    /// Where a symlink points, as stored.
    pub fn read_link(&self, name: &Name) -> Result<Box<[u8]>> {
        let target = rustix::fs::readlinkat(&self.fd, name.as_bytes(), Vec::new());
        match target {
            Ok(target) => Ok(target.into_bytes().into()),
            // What is no symlink by now: it was replaced.
            Err(Errno::INVAL) => Err(Error::Replaced { path: self.at(name) }),
            Err(source) => Err(Error::ReadLink { path: self.at(name), source }),
        }
    }

    /// The replicated attributes of a name, not following a symlink. Empty for a socket, which is not replicated.
    pub fn xattrs(&self, name: &Name, kind: Kind) -> Result<Xattrs> {
        if kind == Kind::Socket {
            return Ok(Xattrs::default());
        }
        xattr::read(&xattr::Via::name(self.fd.as_fd(), name), &|| self.at(name))
    }

    /// The replicated attributes of the directory itself.
    pub fn xattrs_self(&self) -> Result<Xattrs> {
        xattr::read(&xattr::Via::Open(self.fd.as_fd()), &|| self.path.clone())
    }

    /// Opens a regular file for reading, without moving its access time where that is permitted.
    pub fn open_file(&self, name: &Name) -> Result<Reader> {
        let path = self.at(name);
        match sys::open_to_read(self.fd.as_fd(), name.as_bytes()) {
            Ok(fd) => Reader::held(fd, path),
            Err(source) => Err(error::open(path)(source)),
        }
    }

    /// Gives what `now` describes the metadata wanted. Fails with `Replaced` when the name is another inode by now.
    pub fn set_metadata(&self, name: &Name, now: &Stat, wanted: &Metadata, ownership: Ownership) -> Result<()> {
        let path = self.at(name);
        let handle = sys::open(self.fd.as_fd(), name.as_bytes(), sys::PLACE).map_err(error::open(path.clone()))?;
        let found = sys::stat_handle(handle.as_fd(), &path)?;
        if (found.inode, found.kind) != (now.inode, now.kind) {
            return Err(Error::Replaced { path });
        }
        metadata::apply(sys::Handle::Place(handle.as_fd()), &path, found, wanted, ownership)
    }

    /// The same for the directory itself. Fails with `Replaced` when it is not the one that `now` describes.
    pub fn set_metadata_self(&self, now: &Stat, wanted: &Metadata, ownership: Ownership) -> Result<()> {
        let found = self.stat_self()?;
        if (found.inode, found.kind) != (now.inode, now.kind) {
            return Err(Error::Replaced { path: self.path.clone() });
        }
        metadata::apply(sys::Handle::Open(self.fd.as_fd()), &self.path, found, wanted, ownership)
    }

    /// Removes a name; a directory must be empty. That it is gone already is fine.
    pub fn remove(&self, name: &Name, kind: Kind) -> Result<()> {
        let flags = if kind == Kind::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(&self.fd, name.as_bytes(), flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(Error::Remove { path: self.at(name), source }),
        }
    }

    /// Renames `name` to `to_name` in `to`. When both are names of one inode the kernel does nothing and leaves both.
    pub fn rename_to(&self, name: &Name, to: &Self, to_name: &Name, replace: Replace) -> Result<()> {
        let flags = match replace {
            Replace::Yes => RenameFlags::empty(),
            Replace::No => RenameFlags::NOREPLACE,
            Replace::Exchange => RenameFlags::EXCHANGE,
        };
        rustix::fs::renameat_with(&self.fd, name.as_bytes(), &to.fd, to_name.as_bytes(), flags)
            .map_err(|source| Error::Rename { from: self.at(name), to: to.at(to_name), source })
    }

    /// Makes a directory with `mode` less the process's umask.
    pub fn make_dir(&self, name: &Name, mode: u16) -> Result<()> {
        rustix::fs::mkdirat(&self.fd, name.as_bytes(), Mode::from_raw_mode(u32::from(mode & 0o7777)))
            .map_err(|source| Error::Create { path: self.at(name), source })
    }

    /// Gives the inode of `name` (a symlink itself, not what it points to) another name.
    pub fn link_to(&self, name: &Name, to: &Self, to_name: &Name) -> Result<()> {
        rustix::fs::linkat(&self.fd, name.as_bytes(), &to.fd, to_name.as_bytes(), AtFlags::empty())
            .map_err(|source| Error::Link { from: self.at(name), to: to.at(to_name), source })
    }

    /// Makes the directory's names durable.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::fsync(&self.fd).map_err(|source| Error::Sync { path: self.path.clone(), source })
    }
}
