//! Reading a file once: its content in chunks without the holes, its hash, and whether it held still meanwhile.

use crate::hash::ContentHasher;
use crate::{Error, Result, sys, xattr};
use fulmar_model::{Hash, Kind, RelPath, Stat, Xattrs};
use rustix::fs::Advice;
use std::os::fd::{AsFd, OwnedFd};

/// Files over this size are announced to the kernel as read in sequence. Smaller ones are read ahead whole anyway.
const SEQUENTIAL_FROM_BYTES: u64 = 1 << 20;

/// Chunk size when `finish` reads what the caller did not.
pub(crate) const REST_CHUNK_BYTES: usize = 256 * 1024;

/// Bytes of a file at a place. Between one chunk and the next, and after the last, there are only zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Where the bytes are in the file.
    pub offset: u64,
    /// At least one.
    pub bytes: Vec<u8>,
}

/// An open regular file, read from its beginning up to the size it had when it was opened.
#[derive(Debug)]
pub struct Reader {
    fd: OwnedFd,
    path: RelPath,
    stat: Stat,
    hasher: ContentHasher,
    /// Everything before this was hashed.
    position: u64,
    /// End of the stretch of data that `position` is in.
    data_end: u64,
    sparse: bool,
    ended: bool,
    /// For the next chunk.
    spare: Vec<u8>,
}

impl Reader {
    /// Takes over a handle; what it holds must be a regular file.
    pub(crate) fn held(fd: OwnedFd, path: RelPath) -> Result<Self> {
        let stat = sys::stat_handle(fd.as_fd(), &path)?;
        if stat.kind != Kind::File {
            return Err(Error::NotAFile { path, kind: stat.kind });
        }
        sys::outlast_write(fd.as_fd());
        if stat.size > SEQUENTIAL_FROM_BYTES {
            // Only a hint: a file system that does not take it reads correctly without.
            let _ = rustix::fs::fadvise(&fd, 0, None, Advice::Sequential);
        }
        let sparse = stat.allocated < stat.size;
        let data_end = if sparse { 0 } else { stat.size };
        let (hasher, spare) = (ContentHasher::default(), Vec::new());
        Ok(Self { fd, path, stat, hasher, position: 0, data_end, sparse, ended: false, spare })
    }

    /// As it was when it was opened.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// The next bytes, at most `max` (at least 1 is read); `None` at the end. A file that shrank ends early.
    pub fn next_chunk(&mut self, max: usize) -> Result<Option<Chunk>> {
        if !self.find_data()? {
            return Ok(None);
        }
        let left = usize::try_from(self.data_end - self.position).unwrap_or(usize::MAX);
        let (mut bytes, length) = (std::mem::take(&mut self.spare), left.min(max.max(1)));
        match bytes.capacity() {
            // Memory that is new is zero already.
            0 => bytes = vec![0; length],
            _ => bytes.resize(length, 0),
        }
        let offset = self.position;
        let length = self.read_at(offset, &mut bytes)?;
        bytes.truncate(length);
        if bytes.is_empty() {
            self.ended = true;
            return Ok(None);
        }
        self.hasher.update(&bytes);
        self.position += length as u64;
        Ok(Some(Chunk { offset, bytes }))
    }

    /// Takes a chunk back that is of no use any more: the next one is read into its memory. The kernel has to clear new memory.
    pub fn reuse(&mut self, chunk: Chunk) {
        self.spare = chunk.bytes;
    }

    /// Reads at any place, as much as is there; neither moves `next_chunk` nor counts towards the hash.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        rustix::io::retry_on_intr(|| rustix::io::pread(&self.fd, &mut *buffer, offset))
            .map_err(|source| Error::Read { path: self.path.clone(), source })
    }

    /// Where data begins at or after `from`, and where it ends; both at most `end`.
    pub(crate) fn data_after(&self, from: u64, end: u64) -> Result<(u64, u64)> {
        if !self.sparse {
            return Ok((from, end));
        }
        sys::data_after(self.fd.as_fd(), from, end).map_err(|source| Error::Read { path: self.path.clone(), source })
    }

    /// Has the kernel copy up to `count` bytes to another open file, sharing blocks where it can.
    pub(crate) fn copy_to(
        &self,
        from: &mut u64,
        to: &OwnedFd,
        at: &mut u64,
        count: usize,
    ) -> rustix::io::Result<usize> {
        rustix::io::retry_on_intr(|| rustix::fs::copy_file_range(&self.fd, Some(&mut *from), to, Some(&mut *at), count))
    }

    /// Has another open file, which is empty, share all extents.
    pub(crate) fn share_with(&self, to: &OwnedFd) -> Result<()> {
        rustix::io::retry_on_intr(|| rustix::fs::ioctl_ficlone(to, &self.fd))
            .map_err(|source| Error::Clone { path: self.path.clone(), source })
    }

    /// The replicated attributes of the open file.
    pub fn xattrs(&self) -> Result<Xattrs> {
        xattr::read(&xattr::Via::Open(self.fd.as_fd()), &|| self.path.clone())
    }

    /// Reads what is left, and gives the hash of the content and the file as it is now. The hash is that of the file only
    /// if this equals `stat()`.
    pub fn finish(mut self) -> Result<(Hash, Stat)> {
        while let Some(chunk) = self.next_chunk(REST_CHUNK_BYTES)? {
            self.reuse(chunk);
        }
        let now = sys::stat_handle(self.fd.as_fd(), &self.path)?;
        Ok((self.hasher.finish(), now))
    }

    /// Moves to where data is, hashing the hole in between; false at the end.
    fn find_data(&mut self) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        if self.position == self.data_end {
            let (start, end) = self.data_after(self.position, self.stat.size)?;
            self.hasher.zeros(start.saturating_sub(self.position));
            (self.position, self.data_end) = (start, end);
        }
        self.ended = self.position >= self.data_end;
        Ok(!self.ended)
    }
}
