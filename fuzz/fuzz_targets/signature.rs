//! Whatever decodes as a signature has just these bytes, and content that is matched against it becomes a patch that
//! reads back: the sums of a hostile signature may be wrong, the lengths of its copies may not.

#![no_main]

use fulmar_delta::{Instruction, Matched, Matcher, PatchReader, PatchWriter, Signature, Signer, Step};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (bytes, content) = input;
    let Ok(signature) = Signature::from_bytes(bytes) else { return };
    assert_eq!(signature.to_bytes(), bytes);

    let (mut matcher, mut writer, mut patch) = (Matcher::signing(&signature, Signer::new(signature.block())), PatchWriter::new(), Vec::new());
    let mut emit = |instruction: Instruction<'_>| writer.put(instruction, &mut patch);
    content.chunks(1000).for_each(|slice| matcher.update(slice, &mut emit));
    let Matched { tally, signature: signed } = matcher.finish(&mut emit);
    assert_eq!(signed.map(|signed| signed.covered()), Some(content.len() as u64));
    assert_eq!(tally.copied + tally.literal, content.len() as u64);
    assert!(tally.hashed <= 4 * content.len() as u64 + 64 * signature.block().bytes());
    writer.finish(&mut patch);

    let mut reader = PatchReader::new(signature.covered(), content.len() as u64);
    let (mut input, mut ended) = (&patch[..], false);
    while let Some(step) = reader.step(&mut input).expect("our own patch is sound") {
        ended = step == Step::End;
    }
    assert!(ended);
});
