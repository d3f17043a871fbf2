//! Owner, mode, times and attributes arrive as given, on every kind of inode, with and without privileges.

mod support;

use fulmar_model::{Kind, Stat, Xattrs};
use fulmar_tree::{Error, Metadata, Ownership, Private, digest};
use std::os::unix::fs::{PermissionsExt, symlink};
use support::{ACL, Fixture, is_root, long_ago, metadata_of, name, stat_of, unprivileged, xattrs};

/// A version 2 capability record: cap_net_bind_service, permitted and effective.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn wanted(mode: u16, owner: u32, attributes: &[(&str, &[u8])]) -> Metadata {
    Metadata { mode, uid: owner, gid: owner + 1, mtime: long_ago(), xattrs: xattrs(attributes) }
}

/// What is there, in the form of what was wanted.
fn actual(fixture: &Fixture, of: &str) -> Metadata {
    let stat = stat_of(fixture.root(), of);
    let xattrs = fixture.root().xattrs(&name(of), stat.kind).expect("attributes");
    Metadata { xattrs, ..metadata_of(&stat) }
}

fn set(fixture: &Fixture, of: &str, to: &Metadata, ownership: Ownership) {
    let now = stat_of(fixture.root(), of);
    fixture.root().set_metadata(&name(of), &now, to, ownership).expect(of);
}

#[test]
fn everything_arrives_on_a_file_and_a_directory_with_setuid_acl_and_capability() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    fixture.file("file", "content").mkdir("dir");
    let large = vec![b'v'; 2000];
    let all: &[(&str, &[u8])] = &[
        ("user.a", b"1"),
        ("user.empty", b""),
        ("trusted.t", b"2"),
        ("security.capability", CAPABILITY),
        ("system.posix_acl_access", ACL),
        ("user.large", &large),
    ];
    let file = wanted(0o6660, 1000, all);
    set(&fixture, "file", &file, Ownership::Keep);
    assert!(actual(&fixture, "file") == file);
    let dir = wanted(0o3775, 1000, &[("system.posix_acl_default", ACL), ("user.b", b"\0\xff")]);
    set(&fixture, "dir", &dir, Ownership::Keep);
    assert_eq!(actual(&fixture, "dir"), dir);
    let reader = fixture.root().open_file(&name("file")).expect("a file");
    assert_eq!(digest(&reader.xattrs().expect("attributes")), digest(&file.xattrs));
    assert_eq!(fixture.root().dir(&name("dir")).and_then(|dir| dir.xattrs_self()).expect("attributes"), dir.xattrs);
    let bare = Metadata { xattrs: Xattrs::default(), ..file };
    set(&fixture, "file", &bare, Ownership::Keep);
    assert_eq!(actual(&fixture, "file"), bare);
}

#[test]
fn setuid_and_capability_survive_a_change_of_owner() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    fixture.file("file", "").file("bare", "");
    for owner in [1000, 2000] {
        let bare = wanted(0o6755, owner, &[]);
        set(&fixture, "bare", &bare, Ownership::Keep);
        assert_eq!(actual(&fixture, "bare"), bare);
    }
    set(&fixture, "file", &wanted(0o6755, 1000, &[("security.capability", CAPABILITY)]), Ownership::Keep);
    let given_away = wanted(0o6755, 2000, &[("security.capability", CAPABILITY)]);
    set(&fixture, "file", &given_away, Ownership::Keep);
    assert_eq!(actual(&fixture, "file"), given_away);
}

#[test]
fn a_symlink_and_special_files_get_owner_time_and_attributes_and_what_they_point_to_gets_nothing() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    fixture.file("target", "");
    symlink("target", fixture.path("link")).expect("a symlink");
    symlink("nowhere", fixture.path("dangling")).expect("a symlink");
    let stage = Private::open(&fixture.tree).and_then(|private| private.stage()).expect("a stage");
    let node = fulmar_model::Device { major: 1, minor: 3 };
    for (kind, to) in [(Kind::Fifo, "fifo"), (Kind::CharDevice, "char"), (Kind::BlockDevice, "block")] {
        stage.special(kind, node).and_then(|staged| staged.publish_new(fixture.root(), &name(to))).expect(to);
        let stat = stat_of(fixture.root(), to);
        assert_eq!((stat.kind, stat.node), (kind, if kind == Kind::Fifo { Default::default() } else { node }));
    }
    let target = actual(&fixture, "target");
    for of in ["link", "dangling", "fifo", "char", "block"] {
        let mut expected = wanted(0o640, 1000, &[("trusted.t", b"2")]);
        set(&fixture, of, &expected, Ownership::Keep);
        if stat_of(fixture.root(), of).kind == Kind::Symlink {
            expected.mode = 0o777;
        }
        assert_eq!(actual(&fixture, of), expected, "{of}");
    }
    assert_eq!(actual(&fixture, "target"), target);
    assert_eq!(&*fixture.root().read_link(&name("link")).expect("a target"), b"target");
    assert!(matches!(fixture.root().read_link(&name("target")), Err(Error::Replaced { .. })));
}

#[test]
fn what_is_equal_already_is_not_touched() {
    let fixture = Fixture::new();
    fixture.file("file", "");
    let stat = stat_of(fixture.root(), "file");
    let to = Metadata { mode: 0o640, mtime: long_ago(), xattrs: xattrs(&[("user.a", b"1")]), ..metadata_of(&stat) };
    set(&fixture, "file", &to, Ownership::Keep);
    let before: Stat = stat_of(fixture.root(), "file");
    set(&fixture, "file", &to, Ownership::Keep);
    assert!(stat_of(fixture.root(), "file").same_version(&before), "the ctime moved");
}

#[test]
fn another_inode_under_the_name_is_left_alone() {
    let fixture = Fixture::new();
    fixture.file("file", "").file("other", "");
    let seen = stat_of(fixture.root(), "file");
    std::fs::rename(fixture.path("other"), fixture.path("file")).expect("a rename");
    let before = stat_of(fixture.root(), "file");
    let refused = fixture.root().set_metadata(&name("file"), &seen, &wanted(0o600, 0, &[]), Ownership::Keep);
    assert!(matches!(&refused, Err(error @ Error::Replaced { .. }) if error.is_gone()), "{refused:?}");
    assert!(stat_of(fixture.root(), "file").same_version(&before));
}

#[test]
fn without_privileges_a_read_only_file_gets_what_its_owner_may_set() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    std::fs::set_permissions(fixture.path(""), std::fs::Permissions::from_mode(0o777)).expect("a mode");
    let private = unprivileged(|| Private::open(&fixture.tree)).expect("a private directory");
    let asked = wanted(0o660, 0, &[("user.a", b"1"), ("trusted.t", b"2"), ("system.posix_acl_access", ACL)]);
    unprivileged(|| {
        let stage = private.stage().expect("a stage");
        let (mut staged, _) = stage.file(0o600).and_then(|file| file.finish(0)).expect("a file");
        staged.set_metadata(&asked, Ownership::Skip).expect("metadata");
        staged.publish(fixture.root(), &name("file")).expect("published");
        let now = stat_of(fixture.root(), "file");
        let read_only = Metadata { mode: 0o440, xattrs: Xattrs::default(), ..asked.clone() };
        fixture.root().set_metadata(&name("file"), &now, &read_only, Ownership::Skip).expect("metadata");
        let again = Metadata { xattrs: xattrs(&[("user.a", b"2")]), ..read_only };
        fixture
            .root()
            .set_metadata(&name("file"), &now, &again, Ownership::Skip)
            .expect("metadata of a read-only file");
        let refused = fixture.root().set_metadata(&name("file"), &now, &again, Ownership::Keep);
        assert!(matches!(refused, Err(Error::SetOwner { .. })), "{refused:?}");
    });
    let got = actual(&fixture, "file");
    let expected =
        Metadata { mode: 0o440, uid: 12345, gid: 12345, mtime: long_ago(), xattrs: xattrs(&[("user.a", b"2")]) };
    assert_eq!(got, expected);
}

#[test]
fn a_file_of_another_user_is_read_without_the_right_to_hide_it() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    fixture.file("file", "content");
    let read = unprivileged(|| fixture.root().open_file(&name("file")).and_then(|reader| reader.finish()));
    assert_eq!(read.expect("read").0, fulmar_tree::hash_bytes(b"content"));
}

#[test]
fn numbers_no_file_can_have_are_refused_or_clamped() {
    let fixture = Fixture::new();
    fixture.file("file", "");
    let now = stat_of(fixture.root(), "file");
    let odd = Metadata { uid: u32::MAX, ..metadata_of(&now) };
    assert!(matches!(
        fixture.root().set_metadata(&name("file"), &now, &odd, Ownership::Keep),
        Err(Error::SetOwner { .. })
    ));
    // UTIME_NOW, were it passed on.
    let odd = Metadata {
        mtime: fulmar_model::Timestamp { seconds: 5, nanos: 0x3fff_ffff },
        mode: 0xffff,
        ..metadata_of(&now)
    };
    set(&fixture, "file", &odd, Ownership::Keep);
    let after = stat_of(fixture.root(), "file");
    assert_eq!((after.mtime.seconds, after.mode), (5, 0o7777));
}

#[test]
fn attributes_up_to_the_limits_of_the_kernel_are_read() {
    let fixture = Fixture::in_memory();
    fixture.file("file", "");
    let now = stat_of(fixture.root(), "file");
    let value = vec![b'x'; 65_536];
    let many: Vec<(String, Vec<u8>)> =
        (0..40).map(|number| (format!("user.{number:0>60}"), vec![b'v'; number])).collect();
    let mut pairs: Vec<(&str, &[u8])> = many.iter().map(|(name, value)| (&**name, &**value)).collect();
    pairs.push(("trusted.large", &value));
    if !is_root() {
        pairs.pop();
    }
    let asked = Metadata { xattrs: xattrs(&pairs), ..metadata_of(&now) };
    set(&fixture, "file", &asked, Ownership::Keep);
    assert_eq!(actual(&fixture, "file").xattrs, asked.xattrs);
}
