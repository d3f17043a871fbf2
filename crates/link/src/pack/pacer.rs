//! How hard to work on what is sent next: judged by what became of what was sent before.
//!
//! What does not shrink is sent as it is for a while, then tried again; the more often in vain, the longer the while.
//! What shrinks is compressed harder while the link is slower than the processor, and less hard when it is not.

use std::time::Duration;

/// Level 9 takes twice the memory of level 8 (12 MiB to 6), and text is hardly a hundredth smaller for it.
const LEVELS: std::ops::RangeInclusive<i32> = 1..=8;
/// Before anything is known of the link.
const LEVEL_FIRST: i32 = 3;
/// Bytes after which the gain is judged.
const SAMPLE_BYTES: u64 = 128 * 1024;
/// A sample that keeps more of its size, in hundredths, is not worth the work.
const KEPT_PERCENT_MAX: u64 = 95;
/// Bytes that are sent as they are before the next sample, after the first one in vain and after many.
const STORED_BYTES_MIN: u64 = 1024 * 1024;
const STORED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes after which the level is judged. A change costs what the stream remembers, so it must be rare.
const SPAN_BYTES: u64 = 1024 * 1024;
/// The level rises when writing takes more than so many times as long as compressing, and falls when it takes less time.
/// The next level takes about half as long again: between the two there is room, so that a steady link keeps its level.
const PATIENCE: u32 = 3;

/// What is done with bytes that are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Sent as they are.
    Stored,
    /// Compressed at this level.
    Level(i32),
}

/// What sending took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Bytes before.
    pub(crate) raw_bytes: u64,
    /// Bytes after.
    pub(crate) packed_bytes: u64,
    /// Time the processor took to compress them.
    pub(crate) packing: Duration,
    /// Time the link took to accept them.
    pub(crate) writing: Duration,
}

impl Cost {
    fn add(&mut self, other: &Self) {
        self.raw_bytes += other.raw_bytes;
        self.packed_bytes += other.packed_bytes;
        self.packing += other.packing;
        self.writing += other.writing;
    }
}

/// Chooses the effort for one direction of a link.
#[derive(Debug)]
pub(crate) struct Pacer {
    level: i32,
    /// Bytes that are still sent as they are.
    stored_bytes: u64,
    /// The same at the beginning of the next such while.
    stored_bytes_next: u64,
    /// Since the gain was judged.
    sample: Cost,
    /// Since the level was judged.
    span: Cost,
}

impl Pacer {
    pub(crate) fn new() -> Self {
        Self {
            level: LEVEL_FIRST,
            stored_bytes: 0,
            stored_bytes_next: STORED_BYTES_MIN,
            sample: Cost::default(),
            span: Cost::default(),
        }
    }

    /// For what is sent next.
    pub(crate) fn effort(&self) -> Effort {
        if self.stored_bytes > 0 { Effort::Stored } else { Effort::Level(self.level) }
    }

    /// Something was sent with the effort that was asked for.
    pub(crate) fn sent(&mut self, cost: &Cost) {
        if self.stored_bytes > 0 {
            self.stored_bytes = self.stored_bytes.saturating_sub(cost.raw_bytes);
            return;
        }
        self.span.add(cost);
        if self.span.raw_bytes >= SPAN_BYTES {
            self.judge_level();
        }
        self.sample.add(cost);
        if self.sample.raw_bytes >= SAMPLE_BYTES {
            self.judge_gain();
        }
    }

    fn judge_level(&mut self) {
        let Cost { packing, writing, .. } = std::mem::take(&mut self.span);
        if writing > packing * PATIENCE {
            self.level = (self.level + 1).min(*LEVELS.end());
        } else if writing < packing {
            self.level = (self.level - 1).max(*LEVELS.start());
        }
    }

    fn judge_gain(&mut self) {
        let Cost { raw_bytes, packed_bytes, .. } = std::mem::take(&mut self.sample);
        if packed_bytes * 100 > raw_bytes * KEPT_PERCENT_MAX {
            self.stored_bytes = self.stored_bytes_next;
            self.stored_bytes_next = (self.stored_bytes_next * 2).min(STORED_BYTES_MAX);
        } else {
            self.stored_bytes_next = STORED_BYTES_MIN;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    /// `raw` KiB that keep so many hundredths of their size.
    fn shrunk(raw: u64, percent: u64) -> Cost {
        Cost { raw_bytes: raw * KIB, packed_bytes: raw * KIB * percent / 100, ..Cost::default() }
    }

    /// A whole span of compressible bytes that took so many milliseconds.
    fn span(packing: u64, writing: u64) -> Cost {
        let (packing, writing) = (Duration::from_millis(packing), Duration::from_millis(writing));
        Cost { packing, writing, ..shrunk(SPAN_BYTES / KIB, 50) }
    }

    /// How many KiB are sent as they are until the next try.
    fn stored(pacer: &mut Pacer) -> u64 {
        (0..).find(|_| pacer.effort() != Effort::Stored || (pacer.sent(&shrunk(1, 100)), false).1).expect("it ends")
    }

    #[test]
    fn what_does_not_shrink_is_sent_as_it_is_ever_longer() {
        let mut pacer = Pacer::new();
        for expected in [1, 2, 4, 8, 16, 16] {
            assert_eq!(pacer.effort(), Effort::Level(LEVEL_FIRST));
            pacer.sent(&shrunk(64, 100));
            assert_eq!(pacer.effort(), Effort::Level(LEVEL_FIRST), "half a sample says nothing");
            pacer.sent(&shrunk(64, 100));
            assert_eq!(stored(&mut pacer), expected * KIB);
        }
        // Something that shrinks came in between.
        pacer.sent(&shrunk(128, 40));
        pacer.sent(&shrunk(128, 100));
        assert_eq!(stored(&mut pacer), KIB);
    }

    #[test]
    fn what_shrinks_by_a_twentieth_is_compressed() {
        for (percent, effort) in [(94, Effort::Level(LEVEL_FIRST)), (96, Effort::Stored), (101, Effort::Stored)] {
            let mut pacer = Pacer::new();
            pacer.sent(&shrunk(128, percent));
            assert_eq!(pacer.effort(), effort, "{percent} %");
        }
    }

    #[test]
    fn the_level_rises_while_the_link_is_slow_and_falls_while_the_processor_is() {
        let table = [
            (0, 100, LEVEL_FIRST + 1),
            (10, 31, LEVEL_FIRST + 1),
            (10, 30, LEVEL_FIRST),
            (10, 10, LEVEL_FIRST),
            (10, 9, LEVEL_FIRST - 1),
            (10, 0, LEVEL_FIRST - 1),
        ];
        for (packing, writing, level) in table {
            let mut pacer = Pacer::new();
            pacer.sent(&span(packing, writing));
            assert_eq!(pacer.effort(), Effort::Level(level), "{packing} ms of packing, {writing} ms of writing");
        }
    }

    #[test]
    fn the_level_stays_in_its_range() {
        let mut pacer = Pacer::new();
        for _ in 0..20 {
            pacer.sent(&span(1, 100));
        }
        assert_eq!(pacer.effort(), Effort::Level(*LEVELS.end()));
        for _ in 0..20 {
            pacer.sent(&span(100, 1));
        }
        assert_eq!(pacer.effort(), Effort::Level(*LEVELS.start()));
    }

    #[test]
    fn a_short_span_does_not_move_the_level() {
        let mut pacer = Pacer::new();
        for _ in 0..SPAN_BYTES / KIB - 1 {
            pacer.sent(&Cost { writing: Duration::from_secs(1), ..shrunk(1, 50) });
        }
        assert_eq!(pacer.effort(), Effort::Level(LEVEL_FIRST));
        pacer.sent(&shrunk(1, 50));
        assert_eq!(pacer.effort(), Effort::Level(LEVEL_FIRST + 1));
    }
}
