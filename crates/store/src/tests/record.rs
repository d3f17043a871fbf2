//! Claims about a record's bytes, for any record and for any bytes.

use super::*;
use crate::record::{Columns, decode, encode};
use fulmar_model::LinkGroup;
use proptest::prelude::*;

fn kinds() -> impl Strategy<Value = Kind> {
    (1u8..=7).prop_map(|code| Kind::from_code(code).expect("a code"))
}

/// Zero, small, and anything: each has a form of its own.
fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), 2..300u64, any::<u64>(), Just(u64::MAX)]
}

fn narrow() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1), 2..300u32, any::<u32>(), Just(u32::MAX)]
}

fn times() -> impl Strategy<Value = Timestamp> {
    let seconds = prop_oneof![
        Just(0),
        1_600_000_000..1_800_000_000i64,
        (u32::MAX as i64 - 2)..(u32::MAX as i64 + 3),
        -3..3i64,
        any::<i64>(),
        Just(i64::MIN),
        Just(i64::MAX)
    ];
    let nanos = prop_oneof![Just(0), 0..1_000_000_000u32, Just(999_999_999)];
    (seconds, nanos).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
}

/// Pairs of which the second is often the first, or shortly before or after it.
fn pairs_of_times() -> impl Strategy<Value = (Timestamp, Timestamp)> {
    let near = (times(), -700_000..700_000i64, 0..1_000_000_000u32).prop_map(|(first, seconds, nanos)| {
        (first, Timestamp { seconds: first.seconds.saturating_add(seconds), nanos })
    });
    prop_oneof![times().prop_map(|time| (time, time)), near, (times(), times())]
}

fn records() -> impl Strategy<Value = Record> {
    let whose = (narrow(), narrow(), any::<bool>());
    let digests = (
        prop_oneof![Just([0; 16]), any::<[u8; 16]>()],
        proptest::option::of(any::<[u8; 32]>()),
        proptest::option::of(numbers()),
        any::<bool>(),
    );
    let numbers = (numbers(), narrow(), 0..0o10000u16, numbers(), (narrow(), narrow()));
    (kinds(), numbers, whose, pairs_of_times(), digests).prop_map(
        |(
            kind,
            (inode, links, mode, size, (major, minor)),
            (uid, gid, same),
            (mtime, ctime),
            (xattrs, hash, group, settled),
        )| {
            let mut record = record(kind, inode);
            record.stat = Stat { links, mode, size, uid, mtime, ctime, node: Device { major, minor }, ..record.stat };
            record.stat.gid = if same { uid } else { gid };
            let (xattrs, hash, group) = (XattrDigest(xattrs), hash.map(Hash), group.map(LinkGroup));
            Record { xattrs, hash, group, settled, ..record }
        },
    )
}

/// Every way in which columns may hold part of a record.
fn columns(record: &Record) -> [Columns; 4] {
    let inode = (record.stat.inode != 0).then_some(record.stat.inode);
    let group = record.group;
    [(None, None), (inode, None), (None, group), (inode, group)].map(|(inode, group)| Columns { inode, group })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn any_record_reads_back_whatever_columns_hold_of_it(record in records()) {
        for columns in columns(&record) {
            let bytes = encode(&record, columns);
            prop_assert_eq!(decode(&bytes, columns), Some(record.clone()));
        }
    }

    #[test]
    fn a_record_with_bytes_missing_or_to_spare_is_damage(record in records(), spare in any::<u8>()) {
        let mut bytes = encode(&record, Columns::default());
        for length in 0..bytes.len() {
            prop_assert_eq!(decode(&bytes[..length], Columns::default()), None, "cut to {} bytes", length);
        }
        bytes.push(spare);
        prop_assert_eq!(decode(&bytes, Columns::default()), None);
    }

    #[test]
    fn any_bytes_are_a_record_that_reads_back_or_damage(
        head in any::<[u8; 4]>(),
        rest in proptest::collection::vec(any::<u8>(), 0..90),
        plausible in any::<bool>(),
    ) {
        // Most random heads have a bit that is never set.
        let [a, b, c, d] = head;
        let bytes = [&[a, b, c, if plausible { d & 7 } else { d }][..], &rest].concat();
        if let Some(record) = decode(&bytes, Columns::default()) {
            prop_assert_eq!(decode(&encode(&record, Columns::default()), Columns::default()), Some(record));
        }
    }

    #[test]
    fn a_flipped_bit_gives_another_record_or_damage(record in records(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut bytes = encode(&record, Columns::default());
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert_ne!(decode(&bytes, Columns::default()), Some(record));
    }
}

#[test]
fn what_columns_hold_is_not_in_the_bytes_too() {
    let record = Record { group: Some(LinkGroup(7)), ..file(5) };
    let bytes = encode(&record, Columns::default());
    for columns in columns(&record).into_iter().skip(1) {
        assert_eq!(decode(&bytes, columns), None, "{columns:?}");
    }
}

#[test]
fn numbers_that_do_not_fit_are_damage() {
    let owner = |varint: &[u8]| {
        // A file, owner as given, size 0, modified at 0, changed then.
        decode(&[&[0, 0x10, 0, 0][..], varint, &[0, 0, 0, 0, 0]].concat(), Columns::default())
    };
    assert_eq!(owner(&[0xff, 0xff, 0xff, 0xff, 0x0f]).expect("a record").stat.uid, u32::MAX);
    assert_eq!(owner(&[0x80, 0x80, 0x80, 0x80, 0x10]), None, "33 bits");
    assert_eq!(owner(&[&[0xff; 9][..], &[0x02]].concat()), None, "65 bits");
    assert_eq!(owner(&[0xff; 70]), None, "no end");
    let nanos = |nanos: u32| {
        let bytes = [&[0, 0x10, 0x80, 0, 0, 0, 0, 0, 0, 0][..], &nanos.to_le_bytes()].concat();
        decode(&bytes, Columns::default())
    };
    assert_eq!(nanos(999_999_999).expect("a record").stat.mtime, Timestamp::new(0, 999_999_999));
    assert_eq!(nanos(1_000_000_000), None, "a second");
}

#[test]
fn a_mail_takes_half_a_hundred_bytes() {
    let mut mail = file(1_234_567);
    mail.stat.uid = 5000;
    mail.stat.gid = 5000;
    mail.stat.size = 5_000;
    mail.stat.mtime = Timestamp::new(1_700_000_000, 123_456_789);
    mail.stat.ctime = Timestamp::new(1_700_000_000, 124_456_789);
    let columns = Columns { inode: Some(mail.stat.inode), group: None };
    assert_eq!(encode(&mail, columns).len(), 4 + 2 + 2 + 8 + 3 + 32);
}
