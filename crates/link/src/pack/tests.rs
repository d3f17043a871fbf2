//! Packing and unpacking without a link: whatever the efforts and the cuts, and whatever a hostile side sends.

use super::pacer::{Cost, Effort};
use super::packer::{PIECE_BYTES_MAX, Packer};
use super::unpacker::Unpacker;
use super::{Packing, WINDOW_LOG};
use proptest::prelude::*;
use std::io;
use zstd::stream::raw::CParameter;

/// Room that is offered for what comes out.
const ROOM_BYTES: usize = 1000;

/// Gives `packed` in pieces of `cut` bytes; what comes out.
fn unpack(packed: &[u8], cut: usize, room: usize) -> io::Result<Vec<u8>> {
    let (mut unpacker, mut raw, mut step) = (Unpacker::new(Vec::new())?, Vec::new(), Vec::with_capacity(room));
    for piece in packed.chunks(cut) {
        unpacker.room().extend_from_slice(piece);
        while unpacker.unpack(&mut step)? > 0 {
            raw.append(&mut step);
        }
    }
    Ok(raw)
}

/// Appends all of it.
fn pack(packer: &mut Packer, effort: Effort, raw: &[u8], packed: &mut Vec<u8>) {
    let behind = packer.pack(effort, raw, packed).unwrap();
    packed.extend_from_slice(behind);
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

fn raw() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..300),
        (any::<u8>(), 1..=PIECE_BYTES_MAX).prop_map(|(byte, length)| vec![byte; length]),
        (any::<u64>(), 1..=PIECE_BYTES_MAX).prop_map(|(seed, length)| noise(length, seed)),
    ]
}

fn effort() -> impl Strategy<Value = Effort> {
    prop_oneof![2 => Just(Effort::Level(3)), 1 => (1..=8).prop_map(Effort::Level), 2 => Just(Effort::Stored)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_packed_comes_out_at_every_step_with_every_effort_and_cut(
        pieces in prop::collection::vec((effort(), raw()), 1..12),
        cut in 1..5000usize,
        room in 1..5000usize,
    ) {
        let (mut packer, mut packed, mut sent) = (Packer::new().unwrap(), Vec::new(), Vec::new());
        for (effort, raw) in &pieces {
            pack(&mut packer, *effort, raw, &mut packed);
            sent.extend_from_slice(raw);
        }
        prop_assert!(unpack(&packed, cut, room).unwrap() == sent);
    }

    #[test]
    fn hostile_bytes_end_in_an_error_or_in_bytes(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
    ) {
        // Whatever it gives, it gives it without a panic.
        let _ = unpack(&bytes, 100, ROOM_BYTES);
        let (mut packer, mut packed) = (Packer::new().unwrap(), Vec::new());
        for effort in [Effort::Level(1), Effort::Stored, Effort::Level(8)] {
            pack(&mut packer, effort, &[&bytes[..], b"some of it"].concat(), &mut packed);
        }
        let at = at.index(packed.len());
        packed[at] ^= with;
        let _ = unpack(&packed, 100, ROOM_BYTES);
    }
}

#[test]
fn each_pack_can_be_read_although_nothing_follows() {
    let (mut packer, mut unpacker) = (Packer::new().unwrap(), Unpacker::new(Vec::new()).unwrap());
    for effort in
        [Effort::Level(3), Effort::Level(3), Effort::Stored, Effort::Stored, Effort::Level(8), Effort::Level(1)]
    {
        for raw in [&b"x"[..], b"a short message", &noise(PIECE_BYTES_MAX, 1), &[b' '; PIECE_BYTES_MAX]] {
            pack(&mut packer, effort, raw, unpacker.room());
            let mut got = Vec::with_capacity(PIECE_BYTES_MAX + 1);
            while unpacker.unpack(&mut got).unwrap() > 0 {}
            assert!(got == raw, "{effort:?}: {} bytes of {}", got.len(), raw.len());
        }
    }
}

#[test]
fn what_was_sent_before_helps_what_is_sent_next() {
    let (mut packing, letter) = (Packing::new().unwrap(), noise(4000, 7));
    let first = packing.pack(&letter, true).unwrap().concat().len();
    let second = packing.pack(&letter, true).unwrap().concat().len();
    assert!(first > letter.len() && second < 100, "{first}, then {second}");
}

#[test]
fn what_is_stored_is_copied_only_where_it_is_short_or_cannot_be_written_apart() {
    for (length, apart, behind) in [(4095, true, 0), (4096, true, 4096), (PIECE_BYTES_MAX, false, 0)] {
        let mut packing = Packing::new().unwrap();
        let noise = noise(PIECE_BYTES_MAX, 5);
        let [packed, _] = packing.pack(&noise, apart).unwrap();
        let cost = Cost { raw_bytes: noise.len() as u64, packed_bytes: packed.len() as u64, ..Cost::default() };
        packing.sent(&cost);
        let parts = packing.pack(&noise[..length], apart).unwrap();
        assert_eq!((parts[1].len(), parts.concat().ends_with(&noise[..length])), (behind, true), "{length}, {apart}");
    }
}

#[test]
fn stored_bytes_cost_a_header_a_piece() {
    let (mut packer, mut packed) = (Packer::new().unwrap(), Vec::new());
    for _ in 0..10 {
        pack(&mut packer, Effort::Stored, &noise(PIECE_BYTES_MAX, 3), &mut packed);
    }
    assert_eq!(packed.len(), 6 + 10 * (3 + PIECE_BYTES_MAX));
}

/// A frame by another encoder.
fn foreign(window_log: u32, raw: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.set_parameter(CParameter::WindowLog(window_log)).unwrap();
    io::Write::write_all(&mut encoder, raw).unwrap();
    // In two steps, so that its length is not known when it begins: short content needs no window.
    io::Write::flush(&mut encoder).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_window_above_the_limit_is_refused() {
    let raw = noise(5000, 11);
    assert!(unpack(&foreign(WINDOW_LOG, &raw), 100, ROOM_BYTES).unwrap() == raw);
    for window_log in [WINDOW_LOG + 1, 27] {
        let error = unpack(&foreign(window_log, &raw), 100, ROOM_BYTES).expect_err("its window is too large");
        assert!(error.to_string().contains("too much memory"), "{error}");
    }
    // No flags; the largest window there is.
    let error = unpack(&[0x28, 0xb5, 0x2f, 0xfd, 0, 0xff, 1, 0, 0], 100, ROOM_BYTES).expect_err("far too large");
    assert!(error.to_string().contains("too much memory"), "{error}");
}

#[test]
fn a_bomb_fills_the_room_it_is_given_and_no_more() {
    let bomb = foreign(WINDOW_LOG, &vec![0; 256 << 20]);
    assert!(bomb.len() < 50_000, "{} bytes", bomb.len());
    let (mut unpacker, mut step, mut total) = (Unpacker::new(bomb).unwrap(), Vec::with_capacity(ROOM_BYTES), 0);
    let room = step.capacity();
    while unpacker.unpack(&mut step).unwrap() > 0 {
        assert_eq!(step.capacity(), room);
        total += step.len();
        step.clear();
    }
    assert_eq!(total, 256 << 20);
}

#[test]
fn what_is_cut_short_gives_its_beginning_and_nothing_else() {
    let (mut packer, mut packed) = (Packer::new().unwrap(), Vec::new());
    pack(&mut packer, Effort::Level(3), b"the first", &mut packed);
    let whole = packed.len();
    pack(&mut packer, Effort::Level(3), b"the second", &mut packed);
    for end in whole..packed.len() {
        let got = unpack(&packed[..end], 1, ROOM_BYTES).unwrap();
        assert!(got.starts_with(b"the first") && b"the firstthe second".starts_with(&got[..]), "{got:?}");
    }
}

#[test]
fn garbage_is_refused_at_once() {
    for garbage in [&b"\0\0\0\x01\x08"[..], b"Connection reset", &[0xff; 10]] {
        assert!(unpack(garbage, 1, ROOM_BYTES).is_err());
    }
}
