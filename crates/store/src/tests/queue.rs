//! Claims about positions, places in the line, and commits.

use super::*;
use crate::{Backlog, NewChange, Opened, Queue};
use fulmar_model::{Change, Scope, Seq};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) fn suspect(text: &str, first_seen_ms: i64) -> NewChange {
    NewChange { path: path(text), scope: Scope::Path, first_seen_ms }
}

fn change(seq: u64, text: &str, scope: Scope, first_seen_ms: i64) -> Change {
    Change { seq: Seq(seq), path: path(text), scope, first_seen_ms }
}

fn queue() -> Queue {
    Queue::in_memory(queue_id(1)).expect("in memory")
}

#[test]
fn changes_come_out_in_the_order_they_went_in() {
    let mut queue = queue();
    assert_eq!(queue.put(&[suspect("b", 1), suspect("a", 2), suspect("", 3)]).expect("put"), Seq(3));
    let first = queue.take(2).expect("take");
    assert_eq!(first, [change(1, "b", Scope::Path, 1), change(2, "a", Scope::Path, 2)]);
    assert_eq!(queue.head(), Seq(2));
    assert_eq!(queue.take(9).expect("take"), [change(3, "", Scope::Path, 3)]);
    assert_eq!(queue.take(9).expect("take"), []);
    queue.rewind();
    assert_eq!(queue.take(9).expect("take").len(), 3);
}

#[test]
fn a_path_that_changes_for_ever_keeps_its_place_until_it_was_taken() {
    let mut queue = queue();
    queue.put(&[suspect("busy", 10), suspect("other", 11)]).expect("put");
    for at in 12..20 {
        queue.put(&[suspect("busy", at)]).expect("put");
    }
    assert_eq!(queue.last(), Seq(2), "no position was spent on it");
    assert_eq!(queue.take(1).expect("take"), [change(1, "busy", Scope::Path, 10)]);
    assert_eq!(queue.put(&[suspect("busy", 30)]).expect("put"), Seq(3));
    let rest = queue.take(9).expect("take");
    assert_eq!(rest, [change(2, "other", Scope::Path, 11), change(3, "busy", Scope::Path, 10)]);
    assert_eq!(queue.len().expect("len"), 2);
}

#[test]
fn what_a_power_cut_could_take_away_is_nobodys_business_yet() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let (mut queue, _) = Queue::open(&folder.path().join("queue.db"), queue_id(1)).expect("open");
    let mut log = queue.log();
    queue.put(&[suspect("a", 1)]).expect("put");
    assert_eq!(queue.put_unsynced(&[suspect("b", 2)]).expect("put"), Seq(2));
    assert_eq!(queue.last(), Seq(1));
    assert_eq!(queue.take(9).expect("take"), [change(1, "a", Scope::Path, 1)]);
    log.flush(Seq(2)).expect("flush");
    assert_eq!(queue.last(), Seq(2));
    assert_eq!(queue.take(9).expect("take"), [change(2, "b", Scope::Path, 2)]);
    // One that was taken back to the end, and something durable of another's behind it.
    assert_eq!(queue.put_unsynced(&[suspect("b", 3)]).expect("put"), Seq(3));
    assert_eq!((queue.last(), queue.take(9).expect("take")), (Seq(2), Vec::new()));
    queue.meta_set("key", b"value").expect("set");
    assert_eq!(queue.last(), Seq(3));
    // A log that is late takes nothing back.
    log.flush(Seq(2)).expect("flush");
    assert_eq!(queue.last(), Seq(3));
}

#[test]
fn a_second_suspicion_widens_and_never_narrows_and_keeps_the_earliest_time() {
    let mut queue = queue();
    queue.put(&[suspect("a", 10)]).expect("put");
    queue.put(&[NewChange { scope: Scope::Tree, ..suspect("a", 5) }]).expect("put");
    queue.put(&[suspect("a", 20)]).expect("put");
    assert_eq!(queue.find(&path("a")).expect("find"), Some(change(1, "a", Scope::Tree, 5)));
    queue.take(1).expect("take");
    queue.put(&[suspect("a", 30)]).expect("put");
    assert_eq!(queue.find(&path("a")).expect("find"), Some(change(2, "a", Scope::Tree, 5)));
}

#[test]
fn widen_touches_only_what_is_there() {
    let mut queue = queue();
    queue.put(&[suspect("a", 1)]).expect("put");
    assert!(queue.widen(&path("a")).expect("widen"));
    assert!(!queue.widen(&path("b")).expect("widen"));
    assert_eq!(queue.find(&path("a")).expect("find"), Some(change(1, "a", Scope::Tree, 1)));
    assert_eq!(queue.find(&path("b")).expect("find"), None);
}

#[test]
fn positions_are_never_given_twice_even_after_the_queue_was_emptied_and_reopened() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let at = folder.path().join("queue.db");
    let (mut queue, opened) = Queue::open(&at, queue_id(1)).expect("open");
    assert_eq!(opened, Opened::Created);
    queue.put(&[suspect("a", 1), suspect("b", 1)]).expect("put");
    queue.take(9).expect("take");
    // Nobody follows, so what was taken may go.
    queue.forget(replica_id(1)).expect("forget");
    assert!(queue.is_empty().expect("is_empty"));
    drop(queue);
    let (mut queue, opened) = Queue::open(&at, queue_id(2)).expect("open");
    assert_eq!((opened, queue.id(), queue.last()), (Opened::Existing, queue_id(1), Seq(2)));
    assert_eq!(queue.put(&[suspect("a", 1)]).expect("put"), Seq(3));
}

#[test]
fn after_a_restart_every_remaining_row_is_ahead_of_the_planner() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let at = folder.path().join("queue.db");
    let (mut queue, _) = Queue::open(&at, queue_id(1)).expect("open");
    queue.put(&[suspect("a", 1), suspect("b", 2)]).expect("put");
    queue.take(9).expect("take");
    drop(queue);
    let (mut queue, _) = Queue::open(&at, queue_id(1)).expect("open");
    assert_eq!(queue.head(), Seq(0));
    assert_eq!(queue.take(9).expect("take").len(), 2);
}

#[test]
fn a_thousand_changes_are_one_commit_and_no_news_is_none() {
    let mut queue = queue();
    let commits = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&commits);
    let hook = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        false
    };
    queue.connection.commit_hook(Some(hook)).expect("hook");
    let many: Vec<_> = (0..1000).map(|n| suspect(&format!("d/{n}"), n)).collect();
    queue.put(&many).expect("put");
    assert_eq!(commits.load(Ordering::Relaxed), 1);
    let rows = queue.connection.total_changes();
    queue.put(&many).expect("put");
    queue.put(&[]).expect("put");
    assert_eq!(queue.connection.total_changes(), rows, "the same suspicions again write nothing");
}

#[test]
fn backlog_counts_from_the_cursor_and_knows_the_oldest() {
    let mut queue = queue();
    assert_eq!(queue.backlog(Seq(0)).expect("backlog"), Backlog::default());
    queue.put(&[suspect("a", 30), suspect("b", 10), suspect("c", 20)]).expect("put");
    assert_eq!(queue.backlog(Seq(0)).expect("backlog"), Backlog { changes: 3, oldest_ms: Some(10) });
    assert_eq!(queue.backlog(Seq(2)).expect("backlog"), Backlog { changes: 1, oldest_ms: Some(20) });
    assert_eq!(queue.backlog(Seq(u64::MAX)).expect("backlog"), Backlog::default());
}

#[test]
fn a_range_of_positions_is_read_without_moving_the_head() {
    let mut queue = queue();
    queue.put(&[suspect("a", 1), suspect("b", 1), suspect("c", 1), suspect("d", 1)]).expect("put");
    let seqs = |rows: Vec<Change>| rows.iter().map(|change| change.seq.0).collect::<Vec<_>>();
    assert_eq!(seqs(queue.between(Seq(1), Seq(3), 9).expect("between")), [2, 3]);
    assert_eq!(seqs(queue.between(Seq(0), Seq(u64::MAX), 2).expect("between")), [1, 2]);
    assert_eq!(queue.head(), Seq(0));
}

#[test]
fn small_values_are_kept_by_name() {
    let mut queue = queue();
    assert_eq!(queue.meta_get("guard").expect("get"), None);
    queue.meta_set("guard", b"1").expect("set");
    queue.meta_set("guard", b"").expect("set");
    assert_eq!(queue.meta_get("guard").expect("get"), Some(Vec::new()));
}

#[test]
fn names_are_bytes() {
    let mut queue = queue();
    let odd = RelPath::parse(b"\xff\n'/\x1b").expect("a valid path");
    queue.put(&[NewChange { path: odd.clone(), scope: Scope::Path, first_seen_ms: i64::MIN }]).expect("put");
    assert_eq!(queue.find(&odd).expect("find").expect("there").path, odd);
}

#[test]
fn a_process_leaves_no_large_log_of_the_queue() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let (mut queue, _) = Queue::open(&folder.path().join("queue.db"), queue_id(1)).expect("open");
    let log = || std::fs::metadata(folder.path().join("queue.db-wal")).expect("log").len();
    let changes: Vec<_> = (0..20_000).map(|number| suspect(&format!("directory/{number}"), 1)).collect();
    queue.put(&changes).expect("put");
    assert!(log() > 1 << 20, "{}", log());
    queue.close_log().expect("close");
    assert_eq!(log(), 0);
    queue.put(&[suspect("one", 1)]).expect("put");
    queue.close_log().expect("close");
    assert!(log() > 0);
}
