//! Instructions become bytes.
//!
//! A patch is a row of instructions. Each begins with a number (`varint`), its length in bytes shifted left by one, and one for
//! a copy:
//!
//! | number | then | meaning |
//! |---|---|---|
//! | 2·n + 1 | a signed number (zigzag) | copy n bytes of the basis; they begin so far after the end of the copy before |
//! | 2·n | n bytes | these bytes; n is not 0 |
//! | 0 | a number | the end: how many bytes all instructions make |
//!
//! A copy that continues where the last ended, as behind an overwritten block, is short: its distance is what was
//! overwritten. The first copy counts from 0.

use crate::instruction::Instruction;
use crate::varint::{put, zigzag};

/// The longest instruction: one bit of the number says what it is.
const LEN_MAX: u64 = u64::MAX >> 1;

/// Writes one patch, onto the end of buffers that the caller drains as it likes.
#[derive(Clone, Debug, Default)]
pub struct PatchWriter {
    /// The end of the last copy.
    copied_to: u64,
    result_len: u64,
}

impl PatchWriter {
    /// Begins a patch.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next instruction. One without bytes is left out.
    pub fn put(&mut self, instruction: Instruction<'_>, to: &mut Vec<u8>) {
        match instruction {
            Instruction::Copy { mut from, mut len } => {
                while len > 0 {
                    let now = len.min(LEN_MAX);
                    put(now << 1 | 1, to);
                    put(zigzag(from.wrapping_sub(self.copied_to).cast_signed()), to);
                    from = from.wrapping_add(now);
                    self.copied_to = from;
                    self.result_len = self.result_len.wrapping_add(now);
                    len -= now;
                }
            }
            Instruction::Literal([]) => {}
            Instruction::Literal(bytes) => {
                put((bytes.len() as u64) << 1, to);
                to.extend_from_slice(bytes);
                self.result_len = self.result_len.wrapping_add(bytes.len() as u64);
            }
        }
    }

    /// Ends the patch. Gives the length of the result.
    pub fn finish(self, to: &mut Vec<u8>) -> u64 {
        to.push(0);
        put(self.result_len, to);
        self.result_len
    }
}
