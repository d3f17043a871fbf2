//! Directories that are kept open for a while, because the next path is probably in one of them, too.
//!
//! RACE: a handle stays on its directory wherever that is renamed to. Who uses one that is held sees what could be seen when it
//! was opened; so these live no longer than a plan or a batch, and whoever moves or removes directories forgets them.

use crate::held::file_limit;
use crate::{Dir, Result, Tree};
use fulmar_model::RelPath;
use std::collections::HashMap;
use std::sync::Arc;

/// Directories held at once; full: all of them are closed.
const HELD_MAX: usize = 256;
/// Of the files that may be open, one in so many may be one of them.
const SHARE: usize = 16;

/// Open directories of one tree, by path.
#[derive(Debug, Default)]
pub struct Handles {
    held: HashMap<RelPath, Arc<Dir>>,
}

impl Handles {
    /// The directory at `path`, opened by this call or one before.
    pub fn dir(&mut self, tree: &Tree, path: &RelPath) -> Result<Arc<Dir>> {
        if let Some(dir) = self.held.get(path) {
            return Ok(Arc::clone(dir));
        }
        let dir = Arc::new(tree.dir(path)?);
        if self.held.len() >= HELD_MAX.min(file_limit() / SHARE) {
            self.forget();
        }
        self.held.insert(path.clone(), Arc::clone(&dir));
        Ok(dir)
    }

    /// Closes all that nobody else holds: paths may lead elsewhere from here on.
    pub fn forget(&mut self) {
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stays_the_one_that_was_opened_until_it_is_forgotten() {
        let folder = tempfile::tempdir().expect("a directory");
        let (tree, mut handles) = (Tree::open(folder.path()).expect("a root"), Handles::default());
        let path = RelPath::parse(b"a").expect("a path");
        std::fs::create_dir(folder.path().join("a")).expect("a directory");
        let first = handles.dir(&tree, &path).expect("open").stat_self().expect("a look");
        std::fs::rename(folder.path().join("a"), folder.path().join("b")).expect("a rename");
        std::fs::create_dir(folder.path().join("a")).expect("a directory");
        let held = handles.dir(&tree, &path).expect("held").stat_self().expect("a look");
        assert_eq!(held.inode, first.inode);
        handles.forget();
        let again = handles.dir(&tree, &path).expect("open").stat_self().expect("a look");
        assert_ne!(again.inode, first.inode);
    }

    #[test]
    fn what_is_not_there_is_looked_for_again() {
        let folder = tempfile::tempdir().expect("a directory");
        let (tree, mut handles) = (Tree::open(folder.path()).expect("a root"), Handles::default());
        let path = RelPath::parse(b"a").expect("a path");
        assert!(handles.dir(&tree, &path).is_err_and(|error| error.is_gone()));
        std::fs::create_dir(folder.path().join("a")).expect("a directory");
        assert!(handles.dir(&tree, &path).is_ok());
    }

    #[test]
    fn no_more_than_so_many_are_held() {
        let folder = tempfile::tempdir().expect("a directory");
        let (tree, mut handles) = (Tree::open(folder.path()).expect("a root"), Handles::default());
        for number in 0..HELD_MAX + 10 {
            let path = RelPath::parse(number.to_string().as_bytes()).expect("a path");
            std::fs::create_dir(folder.path().join(number.to_string())).expect("a directory");
            handles.dir(&tree, &path).expect("open");
            assert!(handles.held.len() <= HELD_MAX);
        }
    }
}
