//! The sums of all blocks of a basis, and their bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | 1, the format |
//! | 1 | block length, as the exponent of two: 10 to 24 |
//! | 8 | length of the basis that is covered, big-endian |
//! | 4 + 16 | weak sum (big-endian) and strong sum, for every block from the first; the last block may be short |
//!
//! The number of blocks follows from the lengths, and the bytes must be exactly that many.

use crate::block::BlockLen;
use crate::strong::{STRONG_BYTES, Strong};
use crate::weak::Window;
use thiserror::Error;

/// The most blocks a signature has: 16 TiB in blocks of 1 MiB, 320 MiB of sums. What comes after them in a basis is not
/// covered, and never copied.
pub const BLOCKS_MAX: u64 = 1 << 24;

/// Bytes of an encoded signature before its sums.
pub const HEADER_BYTES: usize = 10;

/// Bytes of one block's sums in an encoded signature.
pub const SUM_BYTES: usize = 4 + STRONG_BYTES;

const FORMAT: u8 = 1;

/// The sums of every block of a basis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    block: BlockLen,
    len: u64,
    /// One for each block: as many as `block` and `len` say, and at most `BLOCKS_MAX`.
    sums: Vec<Sum>,
}

/// Both sums of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) weak: u32,
    pub(crate) strong: Strong,
}

/// Bytes that are no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// They end before the sums begin.
    #[error("signature of {0} bytes, shorter than its header")]
    Header(usize),
    /// Another format.
    #[error("signature of the unknown format {0}")]
    Format(u8),
    /// No such block length.
    #[error("signature with blocks of 2^{0} bytes")]
    Block(u8),
    /// More blocks than [`BLOCKS_MAX`].
    #[error("signature of {0} blocks, the limit is {BLOCKS_MAX}")]
    Blocks(u64),
    /// As many sums as the lengths say do not take as many bytes.
    #[error("signature of {bytes} bytes for {blocks} blocks")]
    Length {
        /// How many bytes there are, header included.
        bytes: usize,
        /// How many blocks there should be sums of.
        blocks: u64,
    },
}

impl Sum {
    /// The sums of a block.
    pub(crate) fn of(block: &[u8]) -> Self {
        Self { weak: Window::of(block).weak(), strong: Strong::of(block) }
    }
}

impl Signature {
    /// `sums` holds exactly those of `len` bytes.
    pub(crate) fn new(block: BlockLen, len: u64, sums: Vec<Sum>) -> Self {
        debug_assert_eq!(block.count(len), sums.len() as u64);
        Self { block, len, sums }
    }

    /// The length of its blocks.
    pub fn block(&self) -> BlockLen {
        self.block
    }

    /// Bytes of the basis that it covers: all of them, unless there are more than [`BLOCKS_MAX`] blocks.
    pub fn covered(&self) -> u64 {
        self.len
    }

    /// How many blocks it covers.
    pub fn blocks(&self) -> u64 {
        self.sums.len() as u64
    }

    /// As bytes; see the head of this file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.sums.len() * SUM_BYTES);
        bytes.extend([FORMAT, self.block.log2()]);
        bytes.extend(self.len.to_be_bytes());
        for sum in &self.sums {
            bytes.extend(sum.weak.to_be_bytes());
            bytes.extend(sum.strong.0);
        }
        bytes
    }

    /// From bytes, which may come from anyone. Allocates no more than they take themselves.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(Malformed::Header(bytes.len()))?;
        let [format, log2, len @ ..] = *header;
        if format != FORMAT {
            return Err(Malformed::Format(format));
        }
        let block = BlockLen::from_log2(log2).ok_or(Malformed::Block(log2))?;
        let len = u64::from_be_bytes(len);
        let blocks = block.count(len);
        if blocks > BLOCKS_MAX {
            return Err(Malformed::Blocks(blocks));
        }
        let (sums, odd) = rest.as_chunks::<SUM_BYTES>();
        if !odd.is_empty() || sums.len() as u64 != blocks {
            return Err(Malformed::Length { bytes: bytes.len(), blocks });
        }
        let sums = sums.iter().map(|[a, b, c, d, strong @ ..]| Sum {
            weak: u32::from_be_bytes([*a, *b, *c, *d]),
            strong: Strong(*strong),
        });
        Ok(Self::new(block, len, sums.collect()))
    }

    /// The sums of a block.
    pub(crate) fn sum(&self, block: u32) -> Option<&Sum> {
        self.sums.get(usize::try_from(block).ok()?)
    }

    pub(crate) fn sums(&self) -> &[Sum] {
        &self.sums
    }

    /// Where a block begins in the basis.
    pub(crate) fn start(&self, block: u32) -> u64 {
        u64::from(block) << self.block.log2()
    }

    /// How long a block is, in bytes; 0 behind the end.
    pub(crate) fn len_of(&self, block: u32) -> usize {
        let left = self.len.saturating_sub(self.start(block));
        usize::try_from(left).unwrap_or(usize::MAX).min(self.block.size())
    }

    /// The block that begins at this offset of the basis.
    pub(crate) fn block_at(&self, offset: u64) -> Option<u32> {
        let aligned = offset & (self.block.bytes() - 1) == 0;
        u32::try_from(offset >> self.block.log2()).ok().filter(|_| aligned && offset < self.len)
    }

    /// The short block at the end, if there is one.
    pub(crate) fn tail(&self) -> Option<u32> {
        let short = self.len & (self.block.bytes() - 1);
        self.block_at(self.len - short).filter(|_| short > 0)
    }
}
