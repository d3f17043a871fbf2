//! What is staged is published by one rename or disappears; one process at a time.

mod support;

use fulmar_model::{Device, Kind, Xattrs};
use fulmar_tree::{Error, Metadata, Nest, Ownership, Private, Replace, lock_file};
use rustix::io::Errno;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use support::{ACL, Fixture, everything, is_root, long_ago, metadata_of, name, stat_of, unprivileged};

fn private(fixture: &Fixture) -> Private {
    Private::open(&fixture.tree).expect("a private directory")
}

/// A tree in which users without privileges may write.
fn open_to_all() -> Fixture {
    let fixture = Fixture::new();
    std::fs::set_permissions(fixture.path(""), std::fs::Permissions::from_mode(0o777)).expect("a mode");
    fixture
}

fn leftovers(fixture: &Fixture) -> Vec<String> {
    everything(&fixture.path(".fulmar/stage"))
}

#[test]
fn a_file_replaces_another_complete_with_metadata_and_the_old_content_stays_with_who_had_it_open() {
    let fixture = Fixture::new();
    fixture.file("file", "old");
    let old = fixture.root().open_file(&name("file")).expect("a file");
    let stage = private(&fixture).stage().expect("a stage");
    let mut staged = stage.file(0o600).expect("a file");
    staged.write_at(0, b"new").expect("a write");
    let (mut staged, hash) = staged.finish(3).expect("a hash");
    assert_eq!(hash, fulmar_tree::hash_bytes(b"new"));
    let wanted = Metadata { mode: 0o604, mtime: long_ago(), ..metadata_of(&staged.stat().expect("a stat")) };
    staged.set_metadata(&wanted, Ownership::Keep).expect("metadata");
    staged.sync().expect("durable");
    assert_eq!(std::fs::read(fixture.path("file")).expect("content"), b"old");
    staged.publish(fixture.root(), &name("file")).expect("published");
    assert_eq!(metadata_of(&stat_of(fixture.root(), "file")), wanted);
    assert_eq!(std::fs::read(fixture.path("file")).expect("content"), b"new");
    assert_eq!(old.finish().expect("a hash").0, fulmar_tree::hash_bytes(b"old"));
    fixture.root().sync().and_then(|()| fixture.tree.sync()).expect("durable");
}

#[test]
fn what_is_not_published_disappears() {
    let fixture = Fixture::new();
    fixture.file("taken", "kept").mkdir("full/x");
    let stage = private(&fixture).stage().expect("a stage");
    drop((
        stage.file(0o600).expect("a file"),
        stage.directory().expect("a directory"),
        stage.symlink(b"x").expect("a symlink"),
    ));
    drop(stage.link(fixture.root(), &name("taken")).expect("a link"));
    let refused = stage.symlink(b"x").and_then(|staged| staged.publish_new(fixture.root(), &name("taken")));
    assert_eq!(refused.expect_err("taken").errno(), Errno::EXIST.raw_os_error());
    let refused = stage.directory().and_then(|staged| staged.publish(fixture.root(), &name("full")));
    assert_eq!(refused.expect_err("not empty").errno(), Errno::NOTEMPTY.raw_os_error());
    assert_eq!(leftovers(&fixture), [""; 0]);
    assert_eq!(std::fs::read(fixture.path("taken")).expect("content"), b"kept");
}

#[test]
fn a_directory_built_with_what_is_in_it_appears_whole_and_keeps_only_what_was_settled() {
    let fixture = Fixture::new();
    let stage = private(&fixture).stage().expect("a stage");
    let outer = stage.directory().expect("a directory");
    let nest = Nest::of(&outer).expect("its inside");
    let (stays, _) = nest.file(&name("stays"), 0o600).and_then(|file| file.finish(0)).expect("a file");
    let (moves, _) = nest.file(&name("moves"), 0o600).and_then(|file| file.finish(0)).expect("a file");
    let goes = nest.symlink(&name("goes"), b"x").expect("a symlink");
    let inner = nest.directory(&name("inner")).expect("a directory");
    let deep =
        Nest::of(&inner).and_then(|nest| nest.special(&name("fifo"), Kind::Fifo, Device::default())).expect("a FIFO");
    let taken = nest.file(&name("stays"), 0o600).expect_err("it is taken");
    assert_eq!(taken.errno(), Errno::EXIST.raw_os_error());
    assert!(!fixture.path("outer").exists());
    outer.publish_new(fixture.root(), &name("outer")).expect("published");
    assert_eq!(everything(&fixture.path("outer")), ["goes", "inner", "inner/fifo", "moves", "stays"]);
    for staged in [stays, inner, deep] {
        staged.settle();
    }
    moves.publish_new(fixture.root(), &name("moved")).expect("published elsewhere");
    drop(goes);
    assert_eq!(everything(&fixture.path("outer")), ["inner", "inner/fifo", "stays"]);
    assert!(fixture.path("moved").exists());
    assert_eq!(leftovers(&fixture), [""; 0]);
}

#[test]
fn files_that_are_built_beside_each_other_have_what_was_wanted_for_each() {
    let named = Xattrs::new(vec![(Box::from(&b"user.a"[..]), Box::from(&b"1"[..]))]);
    let acl = Xattrs::new(vec![(Box::from(&b"system.posix_acl_default"[..]), Box::from(ACL))]);
    for handed_down in [Xattrs::default(), acl] {
        let fixture = Fixture::new();
        let stage = private(&fixture).stage().expect("a stage");
        let mut directory = stage.directory().expect("a directory");
        let usual = metadata_of(&directory.stat().expect("a stat"));
        let inside = Metadata { xattrs: handed_down, ..usual.clone() };
        directory.set_metadata(&inside, Ownership::Keep).expect("metadata");
        let nest = Nest::of(&directory).expect("its inside");
        // The first of a kind is looked at, the others are taken to be like it.
        let modes = [0o644, 0o644, 0o644, 0o644, 0o600, 0o666, 0o666, 0o400, 0o400, 0o4755, 0o4755, 0, 0o644];
        for (number, mode) in modes.into_iter().enumerate() {
            let wanted = Metadata {
                mode,
                mtime: long_ago(),
                xattrs: if number == 2 { named.clone() } else { Xattrs::default() },
                uid: if is_root() && number == 3 { 1234 } else { usual.uid },
                ..usual
            };
            let names = [format!("{number} in it"), format!("{number} apart")].map(|text| name(&text));
            for (name, file) in names.iter().zip([nest.file(&names[0], mode), stage.file(mode)]) {
                let (mut staged, _) = file.and_then(|file| file.finish(0)).expect("a file");
                staged.set_metadata(&wanted, Ownership::Keep).expect("metadata");
                staged.publish_new(fixture.root(), name).expect("published");
                let stat = fixture.root().stat(name).expect("a stat").expect("it is there");
                let xattrs = fixture.root().xattrs(name, Kind::File).expect("attributes");
                assert_eq!(Metadata { xattrs, ..metadata_of(&stat) }, wanted, "{number}");
            }
        }
    }
}

#[test]
fn metadata_can_be_set_more_than_once() {
    let fixture = Fixture::new();
    let stage = private(&fixture).stage().expect("a stage");
    for _ in 0..2 {
        let (mut staged, _) = stage.file(0o644).and_then(|file| file.finish(0)).expect("a file");
        let usual = metadata_of(&staged.stat().expect("a stat"));
        for mode in [0o400, 0o644] {
            staged.set_metadata(&Metadata { mode, ..usual.clone() }, Ownership::Keep).expect("metadata");
            assert_eq!(staged.stat().expect("a stat").mode, mode);
        }
    }
}

#[test]
fn a_hard_link_published_over_its_own_inode_leaves_no_third_name() {
    let fixture = Fixture::new();
    fixture.file("one", "same").file("other", "");
    std::fs::hard_link(fixture.path("one"), fixture.path("two")).expect("a link");
    let stage = private(&fixture).stage().expect("a stage");
    for (to, links) in [("two", 2), ("one", 2), ("other", 3)] {
        let staged = stage.link(fixture.root(), &name("one")).expect("a link");
        staged.publish(fixture.root(), &name(to)).expect("published");
        assert_eq!(stat_of(fixture.root(), "one").links, links, "{to}");
    }
    assert_eq!(leftovers(&fixture), [""; 0]);
    symlink("one", fixture.path("symlink")).expect("a symlink");
    stage
        .link(fixture.root(), &name("symlink"))
        .and_then(|staged| staged.publish_new(fixture.root(), &name("again")))
        .expect("published");
    assert_eq!(stat_of(fixture.root(), "again").kind, Kind::Symlink);
}

#[test]
fn what_changed_places_with_a_directory_or_a_file_leaves_the_stage_at_once() {
    let fixture = Fixture::new();
    fixture.file("file", "content").file("full/of/files", "x");
    std::fs::hard_link(fixture.path("file"), fixture.path("other name")).expect("a link");
    let stage = private(&fixture).stage().expect("a stage");
    let staged = stage.directory().expect("a directory");
    let file = stat_of(fixture.root(), "file");
    staged.exchange(fixture.root(), &name("file"), &file).expect("a directory in a file's place");
    assert_eq!(leftovers(&fixture), [""; 0]);
    assert_eq!(stat_of(fixture.root(), "other name").links, 1);
    let staged = stage.link(fixture.root(), &name("other name")).expect("a link");
    let full = stat_of(fixture.root(), "full");
    staged.exchange(fixture.root(), &name("full"), &full).expect("a file in a directory's place");
    assert_eq!(leftovers(&fixture), [""; 0]);
    assert_eq!(std::fs::read(fixture.path("full")).expect("content"), b"content");
    fixture.file("another/of/files", "x").mkdir("seen");
    let seen = stat_of(fixture.root(), "seen");
    let staged = stage.symlink(b"x").expect("a symlink");
    let error = staged.exchange(fixture.root(), &name("another"), &seen).expect_err("another than was seen");
    assert!(matches!(error, Error::Replaced { .. }), "{error}");
    assert_eq!(everything(&fixture.path("another")), ["of", "of/files"]);
    assert_eq!(leftovers(&fixture), [""; 0]);
}

#[test]
fn a_new_stage_sweeps_what_a_killed_process_left() {
    let fixture = Fixture::new();
    fixture.file(".fulmar/stage/3/deep/file", "").file(".fulmar/stage/4", "").file(".fulmar/quarantine/kept", "");
    for private in [".fulmar", ".fulmar/stage", ".fulmar/quarantine"] {
        std::fs::set_permissions(fixture.path(private), std::fs::Permissions::from_mode(0o700)).expect("a mode");
    }
    private(&fixture).stage().expect("a stage");
    assert_eq!(leftovers(&fixture), [""; 0]);
    assert!(private(&fixture).quarantine().stat(&name("kept")).expect("a stat").is_some());
}

#[test]
fn the_private_directory_is_private_and_not_somewhere_else() {
    let fixture = Fixture::new();
    private(&fixture);
    for path in [".fulmar", ".fulmar/stage", ".fulmar/quarantine"] {
        assert_eq!(std::fs::metadata(fixture.path(path)).expect("a directory").mode() & 0o7777, 0o700, "{path}");
    }
    std::fs::set_permissions(fixture.path(".fulmar"), std::fs::Permissions::from_mode(0o770)).expect("a mode");
    assert!(matches!(Private::open(&fixture.tree), Err(Error::PrivateExposed { .. })));
    std::fs::remove_dir_all(fixture.path(".fulmar")).expect("removed");
    std::fs::create_dir(fixture.outside().join("elsewhere")).expect("a directory");
    symlink("../elsewhere", fixture.path(".fulmar")).expect("a symlink");
    assert!(matches!(Private::open(&fixture.tree), Err(Error::OpenDirectory { .. })));
    assert!(everything(&fixture.outside().join("elsewhere")).is_empty());
    std::fs::remove_file(fixture.path(".fulmar")).expect("removed");
    fixture.file(".fulmar", "");
    assert!(matches!(Private::open(&fixture.tree), Err(Error::OpenDirectory { .. })));
}

#[test]
fn a_private_directory_made_in_advance_by_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let fixture = open_to_all();
    unprivileged(|| fixture.root().make_dir(&name(".fulmar"), 0o700)).expect("a trap");
    assert!(matches!(Private::open(&fixture.tree), Err(Error::PrivateExposed { uid: 12345, .. })));
}

#[test]
fn a_second_holder_is_told_who_holds_the_lock() {
    let fixture = Fixture::new();
    let private = private(&fixture);
    let held = private.lock().expect("the first");
    let refused = private.lock().expect_err("a second");
    let me = std::process::id().to_string();
    assert!(matches!(&refused, Error::Locked { holder, .. } if *holder == me), "{refused:?}");
    assert!(refused.to_string().ends_with(&format!("root/.fulmar/lock is locked by process {me}")), "{refused}");
    let path = fixture.path(".fulmar/lock");
    assert_eq!(std::fs::read_to_string(&path).expect("a lock file"), format!("{me}\n"));
    assert!(matches!(lock_file(&path), Err(Error::Locked { .. })));
    drop(held);
    lock_file(&path).expect("free again");
}

#[test]
fn a_rename_can_be_told_not_to_replace() {
    let fixture = Fixture::new();
    fixture.file("a", "a").file("b", "b").mkdir("dir");
    let dir = fixture.root().dir(&name("dir")).expect("a directory");
    let root = fixture.root();
    let refused = root.rename_to(&name("a"), root, &name("b"), Replace::No).expect_err("taken");
    assert_eq!(refused.errno(), Errno::EXIST.raw_os_error());
    root.rename_to(&name("a"), root, &name("b"), Replace::Yes).expect("replaced");
    root.link_to(&name("b"), &dir, &name("c")).expect("linked");
    assert_eq!(everything(&fixture.path("")), ["b", "dir", "dir/c"]);
    root.remove(&name("b"), Kind::File).and_then(|()| root.remove(&name("b"), Kind::File)).expect("gone, twice");
}

#[test]
fn without_privileges_a_directory_nobody_may_write_in_is_published_and_swept() {
    if !is_root() {
        return;
    }
    let fixture = open_to_all();
    unprivileged(|| {
        let private = private(&fixture);
        let stage = private.stage().expect("a stage");
        stage.symlink(b"x").expect("a symlink").publish_new(fixture.root(), &name("file")).expect("not a directory");
        for (to, mode) in [("read-only", 0o555), ("closed", 0o000)] {
            let mut staged = stage.directory().expect("a directory");
            let wanted = Metadata { mode, mtime: long_ago(), ..metadata_of(&staged.stat().expect("a stat")) };
            staged.set_metadata(&wanted, Ownership::Skip).expect("metadata");
            staged.publish_new(fixture.root(), &name(to)).expect(to);
            assert_eq!(metadata_of(&stat_of(fixture.root(), to)), wanted);
            let mut staged = stage.directory().expect("a directory");
            staged.set_metadata(&wanted, Ownership::Skip).expect("metadata");
            staged
                .exchange(fixture.root(), &name("file"), &stat_of(fixture.root(), "file"))
                .expect("in a file's place");
            assert_eq!(metadata_of(&stat_of(fixture.root(), "file")), wanted);
            fixture.root().remove(&name("file"), Kind::Directory).expect("an empty directory goes");
            stage
                .symlink(b"x")
                .expect("a symlink")
                .publish_new(fixture.root(), &name("file"))
                .expect("a file for the next");
        }
        private.dir().dir(&name("stage")).and_then(|stage| stage.make_dir(&name("left"), 0o000)).expect("a leftover");
        private.stage().expect("a swept stage");
    });
    assert_eq!(leftovers(&fixture), [""; 0]);
}

#[test]
fn what_may_not_be_swept_keeps_nobody_from_staging_beside_it() {
    if !is_root() {
        return;
    }
    let fixture = open_to_all();
    unprivileged(|| {
        let private = private(&fixture);
        fixture.file(".fulmar/stage/1/closed/file", "x").file(".fulmar/stage/0", "x");
        let closed = fixture.path(".fulmar/stage/1/closed");
        std::fs::set_permissions(closed, std::fs::Permissions::from_mode(0o555)).expect("a mode");
        let stage = private.stage().expect("a stage");
        for name in ["one", "other"] {
            stage.symlink(b"x").expect(name).publish_new(fixture.root(), &support::name(name)).expect(name);
        }
    });
    assert_eq!(leftovers(&fixture), ["1", "1/closed", "1/closed/file"]);
}
