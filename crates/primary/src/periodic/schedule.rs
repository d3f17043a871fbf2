//! When what is verified: pure, with the clock as a parameter.
//!
//! - *Quick*: the whole tree, once a period; a tenth of the period earlier or later, so that machines that were started
//!   together do not verify together for ever. One that took long rests for [`REST_TIMES`] as long, whatever the period.
//! - *Deep*: in slices, spread over [`SPREAD_PERCENT`] of the period. Each pause follows from what is left of the round and of the
//!   period, counted from the end of the last slice, which outlives a restart. So it catches up after a downtime; but a slice
//!   is followed by a pause as long as it took, and read at a bounded rate ([`Schedule::rate`]), so that a period which is too
//!   short makes a round late and nothing else.
//! - *Waiting*: while a person's verification runs, and while a replica compares or falls behind; those for half of the period at
//!   most, then such a replica is left out. One that is away is left out at once.
//!
//! A clock that was set back makes nothing wait longer than a period: what seems to lie ahead is taken to be just over.

use fulmar_model::Depth;
use fulmar_store::{Measure, Round};
use std::num::NonZeroU64;
use std::time::Duration;

/// How many times as long as it took nothing is verified quickly again, ...
const REST_TIMES: u64 = 9;
/// ... if it took that long. What is shorter costs little however often it is done.
const LONG_MS: i64 = 60_000;
/// How much of the period the slices of a deep round are spread over; the rest is a reserve.
const SPREAD_PERCENT: i64 = 90;
/// A deep round reads for this part of the period, one in so many, at least if the rate lets it.
const READING_PART: u64 = 4;
/// How many times the usual rate is read where the period demands it.
const RATE_TIMES_MAX: u64 = 10;
/// What came to nothing is tried again after that, or after its period.
const AGAIN_MS: i64 = 60_000;
/// What is due at a start waits for a random part of a tenth of the period, and of this at most.
const START_MS_MAX: i64 = 600_000;

/// How a follow verifies by itself.
#[derive(Clone, Debug)]
pub struct Periodic {
    /// How often all is compared as far as stat data tell; `None`: never.
    pub quick: Option<Duration>,
    /// In which time every byte is compared once; `None`: never.
    pub deep: Option<Duration>,
    /// Work of a slice at most. A directory that has more is a slice by itself.
    pub slice: Measure,
    /// Bytes read a second on each side, unless a deep round could not be made in its period.
    pub rate: NonZeroU64,
    /// For jitter.
    pub random: u64,
}

impl Periodic {
    /// Work of a slice at most: a minute of reading at the usual rate.
    pub const SLICE: Measure = Measure { entries: 20_000, bytes: 1 << 30 };
    /// Bytes read a second on each side: a part of what one disk gives.
    pub const RATE: NonZeroU64 = NonZeroU64::new(20_000_000).expect("not zero");
}

/// How a replica stands when something is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It takes part.
    Ready,
    /// It compares, or falls behind: worth waiting for.
    Behind,
    /// It is not connected.
    Away,
}

impl Standing {
    /// Why it takes no part.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ready => "it was not compared",
            Self::Behind => "the replica fell behind",
            Self::Away => "the replica was away",
        }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// This, with the whole tree or the next slice.
    Verify(Depth),
    /// Nothing for so many milliseconds.
    In(i64),
}

/// Whether what is due may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// With those that are ready; the others are left out, and told.
    Go,
    /// Not yet.
    Wait,
}

/// The state: the last round of each depth, and what it cost.
#[derive(Debug)]
pub(crate) struct Schedule {
    periodic: Periodic,
    started_ms: i64,
    quick: Option<Round>,
    deep: Option<Round>,
    /// Not before, in milliseconds since 1970.
    rest_until_ms: [i64; 2],
    /// How long the last slice took; 0: none since the start.
    slice_took_ms: i64,
    waits_since_ms: Option<i64>,
    seen_ms: i64,
}

impl Schedule {
    /// Goes on behind these rounds.
    pub(crate) fn new(periodic: Periodic, now_ms: i64, quick: Option<Round>, deep: Option<Round>) -> Self {
        let rest_until_ms = [i64::MIN; 2];
        let (started_ms, seen_ms, slice_took_ms, waits_since_ms) = (now_ms, now_ms, 0, None);
        Self { periodic, started_ms, quick, deep, rest_until_ms, slice_took_ms, waits_since_ms, seen_ms }
    }

    /// What is to be done now, or how long there is nothing to do.
    pub(crate) fn next(&mut self, now_ms: i64) -> Due {
        self.follow_clock(now_ms);
        let due = [(Depth::Quick, self.quick_at()), (Depth::Deep, self.deep_at())];
        let due = due.into_iter().filter_map(|(depth, at)| Some((depth, at?)));
        // Of two that are due the one that is late by more goes first, so that neither keeps the other away.
        match due.min_by_key(|(_, at)| *at) {
            Some((depth, at)) if at <= now_ms => Due::Verify(depth),
            Some((_, at)) => Due::In(at.saturating_sub(now_ms)),
            None => Due::In(i64::MAX),
        }
    }

    /// Whether it may begin; `asked`: a person verifies.
    pub(crate) fn admit(&mut self, depth: Depth, replicas: &[Standing], asked: bool, now_ms: i64) -> Admission {
        let any = |standing| replicas.contains(&standing);
        let since = *self.waits_since_ms.get_or_insert(now_ms);
        let patient = now_ms.saturating_sub(since) < self.period(depth).unwrap_or(0) / 2;
        if asked || !any(Standing::Ready) || (any(Standing::Behind) && patient) {
            return Admission::Wait;
        }
        self.waits_since_ms = None;
        Admission::Go
    }

    /// Bytes to be read a second: the usual, or what it takes to read the tree in a part of the period, up to a bound.
    pub(crate) fn rate(&self, depth: Depth) -> NonZeroU64 {
        let usual = self.periodic.rate;
        let whole = self.deep.as_ref().map_or(0, |round| round.whole.bytes);
        let Some(period) = self.periodic.deep.filter(|_| depth == Depth::Deep) else { return usual };
        let seconds = (period.as_secs() / READING_PART).max(1);
        let needed = (whole / seconds).min(usual.get().saturating_mul(RATE_TIMES_MAX));
        NonZeroU64::new(needed).map_or(usual, |needed| needed.max(usual))
    }

    /// The round that is under way or was the last.
    pub(crate) fn round(&self, depth: Depth) -> Option<&Round> {
        match depth {
            Depth::Quick => self.quick.as_ref(),
            Depth::Deep => self.deep.as_ref(),
        }
    }

    /// A round has begun, or is further, or over; `took_ms`: what was done just then.
    pub(crate) fn note(&mut self, depth: Depth, round: Round, took_ms: i64) {
        let rest = match depth {
            Depth::Quick if took_ms < LONG_MS => 0,
            Depth::Quick => took_ms.saturating_mul(i64::try_from(REST_TIMES).unwrap_or(i64::MAX)),
            Depth::Deep => took_ms,
        };
        self.rest_until(depth, round.paused_ms.saturating_add(rest));
        match depth {
            Depth::Quick => self.quick = Some(round),
            Depth::Deep => (self.deep, self.slice_took_ms) = (Some(round), took_ms),
        }
    }

    /// It came to nothing for every replica, and is tried again soon.
    pub(crate) fn failed(&mut self, depth: Depth, now_ms: i64) {
        let pause = self.period(depth).unwrap_or(AGAIN_MS).min(AGAIN_MS);
        self.rest_until(depth, now_ms.saturating_add(pause));
    }

    fn rest_until(&mut self, depth: Depth, at_ms: i64) {
        let [quick, deep] = &mut self.rest_until_ms;
        *(if depth == Depth::Quick { quick } else { deep }) = at_ms;
    }

    fn quick_at(&self) -> Option<i64> {
        let period = self.period(Depth::Quick)?;
        let at = match &self.quick {
            // Followed since the start, which compared where it had to.
            None => self.started_ms.saturating_add(self.part_of(period, self.periodic.random)),
            Some(round) => round.began_ms.saturating_add(self.about(period, round)),
        };
        Some(at.max(self.started_ms.saturating_add(self.start(period))).max(self.rest_until_ms[0]))
    }

    fn deep_at(&self) -> Option<i64> {
        let period = self.period(Depth::Deep)?;
        let begins = self.started_ms.saturating_add(self.start(period));
        let at = match &self.deep {
            None => begins,
            Some(round) if round.over => round.began_ms.saturating_add(self.about(period, round)),
            Some(round) => {
                let end = round.began_ms.saturating_add(period.saturating_mul(SPREAD_PERCENT) / 100);
                let left = end.saturating_sub(round.paused_ms).max(0);
                // The next one will take as long as the last one.
                round
                    .paused_ms
                    .saturating_add((left / self.slices_left(round)).saturating_sub(self.slice_took_ms).max(0))
            }
        };
        Some(at.max(begins).max(self.rest_until_ms[1]))
    }

    /// No fewer than there will be, and one at least: the tree may have grown.
    fn slices_left(&self, round: &Round) -> i64 {
        let Measure { entries, bytes } = self.periodic.slice;
        let of = |whole: u64, done: u64, each: u64| whole.saturating_sub(done).div_ceil(each.max(1));
        let by_entries = of(round.whole.entries, round.done.entries, entries);
        let by_bytes = of(round.whole.bytes, round.done.bytes, bytes);
        i64::try_from(by_entries.saturating_add(by_bytes)).unwrap_or(i64::MAX).max(1)
    }

    fn period(&self, depth: Depth) -> Option<i64> {
        let period = if depth == Depth::Quick { self.periodic.quick } else { self.periodic.deep };
        period.map(|period| i64::try_from(period.as_millis()).unwrap_or(i64::MAX).max(1))
    }

    /// A period, a tenth shorter or longer by chance: other chances for each round.
    fn about(&self, period: i64, round: &Round) -> i64 {
        let tenth = period / 10;
        period - tenth + self.part_of(tenth.saturating_mul(2), self.periodic.random ^ round.began_ms.cast_unsigned())
    }

    fn start(&self, period: i64) -> i64 {
        self.part_of((period / 10).min(START_MS_MAX), self.periodic.random.rotate_left(32))
    }

    /// A random part of a time.
    fn part_of(&self, whole: i64, random: u64) -> i64 {
        // The finisher of splitmix64 (Steele, Lea, Flood 2014): neighbouring numbers have nothing in common behind it.
        let mut z = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let part = (z ^ (z >> 31)) % whole.max(1).cast_unsigned();
        i64::try_from(part).unwrap_or(0)
    }

    /// Moves what lies ahead of a clock that was set back to just now.
    fn follow_clock(&mut self, now_ms: i64) {
        for round in [&mut self.quick, &mut self.deep].into_iter().flatten() {
            let ahead = round.paused_ms.max(round.began_ms).saturating_sub(now_ms);
            if ahead > 0 {
                round.began_ms = round.began_ms.saturating_sub(ahead);
                round.paused_ms = round.paused_ms.saturating_sub(ahead);
            }
        }
        let back = self.seen_ms.saturating_sub(now_ms);
        if back > 0 {
            self.rest_until_ms = self.rest_until_ms.map(|at| at.saturating_sub(back));
        }
        self.seen_ms = now_ms;
        self.started_ms = self.started_ms.min(now_ms);
        self.waits_since_ms = self.waits_since_ms.map(|since| since.min(now_ms));
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
