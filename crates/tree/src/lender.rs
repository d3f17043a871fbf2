//! The source of a replica that the same process serves: files of it are cloned where the file system shares extents, and
//! take no room of their own.
//!
//! Nothing is believed of the source: what counts is the hash of the clone. What cannot be cloned, for whatever reason, is sent
//! like any other file.

use crate::{Error, Result, Staged, StagedFile, Tree};
use fulmar_model::{Hash, RelPath};
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// `f_type` of ext4 and tmpfs (statfs(2)), which have no shared extents.
const SHARE_NOTHING: [u64; 2] = [0xef53, 0x0102_1994];

/// Lends the files of a source. Clones know of each other that the kernel cannot.
#[derive(Clone, Debug)]
pub struct Lender {
    source: Tree,
    refused: Arc<AtomicBool>,
}

impl Lender {
    /// Of files below the root of `source`, to one replica; `None` where its file system shares no extents: each file that is lent in
    /// vain is read twice.
    pub fn if_able(source: Tree) -> Option<Self> {
        let found = rustix::fs::fstatfs(&source.root().fd).ok()?;
        let never = u64::try_from(found.f_type).is_ok_and(|magic| SHARE_NOTHING.contains(&magic));
        (!never).then(|| Self::new(source))
    }

    /// The same, whatever the file system.
    pub fn new(source: Tree) -> Self {
        Self { source, refused: Arc::default() }
    }

    /// False once the kernel has said that these two file systems never share anything.
    pub fn is_able(&self) -> bool {
        !self.refused.load(Ordering::Relaxed)
    }

    /// Has an empty staged file share the content of `path`, a regular file of `size` bytes, and gives the hash of what it has then.
    /// Given up when `ended` says so: a large file takes minutes to be read.
    pub fn lend(&self, path: &RelPath, size: u64, to: StagedFile, ended: &dyn Fn() -> bool) -> Result<(Staged, Hash)> {
        let replaced = || Error::Replaced { path: path.clone() };
        let (parent, name) = path.split().ok_or_else(replaced)?;
        let reader = self.source.dir(&parent)?.open_file(&name)?;
        if reader.stat().size != size {
            return Err(replaced());
        }
        to.clone_of(&reader, ended).inspect_err(|error| {
            if let Error::Clone { source: Errno::XDEV | Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS, .. } = error {
                self.refused.store(true, Ordering::Relaxed);
            }
        })
    }
}
