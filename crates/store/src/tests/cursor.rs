//! Claims about cursors, pruning and outstanding work.

use super::queue::suspect;
use super::*;
use crate::{Ack, Error, NewChange, Outstanding, OutstandingCount, Pending, Queue, Reach, Unfinished, Waiting, Work};
use fulmar_model::{HeldReason, Scope, Seq};

/// Four changes, taken; replicas 1 and 2 registered at position 0.
fn two_followers() -> Queue {
    let mut queue = Queue::in_memory(queue_id(1)).expect("in memory");
    for (byte, name) in [(1, "one"), (2, "two")] {
        queue.register(replica_id(byte), name).expect("register");
        advance(&mut queue, byte, 0);
    }
    queue.put(&[suspect("a", 1), suspect("b", 1), suspect("c", 1), suspect("d", 1)]).expect("put");
    queue.take(9).expect("take");
    queue
}

fn advance(queue: &mut Queue, byte: u8, seq: u64) {
    queue.acknowledge(replica_id(byte), Ack { cursor: Some(Seq(seq)), ..Ack::default() }).expect("acknowledge");
}

fn remaining(queue: &Queue) -> Vec<u64> {
    queue.between(Seq(0), Seq(u64::MAX), 99).expect("between").iter().map(|change| change.seq.0).collect()
}

fn cursor_of(queue: &Queue, byte: u8) -> Option<Seq> {
    let rows = queue.replicas().expect("replicas");
    rows.into_iter().find(|row| row.id == replica_id(byte)).expect("registered").cursor
}

fn held(text: &str, reason: HeldReason, retry_ms: i64) -> Outstanding {
    Outstanding {
        path: path(text),
        work: Work::Held { reason, errno: 13 },
        since_ms: 7,
        attempts: 1,
        retry_ms,
        after: None,
    }
}

fn add(queue: &mut Queue, byte: u8, rows: &[Outstanding]) {
    queue.acknowledge(replica_id(byte), Ack { add: rows, ..Ack::default() }).expect("acknowledge");
}

#[test]
fn a_change_costs_one_sync_and_its_acknowledgement_none() {
    let mut queue = two_followers();
    let before = queue.log.syncs;
    queue.put(&[suspect("e", 1), suspect("f", 1)]).expect("put");
    queue.take(9).expect("take");
    advance(&mut queue, 1, 6);
    advance(&mut queue, 2, 6);
    assert_eq!(queue.log.syncs - before, 1);
    assert_eq!(remaining(&queue), [0u64; 0]);
}

#[test]
fn rows_go_only_when_the_slowest_replica_has_them() {
    let mut queue = two_followers();
    advance(&mut queue, 1, 4);
    assert_eq!(remaining(&queue), [1, 2, 3, 4]);
    advance(&mut queue, 2, 2);
    assert_eq!(remaining(&queue), [3, 4]);
    advance(&mut queue, 2, 4);
    assert_eq!(remaining(&queue), [0u64; 0]);
}

#[test]
fn a_row_that_moved_to_the_end_is_not_pruned_with_its_old_place() {
    let mut queue = two_followers();
    queue.put(&[suspect("a", 9)]).expect("put");
    advance(&mut queue, 1, 4);
    advance(&mut queue, 2, 4);
    assert_eq!(remaining(&queue), [5]);
    assert_eq!(queue.find(&path("a")).expect("find").expect("there").first_seen_ms, 1);
}

#[test]
fn a_path_that_waits_to_be_taken_moves_to_the_end_once_a_cursor_has_passed_it() {
    let mut queue = two_followers();
    queue.put(&[suspect("e", 1)]).expect("put");
    assert_eq!(queue.put(&[suspect("e", 2)]).expect("put"), Seq(5));
    // It was compared, and goes on from the end of the queue.
    queue.reset_cursor(replica_id(2)).expect("reset");
    advance(&mut queue, 2, 5);
    assert_eq!(queue.put(&[suspect("e", 3)]).expect("put"), Seq(6));
    assert_eq!(remaining(&queue), [1, 2, 3, 4, 6]);
}

#[test]
fn a_cursor_never_goes_back() {
    let mut queue = two_followers();
    advance(&mut queue, 1, 3);
    advance(&mut queue, 1, 2);
    assert_eq!(cursor_of(&queue, 1), Some(Seq(3)));
}

#[test]
fn a_replica_without_a_cursor_holds_nothing_back_and_cannot_resume_from_before() {
    let mut queue = two_followers();
    queue.register(replica_id(3), "three").expect("register");
    assert_eq!(cursor_of(&queue, 3), None);
    assert!(queue.can_resume(Seq(0)).expect("can_resume"));
    advance(&mut queue, 1, 3);
    advance(&mut queue, 2, 2);
    assert_eq!(remaining(&queue), [3, 4]);
    assert!(!queue.can_resume(Seq(1)).expect("can_resume"));
    assert!(queue.can_resume(Seq(2)).expect("can_resume"));
    assert!(queue.can_resume(Seq(4)).expect("can_resume"));
    assert!(!queue.can_resume(Seq(5)).expect("can_resume"), "never given");
}

#[test]
fn a_cursor_behind_pruned_rows_is_refused_and_one_ahead_of_the_queue_too() {
    let mut queue = two_followers();
    advance(&mut queue, 1, 2);
    advance(&mut queue, 2, 2);
    queue.register(replica_id(3), "three").expect("register");
    let ack = |seq| Ack { cursor: Some(Seq(seq)), ..Ack::default() };
    let behind = queue.acknowledge(replica_id(3), ack(1));
    assert!(matches!(behind, Err(Error::CursorBehind { cursor: Seq(1), pruned: Seq(2) })), "{behind:?}");
    let ahead = queue.acknowledge(replica_id(1), ack(u64::MAX));
    assert!(matches!(ahead, Err(Error::CursorAhead { last: Seq(4), .. })), "{ahead:?}");
    let stranger = queue.acknowledge(replica_id(9), ack(3));
    assert!(matches!(stranger, Err(Error::UnknownReplica { .. })), "{stranger:?}");
    advance(&mut queue, 3, 2);
    advance(&mut queue, 1, 4);
    advance(&mut queue, 2, 4);
    assert_eq!(remaining(&queue), [3, 4], "held back for the third");
}

#[test]
fn a_stale_cursor_resumes_while_nothing_above_it_was_pruned() {
    let mut queue = two_followers();
    advance(&mut queue, 1, 4);
    advance(&mut queue, 2, 1);
    queue.reset_cursor(replica_id(1)).expect("reset");
    assert!(queue.can_resume(Seq(1)).expect("can_resume"));
    assert_eq!(remaining(&queue), [2, 3, 4]);
}

#[test]
fn forgetting_the_slowest_replica_frees_what_only_it_needed() {
    let mut queue = two_followers();
    advance(&mut queue, 1, 3);
    add(&mut queue, 2, &[held("a", HeldReason::Permission, 5)]);
    queue.forget(replica_id(2)).expect("forget");
    assert_eq!(remaining(&queue), [4]);
    assert_eq!(queue.outstanding(replica_id(2), None, 9).expect("outstanding"), []);
    assert_eq!(queue.replicas().expect("replicas").len(), 1);
}

#[test]
fn without_any_cursor_only_what_the_planner_took_goes() {
    let mut queue = two_followers();
    queue.put(&[suspect("e", 1)]).expect("put");
    queue.reset_cursor(replica_id(1)).expect("reset");
    assert_eq!(remaining(&queue), [1, 2, 3, 4, 5], "the second replica still needs them");
    queue.reset_cursor(replica_id(2)).expect("reset");
    assert_eq!(remaining(&queue), [5]);
}

#[test]
fn registering_again_keeps_the_cursor_and_takes_the_name() {
    let mut queue = two_followers();
    advance(&mut queue, 1, 3);
    let row = queue.register(replica_id(1), "uno").expect("register");
    assert_eq!((row.name.as_str(), row.cursor), ("uno", Some(Seq(3))));
}

#[test]
fn another_replica_in_the_same_place_ends_what_the_one_before_holds_back() {
    let mut queue = two_followers();
    advance(&mut queue, 2, 4);
    add(&mut queue, 1, &[held("a", HeldReason::Busy, 1)]);
    assert_eq!(remaining(&queue), [1, 2, 3, 4]);
    let row = queue.register(replica_id(3), "one").expect("register");
    assert_eq!((row.id, row.cursor), (replica_id(3), None));
    let names: Vec<_> = queue.replicas().expect("replicas").into_iter().map(|row| (row.name, row.id)).collect();
    assert_eq!(names, [("one".to_owned(), replica_id(3)), ("two".to_owned(), replica_id(2))]);
    assert_eq!(remaining(&queue), [0u64; 0], "nobody needs them any more");
    // Should it come back, it knows of no work, and compares.
    assert_eq!(queue.register(replica_id(1), "one").expect("register").cursor, None);
    assert_eq!(queue.outstanding(replica_id(1), None, 9).expect("outstanding"), []);
}

#[test]
fn replaced_work_keeps_its_age_and_counts_attempts() {
    let mut queue = two_followers();
    add(&mut queue, 1, &[held("a", HeldReason::DiskFull, 5)]);
    let again =
        Outstanding { since_ms: 99, attempts: 50, retry_ms: 8, work: Work::Content, path: path("a"), after: None };
    add(&mut queue, 1, std::slice::from_ref(&again));
    let rows = queue.outstanding(replica_id(1), None, 9).expect("outstanding");
    assert_eq!(rows, [Outstanding { since_ms: 7, attempts: 2, ..again }]);
    assert_eq!(queue.outstanding(replica_id(2), None, 9).expect("outstanding"), [], "of the other replica");
}

#[test]
fn done_removes_and_add_wins_over_done() {
    let mut queue = two_followers();
    add(&mut queue, 1, &[held("a", HeldReason::Busy, 1), held("b", HeldReason::Busy, 1)]);
    let compare =
        Outstanding { work: Work::Compare, path: path("b"), since_ms: 3, attempts: 0, retry_ms: 0, after: None };
    let ack = Ack {
        cursor: Some(Seq(1)),
        add: std::slice::from_ref(&compare),
        done: &[path("a"), path("b")],
        ..Ack::default()
    };
    queue.acknowledge(replica_id(1), ack).expect("acknowledge");
    assert_eq!(queue.outstanding(replica_id(1), None, 9).expect("outstanding"), [compare]);
}

#[test]
fn a_directory_at_which_something_was_left_is_compared_before_it_is_done() {
    let mut queue = two_followers();
    let row = |text, work| Outstanding {
        path: path(text),
        work,
        since_ms: 3,
        attempts: 0,
        retry_ms: 0,
        after: Some(path("new")),
    };
    let (gone, let_go) = (Work::Gone { approved: false }, Work::Gone { approved: true });
    let rows = [
        row("gone", gone),
        held("held", HeldReason::Permission, 1),
        row("let go", let_go),
        held("to be let go", HeldReason::Approval, 60),
        held("unread", HeldReason::Unreadable, 60),
    ];
    add(&mut queue, 1, &rows);
    add(&mut queue, 1, &[row("again", Work::Again)]);
    let paths: Vec<_> = rows.iter().map(|row| row.path.clone()).chain([path("again")]).collect();
    let ack = Ack { made: &paths, ..Ack::default() };
    queue.acknowledge(replica_id(1), ack).expect("acknowledge");
    let compares = rows.map(|row| Outstanding { work: Work::Compare, retry_ms: 0, ..row });
    assert_eq!(queue.outstanding(replica_id(1), None, 9).expect("outstanding"), compares);
}

#[test]
fn outstanding_work_is_paged_by_path_from_the_root_on() {
    let mut queue = two_followers();
    let rows = ["", "a", "a/b", "b"].map(|text| held(text, HeldReason::Busy, 1));
    add(&mut queue, 1, &rows);
    let first = queue.outstanding(replica_id(1), None, 2).expect("outstanding");
    assert_eq!(first, rows[..2]);
    let rest = queue.outstanding(replica_id(1), Some(&first[1].path), 9).expect("outstanding");
    assert_eq!(rest, rows[2..]);
}

#[test]
fn due_work_comes_longest_due_first() {
    let mut queue = two_followers();
    let rows = [held("a", HeldReason::Busy, 30), held("b", HeldReason::Busy, 10), held("c", HeldReason::Busy, 50)];
    add(&mut queue, 1, &rows);
    let due = queue.due(replica_id(1), 30, (9, 9)).expect("due");
    assert_eq!(due, [rows[1].clone(), rows[0].clone()]);
}

#[test]
fn content_that_is_due_leaves_room_for_everything_else() {
    let mut queue = two_followers();
    let content = |text: &str| Outstanding { work: Work::Content, ..held(text, HeldReason::Busy, 0) };
    add(&mut queue, 1, &[content("a"), content("b"), content("c"), held("x", HeldReason::Busy, 9)]);
    let due = queue.due(replica_id(1), 9, (1, 2)).expect("due");
    let paths: Vec<_> = due.iter().map(|row| row.path.clone()).collect();
    assert_eq!(paths, [path("x"), path("a"), path("b")]);
}

#[test]
fn approval_lets_every_waiting_removal_go() {
    let mut queue = two_followers();
    add(&mut queue, 1, &[held("a", HeldReason::Approval, i64::MAX), held("x", HeldReason::Busy, i64::MAX)]);
    add(&mut queue, 2, &[held("a", HeldReason::Approval, i64::MAX)]);
    assert_eq!(queue.held_for_approval().expect("count"), 2);
    assert_eq!(queue.approve().expect("approve"), 2);
    assert_eq!((queue.approve().expect("approve"), queue.held_for_approval().expect("count")), (0, 0));
    let found_gone_again = gone("a", None);
    add(&mut queue, 1, &[found_gone_again]);
    let rows = queue.gone(replica_id(1), None, 9).expect("gone");
    assert_eq!(rows.iter().map(|row| row.work).collect::<Vec<_>>(), [Work::Gone { approved: true }]);
    assert_eq!(queue.due(replica_id(1), 0, (9, 9)).expect("due"), []);
}

fn gone(text: &str, after: Option<&str>) -> Outstanding {
    Outstanding { work: Work::Gone { approved: false }, after: after.map(path), ..held(text, HeldReason::Busy, 0) }
}

#[test]
fn a_subtree_that_is_gone_needs_no_comparison() {
    let mut queue = two_followers();
    let compare = Outstanding { work: Work::Compare, ..held("d", HeldReason::Busy, 0) };
    add(&mut queue, 1, std::slice::from_ref(&compare));
    add(&mut queue, 1, &[held("d", HeldReason::Busy, 5)]);
    let work = |queue: &Queue| queue.outstanding(replica_id(1), None, 9).expect("outstanding")[0].work;
    assert_eq!(work(&queue), Work::Compare);
    add(&mut queue, 1, &[gone("d", None)]);
    let ack = Ack { compared: Some(&compare.path), ..Ack::default() };
    queue.acknowledge(replica_id(1), ack).expect("acknowledge");
    assert_eq!(work(&queue), Work::Gone { approved: false }, "the end of the comparison does not make it go");
}

#[test]
fn what_is_gone_waits_for_its_other_name_and_goes_with_its_directory() {
    let mut queue = two_followers();
    let again = Outstanding { work: Work::Again, ..held("new", HeldReason::Busy, 0) };
    add(&mut queue, 1, &[gone("d", None), gone("d/old", Some("new")), gone("d-", None), again.clone()]);
    // Found gone once more: it still waits.
    add(&mut queue, 1, &[gone("d/old", None)]);
    let unfinished = queue.unfinished(replica_id(1), 9).expect("unfinished");
    let waiting = Waiting { path: path("d/old"), after: path("new"), gone: false };
    assert_eq!(unfinished, Unfinished { content: vec![again], waiting: vec![waiting] });
    let ack = Ack { done: &[path("new")], removed: &[path("d")], ..Ack::default() };
    queue.acknowledge(replica_id(1), ack).expect("acknowledge");
    let rows = queue.gone(replica_id(1), None, 9).expect("gone");
    assert_eq!(rows.iter().map(|row| row.path.clone()).collect::<Vec<_>>(), [path("d-")]);
    assert_eq!(queue.unfinished(replica_id(1), 9).expect("unfinished"), Unfinished::default());
    assert!(!queue.any_outstanding_in(replica_id(1), &path("d/e")).expect("any"));
    assert!(queue.any_outstanding_in(replica_id(1), &path("")).expect("any"));
    add(&mut queue, 1, &[Outstanding { work: Work::Compare, ..held("d", HeldReason::Busy, 0) }]);
    assert!(queue.any_outstanding_in(replica_id(1), &path("d/e")).expect("any"));
}

#[test]
fn what_is_gone_waits_for_what_is_as_old_below_its_new_name() {
    let mut queue = two_followers();
    let at = |text, since_ms| Outstanding { since_ms, ..held(text, HeldReason::Permission, 0) };
    let old = |text, after| Outstanding { since_ms: 5, ..gone(text, Some(after)) };
    let rows =
        [at("new/a", 5), at("new/b", 4), at("younger/a", 6), at("new-", 5), at("new0", 5), gone("other/a", None)];
    add(&mut queue, 1, &rows);
    add(&mut queue, 1, &[old("old", "new"), old("old young", "younger"), old("old other", "other")]);
    let waiting = queue.unfinished(replica_id(1), 9).expect("unfinished").waiting;
    assert_eq!(waiting.iter().map(|row| (&row.path, row.gone)).collect::<Vec<_>>(), [(&path("old"), false)]);
}

#[test]
fn outstanding_work_is_counted_by_kind_and_goes_with_the_cursor() {
    let mut queue = two_followers();
    let other = |text: &str, work| Outstanding { work, ..held(text, HeldReason::Busy, 0) };
    let rows = [
        held("a", HeldReason::Name, 1),
        other("b", Work::Content),
        other("c", Work::Compare),
        other("d", Work::Again),
        other("e", Work::Again),
        other("f", Work::Gone { approved: false }),
        other("g", Work::Gone { approved: true }),
    ];
    add(&mut queue, 1, &rows);
    let count = queue.outstanding_count(replica_id(1)).expect("count");
    assert_eq!(count, OutstandingCount { held: 1, approval: 0, content: 1, compare: 1, again: 2, gone: 2 });
    queue.reset_cursor(replica_id(1)).expect("reset");
    assert_eq!(queue.outstanding_count(replica_id(1)).expect("count").total(), 0);
}

#[test]
fn pruning_walks_the_positions_and_not_the_table() {
    let queue = two_followers();
    let plan: String = queue
        .connection
        .query_row("EXPLAIN QUERY PLAN DELETE FROM changes WHERE seq <= 5", [], |row| row.get(3))
        .expect("plan");
    assert!(plan.contains("INTEGER PRIMARY KEY"), "{plan}");
}

#[test]
fn what_is_ahead_of_a_cursor_or_left_over_is_pending_and_nothing_else_is() {
    let mut queue = two_followers();
    let is = |queue: &Queue, byte, at: &str, reach| queue.pending(replica_id(byte), &path(at), reach).expect("pending");
    let queued = Some(Pending::Queued);
    assert_eq!(is(&queue, 1, "a", Reach::Path), queued, "it is ahead");
    assert_eq!(is(&queue, 9, "a", Reach::Path), queued, "nobody knows what that replica has");
    advance(&mut queue, 1, 4);
    assert_eq!(is(&queue, 1, "a", Reach::Path), None);
    assert_eq!(is(&queue, 2, "a", Reach::Path), queued, "the other one is behind");

    queue.put(&[suspect("dir/x", 1), NewChange { scope: Scope::Tree, ..suspect("whole", 1) }]).expect("put");
    assert_eq!(is(&queue, 1, "dir", Reach::Path), None);
    assert_eq!(is(&queue, 1, "dir", Reach::Below), queued, "it moves the directory's times");
    assert_eq!(is(&queue, 1, "whole/of/it", Reach::Path), queued);
    assert_eq!(is(&queue, 1, "dir/x/y", Reach::Path), None, "that change speaks of one path");
    advance(&mut queue, 1, 6);

    let row = |at: &str, work| Outstanding { work, ..held(at, HeldReason::Busy, 0) };
    let rows = [row("d/held", Work::Held { reason: HeldReason::Busy, errno: 13 }), row("tree", Work::Compare)];
    queue.demand(replica_id(1), &rows).expect("demand");
    let work = Work::Held { reason: HeldReason::Busy, errno: 13 };
    assert_eq!(is(&queue, 1, "d/held", Reach::Path), Some(Pending::Left(work)));
    assert_eq!(is(&queue, 1, "d", Reach::Path), None);
    assert_eq!(is(&queue, 1, "d", Reach::Below), queued);
    assert_eq!(is(&queue, 1, "tree/below", Reach::Path), queued, "a comparison covers it");
}

#[test]
fn what_is_doubted_is_due_and_counts_as_to_be_planned_again() {
    let mut queue = two_followers();
    let row = Outstanding { work: Work::Doubted, ..held("a", HeldReason::Busy, 0) };
    queue.demand(replica_id(1), std::slice::from_ref(&row)).expect("demand");
    assert_eq!(queue.due(replica_id(1), 5, (9, 9)).expect("due"), [row]);
    assert_eq!(queue.outstanding_count(replica_id(1)).expect("count").again, 1);
}
