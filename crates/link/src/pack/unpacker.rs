//! Reads the stream of one direction back. Its bytes may be hostile: a window above the limit is refused before memory is
//! taken for it, and what comes out never exceeds the room it is given, however far the bytes would expand.

use super::WINDOW_LOG;
use std::io;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

/// Packed bytes that are read at once.
const INPUT_BYTES: usize = 256 * 1024;

/// One direction, on its way in.
pub(crate) struct Unpacker {
    decoder: Decoder<'static>,
    input: Vec<u8>,
    /// Bytes at the front of `input` that the decoder has taken.
    taken: usize,
    /// The decoder filled all the room it had the last time, and may hold more.
    holds: bool,
}

impl Unpacker {
    /// `input`: packed bytes that have arrived already. An error: no memory.
    pub(crate) fn new(input: Vec<u8>) -> io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG))?;
        Ok(Self { decoder, input, taken: 0, holds: false })
    }

    /// Appends to `raw` what can be unpacked, as far as its capacity goes. Nothing appended: more must be read first.
    /// An error: these bytes are no such stream.
    pub(crate) fn unpack(&mut self, raw: &mut Vec<u8>) -> io::Result<usize> {
        let before = raw.len();
        while raw.len() == before && (self.holds || self.taken < self.input.len()) {
            let mut input = InBuffer::around(self.input.get(self.taken..).unwrap_or_default());
            self.decoder.run(&mut input, &mut OutBuffer::around_pos(raw, before))?;
            self.taken += input.pos();
            self.holds = raw.len() == raw.capacity();
        }
        Ok(raw.len() - before)
    }

    /// Where packed bytes are to be appended, once [`unpack`](Self::unpack) has none left.
    pub(crate) fn room(&mut self) -> &mut Vec<u8> {
        self.input.drain(..self.taken);
        self.taken = 0;
        self.input.reserve(INPUT_BYTES);
        &mut self.input
    }
}
