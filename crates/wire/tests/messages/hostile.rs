//! Bytes that nobody honest sends: refused, without a panic and without an overflow of the stack. What they cost in
//! memory is measured in tests/memory.rs.

use crate::{any, example};
use fulmar_wire::{FRAME_BYTES_MAX, FromPrimary, FromReplica};
use minicbor::Encoder;
use proptest::prelude::*;

fn bodies() -> Vec<Vec<u8>> {
    let primary = example::from_primary().into_iter().map(|(_, message)| message.encode());
    let replica = example::from_replica().into_iter().map(|(_, message)| message.encode());
    primary.chain(replica).map(|frame| frame.expect("short enough").body().to_vec()).collect()
}

/// Whatever decodes encodes again, and means the same; both decoders see the bytes.
fn survive(body: &[u8]) {
    if let Ok(message) = FromPrimary::decode(body.to_vec())
        && let Ok(frame) = message.encode()
    {
        assert_eq!(FromPrimary::decode(frame.body()).expect("own bytes decode"), message);
    }
    if let Ok(message) = FromReplica::decode(body.to_vec())
        && let Ok(frame) = message.encode()
    {
        assert_eq!(FromReplica::decode(frame.body()).expect("own bytes decode"), message);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(kind in 0u8..4, rest in proptest::collection::vec(any::<u8>(), 0..300)) {
        survive(&rest);
        survive(&[&[kind], &rest[..]].concat());
    }

    #[test]
    fn arbitrary_fields_of_a_known_message_do_no_harm(
        number in 0u8..15,
        count in 0u8..24,
        rest in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        survive(&[&[1, 0x80 | count, number], &rest[..]].concat());
    }

    #[test]
    fn a_changed_byte_does_no_harm(
        body in proptest::sample::select(bodies()),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut changed = body;
        *at.get_mut(&mut changed) = byte;
        survive(&changed);
    }

    #[test]
    fn a_shortened_message_of_a_primary_is_refused(
        message in any::from_primary(),
        at in any::<proptest::sample::Index>(),
    ) {
        prop_assume!(!matches!(message, FromPrimary::Chunk { .. }));
        let frame = message.encode().expect("short enough");
        let cut = at.index(frame.body().len());
        prop_assert!(FromPrimary::decode(frame.body().slice(..cut)).is_err());
    }

    #[test]
    fn a_shortened_message_of_a_replica_is_refused(
        message in any::from_replica(),
        at in any::<proptest::sample::Index>(),
    ) {
        let frame = message.encode().expect("short enough");
        let cut = at.index(frame.body().len());
        prop_assert!(FromReplica::decode(frame.body().slice(..cut)).is_err());
    }
}

#[test]
fn every_byte_of_every_example_may_be_any_other() {
    for body in bodies() {
        for at in 0..body.len() {
            let mut changed = body.clone();
            for byte in 0..=255 {
                changed[at] = byte;
                survive(&changed);
            }
        }
    }
}

#[test]
fn examples_cut_at_every_length_are_refused() {
    for (name, message) in example::from_primary() {
        let frame = message.encode().expect("short enough");
        // A chunk says nothing of its own length: the frame does. Kind, stream and offset must be there.
        let least = if name == "chunk" { 17 } else { frame.body().len() };
        for cut in 0..least {
            assert!(FromPrimary::decode(frame.body().slice(..cut)).is_err(), "{name} cut at {cut}");
        }
    }
    for (name, message) in example::from_replica() {
        let frame = message.encode().expect("short enough");
        for cut in 0..frame.body().len() {
            assert!(FromReplica::decode(frame.body().slice(..cut)).is_err(), "{name} cut at {cut}");
        }
    }
}

/// A control message `number` with `fields` behind it.
fn control(number: u8, fields: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let count = u8::try_from(fields.len() + 1).expect("few fields");
    let mut body = vec![1, 0x80 | count, number];
    fields.iter().for_each(|field| body.extend_from_slice(field.as_ref()));
    body
}

const NO_FIELDS: [&[u8]; 0] = [];

fn cbor(write: impl FnOnce(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut Encoder::new(&mut bytes));
    bytes
}

fn bytes(value: &[u8]) -> Vec<u8> {
    cbor(|to| _ = to.bytes(value).unwrap())
}

/// Runs `act` where a decoder that calls itself for each level of nesting cannot survive.
fn on_a_small_stack(act: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(128 * 1024).spawn(act).expect("a thread");
    thread.join().expect("the decoder returns");
}

#[test]
fn nesting_without_end_does_not_overflow_the_stack() {
    on_a_small_stack(|| {
        // Arrays, maps, tags and arrays of indefinite length, one inside the other, up to the longest frame.
        for level in [&[0x81][..], &[0xa1, 0x01], &[0xc1], &[0x9f], &[0x82, 0x9f], &[0xbf], &[0x5f]] {
            let deep = level.repeat((FRAME_BYTES_MAX - 8) / level.len());
            // Behind the fields of `Ping`, and in place of a field of every known message.
            assert!(FromPrimary::decode(control(8, &[&deep])).is_err());
            for number in 1..14 {
                assert!(FromPrimary::decode(control(number, &[&deep])).is_err());
                assert!(FromReplica::decode(control(number, &[&deep])).is_err());
            }
        }
        let closed = [&[0x81].repeat(FRAME_BYTES_MAX - 8)[..], &[0x80]].concat();
        assert_eq!(FromPrimary::decode(control(8, &[&closed])).expect("skipped"), FromPrimary::Ping);
    });
}

#[test]
fn impossible_paths_are_refused() {
    let long = [b'x'; 300];
    let deep = b"y/".repeat(9000);
    let bad: [&[u8]; 12] =
        [b"a/../b", b"..", b".", b"a/.", b"/abs", b"/", b"a//b", b"a/", b"a\0b", b"\0", &long, &deep[..deep.len() - 1]];
    for path in bad {
        // As the path of a removal, as the place of an answer, and as an extra of a replica.
        let remove = cbor(|to| _ = to.array(2).unwrap().u8(5).unwrap().bytes(path).unwrap());
        assert!(FromPrimary::decode(control(5, &[remove])).is_err(), "{path:?}");
        assert!(FromPrimary::decode(control(4, &[bytes(path)])).is_err(), "{path:?}");
        let extras = cbor(|to| _ = to.array(1).unwrap().bytes(path).unwrap());
        assert!(FromReplica::decode(control(5, &[extras])).is_err(), "{path:?}");
        // As a directory of an audit, as a place to look at, and as a name of several.
        let list = cbor(|to| {
            _ = to
                .array(4)
                .unwrap()
                .u8(2)
                .unwrap()
                .u32(1)
                .unwrap()
                .bytes(path)
                .unwrap()
                .array(2)
                .unwrap()
                .u32(0)
                .unwrap()
                .u32(1)
                .unwrap()
        });
        assert!(FromPrimary::decode(control(12, &[list])).is_err(), "{path:?}");
        let look = cbor(|to| {
            to.array(3).unwrap().u8(3).unwrap().u32(1).unwrap();
            to.array(1).unwrap().array(2).unwrap().bytes(path).unwrap().bool(true).unwrap();
        });
        assert!(FromPrimary::decode(control(12, &[look])).is_err(), "{path:?}");
        let names = cbor(|to| {
            to.array(4).unwrap().u8(7).unwrap().u8(0).unwrap().bool(false).unwrap();
            to.array(1).unwrap().array(2).unwrap().bytes(path).unwrap().bytes(&[0; 16]).unwrap();
        });
        assert!(FromReplica::decode(control(13, &[names])).is_err(), "{path:?}");
    }
    // A good one passes by the same way.
    let remove = cbor(|to| _ = to.array(2).unwrap().u8(5).unwrap().bytes(b"a/...").unwrap());
    assert!(FromPrimary::decode(control(5, &[remove])).is_ok());
}

/// An operation "metadata" with this node and these attributes.
fn metadata(node: impl FnOnce(&mut Encoder<&mut Vec<u8>>), xattr_name: Option<&[u8]>) -> Vec<u8> {
    let operation = cbor(|to| {
        to.array(4).unwrap().u8(2).unwrap().bytes(b"a").unwrap().array(7).unwrap();
        node(to);
        to.u16(0o644).unwrap().u32(0).unwrap().u32(0).unwrap();
        to.array(2).unwrap().i64(0).unwrap().u32(0).unwrap();
        to.bytes(&[0; 16]).unwrap().null().unwrap();
        to.array(u64::from(xattr_name.is_some())).unwrap();
        if let Some(name) = xattr_name {
            to.array(2).unwrap().bytes(name).unwrap().bytes(b"value").unwrap();
        }
    });
    control(5, &[operation])
}

#[test]
fn impossible_link_targets_are_refused() {
    let symlink = |target: &[u8]| {
        let target = target.to_vec();
        metadata(move |to| _ = to.array(2).unwrap().u8(3).unwrap().bytes(&target).unwrap(), None)
    };
    for bad in [&b""[..], &[b'x'; 4096], b"a\0b"] {
        assert!(FromPrimary::decode(symlink(bad)).is_err(), "{} bytes", bad.len());
    }
    for good in [&b"x"[..], &[b'x'; 4095], b"/../.."] {
        assert!(FromPrimary::decode(symlink(good)).is_ok(), "{} bytes", good.len());
    }
}

#[test]
fn impossible_attribute_names_are_refused() {
    let named = |name: &[u8]| metadata(|to| _ = to.array(1).unwrap().u8(2).unwrap(), Some(name));
    for bad in [&b""[..], &[b'x'; 256], b"user.\0a"] {
        assert!(FromPrimary::decode(named(bad)).is_err(), "{} bytes", bad.len());
    }
    for good in [&b"user.a"[..], &[b'x'; 255]] {
        assert!(FromPrimary::decode(named(good)).is_ok(), "{} bytes", good.len());
    }
}

#[test]
fn unknown_kinds_are_refused() {
    for code in [0, 7, 8, 255] {
        let body = metadata(|to| _ = to.array(1).unwrap().u8(code).unwrap(), None);
        assert!(FromPrimary::decode(body).is_err(), "node {code}");
    }
    for number in [0, 10, 14, 23] {
        assert!(FromPrimary::decode(control(number, &NO_FIELDS)).is_err(), "message {number}");
        assert!(FromReplica::decode(control(number, &NO_FIELDS)).is_err(), "message {number}");
    }
    assert!(FromPrimary::decode(&[][..]).is_err());
    assert!(FromReplica::decode(&[2][..]).is_err());
}
