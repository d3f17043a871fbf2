//! Claims about rounds of verification and what came of them.

use super::*;
use crate::{Measure, Queue, Round, Verified, VerifiedRounds};
use fulmar_model::{Aspect, Depth};
use std::collections::BTreeMap;

pub(super) fn round(upto: Option<&str>, over: bool) -> Round {
    let (done, whole) = (Measure { entries: 7, bytes: 1 << 40 }, Measure { entries: 70, bytes: 1 << 41 });
    Round { began_ms: 1000, paused_ms: 2000, over, upto: upto.map(path), done, whole }
}

pub(super) fn verified(entries: u64) -> Verified {
    Verified {
        began_ms: 1000,
        ended_ms: 1900,
        took_ms: 30,
        covered: Measure { entries, bytes: entries * 10 },
        differences: BTreeMap::from([(Aspect::Content, 2), (Aspect::Extra, entries)]),
        busy: 1,
        unread: 3,
        ungrouped: 4,
        missed: 2,
        failed: Some("gone away".to_owned()),
    }
}

fn queue() -> Queue {
    Queue::in_memory(queue_id(1)).expect("in memory")
}

#[test]
fn a_round_and_what_came_of_it_read_back() {
    let mut queue = queue();
    assert_eq!(queue.round(Depth::Deep).expect("round"), None);
    let (deep, quick) = (round(Some("a/\u{e9}"), false), round(None, true));
    queue.note_round(Depth::Deep, &deep, &[(replica_id(1), verified(5))]).expect("note");
    queue.note_round(Depth::Quick, &quick, &[(replica_id(1), verified(6))]).expect("note");
    assert_eq!(
        (queue.round(Depth::Deep).expect("deep"), queue.round(Depth::Quick).expect("quick")),
        (Some(deep), Some(quick))
    );
    let expected = VerifiedRounds { quick: Some(verified(6)), deep: None, under_way: Some(verified(5)) };
    assert_eq!(queue.verified(replica_id(1)).expect("verified"), expected);
    assert_eq!(queue.verified(replica_id(2)).expect("verified"), VerifiedRounds::default());
}

#[test]
fn a_deep_round_that_is_over_takes_the_place_of_the_one_before() {
    let mut queue = queue();
    let (one, two) = (replica_id(1), replica_id(2));
    queue.note_round(Depth::Deep, &round(None, true), &[(one, verified(1)), (two, verified(2))]).expect("note");
    queue.note_round(Depth::Deep, &round(Some("a"), false), &[(one, verified(3))]).expect("note");
    let known = queue.verified(one).expect("verified");
    assert_eq!((known.deep, known.under_way), (Some(verified(1)), Some(verified(3))));
    queue.note_round(Depth::Deep, &round(None, true), &[(one, verified(4))]).expect("note");
    let known = queue.verified(one).expect("verified");
    assert_eq!((known.deep, known.under_way), (Some(verified(4)), None));
    // Which took no part in it.
    assert_eq!(queue.verified(two).expect("verified").deep, Some(verified(2)));
}

#[test]
fn a_replica_that_is_forgotten_leaves_no_result() {
    let mut queue = queue();
    for byte in [1, 2] {
        queue.register(replica_id(byte), &format!("replica {byte}")).expect("register");
        queue.note_round(Depth::Quick, &round(None, true), &[(replica_id(byte), verified(1))]).expect("note");
    }
    queue.forget(replica_id(1)).expect("forget");
    assert_eq!(queue.verified(replica_id(1)).expect("verified"), VerifiedRounds::default());
    assert_eq!(queue.verified(replica_id(2)).expect("verified").quick, Some(verified(1)));
}

#[test]
fn a_round_is_at_a_hundred_when_it_is_over_and_not_before() {
    let at = |entries, bytes, over| Round { done: Measure { entries, bytes }, over, ..round(None, false) }.percent();
    assert_eq!([at(0, 0, false), at(35, 1 << 40, false), at(70, 1 << 41, false)], [0, 50, 99]);
    assert_eq!([at(7000, u64::MAX, false), at(0, 0, true)], [99, 100]);
    assert_eq!(Round::default().percent(), 0);
}

#[test]
fn only_what_was_compared_whole_without_a_difference_is_equal() {
    let equal = Verified { ended_ms: 1, ..Verified::default() };
    assert!(equal.is_equal() && !Verified::default().is_equal());
    for other in [
        Verified { busy: 1, ..equal.clone() },
        Verified { unread: 1, ..equal.clone() },
        Verified { ungrouped: 1, ..equal.clone() },
        Verified { missed: 1, ..equal.clone() },
        Verified { differences: BTreeMap::from([(Aspect::Mode, 1)]), ..equal.clone() },
    ] {
        assert!(!other.is_equal(), "{other:?}");
    }
}

#[test]
fn a_kind_of_difference_that_nobody_wrote_is_damage() {
    let mut queue = queue();
    queue.note_round(Depth::Quick, &round(None, true), &[(replica_id(1), verified(1))]).expect("note");
    queue.connection.execute("UPDATE differences SET aspect = 'taste' WHERE aspect = 'extra'", []).expect("damage");
    let read = queue.verified(replica_id(1));
    assert!(read.as_ref().is_err_and(crate::Error::is_damage), "{read:?}");
}
