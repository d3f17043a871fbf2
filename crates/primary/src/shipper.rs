//! Ships large content beside the batches, in the bulk lane and within the replica's credit: what goes when, against what, and
//! what becomes of it. How one file is read and sent, `attempt` says.
//!
//! To another host goes a patch where there is something to start from: against the content that was shipped last, whose
//! signature was kept, without a question; otherwise against what the replica says it has. Whatever does not work out ends
//! with the whole content. A replica on this host gets no patches, as the whole costs both sides less; where the file system can
//! share extents it clones the file in the source, and is sent nothing but the hash of what was read here.
//!
//! One file is read and sent while those before it are being acknowledged. What was sent whole cannot be refused; a patch
//! can, when its end is long gone: its order then comes back, to the front, with what was told.
//!
//! Everything here ends with `Error::Gone` when the session is gone.

use crate::chunks::{Delivered, Delivery, Parcel, STREAMS_EACH, Ship};
use crate::credit::Credit;
use crate::patch::Told;
use crate::preparations::Preparations;
use crate::signatures::{SIGNATURE_BYTES_MAX, Signatures};
use crate::{Error, Result};
use fulmar_delta::{BlockLen, SUM_BYTES, Signature};
use fulmar_link::{Lane, Sender};
use fulmar_model::{Hash, Kind, Stat};
use fulmar_tree::{Lender, Tree};
use fulmar_wire::{Basis, FromPrimary, Lend, Offer, chunk_cost};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// From this size on a replica is asked what it has even where nobody knows of anything: it may have a beginning.
const ASK_BYTES_MIN: u64 = 1 << 20;
/// A file with more holes than this goes whole.
const HOLES_BYTES_MAX: u64 = 64 << 20;

/// Owns the way to the bulk lane.
pub(crate) struct Shipper {
    pub(crate) tree: Tree,
    parcels: Receiver<Parcel>,
    /// Parts of signatures in `parcels`.
    parts: Arc<AtomicUsize>,
    /// Files that were handed over while another was under way, and those whose patch was refused before them.
    waiting: VecDeque<Order>,
    /// Files that were sent and not acknowledged, in the order of their ends. Together with those that wait, and the one
    /// under way, as many as were handed over.
    sent: VecDeque<Sent>,
    sender: Sender,
    pub(crate) signatures: Option<Signatures>,
    /// Where there are other replicas.
    pub(crate) preparations: Option<Preparations>,
    /// Where the replica is in this process.
    lender: Option<Lender>,
    pub(crate) credit: Credit,
    /// What the replica says it has, as far as it was heard and is not of a file that was sent.
    told: Option<Told>,
    deliveries: UnboundedSender<Result<Delivery>>,
}

/// What content is sent against.
pub(crate) enum Start {
    /// Nothing.
    Whole,
    /// The source, which the replica can reach: it clones the file, and is told the hash.
    Source,
    /// This content, which the replica has.
    Basis((Hash, Signature)),
}

/// A file to be shipped, and how far that has come.
pub(crate) struct Order {
    pub(crate) ship: Ship,
    /// The stream of the next attempt, or of this.
    pub(crate) stream: u64,
    /// Everything before this was sent in it.
    pub(crate) at: u64,
    /// What the replica has, where it refused the attempt before.
    told: Option<Told>,
    /// Bytes of the frames it took.
    bytes: u64,
}

/// A file that was sent to its end.
struct Sent {
    order: Order,
    /// What comes of it when it is acknowledged.
    delivered: Delivered,
    /// All that was spent with its end. When that is back the replica has written, and synced, everything, and has said what
    /// it has to say of it.
    spent: u64,
}

/// How an attempt ended.
pub(crate) enum Attempt {
    /// It was sent, and is acknowledged or refused.
    Sent(Delivered),
    /// It was given up.
    Failed(Delivered),
    /// The replica has another basis, or a patch did not lead to the content: `told` says what it has.
    Refused,
}

impl Shipper {
    /// `full`: the credit that is used.
    pub(crate) fn new(
        tree: Tree,
        (parcels, parts): (Receiver<Parcel>, Arc<AtomicUsize>),
        sender: Sender,
        (signatures, preparations, lender): (Option<Signatures>, Option<Preparations>, Option<Lender>),
        full: u32,
        deliveries: UnboundedSender<Result<Delivery>>,
    ) -> Self {
        Self {
            tree,
            parcels,
            parts,
            waiting: VecDeque::new(),
            sent: VecDeque::new(),
            sender,
            signatures,
            preparations,
            lender,
            credit: Credit::new(full),
            told: None,
            deliveries,
        }
    }

    /// Runs until the session is gone.
    pub(crate) fn run(mut self) {
        let Err(error) = self.work() else { return };
        match error {
            Error::Gone => {}
            // The session hears from its reader that the link has ended, and why; to end here would say that this thread
            // has failed.
            Error::Link(_) => while self.parcels.recv().is_ok() {},
            error => {
                // A session that is gone needs no reason.
                let _ = self.deliveries.send(Err(error));
            }
        }
    }

    fn work(&mut self) -> Result<()> {
        loop {
            let Some(order) = self.waiting.pop_front() else {
                self.listen()?;
                continue;
            };
            self.ship(order)?;
        }
    }

    fn ship(&mut self, mut order: Order) -> Result<()> {
        let from = match self.tree.stat(&order.ship.path) {
            Ok(_) if order.stream > order.ship.stream => {
                order.told.take().and_then(Told::signed).map_or(Start::Whole, Start::Basis)
            }
            Ok(Some(stat)) if stat.kind == Kind::File => self.start(&order.ship, stat)?,
            Ok(_) => return self.deliver(order, Delivered::Changed),
            Err(error) => return self.deliver(order, failed(&error)),
        };
        match self.attempt(&mut order, &from)? {
            Attempt::Sent(delivered) => {
                self.sent.push_back(Sent { order, delivered, spent: self.credit.spent() });
                // Credit may have come back before.
                self.settle()
            }
            Attempt::Failed(delivered) => {
                self.abandon(order.stream)?;
                self.deliver(order, delivered)
            }
            Attempt::Refused => {
                order.told = self.told.take();
                self.again(order)
            }
        }
    }

    /// The next attempt: after a patch pushed on trust a patch against what the replica told, after that the whole.
    fn again(&mut self, mut order: Order) -> Result<()> {
        tracing::debug!(path = %order.ship.path, "the replica has another basis");
        self.abandon(order.stream)?;
        order.told = order.told.filter(|_| order.stream == order.ship.stream);
        order.stream += 1;
        if order.stream < order.ship.stream + STREAMS_EACH {
            self.waiting.push_front(order);
            return Ok(());
        }
        self.deliver(order, Delivered::Moving)
    }

    fn deliver(&self, order: Order, result: Delivered) -> Result<()> {
        let delivery = Delivery { path: order.ship.path, stream: order.stream, result, sent: order.bytes };
        self.deliveries.send(Ok(delivery)).map_err(|_| Error::Gone)
    }

    /// Delivers what has been acknowledged, and takes back what was refused.
    fn settle(&mut self) -> Result<()> {
        while let Some(Sent { order, delivered, .. }) = self.next_settled() {
            match order.told {
                None => self.deliver(order, delivered)?,
                Some(_) => self.again(order)?,
            }
        }
        Ok(())
    }

    fn next_settled(&mut self) -> Option<Sent> {
        let settled = self.sent.front().is_some_and(|sent| self.credit.is_back(sent.spent));
        settled.then(|| self.sent.pop_front()).flatten()
    }

    /// What the content is to be sent against.
    fn start(&mut self, ship: &Ship, stat: Stat) -> Result<Start> {
        if !ship.torn && self.lender.as_ref().is_some_and(Lender::is_able) {
            return Ok(Start::Source);
        }
        let Some(signatures) = &self.signatures else { return Ok(Start::Whole) };
        let (size, before) = (stat.size, ship.known.as_ref().and_then(|record| record.hash));
        let sums = size / BlockLen::for_file(size).bytes() * SUM_BYTES as u64;
        // A patch carries the zeros of a hole, a whole file skips them.
        if size.saturating_sub(stat.allocated) > HOLES_BYTES_MAX || sums > SIGNATURE_BYTES_MAX as u64 {
            return Ok(Start::Whole);
        }
        if let Some(signed) = before.and_then(|hash| Some((hash, signatures.get(hash)?))) {
            return Ok(Start::Basis(signed));
        }
        if before.is_none() && size < ASK_BYTES_MIN {
            return Ok(Start::Whole);
        }
        self.offer(ship, ship.stream, size, None)?;
        while !self.is_answered(ship.stream) {
            self.listen()?;
        }
        Ok(self.told.take().and_then(Told::signed).map_or(Start::Whole, Start::Basis))
    }

    pub(crate) fn offer(&mut self, ship: &Ship, stream: u64, size: u64, basis: Option<Hash>) -> Result<()> {
        let offer = Offer { stream, path: ship.path.clone(), size, basis };
        // In the bulk lane: before its chunks, and behind an `Abandon` of the stream before.
        Ok(self.sender.send_blocking(Lane::Bulk, FromPrimary::Offer(offer).encode()?)?)
    }

    pub(crate) fn lend(&self, ship: &Ship, stream: u64, size: u64) -> Result<()> {
        let lend = Lend { stream, path: ship.path.clone(), size };
        Ok(self.sender.send_blocking(Lane::Bulk, FromPrimary::Lend(lend).encode()?)?)
    }

    /// Sends it, once credit allows.
    pub(crate) fn chunk(&mut self, order: &mut Order, offset: u64, bytes: &[u8]) -> Result<()> {
        let cost = chunk_cost(bytes.len());
        while !self.credit.covers(cost) {
            self.listen()?;
        }
        self.credit.spend(cost)?;
        let frame = FromPrimary::encode_chunk(order.stream, offset, bytes)?;
        order.bytes += frame.as_bytes().len() as u64;
        order.at = offset.saturating_add(bytes.len() as u64);
        Ok(self.sender.send_blocking(Lane::Bulk, frame)?)
    }

    fn abandon(&self, stream: u64) -> Result<()> {
        // In the bulk lane, so that it does not overtake the chunks it takes back.
        Ok(self.sender.send_blocking(Lane::Bulk, FromPrimary::Abandon { stream }.encode()?)?)
    }

    pub(crate) fn is_answered(&self, stream: u64) -> bool {
        self.told.as_ref().is_some_and(|told| told.answers(stream))
    }

    /// Waits for the next parcel.
    pub(crate) fn listen(&mut self) -> Result<()> {
        let parcel = self.parcels.recv().map_err(|_| Error::Gone)?;
        self.take(parcel)
    }

    /// Waits for the next parcel, but no longer than this.
    pub(crate) fn listen_for(&mut self, patience: Duration) -> Result<()> {
        match self.parcels.recv_timeout(patience) {
            Ok(parcel) => self.take(parcel),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(Error::Gone),
        }
    }

    /// Takes what has come without waiting: a refusal is to be heard before the file is read to its end.
    pub(crate) fn poll(&mut self) -> Result<()> {
        loop {
            match self.parcels.try_recv() {
                Ok(parcel) => self.take(parcel)?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(Error::Gone),
            }
        }
    }

    fn take(&mut self, parcel: Parcel) -> Result<()> {
        match parcel {
            Parcel::Ship(ship) => {
                let stream = ship.stream;
                self.waiting.push_back(Order { ship, stream, at: 0, told: None, bytes: 0 });
                Ok(())
            }
            Parcel::Basis(part) => {
                self.parts.fetch_sub(1, Ordering::Relaxed);
                self.hear(part);
                Ok(())
            }
            Parcel::Credit(bytes) => {
                self.credit.give_back(bytes)?;
                self.settle()
            }
        }
    }

    /// What is said of a file that was sent belongs to that.
    fn hear(&mut self, part: Basis) {
        let stream = part.stream;
        let orders = self.sent.iter().map(|sent| &sent.order).chain(&self.waiting);
        let kept: usize = orders.filter_map(|order| order.told.as_ref()).map(Told::bytes).sum();
        let told = Told::hear(self.told.take(), part, SIGNATURE_BYTES_MAX.saturating_sub(kept));
        match self.sent.iter_mut().find(|sent| sent.order.stream == stream) {
            Some(sent) if told.answers(stream) => sent.order.told = Some(told),
            _ => self.told = Some(told),
        }
    }
}

pub(crate) fn failed(error: &fulmar_tree::Error) -> Delivered {
    if error.is_gone() { Delivered::Changed } else { Delivered::Unreadable(error.errno()) }
}

#[cfg(test)]
#[path = "shipper_tests.rs"]
mod tests;
