//! Why two sides differ: what each of them recorded, beside what each of them has.

use crate::{Aspect, Look, Recorded, Standing};

/// Whose doing a difference is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Blame {
    /// The source is not as it was last seen, and nobody noticed.
    Missed,
    /// The replica is not as it was left: somebody changed it there.
    Drift,
    /// Each side is as it is recorded to be, and that is not the same: a change has not reached the replica.
    NeverArrived,
    /// The source's content has changed without a write.
    CorruptSource,
    /// The replica's content has.
    CorruptReplica,
}

impl Blame {
    /// Each of them, the gravest first.
    pub const ALL: [Self; 5] =
        [Self::CorruptSource, Self::CorruptReplica, Self::Drift, Self::Missed, Self::NeverArrived];

    /// The word of reports and their machine-readable form; never changed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Drift => "drift",
            Self::NeverArrived => "never-arrived",
            Self::CorruptSource => "corrupt-source",
            Self::CorruptReplica => "corrupt-replica",
        }
    }

    /// The reverse of [`Blame::word`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|blame| blame.word() == word)
    }

    /// Whose doing it is that two sides, seen like this, differ in `aspect`; `None` where the source has no records to tell.
    pub fn of(aspect: Aspect, source: &Look, replica: &Look) -> Option<Self> {
        let here = source.recorded?.standing;
        let there = replica.recorded.map(|recorded| recorded.standing);
        // Rot is in the content, and explains nothing else.
        let is = |standing, wanted| standing == wanted && aspect == Aspect::Content;
        Some(match (here, there) {
            (here, _) if is(here, Standing::Corrupt) => Self::CorruptSource,
            (_, Some(there)) if is(there, Standing::Corrupt) => Self::CorruptReplica,
            // Whatever else has happened: what somebody did there is at stake.
            (_, Some(Standing::Changed)) => Self::Drift,
            (Standing::Changed, _) => Self::Missed,
            _ => Self::NeverArrived,
        })
    }
}

/// Whether the replica has the content that the source should have.
pub fn holds_good_copy(source: &Look, replica: &Look) -> bool {
    let wanted = source.recorded.and_then(|Recorded { hash, .. }| hash);
    wanted.is_some() && replica.hash() == wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sighting;

    fn look(standing: Option<Standing>) -> Look {
        let recorded = standing.map(|standing| Recorded { standing, hash: None });
        Look { what: Sighting::Absent, steady: true, version: 0, age_ms: 0, recorded }
    }

    #[test]
    fn blame_follows_from_what_each_side_recorded() {
        use Standing::{Changed, Corrupt, Kept};
        for (aspect, source, replica, expected) in [
            (Aspect::Content, Some(Kept), Some(Kept), Some(Blame::NeverArrived)),
            (Aspect::Content, Some(Changed), Some(Kept), Some(Blame::Missed)),
            (Aspect::Content, Some(Kept), Some(Changed), Some(Blame::Drift)),
            (Aspect::Content, Some(Changed), Some(Changed), Some(Blame::Drift)),
            (Aspect::Content, Some(Corrupt), Some(Kept), Some(Blame::CorruptSource)),
            (Aspect::Content, Some(Corrupt), Some(Changed), Some(Blame::CorruptSource)),
            (Aspect::Content, Some(Kept), Some(Corrupt), Some(Blame::CorruptReplica)),
            (Aspect::Content, Some(Changed), Some(Corrupt), Some(Blame::CorruptReplica)),
            (Aspect::Mode, Some(Corrupt), Some(Kept), Some(Blame::NeverArrived)),
            (Aspect::Mode, Some(Corrupt), Some(Changed), Some(Blame::Drift)),
            (Aspect::Extra, Some(Kept), Some(Changed), Some(Blame::Drift)),
            (Aspect::Missing, Some(Kept), None, Some(Blame::NeverArrived)),
            (Aspect::Missing, Some(Changed), None, Some(Blame::Missed)),
            (Aspect::Missing, None, Some(Kept), None),
        ] {
            assert_eq!(Blame::of(aspect, &look(source), &look(replica)), expected, "{aspect:?} {source:?} {replica:?}");
        }
    }

    #[test]
    fn every_word_is_read_back() {
        assert!(Blame::ALL.iter().all(|blame| Blame::from_word(blame.word()) == Some(*blame)));
    }
}
