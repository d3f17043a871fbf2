//! A fraction of a directory's names, chosen by hash, so that a directory too large for memory is handled piece by piece
//! and two machines agree on the pieces without talking.

use fulmar_model::Name;

/// How many names one part is expected to hold at most.
pub const NAMES_PER_PART: u64 = 65_536;

/// The names whose FNV-1a (64 bit) is `index` modulo `of`. Invariant: `index < of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    index: u32,
    of: u32,
}

impl Part {
    /// Every name.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// Part `index`, counted from 0, of `of`; `None` when there is no such part.
    pub fn new(index: u32, of: u32) -> Option<Self> {
        (index < of).then_some(Self { index, of })
    }

    /// Which part, counted from 0.
    pub fn index(self) -> u32 {
        self.index
    }

    /// Of how many.
    pub fn of(self) -> u32 {
        self.of
    }

    /// The part after this one; `None` after the last.
    pub fn next(self) -> Option<Self> {
        Self::new(self.index.checked_add(1)?, self.of)
    }

    /// Whether it is everything.
    pub fn is_whole(self) -> bool {
        self.of == 1
    }

    /// Whether `name` belongs to this part.
    pub fn contains(self, name: &Name) -> bool {
        self.has(name.as_bytes())
    }

    pub(crate) fn has(self, name: &[u8]) -> bool {
        self.is_whole() || fnv1a(name) % u64::from(self.of) == u64::from(self.index)
    }

    /// In how many parts to handle a directory of `count` names, at least 1.
    pub fn number_for(count: u64) -> u32 {
        u32::try_from(count.div_ceil(NAMES_PER_PART).max(1)).unwrap_or(u32::MAX)
    }
}

/// Fowler, Noll, Vo: 64 bit, variant 1a (RFC 9923). Never to be changed: both sides of a session compute it.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        for (text, expected) in
            [(&b""[..], 0xcbf2_9ce4_8422_2325), (b"a", 0xaf63_dc4c_8601_ec8c), (b"foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(fnv1a(text), expected, "{text:?}");
        }
    }

    #[test]
    fn parts_are_counted_from_zero_and_end() {
        assert_eq!((Part::number_for(0), Part::number_for(65_536), Part::number_for(65_537)), (1, 1, 2));
        assert_eq!(Part::new(2, 2), None);
        assert_eq!(Part::new(0, 0), None);
        assert_eq!(Part::new(0, 2).and_then(Part::next), Part::new(1, 2));
        assert_eq!(Part::WHOLE.next(), None);
    }
}
