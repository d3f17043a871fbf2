//! The writing half of a link over a byte stream: gathers small frames, compresses where both sides can, keeps to a rate.

use crate::link::Lanes;
use crate::pack::{Cost, PIECE_BYTES_MAX, Packing};
use fulmar_wire::Frame;
use std::io::{self, IoSlice};
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
        let (mut gathered, mut long) = (Vec::with_capacity(GATHER_BYTES), None);
        while let Some(frame) = match long.take() {
            None => lanes.next().await,
            long => long,
        } {
            let written = if is_long(&frame) {
                self.write(frame.as_bytes()).await
            } else {
                gathered.extend_from_slice(frame.as_bytes());
                while gathered.len() < GATHER_BYTES && long.is_none() {
                    match lanes.ready() {
                        Some(frame) if is_long(&frame) => long = Some(frame),
                        Some(frame) => gathered.extend_from_slice(frame.as_bytes()),
                        None => break,
                    }
                }
                self.write(&gathered).await
            };
            if let Err(error) = written {
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
        let apart = self.to.is_write_vectored();
        for piece in raw.chunks(PIECE_BYTES_MAX) {
            let began = Instant::now();
            let parts = match &mut self.packing {
                Some(packing) => packing.pack(piece, apart)?,
                None => [piece, &[]],
            };
            let [length, behind] = parts.map(|part| part.len() as u64);
            let (length, packed) = (length + behind, Instant::now());
            write_both(&mut self.to, parts).await?;
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

/// Writes all of both, together where that goes.
async fn write_both(to: &mut (impl AsyncWrite + Unpin), [mut first, mut second]: [&[u8]; 2]) -> io::Result<()> {
    while !first.is_empty() && !second.is_empty() {
        let written = to.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let of_first = written.min(first.len());
        first = first.get(of_first..).unwrap_or_default();
        second = second.get(written - of_first..).unwrap_or_default();
    }
    to.write_all(first).await?;
    to.write_all(second).await
}

/// Whether it is written as it is.
fn is_long(frame: &Frame) -> bool {
    frame.as_bytes().len() >= GATHER_BYTES
}
