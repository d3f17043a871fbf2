//! A subtree goes from the bottom up, and what is kept keeps what it is in.

mod support;

use fulmar_tree::{Visit, remove_tree};
use std::os::unix::fs::symlink;
use support::{Fixture, everything, is_dir, name};

#[test]
fn everything_below_goes_and_what_symlinks_point_to_stays() {
    let fixture = Fixture::new();
    fixture.file("gone/a/1", "").file("gone/a/b/2", "").mkdir("gone/c").file("stays/3", "");
    symlink("../stays", fixture.path("gone/link")).expect("a symlink");
    let mut order = Vec::new();
    let all = remove_tree(fixture.root(), &name("gone"), &mut |dir, name, stat| {
        order.push(format!("{}{}", dir.path().join(name), if is_dir(stat) { "/" } else { "" }));
        Ok(Visit::Remove)
    });
    assert!(all.expect("removed"));
    assert_eq!(order, ["gone/link", "gone/a/1", "gone/a/b/2", "gone/a/b/", "gone/a/", "gone/c/", "gone/"]);
    assert_eq!(everything(&fixture.path("")), ["stays", "stays/3"]);
    assert!(remove_tree(fixture.root(), &name("gone"), &mut |_, _, _| Ok(Visit::Remove)).expect("gone already"));
}

#[test]
fn what_is_kept_keeps_its_directories_and_nothing_else() {
    let fixture = Fixture::new();
    fixture.file("top/a/keep", "").file("top/a/go", "").file("top/b/go", "").mkdir("top/kept-directory");
    let all = remove_tree(fixture.root(), &name("top"), &mut |_, name, stat| {
        assert!(name.as_bytes() != b"a" && name.as_bytes() != b"top", "asked about a directory that cannot go");
        let kept = name.as_bytes() == b"keep" || (is_dir(stat) && name.as_bytes() == b"kept-directory");
        Ok(if kept { Visit::Keep } else { Visit::Remove })
    });
    assert!(!all.expect("done"));
    assert_eq!(everything(&fixture.path("")), ["top", "top/a", "top/a/keep", "top/kept-directory"]);
}

#[test]
fn an_entry_that_the_callback_moves_away_counts_as_gone_when_it_says_remove() {
    let fixture = Fixture::new();
    fixture.file("top/a", "precious").mkdir("quarantine");
    let quarantine = fixture.root().dir(&name("quarantine")).expect("a directory");
    let all = remove_tree(fixture.root(), &name("top"), &mut |dir, name, stat| {
        if !is_dir(stat) {
            dir.rename_to(name, &quarantine, name, fulmar_tree::Replace::No)?;
        }
        Ok(Visit::Remove)
    });
    assert!(all.expect("removed"));
    assert_eq!(everything(&fixture.path("")), ["quarantine", "quarantine/a"]);
}

#[test]
fn a_directory_that_receives_an_entry_meanwhile_is_kept() {
    let fixture = Fixture::new();
    fixture.file("top/a/old", "");
    let late = fixture.path("top/a/late");
    let all = remove_tree(fixture.root(), &name("top"), &mut |_, name, _| {
        if name.as_bytes() == b"a" {
            std::fs::write(&late, "").expect("a late file");
        }
        Ok(Visit::Remove)
    });
    assert!(!all.expect("done"));
    assert_eq!(everything(&fixture.path("")), ["top", "top/a", "top/a/late"]);
}

#[test]
fn the_depth_of_a_subtree_costs_no_open_handles() {
    let fixture = Fixture::in_memory();
    let mut dir = fixture.tree.dir(&fulmar_model::RelPath::root()).expect("the root");
    for _ in 0..2000 {
        dir.make_dir(&name("d"), 0o755).expect("a directory");
        dir = dir.dir(&name("d")).expect("the directory");
    }
    let mut most = 0;
    let all = remove_tree(fixture.root(), &name("d"), &mut |_, _, _| {
        most = most.max(std::fs::read_dir("/proc/self/fd").expect("handles").count());
        Ok(Visit::Remove)
    });
    assert!(all.expect("removed"));
    assert!(most < 200, "{most} handles open");
}
