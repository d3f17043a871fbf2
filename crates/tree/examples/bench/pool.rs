//! Threads that share a stack of tasks; a task may add further ones. Ends when the stack is empty and nobody is busy.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// The stack that is shared.
pub struct Pool<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    tasks: Vec<T>,
    busy: usize,
    failed: Option<io::Error>,
}

impl<T: Send> Pool<T> {
    /// A stack with its first tasks.
    pub fn new(tasks: Vec<T>) -> Self {
        Self { state: Mutex::new(State { tasks, busy: 0, failed: None }), changed: Condvar::new() }
    }

    /// Adds a task; whoever is idle takes it.
    pub fn push(&self, task: T) {
        self.lock().tasks.push(task);
        self.changed.notify_one();
    }

    /// Runs `worker` on `threads` threads until everything is done; each makes its own state with `begin`. The first error
    /// ends all, else what the threads have made comes back.
    pub fn run<S: Send>(
        &self,
        threads: usize,
        begin: impl Fn() -> S + Sync,
        worker: impl Fn(&Self, &mut S, T) -> io::Result<()> + Sync,
    ) -> io::Result<Vec<S>> {
        let states = thread::scope(|scope| {
            let one = || {
                let mut state = begin();
                while let Some(task) = self.take() {
                    let result = worker(self, &mut state, task);
                    self.done(result);
                }
                state
            };
            let handles = (0..threads).map(|_| scope.spawn(one)).collect::<Vec<_>>();
            handles.into_iter().map(|handle| handle.join().expect("workers do not panic")).collect()
        });
        match self.lock().failed.take() {
            Some(error) => Err(error),
            None => Ok(states),
        }
    }

    fn take(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.failed.is_some() {
                return None;
            }
            if let Some(task) = state.tasks.pop() {
                state.busy += 1;
                return Some(task);
            }
            if state.busy == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, result: io::Result<()>) {
        let mut state = self.lock();
        state.busy -= 1;
        if let Err(error) = result {
            state.failed = Some(error);
        }
        if state.failed.is_some() || (state.busy == 0 && state.tasks.is_empty()) {
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
