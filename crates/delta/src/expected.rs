//! Which block of the basis is likely at a position of the new content.
//!
//! Files are appended to and written in place, and an insertion shifts all that follows it. So a block is expected where the
//! basis has it, and where it is when all is shifted as far as what was copied last. Both are grids of one
//! block length, and after changed content the next point of either is where copying resumes.

use crate::signature::Signature;

/// The two grids.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Expected {
    /// How much further along the new content is than the basis, at what was copied last. Wraps when it is less far along.
    shift: u64,
}

impl Expected {
    /// From here on, what was at `from` of the basis is at `position`.
    pub(crate) fn shifted(from: u64, position: u64) -> Self {
        Self { shift: position.wrapping_sub(from) }
    }

    /// The blocks that are expected at a position, the likelier one first.
    pub(crate) fn at(self, signature: &Signature, position: u64) -> impl Iterator<Item = u32> + use<> {
        let likely = signature.block_at(position.wrapping_sub(self.shift));
        let in_place = signature.block_at(position).filter(|block| Some(*block) != likely);
        likely.into_iter().chain(in_place)
    }

    /// The next position, after this one, at which a block is expected.
    pub(crate) fn after(self, signature: &Signature, position: u64) -> Option<u64> {
        let next = |shift: u64| {
            let offset = position.wrapping_sub(shift);
            let step = signature.block().bytes() - (offset & (signature.block().bytes() - 1));
            let next = offset.checked_add(step).filter(|next| *next < signature.covered())?;
            Some(next.wrapping_add(shift))
        };
        next(self.shift).into_iter().chain(next(0)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::BlockLen;
    use crate::signature::Sum;

    /// 11 blocks of 4 KiB, the last of 100 bytes.
    fn signature() -> Signature {
        let block = BlockLen::new(4096).expect("a power of two");
        Signature::new(block, 10 * 4096 + 100, vec![Sum::of(b""); 11])
    }

    fn at(expected: Expected, position: u64) -> Vec<u32> {
        expected.at(&signature(), position).collect()
    }

    #[test]
    fn at_first_blocks_are_expected_in_place() {
        let expected = Expected::default();
        assert_eq!([0, 4096, 40_960].map(|position| at(expected, position)), [[0], [1], [10]]);
        assert_eq!([1, 45_056, u64::MAX - 4095].map(|position| at(expected, position)), [[]; 3]);
        assert_eq!([0, 1, 4096, 36_864].map(|p| expected.after(&signature(), p)), [4096, 4096, 8192, 40_960].map(Some));
        assert_eq!([40_960, u64::MAX].map(|p| expected.after(&signature(), p)), [None; 2]);
    }

    #[test]
    fn behind_a_copy_they_are_expected_as_far_along_as_well() {
        let far = 100 << 30;
        for (expected, position, blocks, after) in [
            (Expected::shifted(4096, 8202), 12_298, vec![2], Some(16_384)),
            (Expected::shifted(4096, 8202), 12_288, vec![3], Some(12_298)),
            (Expected::shifted(8192, 4096), 8192, vec![3, 2], Some(12_288)),
            (Expected::shifted(8192, 4096), 36_864, vec![10, 9], Some(40_960)),
            (Expected::shifted(0, far + 1), far + 4097, vec![1], Some(far + 8193)),
            (Expected::shifted(36_864, far), far + 4096, vec![10], None),
        ] {
            assert_eq!(at(expected, position), blocks, "{expected:?} {position}");
            assert_eq!(expected.after(&signature(), position), after, "{expected:?} {position}");
        }
    }
}
