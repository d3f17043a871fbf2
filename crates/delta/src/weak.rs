//! The weak sum: cheap to move along by one byte, so that a block is found at any offset.
//!
//! Every byte x counts as y = x². With n the number of bytes, and all arithmetic modulo 2³²:
//!
//! ```text
//! a = y₀ + y₁ + … + yₙ₋₁
//! b = n·y₀ + (n−1)·y₁ + … + 1·yₙ₋₁          (the sum of all a on the way)
//! weak = upper half of (2³²·a + b) · 0x9E3779B97F4A7C15
//! ```
//!
//! This is the pair of sums of rsync's paper (Tridgell and Mackerras, 1996), with three differences: squares, because sums of plain
//! bytes are equal for all text in which one digit grew and another shrank; 32 bits for each, because 16 are not uniform;
//! and a multiplication that spreads both over the 32 bits that are kept, because the index goes by the upper ones. Its
//! factor is 2⁶⁴ divided by the golden ratio, as in Knuth's multiplicative hashing.

const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Bytes that are summed side by side; the compiler makes vectors of them.
const LANES: usize = 32;

/// The two sums over a window of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    a: u32,
    b: u32,
}

impl Window {
    /// The sums of these bytes.
    ///
    /// Rows of [`LANES`] bytes are added up column by column. `low` is the sum of a column, `high` the sum of all `low`
    /// on the way: from both follow a and b, since the byte at column j of a row weighs j less than its row's first.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let (rows, rest) = bytes.as_chunks::<LANES>();
        let (mut low, mut high) = ([0u32; LANES], [0u32; LANES]);
        for row in rows {
            for ((low, high), byte) in low.iter_mut().zip(&mut high).zip(row) {
                *low = low.wrapping_add(square(*byte));
                *high = high.wrapping_add(*low);
            }
        }
        let (mut a, mut b) = (0u32, 0u32);
        for (column, (low, high)) in (0u32..).zip(low.into_iter().zip(high)) {
            a = a.wrapping_add(low);
            b = b.wrapping_add(high.wrapping_mul(LANES as u32)).wrapping_sub(low.wrapping_mul(column));
        }
        for byte in rest {
            a = a.wrapping_add(square(*byte));
            b = b.wrapping_add(a);
        }
        Self { a, b }
    }

    /// Moves a window of 2^`log2` bytes along by one.
    #[inline(always)]
    pub(crate) fn roll(&mut self, log2: u8, leaves: u8, enters: u8) {
        let leaves = square(leaves);
        self.a = self.a.wrapping_sub(leaves).wrapping_add(square(enters));
        self.b = self.b.wrapping_sub(leaves << log2).wrapping_add(self.a);
    }

    /// The sum that signatures carry.
    #[inline(always)]
    pub(crate) fn weak(self) -> u32 {
        let both = u64::from(self.a) << 32 | u64::from(self.b);
        (both.wrapping_mul(SPREAD) >> 32) as u32
    }
}

#[inline(always)]
fn square(byte: u8) -> u32 {
    u32::from(u16::from(byte) * u16::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_what_the_formula_says() {
        for len in [0, 1, 31, 32, 33, 64, 100, 1024, 5000] {
            let bytes: Vec<u8> = (0..len).map(|i: usize| (i * i + 7 * i / 3) as u8).collect();
            let (mut a, mut b) = (0u32, 0u32);
            for (i, byte) in bytes.iter().enumerate() {
                let y = u32::from(*byte).pow(2);
                a = a.wrapping_add(y);
                b = b.wrapping_add(((len - i) as u32).wrapping_mul(y));
            }
            assert_eq!(Window::of(&bytes), Window { a, b }, "{len} bytes");
        }
    }

    #[test]
    fn a_rolled_window_is_the_window_of_the_bytes_it_covers() {
        let bytes: Vec<u8> = (0..9000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut window = Window::of(&bytes[..4096]);
        for at in 0..9000 - 4096 {
            assert_eq!(window, Window::of(&bytes[at..at + 4096]), "at {at}");
            window.roll(12, bytes[at], bytes.get(at + 4096).copied().unwrap_or(0));
        }
    }

    #[test]
    fn digits_that_grow_and_shrink_are_told_apart() {
        let sums = ["counter 1908", "counter 1917", "counter 1926", "counter 2007"].map(|text| {
            let mut block = text.as_bytes().to_vec();
            block.resize(1024, b' ');
            Window::of(&block).weak()
        });
        assert!((1..4).all(|i| !sums[..i].contains(&sums[i])), "{sums:?}");
    }
}
