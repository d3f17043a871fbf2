//! No path leads out of the tree, and the path to the root means nothing once it is open.

mod support;

use fulmar_model::{Kind, RelPath};
use fulmar_tree::{Error, Tree, identify};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Fixture, name, rel};

#[test]
fn a_symlink_inside_a_path_is_refused_and_counts_as_gone() {
    let fixture = Fixture::new();
    std::fs::create_dir_all(fixture.outside().join("secret/deep")).expect("a directory outside");
    symlink("../secret", fixture.path("relative")).expect("a symlink");
    symlink(fixture.outside().join("secret"), fixture.path("absolute")).expect("a symlink");
    symlink("/proc/self/root", fixture.path("magic")).expect("a symlink");
    for path in ["relative", "absolute", "magic", "relative/deep", "absolute/deep", "magic/etc"] {
        let refused = fixture.tree.dir(&rel(path)).expect_err(path);
        assert!(refused.is_gone(), "{path}: {refused:?}");
        if path.contains('/') {
            assert_eq!(fixture.tree.stat(&rel(path)).expect(path), None);
        }
    }
    assert_eq!(fixture.tree.stat(&rel("absolute")).expect("a stat").map(|stat| stat.kind), Some(Kind::Symlink));
    assert!(fixture.root().dir(&name("absolute")).expect_err("a symlink").is_gone());
    assert!(fixture.root().open_file(&name("absolute")).map(|_| ()).expect_err("a symlink").is_gone());
}

#[test]
fn dot_dot_cannot_be_expressed() {
    assert!(RelPath::parse(b"a/../..").is_err());
    assert!(fulmar_model::Name::parse(b"..").is_err());
}

/// Ends the other thread however this one ends; a failed assertion would wait for it for ever.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn whoever_swaps_a_directory_for_a_symlink_never_leads_us_outside() {
    let fixture = Fixture::in_memory();
    fixture.file("dir/inside", "").mkdir("other");
    std::fs::create_dir(fixture.outside().join("target")).expect("outside");
    std::fs::write(fixture.outside().join("target/escaped"), "").expect("outside");
    symlink(fixture.outside().join("target"), fixture.path("swap")).expect("a symlink");
    let stop = AtomicBool::new(false);
    let (mut opened, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let (dir, link) = (fixture.path("dir"), fixture.path("swap"));
                renameat_with(CWD, dir, CWD, link, RenameFlags::EXCHANGE).expect("an exchange");
            }
        });
        let _stopped = StopAtEnd(&stop);
        for _ in 0..20_000 {
            let found = fixture.tree.dir(&rel("dir")).and_then(|dir| dir.stat(&name("escaped")));
            match found {
                Ok(escaped) => {
                    assert_eq!(escaped, None, "landed outside the tree");
                    opened += 1;
                }
                Err(error) => {
                    assert!(error.is_gone(), "{error:?}");
                    refused += 1;
                }
            }
        }
    });
    assert!(opened > 0 && refused > 0, "the race was never run: {opened} opened, {refused} refused");
}

#[test]
fn a_directory_deeper_than_the_longest_path_is_reached() {
    let fixture = Fixture::in_memory();
    let component = "d".repeat(200);
    let (mut dir, mut path) = (fixture.tree.dir(&RelPath::root()).expect("the root"), RelPath::root());
    for _ in 0..60 {
        dir.make_dir(&name(&component), 0o755).expect("a directory");
        dir = dir.dir(&name(&component)).expect("the directory");
        path = path.join(&name(&component));
    }
    assert!(path.as_bytes().len() > 3 * 4096 - 300);
    let found = fixture.tree.dir(&path).expect("the deepest");
    assert_eq!(found.identity().expect("an identity"), dir.identity().expect("an identity"));
    assert_eq!(
        fixture.tree.stat(&path).expect("a stat").map(|stat| stat.inode),
        Some(found.stat_self().expect("a stat").inode)
    );
    assert_eq!(fulmar_tree::Walk::new(&fixture.tree, &RelPath::root()).count(), 61);
    let all_went =
        fulmar_tree::remove_tree(fixture.root(), &name(&component), &mut |_, _, _| Ok(fulmar_tree::Visit::Remove));
    assert!(all_went.expect("removed"));
    assert_eq!(fixture.root().count().expect("a count"), 0);
}

#[test]
fn an_opened_root_is_the_same_directory_after_it_was_moved_away() {
    let fixture = Fixture::new();
    fixture.file("mine", "");
    let moved = fixture.outside().join("moved");
    std::fs::rename(fixture.path(""), &moved).expect("a rename");
    assert!(identify(&fixture.path("")).expect("a look").is_none());
    assert!(fixture.tree.stat(&rel("mine")).expect("a stat").is_some());
    std::fs::create_dir(fixture.path("")).expect("another root");
    let other = identify(&fixture.path("")).expect("a look").expect("a directory");
    assert!(!other.is_same(&fixture.tree.id()));
    assert!(identify(&moved).expect("a look").expect("a directory").is_same(&fixture.tree.id()));
    assert!(fixture.tree.id().born.is_some());
    std::fs::write(fixture.outside().join("file"), "").expect("a file");
    assert!(identify(&fixture.outside().join("file")).expect("a look").is_none());
    assert!(matches!(Tree::open(&fixture.outside().join("file")), Err(Error::OpenRoot { .. })));
}

#[test]
fn ancestors_lead_up_to_the_root_of_the_file_system() {
    let fixture = Fixture::in_memory();
    fixture.mkdir("a/b");
    let inner = Tree::open(&fixture.path("a/b")).expect("a root");
    let above = inner.ancestors().expect("ancestors");
    assert!(above[0].is_same(&inner.id()));
    assert!(above[2].is_same(&fixture.tree.id()));
    let top = identify(std::path::Path::new("/")).expect("a look").expect("a directory");
    assert!(above.last().is_some_and(|last| last.is_same(&top)));
    assert!(!fixture.tree.ancestors().expect("ancestors").iter().any(|id| id.is_same(&inner.id())));
}

#[test]
fn beyond_a_mount_point_is_refused_by_name() {
    let tree = Tree::open(std::path::Path::new("/")).expect("the root");
    let error = tree.dir(&rel("proc/self")).expect_err("another file system");
    assert!(matches!(error, Error::CrossesMount { .. }), "{error:?}");
    assert!(!error.is_gone());
    let mount = tree.stat(&rel("proc")).expect("a stat").expect("a directory");
    assert_ne!(mount.device, tree.device());
}

#[test]
fn a_directory_that_leaves_the_tree_while_it_is_walked_through_is_no_mount_point() {
    let fixture = Fixture::new();
    fixture.mkdir("a/b/c/d/e/f");
    let (inside, outside) = (fixture.path("a/b"), fixture.outside().join("b"));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                std::fs::rename(&inside, &outside).expect("it leaves");
                std::fs::rename(&outside, &inside).expect("it comes back");
            }
        });
        let _stopped = StopAtEnd(&done);
        for _ in 0..200_000 {
            if let Err(error) = fixture.tree.dir(&rel("a/b/c/d/e/f")) {
                assert!(error.is_gone(), "{error:?}");
            }
        }
    });
}

#[test]
fn handles_are_shared_by_threads_and_a_walk_moves_between_them() {
    fn shared<T: Send + Sync>() {}
    fn moved<T: Send>() {}
    shared::<(Tree, fulmar_tree::Dir, fulmar_tree::Private, fulmar_tree::Stage, fulmar_tree::Lock, Error)>();
    moved::<(fulmar_tree::Walk, fulmar_tree::Reader, fulmar_tree::StagedFile, fulmar_tree::Staged)>();
}
