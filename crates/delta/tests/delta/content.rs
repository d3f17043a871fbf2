//! Contents, and the way from a basis and a new content to a patch and back.

use fulmar_delta::{
    BlockLen, Instruction, Matched, Matcher, PatchError, PatchReader, PatchWriter, Signature, Signer, Step, Tally,
};

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;

pub fn block(kib: u64) -> BlockLen {
    BlockLen::new(kib * 1024).expect("a power of two")
}

/// Incompressible bytes, the same for the same seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = vec![0; len.next_multiple_of(8)];
    for word in bytes.as_chunks_mut::<8>().0 {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        *word = state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes();
    }
    bytes.truncate(len);
    bytes
}

/// Slices of the lengths in `cuts`, over and over, until the content is used up.
pub fn slices<'a>(mut content: &'a [u8], cuts: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    cuts.iter().cycle().map_while(move |cut| {
        let (slice, rest) = content.split_at((*cut).min(content.len()));
        content = rest;
        (!slice.is_empty()).then_some(slice)
    })
}

pub fn sign(basis: &[u8], block: BlockLen, cuts: &[usize]) -> Signature {
    let mut signer = Signer::new(block);
    slices(basis, cuts).for_each(|slice| signer.update(slice));
    signer.finish()
}

/// The patch, and what became of the content, which is signed by the way: as if that was all there was to do, in the same blocks
/// or in others.
pub fn diff(signature: &Signature, content: &[u8], cuts: &[usize]) -> (Vec<u8>, Tally) {
    let block = if content.len().is_multiple_of(5) { self::block(2) } else { signature.block() };
    let (mut matcher, mut writer) = (Matcher::signing(signature, Signer::new(block)), PatchWriter::new());
    let mut patch = Vec::new();
    let mut emit = |instruction: Instruction<'_>| {
        match instruction {
            Instruction::Copy { len, .. } => assert!(len > 0, "a copy of nothing"),
            Instruction::Literal(bytes) => assert!((1..=fulmar_delta::LITERAL_BYTES_MAX).contains(&bytes.len())),
        }
        writer.put(instruction, &mut patch);
    };
    slices(content, cuts).for_each(|slice| matcher.update(slice, &mut emit));
    let Matched { tally, signature } = matcher.finish(&mut emit);
    assert!(signature == Some(sign(content, block, cuts)), "the signature is another than of the content alone");
    assert_eq!(writer.finish(&mut patch), content.len() as u64);
    assert_eq!(tally.copied + tally.literal, content.len() as u64);
    (patch, tally)
}

/// The result, as a receiver makes it that is told `result_len_max`.
pub fn apply(basis: &[u8], patch: &[u8], cuts: &[usize], result_len_max: u64) -> Result<Vec<u8>, PatchError> {
    let mut reader = PatchReader::new(basis.len() as u64, result_len_max);
    let mut result = Vec::new();
    for mut slice in slices(patch, cuts) {
        while let Some(step) = reader.step(&mut slice)? {
            match step {
                Step::Copy { from, len } => result.extend_from_slice(&basis[from as usize..(from + len) as usize]),
                Step::Literal(bytes) => result.extend_from_slice(bytes),
                Step::End => {}
            }
            assert!(result.len() as u64 <= result_len_max, "more than was announced");
        }
        assert!(slice.is_empty(), "`None` means that the input is used up");
    }
    reader.finish()?;
    Ok(result)
}

/// Basis to content and back in slices of 1 MiB, with the block length of the file. Gives the tally.
#[track_caller]
pub fn round(basis: &[u8], content: &[u8]) -> Tally {
    round_in(BlockLen::for_file(basis.len() as u64), basis, content)
}

/// The same in blocks of another length.
#[track_caller]
pub fn round_in(block: BlockLen, basis: &[u8], content: &[u8]) -> Tally {
    let (patch, tally) = diff(&sign(basis, block, &[MIB]), content, &[MIB]);
    let result = apply(basis, &patch, &[MIB], content.len() as u64).expect("our own patch is sound");
    assert!(result == content, "the result is not the content");
    tally
}
