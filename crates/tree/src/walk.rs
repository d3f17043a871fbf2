//! An ordered walk of a tree for scans, directory by directory.
//!
//! A directory comes before those in it, and those in name order. A directory of more than [`crate::NAMES_PER_PART`] names
//! comes in parts; the directories of a part are walked before the next part is listed, so that memory holds one part of
//! each directory on the way down and nothing else. No handle is held between two steps.

use crate::{Dir, Error, Part, Result, Tree, list::Names};
use fulmar_model::{Kind, Name, PATH_BYTES_MAX, RelPath, Stat};
use std::sync::Arc;

/// One part of a directory.
#[derive(Debug)]
pub struct Listing {
    /// The directory.
    pub path: RelPath,
    /// As it was before this part was listed: if it is unchanged later, so are the names.
    pub stat: Stat,
    /// Which of its names.
    pub part: Part,
    /// By name, everything: also what is not entered.
    pub entries: Vec<(Name, Stat)>,
}

/// What the walk found next.
#[derive(Debug)]
pub enum Step {
    /// A directory, or a part of it.
    Listing(Listing),
    /// A directory that could not be opened or listed (or a part that could not), or holds a name whose path would be
    /// longer than [`PATH_BYTES_MAX`], which no other side would take. The walk goes on after it.
    Unreadable {
        /// The directory.
        path: RelPath,
        /// Why.
        error: Error,
    },
}

/// Decides whether the walk enters a directory, given its path and what it is.
pub type Enter = Arc<dyn Fn(&RelPath, &Stat) -> bool + Send + Sync>;

/// The state of a walk.
pub struct Walk {
    tree: Tree,
    enter: Enter,
    stack: Vec<Frame>,
}

/// A directory on the way down: the part to list next, and the directories of the part before it, the next one last.
struct Frame {
    path: RelPath,
    next: Next,
    pending: Vec<Name>,
}

enum Next {
    /// Not opened yet; how many parts it has is not known.
    First,
    Part(Part),
    Done,
}

impl Walk {
    /// A walk of the directory at `start` and all below it on the same device.
    pub fn new(tree: &Tree, start: &RelPath) -> Self {
        Self::filtered(tree, start, Arc::new(|_, _| true))
    }

    /// The same, entering only what `enter` accepts; `start` itself is not asked about.
    pub fn filtered(tree: &Tree, start: &RelPath, enter: Enter) -> Self {
        Self { tree: tree.clone(), enter, stack: vec![Frame::first(start.clone())] }
    }

    /// Leaves a directory of the listing that came last, with all that is in it, out.
    pub fn skip(&mut self, name: &Name) {
        let Some(frame) = self.stack.last_mut() else { return };
        // They are kept with the first one last.
        if let Ok(at) = frame.pending.binary_search_by(|pending| name.cmp(pending)) {
            frame.pending.remove(at);
        }
    }

    /// Gives the later half of the directories that wait, of those nearest to the start, to a walk of their own; `None` when there
    /// are none to give.
    pub fn share(&mut self) -> Option<Self> {
        let deepest = self.stack.len().saturating_sub(1);
        // This walk keeps something: what is further down, or the other half.
        let keeps = |(at, frame): &(usize, &mut Frame)| frame.pending.len() > usize::from(*at == deepest);
        let (_, frame) = self.stack.iter_mut().enumerate().find(keeps)?;
        let kept = frame.pending.split_off(frame.pending.len().div_ceil(2));
        let given = std::mem::replace(&mut frame.pending, kept);
        let frame = Frame { path: frame.path.clone(), next: Next::Done, pending: given };
        Some(Self { tree: self.tree.clone(), enter: self.enter.clone(), stack: vec![frame] })
    }

    /// The next directory or part; `None` at the end. Directories that vanish are passed over.
    pub fn next_dir(&mut self) -> Option<Step> {
        loop {
            let frame = self.stack.last_mut()?;
            if let Some(name) = frame.pending.pop() {
                let path = frame.path.join(&name);
                self.stack.push(Frame::first(path));
                continue;
            }
            if matches!(frame.next, Next::Done) {
                self.stack.pop();
                continue;
            }
            match list(&self.tree, frame) {
                Ok(listing) => {
                    let device = self.tree.device();
                    frame.pending = children(&listing, |path, stat| stat.device == device && (self.enter)(path, stat));
                    return Some(Step::Listing(listing));
                }
                Err(error) => {
                    let path = frame.path.clone();
                    self.stack.pop();
                    // The root itself cannot vanish unnoticed: that is for the caller to judge.
                    if !error.is_gone() || path.is_root() {
                        return Some(Step::Unreadable { path, error });
                    }
                }
            }
        }
    }
}

impl Iterator for Walk {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        self.next_dir()
    }
}

impl Frame {
    fn first(path: RelPath) -> Self {
        Self { path, next: Next::First, pending: Vec::new() }
    }
}

/// One part of one directory, as a walk would list it.
pub fn list_part(tree: &Tree, path: &RelPath, part: Part) -> Result<Listing> {
    list_directory(tree, path, |dir| Ok((part, dir.names(part)?)))
}

/// Lists what is next of a directory and moves on to the part after it.
fn list(tree: &Tree, frame: &mut Frame) -> Result<Listing> {
    let listing = match frame.next {
        Next::Part(part) => list_part(tree, &frame.path, part)?,
        Next::First | Next::Done => list_directory(tree, &frame.path, first_names)?,
    };
    frame.next = listing.part.next().map_or(Next::Done, Next::Part);
    Ok(listing)
}

fn list_directory(
    tree: &Tree,
    path: &RelPath,
    names: impl FnOnce(&Dir) -> Result<(Part, Vec<Name>)>,
) -> Result<Listing> {
    let dir = tree.dir(path)?;
    let stat = dir.stat_self()?;
    let (part, names) = names(&dir)?;
    let longest = names.iter().map(|name| name.as_bytes().len()).max().unwrap_or(0);
    if path.as_bytes().len() + 1 + longest > PATH_BYTES_MAX {
        return Err(Error::PathTooLong { path: path.clone() });
    }
    let entries = dir.stat_all(names)?;
    Ok(Listing { path: path.clone(), stat, part, entries })
}

fn first_names(dir: &Dir) -> Result<(Part, Vec<Name>)> {
    match dir.names_if_few()? {
        Names::All(names) => Ok((Part::WHOLE, names)),
        Names::TooMany(count) => {
            let part = Part::new(0, Part::number_for(count)).unwrap_or(Part::WHOLE);
            Ok((part, dir.names(part)?))
        }
    }
}

/// The directories to enter, asked about in name order; the first one last.
fn children(listing: &Listing, mut enter: impl FnMut(&RelPath, &Stat) -> bool) -> Vec<Name> {
    let directories = listing.entries.iter().filter(|(_, stat)| stat.kind == Kind::Directory);
    let entered = directories.filter(|(name, stat)| enter(&listing.path.join(name), stat));
    let mut names: Vec<Name> = entered.map(|(name, _)| name.clone()).collect();
    names.reverse();
    names
}
