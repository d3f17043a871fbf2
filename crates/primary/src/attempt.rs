//! One attempt at a large file: it is read in chunks, hashed, signed and perhaps matched on the way, and ends with the hash of
//! what was read. A version that changed while it was read is not passed off as final.
//!
//! Where other replicas need the same, one shipper leads and does that; the others send what has been prepared, as it is in
//! the spool or in the source. A leader whose own replica is not ready goes on for the others, and sends what it has left behind later,
//! as a follower does. A follower whose leader does not go on reads the file from its beginning, and sends what it has not
//! sent, in the stream that has begun: the output for one version and one basis is always the same. Should it not be, as
//! when a file is written to through a mapping, the replica misses the hash, and the content is sent again.

use crate::chunks::Delivered;
use crate::patch::Patch;
use crate::preparation::{Flaw, Follow, Lead, Next, Prepared};
use crate::preparations::{Against, Key, Preparations, Role};
use crate::prepare::{Content, is_rotten};
use crate::shipper::{Attempt, Order, Shipper, Start, failed};
use crate::spool::Piece;
use crate::{Error, Result};
use fulmar_delta::{BlockLen, Signer};
use fulmar_model::Timestamp;
use fulmar_tree::{Clock, Reader, hash_bytes, zeros};
use fulmar_wire::chunk_cost;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes in one chunk: large enough to cost little, small enough for an urgent frame to pass soon.
const CHUNK_BYTES: usize = 256 * 1024;
/// How often is looked whether another shipper has gone on, where parcels are waited for as well.
const LOOK: Duration = Duration::from_millis(1);
/// The same where there is no other.
const LOOK_IDLE: Duration = Duration::from_millis(20);

/// How content goes.
enum Form<'a> {
    /// As it is; signed, where signatures are kept.
    Whole(Option<Signer>),
    /// Not at all: only its hash goes.
    Lent,
    /// As a patch, which is signed by the way.
    Patch(Box<Patch<'a>>),
}

/// For whom a file is prepared beside the own replica.
struct Others {
    lead: Lead,
    /// The source, to be read again where the own replica was not ready.
    source: Reader,
}

impl Shipper {
    /// Sends the file, whoever prepares it.
    pub(crate) fn attempt(&mut self, order: &mut Order, from: &Start) -> Result<Attempt> {
        let began = Clock::coarse_now();
        let reader = match self.open(order) {
            Ok(reader) => reader,
            Err(error) => return Ok(Attempt::Failed(failed(&error))),
        };
        order.at = 0;
        let size = reader.stat().size;
        match from {
            Start::Whole => {}
            // The replica clones and reads it while it is read here.
            Start::Source => self.lend(&order.ship, order.stream, size)?,
            Start::Basis((hash, _)) => self.offer(&order.ship, order.stream, size, Some(*hash))?,
        }
        match self.send(order, reader, (from, began)) {
            Err(Error::Tree(error)) => Ok(Attempt::Failed(failed(&error))),
            done => done,
        }
    }

    fn open(&self, order: &Order) -> fulmar_tree::Result<Reader> {
        let (parent, name) = order.ship.path.split().ok_or(fulmar_tree::Error::NotAFile {
            path: order.ship.path.clone(),
            kind: fulmar_model::Kind::Directory,
        })?;
        self.tree.dir(&parent)?.open_file(&name)
    }

    fn send(&mut self, order: &mut Order, reader: Reader, from: (&Start, Timestamp)) -> Result<Attempt> {
        // What does not hold still is nobody else's, nor what another version with the same times may follow.
        let is_one = !order.ship.torn && self.tree.is_settled(reader.stat(), from.1);
        let Some(preparations) = self.preparations.clone().filter(|_| is_one) else {
            return self.prepare(order, reader, from, None);
        };
        let against = match from.0 {
            Start::Source => Against::Source,
            Start::Whole => Against::Nothing { signed: self.signatures.is_some() },
            Start::Basis((hash, signature)) => Against::Basis(*hash, hash_bytes(&signature.to_bytes())),
        };
        let attempt = self.share(order, reader, from, (&preparations, against));
        preparations.leave()?;
        attempt
    }

    fn share(
        &mut self,
        order: &mut Order,
        reader: Reader,
        from: (&Start, Timestamp),
        (preparations, against): (&Preparations, Against),
    ) -> Result<Attempt> {
        let key = Key { path: order.ship.path.clone(), stat: *reader.stat(), against };
        let mut role = preparations.join(&key)?;
        loop {
            match role {
                Role::Alone => return self.prepare(order, reader, from, None),
                Role::Lead(lead) => {
                    tracing::debug!(path = %order.ship.path, "preparing it for all replicas");
                    let source = self.open(order)?;
                    let same = source.stat().same_version(reader.stat());
                    return self.prepare(order, reader, from, same.then_some(Others { lead, source }));
                }
                Role::Follow(mut follow, number) => {
                    if let Some(attempt) = self.follow(order, &reader, &mut follow, preparations.patience)? {
                        return Ok(attempt);
                    }
                    tracing::debug!(path = %order.ship.path, at = order.at, "whoever prepares it does not go on");
                    drop(follow);
                    role = preparations.replace(&key, number)?;
                }
            }
        }
    }

    /// Sends what another shipper prepares. `None`: it does not go on.
    fn follow(
        &mut self,
        order: &mut Order,
        source: &Reader,
        follow: &mut Follow,
        patience: Duration,
    ) -> Result<Option<Attempt>> {
        let mut since = Instant::now();
        loop {
            self.poll()?;
            if self.is_answered(order.stream) {
                return Ok(Some(Attempt::Refused));
            }
            match follow.next(order.at, CHUNK_BYTES) {
                Next::Piece(piece) => {
                    let Some((offset, bytes)) = fetch(piece, source) else { return Ok(None) };
                    self.chunk(order, offset, &bytes)?;
                    since = Instant::now();
                }
                Next::End(prepared) => return self.conclude(order, source, &prepared).map(Some),
                Next::Flawed(Flaw::Moving) => return Ok(Some(Attempt::Failed(Delivered::Moving))),
                Next::Flawed(Flaw::Rotten) => return Ok(Some(Attempt::Failed(Delivered::Rotten))),
                Next::Left => return Ok(None),
                next @ (Next::Soon | Next::Nothing) => {
                    if matches!(next, Next::Soon) {
                        since = Instant::now();
                    } else if since.elapsed() > patience {
                        return Ok(None);
                    }
                    follow.ask();
                    self.listen_for(LOOK)?;
                }
            }
        }
    }

    /// Ends what another shipper has prepared.
    fn conclude(&mut self, order: &mut Order, source: &Reader, prepared: &Prepared) -> Result<Attempt> {
        // What was read here is of that version only if it still is.
        if !self.tree.stat(&order.ship.path)?.is_some_and(|now| now.same_version(source.stat())) {
            return Ok(Attempt::Failed(Delivered::Moving));
        }
        if is_rotten(&prepared.stat, Some(prepared.hash), order.ship.known.as_ref()) {
            return Ok(Attempt::Failed(Delivered::Rotten));
        }
        self.chunk(order, prepared.end, &[])?;
        Ok(self.sent_to_its_end(order, Delivered::Whole(content(prepared))))
    }

    fn sent_to_its_end(&self, order: &Order, delivered: Delivered) -> Attempt {
        // A refusal that came with the end, or before.
        if self.is_answered(order.stream) { Attempt::Refused } else { Attempt::Sent(delivered) }
    }

    /// Reads the file once, and sends it.
    fn prepare(
        &mut self,
        order: &mut Order,
        mut reader: Reader,
        (from, began): (&Start, Timestamp),
        mut others: Option<Others>,
    ) -> Result<Attempt> {
        let stat = *reader.stat();
        let signer = Signer::new(BlockLen::for_file(stat.size));
        let mut form = match from {
            Start::Basis((_, signature)) => Form::Patch(Box::new(Patch::new(signature, signer))),
            Start::Source => Form::Lent,
            Start::Whole => Form::Whole(self.signatures.is_some().then_some(signer)),
        };
        if !self.read(order, &mut reader, &mut form, &mut others)? {
            return Ok(Attempt::Refused);
        }
        let xattrs = reader.xattrs()?;
        let (hash, after) = reader.finish()?;
        let still = stat.same_version(&after);
        let flaw = if still {
            is_rotten(&stat, Some(hash), order.ship.known.as_ref()).then_some(Flaw::Rotten)
        } else {
            // A file that shrank was read to its new end only, so that its size and its content do not belong together.
            (!order.ship.torn || after.size < stat.size).then_some(Flaw::Moving)
        };
        if let Some(flaw) = flaw {
            others.inspect(|others| others.lead.flawed(flaw));
            return Ok(Attempt::Failed(match flaw {
                Flaw::Moving => Delivered::Moving,
                Flaw::Rotten => Delivered::Rotten,
            }));
        }
        let (end, signature) = match form {
            Form::Whole(signer) => (stat.size, signer.map(Signer::finish)),
            Form::Lent => {
                self.put(order, 0, &hash.0, &mut others)?;
                (hash.0.len() as u64, None)
            }
            Form::Patch(mut patch) => {
                let signature = patch.finish(hash);
                self.drain(order, &mut patch, 1, &mut others)?;
                (patch.sent, signature)
            }
        };
        let prepared = Arc::new(Prepared { stat, xattrs, hash, began, end });
        if let Some(others) = others {
            others.lead.prepared(Arc::clone(&prepared));
            self.catch_up(order, &others)?;
        }
        if let (Some(signatures), Some(signature), true) = (&self.signatures, signature, still) {
            signatures.put(hash, &signature);
        }
        self.chunk(order, end, &[])?;
        let content = content(&prepared);
        let delivered = if still { Delivered::Whole(content) } else { Delivered::Torn(content) };
        Ok(self.sent_to_its_end(order, delivered))
    }

    /// Sends what is read, as it is or as it comes out of the patch. False: the replica has no use for it.
    fn read(
        &mut self,
        order: &mut Order,
        reader: &mut Reader,
        form: &mut Form<'_>,
        others: &mut Option<Others>,
    ) -> Result<bool> {
        let (size, mut at) = (reader.stat().size, 0);
        loop {
            let chunk = reader.next_chunk(CHUNK_BYTES)?;
            for bytes in zeros(chunk.as_ref().map_or(size, |chunk| chunk.offset).saturating_sub(at)) {
                self.pass(order, bytes, form, others)?;
            }
            let Some(chunk) = chunk else { return Ok(true) };
            at = chunk.offset + chunk.bytes.len() as u64;
            self.pass(order, &chunk.bytes, form, others)?;
            if matches!(form, Form::Whole(_)) {
                self.put(order, chunk.offset, &chunk.bytes, others)?;
            }
            reader.reuse(chunk);
            self.poll()?;
            if self.is_answered(order.stream) {
                return Ok(false);
            }
        }
    }

    /// Gives the next bytes of the file to whoever has to see all of them.
    fn pass(
        &mut self,
        order: &mut Order,
        bytes: &[u8],
        form: &mut Form<'_>,
        others: &mut Option<Others>,
    ) -> Result<()> {
        if let Some(others) = others {
            others.lead.beat();
        }
        match form {
            Form::Whole(None) | Form::Lent => Ok(()),
            Form::Whole(Some(signer)) => {
                signer.update(bytes);
                Ok(())
            }
            Form::Patch(patch) => {
                patch.update(bytes);
                self.drain(order, patch, if patch.is_due() { 1 } else { CHUNK_BYTES }, others)
            }
        }
    }

    /// Sends what a patch has come to, in chunks of at least `least` bytes.
    fn drain(
        &mut self,
        order: &mut Order,
        patch: &mut Patch<'_>,
        least: usize,
        others: &mut Option<Others>,
    ) -> Result<()> {
        let mut out = std::mem::take(&mut patch.out);
        let mut rest = out.as_slice();
        while rest.len() >= least {
            let (bytes, behind) = rest.split_at(rest.len().min(CHUNK_BYTES));
            self.put(order, patch.sent, bytes, others)?;
            patch.note_sent(bytes.len());
            rest = behind;
        }
        let gone = out.len() - rest.len();
        out.drain(..gone);
        patch.out = out;
        Ok(())
    }

    /// Has it sent: by the others, and here when it is its turn and the replica is ready or nobody else wants more.
    fn put(&mut self, order: &mut Order, offset: u64, bytes: &[u8], others: &mut Option<Others>) -> Result<()> {
        let Some(sharing) = others else { return self.put_here(order, offset, bytes) };
        let behind = order.at < sharing.lead.end();
        if !sharing.lead.publish(offset, bytes) {
            tracing::debug!(path = %order.ship.path, "too much to be kept for the other replicas");
            self.catch_up(order, sharing)?;
            *others = None;
            return self.put_here(order, offset, bytes);
        }
        if behind {
            return self.send_prepared(order, sharing, Self::is_ready);
        }
        // Where somebody else's place was taken, what he had sent of it is only read again.
        let is_new = order.at < offset.saturating_add(bytes.len() as u64);
        match is_new && self.is_ready(&sharing.lead, bytes.len())? {
            true => self.put_here(order, offset, bytes),
            false => Ok(()),
        }
    }

    /// Sends what of it was not sent.
    fn put_here(&mut self, order: &mut Order, offset: u64, bytes: &[u8]) -> Result<()> {
        let sent = usize::try_from(order.at.saturating_sub(offset)).unwrap_or(usize::MAX);
        match bytes.get(sent..) {
            Some(rest) if !rest.is_empty() => self.chunk(order, offset + sent as u64, rest),
            _ => Ok(()),
        }
    }

    /// Waits until so much may be sent. False: somebody else needs more before that.
    fn is_ready(&mut self, lead: &Lead, bytes: usize) -> Result<bool> {
        while !self.credit.covers(chunk_cost(bytes)) {
            if lead.is_asked() {
                return Ok(false);
            }
            // One that comes may not be patient for long.
            self.listen_for(if lead.is_followed() { LOOK } else { LOOK_IDLE })?;
        }
        Ok(true)
    }

    /// Sends everything that was left behind.
    fn catch_up(&mut self, order: &mut Order, others: &Others) -> Result<()> {
        self.send_prepared(order, others, |_, _, _| Ok(true))
    }

    /// Sends what was left behind, as long as it is to be sent.
    fn send_prepared(
        &mut self,
        order: &mut Order,
        others: &Others,
        mut is_ready: impl FnMut(&mut Self, &Lead, usize) -> Result<bool>,
    ) -> Result<()> {
        while let Some(piece) = others.lead.piece(order.at, CHUNK_BYTES) {
            if !is_ready(self, &others.lead, piece.len())? {
                return Ok(());
            }
            let (offset, bytes) = fetch(piece, &others.source).ok_or_else(|| replaced(order))?;
            self.chunk(order, offset, &bytes)?;
        }
        Ok(())
    }
}

fn replaced(order: &Order) -> Error {
    Error::Tree(fulmar_tree::Error::Replaced { path: order.ship.path.clone() })
}

/// `None`: the source has less than it had, or something cannot be read.
fn fetch(piece: Piece, source: &Reader) -> Option<(u64, Vec<u8>)> {
    piece.read(|offset, bytes| source.read_at(offset, bytes).ok())
}

fn content(prepared: &Prepared) -> Box<Content> {
    let Prepared { stat, xattrs, hash, began, .. } = prepared.clone();
    Box::new(Content { stat, xattrs, hash: Some(hash), segments: Vec::new(), target: Box::default(), began })
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
