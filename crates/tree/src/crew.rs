//! A walk by several threads: who has directories left gives half of them to who has none.
//!
//! One thread deals and owns what waits; the others own a walk each. What each does is in the order of a walk, what they do
//! together is in none.

use crate::walk::{Step, Walk};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What a worker tells.
enum Told<E> {
    /// It has nothing to do.
    Idle(usize),
    /// Directories for somebody else.
    Share(Walk),
    /// Its work has failed, or it has panicked.
    Over(Option<E>),
}

/// Goes through `walk` with a thread for each of `workers`, each of which does `work` with what it finds, and gives them
/// back. `work` may have its walk [`skip`](Walk::skip) something. Directories and parts come as from the walk itself, each once.
/// The first error ends all, except for threads that have nothing left to share.
pub fn walk_together<W: Send, E: Send>(
    walk: Walk,
    mut workers: Vec<W>,
    work: impl Fn(&mut W, &mut Walk, Step) -> Result<(), E> + Sync,
) -> Result<Vec<W>, E> {
    // How many have nothing to do.
    let hungry = AtomicUsize::new(0);
    let error = std::thread::scope(|scope| {
        let (telling, told) = channel();
        let mut ways = Vec::new();
        for (number, worker) in workers.iter_mut().enumerate() {
            let (way, walks) = channel();
            let (work, hungry, told) = (&work, &hungry, Leaving(telling.clone()));
            scope.spawn(move || {
                told.leave(each(number, &walks, &told.0, hungry, |walk, step| work(worker, walk, step)))
            });
            ways.push(way);
        }
        drop(telling);
        deal(walk, ways, &told, &hungry)
    });
    error.map_or(Ok(workers), Err)
}

/// Hands out what is shared, until nobody has anything left.
fn deal<E>(walk: Walk, ways: Vec<Sender<Walk>>, told: &Receiver<Told<E>>, hungry: &AtomicUsize) -> Option<E> {
    let (mut idle, mut waiting) = (Vec::new(), vec![walk]);
    loop {
        match told.recv() {
            Ok(Told::Idle(worker)) => idle.push(worker),
            Ok(Told::Share(walk)) => waiting.push(walk),
            Ok(Told::Over(error)) => {
                // Who offers something finds nobody who takes it, and ends.
                hungry.store(ways.len(), Ordering::Relaxed);
                return error;
            }
            Err(_) => return None,
        }
        while let Some(worker) = idle.pop_if(|_| !waiting.is_empty()) {
            if let Some((way, walk)) = ways.get(worker).zip(waiting.pop()) {
                // If it has ended it says so.
                let _ = way.send(walk);
            }
        }
        if idle.len() == ways.len() {
            return None;
        }
        hungry.store(idle.len(), Ordering::Relaxed);
    }
}

fn each<E>(
    number: usize,
    walks: &Receiver<Walk>,
    told: &Sender<Told<E>>,
    hungry: &AtomicUsize,
    mut work: impl FnMut(&mut Walk, Step) -> Result<(), E>,
) -> Result<(), E> {
    // Nobody listens: then another has failed.
    while told.send(Told::Idle(number)).is_ok() {
        let Ok(mut walk) = walks.recv() else { break };
        while let Some(step) = walk.next_dir() {
            work(&mut walk, step)?;
            if hungry.load(Ordering::Relaxed) > 0
                && let Some(half) = walk.share()
                && told.send(Told::Share(half)).is_err()
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Tells the dealer that a worker ends, also when it panics: nobody is waited for in vain.
struct Leaving<E>(Sender<Told<E>>);

impl<E> Leaving<E> {
    fn leave(&self, result: Result<(), E>) {
        if let Err(error) = result {
            // Another was first.
            let _ = self.0.send(Told::Over(Some(error)));
        }
    }
}

impl<E> Drop for Leaving<E> {
    fn drop(&mut self) {
        // The dealer has ended before, unless this is a panic.
        let _ = self.0.send(Told::Over(None));
    }
}
