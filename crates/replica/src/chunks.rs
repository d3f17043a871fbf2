//! Writes large files into the stage, beside the batches, and syncs them there, so that no batch waits for them.
//!
//! A file comes whole, or as a patch against what is here. What it is to start from is named by hash, and looked for in the
//! tree and among what an earlier session left unfinished; where there is none of that hash, the primary is told what
//! there is, with its signature. The result of a patch is compared with the hash behind it before anybody may use it.
//! Where the source is in reach, a file may be a clone of what is there; of that only the hash comes, and is compared.
//!
//! Flow control is by credit: the primary sends no more bytes than it was granted, so this thread's channel can never
//! make the session wait. Credit is returned for bytes that have been written, not for each chunk by itself, and for the end of a file
//! when it is durable.

use crate::basis::{Bases, Found};
use crate::stager::{Order, held};
use crate::{Error, Result};
use bytes::Bytes;
use fulmar_delta::{PatchReader, Step};
use fulmar_link::{Lane, Sender};
use fulmar_model::{Durability, Hash, HeldReason, Outcome, RelPath};
use fulmar_tree::{Lender, PRIVATE_FILE, Partials, Reader, Stage, Staged, StagedFile};
use fulmar_wire::{BASIS_PART_BYTES_MAX, Basis, FromReplica, Lend, Offer, chunk_cost};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

/// Bytes of chunks the primary may have under way.
pub(crate) const CREDIT_BYTES: u32 = 4 << 20;

/// From so much on credit is returned before a file ends: an answer for each chunk would wake half a dozen threads. A primary that has
/// used all it was granted always gets enough back for the longest chunk.
const OWED_BYTES_MAX: u32 = 512 << 10;

/// Files above this size are synced here, beside the batches, which would wait for them; smaller ones with their batch.
const SYNC_BYTES_MIN: u64 = 4 << 20;

/// Large files a primary may have begun and not ended.
const STREAMS_MAX: usize = 16;

/// Patches that had no basis, remembered until their next attempt. The oldest go, and begin anew after a broken connection.
const REFUSED_MAX: usize = 16;

/// Bytes of the hash behind a patch, or of a clone.
const HASH_BYTES: usize = 32;

/// What the chunk writer is told.
pub(crate) enum Piece {
    /// How the content of a file will come.
    Offer(Offer),
    /// Where it is.
    Lend(Lend),
    /// Bytes of a file; no bytes: the file ends at `offset`.
    Bytes { stream: u64, offset: u64, bytes: Bytes },
    /// The file will not be completed.
    Abandon { stream: u64 },
}

/// Owns the large files under way.
pub(crate) struct Writer {
    pub(crate) stage: Arc<Stage>,
    pub(crate) partials: Partials,
    pub(crate) bases: Bases,
    /// The source, where it is in reach.
    pub(crate) lender: Option<Lender>,
    /// Streams whose patch had no basis here, and their paths; at most [`REFUSED_MAX`].
    pub(crate) refused: VecDeque<(u64, RelPath)>,
    pub(crate) durability: Durability,
    pub(crate) pieces: Receiver<Piece>,
    pub(crate) stager: tokio::sync::mpsc::Sender<Order>,
    pub(crate) answers: Sender,
}

/// A large file under way.
enum Incoming {
    /// The primary was told what there is at this path, and decides.
    Asked(RelPath),
    /// Whole.
    Whole(Box<StagedFile>),
    /// As a patch.
    Patch(Box<Patching>),
    /// As a clone, whose hash is to come.
    Clone(Box<Cloned>),
    /// What comes is of no use; the operation that wants it has this outcome.
    Useless(Outcome),
}

impl Writer {
    /// Runs until the session is gone.
    pub(crate) fn run(mut self) -> Result<()> {
        let (mut files, mut owed): (HashMap<u64, Incoming>, u32) = (HashMap::new(), 0);
        while let Ok(piece) = self.pieces.recv() {
            match piece {
                Piece::Abandon { stream } => {
                    files.remove(&stream);
                    if self.stager.blocking_send(Order::Forget { stream }).is_err() {
                        return Ok(());
                    }
                }
                Piece::Offer(offer) => {
                    room_for(&files, offer.stream)?;
                    let stream = offer.stream;
                    let incoming = self.offered(offer)?;
                    files.insert(stream, incoming);
                }
                Piece::Lend(lend) => {
                    room_for(&files, lend.stream)?;
                    let incoming = self.lent(&lend)?;
                    files.insert(lend.stream, incoming);
                }
                Piece::Bytes { stream, offset, bytes } => {
                    room_for(&files, stream)?;
                    let incoming = files.remove(&stream);
                    let (length, incoming) = (bytes.len(), self.begun(stream, incoming));
                    if bytes.is_empty() {
                        if owed > 0 && offset > SYNC_BYTES_MIN {
                            // What comes behind it need not wait for the disk.
                            self.give_back(&mut owed)?;
                        }
                        let staged = self.finish(stream, incoming, offset)?;
                        if self.stager.blocking_send(Order::Finished { stream, staged }).is_err() {
                            return Ok(());
                        }
                    } else {
                        let incoming = self.write(stream, incoming, offset, &bytes)?;
                        files.insert(stream, incoming);
                    }
                    owed += chunk_cost(length);
                    if bytes.is_empty() || owed >= OWED_BYTES_MAX {
                        self.give_back(&mut owed)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Credit for what was written.
    fn give_back(&self, owed: &mut u32) -> Result<()> {
        let credit = FromReplica::Credit { bytes: std::mem::take(owed) }.encode()?;
        Ok(self.answers.send_blocking(Lane::Urgent, credit)?)
    }

    fn offered(&mut self, offer: Offer) -> Result<Incoming> {
        let Offer { stream, path, size, basis } = offer;
        if path.is_private() || path.is_root() {
            return Err(Error::Protocol("an offer for the private directory"));
        }
        let Some(hash) = basis else {
            let found = self.bases.look(&path, &self.partials);
            self.tell(stream, found)?;
            return Ok(Incoming::Asked(path));
        };
        match self.bases.open(&path, hash, &self.partials) {
            Some(reader) => Ok(match self.partials.file(&path) {
                Ok(file) => Incoming::Patch(Box::new(Patching::new(reader, file, size))),
                Err(error) => Incoming::Useless(held(&error)),
            }),
            None => {
                let found = self.bases.look(&path, &self.partials);
                self.tell(stream, found)?;
                self.refused.truncate(REFUSED_MAX - 1);
                self.refused.push_front((stream, path));
                Ok(Incoming::Useless(Outcome::NeedContent))
            }
        }
    }

    /// What cannot be cloned comes whole, in the next stream: whatever is in the way of that, too, is told then.
    fn lent(&self, lend: &Lend) -> Result<Incoming> {
        let Some(lender) = &self.lender else { return self.failed(lend.stream, Outcome::NeedContent) };
        let ended = || self.answers.is_closed();
        let cloned = self.stage.file(PRIVATE_FILE).and_then(|file| lender.lend(&lend.path, lend.size, file, &ended));
        match cloned {
            Ok((staged, hash)) => Ok(Incoming::Clone(Box::new(Cloned { staged, hash, told: Vec::new() }))),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(path = %lend.path, error, "it is no clone; asking for the whole");
                self.failed(lend.stream, Outcome::NeedContent)
            }
        }
    }

    /// Tells the primary what there is, in parts.
    fn tell(&self, stream: u64, found: Option<Found>) -> Result<()> {
        let (hash, signature) = match found {
            Some(found) => (Some(found.hash), found.signature.to_bytes()),
            None => (None, Vec::new()),
        };
        let mut rest = signature.as_slice();
        loop {
            let (part, behind) = rest.split_at(rest.len().min(BASIS_PART_BYTES_MAX));
            let basis = Basis { stream, hash, signature: part.into(), more: !behind.is_empty() };
            self.answers.send_blocking(Lane::Urgent, FromReplica::Basis(basis).encode()?)?;
            if behind.is_empty() {
                return Ok(());
            }
            rest = behind;
        }
    }

    /// The first bytes decide where a file is staged: one that was offered may be long in coming.
    fn begun(&mut self, stream: u64, incoming: Option<Incoming>) -> Incoming {
        let file = match incoming {
            None => {
                // The next attempt has the next number. Were it another file's, a partial would have a name that is of no use.
                let before = self.refused.iter().find(|(refused, _)| refused.checked_add(1) == Some(stream));
                before.map_or_else(|| self.stage.file(PRIVATE_FILE), |(_, path)| self.partials.file(path))
            }
            Some(Incoming::Asked(path)) => self.partials.file(&path),
            Some(begun) => return begun,
        };
        file.map_or_else(|error| Incoming::Useless(held(&error)), |file| Incoming::Whole(Box::new(file)))
    }

    fn write(&self, stream: u64, incoming: Incoming, offset: u64, bytes: &[u8]) -> Result<Incoming> {
        Ok(match incoming {
            Incoming::Whole(mut file) => match file.write_at(offset, bytes) {
                Ok(()) => Incoming::Whole(file),
                Err(error) => {
                    // What is left of it would be in its own way.
                    file.discard();
                    Incoming::Useless(held(&error))
                }
            },
            Incoming::Patch(mut patching) => match patching.feed(bytes) {
                Ok(()) => Incoming::Patch(patching),
                Err(outcome) => {
                    if outcome != Outcome::NeedContent {
                        patching.file.discard();
                    }
                    self.failed(stream, outcome)?
                }
            },
            Incoming::Clone(mut cloned) if cloned.told.len() + bytes.len() <= HASH_BYTES => {
                cloned.told.extend_from_slice(bytes);
                Incoming::Clone(cloned)
            }
            Incoming::Clone(_) => self.failed(stream, Outcome::NeedContent)?,
            other => other,
        })
    }

    fn finish(
        &self,
        stream: u64,
        incoming: Incoming,
        size: u64,
    ) -> Result<std::result::Result<(Staged, Hash), Outcome>> {
        let finished = match incoming {
            Incoming::Whole(file) => file.finish(size).map_err(|error| held(&error)),
            Incoming::Patch(patching) => match patching.finish() {
                Ok(finished) => Ok(finished),
                Err(outcome) => {
                    self.failed(stream, outcome)?;
                    Err(outcome)
                }
            },
            Incoming::Clone(cloned) if cloned.told == cloned.hash.0 => Ok((cloned.staged, cloned.hash)),
            Incoming::Clone(_) => {
                // The file was written to between the primary's reading and the clone.
                self.failed(stream, Outcome::NeedContent)?;
                Err(Outcome::NeedContent)
            }
            Incoming::Useless(outcome) => Err(outcome),
            Incoming::Asked(_) => Err(Outcome::NeedContent),
        };
        Ok(finished.and_then(|(staged, hash)| {
            let large = staged.stat().is_ok_and(|stat| stat.size > SYNC_BYTES_MIN);
            if large && self.durability != Durability::None {
                staged.sync().map_err(|error| held(&error))?;
            }
            Ok((staged, hash))
        }))
    }

    /// What did not lead anywhere is told of, or the next attempt would be the same again.
    fn failed(&self, stream: u64, outcome: Outcome) -> Result<Incoming> {
        if outcome == Outcome::NeedContent {
            self.tell(stream, None)?;
        }
        Ok(Incoming::Useless(outcome))
    }
}

fn room_for(files: &HashMap<u64, Incoming>, stream: u64) -> Result<()> {
    match files.contains_key(&stream) || files.len() < STREAMS_MAX {
        true => Ok(()),
        false => Err(Error::Protocol("too many large files at once")),
    }
}

/// A clone of what is in the source.
struct Cloned {
    staged: Staged,
    /// Of the clone.
    hash: Hash,
    /// What the primary has read, as far as it was heard.
    told: Vec<u8>,
}

/// A patch being applied.
struct Patching {
    basis: Reader,
    patch: PatchReader,
    file: StagedFile,
    /// Where the next byte belongs.
    at: u64,
    /// The hash behind the patch, once the patch has ended.
    hash: Option<Vec<u8>>,
}

impl Patching {
    fn new(basis: Reader, file: StagedFile, size: u64) -> Self {
        let patch = PatchReader::new(basis.stat().size, size);
        Self { basis, patch, file, at: 0, hash: None }
    }

    fn feed(&mut self, mut bytes: &[u8]) -> std::result::Result<(), Outcome> {
        while self.hash.is_none() {
            match self.patch.step(&mut bytes).map_err(unusable)? {
                None => return Ok(()),
                Some(Step::Copy { from, len }) => {
                    self.file.copy_from(&self.basis, from, self.at, len).map_err(|error| no_room(&error))?;
                    self.at = self.at.saturating_add(len);
                }
                Some(Step::Literal(bytes)) => {
                    // What was a hole may be one again.
                    if bytes.iter().any(|byte| *byte != 0) {
                        self.file.write_at(self.at, bytes).map_err(|error| held(&error))?;
                    }
                    self.at = self.at.saturating_add(bytes.len() as u64);
                }
                Some(Step::End) => self.hash = Some(Vec::with_capacity(HASH_BYTES)),
            }
        }
        let hash = self.hash.get_or_insert_default();
        if hash.len() + bytes.len() > HASH_BYTES {
            return Err(Outcome::NeedContent);
        }
        hash.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self) -> std::result::Result<(Staged, Hash), Outcome> {
        self.patch.finish().map_err(unusable)?;
        let (staged, hash) = self.file.finish(self.at).map_err(|error| held(&error))?;
        match self.hash.as_deref() == Some(&hash.0[..]) {
            true => Ok((staged, hash)),
            false => Err(Outcome::NeedContent),
        }
    }
}

/// What is about room holds the path; a basis that cannot be read is none.
fn no_room(error: &fulmar_tree::Error) -> Outcome {
    match held(error) {
        room @ Outcome::Held { reason: HeldReason::DiskFull | HeldReason::Quota | HeldReason::ReadOnly, .. } => room,
        _ => {
            tracing::warn!(%error, "a patch cannot be applied; asking for the whole");
            Outcome::NeedContent
        }
    }
}

fn unusable(error: fulmar_delta::PatchError) -> Outcome {
    tracing::warn!(error = &error as &dyn std::error::Error, "a patch cannot be applied; asking for the whole");
    Outcome::NeedContent
}
