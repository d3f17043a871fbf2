//! Ships large content beside the batches: reads in chunks, sends each in the bulk lane within the replica's credit, and
//! ends with the hash of what was read. A version that changed while it was read is not passed off as final.

use crate::prepare::Content;
use crate::{Error, Result};
use fulmar_link::{Lane, Sender};
use fulmar_model::RelPath;
use fulmar_tree::{Clock, Tree};
use fulmar_wire::FromPrimary;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Large files handed to the shipper at once.
pub(crate) const SHIPPING_MAX: usize = 4;
/// Credit that is used at most, in bytes, whatever a replica grants: it bounds the parcels that wait.
const CREDIT_BYTES_MAX: u32 = 64 << 20;

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

/// The session's ways to the shipper and back.
pub(crate) struct Shipping {
    parcels: SyncSender<Parcel>,
    /// At most [`SHIPPING_MAX`]; an error is the last.
    pub(crate) deliveries: UnboundedReceiver<Result<Delivery>>,
}

impl Shipping {
    /// Starts a shipper on a thread of its own, for a replica that grants `credit` bytes.
    pub(crate) fn start(tree: Tree, sender: Sender, credit: u32) -> Result<Self> {
        let full = credit.min(CREDIT_BYTES_MAX);
        let (parcels, inbox) = sync_channel((full / CHUNK_COST_MIN) as usize + SHIPPING_MAX);
        let (deliveries_in, deliveries) = unbounded_channel();
        let shipper = Shipper { tree, parcels: inbox, sender, credit: full, full, deliveries: deliveries_in };
        let body = move || shipper.run();
        std::thread::Builder::new().name("fulmar-ship".to_owned()).spawn(body).map_err(|_| Error::Gone)?;
        Ok(Self { parcels, deliveries })
    }

    /// Does not wait: there is room for every file that may be handed over, and for the credit of every chunk.
    pub(crate) fn tell(&self, parcel: Parcel) -> Result<()> {
        match self.parcels.try_send(parcel) {
            Err(TrySendError::Full(_)) => Err(UNUSED),
            // It has ended: why, comes in the place of a delivery.
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }
}

/// Of a replica that gives back more than it was sent.
const UNUSED: Error = Error::Protocol("more credit than was used");

/// Owns the way to the bulk lane.
struct Shipper {
    tree: Tree,
    parcels: Receiver<Parcel>,
    sender: Sender,
    /// Bytes the replica has room for; `full` when nothing is under way.
    credit: u32,
    full: u32,
    deliveries: UnboundedSender<Result<Delivery>>,
}

impl Shipper {
    /// Runs until the session is gone.
    fn run(mut self) {
        match self.work() {
            Ok(()) => {}
            // The session hears from its reader that the link has ended, and why; to end here would say that this thread
            // has failed.
            Err(Error::Link(_)) => while self.parcels.recv().is_ok() {},
            Err(error) => {
                // A session that is gone needs no reason.
                let _ = self.deliveries.send(Err(error));
            }
        }
    }

    fn work(&mut self) -> Result<()> {
        let mut waiting = VecDeque::new();
        loop {
            let next = match waiting.pop_front() {
                Some(parcel) => parcel,
                None => match self.parcels.recv() {
                    Ok(parcel) => parcel,
                    Err(_) => return Ok(()),
                },
            };
            match next {
                Parcel::Credit(bytes) => self.earn(bytes)?,
                Parcel::Ship { path, stream, torn } => {
                    let Some(result) = self.ship(&path, stream, torn, &mut waiting)? else { return Ok(()) };
                    if self.deliveries.send(Ok(Delivery { path, stream, result })).is_err() {
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
        waiting: &mut VecDeque<Parcel>,
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
            if !self.spend(chunk.bytes.len(), waiting)? {
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
        if !self.spend(0, waiting)? {
            return Ok(None);
        }
        self.sender.send_blocking(Lane::Bulk, end)?;
        // All credit back means that the replica has written, and synced, everything.
        while self.credit < self.full {
            if !self.listen(waiting)? {
                return Ok(None);
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
    fn spend(&mut self, bytes: usize, waiting: &mut VecDeque<Parcel>) -> Result<bool> {
        let cost = u32::try_from(bytes).unwrap_or(u32::MAX).max(CHUNK_COST_MIN);
        while self.credit < cost {
            if !self.listen(waiting)? {
                return Ok(false);
            }
        }
        self.credit -= cost;
        Ok(true)
    }

    /// Takes the next parcel while a file is under way. False: the session is gone.
    fn listen(&mut self, waiting: &mut VecDeque<Parcel>) -> Result<bool> {
        match self.parcels.recv() {
            Ok(Parcel::Credit(bytes)) => self.earn(bytes)?,
            Ok(other) => waiting.push_back(other),
            Err(_) => return Ok(false),
        }
        Ok(true)
    }

    fn earn(&mut self, bytes: u32) -> Result<()> {
        let credit = self.credit.checked_add(bytes).filter(|credit| *credit <= self.full);
        self.credit = credit.ok_or(UNUSED)?;
        Ok(())
    }
}

fn failed(error: &fulmar_tree::Error) -> Delivered {
    if error.is_gone() { Delivered::Changed } else { Delivered::Unreadable(error.errno()) }
}
