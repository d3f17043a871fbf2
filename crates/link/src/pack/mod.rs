//! What travels on a link is compressed: each direction is one zstd stream behind the preface, flushed after every write.
//! Sans-IO: nothing here reads, writes or looks at a clock.
//!
//! Reading order: `pacer` (how hard to work on what comes next), `packer` (bytes in, a piece of the stream out), `packing`
//! (both together), `unpacker` (the way back, for bytes that may be hostile).

mod pacer;
mod packer;
mod packing;
mod unpacker;

pub(crate) use pacer::Cost;
pub(crate) use packer::PIECE_BYTES_MAX;
pub(crate) use packing::Packing;
pub(crate) use unpacker::Unpacker;

/// Binary logarithm of the window: what either side keeps of the past, and the most that a stream may ask for. 1 MiB.
const WINDOW_LOG: u32 = 20;

#[cfg(test)]
mod tests;
