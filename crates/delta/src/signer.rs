//! Makes the signature of a basis while it is read.

use crate::block::BlockLen;
use crate::signature::{BLOCKS_MAX, Signature, Sum};
use crate::strong::Strong;
use std::collections::VecDeque;

/// Takes the content of a basis from its start, in slices of any length. Memory: its sums and one block.
#[derive(Clone, Debug)]
pub struct Signer {
    block: BlockLen,
    sums: Vec<Sum>,
    /// Blocks that have come.
    count: u64,
    /// The beginning of a block whose end has not come; always less than a block.
    begun: Vec<u8>,
    /// Weak sums of blocks that have not come, by their number.
    weak: VecDeque<(u64, u32)>,
}

impl Signer {
    /// A signature in blocks of this length.
    pub fn new(block: BlockLen) -> Self {
        Self { block, sums: Vec::new(), count: 0, begun: Vec::new(), weak: VecDeque::new() }
    }

    /// The length of its blocks.
    pub(crate) fn block(&self) -> BlockLen {
        self.block
    }

    /// The weak sum of a whole block that is still to come, told in the order of the blocks: it is not added up again.
    pub(crate) fn foresee(&mut self, block: u64, weak: u32) {
        self.weak.push_back((block, weak));
    }

    /// What follows in the basis is a whole block with these sums. False: no block begins here. The weak sum is believed; one that is
    /// wrong only keeps the block from being found.
    pub(crate) fn skip(&mut self, sum: Sum) -> bool {
        let boundary = self.begun.is_empty();
        if boundary {
            self.push(sum);
        }
        boundary
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
        let known = self.weak.front().filter(|(expected, _)| *expected == self.count).map(|(_, weak)| *weak);
        self.push(match known {
            Some(weak) => Sum { weak, strong: Strong::of(block) },
            None => Sum::of(block),
        });
    }

    fn push(&mut self, sum: Sum) {
        self.count += 1;
        while self.weak.front().is_some_and(|(expected, _)| *expected < self.count) {
            self.weak.pop_front();
        }
        if (self.sums.len() as u64) < BLOCKS_MAX {
            self.sums.push(sum);
        }
    }
}
