//! Large files on their way: what is dropped stays for the next attempt, what is published leaves nothing behind.

mod support;

use fulmar_model::RelPath;
use fulmar_tree::{Partials, Private, StagedFile};
use std::os::unix::fs::PermissionsExt;
use support::{Fixture, everything, is_root, name, unprivileged};

fn partials(fixture: &Fixture) -> Partials {
    Private::open(&fixture.tree).and_then(|private| private.partials()).expect("partials")
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

fn begun(partials: &Partials, at: &str, content: &[u8]) -> StagedFile {
    let mut file = partials.file(&path(at)).expect("a file");
    file.write_at(0, content).expect("a write");
    file
}

fn left(partials: &Partials, at: &str) -> Option<u64> {
    partials.open(&path(at)).expect("a look").map(|reader| reader.stat().size)
}

#[test]
fn the_longest_of_what_was_begun_is_left() {
    let fixture = Fixture::new();
    let partials = partials(&fixture);
    assert_eq!(left(&partials, "a"), None);
    for (content, longest) in [("123", 3), ("12345", 5), ("1", 5)] {
        drop(begun(&partials, "a", content.as_bytes()));
        assert_eq!(left(&partials, "a"), Some(longest));
    }
    assert_eq!(left(&partials, "b"), None);
}

#[test]
fn a_second_attempt_does_not_disturb_what_waits_to_be_published() {
    let fixture = Fixture::new();
    let partials = partials(&fixture);
    drop(begun(&partials, "a", b"an earlier attempt"));
    let (first, _) = begun(&partials, "a", b"first").finish(5).expect("a hash");
    let second = begun(&partials, "a", b"second");
    first.publish(fixture.root(), &name("a")).expect("published");
    let (second, _) = second.finish(6).expect("a hash");
    second.publish(fixture.root(), &name("a")).expect("published");
    assert_eq!(std::fs::read(fixture.path("a")).expect("content"), b"second");
    assert_eq!(everything(&fixture.path(".fulmar/partial")), Vec::<String>::new());
}

#[test]
fn what_a_killed_process_was_writing_is_left() {
    let fixture = Fixture::new();
    let partials_before = partials(&fixture);
    std::mem::forget(begun(&partials_before, "a", b"12345"));
    assert_eq!(left(&partials_before, "a"), None);
    assert_eq!(left(&partials(&fixture), "a"), Some(5));
}

#[test]
fn only_so_many_are_left() {
    let fixture = Fixture::new();
    let partials = partials(&fixture);
    for number in 0..40 {
        drop(begun(&partials, &number.to_string(), b"x"));
    }
    assert_eq!(everything(&fixture.path(".fulmar/partial")).len(), 16);
}

#[test]
fn what_may_not_be_swept_keeps_nobody_from_writing_beside_it() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    std::fs::set_permissions(fixture.path(""), std::fs::Permissions::from_mode(0o777)).expect("a mode");
    unprivileged(|| {
        drop(begun(&partials(&fixture), "a", b"x"));
        let key = everything(&fixture.path(".fulmar/partial")).remove(0);
        let taken = format!(".fulmar/partial/{key}.0/closed");
        fixture.file(&format!("{taken}/file"), "x");
        std::fs::set_permissions(fixture.path(&taken), std::fs::Permissions::from_mode(0o555)).expect("a mode");
        let partials = partials(&fixture);
        drop(begun(&partials, "a", b"longer"));
        assert_eq!(left(&partials, "a"), Some(6));
    });
    assert!(everything(&fixture.path(".fulmar/partial")).iter().any(|path| path.ends_with(".0/closed/file")));
}
