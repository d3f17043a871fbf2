//! Frames over a pair of byte streams, after an exchange of prefaces.

use crate::link::{Lanes, Link, Receiver, Source, lanes};
use crate::{Error, Result};
use fulmar_model::escape;
use fulmar_wire::{Frame, LENGTH_BYTES, PREFACE_BYTES, Preface};
use std::num::NonZeroU64;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// What is asked of the kernel in one read.
const READ_BYTES: usize = 256 * 1024;
/// Small frames are gathered up to this much before they are written.
const GATHER_BYTES: usize = 64 * 1024;
/// How much of a banner is quoted.
const BANNER_BYTES: usize = 200;
/// How long the rest of a banner is waited for.
const BANNER_PATIENCE: Duration = Duration::from_secs(1);

/// The reading half: bytes that have arrived and do not make a whole frame yet.
pub(crate) struct Stream {
    from: Box<dyn AsyncRead + Send + Unpin>,
    buffer: Vec<u8>,
    /// Bytes at the front of `buffer` that were consumed already.
    consumed: usize,
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
            self.buffer.reserve(count.max(READ_BYTES));
            if self.from.read_buf(&mut self.buffer).await.map_err(Error::Read)? == 0 {
                return Err(Error::Closed);
            }
        }
        Ok(())
    }

    fn waiting(&self) -> &[u8] {
        self.buffer.get(self.consumed..).unwrap_or_default()
    }

    pub(crate) async fn frame(&mut self) -> Result<Frame> {
        self.fill(LENGTH_BYTES).await?;
        let Some(prefix) = self.waiting().first_chunk::<LENGTH_BYTES>().copied() else { return Err(Error::Closed) };
        let length = Frame::length(prefix).map_err(Error::Frame)?;
        self.fill(LENGTH_BYTES + length).await?;
        let body = self.waiting().get(LENGTH_BYTES..LENGTH_BYTES + length).ok_or(Error::Closed)?;
        let frame = Frame::received(prefix, body);
        self.consumed += LENGTH_BYTES + length;
        Ok(frame)
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

/// Makes a link of two byte streams: exchanges prefaces, then starts a task that writes what is sent.
///
/// `rate`: bytes a second that are written at most, averaged over what is gathered for one write.
pub async fn over(
    from: impl AsyncRead + Send + Unpin + 'static,
    mut to: impl AsyncWrite + Send + Unpin + 'static,
    rate: Option<NonZeroU64>,
) -> Result<Link> {
    let mut stream = Stream { from: Box::new(from), buffer: Vec::new(), consumed: 0 };
    let ours = Preface::OURS.encode();
    let greet = async { to.write_all(&ours).await.and(to.flush().await) };
    // Together: neither side may wait for the other to read first. A write fails when the other side has ended already;
    // what it said before is the better error.
    let (written, theirs) = tokio::join!(greet, stream.preface());
    let theirs = theirs?;
    written.map_err(|_| Error::Closed)?;
    theirs.agree().map_err(Error::Preface)?;
    let (sender, lanes) = lanes();
    let writer = tokio::spawn(write(lanes, to, rate));
    Ok(Link { sender, receiver: Receiver(Source::Stream { stream, writer, child: None }) })
}

/// Writes frames until every sender is gone or the other side is; the reading half reports which.
async fn write(mut lanes: Lanes, mut to: impl AsyncWrite + Send + Unpin + 'static, rate: Option<NonZeroU64>) {
    let mut gathered = Vec::with_capacity(GATHER_BYTES);
    while let Some(frame) = lanes.next().await {
        gathered.extend_from_slice(frame.as_bytes());
        while gathered.len() < GATHER_BYTES {
            let Some(frame) = lanes.ready() else { break };
            gathered.extend_from_slice(frame.as_bytes());
        }
        let began = Instant::now();
        if to.write_all(&gathered).await.and(to.flush().await).is_err() {
            return;
        }
        if let Some(rate) = rate {
            let nanos = gathered.len() as u64 * 1_000_000_000 / rate.get();
            tokio::time::sleep_until(began + Duration::from_nanos(nanos)).await;
        }
        gathered.clear();
    }
    if let Err(error) = to.shutdown().await {
        tracing::debug!(%error, "close the link");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lane;
    use fulmar_wire::FromPrimary;

    #[tokio::test]
    async fn frames_arrive_whole_however_the_bytes_are_cut() {
        let (near, far) = tokio::io::duplex(7);
        let (near_read, near_write) = tokio::io::split(near);
        let (far_read, far_write) = tokio::io::split(far);
        let (here, there) = tokio::join!(over(near_read, near_write, None), over(far_read, far_write, None));
        let (here, mut there) = (here.expect("linked"), there.expect("linked"));
        let sent: Vec<_> = (0..20u64).map(|n| FromPrimary::Commit { batch: n, position: None }).collect();
        for message in &sent {
            here.sender.send(Lane::Urgent, message.encode().expect("short")).await.expect("room");
            let got = there.receiver.receive().await.expect("a frame");
            assert_eq!(&FromPrimary::decode(got.body()).expect("a message"), message);
        }
    }

    #[tokio::test]
    async fn a_banner_is_quoted_and_final() {
        let (near, mut far) = tokio::io::duplex(1000);
        far.write_all(b"Welcome to mail1\x1b[2J\n").await.expect("room");
        let (read, write) = tokio::io::split(near);
        let error = over(read, write, None).await.expect_err("a banner is no preface");
        assert!(error.is_final());
        assert!(error.to_string().contains("Welcome to mail1\\x1b[2J\\n"), "{error}");
    }

    #[tokio::test]
    async fn a_banner_is_quoted_to_its_end_however_it_comes() {
        let preface = Preface::OURS.encode();
        let long = [b'x'; 3 * BANNER_BYTES];
        let table: [(&[&[u8]], String); 4] = [
            (&[b"\n", b"Welcome\n", &preface], "\\nWelcome\\n".to_owned()),
            (&[b"W", b"elcome\n\0ful", b"mar\n"], "Welcome\\n".to_owned()),
            (&[b"\0fulmar\r\n"], "\\x00fulmar\\r\\n".to_owned()),
            (&[&long], "x".repeat(BANNER_BYTES)),
        ];
        for (pieces, quoted) in table {
            let (near, far) = tokio::io::duplex(1);
            let (read, write) = tokio::io::split(near);
            let (mut far_read, mut far_write) = tokio::io::split(far);
            let speak = async move {
                for piece in pieces {
                    far_write.write_all(piece).await.expect("room");
                }
                // Neither says more nor ends.
                std::future::pending::<()>().await;
            };
            let hear = tokio::spawn(async move { tokio::io::copy(&mut far_read, &mut tokio::io::sink()).await });
            let error = tokio::select! {
                linked = over(read, write, None) => linked.expect_err("a banner is no preface"),
                () = speak => unreachable!("it is never silent for good"),
            };
            hear.abort();
            assert!(matches!(&error, Error::Banner { text } if *text == quoted), "{error}, wanted {quoted}");
        }
    }

    #[tokio::test]
    async fn an_impossible_length_is_refused_before_memory_is_taken() {
        let (near, mut far) = tokio::io::duplex(1000);
        far.write_all(&Preface::OURS.encode()).await.expect("room");
        far.write_all(&u32::MAX.to_be_bytes()).await.expect("room");
        let (read, write) = tokio::io::split(near);
        let mut link = over(read, write, None).await.expect("linked");
        assert!(matches!(link.receiver.receive().await, Err(Error::Frame(_))));
    }
}
