//! New content becomes copies of the basis, and literals.
//!
//! At every position, in this order: is it a block that is expected here (`expected`)? Otherwise, is it any block (`index`),
//! as long as searching is worth it (`effort`)? Otherwise the byte is literal, and the next position's turn comes.
//!
//! The buffer holds the literal that was not given out, and at least the block that begins at the position. It is
//! moved down when it is full, so that a byte is copied twice at most on its way.
//!
//! Who wants the signature of the new content has it made on the way: where a block has stayed in its place both sums are known,
//! and where it was looked for the weak one is.

use crate::effort::{Effort, Next};
use crate::expected::Expected;
use crate::index::Index;
use crate::instruction::{Instruction, LITERAL_BYTES_MAX};
use crate::signature::Signature;
use crate::signer::Signer;
use crate::strong::Strong;
use crate::weak::Window;

/// Bytes that the buffer takes beside a block, at least.
const FILL_BYTES_MIN: usize = 256 * 1024;

/// A copy is given out when it is this long, though the next block may continue it: who applies the patch works while the rest
/// of the content is looked at. Costs a few bytes each.
const COPY_BYTES_MAX: u64 = 16 << 20;

/// Takes the new content from its start, in slices of any length. Memory: two blocks, or one and 256 KiB.
#[derive(Debug)]
pub struct Matcher<'s> {
    signature: &'s Signature,
    index: Index<'s>,
    expected: Expected,
    effort: Effort,
    buffer: Vec<u8>,
    /// Where the buffer begins in the new content.
    base: u64,
    /// Where in the buffer the literal begins that was not given out. It ends at `at`.
    literal: usize,
    /// The position, in the buffer.
    at: usize,
    /// The sums of the block at `at`, when they are known.
    window: Option<Window>,
    /// Whether what is before `at` was copied.
    copied: bool,
    /// A copy that was not given out, because the next may continue it. Comes before the literal.
    copy: Option<(u64, u64)>,
    tally: Tally,
    /// Signs the new content.
    signer: Option<Signer>,
    /// Where in the buffer what was not signed yet begins; at most `at`.
    signed: usize,
}

/// What a matcher has come to.
#[derive(Clone, Debug)]
pub struct Matched {
    /// What became of the new content.
    pub tally: Tally,
    /// The signature of the new content, where it was asked for.
    pub signature: Option<Signature>,
}

/// What became of the new content, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Found in the basis.
    pub copied: u64,
    /// Not found.
    pub literal: u64,
    /// Hashed to be sure, found or not. At most four times the content, and 64 blocks.
    pub hashed: u64,
}

/// Whether more content may come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    MayCome,
    AllHere,
}

impl<'s> Matcher<'s> {
    /// A matcher against this basis. Sorts its sums: two or three milliseconds for 2¹⁵ blocks.
    pub fn new(signature: &'s Signature) -> Self {
        let block = signature.block();
        Self {
            signature,
            index: Index::new(signature),
            expected: Expected::default(),
            effort: Effort::new(block.bytes()),
            buffer: Vec::with_capacity(block.size() + block.size().max(FILL_BYTES_MIN)),
            base: 0,
            literal: 0,
            at: 0,
            window: None,
            copied: false,
            copy: None,
            tally: Tally::default(),
            signer: None,
            signed: 0,
        }
    }

    /// The same, which signs the new content as well. `signer`: one that has seen nothing.
    pub fn signing(signature: &'s Signature, signer: Signer) -> Self {
        Self { signer: Some(signer), ..Self::new(signature) }
    }

    /// What follows in the new content. Instructions go to `emit` in their order; some only with a later slice.
    pub fn update(&mut self, mut bytes: &[u8], emit: &mut impl FnMut(Instruction<'_>)) {
        let capacity = self.signature.block().size() + self.signature.block().size().max(FILL_BYTES_MIN);
        while !bytes.is_empty() {
            if self.buffer.len() >= capacity {
                self.make_room(emit);
            }
            let (now, later) = bytes.split_at(bytes.len().min(capacity - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            self.advance(Rest::MayCome, emit);
            bytes = later;
        }
    }

    /// The content is complete: gives out what is left of the instructions.
    pub fn finish(mut self, emit: &mut impl FnMut(Instruction<'_>)) -> Matched {
        self.advance(Rest::AllHere, emit);
        self.match_tail(emit);
        self.at = self.buffer.len();
        self.sign();
        self.give_literal(emit);
        self.give_copy(emit);
        Matched { tally: self.tally, signature: self.signer.map(Signer::finish) }
    }

    /// Goes on until the end of the buffer is less than a block ahead, or reached.
    fn advance(&mut self, rest: Rest, emit: &mut impl FnMut(Instruction<'_>)) {
        let block = self.signature.block().size();
        loop {
            let ahead = self.buffer.len() - self.at;
            // One byte more than a block, so that the window can move on to the next position.
            if ahead == 0 || (rest == Rest::MayCome && ahead <= block) {
                return;
            }
            if self.match_expected(emit) {
                continue;
            }
            let next = self.expected.after(self.signature, self.position()).map(|next| next - self.position());
            let next = next.and_then(|distance| usize::try_from(distance).ok()).unwrap_or(usize::MAX);
            if ahead < block {
                // Only a short block can be ahead, where one is expected.
                self.pass(next.min(ahead));
                continue;
            }
            let searchable = if rest == Rest::MayCome { ahead - block } else { ahead - block + 1 };
            match self.effort.next(next.min(searchable) as u64) {
                Next::Search(positions) => self.search(positions as usize, emit),
                Next::Pass(positions) => self.pass(positions as usize),
            }
        }
    }

    /// Copies a block that is expected here, if it is here.
    fn match_expected(&mut self, emit: &mut impl FnMut(Instruction<'_>)) -> bool {
        let after_copy = std::mem::take(&mut self.copied);
        for (block, likely) in self.expected.at(self.signature, self.position()).zip([true, false]) {
            let len = self.signature.len_of(block);
            let (Some(here), Some(sum)) = (self.buffer.get(self.at..self.at + len), self.signature.sum(block)) else {
                continue;
            };
            // Behind a copy the next block is so likely that its weak sum is not asked for: what matches is hashed anyway.
            if !(after_copy && likely) {
                let window = if len == self.signature.block().size() {
                    let window = *self.window.get_or_insert_with(|| Window::of(here));
                    // If a block of the new content begins here, it does not have to be added up again.
                    let position = self.base + self.at as u64;
                    if let Some(signer) = self.signer.as_mut().filter(|signer| signer.block() == self.signature.block())
                        && position.is_multiple_of(signer.block().bytes())
                    {
                        signer.foresee(position / signer.block().bytes(), window.weak());
                    }
                    window
                } else {
                    Window::of(here)
                };
                if window.weak() != sum.weak {
                    continue;
                }
            }
            self.tally.hashed += len as u64;
            if Strong::of(here) == sum.strong {
                self.copy_block(block, emit);
                return true;
            }
        }
        false
    }

    /// Looks at so many positions, and copies the first block that is found. Every one has a whole block ahead.
    fn search(&mut self, positions: usize, emit: &mut impl FnMut(Instruction<'_>)) {
        let size = self.signature.block().size();
        let ahead = self.buffer.get(self.at..).unwrap_or_default();
        let mut window = self.window.take().unwrap_or_else(|| Window::of(ahead.get(..size).unwrap_or_default()));
        let leave = ahead.get(..positions).unwrap_or_default();
        let enter = ahead.get(size..).unwrap_or_default();
        let mut passed = 0;
        let mut suspected = self.index.may_have(window.weak());
        while passed < positions {
            if suspected && self.index.has(window.weak()) && self.effort.may_hash() {
                let here = ahead.get(passed..passed + size).unwrap_or_default();
                self.tally.hashed += size as u64;
                if let Some(block) = self.index.find(window.weak(), Strong::of(here)) {
                    self.effort.found();
                    self.at += passed;
                    return self.copy_block(block, emit);
                }
            }
            let (leave, enter) = (leave.get(passed..), enter.get(passed..));
            let steps;
            (steps, suspected) = self.index.roll(&mut window, leave.unwrap_or_default(), enter.unwrap_or_default());
            passed += steps;
            self.effort.searched(steps as u64);
            if !suspected {
                break;
            }
        }
        // At the very end of the content nothing enters for the last position, and there is no window after it.
        self.window = (passed == positions).then_some(window);
        self.at += positions;
    }

    /// Leaves out positions.
    fn pass(&mut self, positions: usize) {
        self.at += positions;
        self.window = None;
    }

    /// Copies the short block at the end of the basis, if the new content ends with it.
    fn match_tail(&mut self, emit: &mut impl FnMut(Instruction<'_>)) {
        let Some(tail) = self.signature.tail() else { return };
        let Some(at) = self.buffer.len().checked_sub(self.signature.len_of(tail)).filter(|at| *at >= self.literal)
        else {
            return;
        };
        let (here, sum) = (self.buffer.get(at..).unwrap_or_default(), self.signature.sum(tail));
        if sum.is_some_and(|sum| Window::of(here).weak() == sum.weak) {
            self.tally.hashed += here.len() as u64;
            if sum.is_some_and(|sum| Strong::of(here) == sum.strong) {
                self.at = at;
                self.copy_block(tail, emit);
            }
        }
    }

    /// The bytes from the position on are this block.
    fn copy_block(&mut self, block: u32, emit: &mut impl FnMut(Instruction<'_>)) {
        let (from, len) = (self.signature.start(block), self.signature.len_of(block));
        self.expected = Expected::shifted(from, self.position());
        self.give_literal(emit);
        let continued = self.copy.filter(|(before, long)| before + long == from);
        if continued.is_none() {
            self.give_copy(emit);
        }
        let (from, long) = continued.unwrap_or((from, 0));
        self.copy = Some((from, long + len as u64));
        if long + len as u64 >= COPY_BYTES_MAX {
            self.give_copy(emit);
        }
        self.sign();
        if let (Some(signer), Some(sum)) = (&mut self.signer, self.signature.sum(block))
            && len == self.signature.block().size()
            && signer.block() == self.signature.block()
            && signer.skip(*sum)
        {
            self.signed = self.at + len;
        }
        self.pass(len);
        self.literal = self.at;
        self.copied = true;
    }

    /// Has what was passed signed.
    fn sign(&mut self) {
        let passed = self.buffer.get(self.signed..self.at).unwrap_or_default();
        if let Some(signer) = &mut self.signer {
            signer.update(passed);
        }
        self.signed = self.at;
    }

    /// Gives out what is before the position, and moves the rest to the start of the buffer.
    fn make_room(&mut self, emit: &mut impl FnMut(Instruction<'_>)) {
        self.give_literal(emit);
        self.sign();
        self.base = self.position();
        self.buffer.drain(..self.at);
        (self.literal, self.at, self.signed) = (0, 0, 0);
    }

    fn give_literal(&mut self, emit: &mut impl FnMut(Instruction<'_>)) {
        if self.literal == self.at {
            return;
        }
        self.give_copy(emit);
        let literal = self.buffer.get(self.literal..self.at).unwrap_or_default();
        self.tally.literal += literal.len() as u64;
        literal.chunks(LITERAL_BYTES_MAX).for_each(|piece| emit(Instruction::Literal(piece)));
        self.literal = self.at;
    }

    fn give_copy(&mut self, emit: &mut impl FnMut(Instruction<'_>)) {
        if let Some((from, len)) = self.copy.take() {
            self.tally.copied += len;
            emit(Instruction::Copy { from, len });
        }
    }

    /// The position, in the new content.
    fn position(&self) -> u64 {
        self.base + self.at as u64
    }
}
