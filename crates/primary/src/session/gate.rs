//! Where the replicas on this machine wait for each other at their first contact: when one of them is refused, which is the
//! mistake of whoever typed it, nothing is done to the others.

use crate::{Error, Result};
use tokio::sync::watch;

/// One place in the queue. It is left by passing, by giving way, or by closing the gate.
#[derive(Clone)]
pub(crate) struct Gate(watch::Sender<Option<usize>>);

impl Gate {
    /// For so many replicas.
    pub(crate) fn new(replicas: usize) -> Self {
        Self(watch::Sender::new(Some(replicas)))
    }

    /// This replica is ready: returns when all are. An error: one was refused.
    pub(super) async fn pass(self) -> Result<()> {
        let mut waiting = self.0.subscribe();
        self.give_way();
        match waiting.wait_for(|waiting| waiting.is_none_or(|count| count == 0)).await.as_deref() {
            Ok(Some(_)) => Ok(()),
            Ok(None) | Err(_) => Err(Error::Withheld),
        }
    }

    /// This replica is away: the others do not wait for it.
    pub(super) fn give_way(&self) {
        self.0.send_modify(|waiting| *waiting = waiting.map(|count| count.saturating_sub(1)));
    }

    /// This replica is refused.
    pub(super) fn close(self) {
        self.0.send_replace(None);
    }
}
