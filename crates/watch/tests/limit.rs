//! Too few watches. The limit is global to the user, so this stands alone in its test binary and is one test.

mod watched;

use fulmar_model::Filter;
use fulmar_watch::{Event, Options, RescanReason};
use std::fs;
use std::time::{Duration, Instant};
use watched::{DEADLINE, options, rescan, tells, watched_with};

const LIMIT: &str = "/proc/sys/fs/inotify/max_user_watches";

struct Restore(String);

impl Drop for Restore {
    fn drop(&mut self) {
        if let Err(error) = fs::write(LIMIT, &self.0) {
            eprintln!("{LIMIT} is not {} again: {error}", self.0);
        }
    }
}

#[test]
fn beyond_the_watch_limit_subtrees_are_polled_until_there_are_watches() {
    let before = fs::read_to_string(LIMIT).expect("inotify");
    // Room for ten of forty directories. Others of the same user may hold watches, so the first pass finds what is left.
    if fs::write(LIMIT, "10").is_err() {
        fulmar_testkit::skipped(&format!("only root may change {LIMIT}"));
        return;
    }
    let restore = Restore(before);
    let options = Options { poll_interval: Duration::from_millis(50), ..options() };
    let mut tree = watched_with(Filter::default(), options, 1 << 12, |root| {
        for n in 0..20 {
            fs::create_dir_all(root.join(format!("{n}/sub"))).expect("directories");
        }
    });
    let coverage = tree.watcher.coverage();
    assert!(coverage.limit_reached && coverage.polled > 0 && coverage.watched <= 10, "{coverage:?}");
    for n in 0..20 {
        fs::write(tree.at(&format!("{n}/sub/file")), b"x").expect("a file");
    }
    let events = tree.flush();
    for n in 0..20 {
        assert!(tells(&events, &format!("{n}/sub/file")), "{n}: {events:?}");
    }
    let first = events.iter().any(|event| matches!(event, Event::Rescan { reason: RescanReason::WatchLimit, .. }));
    assert!(first, "the reason is told: {events:?}");
    // Again and again, without a flush.
    tree.wait_for(|event| matches!(event, Event::Rescan { reason: RescanReason::Poll, .. }));

    drop(restore);
    tree.wait_for(|event| matches!(event, Event::Rescan { reason: RescanReason::Healed, .. }));
    let deadline = Instant::now() + DEADLINE;
    while tree.watcher.coverage().polled > 0 {
        assert!(Instant::now() < deadline, "{:?}", tree.watcher.coverage());
        tree.flush();
    }
    let coverage = tree.watcher.coverage();
    assert_eq!((coverage.known, coverage.watched, coverage.limit_reached), (41, 41, false));
    tree.flush();
    fs::write(tree.at("19/sub/live"), b"x").expect("a file");
    let events = tree.flush();
    assert!(events.contains(&watched::settled("19/sub/live")), "{events:?}");
    assert!(!events.contains(&rescan("", RescanReason::Poll)));
}
