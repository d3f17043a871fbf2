//! Gathers operations into a batch, and writes the content of each into the stage while the batch before it is committed.
//!
//! What can fail for one path (disk full, an attribute refused) becomes that operation's outcome; the batch goes on.

use crate::Result;
use crate::commit::Job;
use crate::nests::Nests;
use fulmar_model::{Entry, Hash, Name, Node, RelPath, Stat, Xattrs};
use fulmar_model::{HeldReason, Outcome, Seq};
use fulmar_tree::{Metadata, Nest, Ownership, Stage, Staged, StagedFile, Tree, is_crowded};
use fulmar_wire::{BATCH_OPERATIONS_MAX, Content, Operation, Segment};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use tokio::sync::mpsc::Receiver;

/// Most large files that are complete and not used: each holds a handle.
const FINISHED_MAX: usize = 1024;

/// What the stager is told.
pub(crate) enum Order {
    /// Operations of the batch under way.
    Operate(Vec<Operation>),
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
    /// Of what is staged, as it is written down before it becomes visible.
    pub(crate) stat: Option<Stat>,
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
    pub(crate) tree: Tree,
    pub(crate) stage: Arc<Stage>,
    pub(crate) ownership: Ownership,
    pub(crate) orders: Receiver<Order>,
    pub(crate) committer: SyncSender<Job>,
}

impl Stager {
    /// Runs until the session or the committer is gone.
    pub(crate) fn run(mut self) -> Result<()> {
        let mut operations = Vec::new();
        let (mut finished, mut nests) = (HashMap::new(), Nests::default());
        while let Some(order) = self.orders.blocking_recv() {
            match order {
                Order::Operate(some) => {
                    if operations.len() + some.len() > BATCH_OPERATIONS_MAX {
                        return Err(crate::Error::Protocol("a batch of too many operations"));
                    }
                    let prepared = some.into_iter().map(|operation| self.prepare(operation, &mut finished, &mut nests));
                    operations.extend(prepared);
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
                    nests = Nests::default();
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

    fn prepare(&self, mut operation: Operation, finished: &mut Finished, nests: &mut Nests) -> Prepared {
        let staged = self.stage(&operation, finished, nests);
        if let Operation::Put { content, .. } = &mut operation {
            // It is in the stage, or not wanted: memory holds no content of a batch.
            *content = Content::None;
        }
        match staged {
            Ok(staged) => Prepared { operation, staged, stat: None, failed: None },
            Err(outcome) => Prepared { operation, staged: None, stat: None, failed: Some(outcome) },
        }
    }

    fn stage(
        &self,
        operation: &Operation,
        finished: &mut Finished,
        nests: &mut Nests,
    ) -> std::result::Result<Option<Staged>, Outcome> {
        let Operation::Put { path, entry, xattrs, content } = operation else {
            nests.heed(operation);
            return Ok(None);
        };
        let staged = match (&entry.node, content) {
            (Node::File { size, .. }, Content::Inline(segments)) => {
                self.write(path, (*size, entry.mode), segments, nests)?
            }
            (Node::File { .. }, Content::Stream(stream)) => finished.remove(stream).ok_or(Outcome::NeedContent)??,
            (Node::File { .. }, Content::None) => return Err(Outcome::NeedContent),
            (Node::Symlink { target }, _) => {
                (self.build(path, nests, |nest, name| nest.symlink(name, target), |s| s.symlink(target))?, NO_HASH)
            }
            (Node::Fifo | Node::CharDevice(_) | Node::BlockDevice(_), _) => {
                match self.special(path, &entry.node, nests) {
                    // Not everybody may make one. What somebody else made is as good.
                    Err(_) if self.has_special(path, &entry.node) => return Ok(None),
                    made => (made?, NO_HASH),
                }
            }
            // Most exist already.
            (Node::Directory, _) if path.is_root() || !nests.is_missing(&self.tree, path) => return Ok(None),
            (Node::Directory, _) => (self.build(path, nests, Nest::directory, Stage::directory)?, NO_HASH),
        };
        let (mut staged, hash) = staged;
        if entry.hash().is_some_and(|wanted| wanted != hash) {
            // Damaged on the way, or the primary read a moving target: either way it is sent again.
            return Err(Outcome::NeedContent);
        }
        staged.set_metadata(&metadata(entry, xattrs), self.ownership).map_err(|error| held_metadata(&error))?;
        if entry.node == Node::Directory && self.may_fill(entry) && !is_crowded() {
            nests.open(path.clone(), Nest::of(&staged).map_err(|error| held(&error))?);
        }
        staged.rest();
        Ok(Some(staged))
    }

    /// Whether its mode lets us write in a directory of ours.
    fn may_fill(&self, entry: &Entry) -> bool {
        self.ownership == Ownership::Keep || entry.mode & OWNER_MAY_FILL == OWNER_MAY_FILL
    }

    /// Builds something in the directory it belongs in where that is being built too, and apart where it is not.
    fn build<T>(
        &self,
        path: &RelPath,
        nests: &Nests,
        within: impl Fn(&Nest, &Name) -> fulmar_tree::Result<T>,
        apart: impl Fn(&Stage) -> fulmar_tree::Result<T>,
    ) -> std::result::Result<T, Outcome> {
        let built = match nests.site(path) {
            Some((nest, name)) => match within(&nest, &name) {
                // The second of this path in one batch.
                Err(taken) if taken.errno() == EEXIST => apart(&self.stage),
                done => done,
            },
            None => apart(&self.stage),
        };
        built.map_err(|error| held(&error))
    }

    fn write(
        &self,
        path: &RelPath,
        (size, mode): (u64, u16),
        segments: &[Segment],
        nests: &Nests,
    ) -> std::result::Result<(Staged, Hash), Outcome> {
        let mut file: StagedFile =
            self.build(path, nests, |nest, name| nest.file(name, mode), |stage| stage.file(mode))?;
        for segment in segments {
            file.write_at(segment.offset, &segment.bytes).map_err(|error| held(&error))?;
        }
        file.finish(size).map_err(|error| held(&error))
    }

    fn has_special(&self, path: &RelPath, node: &Node) -> bool {
        let same = |now: Stat| match node {
            Node::CharDevice(device) | Node::BlockDevice(device) => now.kind == node.kind() && now.node == *device,
            _ => now.kind == node.kind(),
        };
        matches!(self.tree.stat(path), Ok(Some(now)) if same(now))
    }

    fn special(&self, path: &RelPath, node: &Node, nests: &Nests) -> std::result::Result<Staged, Outcome> {
        let device = match node {
            Node::CharDevice(device) | Node::BlockDevice(device) => *device,
            _ => fulmar_model::Device::default(),
        };
        let kind = node.kind();
        self.build(path, nests, |nest, name| nest.special(name, kind, device), |stage| stage.special(kind, device))
    }
}

/// Write and search permission of a directory's owner.
const OWNER_MAY_FILL: u16 = 0o300;

const EEXIST: i32 = 17;

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
