//! What changes cost, in bytes that are not copied.

use crate::content::{KIB, MIB, block, diff, noise, round, round_in, sign};
use fulmar_delta::{BlockLen, Instruction, Matcher};

/// 64 MiB and a little, and its block.
fn basis() -> (Vec<u8>, u64) {
    let basis = noise(64 * MIB + 1234, 1);
    let block = BlockLen::for_file(basis.len() as u64).bytes();
    (basis, block)
}

#[test]
fn content_that_did_not_change_costs_a_few_bytes_for_each_16_mib() {
    let (basis, _) = basis();
    let (patch, tally) = diff(&sign(&basis, block(4), &[MIB]), &basis, &[MIB]);
    assert_eq!(tally.literal, 0);
    assert!(patch.len() <= 12 + 4 * 5, "{} bytes", patch.len());
}

#[test]
fn who_applies_a_patch_need_not_wait_for_the_end_of_the_content() {
    let (basis, _) = basis();
    let signature = sign(&basis, BlockLen::for_file(basis.len() as u64), &[MIB]);
    let (mut matcher, mut copied) = (Matcher::new(&signature), 0);
    matcher.update(&basis[..48 * MIB], &mut |instruction| match instruction {
        Instruction::Copy { len, .. } => copied += len,
        Instruction::Literal(_) => panic!("all of it is in the basis"),
    });
    assert!(copied >= 32 * MIB as u64, "{copied} bytes of 48 MiB are known");
}

#[test]
fn what_is_appended_or_cut_off_costs_itself() {
    let (basis, block) = basis();
    let appended = [&basis[..], &noise(100 * KIB, 2)].concat();
    assert_eq!(round(&basis, &appended).literal, 100 * 1024);
    let cut = round(&basis, &basis[..40 * MIB + 100]);
    assert!(cut.literal <= block, "{cut:?}");
}

#[test]
fn an_overwrite_costs_the_blocks_it_touches() {
    let (basis, block) = basis();
    let mut content = basis.clone();
    content[30 * MIB + 100..][..4096].copy_from_slice(&noise(4096, 2));
    assert!(round(&basis, &content).literal <= 2 * block);

    for i in 0..100 {
        content[(i * 643 + 7) * 1000..][..4096].copy_from_slice(&noise(4096, 3 + i as u64));
    }
    let many = round(&basis, &content);
    assert!(many.literal <= 101 * 2 * block, "{many:?}");
}

#[test]
fn an_insertion_or_a_deletion_costs_two_blocks() {
    let (basis, block) = basis();
    let front = round(&basis, &[&noise(10, 2), &basis[..]].concat());
    assert!(front.literal <= 2 * block, "{front:?}");
    let (before, after) = basis.split_at(33 * MIB + 77);
    let inside = round(&basis, &[before, &noise(777, 2), after].concat());
    assert!(inside.literal <= 777 + 2 * block, "{inside:?}");
    let deleted = round(&basis, &[before, &after[5555..]].concat());
    assert!(deleted.literal <= 2 * block, "{deleted:?}");
}

#[test]
fn overwrites_behind_an_insertion_cost_their_blocks_though_the_search_gave_up() {
    // 12 MiB that nobody has seen exhaust the patience; what follows is shifted, and every other block of it overwritten.
    let basis = noise(24 * MIB, 1);
    let mut shifted = basis[12 * MIB..].to_vec();
    for block in shifted.chunks_mut(32 * KIB).skip(40) {
        block[..10].fill(0);
    }
    let tally = round_in(block(16), &basis, &[&noise(12 * MIB + 5, 2), &shifted[..]].concat());
    let (overwritten, met_late) = (6 * MIB as u64, 2 * 16 * 16 * 1024);
    assert!(tally.literal <= 12 * MIB as u64 + 5 + overwritten + met_late, "{tally:?}");
}

#[test]
fn what_was_moved_is_found_soon_after_the_search_gave_up() {
    let basis = noise(8 * MIB, 1);
    let (front, back) = basis.split_at(4 * MIB + 1000);
    let content = [&noise(11 * MIB + 3, 2), back, front].concat();
    let tally = round_in(block(4), &basis, &content);
    assert!(tally.literal <= 11 * MIB as u64 + 3 + 20 * 4096, "{tally:?}");
}

#[test]
fn content_in_place_is_found_though_the_search_gave_up() {
    let (basis, block) = basis();
    let mut content = basis.clone();
    content[..20 * MIB].copy_from_slice(&noise(20 * MIB, 2));
    let tally = round(&basis, &content);
    assert!(tally.literal <= 20 * MIB as u64 + block, "{tally:?}");
}

#[test]
fn zeroes_are_copied_from_anywhere() {
    let basis = [noise(MIB, 1), vec![0; 64 * KIB]].concat();
    let tally = round_in(block(4), &basis, &[vec![0; 3 * MIB], noise(MIB, 1)].concat());
    assert!(tally.literal <= 2 * 4096, "{tally:?}");
}

#[test]
fn content_in_place_is_found_at_once_though_the_last_copy_was_shifted() {
    let (basis, unit) = (noise(12 * MIB, 1), 16 * KIB);
    for blocks_of_noise in [640, 644, 648, 652] {
        let shifted = &basis[5000..][..4 * unit];
        let resumes = (blocks_of_noise + 4) * unit;
        let content = [shifted, &noise(blocks_of_noise * unit, 2), &basis[resumes..]].concat();
        let tally = round_in(block(16), &basis, &content);
        assert!(tally.literal <= ((blocks_of_noise + 2) * unit) as u64, "{blocks_of_noise}: {tally:?}");
    }
}
