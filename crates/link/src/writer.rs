//! The writing half of a link over a byte stream: gathers small frames, keeps to a rate.

use crate::link::Lanes;
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
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(crate) fn new(to: W, rate: Option<NonZeroU64>) -> Self {
        Self { to, rate }
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

    /// Hands all of `bytes` to the kernel.
    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let began = Instant::now();
        self.to.write_all(bytes).await?;
        self.to.flush().await?;
        if let Some(rate) = self.rate {
            let nanos = bytes.len() as u64 * 1_000_000_000 / rate.get();
            tokio::time::sleep_until(began + Duration::from_nanos(nanos)).await;
        }
        Ok(())
    }
}
