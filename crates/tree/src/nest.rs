//! A directory that is built in the stage with what belongs in it: one rename makes all of it visible.

use crate::stage::Site;
use crate::{Dir, Result, Staged, StagedFile};
use fulmar_model::{Device, Kind, Name};
use std::sync::Arc;

/// Where the entries of a staged directory are built, under their final names. What is not [settled](Staged::settle) is removed
/// from it, or can be published elsewhere like anything else that is staged.
#[derive(Clone, Debug)]
pub struct Nest(Arc<Dir>);

impl Nest {
    /// The inside of a staged directory. Its metadata must let the process write in it.
    pub fn of(directory: &Staged) -> Result<Self> {
        Ok(Self(Arc::new(Dir::held(directory.duplicate()?, directory.path()))))
    }

    /// An empty file, for its owner alone; fails with EEXIST when the name is taken, as everything here does.
    pub fn file(&self, name: &Name) -> Result<StagedFile> {
        Site(&self.0, name.clone()).file()
    }

    /// An empty directory, for its owner alone.
    pub fn directory(&self, name: &Name) -> Result<Staged> {
        Site(&self.0, name.clone()).directory()
    }

    /// A symlink to `target`.
    pub fn symlink(&self, name: &Name, target: &[u8]) -> Result<Staged> {
        Site(&self.0, name.clone()).symlink(target)
    }

    /// A FIFO (`node` is ignored) or a device node.
    pub fn special(&self, name: &Name, kind: Kind, node: Device) -> Result<Staged> {
        Site(&self.0, name.clone()).special(kind, node)
    }
}
