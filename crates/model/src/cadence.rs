//! How often something is done: at once after a quiet moment, and under load in steady intervals, so that what comes
//! meanwhile goes together. Pure: time comes in as a parameter.

use std::time::{Duration, Instant};

/// Turns that come back one an interval, up to a number.
#[derive(Clone, Debug)]
pub struct Cadence {
    interval: Duration,
    /// How far `full` may be ahead of the clock while a turn is left.
    ahead: Duration,
    /// When every turn is there again.
    full: Instant,
}

impl Cadence {
    /// `turns`: how many are there after a quiet moment, at least one.
    pub fn new(interval: Duration, turns: u32, now: Instant) -> Self {
        Self { interval, ahead: interval * turns.saturating_sub(1), full: now }
    }

    /// How long it is until there is a turn.
    pub fn wait(&self, now: Instant) -> Duration {
        self.full.saturating_duration_since(now + self.ahead)
    }

    /// Takes a turn, which may be one that is not there yet.
    pub fn take(&mut self, now: Instant) {
        self.full = self.full.max(now) + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(10);

    #[test]
    fn turns_are_there_at_once_after_a_quiet_moment_and_then_one_an_interval() {
        let mut now = Instant::now();
        let mut cadence = Cadence::new(INTERVAL, 3, now);
        for _ in 0..2 {
            for _ in 0..3 {
                assert_eq!(cadence.wait(now), Duration::ZERO);
                cadence.take(now);
            }
            for _ in 0..5 {
                assert_eq!(cadence.wait(now), INTERVAL);
                now += INTERVAL;
                assert_eq!(cadence.wait(now), Duration::ZERO);
                cadence.take(now);
            }
            // However long it is quiet, no more than all of them come back.
            now += INTERVAL * 100;
        }
    }

    #[test]
    fn a_turn_that_was_taken_early_is_waited_for_later() {
        let now = Instant::now();
        let mut cadence = Cadence::new(INTERVAL, 1, now);
        cadence.take(now);
        cadence.take(now);
        assert_eq!(cadence.wait(now), INTERVAL * 2);
    }
}
