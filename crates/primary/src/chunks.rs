//! Ships large content beside the batches: reads in chunks, sends each in the bulk lane within the replica's credit, and
//! ends with the hash of what was read. A version that changed while it was read is not passed off as final.

use crate::Result;
use crate::prepare::Content;
use fulmar_link::{Lane, Sender};
use fulmar_model::RelPath;
use fulmar_tree::{Clock, Error, Tree};
use fulmar_wire::FromPrimary;
use std::sync::mpsc::Receiver;
use tokio::sync::mpsc::UnboundedSender;

/// Bytes in one chunk: large enough to cost little, small enough for an urgent frame to pass soon.
const CHUNK_BYTES: usize = 256 * 1024;
/// The least a chunk counts against the credit, as the replica counts.
const CHUNK_COST_MIN: u32 = 4096;

/// What the shipper is told.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// Ship this path's content; `torn`: also when it does not hold still.
    Ship { path: RelPath, stream: u64, torn: bool },
    /// The replica has room for this many more bytes.
    Credit(u32),
}

/// What became of a large file.
pub(crate) struct Delivery {
    pub(crate) path: RelPath,
    pub(crate) stream: u64,
    pub(crate) result: Delivered,
}

/// Its result.
pub(crate) enum Delivered {
    /// It is in the replica's stage.
    Whole(Box<Content>),
    /// It is in the replica's stage, but changed while it was read.
    Torn(Box<Content>),
    /// It changed while it was read, and was given up.
    Moving,
    /// It is gone, or small by now, or no file: plan it again.
    Changed,
    /// The system says no.
    Unreadable(i32),
}

/// Owns the way to the bulk lane.
pub(crate) struct Shipper {
    pub(crate) tree: Tree,
    pub(crate) parcels: Receiver<Parcel>,
    pub(crate) sender: Sender,
    /// Bytes the replica has room for; `full` when nothing is under way.
    pub(crate) credit: u32,
    pub(crate) deliveries: UnboundedSender<Delivery>,
}

impl Shipper {
    /// Runs until the session is gone.
    pub(crate) fn run(mut self) -> Result<()> {
        match self.work() {
            // The session hears from its reader that the link has ended, and why; to end here would say that this thread
            // has failed.
            Err(crate::Error::Link(_)) => while self.parcels.recv().is_ok() {},
            ended => return ended,
        }
        Ok(())
    }

    fn work(&mut self) -> Result<()> {
        let full = self.credit;
        let mut waiting = std::collections::VecDeque::new();
        loop {
            let next = match waiting.pop_front() {
                Some(parcel) => parcel,
                None => match self.parcels.recv() {
                    Ok(parcel) => parcel,
                    Err(_) => return Ok(()),
                },
            };
            match next {
                Parcel::Credit(bytes) => self.credit = self.credit.saturating_add(bytes),
                Parcel::Ship { path, stream, torn } => {
                    let Some(result) = self.ship(&path, stream, torn, full, &mut waiting)? else { return Ok(()) };
                    if self.deliveries.send(Delivery { path, stream, result }).is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// `None`: the session is gone.
    fn ship(
        &mut self,
        path: &RelPath,
        stream: u64,
        torn: bool,
        full: u32,
        waiting: &mut std::collections::VecDeque<Parcel>,
    ) -> Result<Option<Delivered>> {
        let began = Clock::coarse_now();
        let Some((parent, name)) = path.split() else { return Ok(Some(Delivered::Changed)) };
        let mut reader = match self.tree.dir(&parent).and_then(|dir| dir.open_file(&name)) {
            Ok(reader) => reader,
            Err(error) => return Ok(Some(failed(&error))),
        };
        let stat = *reader.stat();
        loop {
            let chunk = match reader.next_chunk(CHUNK_BYTES) {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
                    self.abandon(stream)?;
                    return Ok(Some(failed(&error)));
                }
            };
            let frame = FromPrimary::encode_chunk(stream, chunk.offset, &chunk.bytes)?;
            if !self.spend(chunk.bytes.len(), waiting) {
                return Ok(None);
            }
            self.sender.send_blocking(Lane::Bulk, frame)?;
        }
        let xattrs = match reader.xattrs() {
            Ok(xattrs) => xattrs,
            Err(error) => {
                self.abandon(stream)?;
                return Ok(Some(failed(&error)));
            }
        };
        let (hash, after) = match reader.finish() {
            Ok(finished) => finished,
            Err(error) => {
                self.abandon(stream)?;
                return Ok(Some(failed(&error)));
            }
        };
        let still = stat.same_version(&after);
        // A file that shrank was read to its new end only, so that its size and its content do not belong together.
        if !still && (!torn || after.size < stat.size) {
            self.abandon(stream)?;
            return Ok(Some(Delivered::Moving));
        }
        let end = FromPrimary::encode_chunk(stream, stat.size, &[])?;
        if !self.spend(0, waiting) {
            return Ok(None);
        }
        self.sender.send_blocking(Lane::Bulk, end)?;
        // All credit back means that the replica has written, and synced, everything.
        while self.credit < full {
            match self.parcels.recv() {
                Ok(Parcel::Credit(bytes)) => self.credit = self.credit.saturating_add(bytes),
                Ok(other) => waiting.push_back(other),
                Err(_) => return Ok(None),
            }
        }
        let content =
            Box::new(Content { stat, xattrs, hash: Some(hash), segments: Vec::new(), target: Box::default(), began });
        Ok(Some(if still { Delivered::Whole(content) } else { Delivered::Torn(content) }))
    }

    fn abandon(&self, stream: u64) -> Result<()> {
        // In the bulk lane, so that it does not overtake the chunks it takes back.
        Ok(self.sender.send_blocking(Lane::Bulk, FromPrimary::Abandon { stream }.encode()?)?)
    }

    /// Waits until the replica has room. False: the session is gone.
    fn spend(&mut self, bytes: usize, waiting: &mut std::collections::VecDeque<Parcel>) -> bool {
        let cost = u32::try_from(bytes).unwrap_or(u32::MAX).max(CHUNK_COST_MIN);
        while self.credit < cost {
            match self.parcels.recv() {
                Ok(Parcel::Credit(bytes)) => self.credit = self.credit.saturating_add(bytes),
                Ok(other) => waiting.push_back(other),
                Err(_) => return false,
            }
        }
        self.credit -= cost;
        true
    }
}

fn failed(error: &Error) -> Delivered {
    if error.is_gone() { Delivered::Changed } else { Delivered::Unreadable(error.errno()) }
}
