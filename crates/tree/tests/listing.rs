//! Listings and walks see every name once, whole or in parts.

mod support;

use fulmar_model::{Name, RelPath};
use fulmar_tree::{Dir, Names, Part, Step, Walk, walk_together};
use proptest::prelude::*;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use support::{Fixture, is_root, name, rel};

fn list_in_parts(dir: &Dir, of: u32) -> Vec<Name> {
    let mut all: Vec<Name> =
        (0..of).flat_map(|index| dir.names(Part::new(index, of).expect("a part")).expect("names")).collect();
    all.sort();
    all
}

/// Paths and numbers of entries, in the order of the walk.
fn steps(walk: Walk) -> Vec<(String, usize)> {
    walk.map(|step| match step {
        Step::Listing(listing) => (listing.path.to_string(), listing.entries.len()),
        Step::Unreadable { path, error } => panic!("{path}: {error}"),
    })
    .collect()
}

#[test]
fn hostile_names_are_listed_as_they_are() {
    let fixture = Fixture::new();
    let mut hostile: Vec<Vec<u8>> = vec![
        b"new\nline".into(),
        b"\x1b[31mred".into(),
        b"\xff\xfe".into(),
        b" ".into(),
        b"-rf".into(),
        b"...".into(),
        vec![b'x'; 255],
        "\u{202e}txt".as_bytes().into(),
        b"a\\b".into(),
    ];
    let stage = fulmar_tree::Private::open(&fixture.tree).and_then(|private| private.stage()).expect("a stage");
    for bytes in &hostile {
        let (staged, _) = stage.file(0o600).and_then(|file| file.finish(0)).expect("a file");
        staged.publish_new(fixture.root(), &name(bytes)).expect("a name");
        assert!(fixture.tree.stat(&RelPath::parse(bytes).expect("a path")).expect("a stat").is_some());
    }
    hostile.push(b".fulmar".into());
    hostile.sort();
    let names = fixture.root().names(Part::WHOLE).expect("names");
    assert_eq!(names.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>(), hostile);
    assert_eq!(fixture.root().count().expect("a count"), hostile.len() as u64);
}

#[test]
fn concurrent_listings_of_one_handle_do_not_disturb_each_other() {
    let fixture = Fixture::in_memory();
    for number in 0..3000 {
        fixture.file(&format!("{number:05}"), "");
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(fixture.root().names(Part::WHOLE).expect("names").len(), 3000));
        }
    });
}

#[test]
fn a_directory_too_large_for_one_part_is_walked_in_parts_and_removed() {
    let fixture = Fixture::in_memory();
    let dir = fixture.mkdir("big").root().dir(&name("big")).expect("a directory");
    for number in 0..65_537 {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            fixture.path(&format!("big/{number}")),
            rustix::fs::FileType::RegularFile,
            0o600.into(),
            0,
        )
        .expect("a file");
    }
    fixture.file("big/z/deep", "");
    assert_eq!(dir.names_if_few().expect("a count"), Names::TooMany(65_538));
    let walked = steps(Walk::new(&fixture.tree, &rel("big")));
    let sizes: Vec<usize> = walked.iter().filter(|(path, _)| path == "big").map(|(_, size)| *size).collect();
    assert_eq!((sizes.len(), sizes.iter().sum::<usize>()), (2, 65_538));
    assert!(sizes.iter().all(|size| (30_000..36_000).contains(size)), "{sizes:?}");
    assert_eq!(walked.iter().filter(|(path, _)| path == "big/z").count(), 1);
    let all_went =
        fulmar_tree::remove_tree(fixture.root(), &name("big"), &mut |_, _, _| Ok(fulmar_tree::Visit::Remove));
    assert!(all_went.expect("removed"));
    assert_eq!(fixture.root().count().expect("a count"), 0);
}

#[test]
fn a_walk_goes_depth_first_in_name_order_and_enters_what_it_is_told() {
    let fixture = Fixture::new();
    fixture.file("b/x/1", "").file("b/y/2", "").file("a/3", "").file("c", "").mkdir("skip/me");
    std::os::unix::fs::symlink("b", fixture.path("link")).expect("a symlink");
    let enter = Arc::new(|path: &RelPath, _: &_| path.as_bytes() != b"skip");
    let walked = steps(Walk::filtered(&fixture.tree, &RelPath::root(), enter));
    let expected = [(".", 5), ("a", 1), ("b", 2), ("b/x", 1), ("b/y", 1)].map(|(path, count)| (path.to_owned(), count));
    assert_eq!(walked, expected);
    assert_eq!(steps(Walk::new(&fixture.tree, &rel("b/y"))), [("b/y".to_owned(), 1)]);
    assert_eq!(steps(Walk::new(&fixture.tree, &rel("gone"))), []);
}

#[test]
fn a_walk_by_several_threads_finds_the_same_and_every_thread_gets_some() {
    let fixture = Fixture::in_memory();
    for number in 0..600 {
        fixture.file(&format!("{}/{}/{number}", number % 7, number % 30), "");
    }
    let mut expected = steps(Walk::new(&fixture.tree, &RelPath::root()));
    expected.sort();
    for threads in 1..4 {
        // Nobody is so fast that nothing is left for the others.
        let (started, changed) = (Mutex::new(0), Condvar::new());
        let begin = |found: &mut Vec<(String, usize)>, _: &mut Walk, step: Step| {
            let Step::Listing(listing) = step else { return Err("unreadable") };
            let mut count = started.lock().expect("no panic");
            *count += usize::from(found.is_empty());
            changed.notify_all();
            let all = changed.wait_timeout_while(count, Duration::from_millis(50), |count| *count < threads);
            drop(all);
            found.push((listing.path.to_string(), listing.entries.len()));
            Ok(())
        };
        let walk = Walk::new(&fixture.tree, &RelPath::root());
        let mut found = vec![Vec::new(); threads];
        walk_together(walk, &mut found, begin).expect("no error");
        assert!(found.iter().all(|some| !some.is_empty()), "{found:?}");
        let mut found = found.concat();
        found.sort();
        assert_eq!(found, expected);
    }
    let failing = |_: &mut (), _: &mut Walk, _| Err("no");
    let walk = || Walk::new(&fixture.tree, &RelPath::root());
    assert_eq!(walk_together(walk(), &mut [(), ()], failing), Err("no"));
    let panics = std::panic::catch_unwind(|| {
        walk_together(walk(), &mut [(), ()], |(), _, _| panic!("a fault")) as Result<_, ()>
    });
    assert!(panics.is_err());
}

#[test]
fn an_error_of_one_thread_ends_the_others_though_they_have_nothing_to_share() {
    const DEEP: usize = 1500;
    let fixture = Fixture::in_memory();
    fixture.mkdir("deep/d").mkdir("other");
    let (deepest, never) = (Mutex::new(0), Condvar::new());
    let work = |(): &mut (), _: &mut Walk, step: Step| {
        let Step::Listing(listing) = step else { return Ok(()) };
        if listing.path == rel("other") {
            return Err("no");
        }
        let depth = listing.path.names().count();
        // Below what is in it there is always one more, and time for another thread to look into the other one.
        if (1..=DEEP).contains(&depth) {
            std::fs::create_dir(fixture.path(&listing.path.to_string()).join("d/d")).expect("a directory");
            let deepest = deepest.lock().expect("no panic");
            let (mut deepest, _) = never.wait_timeout(deepest, Duration::from_millis(5)).expect("no panic");
            *deepest = depth;
        }
        Ok(())
    };
    let ended = walk_together(Walk::new(&fixture.tree, &RelPath::root()), &mut [(), ()], work);
    let deepest = deepest.into_inner().expect("no panic");
    assert_eq!(ended, Err("no"));
    assert!(deepest < DEEP, "{deepest}");
}

#[test]
fn a_walk_passes_over_what_vanishes_and_what_is_on_another_device() {
    let fixture = Fixture::new();
    fixture.file("a/1", "").file("b/2", "").file("c/3", "");
    let mut walk = Walk::new(&fixture.tree, &RelPath::root());
    assert!(matches!(walk.next_dir(), Some(Step::Listing(root)) if root.path.is_root() && root.entries.len() == 3));
    std::fs::remove_dir_all(fixture.path("a")).expect("removed");
    std::fs::remove_dir_all(fixture.path("b")).expect("removed");
    std::os::unix::fs::symlink("c", fixture.path("b")).expect("a symlink");
    assert_eq!(steps(walk), [("c".to_owned(), 1)]);
    let tree = fulmar_tree::Tree::open(std::path::Path::new("/")).expect("the root");
    let only_proc = Arc::new(|path: &RelPath, _: &_| path.as_bytes().starts_with(b"proc"));
    assert_eq!(steps(Walk::filtered(&tree, &RelPath::root(), only_proc)).len(), 1);
}

#[test]
fn a_walk_reports_a_directory_it_may_not_read_and_goes_on() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new();
    fixture.file("a/1", "").file("b/2", "");
    use std::os::unix::fs::PermissionsExt;
    for (path, mode) in [("a", 0o000), ("b", 0o755), ("", 0o755)] {
        std::fs::set_permissions(fixture.path(path), std::fs::Permissions::from_mode(mode)).expect("a mode");
    }
    let walk = Walk::new(&fixture.tree, &RelPath::root());
    let found: Vec<String> = support::unprivileged(move || {
        walk.map(|step| match step {
            Step::Listing(listing) => listing.path.to_string(),
            Step::Unreadable { path, error } => format!("{path} {}", error.errno()),
        })
        .collect()
    });
    assert_eq!(found, [".", "a 13", "b"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..Default::default() })]
    #[test]
    fn parts_together_are_the_whole(names in proptest::collection::btree_set("[a-zA-Z0-9._:,=-]{3,20}", 0..60), of in 1u32..9) {
        let fixture = Fixture::in_memory();
        for name in &names {
            fixture.file(name, "");
        }
        let whole = fixture.root().names(Part::WHOLE).expect("names");
        prop_assert_eq!(whole.iter().map(ToString::to_string).collect::<Vec<_>>(), names.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(list_in_parts(fixture.root(), of), whole);
    }
}
