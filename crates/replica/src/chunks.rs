//! Writes large files into the stage, beside the batches, and syncs them there, so that no batch waits for them.
//!
//! Flow control is by credit: the primary sends no more bytes than it was granted, so this thread's channel can never
//! make the session wait. Credit is returned when bytes have been written, and for the end of a file when it is durable.

use crate::stager::{Order, held};
use crate::{Error, Result};
use fulmar_link::{Lane, Sender};
use fulmar_model::{Durability, Hash, Outcome};
use fulmar_tree::{Stage, Staged, StagedFile};
use fulmar_wire::FromReplica;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

/// Bytes of chunks the primary may have under way.
pub(crate) const CREDIT_BYTES: u32 = 4 << 20;

/// The least a chunk counts: bounds their number by the credit.
pub(crate) const CHUNK_COST_MIN: u32 = 4096;

/// Large files a primary may have begun and not ended.
const STREAMS_MAX: usize = 16;

/// What the chunk writer is told.
pub(crate) enum Piece {
    /// Bytes of a file; no bytes: the file ends at `offset`.
    Bytes { stream: u64, offset: u64, bytes: Box<[u8]> },
    /// The file will not be completed.
    Abandon { stream: u64 },
}

/// What a chunk counts against the credit.
pub(crate) fn cost(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX).max(CHUNK_COST_MIN)
}

/// Owns the large files under way.
pub(crate) struct Writer {
    pub(crate) stage: Arc<Stage>,
    pub(crate) durability: Durability,
    pub(crate) pieces: Receiver<Piece>,
    pub(crate) stager: tokio::sync::mpsc::Sender<Order>,
    pub(crate) answers: Sender,
}

impl Writer {
    /// Runs until the session is gone.
    pub(crate) fn run(self) -> Result<()> {
        let mut files: HashMap<u64, std::result::Result<StagedFile, Outcome>> = HashMap::new();
        while let Ok(piece) = self.pieces.recv() {
            match piece {
                Piece::Abandon { stream } => {
                    files.remove(&stream);
                    if self.stager.blocking_send(Order::Forget { stream }).is_err() {
                        return Ok(());
                    }
                }
                Piece::Bytes { stream, offset, bytes } => {
                    if !files.contains_key(&stream) && files.len() >= STREAMS_MAX {
                        return Err(Error::Protocol("too many large files at once"));
                    }
                    let file = files.entry(stream).or_insert_with(|| self.stage.file().map_err(|error| held(&error)));
                    if bytes.is_empty() {
                        let staged = self.finish(files.remove(&stream), offset);
                        if self.stager.blocking_send(Order::Finished { stream, staged }).is_err() {
                            return Ok(());
                        }
                    } else if let Ok(open) = file
                        && let Err(error) = open.write_at(offset, &bytes)
                    {
                        *file = Err(held(&error));
                    }
                    let credit = FromReplica::Credit { bytes: cost(bytes.len()) }.encode()?;
                    self.answers.send_blocking(Lane::Urgent, credit)?;
                }
            }
        }
        Ok(())
    }

    fn finish(
        &self,
        file: Option<std::result::Result<StagedFile, Outcome>>,
        size: u64,
    ) -> std::result::Result<(Staged, Hash), Outcome> {
        let (staged, hash) = file.ok_or(Outcome::NeedContent)??.finish(size).map_err(|error| held(&error))?;
        if self.durability != Durability::None {
            staged.sync().map_err(|error| held(&error))?;
        }
        Ok((staged, hash))
    }
}
