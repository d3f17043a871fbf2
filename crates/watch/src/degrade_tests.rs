//! Back-off and cover, with a clock of our own.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_first_overflow_is_answered_at_once_and_a_storm_ever_more_rarely() {
    let start = Instant::now();
    let mut overflow = Overflow::new(SECOND, 60 * SECOND);
    assert_eq!(overflow.due(start), None);
    let (mut now, mut waits) = (start, Vec::new());
    for _ in 0..10 {
        overflow.note(now);
        let due = overflow.due(now).expect("an overflow is never forgotten");
        waits.push((due.saturating_duration_since(now)).as_secs());
        now = now.max(due);
        overflow.answer(now);
        assert_eq!(overflow.due(now), None);
    }
    assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
}

#[test]
fn calm_makes_the_next_overflow_urgent_again() {
    let start = Instant::now();
    let mut overflow = Overflow::new(SECOND, 60 * SECOND);
    for n in 0..4 {
        overflow.note(start + n * SECOND);
        overflow.answer(start + n * SECOND);
    }
    let later = start + 600 * SECOND;
    overflow.note(later);
    assert!(overflow.due(later).expect("pending") <= later);
    overflow.answer(later);
    overflow.note(later);
    assert_eq!(overflow.due(later), Some(later + SECOND));
}

#[test]
fn a_polled_subtree_is_announced_once_and_counted_by_reason() {
    let now = Instant::now();
    let mut tree = Tree::new();
    let a = tree.insert(tree.root(), b"a");
    let mut polled = Polled::new(30 * SECOND, SECOND, 60 * SECOND, now);
    assert_eq!(polled.retry_due(), None);
    polled.insert(a, RescanReason::WatchLimit, now);
    polled.insert(a, RescanReason::WatchLimit, now);
    assert!(polled.limit_reached());
    assert_eq!((polled.take_unannounced(), polled.take_unannounced()), (vec![a], vec![]));
    assert_eq!((polled.retry_due(), polled.round_due()), (Some(now + SECOND), now + 30 * SECOND));
    polled.retried(now, false);
    assert_eq!(polled.retry_due(), Some(now + 2 * SECOND));
    polled.insert(a, RescanReason::Unreadable, now);
    assert!(!polled.limit_reached());
    polled.remove(a);
    assert_eq!((polled.len(), polled.retry_due()), (0, None));
}

#[test]
fn many_polled_subtrees_are_covered_by_few() {
    let mut tree = Tree::new();
    let mut all = Vec::new();
    let users = tree.insert(tree.root(), b"users");
    for n in 0..1000u32 {
        let user = tree.insert(users, &n.to_be_bytes());
        all.push(tree.insert(user, b"Maildir"));
    }
    let lone = tree.insert(tree.root(), b"lone");
    all.push(lone);
    let mut covered = cover(&tree, all);
    covered.sort_unstable();
    let mut expected = vec![users, lone];
    expected.sort_unstable();
    assert_eq!(covered, expected);
}

#[test]
fn what_is_below_another_polled_subtree_is_left_out() {
    let mut tree = Tree::new();
    let a = tree.insert(tree.root(), b"a");
    let b = tree.insert(a, b"b");
    assert_eq!(cover(&tree, vec![b, a]), [a]);
    tree.detach(b);
    assert_eq!(cover(&tree, vec![b]), []);
}
