//! Files that are cloned: what they are hashed as, what is not lent, and what is never tried again.

mod support;

use fulmar_testkit::{Format, LoopMount};
use fulmar_tree::{Error, Lender, Private, Stage, Tree, hash_bytes};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use support::{name, rel};

/// A source with a file in it, and a replica's stage beside or elsewhere.
struct Scene {
    source: PathBuf,
    lender: Lender,
    replica: Tree,
    stage: Stage,
}

const SIZE: u64 = 1_000_003;

fn content() -> Vec<u8> {
    (0..SIZE).map(|at| (at / 7 % 251) as u8).collect()
}

impl Scene {
    fn new(source: &Path, replica: &Path) -> Self {
        for (root, name) in [(source, "source"), (replica, "replica")] {
            fs::create_dir(root.join(name)).expect("a root");
        }
        let (source, replica) = (source.join("source"), replica.join("replica"));
        fs::create_dir(source.join("d")).expect("a directory");
        fs::write(source.join("d/file"), content()).expect("a file");
        let lender = Lender::new(Tree::open(&source).expect("a source"));
        let replica = Tree::open(&replica).expect("a replica");
        let stage = Private::open(&replica).and_then(|private| private.stage()).expect("a stage");
        Self { source, lender, replica, stage }
    }

    fn lend(&self, path: &str, size: u64) -> Result<fulmar_model::Hash, Error> {
        let (staged, hash) = self.lender.lend(&rel(path), size, self.stage.file(0o600)?, &|| false)?;
        staged.publish(self.replica.root(), &name("clone"))?;
        let clone = fs::read(self.replica.path().join("clone")).expect("content");
        assert!(hash == hash_bytes(&clone), "the hash is that of what is there");
        Ok(hash)
    }

    fn staged(&self) -> usize {
        fs::read_dir(self.replica.path().join(".fulmar/stage")).expect("a stage").count()
    }
}

#[test]
fn a_file_system_that_never_shares_is_not_asked() {
    for (format, able) in [(Format::Ext4, false), (Format::Btrfs, true), (Format::Xfs, true)] {
        let Some(mount) = LoopMount::of(format, 320 << 20) else { return };
        let source = Tree::open(&mount.path()).expect("a source");
        assert_eq!(Lender::if_able(source).is_some(), able, "{format:?}");
    }
}

#[test]
fn a_clone_is_hashed_as_it_is_and_holes_stay_holes() {
    for format in [Format::Btrfs, Format::Xfs] {
        let Some(mount) = LoopMount::of(format, 320 << 20) else { return };
        let scene = Scene::new(&mount.path(), &mount.path());
        assert_eq!(scene.lend("d/file", SIZE).expect("a clone"), hash_bytes(&content()), "{format:?}");

        let file = fs::File::create(scene.source.join("holes")).expect("a file");
        file.write_all_at(&content(), 8 << 20).expect("a write");
        file.set_len(32 << 20).expect("a size");
        scene.lend("holes", 32 << 20).expect("a clone");
        let there = scene.replica.stat(&rel("clone")).expect("a look").expect("a file");
        assert!(there.allocated < 2 << 20, "{} bytes allocated", there.allocated);

        // What was written to the source later is in the next clone alone.
        let file = fs::File::options().write(true).open(scene.source.join("d/file")).expect("a file");
        let first = scene.lend("d/file", SIZE).expect("a clone");
        file.write_all_at(b"later", 500_000).expect("a write");
        assert!(fs::read(scene.replica.path().join("clone")).expect("content") == content());
        assert_ne!(scene.lend("d/file", SIZE).expect("a clone"), first);
    }
}

#[test]
fn whatever_happens_to_the_source_meanwhile_the_hash_is_that_of_the_clone() {
    let Some(mount) = LoopMount::of(Format::Btrfs, 256 << 20) else { return };
    let scene = Scene::new(&mount.path(), &mount.path());
    let file = fs::File::options().write(true).open(scene.source.join("d/file")).expect("a file");
    std::thread::scope(|scope| {
        let lending = scope.spawn(|| {
            let hashes = (0..50).map(|_| scene.lend("d/file", SIZE));
            hashes.flatten().map(|hash| hash.0).collect::<BTreeSet<_>>()
        });
        for round in 0_u64.. {
            file.write_all_at(&round.to_le_bytes(), round * 7919 % SIZE).expect("a write");
            file.set_len(SIZE).expect("a size");
            if lending.is_finished() {
                break;
            }
        }
        let different = lending.join().expect("each hash is right");
        assert!(different.len() > 5, "{} versions were met", different.len());
    });
}

#[test]
fn what_is_not_the_file_that_was_spoken_of_is_not_lent_and_leaves_nothing() {
    let Some(mount) = LoopMount::of(Format::Btrfs, 128 << 20) else { return };
    let scene = Scene::new(&mount.path(), &mount.path());
    let outside = mount.path().join("outside");
    fs::create_dir(&outside).expect("a directory");
    fs::write(outside.join("file"), content()).expect("a file");
    symlink(&outside, scene.source.join("way out")).expect("a symlink");
    symlink(outside.join("file"), scene.source.join("file")).expect("a symlink");
    for (path, size) in [("d/file", SIZE + 1), ("d/gone", SIZE), ("d", SIZE), ("file", SIZE), ("way out/file", SIZE)] {
        scene.lend(path, size).expect_err(path);
        assert!(scene.lender.is_able(), "{path}");
    }
    assert_eq!(scene.staged(), 0);
    scene.lend("d/file", SIZE).expect("a clone");
}

#[test]
fn a_clone_that_nobody_waits_for_is_given_up() {
    let Some(mount) = LoopMount::of(Format::Xfs, 320 << 20) else { return };
    let scene = Scene::new(&mount.path(), &mount.path());
    let file = scene.stage.file(0o600).expect("a file");
    assert!(matches!(scene.lender.lend(&rel("d/file"), SIZE, file, &|| true), Err(Error::Stopped)));
    assert_eq!(scene.staged(), 0);
}

#[test]
fn what_the_kernel_never_does_is_told_to_all_who_would_ask() {
    let Some(mount) = LoopMount::of(Format::Btrfs, 128 << 20) else { return };
    let Some(plain) = LoopMount::of(Format::Ext4, 32 << 20) else { return };
    let elsewhere = tempfile::tempdir().expect("a directory");
    for (source, replica) in [(mount.path(), elsewhere.path().to_owned()), (plain.path(), plain.path())] {
        let scene = Scene::new(&source, &replica);
        let other = scene.lender.clone();
        assert!(matches!(scene.lend("d/file", SIZE), Err(Error::Clone { .. })));
        assert!(!other.is_able() && scene.staged() == 0);
        fs::remove_dir_all(scene.source).expect("removed");
    }
}
