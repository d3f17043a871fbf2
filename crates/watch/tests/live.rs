//! What is done to a tree is told, under the name it has then.

mod watched;

use fulmar_model::{Filter, Profile};
use fulmar_watch::{Event, Pace, RescanReason, RootGone, Watcher};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, openat, renameat_with};
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use watched::{linked, options, path, rescan, settled, tells, watched, watched_with, writing};

#[test]
fn files_in_directories_made_in_one_go_are_all_told() {
    let mut tree = watched();
    for n in 0..500 {
        let deep = tree.at(&format!("u{n}/b/c"));
        fs::create_dir_all(&deep).expect("directories");
        fs::write(deep.join("mail"), b"x").expect("a file");
        if n % 50 == 0 {
            // Sometimes the thread is behind, sometimes it is not.
            tree.flush();
        }
    }
    for n in 500..1000 {
        let deep = tree.at(&format!("u{n}/b/c"));
        fs::create_dir_all(&deep).expect("directories");
        fs::write(deep.join("mail"), b"x").expect("a file");
    }
    let events = tree.flush();
    for n in 500..1000 {
        for of in ["", "/b", "/b/c", "/b/c/mail"] {
            assert!(tells(&events, &format!("u{n}{of}")), "u{n}{of}");
        }
    }
    let coverage = tree.watcher.coverage();
    assert_eq!((coverage.known, coverage.watched, coverage.polled), (3001, 3001, 0));
}

#[test]
fn a_flush_comes_after_all_that_happened_before_it() {
    let mut tree = watched();
    fs::create_dir(tree.at("d")).expect("a directory");
    for n in 0..300 {
        let (name, other) = (format!("d/f{n}"), format!("d/g{n}"));
        tree.flush();
        let told = match n % 5 {
            0 => fs::write(tree.at(&name), b"x").map(|()| vec![name]),
            1 => fs::create_dir(tree.at(&name)).map(|()| vec![name]),
            2 => symlink("nowhere", tree.at(&name)).map(|()| vec![name]),
            3 => fs::rename(tree.at(&format!("d/f{}", n - 1)), tree.at(&other))
                .map(|()| vec![other, format!("d/f{}", n - 1)]),
            _ => fs::remove_file(tree.at(&format!("d/g{}", n - 1))).map(|()| vec![format!("d/g{}", n - 1)]),
        };
        let events = tree.flush();
        for path in told.expect("an operation") {
            assert!(tells(&events, &path), "{n}: {path}: {events:?}");
        }
    }
}

#[test]
fn of_a_rename_the_new_path_is_told_first_and_the_old_one_right_behind() {
    let mut tree = watched_with(Filter::default(), options(), 1 << 10, |root| {
        fs::create_dir_all(root.join("new")).expect("a directory");
        fs::create_dir_all(root.join("cur")).expect("a directory");
        fs::write(root.join("new/mail"), b"x").expect("a file");
        fs::write(root.join("cur/old"), b"x").expect("a file");
    });
    fs::rename(tree.at("new/mail"), tree.at("cur/mail:2,S")).expect("a rename");
    fs::rename(tree.at("cur/mail:2,S"), tree.at("cur/old")).expect("a rename over a file");
    assert_eq!(
        tree.flush(),
        [settled("cur/mail:2,S"), settled("new/mail"), settled("cur/old"), settled("cur/mail:2,S")]
    );
}

#[test]
fn renames_made_by_several_at_once_are_all_paired() {
    let mut tree = watched_with(Filter::default(), options(), 1 << 16, |root| {
        for n in 0..4 {
            for side in ["from", "to"] {
                fs::create_dir_all(root.join(format!("{n}/{side}"))).expect("a directory");
            }
            for file in 0..500 {
                fs::write(root.join(format!("{n}/from/{file}")), b"").expect("a file");
            }
        }
    });
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (from, to) = (tree.at(&format!("{n}/from")), tree.at(&format!("{n}/to")));
            scope.spawn(move || {
                for file in 0..500 {
                    fs::rename(from.join(file.to_string()), to.join(file.to_string())).expect("a rename");
                }
            });
        }
    });
    let events = tree.flush();
    assert_eq!(events.len(), 4 * 500 * 2);
    for pair in events.chunks(2) {
        let [Event::Changed { path: new, .. }, Event::Changed { path: old, .. }] = pair else { panic!("{pair:?}") };
        let (new, old) = (new.to_string(), old.to_string());
        assert_eq!(new.replace("to", "from"), old);
    }
}

#[test]
fn below_a_renamed_directory_changes_are_told_under_the_new_path() {
    let mut tree = watched_with(Filter::default(), options(), 1 << 10, |root| {
        fs::create_dir_all(root.join("a/b/c/d/e")).expect("directories");
        fs::create_dir_all(root.join("z")).expect("a directory");
    });
    fs::rename(tree.at("a/b"), tree.at("z/y")).expect("a rename");
    assert_eq!(tree.flush(), [watched::moved("z/y"), settled("a/b")]);
    fs::write(tree.at("z/y/c/d/e/file"), b"x").expect("a file");
    assert!(tells(&tree.flush(), "z/y/c/d/e/file"));
    fs::rename(tree.at("z"), tree.at("x")).expect("a rename");
    fs::set_permissions(tree.at("x/y/c/d"), fs::Permissions::from_mode(0o700)).expect("chmod");
    assert_eq!(tree.flush(), [watched::moved("x"), settled("z"), settled("x/y/c/d")]);
}

#[test]
fn a_directory_moved_out_is_forgotten_and_moved_back_in_is_told_whole() {
    let mut tree = watched_with(Filter::default(), options(), 1 << 10, |root| {
        fs::create_dir_all(root.join("a/b")).expect("directories");
        fs::write(root.join("a/b/file"), b"x").expect("a file");
    });
    fs::rename(tree.at("a"), tree.outside("a")).expect("a rename");
    assert_eq!(tree.flush(), [watched::gone("a")]);
    assert_eq!(tree.watcher.coverage().watched, 1);
    fs::write(tree.outside("a/b/unseen"), b"x").expect("a file");
    assert_eq!(tree.flush(), []);
    fs::rename(tree.outside("a"), tree.at("a2")).expect("a rename");
    let events = tree.flush();
    assert!(events.contains(&watched::moved("a2")), "{events:?}");
    for of in ["a2/b", "a2/b/file", "a2/b/unseen"] {
        assert!(events.contains(&settled(of)), "{of}: {events:?}");
    }
    fs::write(tree.at("a2/b/seen"), b"x").expect("a file");
    assert!(tells(&tree.flush(), "a2/b/seen"));
}

#[test]
fn a_directory_removed_and_made_again_is_watched_again() {
    let mut tree = watched();
    for n in 0..200 {
        fs::create_dir_all(tree.at("a/b")).expect("directories");
        fs::write(tree.at("a/b/file"), n.to_string()).expect("a file");
        if n % 3 == 0 {
            tree.flush();
        }
        fs::remove_dir_all(tree.at("a")).expect("removed");
        if n % 5 == 0 {
            tree.flush();
        }
    }
    fs::create_dir_all(tree.at("a/b")).expect("directories");
    tree.flush();
    fs::write(tree.at("a/b/last"), b"x").expect("a file");
    assert!(tells(&tree.flush(), "a/b/last"));
    assert_eq!(tree.watcher.coverage().watched, 3);
}

#[test]
fn directories_that_change_places_keep_being_watched() {
    let mut tree = watched_with(Filter::default(), options(), 1 << 10, |root| {
        fs::create_dir_all(root.join("a/in-a")).expect("directories");
        fs::create_dir_all(root.join("b/in-b")).expect("directories");
    });
    renameat_with(CWD, tree.at("a"), CWD, tree.at("b"), RenameFlags::EXCHANGE).expect("an exchange");
    let events = tree.flush();
    assert!(tells(&events, "a") && tells(&events, "b"), "{events:?}");
    fs::write(tree.at("a/in-b/1"), b"").expect("a file");
    fs::write(tree.at("b/in-a/2"), b"").expect("a file");
    let events = tree.flush();
    assert!(tells(&events, "a/in-b/1") && tells(&events, "b/in-a/2"), "{events:?}");
    assert_eq!(tree.watcher.coverage().watched, 5);
}

#[test]
fn a_directory_renamed_over_an_empty_one_takes_its_place() {
    let mut tree = watched_with(Filter::default(), options(), 1 << 10, |root| {
        fs::create_dir_all(root.join("a/sub")).expect("directories");
        fs::create_dir_all(root.join("b")).expect("a directory");
    });
    fs::rename(tree.at("a"), tree.at("b")).expect("a rename");
    let events = tree.flush();
    assert_eq!(events.get(..2), Some(&[watched::moved("b"), settled("a")][..]), "{events:?}");
    fs::write(tree.at("b/sub/file"), b"").expect("a file");
    assert!(tells(&tree.flush(), "b/sub/file"));
    assert_eq!(tree.watcher.coverage().watched, 3);
}

#[test]
fn a_file_under_way_is_told_as_writing_and_its_end_as_settled() {
    let mut tree = watched();
    let mut file = fs::File::create(tree.at("f")).expect("a file");
    assert_eq!(tree.flush(), [writing("f")]);
    for _ in 0..100 {
        file.write_all(b"x").expect("written");
    }
    let events = tree.flush();
    assert!(events.iter().all(|event| *event == writing("f")) && !events.is_empty(), "{events:?}");
    drop(file);
    assert_eq!(tree.flush(), [settled("f")]);
}

#[test]
fn links_and_nameless_files_given_a_name_are_told() {
    let mut tree = watched_with(Filter::default(), options(), 1 << 10, |root| {
        fs::create_dir(root.join("d")).expect("a directory");
        fs::write(root.join("f"), b"x").expect("a file");
    });
    fs::hard_link(tree.at("f"), tree.at("d/link")).expect("a link");
    assert_eq!(tree.flush(), [linked("d/link", tree.at("f"))], "a second name is complete at once");
    let nameless =
        openat(CWD, tree.at("d"), OFlags::TMPFILE | OFlags::WRONLY, Mode::from_raw_mode(0o600)).expect("O_TMPFILE");
    rustix::io::write(&nameless, b"content").expect("written");
    tree.flush();
    let by_number = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&nameless));
    linkat(CWD, by_number, CWD, tree.at("d/named"), AtFlags::SYMLINK_FOLLOW).expect("a name");
    assert!(tells(&tree.flush(), "d/named"));
}

#[test]
fn a_name_beside_others_is_told_with_its_inode_however_it_came() {
    let mut tree = watched_with(Filter::default(), options(), 1 << 10, |root| {
        fs::create_dir(root.join("d")).expect("a directory");
        fs::write(root.join("f"), b"x").expect("a file");
        symlink("nowhere", root.join("l")).expect("a symlink");
    });
    let (file, link) = (tree.at("f"), tree.at("l"));
    fs::hard_link(&file, tree.at("d/f")).expect("a link");
    fs::hard_link(&link, tree.at("d/l")).expect("a link");
    assert_eq!(tree.flush(), [linked("d/f", &file), linked("d/l", &link)]);
    fs::rename(tree.at("d/f"), tree.at("d/g")).expect("a rename");
    assert_eq!(tree.flush(), [linked("d/g", &file), settled("d/f")], "renamed");
    fs::rename(tree.at("d"), tree.outside("d")).expect("a rename");
    tree.flush();
    fs::rename(tree.outside("d"), tree.at("back")).expect("a rename");
    let events = tree.flush();
    for event in [linked("back/g", &file), linked("back/l", &link)] {
        assert!(events.contains(&event), "listed in a directory that arrived: {event:?} in {events:?}");
    }
    for name in ["back/g", "back/l"] {
        fs::remove_file(tree.at(name)).expect("removed");
    }
    tree.flush();
    fs::rename(&file, tree.at("g")).expect("a rename");
    assert_eq!(tree.flush(), [settled("g"), settled("f")], "the only name");
}

#[test]
fn removing_and_setting_metadata_are_told() {
    let mut tree = watched_with(Filter::default(), options(), 1 << 10, |root| {
        fs::create_dir(root.join("d")).expect("a directory");
        fs::write(root.join("f"), b"x").expect("a file");
        fs::write(root.join("g"), b"x").expect("a file");
    });
    fs::set_permissions(tree.at("f"), fs::Permissions::from_mode(0o600)).expect("chmod");
    fs::set_permissions(tree.at("d"), fs::Permissions::from_mode(0o700)).expect("chmod");
    fs::set_permissions(tree.at(""), fs::Permissions::from_mode(0o700)).expect("chmod");
    assert_eq!(tree.flush(), [settled("f"), settled("d"), settled("")]);
    fs::remove_file(tree.at("g")).expect("removed");
    assert!(tree.flush().contains(&watched::gone("g")));
}

#[test]
fn names_are_bytes() {
    let mut tree = watched();
    let long = vec![b'x'; 255];
    for name in [&b"new\nline"[..], b"\xff\xfe", b"esc\x1b[31m", b" ", b"-rf", b"...", &long] {
        let at = tree.at("").join(OsStr::from_bytes(name));
        fs::create_dir(&at).expect("a directory");
        fs::write(at.join(OsStr::from_bytes(name)), b"x").expect("a file");
        let events = tree.flush();
        let inner = path([name, name].join(&b'/'));
        assert!(
            events.iter().any(|event| matches!(event, Event::Changed { path, .. } if *path == inner)),
            "{events:?}"
        );
    }
}

#[test]
fn paths_longer_than_the_kernel_takes_are_watched() {
    let mut tree = watched();
    let name = "n".repeat(200);
    let mut at = openat(CWD, tree.at(""), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).expect("the root");
    let mut deep = Vec::new();
    for depth in 0..40 {
        rustix::fs::mkdirat(&at, &name, Mode::from_raw_mode(0o755)).expect("a directory");
        at = openat(&at, &name, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).expect("a directory");
        deep.push(name.clone());
        if depth % 7 == 0 {
            tree.flush();
        }
    }
    tree.flush();
    let file = openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o644)).expect("a file");
    drop(file);
    assert!(tree.flush().contains(&settled(&format!("{}/file", deep.join("/")))));
    assert_eq!(tree.watcher.coverage().watched, 41);
    // Above all: renaming the top of it all.
    fs::rename(tree.at(&name), tree.at("short")).expect("a rename");
    tree.flush();
    let file = openat(&at, "file2", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o644)).expect("a file");
    drop(file);
    assert!(tree.flush().contains(&settled(&format!("short/{}/file2", deep.get(1..).expect("forty").join("/")))));
}

#[test]
fn what_is_excluded_is_neither_watched_nor_told() {
    let filter = Filter::new(Profile::Plain, [&b"/cache"[..], b"*.tmp"]).expect("patterns");
    let mut tree = watched_with(filter, options(), 1 << 10, |root| {
        fs::create_dir_all(root.join("cache/deep")).expect("directories");
        fs::create_dir_all(root.join(".fulmar/stage")).expect("directories");
        fs::create_dir_all(root.join("kept")).expect("directories");
    });
    assert_eq!(tree.watcher.coverage().watched, 2);
    fs::write(tree.at("cache/deep/x"), b"").expect("a file");
    fs::write(tree.at(".fulmar/stage/x"), b"").expect("a file");
    fs::write(tree.at("kept/x.tmp"), b"").expect("a file");
    assert_eq!(tree.flush(), []);
    fs::rename(tree.at("kept/x.tmp"), tree.at("kept/x")).expect("a rename");
    assert_eq!(tree.flush(), [settled("kept/x")], "coming from an excluded name is appearing");
    fs::rename(tree.at("cache"), tree.at("open")).expect("a rename");
    let events = tree.flush();
    assert!(tells(&events, "open/deep/x"), "{events:?}");
    fs::rename(tree.at("open"), tree.at("cache")).expect("a rename");
    assert_eq!((tree.flush(), tree.watcher.coverage().watched), (vec![watched::gone("open")], 2));
}

#[test]
fn patterns_that_name_places_follow_a_renamed_directory() {
    let filter = Filter::new(Profile::Plain, [&b"/a/build"[..], b"/b/cache"]).expect("patterns");
    let mut tree = watched_with(filter, options(), 1 << 10, |root| {
        for deep in ["a/build/x", "a/cache/x"] {
            fs::create_dir_all(root.join(deep)).expect("directories");
        }
    });
    assert_eq!(tree.watcher.coverage().watched, 4);
    fs::rename(tree.at("a"), tree.at("b")).expect("a rename");
    let events = tree.flush();
    assert!(tells(&events, "b/build/x"), "{events:?}");
    fs::write(tree.at("b/build/x/f"), b"").expect("a file");
    fs::write(tree.at("b/cache/x/f"), b"").expect("a file");
    let events = tree.flush();
    assert!(tells(&events, "b/build/x/f") && !tells(&events, "b/cache/x/f"), "{events:?}");
}

#[test]
fn a_stalled_receiver_leads_to_one_rescan_and_then_live_events_again() {
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .expect("a limit")
        .trim()
        .parse()
        .expect("a number");
    let mut tree =
        watched_with(Filter::default(), options(), 4, |root| fs::create_dir(root.join("d")).expect("a directory"));
    // Two names in turn, so that neither the kernel nor the watcher merges them.
    for n in 0..limit + 30_000 {
        fs::set_permissions(tree.at(if n % 2 == 0 { "d" } else { "" }), fs::Permissions::from_mode(0o755))
            .expect("chmod");
    }
    fs::create_dir_all(tree.at("unseen/deep")).expect("directories");
    let events = tree.flush();
    assert!(events.contains(&rescan("", RescanReason::Overflow)), "{} events", events.len());
    assert!(tree.watcher.coverage().overflows >= 1);
    fs::write(tree.at("unseen/deep/file"), b"x").expect("a file");
    let events = tree.flush();
    assert!(events.contains(&settled("unseen/deep/file")), "{events:?}");
}

#[test]
fn the_end_of_the_root_is_told_and_flushes_are_answered_after_it() {
    type Act = fn(&std::path::Path, &std::path::Path) -> std::io::Result<()>;
    let cases: [(Act, &[RootGone]); 3] = [
        (|root, outside| fs::rename(root, outside.join("elsewhere")), &[RootGone::Moved]),
        (|root, _| fs::remove_dir_all(root), &[RootGone::Deleted]),
        (|root, outside| fs::rename(root, outside.join("x")).and_then(|()| fs::create_dir(root)), &[RootGone::Moved]),
    ];
    for (act, reasons) in cases {
        let mut tree = watched_with(Filter::default(), options(), 64, |root| {
            fs::create_dir_all(root.join("a/b")).expect("directories")
        });
        // Another holder of the root, as the rest of the program is: the kernel does not tell of its removal then.
        let _held = fs::File::open(tree.at("")).expect("the root");
        act(&tree.at(""), &tree.outside("")).expect("an end");
        let events = tree.flush();
        let Some(Event::RootGone { reason }) = events.last() else { panic!("{events:?}") };
        assert!(reasons.contains(reason), "{events:?}");
        assert_eq!(tree.flush(), []);
        assert_eq!(tree.watcher.coverage().watched, 0);
    }
}

#[test]
fn a_removed_root_is_noticed_without_a_flush() {
    let tree = watched();
    let _held = fs::File::open(tree.at("")).expect("the root");
    fs::remove_dir(tree.at("")).expect("removed");
    tree.wait_for(|event| *event == Event::RootGone { reason: RootGone::Deleted });
}

#[test]
fn a_watcher_whose_receiver_stalls_can_be_stopped() {
    let tree = watched_with(Filter::default(), options(), 1, |_| ());
    for n in 0..100 {
        fs::write(tree.at(&n.to_string()), b"").expect("a file");
    }
    tree.watcher.stop().expect("an orderly end");
}

#[test]
fn without_a_receiver_the_thread_ends() {
    let directory = tempfile::tempdir().expect("a directory");
    let (out, events) = std::sync::mpsc::sync_channel(1);
    let watcher = Watcher::start(directory.path(), Filter::default(), options(), out).expect("a watcher");
    drop(events);
    let deadline = std::time::Instant::now() + watched::DEADLINE;
    while watcher.flush(1).is_ok() {
        assert!(std::time::Instant::now() < deadline, "the thread still takes requests");
        std::thread::yield_now();
    }
    watcher.stop().expect("an orderly end");
}

#[test]
fn a_root_that_is_no_directory_is_an_error() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("f"), b"").expect("a file");
    for name in ["f", "missing"] {
        let (out, _events) = std::sync::mpsc::sync_channel(1);
        let error =
            Watcher::start(&directory.path().join(name), Filter::default(), options(), out).expect_err("no directory");
        assert!(error.to_string().starts_with("cannot open the root"), "{error}");
    }
}

#[test]
fn the_pace_of_a_directory_and_of_special_files_is_settled() {
    let mut tree = watched();
    fs::create_dir(tree.at("d")).expect("a directory");
    symlink("x", tree.at("l")).expect("a symlink");
    rustix::fs::mknodat(CWD, tree.at("p"), rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("a fifo");
    let paces: Vec<Event> = tree.flush();
    assert_eq!(paces, [settled("d"), settled("l"), settled("p")]);
    assert!(paces.iter().all(|event| matches!(event, Event::Changed { pace: Pace::Settled, .. })));
}
