//! Random operations on a real directory, turn by turn, so that the watch tree can be compared with the file system at
//! every quiet moment. The seed is printed with every failure.

use super::*;
use crate::outbox::Outbox;
use crate::watcher::look_around;
use crate::{Event, Options};
use fulmar_model::Filter;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};

struct Bench {
    thread: Thread,
    requests: Sender<Request>,
    events: Receiver<Event>,
}

fn bench(root: &Path) -> Bench {
    let (out, events): (SyncSender<Event>, _) = mpsc::sync_channel(1 << 20);
    let (requests, received) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let outbox = Outbox::new(out, Arc::clone(&stop));
    let lookout = look_around(root, Filter::default(), &Options::default(), outbox).expect("a root");
    let thread = Thread {
        lookout,
        wake: Arc::new(eventfd(1, EventfdFlags::NONBLOCK).expect("an eventfd")),
        requests: received,
        stop,
        buffer: Buffer::new(),
        tokens: Vec::new(),
        looks: Vec::new(),
        root_checked: Instant::now(),
        cadence: Cadence::new(TURNS, TURNS_AT_ONCE, Instant::now()),
    };
    Bench { thread, requests, events }
}

impl Bench {
    /// Flushes and gives what was sent.
    fn flush(&mut self) -> Vec<Event> {
        self.requests.send(Request::Flush(0)).expect("the thread is here");
        rustix::io::write(&self.thread.wake, &1u64.to_ne_bytes()).expect("an eventfd");
        self.thread.turn().expect("the root is there");
        self.events.try_iter().collect()
    }

    /// Path of every directory in the watch tree, and its watch.
    fn tree(&self) -> BTreeMap<PathBuf, Option<i32>> {
        let tree = &self.thread.lookout.tree;
        let mut all = BTreeMap::new();
        let mut pending = vec![tree.root()];
        while let Some(id) = pending.pop() {
            let mut path = Vec::new();
            assert!(tree.path(id, &mut path));
            all.insert(PathBuf::from(String::from_utf8(path).expect("names of the test")), tree.wd(id));
            pending.extend(tree.children(id));
        }
        all
    }

    /// Every directory is known under its path, by its own watch, and no other.
    fn assert_exact(&self, root: &Path, context: &str) {
        let found: BTreeMap<PathBuf, Option<i32>> = directories(root)
            .into_iter()
            .map(|path| {
                let handle = fs::File::open(root.join(&path)).expect("a directory");
                let wd = self.thread.lookout.kernel.watch(&handle).expect("a watch");
                (path, Some(wd))
            })
            .collect();
        assert_eq!(self.tree(), found, "{context}");
        let lookout = &self.thread.lookout;
        assert_eq!(
            (lookout.tree.len(), lookout.tree.watched()),
            (found.len(), found.len()),
            "nothing is left over: {context}"
        );
        assert!(!lookout.is_unsettled(), "{context}");
    }
}

fn directories(root: &Path) -> Vec<PathBuf> {
    let mut all = vec![PathBuf::new()];
    let mut at = 0;
    while let Some(path) = all.get(at).cloned() {
        at += 1;
        for entry in fs::read_dir(root.join(&path)).expect("a directory").flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                all.push(path.join(entry.file_name()));
            }
        }
    }
    all
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

/// One random operation on directories; failures (into itself, not empty) are part of the game.
fn operate(root: &Path, outside: &Path, random: &mut Random) -> String {
    let all = directories(root);
    let any = |random: &mut Random| root.join(&all[random.below(all.len())]);
    let name = |random: &mut Random| ["a", "b", "c", "d"][random.below(4)];
    let (one, two) = (any(random), any(random).join(name(random)));
    let outer = outside.join(name(random));
    let is_root = one == root;
    match random.below(9) {
        0 | 1 => {
            let deep = two.join(name(random)).join(name(random));
            format!("mkdir {deep:?} {:?}", fs::create_dir_all(&deep).is_ok())
        }
        2 => format!("mkdir {two:?} {:?}", fs::create_dir(&two).is_ok()),
        3 if !is_root => format!("rmdir {one:?} {:?}", fs::remove_dir(&one).is_ok()),
        4 if !is_root && all.len() > 12 => format!("rm -r {one:?} {:?}", fs::remove_dir_all(&one).is_ok()),
        5 | 6 if !is_root => format!("mv {one:?} {two:?} {:?}", fs::rename(&one, &two).is_ok()),
        7 if !is_root => {
            let swapped = renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE).is_ok();
            format!("swap {one:?} {two:?} {swapped:?}")
        }
        8 if !is_root && random.below(2) == 0 => format!("out {one:?} {:?}", fs::rename(&one, &outer).is_ok()),
        _ => format!("in {two:?} {:?}", fs::rename(&outer, &two).is_ok()),
    }
}

fn seeds() -> std::ops::Range<u64> {
    let rounds = std::env::var("FULMAR_WATCH_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    1..rounds + 1
}

#[test]
fn after_any_operations_the_watch_tree_is_the_directory_tree() {
    for seed in seeds() {
        let (root, outside) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut bench = bench(root.path());
        for burst in 0..30 {
            let log: Vec<String> =
                (0..random.below(12) + 1).map(|_| operate(root.path(), outside.path(), &mut random)).collect();
            bench.flush();
            bench.assert_exact(root.path(), &format!("seed {seed} burst {burst}: {log:#?}"));
        }
    }
}

#[test]
fn operations_while_events_are_handled_leave_an_exact_tree() {
    for seed in seeds().take(20) {
        let (root, outside) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let mut bench = bench(root.path());
        let busy = AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                for _ in 0..400 {
                    operate(root.path(), outside.path(), &mut random);
                }
                busy.store(false, Ordering::Release);
            });
            while busy.load(Ordering::Acquire) {
                bench.flush();
            }
        });
        bench.flush();
        bench.assert_exact(root.path(), &format!("seed {seed}"));
    }
}

#[test]
fn an_overflow_is_repaired_whatever_was_lost() {
    let (root, outside) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let mut bench = bench(root.path());
    let mut random = Random(42);
    for _ in 0..200 {
        operate(root.path(), outside.path(), &mut random);
    }
    bench.flush();
    for round in 0..5 {
        // The kernel's loss, played: the queue is emptied unseen.
        for _ in 0..100 {
            operate(root.path(), outside.path(), &mut random);
        }
        let kernel = Arc::clone(&bench.thread.lookout.kernel);
        while kernel.read::<()>(&mut bench.thread.buffer, |_| Ok(())) != Ok(Drained::Empty) {}
        bench.thread.lookout.note_overflow(Instant::now());
        let events = bench.flush();
        let all = Event::Rescan { subtree: fulmar_model::RelPath::root(), reason: crate::RescanReason::Overflow };
        assert_eq!(events.iter().filter(|event| **event == all).count(), 1, "round {round}: {events:?}");
        bench.assert_exact(root.path(), &format!("round {round}"));
    }
}

#[test]
fn renaming_a_directory_lists_nothing_below() {
    let root = tempfile::tempdir().expect("a directory");
    for n in 0..50 {
        fs::create_dir_all(root.path().join(format!("from/{n}/x"))).expect("a directory");
    }
    let mut bench = bench(root.path());
    let inode = fs::metadata(root.path().join("from")).expect("a directory").ino();
    let listings = bench.thread.lookout.listing;
    fs::rename(root.path().join("from"), root.path().join("to")).expect("a rename");
    let events = bench.flush();
    assert_eq!(fs::metadata(root.path().join("to")).expect("a directory").ino(), inode);
    assert_eq!(events.len(), 3, "new path, old path, flushed: {events:?}");
    assert_eq!(bench.thread.lookout.listing, listings, "no directory was listed");
    bench.assert_exact(root.path(), "renamed");
}

/// A writer gives three events a file. What is said costs the receiver a row in its queue: as little as tells where to
/// look, and when it is likely to be the last time.
#[test]
fn many_files_are_told_in_few_facts_and_list_nothing() {
    const FILES: usize = 2000;
    // Where two reads of the kernel's queue meet, a fact may be said twice.
    const SEAMS: usize = FILES / 50;
    type Act = fn(&Path, usize) -> std::io::Result<()>;
    let root = tempfile::tempdir().expect("a directory");
    let deep = root.path().join("mail/example.org/u/user/Maildir");
    fs::create_dir_all(&deep).expect("a directory");
    let mut bench = bench(root.path());
    let listings = bench.thread.lookout.listing;
    let acts: [(&str, usize, Act); 4] = [
        ("written", 2, |at, n| fs::write(at.join(n.to_string()), b"x")),
        ("touched, twice", 1, |at, n| {
            let file = fs::File::open(at.join(n.to_string()))?;
            file.set_modified(std::time::UNIX_EPOCH)?;
            file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1))
        }),
        ("renamed", 2, |at, n| fs::rename(at.join(n.to_string()), at.join(format!("{n}:2,S")))),
        ("removed", 1, |at, n| fs::remove_file(at.join(format!("{n}:2,S")))),
    ];
    for (what, each, act) in acts {
        (0..FILES).for_each(|n| act(&deep, n).expect("an operation"));
        let facts = bench.flush().len() - 1;
        assert!((FILES * each..=FILES * each + SEAMS).contains(&facts), "{FILES} files {what}: {facts} facts");
    }
    assert_eq!(bench.thread.lookout.listing, listings, "no directory was listed");
}

#[test]
fn a_directory_that_no_event_told_of_is_found_when_somebody_names_it() {
    let place = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(place.path().join("a/b")).expect("directories");
    let mut bench = bench(place.path());
    let tree = &bench.thread.lookout.tree;
    let a = tree.child(tree.root(), b"a").expect("it was listed");
    // As if its creation had never been told.
    bench.thread.lookout.remove(a);
    fs::write(place.path().join("a/b/mail"), "unseen").expect("a file");
    assert_eq!(bench.flush(), [Event::Flushed { token: 0 }]);

    let path = |text: &str| RelPath::parse(text.as_bytes()).expect("a path");
    bench.requests.send(Request::Look(path("a/b"))).expect("the thread is here");
    let told = bench.flush();
    for missed in ["a", "a/b", "a/b/mail"] {
        let told = told.iter().any(|event| matches!(event, Event::Changed { path: at, .. } if *at == path(missed)));
        assert!(told, "{missed}");
    }
    bench.assert_exact(place.path(), "after the look");
    bench.requests.send(Request::Look(path("a/b"))).expect("the thread is here");
    assert_eq!(bench.flush(), [Event::Flushed { token: 0 }], "what is known is not looked for");
}
