//! Numbers in one to ten bytes: seven bits each, the lowest first, the upper bit set on all but the last (LEB128). A number has
//! one encoding: the last byte of several is not zero.

/// Bytes of the longest number.
const BYTES_MAX: u32 = 10;

/// Appends a number.
pub(crate) fn put(mut number: u64, to: &mut Vec<u8>) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return to.push(low & 0x7f);
        }
        to.push(low | 0x80);
    }
}

/// A number whose bytes may arrive one by one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Varint {
    number: u64,
    bytes: u32,
}

/// Bytes that are no number of 64 bits, or a longer form of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotANumber;

impl Varint {
    /// Takes bytes from `input`, and gives the number once its last byte has come.
    pub(crate) fn take(&mut self, input: &mut &[u8]) -> Result<Option<u64>, NotANumber> {
        while let Some((byte, rest)) = input.split_first() {
            *input = rest;
            let bits = u64::from(byte & 0x7f);
            let shift = 7 * self.bytes;
            let last = byte & 0x80 == 0;
            self.bytes += 1;
            // The tenth byte has room for one bit.
            let fits = self.bytes < BYTES_MAX || (self.bytes == BYTES_MAX && bits <= 1 && last);
            if !fits || (last && bits == 0 && self.bytes > 1) {
                return Err(NotANumber);
            }
            self.number |= bits << shift;
            if last {
                return Ok(Some(std::mem::take(self).number));
            }
        }
        Ok(None)
    }
}

/// Signed differences as numbers: 0, −1, 1, −2, … become 0, 1, 2, 3, …
pub(crate) fn zigzag(difference: i64) -> u64 {
    ((difference << 1) ^ (difference >> 63)).cast_unsigned()
}

/// And back.
pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(mut bytes: &[u8]) -> Result<Option<u64>, NotANumber> {
        let taken = Varint::default().take(&mut bytes);
        assert!(taken != Ok(None) || bytes.is_empty());
        taken
    }

    #[test]
    fn numbers_at_every_edge_return_whole_or_in_pieces() {
        let edges = (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit, u64::MAX - (1 << bit)]).chain([u64::MAX]);
        for number in edges {
            let mut bytes = Vec::new();
            put(number, &mut bytes);
            assert_eq!(take(&bytes), Ok(Some(number)));
            let (mut varint, last) = (Varint::default(), bytes.len() - 1);
            for (at, byte) in bytes.iter().enumerate() {
                let expected = (at == last).then_some(number);
                assert_eq!(varint.take(&mut &[*byte][..]), Ok(expected));
            }
            assert_eq!(unzigzag(zigzag(number.cast_signed())), number.cast_signed());
        }
    }

    #[test]
    fn longer_forms_and_overflows_are_no_numbers() {
        assert_eq!(take(&[0x80, 0]), Err(NotANumber));
        assert_eq!(take(&[0xff, 0x80, 0]), Err(NotANumber));
        let most = [[0xff; 9].as_slice(), &[1]].concat();
        assert_eq!(take(&most), Ok(Some(u64::MAX)));
        assert_eq!(take(&[[0xff; 9].as_slice(), &[2]].concat()), Err(NotANumber));
        assert_eq!(take(&[0xff; 11]), Err(NotANumber));
        assert_eq!(take(&[0xff; 4]), Ok(None));
    }
}
