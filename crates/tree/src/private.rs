//! The replica's private directory `.fulmar`: where files are staged and foreign versions kept. It is on the file system
//! of the tree, so that one rename publishes.

use crate::lock::{LOCK_FLAGS, LOCK_MODE, lock_handle};
use crate::{Dir, Error, Lock, Part, Partials, Result, Stage, Tree, Visit, identify, remove_tree, sys};
use fulmar_model::{Name, PRIVATE_DIRECTORY};
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// The open private directory.
#[derive(Debug)]
pub struct Private {
    dir: Dir,
    quarantine: Dir,
    lock_path: PathBuf,
}

const STAGE: &[u8] = b"stage";
const PARTIAL: &[u8] = b"partial";
const QUARANTINE: &[u8] = b"quarantine";
const LOCK: &[u8] = b"lock";

/// For the owner alone: what is staged does not have its final mode yet.
const PRIVATE_MODE: u16 = 0o700;

/// Permissions that would let somebody else exchange what is staged.
const OTHERS_MAY_WRITE: u16 = 0o022;

impl Private {
    /// Opens `.fulmar` and what belongs in it, making what is missing. Refuses what is a symlink, no directory, or could be
    /// changed by another user (who may own the tree, and could have made it in advance).
    pub fn open(tree: &Tree) -> Result<Self> {
        let dir = open_or_make(tree.root(), PRIVATE_DIRECTORY)?;
        open_or_make(&dir, STAGE)?;
        let quarantine = open_or_make(&dir, QUARANTINE)?;
        let lock_path = tree.path().join(name(PRIVATE_DIRECTORY).as_os_str()).join(name(LOCK).as_os_str());
        Ok(Self { dir, quarantine, lock_path })
    }

    /// Whether it is still found where it was opened: else the replica was removed, moved away or mounted over, and what is
    /// written here reaches nobody.
    pub fn is_in_place(&self) -> Result<bool> {
        let now = self.lock_path.parent().map_or(Ok(None), identify)?;
        Ok(now.is_some_and(|now| self.dir.identity().is_ok_and(|opened| opened.is_same(&now))))
    }

    /// Makes this process the only one that applies changes here.
    pub fn lock(&self) -> Result<Lock> {
        let file = sys::create(self.dir.fd.as_fd(), LOCK, LOCK_FLAGS, LOCK_MODE)
            .map_err(|source| Error::Lock { path: self.lock_path.clone(), source })?;
        lock_handle(file, self.lock_path.clone())
    }

    /// The directory itself.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Where foreign versions are kept.
    pub fn quarantine(&self) -> &Dir {
        &self.quarantine
    }

    /// Empties `stage/` of what an earlier process left and hands it out. Only under the lock, and once at a time: it
    /// removes whatever another stage has not published. What this process may not remove only takes space.
    pub fn stage(&self) -> Result<Stage> {
        let dir = open_or_make(&self.dir, STAGE)?;
        let mut taken = None;
        for part in parts(&dir)? {
            for leftover in dir.names(part)? {
                match sweep(&dir, &leftover) {
                    Err(denied) if denied.errno() == Errno::ACCESS.raw_os_error() => {
                        taken = taken.max(number(&leftover))
                    }
                    done => done?,
                }
            }
        }
        Ok(Stage::new(dir, taken.map_or(0, |taken: u64| taken.saturating_add(1))))
    }
}

impl Private {
    /// Where large files grow from one session to the next. Only under the lock, and once at a time.
    pub fn partials(&self) -> Result<Partials> {
        Partials::new(open_or_make(&self.dir, PARTIAL)?)
    }
}

/// The number that is a name's.
fn number(name: &Name) -> Option<u64> {
    std::str::from_utf8(name.as_bytes()).ok()?.parse().ok()
}

/// An empty directory goes without being opened: its final mode may forbid that.
pub(crate) fn sweep(stage: &Dir, leftover: &Name) -> Result<()> {
    let Some(stat) = stage.stat(leftover)? else { return Ok(()) };
    match stage.remove(leftover, stat.kind) {
        Err(full) if full.errno() == Errno::NOTEMPTY.raw_os_error() => {
            remove_tree(stage, leftover, &mut |_, _, _| Ok(Visit::Remove)).map(drop)
        }
        done => done,
    }
}

/// The parts in which the directory is to be listed.
fn parts(dir: &Dir) -> Result<impl Iterator<Item = Part>> {
    let of = Part::number_for(dir.count()?);
    Ok((0..of).filter_map(move |index| Part::new(index, of)))
}

fn open_or_make(parent: &Dir, bytes: &[u8]) -> Result<Dir> {
    let name = name(bytes);
    match parent.make_dir(&name, PRIVATE_MODE) {
        Err(error) if error.errno() != Errno::EXIST.raw_os_error() => return Err(error),
        _ => {}
    }
    let dir = parent.dir(&name)?;
    let stat = dir.stat_self()?;
    if stat.uid != rustix::process::geteuid().as_raw() || stat.mode & OTHERS_MAY_WRITE != 0 {
        return Err(Error::PrivateExposed { path: dir.path().clone(), uid: stat.uid, mode: stat.mode });
    }
    Ok(dir)
}

fn name(constant: &[u8]) -> Name {
    Name::parse(constant).expect("the names in this file are valid")
}
