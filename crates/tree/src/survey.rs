//! What the directories of a tree come to, by several threads: what both sides of a comparison do at the same time, each with
//! its own idea of what an entry is.
//!
//! Several threads together find directories in no order, so they are put into one that depends on nothing but what they
//! are.

use crate::crew::{walk_together, walkers};
use crate::fingerprint::{DIRECTORIES_MAX, Printed};
use crate::walk::{Step, Walk};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Entries that one thread goes through, in a few milliseconds, before there are others and what each of them has to open.
const ALONE: usize = 1024;

/// One thread's part in a survey.
pub trait Surveyor: Sized + Send {
    /// Why it may fail.
    type Error: Send;

    /// One more, for another thread.
    fn another(&self) -> Result<Self, Self::Error>;

    /// What a step comes to; `None`: the survey is of no use any more.
    fn step(&mut self, walk: &mut Walk, step: Step) -> Result<Option<Printed>, Self::Error>;

    /// Takes in what another has found.
    fn join(&mut self, other: Self);
}

/// How far a survey goes, and how many share it.
#[derive(Clone, Copy, Debug)]
pub struct SurveyBounds {
    /// Threads at most.
    pub threads: usize,
    /// Entries after which there may be more than one thread.
    pub alone: usize,
    /// Directories and parts of them that all threads together may find.
    pub directories: usize,
}

impl Default for SurveyBounds {
    fn default() -> Self {
        Self { threads: walkers(), alone: ALONE, directories: DIRECTORIES_MAX }
    }
}

/// Goes through `walk` with `first` and, in a larger tree, others of its kind. Gives it back with what they have found
/// together, and the directories in the order of [`Printed::survey_cmp`]; without those where there are too many, or a
/// surveyor has found that they are of no use.
pub fn survey<S: Surveyor>(
    mut walk: Walk,
    bounds: SurveyBounds,
    first: S,
) -> Result<(S, Option<Vec<Printed>>), S::Error> {
    let count = AtomicUsize::new(0);
    let step = |(surveyor, prints): &mut (S, Vec<Printed>), walk: &mut Walk, step: Step| {
        prints.push(surveyor.step(walk, step).map_err(End::Failed)?.ok_or(End::Useless)?);
        if count.fetch_add(1, Ordering::Relaxed) < bounds.directories { Ok(()) } else { Err(End::Useless) }
    };
    let (mut first, mut others) = ((first, Vec::new()), Vec::new());
    let ended = alone(&mut walk, bounds, |walk, found| step(&mut first, walk, found)).and_then(|all| {
        if all {
            return Ok(());
        }
        for _ in 1..bounds.threads {
            // With as many as there are: files, say, are few.
            let Ok(other) = first.0.another() else { break };
            others.push((other, Vec::new()));
        }
        let mut crew: Vec<_> = std::iter::once(&mut first).chain(&mut others).collect();
        walk_together(walk, &mut crew, |one, walk, found| step(one, walk, found))
    });
    let whole = match ended {
        Err(End::Failed(error)) => return Err(error),
        Err(End::Useless) => false,
        Ok(()) => true,
    };
    let (mut surveyor, mut prints) = first;
    for (other, mut found) in others {
        surveyor.join(other);
        prints.append(&mut found);
    }
    if whole {
        // Each thread's come in long runs that are in order.
        prints.sort_by(Printed::survey_cmp);
    }
    Ok((surveyor, whole.then_some(prints)))
}

/// Why a survey ends before its walk.
enum End<E> {
    Useless,
    Failed(E),
}

/// Goes through the front of a walk, or all of it where there is nobody to share it with. Whether that was all.
fn alone<E>(
    walk: &mut Walk,
    bounds: SurveyBounds,
    mut step: impl FnMut(&mut Walk, Step) -> Result<(), E>,
) -> Result<bool, E> {
    let mut seen = 0;
    while seen < bounds.alone || bounds.threads < 2 {
        let Some(found) = walk.next_dir() else { return Ok(true) };
        seen += match &found {
            Step::Listing(listing) => listing.entries.len(),
            Step::Unreadable { .. } => 1,
        };
        step(walk, found)?;
    }
    Ok(false)
}
