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
