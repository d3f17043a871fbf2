//! Patches and signatures by somebody who means harm: errors, and no more work than the content is worth.

use crate::content::{KIB, MIB, apply, block, diff, noise, sign};
use fulmar_delta::{Instruction, PatchError, PatchReader, PatchWriter, Signature, Step, Tally};
use proptest::prelude::*;

/// Numbers as a patch has them, without the checks of a writer.
fn number(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn patch(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|n| number(*n)).collect()
}

/// Against a basis of 1000 bytes, announced with 5000.
fn read(patch: &[u8]) -> Result<Vec<u8>, PatchError> {
    let whole = apply(&[7; 1000], patch, &[patch.len().max(1)], 5000);
    assert_eq!(apply(&[7; 1000], patch, &[1], 5000), whole, "byte by byte");
    whole
}

#[test]
fn a_sound_patch_is_read() {
    // Copy 10 from 990, copy 10 from 0, three bytes, the end.
    let sound = [patch(&[21, 1980, 21, 1999, 6]), b"abc".to_vec(), patch(&[0, 23])].concat();
    assert_eq!(read(&sound), Ok([&[7; 20], &b"abc"[..]].concat()));
    assert_eq!(read(&patch(&[0, 0])), Ok(Vec::new()));
}

#[test]
fn a_copy_from_outside_the_basis_is_refused() {
    let refused = |from, len| Err(PatchError::Basis { from, len, basis_len: 1000 });
    assert_eq!(read(&patch(&[21, 1982])), refused(991, 10));
    assert_eq!(read(&patch(&[2003, 0])), refused(0, 1001));
    assert_eq!(read(&patch(&[3, 1])), refused(u64::MAX, 1));
    assert_eq!(read(&patch(&[5, 1])), refused(u64::MAX, 2), "wraps to the start");
    assert_eq!(read(&patch(&[3, u64::MAX])), refused(1 << 63, 1));
    assert_eq!(read(&patch(&[3, 0, 3, 3])), refused(u64::MAX, 1), "one before the start, from the end of a copy");
    assert_eq!(read(&patch(&[1])), Err(PatchError::Empty));
}

#[test]
fn a_result_longer_than_announced_is_refused_before_it_is_made() {
    assert_eq!(read(&patch(&[2 * 5001])), Err(PatchError::Longer(5000)));
    assert_eq!(read(&patch(&[u64::MAX - 1])), Err(PatchError::Longer(5000)));
    let copies = [2001, 0].into_iter().chain([2001, 1999].repeat(5)).collect::<Vec<_>>();
    assert_eq!(read(&patch(&copies)), Err(PatchError::Longer(5000)));
    // The third of three copies of 2⁶³ − 1 bytes overflows 64 bits.
    let mut reader = PatchReader::new(u64::MAX, u64::MAX);
    let copies = patch(&[u64::MAX, 0, u64::MAX, u64::MAX - 2, u64::MAX]);
    let mut input = &copies[..];
    assert!(matches!(reader.step(&mut input), Ok(Some(Step::Copy { from: 0, .. }))));
    assert!(matches!(reader.step(&mut input), Ok(Some(Step::Copy { from: 0, .. }))));
    assert_eq!(reader.step(&mut input), Err(PatchError::Longer(u64::MAX)));
}

#[test]
fn an_end_that_is_wrong_missing_or_not_the_end_is_refused() {
    assert_eq!(read(&patch(&[21, 0, 0, 11])), Err(PatchError::End { made: 10, said: 11 }));
    assert_eq!(read(&patch(&[21, 0, 0, 10, 0])), Err(PatchError::Trailing));
    let sound = [patch(&[21, 0, 600]), noise(300, 1), patch(&[0, 310])].concat();
    assert!(read(&sound).is_ok());
    for len in 0..sound.len() {
        assert_eq!(read(&sound[..len]), Err(PatchError::Truncated), "{len} bytes");
    }
}

#[test]
fn numbers_in_a_longer_form_are_refused() {
    assert_eq!(read(&[0x80, 0x00]), Err(PatchError::Number));
    assert_eq!(read(&[0xff; 11]), Err(PatchError::Number));
}

#[test]
fn lengths_of_the_largest_files_are_written_and_read() {
    let (mut writer, mut bytes) = (PatchWriter::new(), Vec::new());
    let copies = [(0, u64::MAX), (100 << 40, 1 << 40), (1, 1)];
    let mut small = PatchWriter::new();
    writer.put(Instruction::Copy { from: copies[0].0, len: copies[0].1 }, &mut bytes);
    let mut reader = PatchReader::new(u64::MAX, u64::MAX);
    let (mut input, mut copied) = (&bytes[..], 0);
    while let Ok(Some(Step::Copy { from, len })) = reader.step(&mut input) {
        assert_eq!(from, copied);
        copied += len;
    }
    assert_eq!(copied, u64::MAX);

    bytes.clear();
    copies[1..].iter().for_each(|(from, len)| small.put(Instruction::Copy { from: *from, len: *len }, &mut bytes));
    let mut reader = PatchReader::new(200 << 40, 2 << 40);
    let mut input = &bytes[..];
    for (from, len) in &copies[1..] {
        assert_eq!(reader.step(&mut input), Ok(Some(Step::Copy { from: *from, len: *len })));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes_give_a_result_within_its_limits_or_an_error(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..8], 0..60),
    ) {
        let _result_or_error = read(&bytes);
    }

    #[test]
    fn a_mutated_patch_gives_a_result_within_its_limits_or_an_error(place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let basis = noise(1000, 1);
        let mut content = noise(1000, 1);
        content.splice(500..510, [1, 2, 3]);
        let (mut patch, _) = diff(&sign(&basis, block(1), &[KIB]), &content, &[KIB]);
        let place = place.index(patch.len());
        patch[place] = byte;
        let _result_or_error = read(&patch);
    }
}

/// A signature of `blocks` full blocks of 1 KiB: these weak sums, and strong sums that no content has.
fn crafted(weak: impl Iterator<Item = u32>) -> Signature {
    let sums: Vec<u8> = weak
        .zip(1u128..)
        .flat_map(|(weak, strong)| [&weak.to_be_bytes()[..], &strong.to_be_bytes()].concat())
        .collect();
    let len = (sums.len() / 20 * 1024) as u64;
    let bytes = [&[1, 10][..], &len.to_be_bytes(), &sums].concat();
    Signature::from_bytes(&bytes).expect("a sound header")
}

#[track_caller]
fn assert_hashed_little(tally: Tally, content: &[u8]) {
    let limit = 4 * content.len() as u64 + 64 * 1024;
    assert!(tally.hashed <= limit, "{} bytes hashed for {}", tally.hashed, content.len());
}

#[test]
fn weak_sums_that_all_collide_do_not_make_matching_slow() {
    // Every window of zeroes has the weak sum 0, and so has every block: without a ration each position costs a block.
    let content = vec![0; 4 * MIB];
    let (_, tally) = diff(&crafted([0; 20_000].into_iter()), &content, &[MIB]);
    assert_eq!(tally.literal, content.len() as u64);
    assert_hashed_little(tally, &content);
}

#[test]
fn a_signature_that_has_the_weak_sum_of_every_position_does_not_make_matching_slow() {
    let content = noise(256 * KIB, 1);
    let weak = |at: usize| {
        let sum = sign(&content[at..at + KIB], block(1), &[KIB]).to_bytes();
        u32::from_be_bytes([sum[10], sum[11], sum[12], sum[13]])
    };
    let signature = crafted((0..content.len() - KIB).map(weak));
    let (_, tally) = diff(&signature, &content, &[MIB]);
    assert_eq!(tally.literal, content.len() as u64);
    assert_hashed_little(tally, &content);
}

#[test]
fn regular_content_hashes_little() {
    let zeroes = vec![0; 2 * MIB];
    let stripes: Vec<u8> = (0..2 * MIB).map(|at| (at / 3 % 2) as u8).collect();
    for (basis, content) in [(&zeroes, &stripes), (&stripes, &zeroes), (&zeroes, &zeroes), (&stripes, &stripes)] {
        let (_, tally) = diff(&sign(basis, block(4), &[MIB]), content, &[MIB]);
        assert_hashed_little(tally, content);
    }
}
