//! A directory that is built in the stage with what belongs in it: one rename makes all of it visible.

use crate::stage::{Home, Site};
use crate::{Dir, Result, Staged, StagedFile};
use fulmar_model::{Device, Kind, Name};
use std::sync::Arc;

/// Where the entries of a staged directory are built, under their final names. What is not [settled](Staged::settle) is removed
/// from it, or can be published elsewhere like anything else that is staged.
#[derive(Clone, Debug)]
pub struct Nest {
    dir: Arc<Dir>,
    home: Arc<Home>,
}

impl Nest {
    /// The inside of a staged directory. Its metadata must let the process write in it.
    pub fn of(directory: &Staged) -> Result<Self> {
        let dir = Dir::held(directory.duplicate()?, directory.path());
        let home = Home::that_comes_along(dir.stat_self()?.inode);
        Ok(Self { dir: Arc::new(dir), home: Arc::new(home) })
    }

    /// An empty file, `mode` as in [`Stage::file`](crate::Stage::file); fails with EEXIST when the name is taken, as everything
    /// here does.
    pub fn file(&self, name: &Name, mode: u16) -> Result<StagedFile> {
        self.site(name).file(mode)
    }

    /// An empty directory, for its owner alone.
    pub fn directory(&self, name: &Name) -> Result<Staged> {
        self.site(name).directory()
    }

    /// A symlink to `target`.
    pub fn symlink(&self, name: &Name, target: &[u8]) -> Result<Staged> {
        self.site(name).symlink(target)
    }

    /// A FIFO (`node` is ignored) or a device node.
    pub fn special(&self, name: &Name, kind: Kind, node: Device) -> Result<Staged> {
        self.site(name).special(kind, node)
    }

    fn site(&self, name: &Name) -> Site<'_> {
        Site(&self.dir, &self.home, name.clone())
    }
}
