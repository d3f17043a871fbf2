//! Where files are built under numbered names until one rename publishes them.

use crate::staged::{Made, Staged, StagedFile};
use crate::{Dir, Error, Result, error, sys};
use fulmar_model::{Device, Kind, Name};
use rustix::fs::{FileType, Mode, OFlags};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Hands out staged things; shared by threads.
#[derive(Debug)]
pub struct Stage {
    dir: Arc<Dir>,
    next: AtomicU64,
}

impl Stage {
    /// `first`: from this number on names in `dir` are free.
    pub(crate) fn new(dir: Dir, first: u64) -> Self {
        Self { dir: Arc::new(dir), next: AtomicU64::new(first) }
    }

    /// An empty file, for its owner alone.
    pub fn file(&self) -> Result<StagedFile> {
        Site(&self.dir, self.next_name()).file()
    }

    /// An empty directory, for its owner alone.
    pub fn directory(&self) -> Result<Staged> {
        Site(&self.dir, self.next_name()).directory()
    }

    /// A symlink to `target`.
    pub fn symlink(&self, target: &[u8]) -> Result<Staged> {
        Site(&self.dir, self.next_name()).symlink(target)
    }

    /// A FIFO (`node` is ignored) or a device node.
    pub fn special(&self, kind: Kind, node: Device) -> Result<Staged> {
        Site(&self.dir, self.next_name()).special(kind, node)
    }

    /// Another name for the inode of `name` in `dir`, a symlink not followed. RACE: the name may have become another inode
    /// since the caller looked; what counts is [`Staged::stat`].
    pub fn link(&self, dir: &Dir, name: &Name) -> Result<Staged> {
        let new = self.next_name();
        dir.link_to(name, &self.dir, &new)?;
        Site(&self.dir, new).open(sys::PLACE, Made::Link)
    }

    fn next_name(&self) -> Name {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Name::parse(number.to_string().as_bytes()).expect("digits are a name")
    }
}

/// A name that is free, and the directory it is in.
pub(crate) struct Site<'a>(pub(crate) &'a Arc<Dir>, pub(crate) Name);

impl Site<'_> {
    pub(crate) fn file(self) -> Result<StagedFile> {
        let Self(dir, name) = self;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let fd = sys::create(dir.fd.as_fd(), name.as_bytes(), flags, Mode::RUSR | Mode::WUSR)
            .map_err(|source| Error::Create { path: dir.at(&name), source })?;
        Ok(StagedFile::new(dir.clone(), name, fd, Made::File))
    }

    pub(crate) fn directory(self) -> Result<Staged> {
        self.0.make_dir(&self.1, 0o700)?;
        self.open(sys::DIRECTORY, Made::Directory)
    }

    pub(crate) fn symlink(self, target: &[u8]) -> Result<Staged> {
        rustix::fs::symlinkat(target, &self.0.fd, self.1.as_bytes())
            .map_err(|source| Error::Create { path: self.0.at(&self.1), source })?;
        self.open(sys::PLACE, Made::Node)
    }

    pub(crate) fn special(self, kind: Kind, node: Device) -> Result<Staged> {
        let Self(dir, name) = &self;
        let (file_type, node) = match kind {
            Kind::Fifo => (FileType::Fifo, 0),
            Kind::CharDevice => (FileType::CharacterDevice, rustix::fs::makedev(node.major, node.minor)),
            Kind::BlockDevice => (FileType::BlockDevice, rustix::fs::makedev(node.major, node.minor)),
            Kind::File | Kind::Directory | Kind::Symlink | Kind::Socket => {
                return Err(Error::NotSpecial { path: dir.at(name), kind });
            }
        };
        rustix::fs::mknodat(&dir.fd, name.as_bytes(), file_type, Mode::RUSR | Mode::WUSR, node)
            .map_err(|source| Error::Create { path: dir.at(name), source })?;
        self.open(sys::PLACE, Made::Node)
    }

    fn open(self, flags: OFlags, made: Made) -> Result<Staged> {
        let Self(dir, name) = self;
        let fd = sys::open(dir.fd.as_fd(), name.as_bytes(), flags).map_err(error::open(dir.at(&name)))?;
        Ok(Staged::new(dir.clone(), name, fd, made))
    }
}
