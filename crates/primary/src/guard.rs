//! A vanished source deletes nothing. Every removal that would be shipped asks here first.
//!
//! The guard trips when the source is gone, empty, or another directory than last time, and when more is removed in one go
//! than the limits allow. Tripped, it refuses every removal until a person approves (or, where the source was only gone,
//! until it is back). Everything else flows. Its state survives restarts.

use fulmar_model::{ReplicaId, RootId};
use std::collections::BTreeMap;

/// Why removals are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trip {
    /// The source directory cannot be found, or its file system was unmounted.
    SourceGone,
    /// The source is empty, and was not.
    SourceEmpty,
    /// The source is another directory than last time.
    SourceReplaced,
    /// Too much would be removed in one go.
    Wave {
        /// Paths removed or to be removed in this go.
        removals: u64,
        /// Paths the tree had before.
        tree: u64,
    },
}

/// Whether removals flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardState {
    /// They do.
    Clear,
    /// They wait for a person.
    Tripped(Trip),
}

/// When removals are one wave too many: more than this share of the tree *and* more than this many paths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) paths: u64,
    /// Hundredths of the tree.
    pub(crate) percent: u64,
    /// Removals with less than this between them belong to one wave.
    pub(crate) pause_ms: i64,
}

/// The default: more than half of the tree and more than 1 000 paths; a minute without a removal ends a wave.
pub(crate) const LIMITS: Limits = Limits { paths: 1000, percent: 50, pause_ms: 60_000 };

/// Whose removals: a replica's, or those noticed on the source, which will be everyone's.
pub(crate) type Whose = Option<ReplicaId>;

/// The guard of one tree.
#[derive(Debug)]
pub(crate) struct Guard {
    limits: Limits,
    state: GuardState,
    /// One for each replica, whose removals are its own; and one for what is announced before any replica is told.
    waves: BTreeMap<Whose, Wave>,
    /// Paths whose removal a person has approved before they were planned. (What was held is approved by name.)
    approved: u64,
    /// When the approval was given, or last used.
    approved_ms: i64,
}

#[derive(Debug)]
struct Wave {
    removals: u64,
    tree: u64,
    last_ms: i64,
}

impl Guard {
    pub(crate) fn new(limits: Limits, state: GuardState) -> Self {
        Self { limits, state, waves: BTreeMap::new(), approved: 0, approved_ms: 0 }
    }

    pub(crate) fn state(&self) -> GuardState {
        self.state
    }

    /// Whether `count` paths may be removed now from a tree of `tree` paths.
    pub(crate) fn admit(&mut self, whose: Whose, count: u64, tree: u64, now_ms: i64) -> bool {
        if self.is_approved(now_ms) {
            if self.approved != u64::MAX {
                self.approved = self.approved.saturating_sub(count);
            }
            self.approved_ms = now_ms;
            return true;
        }
        if self.state != GuardState::Clear {
            return false;
        }
        if !self.expect(whose, count, tree, now_ms) {
            return false;
        }
        if let Some(wave) = self.waves.get_mut(&whose) {
            wave.removals = wave.removals.saturating_add(count);
        }
        true
    }

    /// Whether `count` further removals, known in advance, stay within the limits; trips when not.
    pub(crate) fn expect(&mut self, whose: Whose, count: u64, tree: u64, now_ms: i64) -> bool {
        if self.state != GuardState::Clear {
            return self.is_approved(now_ms);
        }
        let pause_ms = self.limits.pause_ms;
        self.waves.retain(|_, wave| now_ms - wave.last_ms <= pause_ms);
        let most = self.waves.values().map(|wave| wave.removals).max().unwrap_or(0);
        let wave = self.waves.entry(whose).or_insert(Wave { removals: 0, tree, last_ms: now_ms });
        wave.last_ms = now_ms;
        // What is announced for everyone comes on top of what any replica has seen go.
        let before = if whose.is_none() { most } else { wave.removals };
        let removals = before.saturating_add(count);
        let share = u128::from(removals) * 100 > u128::from(wave.tree.max(removals)) * u128::from(self.limits.percent);
        if removals > self.limits.paths && share && self.approved == 0 {
            let tree = wave.tree;
            self.trip(Trip::Wave { removals, tree });
            return false;
        }
        true
    }

    /// Stops removals. The first cause is kept: it is the one to explain.
    pub(crate) fn trip(&mut self, why: Trip) {
        let another = matches!(why, Trip::SourceGone | Trip::SourceReplaced);
        if another && self.approved != u64::MAX {
            // What was approved was approved for another source than this.
            self.approved = 0;
        }
        if self.state == GuardState::Clear && self.approved == 0 {
            tracing::warn!(%why, "removals are held back until they are approved");
            self.state = GuardState::Tripped(why);
        }
    }

    /// A source is there again, whether or not it is the `same`.
    pub(crate) fn source_is_back(&mut self, same: bool) {
        match self.state {
            GuardState::Tripped(Trip::SourceGone) => self.state = GuardState::Clear,
            // Put back in the place of what had taken its own.
            GuardState::Tripped(Trip::SourceReplaced) if same => self.state = GuardState::Clear,
            _ => {}
        }
        if !same {
            self.trip(Trip::SourceReplaced);
        }
    }

    /// A person approves: removals flow again, those of the next `paths` paths whatever the limits say.
    pub(crate) fn approve(&mut self, paths: u64, now_ms: i64) {
        self.state = GuardState::Clear;
        self.waves.clear();
        self.approved = paths;
        self.approved_ms = now_ms;
    }

    /// An approval that is not used ends with the wave it was given for.
    fn is_approved(&mut self, now_ms: i64) -> bool {
        if self.approved != u64::MAX && now_ms - self.approved_ms > self.limits.pause_ms {
            self.approved = 0;
        }
        self.approved > 0
    }
}

impl GuardState {
    /// As stored.
    pub(crate) fn encode(self) -> Vec<u8> {
        match self {
            Self::Clear => b"clear".to_vec(),
            Self::Tripped(Trip::SourceGone) => b"gone".to_vec(),
            Self::Tripped(Trip::SourceEmpty) => b"empty".to_vec(),
            Self::Tripped(Trip::SourceReplaced) => b"replaced".to_vec(),
            Self::Tripped(Trip::Wave { removals, tree }) => format!("wave {removals} {tree}").into_bytes(),
        }
    }

    /// What was stored; anything unknown counts as clear (the next look trips it again if need be).
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut words = text.split(' ');
        let number = |words: &mut std::str::Split<'_, char>| words.next().and_then(|w| w.parse().ok()).unwrap_or(0);
        match words.next() {
            Some("gone") => Self::Tripped(Trip::SourceGone),
            Some("empty") => Self::Tripped(Trip::SourceEmpty),
            Some("replaced") => Self::Tripped(Trip::SourceReplaced),
            Some("wave") => Self::Tripped(Trip::Wave { removals: number(&mut words), tree: number(&mut words) }),
            _ => Self::Clear,
        }
    }
}

impl std::fmt::Display for Trip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SourceGone => f.write_str("the source directory is gone or unmounted"),
            Self::SourceEmpty => f.write_str("the source directory is empty"),
            Self::SourceReplaced => f.write_str("the source is another directory than last time"),
            Self::Wave { removals, tree } => write!(f, "{removals} of {tree} paths would be removed in one go"),
        }
    }
}

/// A root's identity as stored.
pub(crate) fn encode_root(root: &RootId) -> Vec<u8> {
    let born = root.born.map_or_else(String::new, |born| format!(" {} {}", born.seconds, born.nanos));
    format!("{} {} {}{born}", root.device.major, root.device.minor, root.inode).into_bytes()
}

/// The reverse; `None` when it cannot be read.
pub(crate) fn decode_root(bytes: &[u8]) -> Option<RootId> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut words = text.split(' ');
    let device = fulmar_model::Device { major: words.next()?.parse().ok()?, minor: words.next()?.parse().ok()? };
    let inode = words.next()?.parse().ok()?;
    let born = match (words.next(), words.next()) {
        (Some(seconds), Some(nanos)) => Some(fulmar_model::Timestamp::new(seconds.parse().ok()?, nanos.parse().ok()?)),
        _ => None,
    };
    Some(RootId { device, inode, born })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard::new(LIMITS, GuardState::Clear)
    }

    #[test]
    fn a_wave_of_more_than_half_the_tree_trips() {
        let mut guard = guard();
        let shipped = (0..3000).filter(|n| guard.admit(None, 1, 4000 - n, 1000)).count();
        assert_eq!(shipped, 2000);
        assert_eq!(guard.state(), GuardState::Tripped(Trip::Wave { removals: 2001, tree: 4000 }));
    }

    #[test]
    fn small_waves_and_slow_removals_pass() {
        let mut guard = guard();
        assert_eq!((0..1000).filter(|_| guard.admit(None, 1, 1000, 0)).count(), 1000);
        let mut guard = self::guard();
        assert_eq!((0..5000).filter(|n| guard.admit(None, 1, 100, n * 61_000)).count(), 5000);
    }

    #[test]
    fn a_wave_known_in_advance_ships_nothing() {
        let mut guard = guard();
        assert!(!guard.expect(None, 3000, 4000, 0));
        assert!(!guard.admit(None, 1, 4000, 0));
        guard.approve(3000, 0);
        assert!((0..3000).all(|_| guard.admit(None, 1, 4000, 0)));
    }

    #[test]
    fn state_survives_its_encoding() {
        for state in [
            GuardState::Clear,
            GuardState::Tripped(Trip::SourceGone),
            GuardState::Tripped(Trip::SourceEmpty),
            GuardState::Tripped(Trip::SourceReplaced),
            GuardState::Tripped(Trip::Wave { removals: 5, tree: 7 }),
        ] {
            assert_eq!(GuardState::decode(&state.encode()), state);
        }
    }
}
