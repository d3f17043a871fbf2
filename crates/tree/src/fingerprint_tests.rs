//! Whatever two sides must agree on changes the fingerprint, and nothing else does.

use super::*;
use fulmar_model::{Device, LinkGroup, Timestamp, XattrDigest};

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).expect("a name")
}

fn file() -> Entry {
    Entry {
        node: Node::File { size: 5, hash: Some(Hash([7; 32])) },
        mode: 0o644,
        uid: 1000,
        gid: 100,
        mtime: Timestamp { seconds: 1_700_000_000, nanos: 5 },
        xattrs: XattrDigest([0; 16]),
        group: None,
    }
}

fn print(entries: &[(&str, Entry)], owners: bool) -> Option<Hash> {
    let mut fingerprint = Fingerprint::default();
    for (text, entry) in entries {
        fingerprint.add(&name(text), entry, owners);
    }
    fingerprint.finish()
}

#[test]
fn every_field_counts() {
    let link = |target: &[u8]| Node::Symlink { target: target.into() };
    let nodes = [
        Node::File { size: 6, hash: Some(Hash([7; 32])) },
        Node::File { size: 5, hash: Some(Hash([8; 32])) },
        Node::Directory,
        link(b"a"),
        link(b"b"),
        Node::Fifo,
        Node::CharDevice(Device { major: 1, minor: 3 }),
        Node::CharDevice(Device { major: 1, minor: 4 }),
        Node::BlockDevice(Device { major: 1, minor: 3 }),
    ];
    let mut entries: Vec<_> = nodes.into_iter().map(|node| Entry { node, ..file() }).collect();
    entries.push(file());
    entries.push(Entry { mode: 0o600, ..file() });
    entries.push(Entry { uid: 1001, ..file() });
    entries.push(Entry { gid: 101, ..file() });
    entries.push(Entry { mtime: Timestamp { seconds: 1_700_000_001, nanos: 5 }, ..file() });
    entries.push(Entry { mtime: Timestamp { seconds: 1_700_000_000, nanos: 6 }, ..file() });
    entries.push(Entry { xattrs: XattrDigest([1; 16]), ..file() });
    entries.push(Entry { group: Some(LinkGroup(1)), ..file() });
    let mut prints: Vec<_> = entries.iter().map(|entry| print(&[("a", entry.clone())], true)).collect();
    prints.push(print(&[("b", file())], true));
    prints.push(print(&[], true));
    prints.push(print(&[("a", file()), ("b", file())], true));
    assert!(prints.iter().all(Option::is_some));
    let different: std::collections::HashSet<_> = prints.iter().map(|print| print.map(|hash| hash.0)).collect();
    assert_eq!(different.len(), prints.len());
}

#[test]
fn owners_count_only_where_they_are_kept_and_the_mode_of_a_symlink_never_does() {
    let other = Entry { uid: 0, gid: 0, ..file() };
    assert_eq!(print(&[("a", file())], false), print(&[("a", other)], false));
    let link = |mode| Entry { node: Node::Symlink { target: (*b"there").into() }, mode, ..file() };
    assert_eq!(print(&[("a", link(0o777))], true), print(&[("a", link(0o755))], true));
}

#[test]
fn what_is_not_known_is_equal_to_nothing() {
    let unread = Entry { node: Node::File { size: 5, hash: None }, ..file() };
    assert_eq!(print(&[("a", file()), ("b", unread)], true), None);
    let known = |text: &str| Printed {
        directory: RelPath::parse(text.as_bytes()).expect("a path"),
        part: Part::WHOLE,
        fingerprint: Some(Hash([1; 32])),
    };
    assert!(fingerprint_of(&[known("a"), known("b")]).is_some());
    assert_eq!(fingerprint_of(&[known("a"), Printed { fingerprint: None, ..known("b") }]), None);
    assert_ne!(fingerprint_of(&[known("a"), known("b")]), fingerprint_of(&[known("b"), known("a")]));
}

#[test]
fn pieces_put_together_are_the_whole_and_what_is_not_known_stays_so() {
    let unknown = Entry { node: Node::File { size: 5, hash: None }, ..file() };
    let piece = |entries: &[(&str, &Entry)]| {
        let mut piece = Fingerprint::default();
        entries.iter().for_each(|(text, entry)| piece.add(&name(text), entry, true));
        piece
    };
    for (third, known) in [(&file(), true), (&unknown, false)] {
        let mut together = Fingerprint::default();
        together.append(piece(&[("a", third), ("b", &file())]));
        together.append(Fingerprint::default());
        together.append(piece(&[("c", &file())]));
        let whole = [("a", third.clone()), ("b", file()), ("c", file())];
        assert_eq!(together.finish(), print(&whole, true));
        assert_eq!(print(&whole, true).is_some(), known);
    }
}
