//! What takes root to arrange: directories that cannot be read, and mounts. Each in a thread with credentials or a mount
//! namespace of its own, which the watching thread inherits. Without root they say so and pass.

mod watched;

use fulmar_model::Filter;
use fulmar_watch::RescanReason;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;
use watched::{DEADLINE, options, rescan, settled, tells, watched_with};

const NOBODY: libc::uid_t = 65534;

fn become_nobody() -> bool {
    // SAFETY: changes the file system identity of the calling thread only; no memory is involved.
    #[expect(unsafe_code, reason = "no safe binding for a thread's own identity")]
    unsafe {
        libc::setfsuid(NOBODY);
        libc::setfsuid(NOBODY) == NOBODY as i32
    }
}

fn own_mounts() -> bool {
    // SAFETY: the new mount namespace belongs to this thread; no file descriptor changes hands.
    #[expect(unsafe_code, reason = "unsharing is unsafe in general")]
    let unshared = unsafe { unshare_unsafe(UnshareFlags::NEWNS) };
    unshared.is_ok() && mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).is_ok()
}

#[test]
fn a_directory_that_cannot_be_read_is_polled_until_it_can() {
    if !fulmar_testkit::need_root("mode 000 that stops somebody") {
        return;
    }
    let open = |at: &std::path::Path, mode| fs::set_permissions(at, fs::Permissions::from_mode(mode)).expect("chmod");
    let closed = std::sync::Mutex::new(None);
    let mut tree = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let arrange = |root: &std::path::Path| {
                fs::create_dir_all(root.join("closed/sub")).expect("directories");
                open(&root.join("closed"), 0o700);
                open(root.parent().expect("the temporary directory"), 0o755);
                *closed.lock().expect("no panic") = Some(root.join("closed"));
                assert!(become_nobody());
            };
            watched_with(Filter::default(), options(), 1 << 10, arrange)
        });
        thread.join().expect("a watcher")
    });
    let closed = closed.into_inner().expect("no panic").expect("arranged");
    let coverage = tree.watcher.coverage();
    assert_eq!((coverage.known, coverage.watched, coverage.polled, coverage.limit_reached), (2, 1, 1, false));
    let events = tree.flush();
    assert!(events.contains(&rescan("closed", RescanReason::Unreadable)), "{events:?}");
    fs::write(closed.join("sub/file"), b"x").expect("a file");
    assert!(tells(&tree.flush(), "closed/sub/file"), "a flush polls");

    open(&closed, 0o755);
    tree.wait_for(|event| *event == rescan("closed", RescanReason::Healed));
    fs::write(closed.join("sub/file"), b"y").expect("a file");
    assert!(tree.flush().contains(&settled("closed/sub/file")));
    assert_eq!(tree.watcher.coverage().watched, 3);
}

#[test]
fn mounts_inside_are_not_entered_and_a_directory_mounted_twice_is_polled() {
    std::thread::spawn(|| {
        if !own_mounts() {
            fulmar_testkit::skipped("mounting needs root");
            return;
        }
        let mut tree = watched_with(Filter::default(), options(), 1 << 10, |root| {
            for name in ["a/sub", "b", "other", "own", "deep/loop"] {
                fs::create_dir_all(root.join(name)).expect("directories");
            }
            mount_bind(root.join("a"), root.join("b")).expect("a bind mount");
            mount_bind(root, root.join("deep/loop")).expect("a bind mount");
            mount("none", root.join("other"), "tmpfs", MountFlags::empty(), None).expect("a tmpfs");
            fs::create_dir(root.join("other/inner")).expect("a directory");
        });
        // The root, a or b, its sub, own, deep; polled: the other one, and the root within itself.
        let coverage = tree.watcher.coverage();
        assert_eq!((coverage.watched, coverage.polled), (5, 2), "{coverage:?}");
        let events = tree.flush();
        assert!(events.contains(&rescan("deep/loop", RescanReason::MountedTwice)), "{events:?}");
        fs::write(tree.at("a/sub/file"), b"x").expect("a file");
        let events = tree.flush();
        assert!(tells(&events, "a/sub/file") && tells(&events, "b/sub/file"), "{events:?}");
        for mounted in ["b", "deep/loop", "other"] {
            unmount(tree.at(mounted), UnmountFlags::DETACH).expect("unmounted");
        }
        let deadline = Instant::now() + DEADLINE;
        // The root, a, its sub, b, other, own, deep, loop.
        while tree.watcher.coverage().watched < 8 {
            assert!(Instant::now() < deadline, "{:?}", tree.watcher.coverage());
            tree.flush();
        }
        tree.flush();
        assert_eq!(tree.watcher.coverage().polled, 0);
        fs::write(tree.at("b/file"), b"x").expect("a file");
        fs::write(tree.at("a/sub/file"), b"x").expect("a file");
        let events = tree.flush();
        assert!(tells(&events, "b/file") && events.contains(&settled("a/sub/file")), "{events:?}");
    })
    .join()
    .expect("the test");
}
