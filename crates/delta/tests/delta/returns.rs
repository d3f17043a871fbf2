//! Whatever a basis becomes, its patch gives it back.

use crate::content::{KIB, apply, block, diff, noise, round_in, sign, slices};
use fulmar_delta::{Instruction, Matcher};
use proptest::prelude::*;

/// A change, at a fraction of the content so far.
#[derive(Clone, Debug)]
enum Edit {
    Insert(f64, usize, u64),
    Delete(f64, usize),
    Overwrite(f64, usize, u64),
    Move(f64, usize, f64),
    Repeat(f64, usize, usize),
    Zeroes(f64, usize),
    Append(usize, u64),
    Truncate(f64),
    Empty,
}

fn edit() -> impl Strategy<Value = Edit> {
    let len = || prop_oneof![0usize..10, 1000usize..5000];
    prop_oneof![
        4 => (0.0..=1.0, len(), 1u64..99).prop_map(|(at, len, seed)| Edit::Insert(at, len, seed)),
        4 => (0.0..=1.0, len()).prop_map(|(at, len)| Edit::Delete(at, len)),
        4 => (0.0..=1.0, len(), 1u64..99).prop_map(|(at, len, seed)| Edit::Overwrite(at, len, seed)),
        4 => (0.0..=1.0, len(), 0.0..=1.0).prop_map(|(from, len, to)| Edit::Move(from, len, to)),
        2 => (0.0..=1.0, len(), 1usize..5).prop_map(|(at, len, times)| Edit::Repeat(at, len, times)),
        2 => (0.0..=1.0, len()).prop_map(|(at, len)| Edit::Zeroes(at, len)),
        4 => (len(), 1u64..99).prop_map(|(len, seed)| Edit::Append(len, seed)),
        1 => (0.0..=1.0).prop_map(Edit::Truncate),
        1 => Just(Edit::Empty),
    ]
}

fn apply_edit(content: &mut Vec<u8>, edit: &Edit) {
    let place = |at: f64, content: &[u8]| (at * content.len() as f64) as usize;
    let range = |at: f64, len: usize, content: &[u8]| {
        let from = place(at, content);
        from..(from + len).min(content.len())
    };
    match *edit {
        Edit::Insert(at, len, seed) => {
            let at = place(at, content);
            content.splice(at..at, noise(len, seed));
        }
        Edit::Delete(at, len) => drop(content.drain(range(at, len, content))),
        Edit::Overwrite(at, len, seed) => {
            let range = range(at, len, content);
            content.splice(range.clone(), noise(range.len(), seed));
        }
        Edit::Move(from, len, to) => {
            let piece: Vec<u8> = content.drain(range(from, len, content)).collect();
            let to = place(to, content);
            content.splice(to..to, piece);
        }
        Edit::Repeat(at, len, times) => {
            let range = range(at, len, content);
            let piece = content[range.clone()].repeat(times);
            content.splice(range.start..range.start, piece);
        }
        Edit::Zeroes(at, len) => {
            let range = range(at, len, content);
            content[range].fill(0);
        }
        Edit::Append(len, seed) => content.extend(noise(len, seed)),
        Edit::Truncate(at) => content.truncate(place(at, content)),
        Edit::Empty => content.clear(),
    }
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1usize..8, 1000usize..1100, 1usize..40_000], 1..5)
}

/// Noise, noise of few letters, or zeroes, of about 40 blocks or few bytes.
fn basis() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![1 => 0usize..20, 2 => 1000usize..3000, 6 => 0usize..40 * KIB];
    (len, 1u64..1000, 0u8..4).prop_map(|(len, seed, kind)| match kind {
        0 => vec![0; len],
        1 => noise(len, seed).into_iter().map(|byte| byte & 1).collect(),
        _ => noise(len, seed),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_patch_gives_the_content_back(
        basis in basis(), edits in prop::collection::vec(edit(), 0..6), kib in 0u32..3,
        read in cuts(), changed in cuts(), sent in cuts(),
    ) {
        let mut content = basis.clone();
        edits.iter().for_each(|edit| apply_edit(&mut content, edit));
        let signature = sign(&basis, block(1 << kib), &read);
        let (patch, tally) = diff(&signature, &content, &changed);
        let result = apply(&basis, &patch, &sent, content.len() as u64);
        prop_assert!(result.as_ref() == Ok(&content), "{:?} for {}", result.map(|bytes| bytes.len()), content.len());
        if content == basis {
            prop_assert_eq!(tally.literal, 0);
        }
    }

    #[test]
    fn slices_of_the_content_do_not_change_the_instructions(
        basis in basis(), edits in prop::collection::vec(edit(), 0..4), cuts in cuts(),
    ) {
        let mut content = basis.clone();
        edits.iter().for_each(|edit| apply_edit(&mut content, edit));
        let signature = sign(&basis, block(1), &[KIB]);
        prop_assert_eq!(diff(&signature, &content, &cuts), diff(&signature, &content, &[content.len().max(1)]));
    }

    #[test]
    fn unrelated_contents_come_back(basis in basis(), content in basis(), cuts in cuts()) {
        let (patch, _) = diff(&sign(&basis, block(1), &[KIB]), &content, &cuts);
        prop_assert_eq!(apply(&basis, &patch, &cuts, content.len() as u64), Ok(content));
    }
}

#[test]
fn copies_that_continue_each_other_are_one() {
    let basis = noise(100 * KIB + 77, 1);
    let signature = sign(&basis, block(4), &[KIB]);
    let mut instructions = Vec::new();
    let mut matcher = Matcher::new(&signature);
    let mut emit = |instruction: Instruction<'_>| match instruction {
        Instruction::Copy { from, len } => instructions.push((from, len)),
        Instruction::Literal(_) => instructions.push((u64::MAX, 0)),
    };
    slices(&basis, &[10_000]).for_each(|slice| matcher.update(slice, &mut emit));
    matcher.finish(&mut emit);
    assert_eq!(instructions, [(0, basis.len() as u64)]);
}

#[test]
fn the_short_block_at_the_end_is_found_at_the_end_in_place_and_behind_a_copy() {
    let basis = noise(10 * KIB + 333, 1);
    let (blocks, tail) = basis.split_at(10 * KIB);
    for (what, content, literal) in [
        ("at the end", [&noise(5000, 2), tail].concat(), 5000),
        ("in place, and appended to", [&noise(10 * KIB, 3), tail, &[7; 2000]].concat(), 12 * KIB - 2 * KIB + 2000),
        ("in place, and a little appended to", [&noise(10 * KIB, 3), tail, &[7; 20]].concat(), 10 * KIB + 20),
        ("shifted, and appended to", [&[9; 10], blocks, tail, &[7; 2000]].concat(), 2010),
        ("the whole basis, and appended to", [tail, &[7; 2000]].concat(), 2333),
    ] {
        assert_eq!(round_in(block(1), &basis, &content).literal, literal as u64, "{what}");
    }
    assert_eq!(round_in(block(1), tail, &[tail, &[7; 5000]].concat()).literal, 5000);
}
