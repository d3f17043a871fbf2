//! Reads a path once: metadata, attributes, hash, and the content where it is small. Notices what changes meanwhile.

use fulmar_model::{Entry, Hash, Kind, Name, Record, Stat, Timestamp, Xattrs};
use fulmar_tree::audit::is_calm;
use fulmar_tree::{Clock, Dir, Error, Tree, digest};
use fulmar_wire::{INLINE_BYTES_MAX, Segment};

/// How often a file that changes while it is read is read again at once.
const ATTEMPTS: usize = 3;
/// Bytes asked of the kernel at a time.
const CHUNK_BYTES: usize = INLINE_BYTES_MAX as usize;

/// What was found at a path that is no directory.
pub(crate) enum Found {
    /// Read whole, and it held still.
    Read(Content),
    /// It did not hold still; what was read is one version, perhaps torn.
    Moving(Content),
    /// Too large to be read into memory: it is read when it is shipped.
    Large(Stat),
    /// Nothing there (any more).
    Gone,
    /// The system says no.
    Unreadable(i32),
}

/// A path that was read.
pub(crate) struct Content {
    /// As it was when reading began.
    pub(crate) stat: Stat,
    /// Its attributes.
    pub(crate) xattrs: Xattrs,
    /// Hash of a file's content.
    pub(crate) hash: Option<Hash>,
    /// A file's bytes.
    pub(crate) segments: Vec<Segment>,
    /// Target of a symlink.
    pub(crate) target: Box<[u8]>,
    /// The coarse clock when reading began.
    pub(crate) began: Timestamp,
}

impl Content {
    /// As another machine sees it.
    pub(crate) fn entry(&self) -> Entry {
        Entry::of(&self.stat, self.hash, &self.target, digest(&self.xattrs))
    }

    /// As the catalog keeps it.
    pub(crate) fn record(&self, tree: &Tree) -> Record {
        let hash = match self.stat.kind {
            Kind::Symlink => Some(fulmar_tree::hash_bytes(&self.target)),
            _ => self.hash,
        };
        let settled = tree.is_settled(&self.stat, self.began);
        Record { stat: self.stat, xattrs: digest(&self.xattrs), hash, group: None, settled }
    }
}

/// Whether what was read, from a file that was `stat` before and after, is not what is recorded although the record proves
/// that nobody has written there since: then it is the disk's doing, or memory's, and no replica is to have it. A file that was
/// written a moment ago may still be written through a mapping, which its times do not tell.
pub(crate) fn is_rotten(stat: &Stat, hash: Option<Hash>, record: Option<&Record>) -> bool {
    let recorded = record.filter(|record| record.proves(stat)).and_then(|record| record.hash);
    stat.kind == Kind::File
        && hash.zip(recorded).is_some_and(|(hash, recorded)| hash != recorded)
        && is_calm(stat, Clock::coarse_now())
}

/// Reads the entry `name` of `dir`, which was `stat` a moment ago.
pub(crate) fn read(dir: &Dir, name: &Name, stat: Stat) -> Found {
    let (mut last, mut known) = (None, Some(stat));
    for _ in 0..ATTEMPTS {
        match read_once(dir, name, known.take()) {
            Ok(Found::Moving(content)) => last = Some(content),
            Ok(found) => return found,
            Err(error) if error.is_gone() => return Found::Gone,
            Err(error) => return Found::Unreadable(error.errno()),
        }
    }
    last.map_or(Found::Gone, Found::Moving)
}

/// What was known of the name only says how to read it: what counts is the stat data of what was opened.
fn read_once(dir: &Dir, name: &Name, known: Option<Stat>) -> Result<Found, Error> {
    let began = Clock::coarse_now();
    let known = known.filter(|known| known.kind == Kind::File && known.size <= INLINE_BYTES_MAX);
    let Some(stat) = known.map_or_else(|| dir.stat(name), |known| Ok(Some(known)))? else { return Ok(Found::Gone) };
    if stat.kind != Kind::File {
        return read_special(dir, name, stat, began);
    }
    if stat.size > INLINE_BYTES_MAX {
        return Ok(Found::Large(stat));
    }
    let mut reader = match dir.open_file(name) {
        Ok(reader) => reader,
        // Another kind of thing has taken its place meanwhile.
        Err(Error::NotAFile { .. }) => return read_special(dir, name, stat, began),
        Err(error) => return Err(error),
    };
    let stat = *reader.stat();
    if stat.size > INLINE_BYTES_MAX {
        return Ok(Found::Large(stat));
    }
    let mut segments = Vec::new();
    while let Some(chunk) = reader.next_chunk(CHUNK_BYTES)? {
        segments.push(Segment { offset: chunk.offset, bytes: chunk.bytes.into() });
    }
    let xattrs = reader.xattrs()?;
    let (hash, after) = reader.finish()?;
    let read: u64 = segments.last().map_or(0, |last| last.offset + last.bytes.len() as u64);
    let content = Content { stat, xattrs, hash: Some(hash), segments, target: Box::default(), began };
    let whole = stat.same_version(&after) && read <= stat.size;
    Ok(if whole { Found::Read(content) } else { Found::Moving(content) })
}

fn read_special(dir: &Dir, name: &Name, stat: Stat, began: Timestamp) -> Result<Found, Error> {
    let target = match stat.kind {
        Kind::Symlink => dir.read_link(name)?,
        _ => Box::default(),
    };
    let xattrs = dir.xattrs(name, stat.kind)?;
    let content = Content { stat, xattrs, hash: None, segments: Vec::new(), target, began };
    let still = dir.stat(name)?.is_some_and(|after| after.same_version(&stat));
    Ok(if still { Found::Read(content) } else { Found::Moving(content) })
}
