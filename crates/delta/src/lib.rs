//! What of a new file an old one has already: signatures of the old, matching of the new, patches between them.
//!
//! Reading order: `block` (the unit of matching), `weak` and `strong` (the two sums of a block), `signature` (all sums of a
//! file, and their bytes), `signer` (makes one), `index` (finds a block by its sums), `expected` (which block is likely
//! where), `effort` (how much searching a file is worth), `matcher` (new content becomes instructions), `instruction`,
//! `varint`, `writer` (instructions become bytes), `reader` (and back, checked).
//!
//! ```text
//! basis ──▶ Signer ──▶ Signature ──▶ Matcher ──▶ Instruction ──▶ PatchWriter ══ bytes ══▶ PatchReader ──▶ Step
//!                                       ▲                                                                   │
//!                      new content ─────┘             result  ◀── ranges of the basis, and literal bytes ◀──┘
//! ```
//!
//! Pure functions over bytes: nothing here opens a file, and whoever applies a patch copies the ranges. Everything
//! streams in slices of any size. Invariants:
//!
//! 1. Memory grows with the number of blocks (20 bytes each, about 50 while matching) and never with a file's length otherwise.
//! 2. Signatures and patches may come from a hostile peer: no panic, no allocation by a length that was not checked, and
//!    time linear in the content, whatever the sums are.
//! 3. A patch is only as good as 128 bits of BLAKE3 a block, and as the basis it meets. Nothing here checks the result as
//!    a whole: the caller compares its hash before it becomes visible.

mod block;
mod effort;
mod expected;
mod index;
mod instruction;
mod matcher;
mod reader;
mod signature;
mod signer;
mod strong;
mod varint;
mod weak;
mod writer;

pub use block::{BLOCK_LEN_MAX, BLOCK_LEN_MIN, BlockLen, BlockLenError};
pub use instruction::{Instruction, LITERAL_BYTES_MAX};
pub use matcher::{Matched, Matcher, Tally};
pub use reader::{PatchError, PatchReader, Step};
pub use signature::{BLOCKS_MAX, HEADER_BYTES, Malformed, SUM_BYTES, Signature};
pub use signer::Signer;
pub use writer::PatchWriter;
