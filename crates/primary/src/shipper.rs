//! Ships large content beside the batches: reads in chunks, sends in the bulk lane within the replica's credit, and
//! ends with the hash of what was read. A version that changed while it was read is not passed off as final.
//!
//! To another host goes a patch where there is something to start from: against the content that was shipped last, whose
//! signature was kept, without a question; otherwise against what the replica says it has. Whatever does not work out ends
//! with the whole content. A replica on this host gets the whole at once, as it costs both sides less.
//!
//! Everything here ends with `Error::Gone` when the session is gone.

use crate::chunks::{Delivered, Delivery, Parcel, STREAMS_EACH, Ship, UNUSED};
use crate::patch::{Patch, Told};
use crate::prepare::{Content, is_rotten};
use crate::signatures::{SIGNATURE_BYTES_MAX, Signatures};
use crate::{Error, Result};
use fulmar_delta::{BlockLen, SUM_BYTES, Signature, Signer};
use fulmar_link::{Lane, Sender};
use fulmar_model::{Hash, Kind, Stat};
use fulmar_tree::{Clock, Reader, Tree, zeros};
use fulmar_wire::{FromPrimary, Offer, chunk_cost};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use tokio::sync::mpsc::UnboundedSender;

/// Bytes in one chunk: large enough to cost little, small enough for an urgent frame to pass soon.
const CHUNK_BYTES: usize = 256 * 1024;
/// From this size on a replica is asked what it has even where nobody knows of anything: it may have a beginning.
const ASK_BYTES_MIN: u64 = 1 << 20;
/// A file with more holes than this goes whole.
const HOLES_BYTES_MAX: u64 = 64 << 20;

/// Owns the way to the bulk lane.
pub(crate) struct Shipper {
    tree: Tree,
    parcels: Receiver<Parcel>,
    /// Parts of signatures in `parcels`.
    parts: Arc<AtomicUsize>,
    /// Files that were handed over while another was under way.
    waiting: VecDeque<Ship>,
    sender: Sender,
    signatures: Option<Signatures>,
    /// Bytes the replica has room for; `full` when it has dealt with everything it was sent.
    credit: u32,
    full: u32,
    /// What the replica says it has, as far as it was heard.
    told: Option<Told>,
    /// Bytes sent for the present file.
    sent: u64,
    deliveries: UnboundedSender<Result<Delivery>>,
}

/// What content is sent against.
enum Start {
    /// Nothing.
    Whole,
    /// This content, which the replica has.
    Basis((Hash, Signature)),
}

/// How content goes.
enum Form<'a> {
    /// As it is; signed, where signatures are kept.
    Whole(Option<Signer>),
    /// As a patch, which is signed by the way.
    Patch(Box<Patch<'a>>),
}

/// How an attempt ended.
enum Sent {
    Delivered(Delivered),
    /// The replica has another basis, or a patch did not lead to the content: `told` says what it has.
    Refused,
}

impl Shipper {
    /// `full`: the credit that is used.
    pub(crate) fn new(
        tree: Tree,
        (parcels, parts): (Receiver<Parcel>, Arc<AtomicUsize>),
        sender: Sender,
        (signatures, full): (Option<Signatures>, u32),
        deliveries: UnboundedSender<Result<Delivery>>,
    ) -> Self {
        Self {
            tree,
            parcels,
            parts,
            waiting: VecDeque::new(),
            sender,
            signatures,
            credit: full,
            full,
            told: None,
            sent: 0,
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
            self.sent = 0;
            let (stream, result) = self.ship(&order)?;
            let delivery = Delivery { path: order.path, stream, result, sent: self.sent };
            self.deliveries.send(Ok(delivery)).map_err(|_| Error::Gone)?;
        }
    }

    /// The stream that brought it, and what became of it.
    fn ship(&mut self, order: &Ship) -> Result<(u64, Delivered)> {
        let mut from = match self.tree.stat(&order.path) {
            Ok(Some(stat)) if stat.kind == Kind::File => self.start(order, stat)?,
            Ok(_) => return Ok((order.stream, Delivered::Changed)),
            Err(error) => return Ok((order.stream, failed(&error))),
        };
        // A patch pushed on trust, a patch against what the replica told, the whole.
        for stream in order.stream..order.stream + STREAMS_EACH {
            match self.send(order, stream, &from)? {
                Sent::Delivered(delivered) => return Ok((stream, delivered)),
                Sent::Refused => {
                    tracing::debug!(path = %order.path, "the replica has another basis");
                    self.abandon(stream)?;
                    let first = stream == order.stream;
                    from = self.told.take().and_then(Told::signed).filter(|_| first).map_or(Start::Whole, Start::Basis);
                }
            }
        }
        Ok((order.stream, Delivered::Moving))
    }

    /// What the content is to be sent against.
    fn start(&mut self, order: &Ship, stat: Stat) -> Result<Start> {
        let Some(signatures) = &self.signatures else { return Ok(Start::Whole) };
        let (size, before) = (stat.size, order.known.as_ref().and_then(|record| record.hash));
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
        self.offer(order, order.stream, size, None)?;
        while !self.is_answered(order.stream) {
            self.listen()?;
        }
        Ok(self.told.take().and_then(Told::signed).map_or(Start::Whole, Start::Basis))
    }

    fn offer(&mut self, order: &Ship, stream: u64, size: u64, basis: Option<Hash>) -> Result<()> {
        self.told = None;
        let offer = Offer { stream, path: order.path.clone(), size, basis };
        // In the bulk lane: before its chunks, and behind an `Abandon` of the stream before.
        Ok(self.sender.send_blocking(Lane::Bulk, FromPrimary::Offer(offer).encode()?)?)
    }

    /// Reads the file once, and sends it.
    fn send(&mut self, order: &Ship, stream: u64, from: &Start) -> Result<Sent> {
        let began = Clock::coarse_now();
        let Some((parent, name)) = order.path.split() else { return Ok(Sent::Delivered(Delivered::Changed)) };
        let mut reader = match self.tree.dir(&parent).and_then(|dir| dir.open_file(&name)) {
            Ok(reader) => reader,
            Err(error) => return self.give_up(stream, failed(&error)),
        };
        let stat = *reader.stat();
        let signer = Signer::new(BlockLen::for_file(stat.size));
        let mut form = match from {
            Start::Basis((hash, signature)) => {
                self.offer(order, stream, stat.size, Some(*hash))?;
                Form::Patch(Box::new(Patch::new(signature, signer)))
            }
            Start::Whole => Form::Whole(self.signatures.is_some().then_some(signer)),
        };
        match self.read(stream, &mut reader, &mut form) {
            Ok(true) => {}
            Ok(false) => return Ok(Sent::Refused),
            Err(Error::Tree(error)) => return self.give_up(stream, failed(&error)),
            Err(error) => return Err(error),
        }
        let (xattrs, (hash, after)) = match reader.xattrs().and_then(|xattrs| Ok((xattrs, reader.finish()?))) {
            Ok(finished) => finished,
            Err(error) => return self.give_up(stream, failed(&error)),
        };
        let still = stat.same_version(&after);
        // A file that shrank was read to its new end only, so that its size and its content do not belong together.
        if !still && (!order.torn || after.size < stat.size) {
            return self.give_up(stream, Delivered::Moving);
        }
        if still && is_rotten(&stat, Some(hash), order.known.as_ref()) {
            return self.give_up(stream, Delivered::Rotten);
        }
        let (end, signature) = match form {
            Form::Whole(signer) => (stat.size, signer.map(Signer::finish)),
            Form::Patch(mut patch) => {
                let signature = patch.finish(hash);
                self.drain(stream, &mut patch, 1)?;
                (patch.sent, signature)
            }
        };
        self.chunk(stream, end, &[])?;
        // All credit back means that the replica has written, and synced, everything.
        while self.credit < self.full {
            self.listen()?;
        }
        if self.is_answered(stream) {
            return Ok(Sent::Refused);
        }
        if let (Some(signatures), Some(signature), true) = (&self.signatures, signature, still) {
            signatures.put(hash, &signature);
        }
        let content =
            Box::new(Content { stat, xattrs, hash: Some(hash), segments: Vec::new(), target: Box::default(), began });
        Ok(Sent::Delivered(if still { Delivered::Whole(content) } else { Delivered::Torn(content) }))
    }

    /// Sends what is read, as it is or as it comes out of the patch. False: the replica has no use for it.
    fn read(&mut self, stream: u64, reader: &mut Reader, form: &mut Form<'_>) -> Result<bool> {
        let (size, mut at) = (reader.stat().size, 0);
        loop {
            let chunk = reader.next_chunk(CHUNK_BYTES)?;
            for bytes in zeros(chunk.as_ref().map_or(size, |chunk| chunk.offset).saturating_sub(at)) {
                self.pass(stream, bytes, form)?;
            }
            let Some(chunk) = chunk else { return Ok(true) };
            at = chunk.offset + chunk.bytes.len() as u64;
            self.pass(stream, &chunk.bytes, form)?;
            if matches!(form, Form::Whole(_)) {
                self.chunk(stream, chunk.offset, &chunk.bytes)?;
            }
            self.poll()?;
            if self.is_answered(stream) {
                return Ok(false);
            }
        }
    }

    /// Gives the next bytes of the file to whoever has to see all of them.
    fn pass(&mut self, stream: u64, bytes: &[u8], form: &mut Form<'_>) -> Result<()> {
        match form {
            Form::Whole(None) => Ok(()),
            Form::Whole(Some(signer)) => {
                signer.update(bytes);
                Ok(())
            }
            Form::Patch(patch) => {
                patch.update(bytes);
                self.drain(stream, patch, if patch.is_due() { 1 } else { CHUNK_BYTES })
            }
        }
    }

    /// Sends what a patch has come to, in chunks of at least `least` bytes.
    fn drain(&mut self, stream: u64, patch: &mut Patch<'_>, least: usize) -> Result<()> {
        let mut out = std::mem::take(&mut patch.out);
        let mut rest = out.as_slice();
        while rest.len() >= least {
            let (bytes, behind) = rest.split_at(rest.len().min(CHUNK_BYTES));
            self.chunk(stream, patch.sent, bytes)?;
            patch.note_sent(bytes.len());
            rest = behind;
        }
        let gone = out.len() - rest.len();
        out.drain(..gone);
        patch.out = out;
        Ok(())
    }

    fn chunk(&mut self, stream: u64, offset: u64, bytes: &[u8]) -> Result<()> {
        let cost = chunk_cost(bytes.len());
        while self.credit < cost {
            self.listen()?;
        }
        self.credit -= cost;
        let frame = FromPrimary::encode_chunk(stream, offset, bytes)?;
        self.sent += frame.as_bytes().len() as u64;
        Ok(self.sender.send_blocking(Lane::Bulk, frame)?)
    }

    fn give_up(&self, stream: u64, delivered: Delivered) -> Result<Sent> {
        self.abandon(stream)?;
        Ok(Sent::Delivered(delivered))
    }

    fn abandon(&self, stream: u64) -> Result<()> {
        // In the bulk lane, so that it does not overtake the chunks it takes back.
        Ok(self.sender.send_blocking(Lane::Bulk, FromPrimary::Abandon { stream }.encode()?)?)
    }

    fn is_answered(&self, stream: u64) -> bool {
        self.told.as_ref().is_some_and(|told| told.answers(stream))
    }

    /// Waits for the next parcel.
    fn listen(&mut self) -> Result<()> {
        let parcel = self.parcels.recv().map_err(|_| Error::Gone)?;
        self.take(parcel)
    }

    /// Takes what has come without waiting: a refusal is to be heard before the file is read to its end.
    fn poll(&mut self) -> Result<()> {
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
            Parcel::Ship(order) => self.waiting.push_back(order),
            Parcel::Basis(part) => {
                self.parts.fetch_sub(1, Ordering::Relaxed);
                self.told = Some(Told::hear(self.told.take(), part));
            }
            Parcel::Credit(bytes) => {
                let credit = self.credit.checked_add(bytes).filter(|credit| *credit <= self.full);
                self.credit = credit.ok_or(UNUSED)?;
            }
        }
        Ok(())
    }
}

fn failed(error: &fulmar_tree::Error) -> Delivered {
    if error.is_gone() { Delivered::Changed } else { Delivered::Unreadable(error.errno()) }
}
