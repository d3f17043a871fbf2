//! One direction of a link on its way out: what it becomes, and how hard that is worked on.

use super::pacer::{Cost, Pacer};
use super::packer::Packer;
use std::io;

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

    /// What must be written for `raw` to be read, in two parts. From one byte to [`PIECE_BYTES_MAX`](super::PIECE_BYTES_MAX).
    pub(crate) fn pack<'a>(&'a mut self, raw: &'a [u8]) -> io::Result<[&'a [u8]; 2]> {
        self.packed.clear();
        let behind = self.packer.pack(self.pacer.effort(), raw, &mut self.packed)?;
        Ok([&self.packed, behind])
    }

    /// That was written.
    pub(crate) fn sent(&mut self, cost: &Cost) {
        self.pacer.sent(cost);
    }
}
