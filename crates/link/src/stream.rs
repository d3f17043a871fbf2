//! Frames over a pair of byte streams, after an exchange of prefaces; compressed when both sides can.

use crate::link::{Link, Receiver, Source, lanes};
use crate::pack::{Packing, Unpacker};
use crate::writer::Writer;
use crate::{Error, Result};
use fulmar_model::escape;
use fulmar_wire::{COMPRESSION, Frame, LENGTH_BYTES, PREFACE_BYTES, Preface};
use std::io;
use std::num::NonZeroU64;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// What is asked of the kernel in one read: room for a chunk of a large file, and what is in front of it.
const READ_BYTES: usize = 257 * 1024;
/// A frame from this size on is not copied: the memory it was received in goes with it.
const LONG_BYTES: usize = READ_BYTES / 2;
/// How much of a banner is quoted.
const BANNER_BYTES: usize = 200;
/// How long the rest of a banner is waited for.
const BANNER_PATIENCE: Duration = Duration::from_secs(1);

/// The reading half: bytes that have arrived and do not make a whole frame yet.
pub(crate) struct Stream {
    from: Box<dyn AsyncRead + Send + Unpin>,
    /// What arrives goes through this, where both sides compress.
    unpacker: Option<Unpacker>,
    /// Never longer than one frame and one read.
    buffer: Vec<u8>,
    /// Bytes at the front of `buffer` that were consumed already.
    consumed: usize,
    /// When a byte last arrived.
    pub(crate) heard: Instant,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({} bytes waiting)", self.buffer.len() - self.consumed)
    }
}

impl Stream {
    /// Waits until `count` unconsumed bytes are there. Cancel-safe: what was read stays in the buffer.
    async fn fill(&mut self, count: usize) -> Result<()> {
        while self.buffer.len() - self.consumed < count {
            if self.consumed > 0 {
                self.buffer.drain(..self.consumed);
                self.consumed = 0;
            }
            match count {
                // Just that: memory that doubles would be more than twice what a chunk needs.
                ..LONG_BYTES => self.buffer.reserve_exact(READ_BYTES),
                _ => self.buffer.reserve_exact(count - self.buffer.len()),
            }
            let packed = match &mut self.unpacker {
                None => &mut self.buffer,
                Some(unpacker) => {
                    if unpacker.unpack(&mut self.buffer).map_err(Error::Unpack)? > 0 {
                        continue;
                    }
                    unpacker.room()
                }
            };
            if self.from.read_buf(packed).await.map_err(Error::Read)? == 0 {
                return Err(Error::Closed);
            }
            self.heard = Instant::now();
        }
        Ok(())
    }

    /// From here on the other side compresses; what has arrived behind its preface is the beginning of that.
    fn compressed(&mut self) -> io::Result<()> {
        let arrived = self.buffer.split_off(self.consumed);
        self.unpacker = Some(Unpacker::new(arrived)?);
        Ok(())
    }

    fn waiting(&self) -> &[u8] {
        self.buffer.get(self.consumed..).unwrap_or_default()
    }

    pub(crate) async fn frame(&mut self) -> Result<Frame> {
        loop {
            if let Some(frame) = self.ready()? {
                return Ok(frame);
            }
            let length = match self.waiting().first_chunk().copied() {
                Some(prefix) => Frame::length(prefix).map_err(Error::Frame)?,
                None => 0,
            };
            self.fill(LENGTH_BYTES + length).await?;
        }
    }

    /// The next frame, where all of it is there.
    pub(crate) fn ready(&mut self) -> Result<Option<Frame>> {
        let Some(prefix) = self.waiting().first_chunk::<LENGTH_BYTES>().copied() else { return Ok(None) };
        let length = Frame::length(prefix).map_err(Error::Frame)?;
        let Some(body) = self.waiting().get(LENGTH_BYTES..LENGTH_BYTES + length) else { return Ok(None) };
        let end = LENGTH_BYTES + length;
        // At least half of that memory must be its own.
        if self.consumed == 0 && length >= LONG_BYTES && self.buffer.capacity() <= 2 * end {
            let rest = self.buffer.split_off(end);
            return Ok(Some(Frame::taken(std::mem::replace(&mut self.buffer, rest))));
        }
        let frame = Frame::received(prefix, body);
        self.consumed += end;
        Ok(Some(frame))
    }

    /// Reads the other side's preface, byte by byte suspicious of a banner.
    async fn preface(&mut self) -> Result<Preface> {
        for count in 1..=PREFACE_BYTES {
            self.fill(count).await?;
            if !Preface::may_begin(self.waiting()) {
                return Err(self.banner().await);
            }
        }
        let preface = self.waiting().first_chunk().ok_or(Error::Closed)?;
        let preface = Preface::decode(preface).map_err(Error::Preface)?;
        self.consumed += PREFACE_BYTES;
        Ok(preface)
    }

    /// Quotes what came in the place of a preface. A login speaks a line at a time, and the first one may be empty: reads
    /// on until there is enough, or the banner ends because the other side does or fulmar begins behind it.
    async fn banner(&mut self) -> Error {
        let rest = async {
            while self.waiting().len() < BANNER_BYTES && self.banner_end().is_none() {
                self.fill(self.waiting().len() + 1).await?;
            }
            Ok::<_, Error>(())
        };
        // However that ends, what has come is what is quoted.
        let _ = tokio::time::timeout(BANNER_PATIENCE, rest).await;
        let end = self.banner_end().unwrap_or(self.waiting().len()).min(BANNER_BYTES);
        Error::Banner { text: escape(self.waiting().get(..end).unwrap_or_default()).to_string() }
    }

    /// Where the preface may begin that follows a banner.
    fn banner_end(&self) -> Option<usize> {
        (1..self.waiting().len()).find(|at| self.waiting().get(*at..).is_some_and(Preface::may_begin))
    }
}

/// Makes a link of two byte streams: exchanges prefaces, then starts a task that writes what is sent, compressed where
/// the other side can read that.
///
/// `rate`: bytes a second that are written at most, after compression, averaged over one write.
pub async fn over(
    from: impl AsyncRead + Send + Unpin + 'static,
    mut to: impl AsyncWrite + Send + Unpin + 'static,
    rate: Option<NonZeroU64>,
) -> Result<Link> {
    let (from, buffer, heard) = (Box::new(from), Vec::new(), Instant::now());
    let mut stream = Stream { from, unpacker: None, buffer, consumed: 0, heard };
    let ours = Preface::OURS.encode();
    let greet = async { to.write_all(&ours).await.and(to.flush().await) };
    // Together: neither side may wait for the other to read first. A write fails when the other side has ended already;
    // what it said before is the better error.
    let (written, theirs) = tokio::join!(greet, stream.preface());
    let theirs = theirs?;
    written.map_err(|_| Error::Closed)?;
    theirs.agree().map_err(Error::Preface)?;
    let packing = if theirs.shares(COMPRESSION) {
        stream.compressed().map_err(Error::Codec)?;
        Some(Packing::new().map_err(Error::Codec)?)
    } else {
        None
    };
    let (sender, lanes) = lanes();
    let writer = tokio::spawn(Writer::new(to, rate, packing).run(lanes));
    Ok(Link { sender, receiver: Receiver(Source::Stream { stream, writer, child: None }) })
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
