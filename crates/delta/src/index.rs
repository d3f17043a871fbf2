//! Finds a block of the basis by its sums.
//!
//! Two stages, for nearly every position of unknown content ends at the first:
//!
//! 1. A bitmap of 64 to 128 bits a block, indexed by the lower bits of the weak sum: it fits a near cache, and lets
//!    one position in 64 pass, or fewer.
//! 2. The blocks in the order of (weak, strong), and where those begin whose weak sums share their upper bits. Blocks of
//!    equal content have one entry, that of the first; blocks that share only the weak sum are told apart by binary
//!    search, so that a signature in which all weak sums are equal costs a logarithm and not a walk.

use crate::signature::Signature;
use crate::strong::Strong;
use crate::weak::Window;

/// Bits of the bitmap for a block, as an exponent: 64 at least. With 16, unknown content takes a third longer.
const FILTER_LOG2: u32 = 6;

/// The smallest bitmap, as an exponent: 4 KiB.
const FILTER_LOG2_MIN: u32 = 15;

/// The sums of a signature, sorted. Memory: 20 to 32 bytes a block.
#[derive(Debug)]
pub(crate) struct Index<'s> {
    signature: &'s Signature,
    /// Full blocks in the order of their sums, without repetitions, each behind its weak sum.
    blocks: Vec<(u32, u32)>,
    /// Where in `blocks` those begin whose weak sums have these upper bits; one more for the end.
    begins: Vec<u32>,
    /// How far right a weak sum is shifted to become a place in `begins`.
    begins_shift: u32,
    filter: Vec<u64>,
    /// The bits of a weak sum that are a bit's place in `filter`.
    filter_mask: u32,
}

impl<'s> Index<'s> {
    /// Of all blocks of full length: a short one is only looked for where it is expected.
    pub(crate) fn new(signature: &'s Signature) -> Self {
        let tail = signature.tail();
        let full = (0..).zip(signature.sums()).take_while(|(block, _)| Some(*block) != tail);
        let mut blocks: Vec<(u32, u32)> = full.map(|(block, sum)| (sum.weak, block)).collect();
        let strong = |block: u32| signature.sum(block).map(|sum| sum.strong);
        blocks.sort_unstable_by(|(weak, block), (other_weak, other)| {
            weak.cmp(other_weak).then_with(|| (strong(*block), *block).cmp(&(strong(*other), *other)))
        });
        blocks.dedup_by(|(weak, block), (kept_weak, kept)| weak == kept_weak && strong(*block) == strong(*kept));

        let log2 = (blocks.len() as u64).next_power_of_two().ilog2();
        let begins_shift = 32 - log2.max(1);
        let mut begins = vec![0u32; (1usize << (32 - begins_shift)) + 1];
        for (weak, _) in &blocks {
            if let Some(count) = begins.get_mut((weak >> begins_shift) as usize + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for begin in &mut begins {
            sum += *begin;
            *begin = sum;
        }

        let filter_log2 = (log2 + FILTER_LOG2).max(FILTER_LOG2_MIN);
        let mut filter = vec![0u64; 1 << (filter_log2 - 6)];
        let filter_mask = (1u32 << filter_log2) - 1;
        for (weak, _) in &blocks {
            let bit = weak & filter_mask;
            if let Some(word) = filter.get_mut((bit >> 6) as usize) {
                *word |= 1 << (bit & 63);
            }
        }
        Self { signature, blocks, begins, begins_shift, filter, filter_mask }
    }

    /// Whether a block with this weak sum is worth looking for.
    #[inline(always)]
    pub(crate) fn may_have(&self, weak: u32) -> bool {
        let bit = weak & self.filter_mask;
        self.filter.get((bit >> 6) as usize).is_some_and(|word| word >> (bit & 63) & 1 != 0)
    }

    /// Moves `window` along, over pairs of the byte that leaves and the byte that enters, until it may be a block or
    /// there are no more. Gives the number of steps, and whether it may.
    pub(crate) fn roll(&self, window: &mut Window, leave: &[u8], enter: &[u8]) -> (usize, bool) {
        let len = self.signature.block().size() as u32;
        let mut rolling = *window;
        let mut steps = 0;
        let mut found = false;
        for (leaves, enters) in leave.iter().zip(enter) {
            rolling.roll(len, *leaves, *enters);
            steps += 1;
            if self.may_have(rolling.weak()) {
                found = true;
                break;
            }
        }
        *window = rolling;
        (steps, found)
    }

    /// Whether there is a block with this weak sum.
    pub(crate) fn has(&self, weak: u32) -> bool {
        !self.with(weak).is_empty()
    }

    /// The first block with these sums.
    pub(crate) fn find(&self, weak: u32, strong: Strong) -> Option<u32> {
        let same = self.with(weak);
        let strong_of = |(_, block): &(u32, u32)| self.signature.sum(*block).map(|sum| sum.strong);
        let place = same.binary_search_by_key(&Some(strong), strong_of).ok()?;
        same.get(place).map(|(_, block)| *block)
    }

    /// All blocks with this weak sum.
    fn with(&self, weak: u32) -> &[(u32, u32)] {
        let place = (weak >> self.begins_shift) as usize;
        let ends = self.begins.get(place).zip(self.begins.get(place + 1));
        let bucket = ends.and_then(|(begin, end)| self.blocks.get(*begin as usize..*end as usize)).unwrap_or_default();
        let from = bucket.partition_point(|(other, _)| *other < weak);
        let same = bucket.get(from..).unwrap_or_default();
        same.get(..same.partition_point(|(other, _)| *other == weak)).unwrap_or_default()
    }
}
