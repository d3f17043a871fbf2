//! What the periodic verifier found, in few words for people.

use crate::control::{Rounds, Verified, Verifying};
use fulmar_model::Aspect;

/// A line below a replica; `None`: nothing is verified, and nothing is known.
pub fn words(verify: &Verifying, rounds: &Rounds, now_ms: i64) -> Option<String> {
    let ago = |ms: i64| age(now_ms.saturating_sub(ms).max(0));
    let mut parts = Vec::new();
    match &rounds.quick {
        Some(quick) => {
            let ended = quick.ended_ms.map(|ended| format!("verified {} ago, {}", ago(ended), result(quick)));
            let error = quick.error.as_ref().map(|error| format!("not verified the last time: {error}"));
            parts.extend(ended.into_iter().chain(error));
        }
        None if verify.quick_every_ms.is_some() => parts.push("not verified yet".to_owned()),
        None => {}
    }
    let last = rounds.deep.as_ref();
    match verify.round.as_ref().filter(|round| !round.over) {
        Some(round) => {
            let mut pass = format!("deep {} % of the pass begun {} ago", round.percent, ago(round.began_ms));
            if let Some(so_far) = rounds.under_way.as_ref().filter(|so_far| !so_far.equal) {
                pass += &format!(", so far {}", result(so_far));
            }
            if let Some(last) = last {
                pass += &format!(", last pass {}", result(last));
            }
            parts.push(pass);
        }
        None => parts.extend(last.and_then(|last| {
            let ended = last.ended_ms?;
            Some(format!("deep {} ago, {}", ago(ended), result(last)))
        })),
    }
    let error = rounds.under_way.as_ref().and_then(|under_way| under_way.error.as_ref());
    parts.extend(error.map(|error| format!("not verified deeply the last time: {error}")));
    Some(parts.join("; ")).filter(|words| !words.is_empty())
}

fn result(verified: &Verified) -> String {
    if verified.equal {
        return "equal".to_owned();
    }
    let counted = |count: u64, one: &str, many: &str| {
        let word = if count == 1 { one } else { many };
        (count > 0).then(|| format!("{count} {word}"))
    };
    let extra = verified.by_kind.get(Aspect::Extra.word()).copied().unwrap_or(0);
    let parts = [
        counted(verified.differences.saturating_sub(extra), "difference", "differences"),
        counted(extra, "path that only the replica has", "paths that only the replica has"),
        counted(verified.busy, "path that kept changing", "paths that kept changing"),
        counted(verified.unreadable, "unreadable path", "unreadable paths"),
        counted(verified.missed, "part left out", "parts left out"),
        (!verified.hard_links_compared).then(|| "hard links not compared".to_owned()),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "nothing compared".to_owned() } else { parts.join(", ") }
}

/// A time in one unit.
fn age(ms: i64) -> String {
    match ms / 1000 {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Round;
    use std::collections::BTreeMap;

    const NOW: i64 = 1_700_000_000_000;

    fn verified(ago_ms: i64) -> Verified {
        Verified {
            began_ms: NOW - ago_ms,
            ended_ms: Some(NOW - ago_ms),
            took_ms: 1,
            equal: true,
            entries: 1,
            bytes: 1,
            differences: 0,
            by_kind: BTreeMap::new(),
            busy: 0,
            unreadable: 0,
            hard_links_compared: true,
            missed: 0,
            error: None,
        }
    }

    fn verify(round: Option<(u64, bool)>) -> Verifying {
        let round = round.map(|(percent, over)| Round {
            began_ms: NOW - 4 * 86_400_000,
            over,
            percent,
            entries: 1,
            bytes: 1,
            entries_all: 2,
            bytes_all: 2,
        });
        Verifying { quick_every_ms: Some(1), deep_every_ms: None, round }
    }

    #[test]
    fn a_line_says_when_and_what_in_few_words() {
        let minutes = |minutes: i64| Some(verified(minutes * 60_000));
        let different = Verified { equal: false, differences: 1, busy: 2, missed: 3, ..verified(1000) };
        let by_kind = BTreeMap::from([("extra".to_owned(), 2), ("mode".to_owned(), 1)]);
        let extra = Verified { equal: false, differences: 3, by_kind, ..verified(1000) };
        let never = Verified { ended_ms: None, equal: false, error: Some("away".to_owned()), ..verified(0) };
        let failed = Verified { error: Some("link closed".to_owned()), ..verified(30_000) };
        let table = [
            (verify(None), Rounds::default(), "not verified yet"),
            (verify(None), Rounds { quick: minutes(12), ..Rounds::default() }, "verified 12 min ago, equal"),
            (
                verify(Some((63, false))),
                Rounds { quick: minutes(12), deep: minutes(9000), under_way: minutes(1) },
                "verified 12 min ago, equal; deep 63 % of the pass begun 4 d ago, last pass equal",
            ),
            (
                verify(Some((0, false))),
                Rounds { quick: minutes(500), deep: None, under_way: Some(different) },
                "verified 8 h ago, equal; deep 0 % of the pass begun 4 d ago, so far 1 difference, 2 paths that kept \
                 changing, 3 parts left out",
            ),
            (
                verify(Some((100, true))),
                Rounds { quick: Some(failed), deep: minutes(3000), under_way: None },
                "verified 30 s ago, equal; not verified the last time: link closed; deep 2 d ago, equal",
            ),
            (
                verify(None),
                Rounds { quick: Some(extra), ..Rounds::default() },
                "verified 1 s ago, 1 difference, 2 paths that only the replica has",
            ),
            (verify(None), Rounds { quick: Some(never), ..Rounds::default() }, "not verified the last time: away"),
        ];
        for (verify, rounds, expected) in table {
            assert_eq!(words(&verify, &rounds, NOW).as_deref(), Some(expected));
        }
        assert_eq!(words(&Verifying::default(), &Rounds::default(), NOW), None);
    }
}
