//! Large files on their way: they outlive the process that writes them, so that the next one need not begin anew. What is
//! found here is a basis like any other, nothing is believed of it.

use crate::private::sweep;
use crate::staged::{Made, StagedFile};
use crate::{Dir, Error, Part, Reader, Replace, Result, sys};
use fulmar_model::{Kind, Name, RelPath};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Kept from one session to the next; older ones go first.
const PARTIALS_MAX: usize = 16;

/// The directory `partial/` of a replica. What is being written has a numbered name; what was left has none, and there is
/// one of it for a path at most.
#[derive(Debug)]
pub struct Partials {
    dir: Arc<Dir>,
    next: AtomicU64,
}

impl Partials {
    /// Takes over what an earlier process was writing. Only where nobody else writes.
    pub(crate) fn new(dir: Dir) -> Result<Self> {
        let mut first = 0;
        for (name, stat) in dir.list(Part::WHOLE)? {
            match stat.kind {
                Kind::File if left_name(&name) == name => {}
                Kind::File => leave(&dir, &name)?,
                // What a large file has taken the place of. Where this process may not remove it, it only takes space.
                _ => match sweep(&dir, &name) {
                    Err(denied) if denied.errno() == Errno::ACCESS.raw_os_error() => {
                        first = first.max(number(&name).map_or(0, |taken| taken.saturating_add(1)));
                    }
                    done => done?,
                },
            }
        }
        Ok(Self { dir: Arc::new(dir), next: AtomicU64::new(first) })
    }

    /// An empty file for the content of `path`. Dropped before it was published it is left for the next attempt.
    pub fn file(&self, path: &RelPath) -> Result<StagedFile> {
        self.prune()?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = Name::parse(format!("{}.{number}", key(path)).as_bytes()).expect("digits are a name");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let fd = sys::create(self.dir.fd.as_fd(), name.as_bytes(), flags, Mode::RUSR | Mode::WUSR)
            .map_err(|source| Error::Create { path: self.dir.at(&name), source })?;
        Ok(StagedFile::new(self.dir.clone(), name, fd, Made::Partial, None))
    }

    /// What was left for the path, if anything.
    pub fn open(&self, path: &RelPath) -> Result<Option<Reader>> {
        let name = Name::parse(key(path).as_bytes()).expect("digits are a name");
        match self.dir.open_file(&name) {
            Ok(reader) => Ok(Some(reader)),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the oldest of what was left, until there is room for one more.
    fn prune(&self) -> Result<()> {
        let mut left = self.dir.list(Part::WHOLE)?;
        left.retain(|(name, _)| left_name(name) == *name);
        left.sort_by_key(|(_, stat)| std::cmp::Reverse(stat.mtime));
        left.iter().skip(PARTIALS_MAX - 1).try_for_each(|(name, stat)| self.dir.remove(name, stat.kind))
    }
}

/// The number behind the key of a name.
fn number(name: &Name) -> Option<u64> {
    std::str::from_utf8(name.as_bytes()).ok()?.rsplit_once('.')?.1.parse().ok()
}

/// Leaves what was being written under `name`, where it is more than what was left before.
pub(crate) fn leave(dir: &Dir, name: &Name) -> Result<()> {
    let left = left_name(name);
    let (here, before) = (dir.stat(name)?, dir.stat(&left)?);
    if before.is_some_and(|before| here.is_none_or(|here| here.size < before.size)) {
        return dir.remove(name, Kind::File);
    }
    dir.rename_to(name, dir, &left, Replace::Yes)
}

/// The name without its number.
pub(crate) fn left_name(name: &Name) -> Name {
    let key = name.as_bytes().split(|byte| *byte == b'.').next().unwrap_or_default();
    Name::parse(key).unwrap_or_else(|_| name.clone())
}

/// A name for whatever path there is: 32 digits of its hash.
fn key(path: &RelPath) -> String {
    blake3::hash(path.as_bytes()).to_hex().chars().take(32).collect()
}
