//! What came of a verification for a replica, added to what is written down of its round.

use crate::Result;
use crate::audit::Verdict;
use crate::error::chain;
use fulmar_model::{Aspect, Depth};
use fulmar_store::{Measure, Verified};

/// When it was.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    /// When its round began, in milliseconds since 1970.
    pub(super) began_ms: i64,
    /// When it ended, in milliseconds since 1970.
    pub(super) ended_ms: i64,
}

/// The row of a quick verification. One that came to nothing leaves what is known from before, and says why.
pub(super) fn quick(before: Option<Verified>, came: &Result<Verdict>, when: When) -> Verified {
    match came {
        Ok(verdict) => with(Verified { began_ms: when.began_ms, ..Verified::default() }, verdict, when),
        Err(error) => Verified { failed: Some(chain(error)), ..before.unwrap_or_default() },
    }
}

/// The row of a deep round with another slice.
pub(super) fn slice(before: Option<Verified>, came: &Result<Verdict>, when: When) -> Verified {
    let row = before.unwrap_or(Verified { began_ms: when.began_ms, ..Verified::default() });
    match came {
        Ok(verdict) => with(row, verdict, when),
        Err(error) => Verified { failed: Some(chain(error)), missed: row.missed.saturating_add(1), ..row },
    }
}

/// The row of who takes no part.
pub(super) fn left_out(depth: Depth, before: Option<Verified>, why: &str, when: When) -> Verified {
    let row = before.unwrap_or(Verified { began_ms: when.began_ms, ..Verified::default() });
    let missed = row.missed.saturating_add(u64::from(depth == Depth::Deep));
    Verified { failed: Some(why.to_owned()), missed, ..row }
}

fn with(mut row: Verified, verdict: &Verdict, when: When) -> Verified {
    let tally = verdict.source.tally;
    row.covered.add(Measure { entries: tally.entries, bytes: tally.bytes });
    for (aspect, count) in &verdict.differences {
        let sum = row.differences.entry(*aspect).or_default();
        *sum = sum.saturating_add(*count);
    }
    if verdict.corrupt > 0 {
        // The replica has the same, and neither is what was recorded.
        let sum = row.differences.entry(Aspect::Content).or_default();
        *sum = sum.saturating_add(verdict.corrupt);
    }
    row.ended_ms = when.ended_ms;
    row.took_ms = row.took_ms.saturating_add(u64::try_from(verdict.took.as_millis()).unwrap_or(u64::MAX));
    row.busy = row.busy.saturating_add(verdict.busy);
    row.unread = row.unread.saturating_add(verdict.unread());
    row.ungrouped = row.ungrouped.saturating_add(u64::from(!verdict.links));
    row.failed = None;
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use fulmar_model::{Aspect, Tally};
    use std::collections::BTreeMap;

    fn verdict(entries: u64, content: u64) -> Verdict {
        let mut verdict = Verdict { links: true, ..Verdict::default() };
        verdict.source.tally = Tally { entries, files: entries, bytes: entries * 10 };
        if content > 0 {
            verdict.differences.insert(Aspect::Content, content);
        }
        verdict
    }

    #[test]
    fn slices_add_up_and_one_that_failed_is_missed() {
        let when = When { began_ms: 5, ended_ms: 9 };
        let one = slice(None, &Ok(verdict(3, 1)), when);
        assert_eq!((one.began_ms, one.ended_ms, one.covered), (5, 9, Measure { entries: 3, bytes: 30 }));
        let two = slice(Some(one), &Ok(verdict(4, 2)), When { began_ms: 5, ended_ms: 12 });
        assert_eq!((two.ended_ms, two.covered.entries), (12, 7));
        assert_eq!(two.differences, BTreeMap::from([(Aspect::Content, 3)]));
        let three = slice(Some(two.clone()), &Err(Error::SourceGone), When { began_ms: 5, ended_ms: 20 });
        assert_eq!((three.missed, three.ended_ms, three.covered), (1, 12, two.covered));
        assert_eq!(three.failed.as_deref(), Some("the source directory is gone"));
        let four = slice(Some(three), &Ok(verdict(1, 0)), When { began_ms: 5, ended_ms: 30 });
        assert_eq!((four.missed, four.failed), (1, None));
    }

    #[test]
    fn a_quick_one_that_came_to_nothing_leaves_the_last_result() {
        let before = quick(None, &Ok(verdict(3, 0)), When { began_ms: 5, ended_ms: 9 });
        assert!(before.is_equal());
        let later = When { began_ms: 50, ended_ms: 90 };
        let failed = quick(Some(before.clone()), &Err(Error::SourceGone), later);
        assert_eq!(Verified { failed: None, ..failed }, before);
        let away = left_out(Depth::Quick, Some(before.clone()), "away", later);
        assert_eq!((away.missed, away.ended_ms, away.failed.as_deref()), (0, 9, Some("away")));
        assert_eq!(left_out(Depth::Deep, Some(before.clone()), "away", later).missed, 1);
        let again = quick(Some(before), &Ok(verdict(2, 2)), later);
        assert_eq!((again.began_ms, again.covered.entries, again.difference_count()), (50, 2, 2));
        let mut ungrouped = verdict(1, 0);
        ungrouped.links = false;
        assert!(!quick(None, &Ok(ungrouped), later).is_equal());
    }
}
