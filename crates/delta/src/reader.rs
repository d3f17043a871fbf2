//! Bytes become instructions, every one checked. The format is described in `writer`.

use crate::varint::{NotANumber, Varint, unzigzag};
use thiserror::Error;

/// Reads one patch, in slices of any length. Holds a number or two, and no content.
#[derive(Clone, Debug)]
pub struct PatchReader {
    basis_len: u64,
    result_len_max: u64,
    /// Bytes of the result that the instructions so far make, the one that is being read included.
    result_len: u64,
    /// The end of the last copy.
    copied_to: u64,
    number: Varint,
    awaits: Awaits,
}

/// The next thing to do for the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Append this range of the basis; it is within it, and not empty.
    Copy {
        /// Where, from the start of the basis.
        from: u64,
        /// How many bytes.
        len: u64,
    },
    /// Append these bytes: a literal, or as much of one as has come. Not empty.
    Literal(&'a [u8]),
    /// The patch is complete, and the result has the length it names.
    End,
}

/// A patch that is not one, or not one for this basis. The result so far is worth nothing, and the reader is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PatchError {
    /// A number is longer than it needs to be, or than 64 bits.
    #[error("malformed number in a patch")]
    Number,
    /// A copy of nothing.
    #[error("empty copy in a patch")]
    Empty,
    /// A copy from outside the basis.
    #[error("copy of {len} bytes at {from} from a basis of {basis_len}")]
    Basis {
        /// Where, from the start of the basis.
        from: u64,
        /// How many bytes.
        len: u64,
        /// How many the basis has.
        basis_len: u64,
    },
    /// The result would be longer than was announced.
    #[error("patch makes more than the {0} bytes that were announced")]
    Longer(u64),
    /// The result is not as long as the patch says at its end.
    #[error("patch makes {made} bytes and says {said}")]
    End {
        /// What the instructions made.
        made: u64,
        /// What the end says.
        said: u64,
    },
    /// There are bytes behind the end.
    #[error("bytes behind the end of a patch")]
    Trailing,
    /// There is no end.
    #[error("patch without an end")]
    Truncated,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    Instruction,
    /// Where a copy begins.
    From {
        len: u64,
    },
    /// So many bytes of a literal; not 0.
    Literal {
        left: u64,
    },
    /// The length of the result.
    Total,
    Nothing,
}

impl PatchReader {
    /// A patch against a basis of `basis_len` bytes, whose result was announced with at most `result_len_max`.
    pub fn new(basis_len: u64, result_len_max: u64) -> Self {
        Self {
            basis_len,
            result_len_max,
            result_len: 0,
            copied_to: 0,
            number: Varint::default(),
            awaits: Awaits::Instruction,
        }
    }

    /// Takes the next step from the front of `input`, and leaves there what it did not need. `None`: the input is used up.
    pub fn step<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Step<'a>>, PatchError> {
        loop {
            match self.awaits {
                Awaits::Literal { left } => return Ok(self.literal(left, input)),
                Awaits::Nothing if input.is_empty() => return Ok(None),
                Awaits::Nothing => return Err(PatchError::Trailing),
                Awaits::Instruction | Awaits::From { .. } | Awaits::Total => {
                    let Some(number) = self.number.take(input)? else { return Ok(None) };
                    if let Some(step) = self.number(number)? {
                        return Ok(Some(step));
                    }
                }
            }
        }
    }

    /// All bytes have come: was the patch complete?
    pub fn finish(self) -> Result<(), PatchError> {
        if self.awaits == Awaits::Nothing { Ok(()) } else { Err(PatchError::Truncated) }
    }

    /// As much of a literal as has come.
    fn literal<'a>(&mut self, left: u64, input: &mut &'a [u8]) -> Option<Step<'a>> {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let (bytes, rest) = input.split_at_checked(here).filter(|(bytes, _)| !bytes.is_empty())?;
        *input = rest;
        self.awaits = match left.saturating_sub(here as u64) {
            0 => Awaits::Instruction,
            left => Awaits::Literal { left },
        };
        Some(Step::Literal(bytes))
    }

    /// What a complete number means.
    fn number(&mut self, number: u64) -> Result<Option<Step<'static>>, PatchError> {
        match self.awaits {
            Awaits::From { len } => {
                self.awaits = Awaits::Instruction;
                let from = self.copied_to.wrapping_add(unzigzag(number).cast_unsigned());
                let end = from.checked_add(len).filter(|end| *end <= self.basis_len);
                self.copied_to = end.ok_or(PatchError::Basis { from, len, basis_len: self.basis_len })?;
                Ok(Some(Step::Copy { from, len }))
            }
            Awaits::Total if number == self.result_len => {
                self.awaits = Awaits::Nothing;
                Ok(Some(Step::End))
            }
            Awaits::Total => Err(PatchError::End { made: self.result_len, said: number }),
            Awaits::Instruction | Awaits::Literal { .. } | Awaits::Nothing => {
                let (len, copies) = (number >> 1, number & 1 == 1);
                self.awaits = match (copies, len) {
                    (true, 0) => return Err(PatchError::Empty),
                    (true, len) => Awaits::From { len },
                    (false, 0) => Awaits::Total,
                    (false, left) => Awaits::Literal { left },
                };
                let longer = self.result_len.checked_add(len).filter(|longer| *longer <= self.result_len_max);
                self.result_len = longer.ok_or(PatchError::Longer(self.result_len_max))?;
                Ok(None)
            }
        }
    }
}

impl From<NotANumber> for PatchError {
    fn from(_: NotANumber) -> Self {
        Self::Number
    }
}
