//! Removing a subtree from the bottom up, with one open directory and without recursion, however deep it is.

use crate::{Dir, Part, Result, list::Names};
use fulmar_model::{Kind, Name, RelPath, Stat};
use rustix::io::Errno;

/// What to do with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Remove it.
    Remove,
    /// Leave it, and with it every directory above it. (Also for what the callback has moved away by itself.)
    Keep,
}

/// Decides on an entry, given the directory that holds it.
type Visitor<'a> = dyn FnMut(&Dir, &Name, &Stat) -> Result<Visit> + 'a;

/// A directory whose entries are being removed. Its handle is not held: it is opened again by path, confined, when its
/// turn comes back.
struct Frame {
    /// Relative to the directory the removal started in.
    path: RelPath,
    stat: Stat,
    /// Part that `pending` is from.
    part: Part,
    /// Directories in that part still to be removed, the next one last.
    pending: Vec<(Name, Stat)>,
    kept: bool,
}

/// Removes `name` in `dir` and all below it. `visit` decides on everything but directories, and after their entries on
/// directories that are empty by then; it is given the directory that holds the entry. Returns whether all went.
///
/// A mount point below stops it with `CrossesMount`.
///
/// RACE: an entry that takes the place of another between `visit` and its removal is removed unseen; a directory that
/// receives an entry meanwhile is kept.
pub fn remove_tree(dir: &Dir, name: &Name, visit: &mut Visitor<'_>) -> Result<bool> {
    let Some(stat) = dir.stat(name)? else { return Ok(true) };
    if stat.kind != Kind::Directory {
        return remove_one(dir, name, &stat, visit);
    }
    let root = RelPath::root().join(name);
    let mut stack: Vec<Frame> = unless_gone(enter(dir, root, stat, visit))?.into_iter().collect();
    loop {
        let Some(frame) = stack.last_mut() else { return Ok(true) };
        if let Some((child, stat)) = frame.pending.pop() {
            let path = frame.path.join(&child);
            let entered = unless_gone(enter(dir, path, stat, visit))?;
            stack.extend(entered);
        } else if let Some(part) = frame.part.next() {
            let listed = unless_gone(dir.below(&frame.path).and_then(|held| fill(&held, part, None, visit)))?;
            let (pending, kept) = listed.unwrap_or_default();
            (frame.part, frame.pending) = (part, pending);
            frame.kept |= kept;
        } else {
            let Some(done) = stack.pop() else { return Ok(true) };
            let went = !done.kept && leave(dir, &done, visit)?;
            match stack.last_mut() {
                Some(above) => above.kept |= !went,
                None => return Ok(went),
            }
        }
    }
}

/// Opens a directory and removes what is not a directory in its first part.
fn enter(base: &Dir, path: RelPath, stat: Stat, visit: &mut Visitor<'_>) -> Result<Frame> {
    let dir = base.below(&path)?;
    let (part, names) = match dir.names_if_few()? {
        Names::All(names) => (Part::WHOLE, Some(names)),
        Names::TooMany(count) => (Part::new(0, Part::number_for(count)).unwrap_or(Part::WHOLE), None),
    };
    let (pending, kept) = fill(&dir, part, names, visit)?;
    Ok(Frame { path, stat, part, pending, kept })
}

/// Removes what is not a directory in a part; gives the directories, the first one last, and whether anything was kept.
fn fill(dir: &Dir, part: Part, names: Option<Vec<Name>>, visit: &mut Visitor<'_>) -> Result<(Vec<(Name, Stat)>, bool)> {
    let names = match names {
        Some(names) => names,
        None => dir.names(part)?,
    };
    let (mut pending, mut kept) = (Vec::new(), false);
    for name in names {
        match dir.stat(&name)? {
            Some(stat) if stat.kind == Kind::Directory => pending.push((name, stat)),
            Some(stat) => kept |= !remove_one(dir, &name, &stat, visit)?,
            None => {}
        }
    }
    pending.reverse();
    Ok((pending, kept))
}

/// Removes a directory that is empty by now; says whether it went.
fn leave(base: &Dir, frame: &Frame, visit: &mut Visitor<'_>) -> Result<bool> {
    let Some((parent, name)) = frame.path.split() else { return Ok(false) };
    let Some(parent) = unless_gone(base.below(&parent))? else { return Ok(true) };
    match remove_one(&parent, &name, &frame.stat, visit) {
        Err(error) if error.errno() == Errno::NOTEMPTY.raw_os_error() => Ok(false),
        done => done,
    }
}

fn remove_one(dir: &Dir, name: &Name, stat: &Stat, visit: &mut Visitor<'_>) -> Result<bool> {
    match visit(dir, name, stat)? {
        Visit::Keep => Ok(false),
        Visit::Remove => dir.remove(name, stat.kind).map(|()| true),
    }
}

/// `None` for what somebody else removed meanwhile.
fn unless_gone<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error),
    }
}
