//! Whether what is at a path is what was recorded there.

use super::describe::Described;
use fulmar_model::{Kind, Record, Recorded, Standing, Stat, Timestamp};

/// A program that writes through a shared mapping moves the times of a file only with its first store to a page that was
/// written back. What it stores until the kernel writes that page back again (after 30 s, looking every 5) hides behind them. So
/// for this long after a file's ctime, which nobody can set, another content proves nothing.
const YOUNG_MS: i64 = 60_000;

/// Whether another content at a file with these stat data is no writer's doing.
pub fn is_calm(stat: &Stat, now: Timestamp) -> bool {
    now.as_millis().saturating_sub(stat.ctime.as_millis()) >= YOUNG_MS
}

/// How what was found stands to its record.
pub(super) fn standing(found: &Described, record: &Record, now: Timestamp) -> Standing {
    if !record.stat.same_version(&found.stat) {
        return Standing::Changed;
    }
    match (found.entry.hash().filter(|_| found.unread.is_none()), record.hash) {
        (Some(here), Some(recorded)) if found.stat.kind == Kind::File && here != recorded => {
            match record.settled && found.steady && is_calm(&found.stat, now) {
                true => Standing::Corrupt,
                false => Standing::Changed,
            }
        }
        _ => Standing::Kept,
    }
}

/// The same for a path that may be missing, on either side of the question. A record without an inode stands in for
/// what was never looked at.
pub(super) fn recorded(found: Option<&Described>, record: Option<Record>, now: Timestamp) -> Recorded {
    let record = record.filter(|record| record.stat.inode != 0);
    let hash = record.as_ref().filter(|record| record.stat.kind == Kind::File).and_then(|record| record.hash);
    let standing = match (found, &record) {
        (Some(found), Some(record)) => standing(found, record, now),
        (None, None) => Standing::Kept,
        _ => Standing::Changed,
    };
    Recorded { standing, hash }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulmar_model::{Device, Entry, Hash, XattrDigest, Xattrs};

    const THEN: Timestamp = Timestamp { seconds: 1_000_000, nanos: 5 };

    fn stat() -> Stat {
        let zero = Device::default();
        let (kind, inode, links) = (Kind::File, 7, 1);
        let (mtime, ctime) = (THEN, THEN);
        let (mode, uid, gid, size, allocated) = (0o644, 0, 0, 1, 4096);
        Stat { kind, device: zero, inode, links, mode, uid, gid, size, allocated, mtime, ctime, node: zero }
    }

    fn found(stat: Stat, hash: u8) -> Described {
        let entry = Entry::of(&stat, Some(Hash([hash; 32])), &[], XattrDigest::default());
        Described { stat, entry, xattrs: Xattrs::default(), steady: true, unread: None }
    }

    fn record(settled: bool) -> Record {
        let hash = Some(Hash([1; 32]));
        Record { stat: stat(), xattrs: XattrDigest::default(), hash, group: None, settled }
    }

    #[test]
    fn only_a_settled_record_of_a_file_that_rests_proves_that_nobody_wrote() {
        let later = |ms| Timestamp::new(THEN.seconds + ms / 1000, THEN.nanos);
        let touched = Stat { ctime: later(1000), ..stat() };
        for (stat, hash, settled, age_ms, expected) in [
            (stat(), 1, true, 0, Standing::Kept),
            (stat(), 1, false, 0, Standing::Kept),
            (stat(), 2, true, YOUNG_MS, Standing::Corrupt),
            (stat(), 2, true, YOUNG_MS - 1000, Standing::Changed),
            (stat(), 2, false, YOUNG_MS, Standing::Changed),
            (touched, 2, true, 2 * YOUNG_MS, Standing::Changed),
            (touched, 1, true, 2 * YOUNG_MS, Standing::Changed),
        ] {
            let told = standing(&found(stat, hash), &record(settled), later(age_ms));
            assert_eq!(told, expected, "{hash} {settled} {age_ms}");
        }
    }

    #[test]
    fn what_is_there_and_not_recorded_has_changed_and_so_has_what_is_recorded_and_gone() {
        let told = |found: Option<&Described>, record| recorded(found, record, THEN).standing;
        let found = found(stat(), 1);
        assert_eq!(told(None, None), Standing::Kept);
        assert_eq!(told(Some(&found), None), Standing::Changed);
        assert_eq!(told(None, Some(record(true))), Standing::Changed);
        let mut placeholder = record(true);
        placeholder.stat.inode = 0;
        assert_eq!(told(None, Some(placeholder)), Standing::Kept);
    }
}
