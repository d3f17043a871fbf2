//! The weak sum: cheap to move along by one byte, so that a block is found at any offset.
//!
//! Every byte x counts as y = 0x9E3779B1 · x². With n the number of bytes, and all arithmetic modulo 2³²:
//!
//! ```text
//! a = y₀ + y₁ + … + yₙ₋₁
//! b = n·y₀ + (n−1)·y₁ + … + 1·yₙ₋₁          (the sum of all a on the way)
//! weak = b xor (a rotated by 16 bits)
//! ```
//!
//! This is the pair of sums of rsync's paper (Tridgell and Mackerras, 1996), with three differences: squares, because sums of
//! plain bytes are equal for all text in which one digit grew and another shrank; 32 bits for each, because 16 are not
//! uniform; and a factor that carries differences to the upper bits, in both, because the index goes by some bits of the
//! 32 that are kept. It is the prime nearest to 2³² divided by the golden ratio, after Knuth's multiplicative hashing.

const SPREAD: u32 = 0x9E37_79B1;

/// What a byte counts as. Looked up where bytes come one by one.
static COUNTS_AS: [u32; 256] = counts_as();

/// Bytes that are summed side by side; the compiler makes vectors of them.
const LANES: usize = 8;

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
        // Both sums are linear: the factor can wait until here.
        Self { a: a.wrapping_mul(SPREAD), b: b.wrapping_mul(SPREAD) }
    }

    /// Moves a window of `len` bytes along by one.
    #[inline(always)]
    pub(crate) fn roll(&mut self, len: u32, leaves: u8, enters: u8) {
        let (leaves, enters) = (COUNTS_AS[usize::from(leaves)], COUNTS_AS[usize::from(enters)]);
        // In this order, so that each sum waits for one addition a byte.
        self.a = self.a.wrapping_add(enters.wrapping_sub(leaves));
        self.b = self.b.wrapping_add(self.a.wrapping_sub(leaves.wrapping_mul(len)));
    }

    /// The sum that signatures carry.
    #[inline(always)]
    pub(crate) fn weak(self) -> u32 {
        self.b ^ self.a.rotate_left(16)
    }
}

#[inline(always)]
fn square(byte: u8) -> u32 {
    u32::from(u16::from(byte) * u16::from(byte))
}

const fn counts_as() -> [u32; 256] {
    let mut counts_as = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        counts_as[byte] = SPREAD.wrapping_mul((byte * byte) as u32);
        byte += 1;
    }
    counts_as
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
                let y = u32::from(*byte).pow(2).wrapping_mul(0x9E37_79B1);
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
            window.roll(4096, bytes[at], bytes.get(at + 4096).copied().unwrap_or(0));
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
