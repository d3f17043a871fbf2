//! Where files are built under numbered names until one rename publishes them.
//!
//! What the kernel gives to one new file in a directory (its owner, the mode that is left of the one asked for, attributes that are
//! handed down) it gives to the next one there, too. So it is looked at once a directory, not once a file.

use crate::staged::{Made, Staged, StagedFile};
use crate::xattr::{self, Via};
use crate::{Dir, Error, Result, error, sys};
use fulmar_model::{Device, Kind, Name, Stat};
use rustix::fs::{FileType, Mode, OFlags};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The mode of a file that is for its owner alone.
pub const PRIVATE_FILE: u16 = 0o600;
/// Permissions without set-id bits, which a write would take away.
const PLAIN_BITS: u16 = 0o777;

/// Hands out staged things; shared by threads.
#[derive(Debug)]
pub struct Stage {
    dir: Arc<Dir>,
    home: Arc<Home>,
    next: AtomicU64,
}

/// What is known of a directory in which things are built.
#[derive(Debug, Default)]
pub(crate) struct Home {
    /// Its inode, where it becomes visible itself.
    pub(crate) inode: Option<u64>,
    /// The first file that was made here, and the mode that was asked for; `None` where it was given attributes to replicate.
    first: OnceLock<Option<(Newborn, u16)>>,
}

impl Home {
    /// One that becomes visible with what is in it.
    pub(crate) fn that_comes_along(inode: u64) -> Self {
        Self { inode: Some(inode), first: OnceLock::new() }
    }
}

/// A new, empty file without replicated attributes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newborn {
    /// Where that is known.
    pub(crate) mode: Option<u16>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Where a file was made, with which mode asked for.
#[derive(Debug)]
pub(crate) struct Birth {
    pub(crate) home: Arc<Home>,
    pub(crate) asked: u16,
}

impl Birth {
    /// What it was when it was made, where another one was looked at.
    pub(crate) fn newborn(&self) -> Option<Newborn> {
        let (first, asked) = (*self.home.first.get()?)?;
        Some(Newborn { mode: first.mode.filter(|_| asked == self.asked), ..first })
    }

    /// The first one is looked at: nobody has given it anything yet.
    pub(crate) fn learn(&self, stat: &Stat, via: &Via<'_>) {
        self.home.first.get_or_init(|| {
            let is_plain = xattr::read_plain(via).is_ok_and(|given| given.is_empty());
            is_plain.then_some((Newborn { mode: Some(stat.mode), uid: stat.uid, gid: stat.gid }, self.asked))
        });
    }
}

impl Stage {
    /// `first`: from this number on names in `dir` are free.
    pub(crate) fn new(dir: Dir, first: u64) -> Self {
        Self { dir: Arc::new(dir), home: Arc::default(), next: AtomicU64::new(first) }
    }

    /// An empty file. `mode`: the one it will have, as far as a file can be made with it.
    pub fn file(&self, mode: u16) -> Result<StagedFile> {
        self.site().file(mode)
    }

    /// An empty directory, for its owner alone.
    pub fn directory(&self) -> Result<Staged> {
        self.site().directory()
    }

    /// A symlink to `target`.
    pub fn symlink(&self, target: &[u8]) -> Result<Staged> {
        self.site().symlink(target)
    }

    /// A FIFO (`node` is ignored) or a device node.
    pub fn special(&self, kind: Kind, node: Device) -> Result<Staged> {
        self.site().special(kind, node)
    }

    /// Another name for the inode of `name` in `dir`, a symlink not followed. RACE: the name may have become another inode
    /// since the caller looked; what counts is [`Staged::stat`].
    pub fn link(&self, dir: &Dir, name: &Name) -> Result<Staged> {
        let new = self.next_name();
        dir.link_to(name, &self.dir, &new)?;
        Site(&self.dir, &self.home, new).open(sys::PLACE, Made::Link)
    }

    fn site(&self) -> Site<'_> {
        Site(&self.dir, &self.home, self.next_name())
    }

    fn next_name(&self) -> Name {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Name::parse(number.to_string().as_bytes()).expect("digits are a name")
    }
}

/// A name that is free, and the directory it is in.
pub(crate) struct Site<'a>(pub(crate) &'a Arc<Dir>, pub(crate) &'a Arc<Home>, pub(crate) Name);

impl Site<'_> {
    pub(crate) fn file(self, mode: u16) -> Result<StagedFile> {
        let Self(dir, home, name) = self;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        // Without privileges attributes are set by who may read and write.
        let asked = if mode & PRIVATE_FILE == PRIVATE_FILE { mode & PLAIN_BITS } else { PRIVATE_FILE };
        let fd = sys::create(dir.fd.as_fd(), name.as_bytes(), flags, Mode::from_raw_mode(asked.into()))
            .map_err(|source| Error::Create { path: dir.at(&name), source })?;
        let birth = Birth { home: home.clone(), asked };
        Ok(StagedFile::new(dir.clone(), name, fd, Made::File, Some(birth)))
    }

    pub(crate) fn directory(self) -> Result<Staged> {
        self.0.make_dir(&self.2, 0o700)?;
        self.open(sys::DIRECTORY, Made::Directory)
    }

    pub(crate) fn symlink(self, target: &[u8]) -> Result<Staged> {
        rustix::fs::symlinkat(target, &self.0.fd, self.2.as_bytes())
            .map_err(|source| Error::Create { path: self.0.at(&self.2), source })?;
        self.open(sys::PLACE, Made::Node)
    }

    pub(crate) fn special(self, kind: Kind, node: Device) -> Result<Staged> {
        let Self(dir, _, name) = &self;
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
        let Self(dir, _, name) = self;
        let fd = sys::open(dir.fd.as_fd(), name.as_bytes(), flags).map_err(error::open(dir.at(&name)))?;
        Ok(Staged::new(dir.clone(), name, fd, made))
    }
}
