//! The writing half of a link over a byte stream: gathers small frames, compresses where both sides can, keeps to a rate.

use crate::link::Lanes;
use crate::pack::{Cost, PIECE_BYTES_MAX, Packing};
use std::io;
use std::num::NonZeroU64;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// Small frames are gathered up to this much before they are written.
const GATHER_BYTES: usize = 64 * 1024;

/// Owns the stream that is written to.
pub(crate) struct Writer<W> {
    to: W,
    /// Bytes a second that are written at most.
    rate: Option<NonZeroU64>,
    packing: Option<Packing>,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// `packing`: for links whose both sides compress.
    pub(crate) fn new(to: W, rate: Option<NonZeroU64>, packing: Option<Packing>) -> Self {
        Self { to, rate, packing }
    }

    /// Writes frames until every sender is gone or the other side is; the reading half reports which.
    pub(crate) async fn run(mut self, mut lanes: Lanes) {
        let mut gathered = Vec::with_capacity(GATHER_BYTES);
        while let Some(frame) = lanes.next().await {
            gathered.extend_from_slice(frame.as_bytes());
            while gathered.len() < GATHER_BYTES {
                let Some(frame) = lanes.ready() else { break };
                gathered.extend_from_slice(frame.as_bytes());
            }
            if let Err(error) = self.write(&gathered).await {
                tracing::debug!(%error, "write to the link");
                return;
            }
            gathered.clear();
        }
        if let Err(error) = self.to.shutdown().await {
            tracing::debug!(%error, "close the link");
        }
    }

    /// Hands all of `raw` to the kernel. A piece at a time: the link has the first while the next is compressed, and other
    /// tasks of this thread never wait for more than one.
    async fn write(&mut self, raw: &[u8]) -> io::Result<()> {
        for piece in raw.chunks(PIECE_BYTES_MAX) {
            let began = Instant::now();
            let bytes = match &mut self.packing {
                Some(packing) => packing.pack(piece)?,
                None => piece,
            };
            let (length, packed) = (bytes.len() as u64, Instant::now());
            self.to.write_all(bytes).await?;
            self.to.flush().await?;
            if let Some(rate) = self.rate {
                let nanos = length * 1_000_000_000 / rate.get();
                tokio::time::sleep_until(began + Duration::from_nanos(nanos)).await;
            }
            if let Some(packing) = &mut self.packing {
                packing.sent(&Cost {
                    raw_bytes: piece.len() as u64,
                    packed_bytes: length,
                    packing: packed - began,
                    writing: packed.elapsed(),
                });
            }
        }
        Ok(())
    }
}
