//! The envelope: four bytes of length, then that many bytes of one message.

use bytes::Bytes;
use thiserror::Error;

/// Bytes of the length in front of a message.
pub const LENGTH_BYTES: usize = 4;

/// The longest message accepted, without its length. Room for inline content, a full set of attributes and a path.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;

/// One encoded message with its length in front, cheap to clone: a message is encoded once for all replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(Bytes);

/// The length in front of a message is not acceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("message of {0} bytes, the limit is {FRAME_BYTES_MAX}")]
pub struct FrameError(pub u64);

impl Frame {
    /// Puts the length in front of what `write` appends: about `expected` bytes.
    pub(crate) fn build(expected: usize, write: impl FnOnce(&mut Vec<u8>)) -> Result<Self, FrameError> {
        let mut bytes = Vec::with_capacity(LENGTH_BYTES + expected);
        bytes.extend_from_slice(&[0; LENGTH_BYTES]);
        write(&mut bytes);
        let length = bytes.len() - LENGTH_BYTES;
        let prefix = u32::try_from(length).ok().filter(|_| (1..=FRAME_BYTES_MAX).contains(&length));
        let prefix = prefix.ok_or(FrameError(length as u64))?;
        bytes[..LENGTH_BYTES].copy_from_slice(&prefix.to_be_bytes());
        Ok(Self(bytes.into()))
    }

    /// Checks a received length; gives the number of bytes to read.
    pub fn length(prefix: [u8; LENGTH_BYTES]) -> Result<usize, FrameError> {
        let length = u32::from_be_bytes(prefix);
        usize::try_from(length)
            .ok()
            .filter(|length| (1..=FRAME_BYTES_MAX).contains(length))
            .ok_or(FrameError(length.into()))
    }

    /// A received message: its length, then `body` of just that length.
    pub fn received(prefix: [u8; LENGTH_BYTES], body: &[u8]) -> Self {
        Self([&prefix, body].concat().into())
    }

    /// The same of a message that came behind its length in memory of its own, which the frame takes over.
    pub fn taken(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    /// Length and message, as they go over the line.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The message without its length; shares the frame's memory.
    pub fn body(&self) -> Bytes {
        self.0.slice(LENGTH_BYTES.min(self.0.len())..)
    }
}
