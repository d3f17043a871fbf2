//! A walk by several threads: who has directories left gives half of them to who has none.
//!
//! One thread deals and owns what waits; the others own a walk each. What each does is in the order of a walk, what they do
//! together is in none.

use crate::walk::{Step, Walk};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Threads that share a walk, however many processors there are: the disk and the databases have others to serve.
const WALKERS_MAX: usize = 4;

/// How many hungry there are when nobody is to go on.
const OVER: usize = usize::MAX;

/// How many threads share the walk of a whole tree here.
pub fn walkers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(WALKERS_MAX)
}

/// What a worker tells.
enum Told<E> {
    /// It has nothing to do.
    Idle(usize),
    /// Directories for somebody else.
    Share(Walk),
    /// Its work has failed, or it has panicked.
    Over(Option<E>),
}

/// Goes through `walk` with a thread for each of `workers`, each of which does `work` with what it finds. `work` may have
/// its walk [`skip`](Walk::skip) something. Directories and parts come as from the walk itself, each once. The first error ends all.
pub fn walk_together<W: Send, E: Send>(
    walk: Walk,
    workers: &mut [W],
    work: impl Fn(&mut W, &mut Walk, Step) -> Result<(), E> + Sync,
) -> Result<(), E> {
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
    error.map_or(Ok(()), Err)
}

/// Hands out what is shared, until nobody has anything left.
fn deal<E>(walk: Walk, ways: Vec<Sender<Walk>>, told: &Receiver<Told<E>>, hungry: &AtomicUsize) -> Option<E> {
    let (mut idle, mut waiting) = (Vec::new(), vec![walk]);
    loop {
        match told.recv() {
            Ok(Told::Idle(worker)) => idle.push(worker),
            Ok(Told::Share(walk)) => waiting.push(walk),
            Ok(Told::Over(error)) => {
                hungry.store(OVER, Ordering::Relaxed);
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
            match hungry.load(Ordering::Relaxed) {
                0 => {}
                OVER => return Ok(()),
                _ => {
                    if let Some(half) = walk.share() {
                        // Nobody takes it: then another has failed, which shows next.
                        let _ = told.send(Told::Share(half));
                    }
                }
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
