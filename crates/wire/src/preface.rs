//! The first bytes each side sends, before any frame: a magic, the versions it speaks, the features it has.
//!
//! The layout of these 24 bytes never changes: it is how two versions find out what they have in common.

use thiserror::Error;

/// The newest protocol version this program speaks.
pub const VERSION: u16 = 1;
/// The oldest protocol version this program speaks.
pub const VERSION_MIN: u16 = 1;
/// Feature: everything behind the preface is one zstd stream in each direction.
pub const COMPRESSION: u64 = 1;
/// Length of a preface.
pub const PREFACE_BYTES: usize = 24;

/// Starts with a byte no text banner starts with, and holds a line break so that a terminal in between is found out.
const MAGIC: &[u8; 8] = b"\0fulmar\n";

/// What a side says of itself first. Integers are big-endian: magic (8), oldest version (2), newest version (2),
/// reserved, zero (4), feature bits (8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preface {
    /// The oldest version it speaks.
    pub oldest: u16,
    /// The newest version it speaks.
    pub newest: u16,
    /// Bit set of optional features. A feature is used only when both sides have it.
    pub features: u64,
}

/// Why the two sides cannot talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PrefaceError {
    /// The bytes are not a preface.
    #[error("the other side does not speak the fulmar protocol")]
    NotFulmar,
    /// It is fulmar, but no version is common to both.
    #[error(
        "no common protocol version: this side speaks {VERSION_MIN} to {VERSION}, the other side {oldest} to {newest}"
    )]
    NoCommonVersion {
        /// The oldest version the other side speaks.
        oldest: u16,
        /// The newest version the other side speaks.
        newest: u16,
    },
}

impl Preface {
    /// What this program says.
    pub const OURS: Self = Self { oldest: VERSION_MIN, newest: VERSION, features: COMPRESSION };

    /// As bytes.
    pub fn encode(&self) -> [u8; PREFACE_BYTES] {
        let mut bytes = [0; PREFACE_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&self.oldest.to_be_bytes());
        bytes[10..12].copy_from_slice(&self.newest.to_be_bytes());
        bytes[16..].copy_from_slice(&self.features.to_be_bytes());
        bytes
    }

    /// Whether `bytes` (a beginning of what arrived) can still become a preface.
    pub fn may_begin(bytes: &[u8]) -> bool {
        bytes.iter().zip(MAGIC).all(|(have, want)| have == want)
    }

    /// From bytes.
    pub fn decode(bytes: &[u8; PREFACE_BYTES]) -> Result<Self, PrefaceError> {
        if !bytes.starts_with(MAGIC) {
            return Err(PrefaceError::NotFulmar);
        }
        let [.., a, b, c, d, _, _, _, _, f0, f1, f2, f3, f4, f5, f6, f7] = *bytes;
        Ok(Self {
            oldest: u16::from_be_bytes([a, b]),
            newest: u16::from_be_bytes([c, d]),
            features: u64::from_be_bytes([f0, f1, f2, f3, f4, f5, f6, f7]),
        })
    }

    /// Whether this side and the other both have a feature.
    pub fn shares(&self, feature: u64) -> bool {
        self.features & Self::OURS.features & feature != 0
    }

    /// The version both speak: the newest common one.
    pub fn agree(&self) -> Result<u16, PrefaceError> {
        let common = self.newest.min(VERSION);
        if common < self.oldest.max(VERSION_MIN) {
            return Err(PrefaceError::NoCommonVersion { oldest: self.oldest, newest: self.newest });
        }
        Ok(common)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefaces_agree_on_the_newest_common_version() {
        let ours = Preface::OURS.encode();
        assert_eq!(Preface::decode(&ours), Ok(Preface::OURS));
        assert_eq!(Preface { oldest: 1, newest: 9, features: 7 }.agree(), Ok(VERSION));
        assert_eq!(
            Preface { oldest: VERSION + 1, newest: 9, features: 0 }.agree(),
            Err(PrefaceError::NoCommonVersion { oldest: VERSION + 1, newest: 9 })
        );
    }

    #[test]
    fn a_feature_is_shared_when_both_have_it() {
        let theirs = |features| Preface { features, ..Preface::OURS };
        assert!(theirs(COMPRESSION).shares(COMPRESSION) && theirs(u64::MAX).shares(COMPRESSION));
        assert!(!theirs(0).shares(COMPRESSION) && !theirs(!COMPRESSION).shares(COMPRESSION));
        assert!(!theirs(u64::MAX).shares(1 << 63), "this side does not have that");
    }

    #[test]
    fn a_banner_is_not_a_preface() {
        assert!(!Preface::may_begin(b"Welcome"));
        assert!(Preface::may_begin(b"\0ful"));
        assert_eq!(Preface::decode(b"Welcome to mail1, again!"), Err(PrefaceError::NotFulmar));
    }
}
