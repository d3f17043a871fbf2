//! Claims about when what is verified, with a clock that is a number.

use super::*;
use std::num::NonZeroU64;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const WEEK: i64 = 7 * DAY;
/// When a test begins.
const START: i64 = 1_700_000_000_000;

fn periodic(quick: Option<i64>, deep: Option<i64>, random: u64) -> Periodic {
    let period = |ms: i64| Duration::from_millis(ms.unsigned_abs());
    let slice = Measure { entries: 100, bytes: 1 << 30 };
    Periodic { quick: quick.map(period), deep: deep.map(period), slice, rate: Periodic::RATE, random }
}

fn schedule(quick: Option<i64>, deep: Option<i64>, random: u64) -> Schedule {
    Schedule::new(periodic(quick, deep, random), START, None, None)
}

fn over(began_ms: i64, took_ms: i64) -> Round {
    Round { began_ms, paused_ms: began_ms + took_ms, over: true, ..Round::default() }
}

/// When something is due next, and what.
fn due(schedule: &mut Schedule, now: i64) -> (i64, Depth) {
    let at = match schedule.next(now) {
        Due::Verify(depth) => return (now, depth),
        Due::In(ms) => now + ms,
    };
    match schedule.next(at) {
        Due::Verify(depth) => (at, depth),
        Due::In(ms) => panic!("due {ms} ms after the moment it was said to be due"),
    }
}

/// When quick verifications begin that take so long.
fn quick_times(schedule: &mut Schedule, took_ms: i64, count: usize) -> Vec<i64> {
    let (mut now, mut times) = (START, Vec::new());
    for _ in 0..count {
        let (at, depth) = due(schedule, now);
        assert_eq!(depth, Depth::Quick);
        times.push(at);
        schedule.note(Depth::Quick, over(at, took_ms), took_ms);
        now = at + took_ms;
    }
    times
}

fn gaps(times: &[i64]) -> Vec<i64> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// A deep round of slices of 100 entries, each of which takes `took_ms`; gives when they began. `off`: nothing runs from
/// the first until the second.
fn deep_round(schedule: &mut Schedule, slices: u64, took_ms: i64, off: Option<(i64, i64)>) -> Vec<i64> {
    let (mut now, mut times) = (START, Vec::new());
    let whole = Measure { entries: 100 * slices, bytes: 0 };
    let mut round = Round::default();
    while !round.over {
        let (mut at, depth) = due(schedule, now);
        assert_eq!(depth, Depth::Deep);
        if let Some((from, to)) = off.filter(|(from, to)| at >= *from && at < *to && now < *to) {
            assert!(from < to);
            *schedule = Schedule::new(schedule.periodic.clone(), to, None, schedule.deep.clone());
            at = due(schedule, to).0;
        }
        if times.is_empty() {
            round = Round { began_ms: at, whole, ..Round::default() };
        }
        times.push(at);
        now = at + took_ms;
        round.done.add(Measure { entries: 100, bytes: 0 });
        round.over = round.done == whole;
        round.paused_ms = now;
        schedule.note(Depth::Deep, round.clone(), took_ms);
    }
    times
}

#[test]
fn quick_comes_once_a_period_a_tenth_earlier_or_later() {
    let times = quick_times(&mut schedule(Some(HOUR), None, 1), 1000, 500);
    let gaps = gaps(&times);
    assert!(gaps.iter().all(|gap| (HOUR * 9 / 10..=HOUR * 11 / 10).contains(gap)), "{gaps:?}");
    let mean = gaps.iter().sum::<i64>() / 499;
    assert!((HOUR - mean).abs() < HOUR / 100, "{mean}");
    assert!(gaps.iter().min() < Some(&(HOUR * 92 / 100)) && gaps.iter().max() > Some(&(HOUR * 108 / 100)));
}

#[test]
fn machines_that_are_started_together_begin_all_over_the_period() {
    let mut first: Vec<i64> = (0..100).map(|random| due(&mut schedule(Some(HOUR), None, random), START).0).collect();
    first.sort_unstable();
    assert!(first[5] < START + HOUR / 5 && first[95] > START + HOUR * 4 / 5 && first[99] < START + HOUR);
    let overdue = |random| Schedule::new(periodic(Some(HOUR), None, random), START, Some(over(START - DAY, 10)), None);
    let mut first: Vec<i64> = (0..100).map(|random| due(&mut overdue(random), START).0).collect();
    first.sort_unstable();
    assert!(first[99] < START + HOUR / 10 && first[99] - first[0] > HOUR / 20, "after a power cut that all have seen");
}

#[test]
fn a_quick_verification_that_takes_long_rests_nine_times_as_long() {
    let long = 20 * 60_000;
    let gaps = gaps(&quick_times(&mut schedule(Some(HOUR), None, 1), long, 10));
    assert!(gaps.iter().all(|gap| *gap == 10 * long), "{gaps:?}");
}

#[test]
fn a_period_that_is_shorter_than_the_work_makes_no_two_at_once() {
    let times = quick_times(&mut schedule(Some(1000), None, 1), 5000, 10);
    assert!(gaps(&times).iter().all(|gap| *gap == 5000), "{times:?}");
    let mut deep = schedule(None, Some(HOUR), 1);
    let times = deep_round(&mut deep, 50, 10 * 60_000, None);
    // As long a pause as work.
    assert!(gaps(&times).iter().all(|gap| *gap == 20 * 60_000), "{:?}", gaps(&times));
    let end = times[49] + 10 * 60_000;
    assert_eq!(due(&mut deep, end), (end + 10 * 60_000, Depth::Deep), "the next round follows");
}

#[test]
fn what_is_never_verified_is_never_due() {
    assert_eq!(schedule(None, None, 1).next(START), Due::In(i64::MAX));
    let known = Some(over(START - WEEK, 1));
    let mut off = Schedule::new(periodic(None, None, 1), START, known.clone(), known);
    assert_eq!(off.next(START + WEEK), Due::In(i64::MAX));
}

#[test]
fn the_slices_of_a_deep_round_are_spread_over_the_period() {
    for (slices, took) in [(1, 60_000), (7, 60_000), (300, 60_000), (5000, 50_000)] {
        let times = deep_round(&mut schedule(None, Some(WEEK), 3), slices, took, None);
        let last = times[times.len() - 1] + took - times[0];
        assert!(last <= WEEK * 95 / 100, "{slices} slices end after {last}");
        assert!(slices == 1 || last > WEEK / 2, "{slices} slices are over after {last}");
        let even = WEEK * 9 / 10 / i64::try_from(slices).expect("few");
        assert!(gaps(&times).iter().all(|gap| (even / 2..=even * 2).contains(gap)), "{slices}: {:?}", gaps(&times));
    }
}

#[test]
fn a_deep_round_goes_on_after_a_restart_where_it_was_and_no_later_for_many_restarts() {
    let mut schedule = schedule(None, Some(WEEK), 3);
    let round = Round {
        began_ms: START - DAY,
        paused_ms: START - HOUR,
        over: false,
        upto: Some(fulmar_model::RelPath::root()),
        done: Measure { entries: 500, bytes: 0 },
        whole: Measure { entries: 5000, bytes: 0 },
    };
    schedule.note(Depth::Deep, round, 0);
    let expected = due(&mut schedule, START).0;
    for minutes in 0..30 {
        let now = START + minutes * 60_000;
        let mut again = Schedule::new(schedule.periodic.clone(), now, None, schedule.deep.clone());
        // The start of each is waited for, up to ten minutes.
        let at = due(&mut again, now).0;
        assert!(at <= expected.max(now + START_MS_MAX) && at >= expected, "{minutes}: {}", at - expected);
    }
}

#[test]
fn a_deep_round_catches_up_after_a_downtime() {
    let half = START + WEEK / 2;
    let times = deep_round(&mut schedule(None, Some(WEEK), 3), 200, 60_000, Some((half, half + 2 * DAY)));
    assert!(times[199] - times[0] < WEEK * 95 / 100, "still in the period: {}", times[199] - times[0]);
    let lost = deep_round(&mut schedule(None, Some(WEEK), 3), 200, 60_000, Some((half, half + 2 * WEEK)));
    let behind: Vec<i64> = lost.into_iter().filter(|at| *at > half + WEEK).collect();
    assert!(behind.len() > 80, "{}", behind.len());
    assert!(gaps(&behind).iter().all(|gap| *gap == 120_000), "no faster than half of the time: {:?}", gaps(&behind));
}

#[test]
fn an_empty_tree_is_one_slice_a_period() {
    let mut schedule = schedule(None, Some(WEEK), 3);
    let (first, _) = due(&mut schedule, START);
    schedule.note(Depth::Deep, over(first, 10), 10);
    let (second, _) = due(&mut schedule, first + 10);
    assert!((WEEK * 9 / 10..=WEEK * 11 / 10).contains(&(second - first)), "{}", second - first);
}

#[test]
fn a_tree_that_grows_is_gone_through_to_its_end() {
    let mut schedule = schedule(None, Some(WEEK), 3);
    // Ten times as much was gone through as there was at the beginning.
    let done = Measure { entries: 5000, bytes: 1 << 40 };
    let whole = Measure { entries: 500, bytes: 1 << 37 };
    let round = Round { began_ms: START - DAY, paused_ms: START, over: false, upto: None, done, whole };
    schedule.note(Depth::Deep, round, 60_000);
    let (at, _) = due(&mut schedule, START);
    assert!(at > START && at <= START - DAY + WEEK, "{}", at - START);
}

#[test]
fn a_clock_that_is_set_back_delays_nothing_by_more_than_a_period() {
    for back in [60_000, HOUR, DAY, 365 * DAY] {
        let mut schedule = schedule(Some(HOUR), Some(WEEK), 3);
        let round = Round { began_ms: START, paused_ms: START + 1000, ..Round::default() };
        schedule.note(Depth::Quick, over(START, 1000), 1000);
        schedule.note(Depth::Deep, round, 1000);
        let mut now = START + 2000 - back;
        let mut seen = Vec::new();
        while now < START + 2000 - back + WEEK && seen.len() < 2 {
            match schedule.next(now) {
                Due::Verify(depth) => {
                    seen.push((depth, now - (START + 2000 - back)));
                    schedule.note(depth, over(now, 10), 10);
                }
                // Looked at every minute, as whoever waits does.
                Due::In(ms) => now += ms.min(60_000),
            }
        }
        assert!(matches!(seen[0], (Depth::Quick, after) if after <= HOUR * 11 / 10), "{back} back: {seen:?}");
    }
    let mut schedule = schedule(None, Some(WEEK), 3);
    schedule.note(Depth::Deep, Round { began_ms: START, paused_ms: START + DAY, ..Round::default() }, 1000);
    let (at, _) = due(&mut schedule, START - 365 * DAY);
    assert!(at - (START - 365 * DAY) <= WEEK, "{}", at - START);
}

#[test]
fn a_rest_does_not_outlast_a_clock_that_is_set_back() {
    let mut schedule = schedule(Some(1000), None, 3);
    schedule.note(Depth::Quick, over(START, 100_000), 100_000);
    assert_eq!(schedule.next(START + 100_000), Due::In(900_000));
    assert_eq!(schedule.next(START - DAY), Due::In(900_000));
}

#[test]
fn a_clock_that_jumps_ahead_makes_one_verification_due_and_not_many() {
    let mut schedule = schedule(Some(HOUR), None, 3);
    schedule.note(Depth::Quick, over(START, 10), 10);
    let later = START + 365 * DAY;
    assert_eq!(schedule.next(later), Due::Verify(Depth::Quick));
    schedule.note(Depth::Quick, over(later, 10), 10);
    assert!(matches!(schedule.next(later + 10), Due::In(ms) if ms > HOUR / 2));
}

#[test]
fn of_two_that_are_due_the_one_that_is_late_by_more_goes_first() {
    let known = |began| Some(over(began, 10));
    let both = periodic(Some(HOUR), Some(WEEK), 3);
    for (quick, deep, first, second) in [
        (START - 5 * HOUR, START - WEEK - 2 * DAY, Depth::Deep, Depth::Quick),
        (START - 5 * DAY, START - WEEK - DAY, Depth::Quick, Depth::Deep),
    ] {
        let mut schedule = Schedule::new(both.clone(), START - WEEK, known(quick), known(deep));
        assert_eq!(schedule.next(START), Due::Verify(first));
        schedule.note(first, over(START, 10), 10);
        assert_eq!(schedule.next(START + 10), Due::Verify(second));
    }
}

#[test]
fn a_quick_one_that_is_always_due_does_not_keep_a_deep_round_away() {
    let mut schedule = schedule(Some(1000), Some(HOUR), 3);
    let (mut now, mut slices) = (START, 0);
    let mut round = Round { began_ms: START, paused_ms: START, ..Round::default() };
    round.whole.entries = 1000;
    while now < START + HOUR {
        match schedule.next(now) {
            Due::Verify(Depth::Quick) => {
                now += 5000;
                schedule.note(Depth::Quick, over(now - 5000, 5000), 5000);
            }
            Due::Verify(Depth::Deep) => {
                now += 5000;
                slices += 1;
                (round.paused_ms, round.done.entries) = (now, slices * 100);
                round.over = slices == 10;
                schedule.note(Depth::Deep, round.clone(), 5000);
            }
            Due::In(ms) => now += ms,
        }
    }
    assert_eq!(slices, 10);
}

#[test]
fn a_deep_round_is_read_at_the_usual_rate_unless_it_takes_more_and_never_without_a_bound() {
    for (bytes, seconds, expected) in [
        (0, 604_800, 20_000_000),
        (1 << 40, 604_800, 20_000_000),
        // Twice as fast as usual, to be read in a quarter of the period.
        (6_048_000_000_000, 604_800, 40_000_000),
        (u64::MAX, 604_800, 200_000_000),
        (1 << 40, 1, 200_000_000),
    ] {
        let mut schedule = schedule(Some(HOUR), Some(seconds * 1000), 1);
        schedule.note(Depth::Deep, Round { whole: Measure { entries: 1, bytes }, ..Round::default() }, 1);
        assert_eq!(schedule.rate(Depth::Deep).get(), expected, "{bytes} bytes in {seconds} s");
        assert_eq!(schedule.rate(Depth::Quick), Periodic::RATE);
    }
    let slow = Periodic { rate: NonZeroU64::MIN, ..periodic(None, Some(WEEK), 1) };
    assert_eq!(Schedule::new(slow, START, None, None).rate(Depth::Deep).get(), 1);
}

#[test]
fn who_is_away_is_left_out_and_who_falls_behind_is_waited_for_half_a_period() {
    use Standing::{Away, Behind, Ready};
    let at = |schedule: &mut Schedule, replicas: &[Standing], asked, now| {
        schedule.admit(Depth::Quick, replicas, asked, now) == Admission::Go
    };
    let mut schedule = schedule(Some(HOUR), None, 1);
    assert!(at(&mut schedule, &[Ready, Ready], false, START));
    assert!(at(&mut schedule, &[Ready, Away], false, START));
    assert!(!at(&mut schedule, &[Away, Away], false, START), "nobody is there");
    assert!(!at(&mut schedule, &[Behind], false, START + 10 * HOUR), "nobody is ready");
    assert!(at(&mut schedule, &[Ready], false, START + 10 * HOUR));
    let now = START + 20 * HOUR;
    assert!(!at(&mut schedule, &[Ready, Behind], false, now));
    assert!(!at(&mut schedule, &[Ready, Behind], false, now + HOUR / 2 - 1));
    assert!(!at(&mut schedule, &[Ready, Behind], true, now + HOUR), "a person comes first");
    assert!(at(&mut schedule, &[Ready, Behind], false, now + HOUR / 2));
    assert!(!at(&mut schedule, &[Ready, Behind], false, now + HOUR), "waited for anew");
}
