//! The bytes of each protocol version, kept in fixtures/wire, mean what they always meant and are still what is sent.
//!
//! `FULMAR_WRITE_FIXTURES=1 cargo test -p fulmar-wire golden` writes those of the present version, which is done once,
//! when it is released.

use crate::example;
use fulmar_wire::{Frame, FrameError, FromPrimary, FromReplica, LENGTH_BYTES, Preface};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/wire/v1")
}

/// The bytes kept under `name`; first written from `now` when that is asked for.
fn kept(name: &str, now: &[u8]) -> Vec<u8> {
    let file = fixtures().join(name);
    if std::env::var_os("FULMAR_WRITE_FIXTURES").is_some() {
        fs::create_dir_all(fixtures()).expect("a folder");
        fs::write(&file, now).expect("written");
    }
    fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn frame(name: &str, now: Result<Frame, FrameError>) -> Frame {
    let now = now.expect("short enough");
    let kept = kept(name, now.as_bytes());
    let (prefix, body) = kept.split_first_chunk::<LENGTH_BYTES>().expect("a length");
    assert_eq!(Frame::length(*prefix), Ok(body.len()), "{name}");
    let kept = Frame::received(*prefix, body);
    assert_eq!(kept, now, "{name}: other bytes than the protocol version promises");
    kept
}

fn primary_file(name: &str) -> String {
    format!("primary-{name}.bin")
}

fn replica_file(name: &str) -> String {
    format!("replica-{name}.bin")
}

#[test]
fn golden_messages_of_a_primary_keep_their_bytes_and_their_meaning() {
    for (name, message) in example::from_primary() {
        let frame = frame(&primary_file(name), message.encode());
        assert_eq!(FromPrimary::decode(frame.body()).expect(name), message, "{name}");
    }
}

#[test]
fn golden_messages_of_a_replica_keep_their_bytes_and_their_meaning() {
    for (name, message) in example::from_replica() {
        let frame = frame(&replica_file(name), message.encode());
        assert_eq!(FromReplica::decode(frame.body()).expect(name), message, "{name}");
    }
}

#[test]
fn golden_preface_keeps_its_bytes() {
    let bytes = *b"\0fulmar\n\0\x01\0\x01\0\0\0\0\0\0\0\0\0\0\0\0";
    assert_eq!(Preface { oldest: 1, newest: 1, features: 0 }.encode(), bytes);
    assert_eq!(kept("preface.bin", &bytes), bytes);
    assert_eq!(Preface::OURS.encode(), *b"\0fulmar\n\0\x01\0\x01\0\0\0\0\0\0\0\0\0\0\0\x01");
    let later = Preface { oldest: 0x0102, newest: 0x0304, features: 0x0506_0708_090a_0b0c };
    let bytes = *b"\0fulmar\n\x01\x02\x03\x04\0\0\0\0\x05\x06\x07\x08\x09\x0a\x0b\x0c";
    assert_eq!((later.encode(), Preface::decode(&bytes)), (bytes, Ok(later)));
}

#[test]
fn golden_files_are_those_of_the_examples() {
    if std::env::var_os("FULMAR_WRITE_FIXTURES").is_some() {
        return;
    }
    let primary = example::from_primary().into_iter().map(|(name, _)| primary_file(name));
    let replica = example::from_replica().into_iter().map(|(name, _)| replica_file(name));
    let expected: BTreeSet<String> = primary.chain(replica).chain(["preface.bin".to_owned()]).collect();
    let files = fs::read_dir(fixtures()).expect("the fixtures");
    let found: BTreeSet<String> =
        files.map(|file| file.expect("an entry").file_name().into_string().expect("plain names")).collect();
    assert_eq!(found, expected);
}
