//! Each aspect is named, with both values, and nothing else beside it.

use super::*;
use crate::{LinkGroup, XattrDigest};

fn entry(node: Node) -> Entry {
    let mtime = Timestamp::new(1_700_000_000, 5);
    Entry { node, mode: 0o644, uid: 1, gid: 2, mtime, xattrs: XattrDigest::default(), group: None }
}

fn file(size: u64, hash: u8) -> Entry {
    entry(Node::File { size, hash: Some(Hash([hash; 32])) })
}

fn there(entry: Entry) -> Sighting {
    Sighting::There { entry, xattrs: Some(Xattrs::default()) }
}

fn aspects(source: &Sighting, replica: &Sighting) -> Vec<Aspect> {
    let path = RelPath::parse(b"a/b").expect("a path");
    differences(&path, source, replica).into_iter().map(|difference| difference.aspect).collect()
}

#[test]
fn each_aspect_is_told_alone() {
    let one = file(3, 7);
    let symlink = |target: &[u8], mode| Entry { mode, ..entry(Node::Symlink { target: target.into() }) };
    let device = |minor| entry(Node::CharDevice(Device { major: 1, minor }));
    for (source, replica, expected) in [
        (one.clone(), one.clone(), vec![]),
        (one.clone(), file(4, 8), vec![Aspect::Size]),
        (one.clone(), file(3, 8), vec![Aspect::Content]),
        (one.clone(), entry(Node::Fifo), vec![Aspect::Kind]),
        (one.clone(), Entry { mode: 0o4644, ..one.clone() }, vec![Aspect::Mode]),
        (one.clone(), Entry { uid: 9, ..one.clone() }, vec![Aspect::Owner]),
        (one.clone(), Entry { gid: 9, ..one.clone() }, vec![Aspect::Owner]),
        (one.clone(), Entry { mtime: Timestamp::new(1_700_000_000, 6), ..one.clone() }, vec![Aspect::Mtime]),
        (one.clone(), Entry { group: Some(LinkGroup(5)), ..one.clone() }, vec![]),
        (symlink(b"a", 0o777), symlink(b"b", 0o700), vec![Aspect::Target]),
        (symlink(b"a", 0o777), symlink(b"a", 0o700), vec![]),
        (device(3), device(4), vec![Aspect::Device]),
    ] {
        assert_eq!(aspects(&there(source.clone()), &there(replica.clone())), expected, "{source:?} {replica:?}");
    }
    assert_eq!(aspects(&there(one.clone()), &Sighting::Absent), [Aspect::Missing]);
    assert_eq!(aspects(&Sighting::Absent, &there(one.clone())), [Aspect::Extra]);
    assert_eq!(aspects(&Sighting::Absent, &Sighting::Absent), []);
    assert_eq!(aspects(&Sighting::Unreadable { errno: 13 }, &there(one)), []);
}

#[test]
fn attributes_are_told_one_by_one_and_acls_by_their_name() {
    let with = |pairs: &[(&[u8], &[u8])], digest| Sighting::There {
        entry: Entry { xattrs: XattrDigest([digest; 16]), ..file(3, 7) },
        xattrs: Some(Xattrs::new(pairs.iter().map(|(name, value)| (Box::from(*name), Box::from(*value))).collect())),
    };
    let source = with(&[(b"user.a", b"1"), (b"user.b", b"2"), (ACL_NAMES[0], b"x")], 1);
    let replica = with(&[(b"user.b", b"2"), (b"user.c", b"3")], 2);
    assert_eq!(aspects(&source, &replica), [Aspect::Acl, Aspect::Xattr, Aspect::Xattr]);
    let path = RelPath::root();
    let all = differences(&path, &source, &replica);
    let none = Value::Attribute { name: Some(Box::from(&b"user.a"[..])), value: None };
    assert_eq!(all.get(1).map(|difference| &difference.replica), Some(&none));
    let too_large = Sighting::There { entry: Entry { xattrs: XattrDigest([3; 16]), ..file(3, 7) }, xattrs: None };
    assert_eq!(aspects(&source, &too_large), [Aspect::Xattr]);
}
