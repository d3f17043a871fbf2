//! Gathers operations into a batch, and writes the content of each into the stage while the batch before it is committed.
//!
//! What can fail for one path (disk full, an attribute refused) becomes that operation's outcome; the batch goes on.

use crate::Result;
use crate::commit::Job;
use fulmar_model::{Entry, Hash, Node, Xattrs};
use fulmar_model::{HeldReason, Outcome, Seq};
use fulmar_tree::{Metadata, Ownership, Stage, Staged};
use fulmar_wire::{Content, Operation, Segment};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use tokio::sync::mpsc::Receiver;

/// Most operations in one batch: bounds what a peer can make this side remember.
pub(crate) const BATCH_OPERATIONS_MAX: usize = 8192;

/// Most large files that are complete and not used: each holds a handle.
const FINISHED_MAX: usize = 1024;

/// What the stager is told.
pub(crate) enum Order {
    /// One operation of the batch under way.
    Operate(Operation),
    /// A large file is complete in the stage.
    Finished { stream: u64, staged: std::result::Result<(Staged, Hash), Outcome> },
    /// A large file will not be used.
    Forget { stream: u64 },
    /// The batch is complete.
    Commit { batch: u64, position: Option<Seq> },
}

/// An operation whose content is in the stage, or that failed already.
pub(crate) struct Prepared {
    pub(crate) operation: Operation,
    pub(crate) staged: Option<Staged>,
    pub(crate) failed: Option<Outcome>,
}

/// A batch ready to be made durable and visible.
pub(crate) struct Batch {
    pub(crate) number: u64,
    pub(crate) position: Option<Seq>,
    pub(crate) operations: Vec<Prepared>,
}

/// Owns the batch being gathered.
pub(crate) struct Stager {
    pub(crate) stage: Arc<Stage>,
    pub(crate) ownership: Ownership,
    pub(crate) orders: Receiver<Order>,
    pub(crate) committer: SyncSender<Job>,
}

impl Stager {
    /// Runs until the session or the committer is gone.
    pub(crate) fn run(mut self) -> Result<()> {
        let mut operations = Vec::new();
        let mut finished = HashMap::new();
        while let Some(order) = self.orders.blocking_recv() {
            match order {
                Order::Operate(operation) => {
                    if operations.len() >= BATCH_OPERATIONS_MAX {
                        return Err(crate::Error::Protocol("a batch of too many operations"));
                    }
                    operations.push(self.prepare(operation, &mut finished));
                }
                Order::Finished { stream, staged } => {
                    if finished.len() >= FINISHED_MAX {
                        return Err(crate::Error::Protocol("too many large files that nothing uses"));
                    }
                    finished.insert(stream, staged);
                }
                Order::Forget { stream } => {
                    finished.remove(&stream);
                }
                Order::Commit { batch, position } => {
                    let operations = std::mem::take(&mut operations);
                    let batch = Batch { number: batch, position, operations };
                    if self.committer.send(Job::Batch(batch)).is_err() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn prepare(&self, mut operation: Operation, finished: &mut Finished) -> Prepared {
        let staged = self.stage(&operation, finished);
        if let Operation::Put { content, .. } = &mut operation {
            // It is in the stage, or not wanted: memory holds no more than one operation's content.
            *content = Content::None;
        }
        match staged {
            Ok(staged) => Prepared { operation, staged, failed: None },
            Err(outcome) => Prepared { operation, staged: None, failed: Some(outcome) },
        }
    }

    fn stage(&self, operation: &Operation, finished: &mut Finished) -> std::result::Result<Option<Staged>, Outcome> {
        let Operation::Put { entry, xattrs, content, .. } = operation else { return Ok(None) };
        let staged = match (&entry.node, content) {
            (Node::File { size, .. }, Content::Inline(segments)) => self.write(*size, segments)?,
            (Node::File { .. }, Content::Stream(stream)) => finished.remove(stream).ok_or(Outcome::NeedContent)??,
            (Node::File { .. }, Content::None) => return Err(Outcome::NeedContent),
            (Node::Symlink { target }, _) => (self.stage.symlink(target).map_err(|e| held(&e))?, NO_HASH),
            (Node::Fifo | Node::CharDevice(_) | Node::BlockDevice(_), _) => (self.special(&entry.node)?, NO_HASH),
            // A directory is made when its turn comes: most exist already.
            (Node::Directory, _) => return Ok(None),
        };
        let (staged, hash) = staged;
        if entry.hash().is_some_and(|wanted| wanted != hash) {
            // Damaged on the way, or the primary read a moving target: either way it is sent again.
            return Err(Outcome::NeedContent);
        }
        staged.set_metadata(&metadata(entry, xattrs), self.ownership).map_err(|error| held_metadata(&error))?;
        Ok(Some(staged))
    }

    fn write(&self, size: u64, segments: &[Segment]) -> std::result::Result<(Staged, Hash), Outcome> {
        let mut file = self.stage.file().map_err(|error| held(&error))?;
        for segment in segments {
            file.write_at(segment.offset, &segment.bytes).map_err(|error| held(&error))?;
        }
        file.finish(size).map_err(|error| held(&error))
    }

    fn special(&self, node: &Node) -> std::result::Result<Staged, Outcome> {
        let device = match node {
            Node::CharDevice(device) | Node::BlockDevice(device) => *device,
            _ => fulmar_model::Device::default(),
        };
        self.stage.special(node.kind(), device).map_err(|error| held(&error))
    }
}

type Finished = HashMap<u64, std::result::Result<(Staged, Hash), Outcome>>;

const NO_HASH: Hash = Hash([0; 32]);

/// The metadata an operation asks for.
pub(crate) fn metadata(entry: &Entry, xattrs: &Xattrs) -> Metadata {
    Metadata { mode: entry.mode, uid: entry.uid, gid: entry.gid, mtime: entry.mtime, xattrs: xattrs.clone() }
}

/// The outcome of a failed system call.
pub(crate) fn held(error: &fulmar_tree::Error) -> Outcome {
    let errno = error.errno();
    Outcome::Held { reason: HeldReason::from_errno(errno), errno }
}

/// The same where it is attributes that may not be supported.
pub(crate) fn held_metadata(error: &fulmar_tree::Error) -> Outcome {
    match error {
        fulmar_tree::Error::SetXattr { .. } if matches!(error.errno(), 7 | 34 | 61 | 95) => {
            Outcome::Held { reason: HeldReason::Xattr, errno: error.errno() }
        }
        _ => held(error),
    }
}
