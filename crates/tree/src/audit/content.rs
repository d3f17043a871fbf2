//! The bytes of a file: read once in sequence, hashed, and read again when the file moved meanwhile.

use super::settings::{Auditing, Meter, Records};
use crate::hash::ContentHasher;
use crate::{Dir, sys, xattr};
use fulmar_model::{Hash, Kind, Name, Recall, Record, RelPath, Seal, Stat, Xattrs};
use rustix::fs::Advice;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// Bytes that one call reads.
const BUFFER_BYTES: usize = 1 << 20;
/// How often a file is read that does not hold still; its last reading counts.
const READINGS: u32 = 3;

/// A file as it was read.
pub(super) struct Content {
    pub(super) stat: Stat,
    pub(super) hash: Hash,
    pub(super) xattrs: Xattrs,
    /// Whether it held still while it was read.
    pub(super) steady: bool,
}

/// How a file is read: with a thread's own buffer.
pub(super) struct Eye<'a> {
    pub(super) how: &'a Auditing,
    pub(super) meter: &'a Meter,
    /// As large as the largest file needed so far, up to [`BUFFER_BYTES`].
    buffer: Vec<u8>,
    records: Option<Box<dyn Recall>>,
    /// What was recorded of the names before: room for those of the next.
    room: Vec<Option<Record>>,
}

impl<'a> Eye<'a> {
    pub(super) fn new(how: &'a Auditing, meter: &'a Meter) -> Self {
        Self { how, meter, buffer: Vec::new(), records: how.records.as_ref().and_then(Records::open), room: Vec::new() }
    }

    /// What is recorded of these names, one for each; nothing where there are no records. They come in order. Whoever has done
    /// with it may give it back.
    pub(super) fn recall(&mut self, directory: &RelPath, names: &[&Name]) -> Vec<Option<Record>> {
        let mut told = std::mem::take(&mut self.room);
        told.clear();
        told.resize_with(names.len(), || None);
        if let Some(records) = &self.records {
            records.within(directory, names, &mut told);
        }
        told
    }

    pub(super) fn give_back(&mut self, told: Vec<Option<Record>>) {
        self.room = told;
    }

    /// What is recorded of a path.
    pub(super) fn recall_one(&self, path: &RelPath) -> Option<Record> {
        self.records.as_ref()?.of(path)
    }

    /// What all that is recorded in a directory comes to.
    pub(super) fn recall_seal(&self, directory: &RelPath) -> Option<Seal> {
        self.records.as_ref()?.seal(directory)
    }

    /// Whether there are records to ask.
    pub(super) fn recalls(&self) -> bool {
        self.records.is_some()
    }

    /// Reads the file of a name. `None`: it is no file, or not there.
    pub(super) fn read(&mut self, dir: &Dir, name: &Name) -> Result<Option<Content>, Errno> {
        let mut readings = 0;
        loop {
            let Some(fd) = open(dir, name)? else { return Ok(None) };
            let Some(before) = stat(&fd)? else { return Ok(None) };
            if before.kind != Kind::File {
                return Ok(None);
            }
            let hash = self.hash(&fd, &before)?;
            let xattrs = xattr::read_plain(&xattr::Via::Open(fd.as_fd()))?;
            let Some(after) = stat(&fd)? else { return Ok(None) };
            readings += 1;
            let steady = before.same_version(&after);
            if steady || readings == READINGS || self.meter.is_stopped() {
                self.meter.file();
                return Ok(Some(Content { stat: after, hash, xattrs, steady }));
            }
        }
    }

    fn hash(&mut self, fd: &OwnedFd, stat: &Stat) -> Result<Hash, Errno> {
        if stat.size > BUFFER_BYTES as u64 {
            // Only a hint.
            let _ = rustix::fs::fadvise(fd, 0, None, Advice::Sequential);
        }
        let needed = usize::try_from(stat.size).unwrap_or(usize::MAX).min(BUFFER_BYTES);
        if self.buffer.len() < needed {
            self.buffer.resize(needed, 0);
        }
        let (mut hasher, mut at) = (ContentHasher::default(), 0);
        let mut data_end = if stat.allocated < stat.size { 0 } else { stat.size };
        while at < stat.size && !self.meter.is_stopped() {
            if at == data_end {
                let (data, end) = sys::data_after(fd.as_fd(), at, stat.size)?;
                hasher.zeros(data - at);
                (at, data_end) = (data, end);
                continue;
            }
            let want = usize::try_from(data_end - at).unwrap_or(usize::MAX).min(self.buffer.len());
            let Some(room) = self.buffer.get_mut(..want) else { break };
            let count = rustix::io::retry_on_intr(|| rustix::io::pread(fd, &mut *room, at))?;
            if count == 0 {
                break;
            }
            hasher.update(room.get(..count).unwrap_or_default());
            at += count as u64;
            self.meter.bytes(count, self.how.rate);
        }
        Ok(hasher.finish())
    }
}

/// `None`: it is not there any more, or no file can be.
fn open(dir: &Dir, name: &Name) -> Result<Option<OwnedFd>, Errno> {
    match sys::open_to_read(dir.fd.as_fd(), name.as_bytes()) {
        Ok(fd) => Ok(Some(fd)),
        // A symlink or a socket by now, or nothing.
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::STALE) => Ok(None),
        Err(error) => Err(error),
    }
}

fn stat(fd: &OwnedFd) -> Result<Option<Stat>, Errno> {
    let found = sys::statx(fd.as_fd(), b"", rustix::fs::StatxFlags::BASIC_STATS)?;
    Ok(sys::as_stat(&found))
}
