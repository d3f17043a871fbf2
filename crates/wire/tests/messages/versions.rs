//! What a later version adds is skipped, what an earlier one leaves out is absent.

use crate::{any, example, path};
use fulmar_model::{Entry, Node};
use fulmar_wire::{FromPrimary, FromReplica, Operation, Want};
use minicbor::Encoder;
use proptest::prelude::*;

/// The body of a control message with one more field at its end.
fn with_field(body: &[u8], field: &[u8]) -> Vec<u8> {
    let mut longer = [body, field].concat();
    assert!((0x81..0x97).contains(&longer[1]), "an array of fewer than 23 fields");
    longer[1] += 1;
    longer
}

/// Items of every type that CBOR has, nested and of indefinite length too.
fn foreign_fields() -> Vec<Vec<u8>> {
    let text =
        |hex: &str| (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    ["17", "1bffffffffffffffff", "3903e7", "4401020304", "5f42010243030405ff", "6161", "7f61616162ff", "80", "83010203"]
        .into_iter()
        .chain([
            "8301820203820405",
            "9fff",
            "9f018202039f0405ffff",
            "a0",
            "a201020304",
            "bf61610161629f0203ffff",
            "c11a514b67b0",
        ])
        .chain(["f4", "f6", "f7", "f818", "f93e00", "fa47c35000", "fb3ff199999999999a"])
        .map(text)
        .collect()
}

proptest! {
    #[test]
    fn a_primary_may_add_any_field(
        message in any::from_primary(),
        field in proptest::sample::select(foreign_fields()),
    ) {
        prop_assume!(!matches!(message, FromPrimary::Chunk { .. }));
        let frame = message.encode().expect("short enough");
        let longer = with_field(&with_field(&frame.body(), &field), &[0x80]);
        prop_assert_eq!(FromPrimary::decode(longer.clone()).expect("decodes"), message);
    }

    #[test]
    fn a_replica_may_add_any_field(
        message in any::from_replica(),
        field in proptest::sample::select(foreign_fields()),
    ) {
        let frame = message.encode().expect("short enough");
        let longer = with_field(&with_field(&frame.body(), &field), &[0x80]);
        prop_assert_eq!(FromReplica::decode(longer.clone()).expect("decodes"), message);
    }
}

/// `[1, [2, ...]]` and the like: writes a control message by hand.
fn control(write: impl FnOnce(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    let mut body = vec![1];
    write(&mut Encoder::new(&mut body));
    body
}

/// An entry with `surplus` fields behind those known, in it and in the node and the time within.
fn put_entry(to: &mut Encoder<&mut Vec<u8>>, surplus: u64) {
    let more = |to: &mut Encoder<&mut Vec<u8>>| {
        for _ in 0..surplus {
            to.map(1).unwrap().str("later").unwrap().array(2).unwrap().bool(true).unwrap().null().unwrap();
        }
    };
    to.array(7 + surplus).unwrap();
    to.array(3 + surplus).unwrap().u8(1).unwrap().u64(3).unwrap().bytes(&[7; 32]).unwrap();
    more(to);
    to.u16(0o644).unwrap().u32(1000).unwrap().u32(100).unwrap();
    to.array(2 + surplus).unwrap().i64(1_700_000_000).unwrap().u32(5).unwrap();
    more(to);
    to.bytes(&[0; 16]).unwrap().null().unwrap();
    more(to);
}

#[test]
fn records_inside_a_message_may_grow_too() {
    let body = control(|to| {
        to.array(2).unwrap().u8(5).unwrap();
        to.array(5).unwrap().u8(2).unwrap().bytes(b"a").unwrap();
        put_entry(to, 2);
        to.array(0).unwrap().u64(99).unwrap();
    });
    let Ok(FromPrimary::Operate(Operation::Metadata { path: at, entry, xattrs })) = FromPrimary::decode(body.clone())
    else {
        panic!("not understood: {:?}", FromPrimary::decode(body.clone()));
    };
    assert_eq!((at, entry.clone(), xattrs.is_empty()), (path("a"), Entry { group: None, ..example::file() }, true));
}

#[test]
fn optional_fields_at_the_end_may_be_missing() {
    let extras = control(|to| _ = to.array(1).unwrap().u8(4).unwrap());
    assert_eq!(FromPrimary::decode(extras.clone()).expect("decodes"), FromPrimary::Extras { after: None });

    let commit = control(|to| _ = to.array(2).unwrap().u8(6).unwrap().u64(9).unwrap());
    assert_eq!(FromPrimary::decode(commit.clone()).expect("decodes"), FromPrimary::Commit { batch: 9, position: None });

    let wanted = control(|to| {
        to.array(3).unwrap().u8(3).unwrap().u32(1).unwrap();
        to.array(1).unwrap().array(1).unwrap().u32(2).unwrap();
    });
    let expected = FromReplica::Wanted { page: 1, wants: vec![Want { index: 2, have: None }] };
    assert_eq!(FromReplica::decode(wanted.clone()).expect("decodes"), expected);

    let metadata = control(|to| {
        to.array(2).unwrap().u8(5).unwrap();
        to.array(4).unwrap().u8(2).unwrap().bytes(b"a").unwrap();
        to.array(6).unwrap().array(2).unwrap().u8(1).unwrap().u64(3).unwrap();
        to.u16(0).unwrap().u32(0).unwrap().u32(0).unwrap();
        to.array(2).unwrap().i64(0).unwrap().u32(0).unwrap();
        to.bytes(&[0; 16]).unwrap().array(0).unwrap();
    });
    let Ok(FromPrimary::Operate(Operation::Metadata { entry, .. })) = FromPrimary::decode(metadata.clone()) else {
        panic!("not understood: {:?}", FromPrimary::decode(metadata.clone()));
    };
    assert_eq!((entry.node, entry.group), (Node::File { size: 3, hash: None }, None));
}

#[test]
fn a_required_field_may_not_be_missing() {
    let commit = control(|to| _ = to.array(1).unwrap().u8(6).unwrap());
    assert!(FromPrimary::decode(commit.clone()).is_err());
    let empty = control(|to| _ = to.array(0).unwrap());
    assert!(FromPrimary::decode(empty.clone()).is_err());
    assert!(FromReplica::decode(empty.clone()).is_err());
}
