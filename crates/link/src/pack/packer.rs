//! Makes the stream of one direction. It is a sequence of zstd frames (RFC 8878), which any zstd decoder reads as one.
//!
//! A frame lasts while the effort stays the same, so what was sent before helps what is sent next. A change of effort ends the
//! frame and begins another. What is stored goes in a frame that is written here, of raw blocks: it costs nothing.

use super::WINDOW_LOG;
use super::pacer::Effort;
use std::io;
use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::compress_bound;

/// The most that is packed in one step: a zstd block.
pub(crate) const PIECE_BYTES_MAX: usize = 128 * 1024;

/// Magic number, no flags, a window of one block.
const STORED_BEGIN: [u8; 6] = [0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3];
/// A raw block that is the last, of no bytes.
const STORED_END: [u8; 3] = [1, 0, 0];
/// Room for the headers and the end of a frame.
const OVERHEAD_BYTES: usize = 64;

/// One direction, on its way out.
pub(crate) struct Packer {
    encoder: Encoder<'static>,
    /// The effort of the frame that was begun.
    open: Option<Effort>,
}

impl Packer {
    /// An error: no memory.
    pub(crate) fn new() -> io::Result<Self> {
        let mut encoder = Encoder::new(1)?;
        encoder.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
        Ok(Self { encoder, open: None })
    }

    /// Appends `raw`, packed, to `packed`, and gives what belongs behind that as it is: whoever has read that far can unpack all
    /// of it. From one byte to [`PIECE_BYTES_MAX`]. An error ends the stream.
    pub(crate) fn pack<'r>(&mut self, effort: Effort, raw: &'r [u8], packed: &mut Vec<u8>) -> io::Result<&'r [u8]> {
        if self.open != Some(effort) {
            self.end(packed)?;
            self.begin(effort, packed)?;
        }
        match effort {
            Effort::Stored => {
                // A raw block: the size is above the type, which is zero, and the mark of the last.
                let size = u32::try_from(raw.len()).map_err(io::Error::other)?;
                packed.extend_from_slice(&(size << 3).to_le_bytes()[..3]);
                Ok(raw)
            }
            Effort::Level(_) => self.compress(raw, packed).map(|()| Default::default()),
        }
    }

    fn begin(&mut self, effort: Effort, packed: &mut Vec<u8>) -> io::Result<()> {
        match effort {
            Effort::Stored => packed.extend_from_slice(&STORED_BEGIN),
            Effort::Level(level) => self.encoder.set_parameter(CParameter::CompressionLevel(level))?,
        }
        self.open = Some(effort);
        Ok(())
    }

    fn end(&mut self, packed: &mut Vec<u8>) -> io::Result<()> {
        match self.open.take() {
            None => Ok(()),
            Some(Effort::Stored) => {
                packed.extend_from_slice(&STORED_END);
                Ok(())
            }
            Some(Effort::Level(_)) => {
                until_done(packed, OVERHEAD_BYTES, |out| self.encoder.finish(out, true))?;
                self.encoder.reinit()
            }
        }
    }

    fn compress(&mut self, raw: &[u8], packed: &mut Vec<u8>) -> io::Result<()> {
        let mut input = InBuffer::around(raw);
        until_done(packed, compress_bound(raw.len()), |out| {
            self.encoder.run(&mut input, out)?;
            Ok(raw.len() - input.pos())
        })?;
        until_done(packed, OVERHEAD_BYTES, |out| self.encoder.flush(out))
    }
}

/// Makes room for `room_bytes` and calls `step` until it says that nothing remains.
fn until_done(
    packed: &mut Vec<u8>,
    room_bytes: usize,
    mut step: impl FnMut(&mut OutBuffer<'_, Vec<u8>>) -> io::Result<usize>,
) -> io::Result<()> {
    loop {
        packed.reserve(room_bytes);
        let end = packed.len();
        if step(&mut OutBuffer::around_pos(packed, end))? == 0 {
            return Ok(());
        }
    }
}
