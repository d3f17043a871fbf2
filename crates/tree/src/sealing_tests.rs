//! A seal fits what its rows were recorded of, and nothing else; what a row cannot vouch for is not sealed.

use super::*;
use fulmar_model::{Device, LinkGroup, Timestamp, XattrDigest};

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).expect("a name")
}

fn stat() -> Stat {
    let time = Timestamp { seconds: 1_700_000_000, nanos: 5 };
    let (device, kind, inode, links) = (Device::default(), Kind::File, 7, 1);
    let (mode, uid, gid, size, allocated) = (0o644, 3, 4, 5, 4096);
    Stat { kind, device, inode, links, mode, uid, gid, size, allocated, mtime: time, ctime: time, node: device }
}

fn record() -> Record {
    let hash = Some(Hash([7; 32]));
    Record { stat: stat(), xattrs: XattrDigest([1; 16]), hash, group: None, settled: true }
}

fn seal(rows: &[(&str, Record)]) -> Option<Seal> {
    let mut sealing = Sealing::default();
    for (text, record) in rows {
        if !sealing.row(&name(text), record) {
            assert_eq!(sealing.seal(), None, "it wants no more");
            return None;
        }
    }
    sealing.seal()
}

/// The records of one directory.
struct Sealed(Option<Seal>);

impl Recall for Sealed {
    fn of(&self, _: &RelPath) -> Option<Record> {
        None
    }

    fn within(&self, _: &RelPath, _: &[&Name], _: &mut [Option<Record>]) {}

    fn seal(&self, _: &RelPath) -> Option<Seal> {
        self.0
    }
}

fn fits(seal: Option<Seal>, part: Part, found: &[(&str, Stat)]) -> bool {
    let found: Vec<_> = found.iter().map(|(text, stat)| (name(text), *stat)).collect();
    let leaves = found.iter().map(|(name, stat)| (name, stat));
    unbroken(&Sealed(seal), &RelPath::root(), part, leaves).is_some()
}

#[test]
fn it_fits_the_names_and_versions_that_were_recorded_and_no_others() {
    let later = Timestamp { seconds: 1_700_000_000, nanos: 6 };
    let (a, fifo) = (record(), Record { hash: None, stat: Stat { kind: Kind::Fifo, ..stat() }, ..record() });
    let directory = Record { stat: Stat { kind: Kind::Directory, links: 2, ..stat() }, hash: None, ..record() };
    let sealed = seal(&[("a", a), ("b", fifo), ("c", directory)]).expect("a seal");
    assert_eq!(sealed.directories, 1);
    let fits = |found: &[(&str, Stat)]| self::fits(Some(sealed), Part::WHOLE, found);
    let b = Stat { kind: Kind::Fifo, ..stat() };
    assert!(fits(&[("a", stat()), ("b", b)]));
    // What it takes on the disk and the number of the device are nothing a record vouches for.
    assert!(fits(&[("a", Stat { allocated: 0, device: Device { major: 8, minor: 1 }, ..stat() }), ("b", b)]));
    for other in [
        Stat { kind: Kind::Fifo, ..stat() },
        Stat { inode: 8, ..stat() },
        Stat { links: 2, ..stat() },
        Stat { mode: 0o600, ..stat() },
        Stat { uid: 4, ..stat() },
        Stat { gid: 3, ..stat() },
        Stat { size: 6, ..stat() },
        Stat { mtime: later, ..stat() },
        Stat { ctime: later, ..stat() },
        Stat { node: Device { major: 1, minor: 3 }, ..stat() },
    ] {
        assert!(!fits(&[("a", other), ("b", b)]), "{other:?}");
    }
    assert!(!fits(&[("a", stat())]) && !fits(&[]) && !fits(&[("aa", stat()), ("b", b)]));
    assert!(!fits(&[("a", stat()), ("b", b), ("d", stat())]));
    assert!(!self::fits(None, Part::WHOLE, &[("a", stat()), ("b", b)]));
    let half = Part::new(0, 2).expect("a part");
    assert!(!self::fits(Some(sealed), half, &[("a", stat()), ("b", b)]), "a seal is of all names");
}

#[test]
fn its_fingerprint_is_that_of_the_entries() {
    let sealed = seal(&[("a", record()), ("b", record())]).expect("a seal");
    let mut print = Fingerprint::default();
    for text in ["a", "b"] {
        print.add(&name(text), &Entry::of(&stat(), record().hash, &[], record().xattrs), true);
    }
    assert_eq!(Some(sealed.leaves), print.finish());
}

#[test]
fn a_row_that_does_not_stand_for_itself_is_not_sealed() {
    let with = |kind: Kind| Record { stat: Stat { kind, ..stat() }, ..record() };
    for weak in [
        Record { settled: false, ..record() },
        Record { hash: None, ..record() },
        Record { group: Some(LinkGroup(7)), ..record() },
        Record { stat: Stat { links: 2, ..stat() }, ..record() },
        with(Kind::Symlink),
        with(Kind::Socket),
    ] {
        assert_eq!(seal(&[("a", record()), ("b", weak.clone())]), None, "{weak:?}");
        assert_eq!(seal(&[("a", weak), ("b", record())]), None);
    }
}

#[test]
fn a_directory_that_is_listed_in_parts_is_not_sealed() {
    let mut sealing = Sealing::default();
    for number in 0..NAMES_PER_PART {
        assert!(sealing.row(&name(&format!("{number:06}")), &record()));
    }
    let held = sealing.leaves.0.len();
    assert!(!sealing.row(&name("one more"), &record()));
    assert_eq!((sealing.leaves.0.len(), sealing.weak), (held, true), "and takes no more memory");
    assert_eq!(sealing.seal(), None);
}
