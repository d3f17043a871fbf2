//! Choices from a seed (splitmix64): the same seed gives the same choices on every machine.

/// A stream of choices.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % (n.max(1) as u64)) as usize
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `choices`, which is not empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// `len` bytes; half of the time they compress well.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let repeats = self.chance(50);
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < if repeats { len.min(96) } else { len } {
            bytes.extend_from_slice(&self.bits().to_le_bytes());
        }
        while bytes.len() < len {
            bytes.extend_from_within(..bytes.len().min(len - bytes.len()));
        }
        bytes.truncate(len);
        bytes
    }
}

/// A seed nobody has chosen: `FULMAR_SEED` when set, else the clock. Printed, so that a failure can be repeated.
pub fn fresh_seed() -> u64 {
    let seed = match std::env::var("FULMAR_SEED") {
        Ok(text) => text.trim().parse().expect("FULMAR_SEED is a number"),
        Err(_) => {
            let since =
                std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the clock is past 1970");
            (since.as_nanos() as u64) % 1_000_000_000_000
        }
    };
    eprintln!("seed base: FULMAR_SEED={seed}");
    seed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_choices() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        assert_eq!(a.bytes(1000), b.bytes(1000));
        assert_eq!(a.below(1 << 40), b.below(1 << 40));
        assert_ne!(Random::new(8).bits(), Random::new(7).bits());
    }

    #[test]
    fn bytes_have_the_length_asked_for() {
        let mut random = Random::new(1);
        for len in [0, 1, 7, 8, 95, 96, 97, 100_000] {
            assert_eq!(random.bytes(len).len(), len);
        }
    }
}
