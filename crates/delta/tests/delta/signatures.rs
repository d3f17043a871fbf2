//! Signatures: the same from any slices, and the same from their bytes.

use crate::content::{KIB, block, noise, sign};
use fulmar_delta::{BLOCKS_MAX, HEADER_BYTES, Malformed, SUM_BYTES, Signature};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn slices_of_the_basis_do_not_change_its_signature(
        len in 0usize..20 * KIB, kib in 0u32..4, cuts in prop::collection::vec(1usize..3000, 1..5),
    ) {
        let (basis, block) = (noise(len, 1), block(1 << kib));
        let whole = sign(&basis, block, &[len.max(1)]);
        prop_assert_eq!(whole.covered(), len as u64);
        prop_assert_eq!(whole.blocks(), (len as u64).div_ceil(block.bytes()));
        prop_assert_eq!(sign(&basis, block, &cuts), whole);
    }

    #[test]
    fn a_signature_returns_from_its_bytes(len in 0usize..20 * KIB, kib in 0u32..4) {
        let signature = sign(&noise(len, 1), block(1 << kib), &[KIB]);
        let bytes = signature.to_bytes();
        prop_assert_eq!(bytes.len(), HEADER_BYTES + signature.blocks() as usize * SUM_BYTES);
        prop_assert_eq!(Signature::from_bytes(&bytes), Ok(signature));
    }

    #[test]
    fn whatever_is_a_signature_has_these_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..200), len in 0u64..9000) {
        if let [format, log2, a, b, c, d, e, f, g, h, ..] = &mut bytes[..] {
            (*format, *log2) = (1, *log2 % 16 + 9);
            [*a, *b, *c, *d, *e, *f, *g, *h] = len.to_be_bytes();
        }
        if let Ok(signature) = Signature::from_bytes(&bytes) {
            prop_assert_eq!(signature.to_bytes(), bytes);
        }
    }
}

#[test]
fn the_bytes_are_as_described() {
    let bytes = sign(b"fulmar", block(4), &[6]).to_bytes();
    assert_eq!(bytes[..HEADER_BYTES], [1, 12, 0, 0, 0, 0, 0, 0, 0, 6]);
    let y = |sum: u32| sum.wrapping_mul(0x9E37_79B1);
    let squares = b"fulmar".map(|byte| u32::from(byte).pow(2));
    let a = squares.iter().sum();
    let b = squares.iter().zip([6, 5, 4, 3, 2, 1]).map(|(square, weight)| square * weight).sum();
    assert_eq!(bytes[10..14], (y(b) ^ y(a).rotate_left(16)).to_be_bytes());
    assert_eq!(bytes[14..], blake3::hash(b"fulmar").as_bytes()[..16]);
}

#[test]
fn every_other_length_is_refused() {
    let bytes = sign(&noise(10 * KIB + 5, 1), block(1), &[KIB]).to_bytes();
    for len in 0..bytes.len() {
        let refused = Signature::from_bytes(&bytes[..len]).expect_err("cut short");
        let expected = match len {
            ..HEADER_BYTES => Malformed::Header(len),
            _ => Malformed::Length { bytes: len, blocks: 11 },
        };
        assert_eq!(refused, expected);
    }
    for more in [1, SUM_BYTES] {
        let longer = [&bytes[..], &vec![0; more]].concat();
        assert_eq!(Signature::from_bytes(&longer), Err(Malformed::Length { bytes: longer.len(), blocks: 11 }));
    }
}

#[test]
fn more_blocks_than_the_limit_are_refused_for_their_number() {
    let header = |blocks: u64| [&[1, 10][..], &(blocks * 1024).to_be_bytes()].concat();
    let refused = |blocks| Signature::from_bytes(&header(blocks));
    assert_eq!(refused(BLOCKS_MAX + 1), Err(Malformed::Blocks(BLOCKS_MAX + 1)));
    assert_eq!(refused(BLOCKS_MAX), Err(Malformed::Length { bytes: HEADER_BYTES, blocks: BLOCKS_MAX }));
    let longest = [&[1, 10][..], &[0xff; 8]].concat();
    assert_eq!(Signature::from_bytes(&longest), Err(Malformed::Blocks(1 << 54)));
}

#[test]
fn every_other_header_is_refused_or_is_another_signature() {
    let bytes = sign(&noise(10 * KIB + 5, 1), block(1), &[KIB]).to_bytes();
    for (place, value) in (0..HEADER_BYTES).flat_map(|place| (0..=255).map(move |value| (place, value))) {
        let mut other = bytes.clone();
        other[place] = value;
        match Signature::from_bytes(&other) {
            Ok(signature) => assert_eq!(signature.to_bytes(), other),
            Err(Malformed::Format(_)) => assert_eq!(place, 0),
            Err(Malformed::Block(log2)) => assert!(place == 1 && !(10..=24).contains(&log2)),
            Err(Malformed::Blocks(blocks)) => assert!(place > 1 && blocks > BLOCKS_MAX),
            Err(Malformed::Length { blocks, .. }) => assert!(place > 0 && blocks != 11),
            Err(Malformed::Header(_)) => panic!("the header is there"),
        }
    }
}
