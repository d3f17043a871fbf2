//! A bounded memory of which path is which directory id, so that a run of paths in one directory costs one lookup.

use fulmar_model::RelPath;
use std::collections::HashMap;

/// Most entries; a tree is worked on a few directories at a time.
const ENTRIES_MAX: usize = 1024;

/// Longer paths are looked up every time, which bounds the memory at a few megabytes.
const PATH_BYTES_MAX: usize = 4096;

/// Path to id. Holds nothing that was not found in the table, and nothing that moved since.
#[derive(Default)]
pub(crate) struct Directories(HashMap<RelPath, i64>);

impl Directories {
    pub(crate) fn get(&self, path: &RelPath) -> Option<i64> {
        self.0.get(path).copied()
    }

    pub(crate) fn insert(&mut self, path: &RelPath, id: i64) {
        if path.as_bytes().len() > PATH_BYTES_MAX {
            return;
        }
        if self.0.len() >= ENTRIES_MAX {
            self.0.clear();
        }
        self.0.insert(path.clone(), id);
    }

    /// Forgets a path and everything below it.
    pub(crate) fn forget(&mut self, path: &RelPath) {
        self.0.retain(|known, _| !known.starts_with(path));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
