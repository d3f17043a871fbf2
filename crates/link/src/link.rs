//! The two ends of a link, the same whatever carries the frames.

use crate::stream::Stream;
use crate::{Error, Result};
use fulmar_wire::Frame;
use std::time::Duration;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Frames the urgent lane holds.
pub const URGENT_FRAMES: usize = 32;
/// Frames the bulk lane holds.
pub const BULK_FRAMES: usize = 4;

/// Which way a frame takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Operations, commits, answers.
    Urgent,
    /// Chunks of large files.
    Bulk,
}

/// One side's end.
#[derive(Debug)]
pub struct Link {
    /// Where frames go in.
    pub sender: Sender,
    /// Where frames come out.
    pub receiver: Receiver,
}

impl Link {
    /// Ends the link, once all that was sent is on its way. Every other sender must be gone. Gives up after `patience`: the
    /// other side may not be reading any more.
    pub async fn finish(self, patience: Duration) {
        let Self { sender, receiver } = self;
        drop(sender);
        if let Source::Stream { writer, .. } = receiver.0 {
            // Too late, or a task that was cut off: there is nobody left to tell.
            let _ = tokio::time::timeout(patience, writer).await;
        }
    }

    /// Ties a program to the link: it is killed when the receiver is dropped.
    pub(crate) fn behind(mut self, program: Child) -> Self {
        if let Source::Stream { child, .. } = &mut self.receiver.0 {
            *child = Some(Box::new(program));
        }
        self
    }
}

/// Takes frames for the other side. Clones feed the same lanes.
#[derive(Clone, Debug)]
pub struct Sender {
    pub(crate) urgent: mpsc::Sender<Frame>,
    pub(crate) bulk: mpsc::Sender<Frame>,
}

impl Sender {
    /// Waits for room in the lane. Not cancel-safe: do not race it in a `select!`. An error: the link is gone.
    pub async fn send(&self, lane: Lane, frame: Frame) -> Result<()> {
        self.lane(lane).send(frame).await.map_err(|_| Error::Closed)
    }

    /// Gives the frame back where the lane has no room for it.
    pub fn try_send(&self, lane: Lane, frame: Frame) -> Result<Option<Frame>> {
        match self.lane(lane).try_send(frame) {
            Ok(()) => Ok(None),
            Err(mpsc::error::TrySendError::Full(frame)) => Ok(Some(frame)),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Error::Closed),
        }
    }

    /// The same as `send` for a thread outside the runtime.
    pub fn send_blocking(&self, lane: Lane, frame: Frame) -> Result<()> {
        self.lane(lane).blocking_send(frame).map_err(|_| Error::Closed)
    }

    /// Whether nobody takes frames any more: long work for them may end.
    pub fn is_closed(&self) -> bool {
        self.urgent.is_closed()
    }

    fn lane(&self, lane: Lane) -> &mpsc::Sender<Frame> {
        match lane {
            Lane::Urgent => &self.urgent,
            Lane::Bulk => &self.bulk,
        }
    }
}

/// The receiving ends of one direction's lanes.
#[derive(Debug)]
pub(crate) struct Lanes {
    pub(crate) urgent: mpsc::Receiver<Frame>,
    pub(crate) bulk: mpsc::Receiver<Frame>,
}

/// A direction: what is sent comes out of the lanes, urgent first.
pub(crate) fn lanes() -> (Sender, Lanes) {
    let (urgent, urgent_end) = mpsc::channel(URGENT_FRAMES);
    let (bulk, bulk_end) = mpsc::channel(BULK_FRAMES);
    (Sender { urgent, bulk }, Lanes { urgent: urgent_end, bulk: bulk_end })
}

impl Lanes {
    /// The next frame; `None` when every sender is gone and both lanes are empty. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        tokio::select! {
            biased;
            Some(frame) = self.urgent.recv() => Some(frame),
            Some(frame) = self.bulk.recv() => Some(frame),
            else => None,
        }
    }

    /// A frame that is there already.
    pub(crate) fn ready(&mut self) -> Option<Frame> {
        self.urgent.try_recv().or_else(|_| self.bulk.try_recv()).ok()
    }
}

/// Gives the frames the other side sent.
#[derive(Debug)]
pub struct Receiver(pub(crate) Source);

#[derive(Debug)]
pub(crate) enum Source {
    Memory {
        lanes: Lanes,
        /// When a frame was last taken.
        heard: Instant,
    },
    Stream {
        stream: Stream,
        /// Ends when everything that was sent is written, or cannot be.
        writer: JoinHandle<()>,
        /// The program behind the stream; it is killed when the receiver is dropped.
        child: Option<Box<Child>>,
    },
}

impl Receiver {
    /// The next frame. Cancel-safe: bytes of a frame that has not arrived whole stay for the next call.
    /// [`Error::Closed`] when the other side has ended the link between two frames or in one.
    pub async fn receive(&mut self) -> Result<Frame> {
        match &mut self.0 {
            Source::Memory { lanes, heard } => {
                let frame = lanes.next().await.ok_or(Error::Closed)?;
                *heard = Instant::now();
                Ok(frame)
            }
            Source::Stream { stream, .. } => stream.frame().await,
        }
    }

    /// The next frame, or `None` once nothing has arrived for `patience`. Life is that bytes arrive: a frame may be long, and
    /// the link slow. Cancel-safe.
    pub async fn hear(&mut self, patience: Duration) -> Result<Option<Frame>> {
        let mut since = Instant::now();
        loop {
            match timeout_at(since + patience, self.receive()).await {
                Ok(frame) => return frame.map(Some),
                Err(_) if self.heard() > since => since = self.heard(),
                Err(_) => return Ok(None),
            }
        }
    }

    /// When something last arrived, be it a part of a frame; before that, when the link was made.
    pub fn heard(&self) -> Instant {
        match &self.0 {
            Source::Memory { heard, .. } => *heard,
            Source::Stream { stream, .. } => stream.heard,
        }
    }

    /// A frame that has arrived already.
    pub fn ready(&mut self) -> Result<Option<Frame>> {
        match &mut self.0 {
            Source::Memory { lanes, heard } => Ok(lanes.ready().inspect(|_| *heard = Instant::now())),
            Source::Stream { stream, .. } => stream.ready(),
        }
    }
}
