//! What has been prepared of a large file so far, for all who send it: of a patch its bytes, of whole content only where in the
//! file they are.
//!
//! The first bytes of a patch are in memory, the others in a file that has no name.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Of one patch, in memory.
const MEMORY_BYTES_MAX: usize = 256 * 1024;
/// Stretches of data of one file.
const RUNS_MAX: usize = 16_384;

/// Where spools are made, and what they take together.
#[derive(Clone, Debug)]
pub(crate) struct Spools {
    folder: PathBuf,
    bytes_max: u64,
    bytes: Arc<AtomicU64>,
    /// For the names that their files have for a moment.
    next: Arc<AtomicU64>,
}

impl Spools {
    /// In `folder`, of which nobody else makes use; `bytes_max` together.
    pub(crate) fn new(folder: PathBuf, bytes_max: u64) -> Self {
        Self { folder, bytes_max, bytes: Arc::default(), next: Arc::default() }
    }

    /// Whether there is less room than a large patch may take.
    pub(crate) fn is_half_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.bytes_max / 2
    }

    fn file(&self) -> io::Result<File> {
        let name = self.folder.join(format!("spool.{}", self.next.fetch_add(1, Ordering::Relaxed)));
        // Of a process that died in between there may be one.
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(&name)?;
        fs::remove_file(name)?;
        Ok(file)
    }
}

/// What is there of one file. Positions are offsets of the chunks that carry it.
#[derive(Debug)]
pub(crate) enum Spool {
    /// Stretches of the source, in order.
    Runs(Vec<Range<u64>>),
    /// A patch.
    Bytes(Bytes),
}

/// The bytes of a patch.
#[derive(Debug)]
pub(crate) struct Bytes {
    memory: Vec<u8>,
    /// What is behind `memory`.
    file: Option<Arc<File>>,
    length: u64,
    spools: Spools,
}

/// Something to be sent.
#[derive(Debug)]
pub(crate) enum Piece {
    /// From the source, at its offset.
    Source(Range<u64>),
    /// This, at an offset.
    Memory(u64, Vec<u8>),
    /// From a file, where an offset of 0 is what is given last.
    File(Range<u64>, Arc<File>, u64),
}

impl Spool {
    /// An empty one, of whole content.
    pub(crate) fn of_runs() -> Self {
        Self::Runs(Vec::new())
    }

    /// An empty one, of a patch.
    pub(crate) fn of_bytes(spools: Spools) -> Self {
        Self::Bytes(Bytes { memory: Vec::new(), file: None, length: 0, spools })
    }

    /// Where the next that is prepared begins, or lies behind.
    pub(crate) fn end(&self) -> u64 {
        match self {
            Self::Runs(runs) => runs.last().map_or(0, |run| run.end),
            Self::Bytes(bytes) => bytes.length,
        }
    }

    /// Adds what is at `offset`, behind all that is there. False: there is no room, and nothing was added.
    pub(crate) fn add(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let end = offset.saturating_add(bytes.len() as u64);
        match self {
            Self::Runs(runs) => {
                let full = runs.len() >= RUNS_MAX;
                match runs.last_mut() {
                    Some(run) if run.end == offset => run.end = end,
                    _ if full => return false,
                    _ => runs.push(offset..end),
                }
                true
            }
            Self::Bytes(spooled) => spooled.add(bytes),
        }
    }

    /// What is there at `at` or follows it, at most `max` bytes.
    pub(crate) fn piece(&self, at: u64, max: usize) -> Option<Piece> {
        match self {
            Self::Runs(runs) => {
                let run = runs.get(runs.partition_point(|run| run.end <= at))?;
                let start = run.start.max(at);
                Some(Piece::Source(start..run.end.min(start.saturating_add(max as u64))))
            }
            Self::Bytes(bytes) => bytes.piece(at, max),
        }
    }
}

impl Bytes {
    fn add(&mut self, bytes: &[u8]) -> bool {
        let (count, together) = (bytes.len() as u64, Arc::clone(&self.spools.bytes));
        if together.fetch_add(count, Ordering::Relaxed).saturating_add(count) > self.spools.bytes_max {
            together.fetch_sub(count, Ordering::Relaxed);
            return false;
        }
        if self.file.is_none() && self.memory.len() + bytes.len() <= MEMORY_BYTES_MAX {
            self.memory.extend_from_slice(bytes);
        } else if let Err(error) = self.write(bytes) {
            tracing::debug!(%error, "nothing can be kept of a patch; every replica's is made for itself");
            together.fetch_sub(count, Ordering::Relaxed);
            return false;
        }
        self.length += count;
        true
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(Arc::new(self.spools.file()?)),
        };
        file.write_all_at(bytes, self.length - self.memory.len() as u64)
    }

    fn piece(&self, at: u64, max: usize) -> Option<Piece> {
        let memory = usize::try_from(at).ok().and_then(|at| self.memory.get(at..)).filter(|left| !left.is_empty());
        if let Some(left) = memory {
            return Some(Piece::Memory(at, left.iter().take(max).copied().collect()));
        }
        let (file, end) = (self.file.as_ref()?, self.length.min(at.saturating_add(max as u64)));
        (at < end).then(|| Piece::File(at..end, Arc::clone(file), self.memory.len() as u64))
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.spools.bytes.fetch_sub(self.length, Ordering::Relaxed);
    }
}

impl Piece {
    /// Its bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Source(range) | Self::File(range, ..) => {
                usize::try_from(range.end - range.start).unwrap_or(usize::MAX)
            }
            Self::Memory(_, bytes) => bytes.len(),
        }
    }

    /// Its bytes and their offset. `source`: reads at an offset of the file that is sent, as much as is there. `None`: it is
    /// not there any more.
    pub(crate) fn read(self, source: impl Fn(u64, &mut [u8]) -> Option<usize>) -> Option<(u64, Vec<u8>)> {
        let room = |range: &Range<u64>| usize::try_from(range.end - range.start).map(|length| vec![0; length]).ok();
        match self {
            Self::Source(range) => {
                let mut bytes = room(&range)?;
                (source(range.start, &mut bytes)? == bytes.len()).then_some((range.start, bytes))
            }
            Self::Memory(offset, bytes) => Some((offset, bytes)),
            Self::File(range, file, first) => {
                let mut bytes = room(&range)?;
                file.read_exact_at(&mut bytes, range.start - first).ok()?;
                Some((range.start, bytes))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(spool: &Spool, max: usize) -> Vec<u8> {
        let (mut at, mut all) = (0, Vec::new());
        while let Some(piece) = spool.piece(at, max) {
            let (offset, bytes) = piece.read(|_, _| None).expect("it is kept");
            assert_eq!(offset, at);
            assert!(!bytes.is_empty() && bytes.len() <= max);
            at += bytes.len() as u64;
            all.extend(bytes);
        }
        all
    }

    #[test]
    fn what_comes_out_of_a_spool_is_what_went_in() {
        let place = tempfile::tempdir().expect("a directory");
        let spools = Spools::new(place.path().to_owned(), 1 << 30);
        let mut spool = Spool::of_bytes(spools.clone());
        let mut put = Vec::new();
        // Both below and above what is kept in memory, in pieces that do not fit its end.
        for number in 0..200_u64 {
            let bytes: Vec<u8> = (0..number * 37).map(|byte| (byte * 7 + number) as u8).collect();
            assert!(spool.add(put.len() as u64, &bytes));
            put.extend(bytes);
        }
        assert!(put.len() > 2 * MEMORY_BYTES_MAX);
        assert_eq!(spool.end(), put.len() as u64);
        for max in [1000, 100_000, 1 << 20] {
            assert_eq!(all(&spool, max), put);
        }
        assert_eq!(place.path().read_dir().expect("a folder").count(), 0, "it has no name");
        drop(spool);
        assert_eq!(spools.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn spools_take_no_more_together_than_was_granted() {
        let place = tempfile::tempdir().expect("a directory");
        let spools = Spools::new(place.path().to_owned(), 1000);
        let mut first = Spool::of_bytes(spools.clone());
        let mut second = Spool::of_bytes(spools.clone());
        assert!(first.add(0, &[1; 600]) && second.add(0, &[2; 400]));
        assert!(!second.add(400, &[2; 1]));
        drop(first);
        assert!(second.add(400, &[2; 600]));
        assert_eq!(all(&second, 300), [2; 1000]);
    }

    #[test]
    fn stretches_of_the_source_are_told_as_they_were_read() {
        let mut spool = Spool::of_runs();
        for (offset, count) in [(0, 10), (10, 10), (50, 10)] {
            assert!(spool.add(offset, &vec![0; count]));
        }
        let at = |at, max| match spool.piece(at, max) {
            Some(Piece::Source(range)) => Some(range),
            _ => None,
        };
        assert_eq!((at(0, 15), at(15, 15), at(20, 100), at(60, 1)), (Some(0..15), Some(15..20), Some(50..60), None));
        assert_eq!(spool.end(), 60);
    }
}
