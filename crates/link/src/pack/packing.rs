//! One direction of a link on its way out: what it becomes, and how hard that is worked on.

use super::pacer::{Cost, Pacer};
use super::packer::Packer;
use std::io;

/// What is shorter is copied: less work than two parts.
const APART_BYTES_MIN: usize = 4096;

/// Packs what is sent, with the effort that has paid so far.
pub(crate) struct Packing {
    packer: Packer,
    pacer: Pacer,
    packed: Vec<u8>,
}

impl Packing {
    /// An error: no memory.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { packer: Packer::new()?, pacer: Pacer::new(), packed: Vec::new() })
    }

    /// What must be written for `raw` to be read. From one byte to [`PIECE_BYTES_MAX`](super::PIECE_BYTES_MAX). `apart`: two parts can be
    /// written at once, and the second need not be copied behind the first.
    pub(crate) fn pack<'a>(&'a mut self, raw: &'a [u8], apart: bool) -> io::Result<[&'a [u8]; 2]> {
        self.packed.clear();
        let behind = self.packer.pack(self.pacer.effort(), raw, &mut self.packed)?;
        if apart && behind.len() >= APART_BYTES_MIN {
            return Ok([&self.packed, behind]);
        }
        self.packed.extend_from_slice(behind);
        Ok([&self.packed, &[]])
    }

    /// That was written.
    pub(crate) fn sent(&mut self, cost: &Cost) {
        self.pacer.sent(cost);
    }
}
