//! Directories of the batch being gathered that are not on the replica yet: they are built in the stage with all that is in
//! them, and come with one rename. Whether they are really missing when their turn comes is for the applier to see.

use fulmar_model::{Name, RelPath};
use fulmar_tree::{Nest, Tree};
use fulmar_wire::Operation;
use std::collections::{HashMap, HashSet};

/// By the path they will have.
#[derive(Default)]
pub(crate) struct Nests {
    open: HashMap<RelPath, Nest>,
    /// Paths in them at which operations before have something appear.
    taken: HashSet<RelPath>,
}

impl Nests {
    /// What an operation that stages nothing means for those that follow.
    pub(crate) fn heed(&mut self, operation: &Operation) {
        match operation {
            Operation::Link { path, .. } if self.site(path).is_some() => {
                self.taken.insert(path.clone());
            }
            // A path may mean something else from here on.
            Operation::Rename { .. } | Operation::Remove { .. } => *self = Self::default(),
            _ => {}
        }
    }

    /// Where the path is to be built, if not like anything else.
    pub(crate) fn site(&self, path: &RelPath) -> Option<(Nest, Name)> {
        if self.open.is_empty() || self.taken.contains(path) {
            return None;
        }
        let (parent, name) = path.split()?;
        self.open.get(&parent).map(|nest| (nest.clone(), name))
    }

    /// Whether a directory at the path is to be built rather than made when its turn comes.
    pub(crate) fn is_missing(&self, tree: &Tree, path: &RelPath) -> bool {
        let below = path.parent().is_some_and(|parent| self.open.contains_key(&parent));
        below || matches!(tree.stat(path), Ok(None))
    }

    /// What belongs in the directory at the path is built in it from here on.
    pub(crate) fn open(&mut self, path: RelPath, nest: Nest) {
        self.open.insert(path, nest);
    }
}
