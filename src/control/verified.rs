//! What `status` says of the periodic verifier, as JSON.

use fulmar_primary::VerifyStatus;
use fulmar_store::{self as store, VerifiedRounds};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How a tree is verified.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Verifying {
    /// How often quickly, in milliseconds; null: never.
    pub quick_every_ms: Option<u64>,
    /// In which time deeply, in milliseconds; null: never.
    pub deep_every_ms: Option<u64>,
    /// The deep round under way, or the last.
    pub round: Option<Round>,
}

/// A deep round.
#[derive(Debug, Serialize, Deserialize)]
pub struct Round {
    /// When it began, in milliseconds since 1970.
    pub began_ms: i64,
    /// Whether all of the tree was gone through.
    pub over: bool,
    /// How much of it was, of a hundred.
    pub percent: u64,
    /// Paths gone through.
    pub entries: u64,
    /// Bytes gone through.
    pub bytes: u64,
    /// Paths when it began.
    pub entries_all: u64,
    /// Bytes when it began.
    pub bytes_all: u64,
}

/// What is known of a replica.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Rounds {
    /// Of the last quick verification.
    pub quick: Option<Verified>,
    /// Of the last deep round that is over.
    pub deep: Option<Verified>,
    /// Of the deep round under way.
    pub under_way: Option<Verified>,
}

/// What came of one.
#[derive(Debug, Serialize, Deserialize)]
pub struct Verified {
    /// When the round began, in milliseconds since 1970.
    pub began_ms: i64,
    /// When the replica was last compared in it, in milliseconds since 1970; null: never.
    pub ended_ms: Option<i64>,
    /// How long comparing took, in milliseconds.
    pub took_ms: u64,
    /// Whether everything was compared, and is the same.
    pub equal: bool,
    /// Paths compared.
    pub entries: u64,
    /// Bytes of the files among them.
    pub bytes: u64,
    /// Number of differences.
    pub differences: u64,
    /// The same by the words of docs/audit.md.
    pub by_kind: BTreeMap<String, u64>,
    /// Paths that kept changing.
    pub busy: u64,
    /// Paths that one side could not read.
    pub unreadable: u64,
    /// Whether names of one file were all compared.
    pub hard_links_compared: bool,
    /// Slices in which the replica took no part.
    pub missed: u64,
    /// Why the last attempt came to nothing.
    pub error: Option<String>,
}

impl From<&VerifyStatus> for Verifying {
    fn from(status: &VerifyStatus) -> Self {
        let ms = |every: Duration| u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        Self {
            quick_every_ms: status.quick_every.map(ms),
            deep_every_ms: status.deep_every.map(ms),
            round: status.deep.as_ref().map(Round::from),
        }
    }
}

impl From<&store::Round> for Round {
    fn from(round: &store::Round) -> Self {
        Self {
            began_ms: round.began_ms,
            over: round.over,
            percent: round.percent(),
            entries: round.done.entries,
            bytes: round.done.bytes,
            entries_all: round.whole.entries,
            bytes_all: round.whole.bytes,
        }
    }
}

impl From<&VerifiedRounds> for Rounds {
    fn from(rounds: &VerifiedRounds) -> Self {
        let VerifiedRounds { quick, deep, under_way } = rounds;
        let [quick, deep, under_way] = [quick, deep, under_way].map(|one| one.as_ref().map(Verified::from));
        Self { quick, deep, under_way }
    }
}

impl From<&store::Verified> for Verified {
    fn from(verified: &store::Verified) -> Self {
        let by_kind = verified.differences.iter().map(|(aspect, count)| (aspect.word().to_owned(), *count));
        Self {
            began_ms: verified.began_ms,
            ended_ms: Some(verified.ended_ms).filter(|ended| *ended > 0),
            took_ms: verified.took_ms,
            equal: verified.is_equal(),
            entries: verified.covered.entries,
            bytes: verified.covered.bytes,
            differences: verified.difference_count(),
            by_kind: by_kind.collect(),
            busy: verified.busy,
            unreadable: verified.unread,
            hard_links_compared: verified.ungrouped == 0,
            missed: verified.missed,
            error: verified.failed.clone(),
        }
    }
}
