//! Content: read once, hashed as it is read, holes kept, changes noticed; staged, hashed as it is written.

mod support;

use fulmar_testkit::Halted;
use fulmar_tree::{Error, Private, Reader, Stage, hash_bytes};
use proptest::prelude::*;
use std::io::{Seek, SeekFrom, Write};
use support::{Fixture, name};

fn stage(fixture: &Fixture) -> Stage {
    Private::open(&fixture.tree).and_then(|private| private.stage()).expect("a stage")
}

fn open(fixture: &Fixture, file: &str) -> Reader {
    fixture.root().open_file(&name(file)).expect("a file")
}

/// Writes pieces at offsets, then sets the size.
fn sparse(fixture: &Fixture, file: &str, pieces: &[(u64, Vec<u8>)], size: u64) {
    let mut out = std::fs::File::create(fixture.path(file)).expect("a file");
    for (offset, bytes) in pieces {
        out.seek(SeekFrom::Start(*offset)).expect("a seek");
        out.write_all(bytes).expect("a write");
    }
    out.set_len(size).expect("a size");
}

/// Copies through reader and staged file; checks that both hash what a plain read sees.
fn copy(fixture: &Fixture, from: &str, to: &str) {
    let mut reader = open(fixture, from);
    let mut staged = stage(fixture).file(0o600).expect("a staged file");
    while let Some(chunk) = reader.next_chunk(100_000).expect("a chunk") {
        assert!(chunk.bytes.len() <= 100_000 && !chunk.bytes.is_empty());
        staged.write_at(chunk.offset, &chunk.bytes).expect("a write");
    }
    let size = reader.stat().size;
    let (read, _) = reader.finish().expect("a hash");
    let (staged, written) = staged.finish(size).expect("a hash");
    staged.publish(fixture.root(), &name(to)).expect("published");
    let (original, copied) = (std::fs::read(fixture.path(from)), std::fs::read(fixture.path(to)));
    let original = original.expect("content");
    assert!(original == copied.expect("content"));
    assert_eq!((read, written), (hash_bytes(&original), hash_bytes(&original)));
}

#[test]
fn holes_survive_a_copy() {
    for fixture in [Fixture::new(), Fixture::in_memory()] {
        let pieces = [(1 << 20, vec![7; 200_000]), (8 << 20, vec![9; 1])];
        sparse(&fixture, "from", &pieces, 16 << 20);
        copy(&fixture, "from", "to");
        let (from, to) = (support::stat_of(fixture.root(), "from"), support::stat_of(fixture.root(), "to"));
        assert!(to.allocated <= from.allocated, "{} bytes became {}", from.allocated, to.allocated);
        assert!(to.allocated < 1 << 20);
        let mut reader = open(&fixture, "from");
        let mut read = 0;
        while let Some(chunk) = reader.next_chunk(1 << 20).expect("a chunk") {
            read += chunk.bytes.len();
        }
        assert!(read < 1 << 20, "{read} bytes read: the holes among them");
    }
}

#[test]
fn an_empty_file_and_a_file_of_one_hole_are_copied() {
    let fixture = Fixture::new();
    fixture.file("empty", "").file("one", "x");
    sparse(&fixture, "hole", &[], 3 << 20);
    for file in ["empty", "one", "hole"] {
        copy(&fixture, file, &format!("{file}.copy"));
    }
    assert_eq!(support::stat_of(fixture.root(), "hole.copy").allocated, 0);
}

#[test]
fn a_file_that_changes_while_it_is_read_shows_it() {
    let fixture = Fixture::new();
    fixture.file("shrinks", vec![1; 300_000]).file("grows", vec![2; 300_000]).file("stays", vec![3; 300_000]);
    let mut readers = ["shrinks", "grows", "stays"].map(|file| open(&fixture, file));
    for reader in &mut readers {
        assert_eq!(reader.next_chunk(1000).expect("a chunk").map(|chunk| chunk.bytes.len()), Some(1000));
    }
    std::fs::OpenOptions::new()
        .write(true)
        .open(fixture.path("shrinks"))
        .and_then(|file| file.set_len(2000))
        .expect("shrunk");
    std::fs::OpenOptions::new()
        .append(true)
        .open(fixture.path("grows"))
        .and_then(|mut file| file.write_all(b"more"))
        .expect("grown");
    let [shrinks, grows, stays] = readers.map(|reader| {
        let before = *reader.stat();
        let (hash, after) = reader.finish().expect("finished");
        (hash, before.same_version(&after), after.size)
    });
    assert_eq!(shrinks, (hash_bytes(&[1; 2000]), false, 2000));
    assert_eq!(grows, (hash_bytes(&[2; 300_000]), false, 300_004));
    assert_eq!(stays, (hash_bytes(&[3; 300_000]), true, 300_000));
}

#[test]
fn only_regular_files_are_opened_and_a_fifo_does_not_hang() {
    let fixture = Fixture::new();
    fixture.mkdir("dir");
    let fifo = stage(&fixture).special(fulmar_model::Kind::Fifo, Default::default()).expect("a fifo");
    fifo.publish(fixture.root(), &name("fifo")).expect("published");
    for entry in ["dir", "fifo"] {
        let error = fixture.root().open_file(&name(entry)).map(|_| ()).expect_err(entry);
        assert!(matches!(error, Error::NotAFile { .. }), "{error:?}");
    }
}

#[test]
fn what_arrives_out_of_order_is_refused_and_leaves_nothing() {
    let fixture = Fixture::new();
    let stage = stage(&fixture);
    let mut staged = stage.file(0o600).expect("a file");
    staged.write_at(10, b"abc").expect("a write");
    assert!(matches!(staged.write_at(12, b"x"), Err(Error::OutOfOrder { offset: 12, written: 13, .. })));
    assert!(matches!(staged.finish(5), Err(Error::OutOfOrder { .. })));
    let mut staged = stage.file(0o600).expect("a file");
    assert!(matches!(staged.write_at(u64::MAX, b"x"), Err(Error::Write { .. })));
    assert!(matches!(staged.finish(u64::MAX), Err(Error::Write { .. })));
    assert!(support::everything(&fixture.path(".fulmar/stage")).is_empty());
}

#[test]
fn a_write_under_way_has_ended_or_moves_the_times_of_what_was_read() {
    for fixture in [Fixture::new(), Fixture::in_memory()] {
        fixture.file("file", [b'x'; 4096]);
        let Some(write) = Halted::zeros(&fixture.path("file"), 4096) else { return };
        let tree = fixture.tree.clone();
        let (before, hash, after) = write.during(move || {
            let reader = tree.root().open_file(&name("file")).expect("a file");
            let before = *reader.stat();
            let (hash, after) = reader.finish().expect("a hash");
            (before, hash, after)
        });
        let now = support::stat_of(fixture.root(), "file");
        let holds = before.same_version(&after) && after.same_version(&now);
        assert!(!holds || hash == hash_bytes(&[0; 4096]), "{before:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]
    #[test]
    fn any_pattern_of_holes_is_copied(
        gaps in proptest::collection::vec((0u64..40_000, 1usize..30_000), 0..6), tail in 0u64..50_000, on_ext4 in any::<bool>(),
    ) {
        let fixture = if on_ext4 { Fixture::new() } else { Fixture::in_memory() };
        let (mut pieces, mut at) = (Vec::new(), 0);
        for (gap, length) in gaps {
            pieces.push((at + gap, vec![1; length]));
            at += gap + length as u64;
        }
        sparse(&fixture, "from", &pieces, at + tail);
        copy(&fixture, "from", "to");
    }
}
