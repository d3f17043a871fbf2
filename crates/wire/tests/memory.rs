//! What hostile messages cost in memory. Alone in its process: it reads the most that the process ever had.

use fulmar_wire::{FRAME_BYTES_MAX, FromPrimary, FromReplica};

/// The most memory this process has had, in bytes. (What is reserved and never touched is not in it; a reservation by one of
/// the counts claimed here would fail at once.)
fn resident_peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the state of this process");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("its peak");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
    kib * 1024
}

/// `[number, ...]` with `repeated` as often as the longest frame takes it.
fn longest(start: &[u8], repeated: &[u8]) -> Vec<u8> {
    let mut body = start.to_vec();
    while body.len() + repeated.len() <= FRAME_BYTES_MAX {
        body.extend_from_slice(repeated);
    }
    body
}

#[test]
fn no_message_costs_more_than_a_bounded_multiple_of_a_frame() {
    // Items of 40 bytes behind two on the line make 20 times the frame; a vector that moves while it grows, three times
    // that.
    const LIMIT_BYTES: u64 = 64 * FRAME_BYTES_MAX as u64;
    const COUNT: [u8; 9] = [0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0];
    let claim = |start: &[u8]| [start, &COUNT[..]].concat();
    let bodies = [
        // A claimed 2^60 of ancestors, of entries, of segments, of attributes: with nothing behind.
        claim(&[1, 0x82, 2]),
        [&[1][..], &COUNT].concat(),
        claim(&[1, 0x82, 5]),
        // The same with as many of the smallest items as a frame takes: wants, outcomes, paths.
        longest(&claim(&[1, 0x83, 3, 1]), &[0x81, 0]),
        longest(&claim(&[1, 0x84, 6, 1]), &[0x82, 0, 0x82, 0, 0x82, 0, 0]),
        longest(&claim(&[1, 0x82, 5]), &[0x40]),
        // Segments of nothing in an operation that puts a directory.
        longest(
            &claim(
                &[
                    &[1, 0x82, 5, 0x85, 1, 0x41, b'a', 0x87, 0x81, 2, 0, 0, 0, 0x82, 0, 0, 0x50][..],
                    &[0; 16],
                    &[0xf6, 0x80],
                ]
                .concat(),
            ),
            &[0x82, 0, 0x40],
        ),
        // A skipped field of arrays within arrays.
        longest(&[1, 0x82, 8], &[0x82, 0x9f]),
        longest(&claim(&[1, 0x82, 8]), &[0x9f]),
        // A string that claims to be longer than memory.
        [&[1, 0x82, 8][..], &[0x5b, 0x10, 0, 0, 0, 0, 0, 0, 0], b"short"].concat(),
    ];
    let before = resident_peak_bytes();
    for body in &bodies {
        assert!(FromPrimary::decode(body.clone()).is_err(), "{:?}", &body[..body.len().min(60)]);
        assert!(FromReplica::decode(body.clone()).is_err(), "{:?}", &body[..body.len().min(60)]);
    }
    let cost = resident_peak_bytes() - before;
    println!("{} MiB", cost >> 20);
    assert!(cost < LIMIT_BYTES, "{} MiB", cost >> 20);
}
