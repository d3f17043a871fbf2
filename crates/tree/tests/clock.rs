//! What an equal ctime proves, measured on this kernel.

mod support;

use fulmar_model::Timestamp;
use fulmar_tree::{Clock, Tree};
use rustix::fs::XattrFlags;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use support::{Fixture, name, stat_of};

const ROUNDS: u32 = 2000;

/// What is looked at, and a change to it that differs from one round to the next.
type Change<'a> = (&'static str, &'static str, Box<dyn Fn(u32) -> std::io::Result<()> + 'a>);

fn changes(fixture: &Fixture) -> Vec<Change<'_>> {
    let path = |of: &str| fixture.path(of);
    let add_or_remove =
        |add: &'static dyn Fn(&Fixture) -> std::io::Result<()>| -> Box<dyn Fn(u32) -> std::io::Result<()>> {
            Box::new(move |round| match round % 2 {
                0 => add(fixture),
                _ => fs::remove_file(fixture.path("dir/entry")),
            })
        };
    vec![
        ("write", "file", Box::new(move |round| fs::write(path("file"), round.to_le_bytes()))),
        (
            "mode",
            "file",
            Box::new(move |round| fs::set_permissions(path("file"), fs::Permissions::from_mode(0o600 | (round & 7)))),
        ),
        (
            "time",
            "file",
            Box::new(move |round| {
                let to = std::time::UNIX_EPOCH + std::time::Duration::from_secs(round.into());
                fs::File::open(path("file"))?.set_modified(to)
            }),
        ),
        (
            "attribute",
            "file",
            Box::new(move |round| {
                Ok(rustix::fs::setxattr(path("file"), "user.a", &round.to_le_bytes(), XattrFlags::empty())?)
            }),
        ),
        ("link of the file", "file", add_or_remove(&|at| fs::hard_link(at.path("file"), at.path("dir/entry")))),
        ("link", "dir", add_or_remove(&|at| fs::hard_link(at.path("file"), at.path("dir/entry")))),
        ("file", "dir", add_or_remove(&|at| fs::write(at.path("dir/entry"), ""))),
        ("symlink", "dir", add_or_remove(&|at| symlink("x", at.path("dir/entry")))),
        (
            "directory",
            "dir",
            Box::new(move |round| match round % 2 {
                0 => fs::create_dir(path("dir/entry")),
                _ => fs::remove_dir(path("dir/entry")),
            }),
        ),
        (
            "rename in and out",
            "dir",
            Box::new(move |round| match round % 2 {
                0 => fs::rename(path("moved"), path("dir/moved")),
                _ => fs::rename(path("dir/moved"), path("moved")),
            }),
        ),
    ]
}

#[test]
fn where_times_are_multigrain_every_change_after_a_look_moves_the_ctime() {
    for fixture in [Fixture::new(), Fixture::in_memory()] {
        if !fixture.tree.multigrain() {
            continue;
        }
        fixture.file("file", "").file("moved", "").mkdir("dir");
        for (what, of, change) in changes(&fixture) {
            for round in 0..ROUNDS {
                let before = stat_of(fixture.root(), of);
                change(round).expect(what);
                assert!(stat_of(fixture.root(), of).ctime > before.ctime, "{what}, round {round}");
            }
        }
    }
}

/// Linux 6.18: removing an entry stamps the directory with the time of the removed inode, which is a coarse one.
#[test]
fn a_tmpfs_is_not_trusted_with_its_directories() {
    assert!(!Fixture::in_memory().tree.multigrain());
}

#[test]
fn without_multigrain_times_a_look_proves_something_only_after_the_tick_of_the_change() {
    let fixture = Fixture::new();
    fixture.file("file", "");
    let stat = stat_of(fixture.root(), "file");
    let later = Timestamp::new(stat.ctime.seconds + 1, 0);
    assert!(fixture.tree.is_settled(&stat, later));
    assert_eq!(fixture.tree.is_settled(&stat, stat.ctime), fixture.tree.multigrain());
    let other = Tree::open(std::path::Path::new("/proc/self")).expect("a root");
    assert!(!other.multigrain());
    assert!(!other.is_settled(&stat, stat.ctime));
    assert!(other.is_settled(&stat, later));
}

#[test]
fn a_change_is_never_stamped_before_the_clock_that_was_read_before_it() {
    let fixture = Fixture::new();
    for _ in 0..2000 {
        let before = Clock::coarse_now();
        fixture.file("file", "x");
        assert!(fixture.root().stat(&name("file")).expect("a stat").is_some_and(|stat| stat.ctime >= before));
    }
}
