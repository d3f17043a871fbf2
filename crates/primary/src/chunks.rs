//! Ships large content beside the batches: reads in chunks, sends in the bulk lane within the replica's credit, and
//! ends with the hash of what was read. A version that changed while it was read is not passed off as final.
//!
//! To another host goes a patch where there is something to start from: against the content that was shipped last, whose
//! signature was kept, without a question; otherwise against what the replica says it has. Whatever does not work out ends
//! with the whole content. A replica on this host gets the whole at once, as it costs both sides less.

use crate::prepare::Content;
use crate::signatures::{SIGNATURE_BYTES_MAX, Signatures};
use crate::{Error, Result};
use fulmar_delta::{BlockLen, Matcher, PatchWriter, SUM_BYTES, Signature, Signer};
use fulmar_link::{Lane, Sender};
use fulmar_model::{Hash, RelPath, Stat, Timestamp};
use fulmar_tree::{Clock, Reader, Tree};
use fulmar_wire::{Basis, FromPrimary, Offer, SIGNATURE_BYTES_MAX as PART_BYTES_MAX};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Large files handed to the shipper at once.
pub(crate) const SHIPPING_MAX: usize = 4;
/// Credit that is used at most, in bytes, whatever a replica grants: it bounds the parcels that wait.
const CREDIT_BYTES_MAX: u32 = 64 << 20;

/// Bytes in one chunk: large enough to cost little, small enough for an urgent frame to pass soon.
const CHUNK_BYTES: usize = 256 * 1024;
/// The least a chunk counts against the credit, as the replica counts.
const CHUNK_COST_MIN: u32 = 4096;

/// Numbers of streams that belong to one file, because no attempt shares one with the attempt before.
pub(crate) const STREAMS_EACH: u64 = 3;
/// From this size on a replica is asked what it has even where nobody knows of anything: it may have a beginning.
const ASK_BYTES_MIN: u64 = 1 << 20;
/// A file with more holes than this goes whole.
const HOLES_BYTES_MAX: u64 = 64 << 20;
/// Parts of an answer that wait at most.
const BASIS_PARTS_MAX: usize = 128;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// What the shipper is told.
#[derive(Debug)]
pub(crate) enum Parcel {
    /// A file to be shipped.
    Ship(Ship),
    /// The replica has room for this many more bytes.
    Credit(u32),
    /// A part of what the replica says it has.
    Basis(Basis),
}

/// A file to be shipped.
#[derive(Debug)]
pub(crate) struct Ship {
    pub(crate) path: RelPath,
    /// The first of [`STREAMS_EACH`] numbers.
    pub(crate) stream: u64,
    /// Also when it does not hold still.
    pub(crate) torn: bool,
    /// Hash of the content that was shipped last, where one was.
    pub(crate) before: Option<Hash>,
}

/// What became of a large file.
pub(crate) struct Delivery {
    pub(crate) path: RelPath,
    pub(crate) stream: u64,
    pub(crate) result: Delivered,
    /// Bytes of the frames it took.
    pub(crate) sent: u64,
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
    /// Parts of signatures that the shipper has not taken.
    parts: Arc<AtomicUsize>,
    /// At most [`SHIPPING_MAX`]; an error is the last.
    pub(crate) deliveries: UnboundedReceiver<Result<Delivery>>,
}

impl Shipping {
    /// Starts a shipper on a thread of its own, for a replica that grants `credit` bytes. Without `signatures` there are no
    /// patches.
    pub(crate) fn start(tree: Tree, sender: Sender, credit: u32, signatures: Option<Signatures>) -> Result<Self> {
        let full = credit.min(CREDIT_BYTES_MAX);
        let (parcels, inbox) = sync_channel((full / CHUNK_COST_MIN) as usize + SHIPPING_MAX + BASIS_PARTS_MAX);
        let (deliveries_in, deliveries) = unbounded_channel();
        let parts = Arc::<AtomicUsize>::default();
        let shipper = Shipper {
            parts: Arc::clone(&parts),
            tree,
            parcels: inbox,
            sender,
            signatures,
            credit: full,
            full,
            told: None,
            sent: 0,
            deliveries: deliveries_in,
        };
        let body = move || shipper.run();
        std::thread::Builder::new().name("fulmar-ship".to_owned()).spawn(body).map_err(|_| Error::Gone)?;
        Ok(Self { parcels, parts, deliveries })
    }

    /// Does not wait: there is room for every file that may be handed over, and for the credit of every chunk.
    pub(crate) fn tell(&self, parcel: Parcel) -> Result<()> {
        if let Parcel::Basis(part) = &parcel {
            let waiting = self.parts.fetch_add(1, Ordering::Relaxed);
            if waiting >= BASIS_PARTS_MAX || part.signature.len() > PART_BYTES_MAX {
                return Err(Error::Protocol("more of a signature than was agreed on"));
            }
        }
        match self.parcels.try_send(parcel) {
            Err(TrySendError::Full(_)) => Err(UNUSED),
            // It has ended: why, comes in the place of a delivery.
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }
}

/// Of a replica that gives back more than it was sent.
const UNUSED: Error = Error::Protocol("more credit than was used");

/// What content is sent against.
enum Start {
    /// Not settled yet.
    Unknown,
    /// Nothing.
    Whole,
    /// This content, which the replica has.
    Basis((Hash, Signature)),
}

/// How an attempt ended.
enum Sent {
    Delivered(Delivered),
    /// The replica has another basis, or a patch did not lead to the content: `told` says what it has.
    Refused,
}

/// What a replica says it has.
struct Told {
    stream: u64,
    hash: Option<Hash>,
    signature: Vec<u8>,
    /// Whether all of it was heard.
    whole: bool,
}

impl Told {
    /// A signature that makes no sense is none.
    fn signed(self) -> Option<(Hash, Signature)> {
        Some((self.hash?, Signature::from_bytes(&self.signature).ok()?))
    }
}

/// A patch in the making.
struct Patch<'a> {
    matcher: Option<Matcher<'a>>,
    writer: PatchWriter,
    /// Not sent yet.
    out: Vec<u8>,
    /// Bytes sent.
    sent: u64,
}

impl<'a> Patch<'a> {
    fn new(signature: &'a Signature) -> Self {
        Self { matcher: Some(Matcher::new(signature)), writer: PatchWriter::new(), out: Vec::new(), sent: 0 }
    }

    fn update(&mut self, bytes: &[u8]) {
        if let Some(matcher) = &mut self.matcher {
            matcher.update(bytes, &mut |instruction| self.writer.put(instruction, &mut self.out));
        }
    }

    /// Ends it, with the hash of the result behind it.
    fn finish(mut self, hash: Hash) -> Self {
        if let Some(matcher) = self.matcher.take() {
            matcher.finish(&mut |instruction| self.writer.put(instruction, &mut self.out));
        }
        std::mem::take(&mut self.writer).finish(&mut self.out);
        self.out.extend_from_slice(&hash.0);
        self
    }
}

/// Owns the way to the bulk lane.
struct Shipper {
    parts: Arc<AtomicUsize>,
    tree: Tree,
    parcels: Receiver<Parcel>,
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
                Parcel::Basis(part) => self.hear(part)?,
                Parcel::Ship(order) => {
                    self.sent = 0;
                    let Some((stream, result)) = self.ship(&order, &mut waiting)? else { return Ok(()) };
                    let delivery = Delivery { path: order.path, stream, result, sent: self.sent };
                    if self.deliveries.send(Ok(delivery)).is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// `None`: the session is gone.
    fn ship(&mut self, order: &Ship, waiting: &mut VecDeque<Parcel>) -> Result<Option<(u64, Delivered)>> {
        let Some((parent, name)) = order.path.split() else { return Ok(Some((order.stream, Delivered::Changed))) };
        let mut from = Start::Unknown;
        // A patch pushed on trust, a patch against what the replica told, the whole.
        for stream in order.stream..order.stream + STREAMS_EACH {
            let began = Clock::coarse_now();
            let reader = match self.tree.dir(&parent).and_then(|dir| dir.open_file(&name)) {
                Ok(reader) => reader,
                Err(error) => return Ok(Some((stream, failed(&error)))),
            };
            if stream == order.stream {
                let Some(start) = self.start(order, *reader.stat(), waiting)? else { return Ok(None) };
                from = start;
            }
            let Some(outcome) = self.send(order, stream, &from, reader, began, waiting)? else { return Ok(None) };
            match outcome {
                Sent::Delivered(delivered) => return Ok(Some((stream, delivered))),
                Sent::Refused => {
                    tracing::debug!(path = %order.path, "the replica has another basis");
                    self.abandon(stream)?;
                    let first = stream == order.stream;
                    from = self.told.take().and_then(Told::signed).filter(|_| first).map_or(Start::Whole, Start::Basis);
                }
            }
        }
        Ok(Some((order.stream, Delivered::Moving)))
    }

    /// What the content is to be sent against. `None`: the session is gone.
    fn start(&mut self, order: &Ship, stat: Stat, waiting: &mut VecDeque<Parcel>) -> Result<Option<Start>> {
        let Some(signatures) = self.signatures.clone() else { return Ok(Some(Start::Whole)) };
        let size = stat.size;
        let sums = size / BlockLen::for_file(size).bytes() * SUM_BYTES as u64;
        // A patch carries the zeros of a hole, a whole file skips them.
        if size.saturating_sub(stat.allocated) > HOLES_BYTES_MAX || sums > SIGNATURE_BYTES_MAX as u64 {
            return Ok(Some(Start::Whole));
        }
        if let Some(signed) = order.before.and_then(|hash| Some((hash, signatures.get(hash)?))) {
            return Ok(Some(Start::Basis(signed)));
        }
        if order.before.is_none() && size < ASK_BYTES_MIN {
            return Ok(Some(Start::Whole));
        }
        self.offer(order, order.stream, size, None)?;
        loop {
            if let Some(told) = self.told.take_if(|told| told.stream == order.stream && told.whole) {
                return Ok(Some(told.signed().map_or(Start::Whole, Start::Basis)));
            }
            if !self.listen(waiting)? {
                return Ok(None);
            }
        }
    }

    fn offer(&mut self, order: &Ship, stream: u64, size: u64, basis: Option<Hash>) -> Result<()> {
        self.told = None;
        let offer = Offer { stream, path: order.path.clone(), size, basis };
        // In the bulk lane: before its chunks, and behind an `Abandon` of the stream before.
        Ok(self.sender.send_blocking(Lane::Bulk, FromPrimary::Offer(offer).encode()?)?)
    }

    /// Reads the file once, and sends it. `None`: the session is gone.
    fn send(
        &mut self,
        order: &Ship,
        stream: u64,
        from: &Start,
        mut reader: Reader,
        began: Timestamp,
        waiting: &mut VecDeque<Parcel>,
    ) -> Result<Option<Sent>> {
        let stat = *reader.stat();
        let mut signer = self.signatures.is_some().then(|| Signer::new(BlockLen::for_file(stat.size)));
        let mut patch = match from {
            Start::Basis((hash, signature)) => {
                self.offer(order, stream, stat.size, Some(*hash))?;
                Some(Patch::new(signature))
            }
            Start::Whole | Start::Unknown => None,
        };
        let mut at = 0;
        loop {
            let chunk = match reader.next_chunk(CHUNK_BYTES) {
                Ok(chunk) => chunk,
                Err(error) => {
                    self.abandon(stream)?;
                    return Ok(Some(Sent::Delivered(failed(&error))));
                }
            };
            let mut hole = chunk.as_ref().map_or(stat.size, |chunk| chunk.offset).saturating_sub(at);
            while hole > 0 {
                let some = usize::try_from(hole).unwrap_or(usize::MAX).min(ZEROS.len());
                let bytes = ZEROS.get(..some).unwrap_or(&ZEROS);
                hole -= bytes.len() as u64;
                signer.iter_mut().for_each(|signer| signer.update(bytes));
                if let Some(patch) = &mut patch {
                    patch.update(bytes);
                    if !self.drain(stream, patch, CHUNK_BYTES, waiting)? {
                        return Ok(None);
                    }
                }
            }
            let Some(chunk) = chunk else { break };
            at = chunk.offset + chunk.bytes.len() as u64;
            signer.iter_mut().for_each(|signer| signer.update(&chunk.bytes));
            let sent = match &mut patch {
                None => self.chunk(stream, chunk.offset, &chunk.bytes, waiting)?,
                Some(patch) => {
                    patch.update(&chunk.bytes);
                    self.drain(stream, patch, CHUNK_BYTES, waiting)?
                }
            };
            if !sent || !self.poll(waiting)? {
                return Ok(None);
            }
            if self.is_refused(stream) {
                return Ok(Some(Sent::Refused));
            }
        }
        let finished = reader.xattrs().and_then(|xattrs| Ok((xattrs, reader.finish()?)));
        let (xattrs, (hash, after)) = match finished {
            Ok(finished) => finished,
            Err(error) => {
                self.abandon(stream)?;
                return Ok(Some(Sent::Delivered(failed(&error))));
            }
        };
        let still = stat.same_version(&after);
        // A file that shrank was read to its new end only, so that its size and its content do not belong together.
        if !still && (!order.torn || after.size < stat.size) {
            self.abandon(stream)?;
            return Ok(Some(Sent::Delivered(Delivered::Moving)));
        }
        let mut end = stat.size;
        if let Some(patch) = patch {
            let mut patch = patch.finish(hash);
            if !self.drain(stream, &mut patch, 1, waiting)? {
                return Ok(None);
            }
            end = patch.sent;
        }
        if !self.chunk(stream, end, &[], waiting)? {
            return Ok(None);
        }
        // All credit back means that the replica has written, and synced, everything.
        while self.credit < self.full {
            if !self.listen(waiting)? {
                return Ok(None);
            }
        }
        if self.is_refused(stream) {
            return Ok(Some(Sent::Refused));
        }
        if let (Some(signatures), Some(signer), true) = (&self.signatures, signer, still) {
            signatures.put(hash, &signer.finish());
        }
        let content =
            Box::new(Content { stat, xattrs, hash: Some(hash), segments: Vec::new(), target: Box::default(), began });
        Ok(Some(Sent::Delivered(if still { Delivered::Whole(content) } else { Delivered::Torn(content) })))
    }

    /// Sends what a patch has come to, in chunks of at least `least` bytes. False: the session is gone.
    fn drain(
        &mut self,
        stream: u64,
        patch: &mut Patch<'_>,
        least: usize,
        waiting: &mut VecDeque<Parcel>,
    ) -> Result<bool> {
        let mut out = std::mem::take(&mut patch.out);
        let mut rest = out.as_slice();
        while rest.len() >= least {
            let (bytes, behind) = rest.split_at(rest.len().min(CHUNK_BYTES));
            if !self.chunk(stream, patch.sent, bytes, waiting)? {
                return Ok(false);
            }
            patch.sent += bytes.len() as u64;
            rest = behind;
        }
        let gone = out.len() - rest.len();
        out.drain(..gone);
        patch.out = out;
        Ok(true)
    }

    /// False: the session is gone.
    fn chunk(&mut self, stream: u64, offset: u64, bytes: &[u8], waiting: &mut VecDeque<Parcel>) -> Result<bool> {
        if !self.spend(bytes.len(), waiting)? {
            return Ok(false);
        }
        let frame = FromPrimary::encode_chunk(stream, offset, bytes)?;
        self.sent += frame.as_bytes().len() as u64;
        self.sender.send_blocking(Lane::Bulk, frame)?;
        Ok(true)
    }

    fn is_refused(&self, stream: u64) -> bool {
        self.told.as_ref().is_some_and(|told| told.stream == stream && told.whole)
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
            Ok(parcel) => self.take(parcel, waiting).map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Takes what has come without waiting: a refusal is to be heard before the file is read to its end. False: the
    /// session is gone.
    fn poll(&mut self, waiting: &mut VecDeque<Parcel>) -> Result<bool> {
        loop {
            match self.parcels.try_recv() {
                Ok(parcel) => self.take(parcel, waiting)?,
                Err(TryRecvError::Empty) => return Ok(true),
                Err(TryRecvError::Disconnected) => return Ok(false),
            }
        }
    }

    fn take(&mut self, parcel: Parcel, waiting: &mut VecDeque<Parcel>) -> Result<()> {
        match parcel {
            Parcel::Credit(bytes) => self.earn(bytes)?,
            Parcel::Basis(part) => self.hear(part)?,
            other => waiting.push_back(other),
        }
        Ok(())
    }

    /// Parts of one answer come in order; an answer to a stream that was given up meanwhile is passed over.
    fn hear(&mut self, part: Basis) -> Result<()> {
        let Basis { stream, hash, signature, more } = part;
        let mut told = match self.told.take() {
            Some(told) if told.stream == stream && !told.whole => told,
            _ => Told { stream, hash, signature: Vec::new(), whole: false },
        };
        self.parts.fetch_sub(1, Ordering::Relaxed);
        if told.signature.len() + signature.len() > SIGNATURE_BYTES_MAX {
            // Of a file too large to be matched: as if there were nothing.
            told.hash = None;
        }
        match told.hash {
            Some(_) => told.signature.extend_from_slice(&signature),
            None => told.signature = Vec::new(),
        }
        told.whole = !more;
        self.told = Some(told);
        Ok(())
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
