//! What a session does for one path: the planner's product.

use fulmar_model::{HeldReason, RelPath, Seq};
use fulmar_wire::Frame;

/// What to do.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Send this operation, encoded once for all replicas.
    Operate {
        /// `Operate` with its operation.
        frame: Frame,
        /// For logs and dry runs.
        word: &'static str,
    },
    /// It was sent.
    Sent,
    /// The content is large: it flows beside the batches.
    Large,
    /// The subtree must be compared.
    Compare,
    /// It did not hold still: look again shortly.
    Again,
    /// It is not there any more: it goes once everything that was noticed until now has arrived.
    Gone,
    /// It cannot be shipped now.
    Hold {
        /// Why.
        reason: HeldReason,
        /// Number of the system call's error, 0 where there is none.
        errno: i32,
    },
}

/// A path and what to do for it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Where.
    pub(crate) path: RelPath,
    /// The name a rename takes it from.
    pub(crate) from: Option<RelPath>,
    /// Whether a rename takes everything below along.
    pub(crate) subtree: bool,
    /// Whether this removes the path.
    pub(crate) removes: bool,
    /// Whether this is about a directory itself, and says nothing of what is in it.
    pub(crate) directory: bool,
    /// What.
    pub(crate) action: Action,
}

impl Step {
    pub(crate) fn new(path: RelPath, action: Action) -> Self {
        Self { path, from: None, subtree: false, removes: false, directory: false, action }
    }
}

/// Steps for the changes after one position up to another.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Changes up to here came before.
    pub(crate) after: Seq,
    /// Changes up to here are covered.
    pub(crate) upto: Seq,
    /// Whether it was made for one replica that is behind. Changes that moved to the end of the queue meanwhile are
    /// missing from it.
    pub(crate) alone: bool,
    /// In the order to be applied.
    pub(crate) steps: Vec<Step>,
}

impl Batch {
    /// Bytes its frames take.
    pub(crate) fn bytes(&self) -> usize {
        let size = |step: &Step| match &step.action {
            Action::Operate { frame, .. } => frame.as_bytes().len(),
            _ => 0,
        };
        self.steps.iter().map(size).sum()
    }
}
