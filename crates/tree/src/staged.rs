//! A thing in `stage/`: complete with content and metadata before one rename makes it visible, removed if it never is.

use crate::hash::ContentHasher;
use crate::held::{Held, is_crowded};
use crate::metadata::OWNER_MAY_WRITE;
use crate::outflow::Outflow;
use crate::partial::{leave, left_name};
use crate::private::sweep;
use crate::reader::REST_CHUNK_BYTES;
use crate::stage::{Birth, Home};
use crate::xattr::Via;
use crate::{Dir, Error, Metadata, Ownership, Reader, Replace, Result, error, metadata, sys};
use fulmar_model::{Hash, Kind, Name, RelPath, Stat};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Not visible in the tree yet.
#[derive(Debug)]
pub struct Staged {
    stage: Arc<Dir>,
    name: Name,
    /// `None`: given back, and opened again by name when it is needed.
    fd: Option<Held>,
    made: Made,
    /// Of a file that was not given any metadata yet.
    birth: Option<Birth>,
    home: Option<Arc<Home>>,
    /// Whether the name in the stage is still ours to remove.
    present: bool,
}

/// A handle that lasts at least as long as it is used.
enum Grip<'a> {
    Kept(BorrowedFd<'a>),
    Again(OwnedFd),
}

impl AsFd for Grip<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Kept(fd) => *fd,
            Self::Again(fd) => fd.as_fd(),
        }
    }
}

/// What a staged thing is, as far as syncing and publishing differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    File,
    /// A file that stays when it is not published.
    Partial,
    Directory,
    /// Symlink, FIFO, device node.
    Node,
    /// A second name of an inode in the tree.
    Link,
}

impl Staged {
    pub(crate) fn new(stage: Arc<Dir>, name: Name, fd: OwnedFd, made: Made) -> Self {
        Self { stage, name, fd: Some(Held::new(fd)), made, birth: None, home: None, present: true }
    }

    pub(crate) fn path(&self) -> RelPath {
        self.stage.at(&self.name)
    }

    /// Gives its handle back where many are held, and it can be had again. To be called when it is complete, with its final
    /// metadata. RACE: should writing its content fail and the kernel forget the inode before [`sync`](Self::sync), that is not
    /// told there; [`crate::Tree::sync`] is told.
    pub fn rest(&mut self) {
        if self.fd.is_some() && is_crowded() && self.can_be_opened() {
            self.fd = None;
        }
    }

    /// Whether its mode does not keep its owner from opening it.
    fn can_be_opened(&self) -> bool {
        let place = matches!(self.made, Made::Node | Made::Link);
        place || rustix::process::geteuid().is_root() || self.stat().is_ok_and(|stat| stat.mode & OWNER_MAY_READ != 0)
    }

    fn grip(&self) -> Result<Grip<'_>> {
        self.grip_as(match self.made {
            Made::File | Made::Partial => OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK,
            Made::Directory => sys::DIRECTORY,
            Made::Node | Made::Link => sys::PLACE,
        })
    }

    fn grip_as(&self, flags: OFlags) -> Result<Grip<'_>> {
        if let Some(held) = &self.fd {
            return Ok(Grip::Kept(held.as_fd()));
        }
        let fd = sys::open(self.stage.fd.as_fd(), self.name.as_bytes(), flags).map_err(error::open(self.path()))?;
        Ok(Grip::Again(fd))
    }

    fn handle<'a>(&self, grip: &'a Grip<'_>) -> sys::Handle<'a> {
        match self.made {
            Made::File | Made::Partial | Made::Directory => sys::Handle::Open(grip.as_fd()),
            Made::Node | Made::Link => sys::Handle::Place(grip.as_fd()),
        }
    }

    /// A handle of its own for whoever works in a staged directory.
    pub(crate) fn duplicate(&self) -> Result<OwnedFd> {
        let duplicate = rustix::io::fcntl_dupfd_cloexec(self.grip()?, 0);
        duplicate.map_err(|source| Error::OpenDirectory { path: self.path(), source })
    }

    /// The inode of the directory that a file was built in, where that one comes with it.
    pub fn home(&self) -> Option<u64> {
        self.home.as_ref()?.inode
    }

    /// Gives it its final metadata.
    pub fn set_metadata(&mut self, wanted: &Metadata, ownership: Ownership) -> Result<()> {
        let birth = self.birth.take();
        let (grip, path) = (self.grip()?, self.path());
        let handle = self.handle(&grip);
        if let Some(newborn) = birth.as_ref().and_then(Birth::newborn).filter(|_| wanted.xattrs.is_empty()) {
            return metadata::apply_to_new(handle, &path, newborn, wanted, ownership);
        }
        let now = self.stat()?;
        if let Some(birth) = birth {
            birth.learn(&now, &Via::handle(handle));
        }
        metadata::apply(handle, &path, now, wanted, ownership)
    }

    /// Looks at it before it is published.
    pub fn stat(&self) -> Result<Stat> {
        sys::stat_handle(self.grip_as(sys::PLACE)?.as_fd(), &self.path())
    }

    /// Whether there is something to be made durable before it is published. Symlinks and special files become durable with
    /// the directory they are published in, a directory when it is synced itself; the content of a link was made durable when
    /// it was written.
    pub fn needs_sync(&self) -> bool {
        matches!(self.made, Made::File | Made::Partial)
    }

    /// Begins to write out a file's content. Where several are to be synced, the first sync then finds places for the content of
    /// all of them in the journal, and commits it once.
    pub fn write_out(&self) -> Result<()> {
        if !self.needs_sync() {
            return Ok(());
        }
        sys::write_out(self.grip()?.as_fd(), 0..u64::MAX, sys::WriteOut::Begin)
            .map_err(|source| Error::Sync { path: self.path(), source })
    }

    /// Makes a file's content and metadata durable.
    pub fn sync(&self) -> Result<()> {
        if !self.needs_sync() {
            return Ok(());
        }
        rustix::fs::fsync(self.grip()?).map_err(|source| Error::Sync { path: self.path(), source })
    }

    /// Makes it visible as `name` in `dir`, replacing what is there.
    pub fn publish(self, dir: &Dir, name: &Name) -> Result<()> {
        self.rename(dir, name, Replace::Yes)
    }

    /// Makes it visible as `name` in `dir`; fails with EEXIST when something is there.
    pub fn publish_new(self, dir: &Dir, name: &Name) -> Result<()> {
        self.rename(dir, name, Replace::No)
    }

    /// It was built under its final name, in a directory that is visible by now: it stays where it is.
    pub fn settle(mut self) {
        self.present = false;
    }

    /// Swaps it with what is at `name` in `dir`, in one step, and removes what was there: for a directory that takes a file's
    /// place, or the reverse. [`Error::Replaced`] when that is not what the caller saw there, `was`: it stays.
    pub fn exchange(mut self, dir: &Dir, name: &Name, was: &Stat) -> Result<()> {
        self.rename_to(dir, name, Replace::Exchange)?;
        let there = self.stage.stat(&self.name).unwrap_or(None);
        if there.is_none_or(|there| (there.inode, there.kind) != (was.inode, was.kind)) {
            let back = self.rename_to(dir, name, Replace::Exchange);
            // Where it does not go back, the name is not ours.
            self.present = back.is_ok();
            return back.and(Err(Error::Replaced { path: dir.at(name) }));
        }
        self.has_left();
        // A file may have other names in the tree, whose link count this one must not raise. What cannot be removed here is
        // swept when the stage is next opened.
        let _ = sweep(&self.stage, &self.name);
        Ok(())
    }

    fn rename(mut self, dir: &Dir, name: &Name, replace: Replace) -> Result<()> {
        self.rename_to(dir, name, replace)?;
        // Renaming a name onto another name of the same inode succeeds and leaves both. Ours must not stay behind.
        if self.made == Made::Link {
            self.stage.remove(&self.name, Kind::File)?;
        }
        self.has_left();
        Ok(())
    }

    /// It is in its place: its name in the stage is no longer its own.
    fn has_left(&mut self) {
        self.present = false;
        if self.made == Made::Partial {
            // What an earlier attempt left is of no use any more.
            // Where it cannot be removed it only takes space, until newer ones take its place.
            let _ = self.stage.remove(&left_name(&self.name), Kind::File);
        }
    }
}

impl Staged {
    fn rename_to(&self, dir: &Dir, name: &Name, replace: Replace) -> Result<()> {
        match self.stage.rename_to(&self.name, dir, name, replace) {
            Err(denied) if self.made == Made::Directory && denied.errno() == Errno::ACCESS.raw_os_error() => {
                self.rename_read_only(dir, name, replace)
            }
            done => done,
        }
    }

    /// The kernel asks the owner of a directory for write permission in it when it moves to another parent (its ".."
    /// changes). RACE: for a moment it is visible with a mode that lets its owner write.
    fn rename_read_only(&self, dir: &Dir, name: &Name, replace: Replace) -> Result<()> {
        let (mode, grip) = (self.stat()?.mode, self.grip()?);
        metadata::set_mode(self.handle(&grip), &self.path(), mode | OWNER_MAY_WRITE)?;
        self.stage.rename_to(&self.name, dir, name, replace)?;
        metadata::set_mode(self.handle(&grip), &dir.at(name), mode)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.present && self.made == Made::Partial {
            // It stays under its own name then, and is looked after at the next start.
            let _ = leave(&self.stage, &self.name);
        } else if self.present {
            // What cannot be removed here is swept when the stage is next opened.
            let kind = if self.made == Made::Directory { Kind::Directory } else { Kind::File };
            let _ = self.stage.remove(&self.name, kind);
        }
    }
}

/// Read permission of a file's or directory's owner.
const OWNER_MAY_READ: u16 = 0o400;

/// Bytes copied from another file at a time, so that what is read back for the hash is still in the processor's cache.
const COPY_BYTES: usize = 1 << 20;

/// A file being written, from its beginning to its end.
#[derive(Debug)]
pub struct StagedFile {
    staged: Staged,
    fd: OwnedFd,
    hasher: ContentHasher,
    outflow: Outflow,
    written: u64,
}

impl StagedFile {
    pub(crate) fn new(stage: Arc<Dir>, name: Name, fd: OwnedFd, made: Made, birth: Option<Birth>) -> Self {
        let home = birth.as_ref().map(|birth| birth.home.clone());
        let staged = Staged { stage, name, fd: None, made, birth, home, present: true };
        Self { staged, fd, hasher: ContentHasher::default(), outflow: Outflow::default(), written: 0 }
    }

    /// Writes bytes at `offset`, which must not lie before the end of what was written. What is left out is a hole.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let skipped = self.skipped(offset)?;
        let (mut at, mut left) = (offset, bytes);
        while !left.is_empty() {
            let count = rustix::io::retry_on_intr(|| rustix::io::pwrite(&self.fd, left, at))
                .map_err(|source| Error::Write { path: self.staged.path(), source })?;
            left = left.get(count..).unwrap_or_default();
            at = at.saturating_add(count as u64);
        }
        // Hashed after the write has succeeded: an offset beyond what the file system stores costs no work.
        if !bytes.is_empty() {
            self.hasher.zeros(skipped);
            self.hasher.update(bytes);
            self.written = at;
            self.flow_out()?;
        }
        Ok(())
    }

    /// Copies `len` bytes from `from` on of another file to `to`, which must not lie before the end of what was written;
    /// holes stay holes. Where the file system can share blocks, it
    /// does. What is hashed is what was written, however the other file changes meanwhile; a file that shrank makes
    /// this fail.
    pub fn copy_from(&mut self, basis: &Reader, from: u64, to: u64, len: u64) -> Result<()> {
        let (mut at, end) = (from, from.saturating_add(len));
        let mut buffer = vec![0; COPY_BYTES];
        while at < end {
            let (data, hole) = basis.data_after(at, end)?;
            at = data;
            while at < hole {
                let some = usize::try_from(hole - at).unwrap_or(usize::MAX).min(COPY_BYTES);
                let place = to.saturating_add(at - from);
                let count = self.copy_some(basis, at, place, buffer.get_mut(..some).unwrap_or_default())?;
                at = at.saturating_add(count as u64);
            }
        }
        Ok(())
    }

    /// Copies at most as much as fits in the buffer, and reads it back for the hash.
    fn copy_some(&mut self, basis: &Reader, from: u64, to: u64, buffer: &mut [u8]) -> Result<usize> {
        let path = self.staged.path();
        let failed = |source| Error::Write { path: path.clone(), source };
        let (mut source_at, mut target_at) = (from, to);
        let copied = basis.copy_to(&mut source_at, &self.fd, &mut target_at, buffer.len());
        let count = match copied {
            Ok(count) => count,
            // Another file system, or one that cannot.
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                let count = basis.read_at(from, buffer)?;
                self.write_at(to, buffer.get(..count).unwrap_or_default())?;
                return if count == 0 { Err(failed(Errno::IO)) } else { Ok(count) };
            }
            Err(source) => return Err(failed(source)),
        };
        if count == 0 {
            return Err(failed(Errno::IO));
        }
        self.hasher.zeros(self.skipped(to)?);
        let mut done = 0;
        while done < count {
            let rest = buffer.get_mut(done..count).unwrap_or_default();
            let at = to.saturating_add(done as u64);
            match rustix::io::retry_on_intr(|| rustix::io::pread(&self.fd, &mut *rest, at)) {
                Ok(0) => return Err(failed(Errno::IO)),
                Ok(more) => done += more,
                Err(source) => return Err(failed(source)),
            }
        }
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        self.written = to.saturating_add(count as u64);
        self.flow_out()?;
        Ok(count)
    }

    /// Shares the content of another file of the same file system, in the place of writing it; to be called before anything is written.
    /// The kernel takes all of it at one moment, and writes out what of it is only in memory. What is hashed is what this file has
    /// then, however the other one changes.
    pub(crate) fn clone_of(mut self, source: &Reader, ended: &dyn Fn() -> bool) -> Result<(Staged, Hash)> {
        let path = self.staged.path();
        source.share_with(&self.fd)?;
        let duplicate = rustix::io::fcntl_dupfd_cloexec(&self.fd, 0);
        let duplicate = duplicate.map_err(|source| Error::Open { path: path.clone(), source })?;
        let mut clone = Reader::held(duplicate, path)?;
        while let Some(chunk) = clone.next_chunk(REST_CHUNK_BYTES)? {
            if ended() {
                return Err(Error::Stopped);
            }
            clone.reuse(chunk);
        }
        let (hash, _) = clone.finish()?;
        self.staged.fd = Some(Held::new(self.fd));
        Ok((self.staged, hash))
    }

    /// Removes it, and what an earlier attempt left: there is no room for it.
    pub fn discard(mut self) {
        if self.staged.made == Made::Partial {
            // Nothing depends on it.
            let _ = self.staged.stage.remove(&left_name(&self.staged.name), Kind::File);
            self.staged.made = Made::File;
        }
    }

    /// Sets the size, which must not lie before the end of what was written, and gives the hash of the whole.
    pub fn finish(mut self, size: u64) -> Result<(Staged, Hash)> {
        let skipped = self.skipped(size)?;
        if skipped > 0 {
            rustix::fs::ftruncate(&self.fd, size)
                .map_err(|source| Error::Write { path: self.staged.path(), source })?;
            self.hasher.zeros(skipped);
        }
        self.staged.fd = Some(Held::new(self.fd));
        Ok((self.staged, self.hasher.finish()))
    }

    fn flow_out(&mut self) -> Result<()> {
        let Some(due) = self.outflow.advance(self.written) else { return Ok(()) };
        // An error of the disk that is met here is not told again by fsync.
        sys::write_out(self.fd.as_fd(), due.wait, sys::WriteOut::Wait)
            .and_then(|()| sys::write_out(self.fd.as_fd(), due.begin, sys::WriteOut::Begin))
            .map_err(|source| Error::Write { path: self.staged.path(), source })
    }

    fn skipped(&self, offset: u64) -> Result<u64> {
        let order = || Error::OutOfOrder { path: self.staged.path(), offset, written: self.written };
        offset.checked_sub(self.written).ok_or_else(order)
    }
}
