//! The length of a block, the unit in which a basis is matched.

use thiserror::Error;

/// The shortest block a signature may have: below it, sums cost more than they find.
pub const BLOCK_LEN_MIN: u64 = 1 << LOG2_MIN;

/// The longest block a signature may have. A matcher keeps two of them in memory.
pub const BLOCK_LEN_MAX: u64 = 1 << LOG2_MAX;

const LOG2_MIN: u8 = 10;
const LOG2_MAX: u8 = 24;

/// What [`BlockLen::for_file`] chooses from: 4 KiB, the page of most files that are written in place, to 1 MiB.
const CHOICE: std::ops::RangeInclusive<u32> = 12..=20;

/// Bytes of a block: a power of two from [`BLOCK_LEN_MIN`] to [`BLOCK_LEN_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockLen {
    log2: u8,
}

/// A length that no block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("block of {0} bytes, not a power of two from {BLOCK_LEN_MIN} to {BLOCK_LEN_MAX}")]
pub struct BlockLenError(pub u64);

impl BlockLen {
    /// A length in bytes.
    pub fn new(bytes: u64) -> Result<Self, BlockLenError> {
        let log2 = bytes.checked_ilog2().filter(|_| bytes.is_power_of_two());
        log2.and_then(|log2| u8::try_from(log2).ok()).and_then(Self::from_log2).ok_or(BlockLenError(bytes))
    }

    /// The power of two nearest to half the square root of the file's length, from 4 KiB to 1 MiB. One changed byte costs
    /// a block, and a signature 20 bytes a block: both grow with the root. 1 GiB has blocks of 16 KiB and a
    /// signature of 1.25 MiB; 100 GiB has 128 KiB and 16 MiB.
    pub fn for_file(len: u64) -> Self {
        let half_root = len.max(1).ilog2().div_ceil(2).saturating_sub(1).clamp(*CHOICE.start(), *CHOICE.end());
        Self { log2: u8::try_from(half_root).unwrap_or(LOG2_MAX) }
    }

    /// In bytes.
    pub fn bytes(self) -> u64 {
        1 << self.log2
    }

    /// The exponent, as signatures carry it.
    pub(crate) fn log2(self) -> u8 {
        self.log2
    }

    pub(crate) fn from_log2(log2: u8) -> Option<Self> {
        (LOG2_MIN..=LOG2_MAX).contains(&log2).then_some(Self { log2 })
    }

    /// In bytes, for slices: at most 16 MiB.
    pub(crate) fn size(self) -> usize {
        1 << self.log2
    }

    /// How many blocks `len` bytes have; the last may be short.
    pub(crate) fn count(self, len: u64) -> u64 {
        len.div_ceil(self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_powers_of_two_within_the_limits() {
        for refused in [0, 1, 512, 1023, 1025, 3 << 10, 32 << 20, u64::MAX] {
            assert_eq!(BlockLen::new(refused), Err(BlockLenError(refused)));
        }
        for log2 in 10..=24 {
            assert_eq!(BlockLen::new(1 << log2).map(BlockLen::bytes), Ok(1 << log2));
        }
    }

    #[test]
    fn a_file_has_blocks_near_half_the_root_of_its_length() {
        let chosen = |len| BlockLen::for_file(len).bytes() >> 10;
        assert_eq!([0, 1, 4096, 64 << 20].map(chosen), [4; 4]);
        assert_eq!([256 << 20, 1 << 30, 4 << 30, 100 << 30].map(chosen), [8, 16, 32, 128]);
        assert_eq!([4 << 40, 1 << 50, u64::MAX].map(chosen), [1024; 3]);
        for len in (27..42).flat_map(|log2| [1u64 << log2, (1 << log2) + (1 << (log2 - 1))]) {
            let (block, half_root) = (BlockLen::for_file(len).bytes() as f64, (len as f64).sqrt() / 2.0);
            assert!((0.70..=1.42).contains(&(block / half_root)), "{len}: {block} beside {half_root}");
        }
    }
}
