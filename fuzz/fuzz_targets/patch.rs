//! Whatever reads as a patch stays within basis and announcement, says the same byte by byte, and is written again as it was
//! read, up to the pieces of its literals.

#![no_main]

use fulmar_delta::{Instruction, PatchError, PatchReader, PatchWriter, Step};
use libfuzzer_sys::fuzz_target;

const BASIS_LEN: u64 = 1 << 20;
const RESULT_LEN_MAX: u64 = 1 << 22;

/// The patch written again, in slices of this length, with every literal byte for itself.
fn read(bytes: &[u8], slice: usize) -> Result<Vec<u8>, PatchError> {
    let (mut reader, mut writer) = (PatchReader::new(BASIS_LEN, RESULT_LEN_MAX), PatchWriter::new());
    let (mut again, mut result_len) = (Vec::new(), 0);
    for mut slice in bytes.chunks(slice) {
        while let Some(step) = reader.step(&mut slice)? {
            match step {
                Step::Copy { from, len } => {
                    assert!(len > 0 && from.checked_add(len).is_some_and(|end| end <= BASIS_LEN));
                    result_len += len;
                    writer.put(Instruction::Copy { from, len }, &mut again);
                }
                Step::Literal(bytes) => {
                    result_len += bytes.len() as u64;
                    bytes.chunks(1).for_each(|byte| writer.put(Instruction::Literal(byte), &mut again));
                }
                Step::End => {}
            }
            assert!(result_len <= RESULT_LEN_MAX);
        }
    }
    reader.finish()?;
    assert_eq!(writer.finish(&mut again), result_len);
    Ok(again)
}

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes, bytes.len().max(1));
    assert_eq!(read(bytes, 1), whole);
    if let Ok(again) = whole {
        assert_eq!(read(&again, again.len()).as_ref(), Ok(&again));
    }
});
