//! Makes the signature of a basis while it is read.

use crate::block::BlockLen;
use crate::signature::{BLOCKS_MAX, Signature, Sum};

/// Takes the content of a basis from its start, in slices of any length. Memory: its sums and one block.
#[derive(Clone, Debug)]
pub struct Signer {
    block: BlockLen,
    sums: Vec<Sum>,
    /// The beginning of a block whose end has not come; always less than a block.
    begun: Vec<u8>,
}

impl Signer {
    /// A signature in blocks of this length.
    pub fn new(block: BlockLen) -> Self {
        Self { block, sums: Vec::new(), begun: Vec::new() }
    }

    /// What follows in the basis.
    pub fn update(&mut self, mut bytes: &[u8]) {
        if !self.begun.is_empty() {
            let missing = self.block.size() - self.begun.len();
            let (end, rest) = bytes.split_at(missing.min(bytes.len()));
            self.begun.extend_from_slice(end);
            bytes = rest;
            if self.begun.len() < self.block.size() {
                return;
            }
            let block = std::mem::take(&mut self.begun);
            self.add(&block);
            self.begun = block;
            self.begun.clear();
        }
        let mut blocks = bytes.chunks_exact(self.block.size());
        for block in &mut blocks {
            self.add(block);
        }
        self.begun.extend_from_slice(blocks.remainder());
    }

    /// The signature of all that came.
    pub fn finish(mut self) -> Signature {
        let whole = self.sums.len() as u64;
        let tail = std::mem::take(&mut self.begun);
        if !tail.is_empty() {
            self.add(&tail);
        }
        let short = if self.sums.len() as u64 > whole { tail.len() as u64 } else { 0 };
        let covered = whole * self.block.bytes() + short;
        Signature::new(self.block, covered, self.sums)
    }

    fn add(&mut self, block: &[u8]) {
        if (self.sums.len() as u64) < BLOCKS_MAX {
            self.sums.push(Sum::of(block));
        }
    }
}
