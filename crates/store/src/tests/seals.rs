//! A seal is what a directory's rows come to, at every moment; the model test beside asks after every step.

use super::*;
use crate::Catalog;
use fulmar_model::{Seal, Sealer};

/// Remembers every row in the hash, and takes no inode 4.
#[derive(Default)]
pub(super) struct Plain {
    rows: [u8; 32],
    directories: u64,
    weak: bool,
}

impl Sealer for Plain {
    fn row(&mut self, name: &Name, record: &Record) -> bool {
        if record.stat.kind == Kind::Directory {
            self.directories += 1;
            return true;
        }
        self.weak |= record.stat.inode == 4;
        for (at, byte) in (0..).zip(name.as_bytes().iter().chain(&record.stat.inode.to_le_bytes())) {
            let slot: &mut u8 = &mut self.rows[(at + usize::from(self.rows[0])) % 32];
            *slot = slot.wrapping_mul(31).wrapping_add(*byte);
        }
        !self.weak
    }

    fn seal(self) -> Option<Seal> {
        let Self { rows, directories, weak } = self;
        (!weak).then_some(Seal { key: Hash(rows), leaves: Hash(rows), directories })
    }
}

/// A directory's seal, if it has one, is made of its rows as they are.
pub(super) fn check(catalog: &Catalog, directory: &RelPath) {
    let Some(seal) = catalog.seal_of(directory).expect("seal_of") else { return };
    let mut plain = Plain::default();
    for (name, record) in catalog.children(directory, None, usize::MAX).expect("children") {
        assert!(plain.row(&name, &record));
    }
    assert_eq!(plain.seal(), Some(seal), "{directory}");
}

fn sealed(catalog: &Catalog, directory: &str) -> bool {
    catalog.seal_of(&path(directory)).expect("seal_of").is_some()
}

fn seal(catalog: &mut Catalog) {
    assert!(!catalog.seal(u64::MAX, Plain::default).expect("seal"), "all of them");
}

#[test]
fn whatever_is_written_in_a_directory_breaks_its_seal_and_no_other() {
    let mut catalog = Catalog::in_memory().expect("in memory");
    let fill = |catalog: &mut Catalog| {
        catalog.put(&path("a/file"), &file(1)).expect("put");
        catalog.put(&path("a/below/file"), &file(2)).expect("put");
        catalog.put(&path("b/file"), &file(3)).expect("put");
        seal(catalog);
        assert!(["", "a", "a/below", "b"].iter().all(|directory| sealed(catalog, directory)));
    };
    type Breaking = (fn(&mut Catalog), &'static [&'static str]);
    let breaking: [Breaking; 8] = [
        (|catalog| catalog.put(&path("a/file"), &file(9)).expect("put"), &["a"]),
        (|catalog| catalog.put(&path("a/new"), &file(9)).expect("put"), &["a"]),
        (|catalog| catalog.put(&path("a/deep/file"), &file(9)).expect("put"), &["a", "a/deep"]),
        (|catalog| assert_eq!(catalog.remove(&path("a/file")).expect("remove"), 1), &["a"]),
        (|catalog| assert_eq!(catalog.remove(&path("a/below")).expect("remove"), 2), &["a", "a/below"]),
        (|catalog| assert!(catalog.rename(&path("a/file"), &path("b/it")).expect("rename")), &["a", "b"]),
        (|catalog| assert_eq!(catalog.touch_inode(2, Timestamp::new(1, 1), 2).expect("touch"), 1), &["a/below"]),
        // What a directory itself is does not count where it is in.
        (|catalog| catalog.put(&path("a/below"), &directory(9)).expect("put"), &[]),
    ];
    for (act, broken) in breaking {
        fill(&mut catalog);
        act(&mut catalog);
        for directory in ["", "a", "a/below", "a/deep", "b"] {
            let there = catalog.get(&path(directory)).expect("get").is_some();
            assert_eq!(sealed(&catalog, directory), there && !broken.contains(&directory), "{directory} {broken:?}");
        }
        catalog.remove(&RelPath::root()).expect("remove");
    }
}

#[test]
fn a_seal_that_was_taken_away_in_vain_is_there_again_and_taken_away_the_next_time() {
    let mut catalog = Catalog::in_memory().expect("in memory");
    catalog.put(&path("a/file"), &file(1)).expect("put");
    seal(&mut catalog);
    catalog.begin().expect("begin");
    catalog.put(&path("a/file"), &file(2)).expect("put");
    assert!(!sealed(&catalog, "a"));
    catalog.rollback().expect("rollback");
    assert!(sealed(&catalog, "a"));
    catalog.put(&path("a/file"), &file(3)).expect("put");
    assert!(!sealed(&catalog, "a"));
}

#[test]
fn what_cannot_be_sealed_is_not_read_again_until_it_is_written() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let at = folder.path().join("catalog.db");
    let (mut catalog, _) = Catalog::open(&at).expect("open");
    catalog.put(&path("weak/file"), &file(4)).expect("put");
    catalog.put(&path("strong/file"), &file(1)).expect("put");
    seal(&mut catalog);
    assert!(!sealed(&catalog, "weak") && sealed(&catalog, "strong"));
    drop(catalog);
    let (mut catalog, _) = Catalog::open(&at).expect("open");
    let asked = std::cell::Cell::new(0);
    let count = || {
        asked.set(asked.get() + 1);
        Plain::default()
    };
    catalog.seal(u64::MAX, count).expect("seal");
    assert_eq!(asked.get(), 0);
    catalog.put(&path("weak/file"), &file(5)).expect("put");
    catalog.seal(u64::MAX, count).expect("seal");
    assert!(asked.get() == 1 && sealed(&catalog, "weak"));
    let beside = catalog.reader().expect("a reader");
    assert!(beside.seal_of(&path("weak")).expect("seal_of").is_some());
    assert_eq!(beside.seal_of(&path("nothing")).expect("seal_of"), None);
}

#[test]
fn sealing_goes_on_where_it_stopped() {
    let mut catalog = Catalog::in_memory().expect("in memory");
    let directories: Vec<String> = (0..20).map(|number| format!("d{number:02}")).collect();
    for directory in &directories {
        (1..10).for_each(|inode| catalog.put(&path(&format!("{directory}/{inode}")), &file(10 * inode)).expect("put"));
    }
    let mut times = 0;
    while catalog.seal(25, Plain::default).expect("seal") {
        times += 1;
    }
    assert!((5..12).contains(&times), "{times}");
    assert!(directories.iter().all(|directory| sealed(&catalog, directory)));
}

#[test]
fn more_directories_than_are_remembered_lose_their_seals_all_the_same() {
    const MANY: u64 = 17_000;
    let mut catalog = Catalog::in_memory().expect("in memory");
    let at = |number: u64| path(&format!("d{number:05}/file"));
    let put = |catalog: &mut Catalog, inode: u64| {
        catalog.begin().expect("begin");
        (0..MANY).for_each(|number| catalog.put(&at(number), &file(inode)).expect("put"));
    };
    let count = |catalog: &Catalog| (0..MANY).filter(|number| sealed(catalog, &format!("d{number:05}"))).count() as u64;
    put(&mut catalog, 1);
    catalog.commit().expect("commit");
    seal(&mut catalog);
    assert_eq!(count(&catalog), MANY);
    put(&mut catalog, 2);
    assert_eq!(count(&catalog), 0);
    catalog.rollback().expect("rollback");
    assert_eq!(count(&catalog), MANY);
    put(&mut catalog, 3);
    catalog.commit().expect("commit");
    assert_eq!(count(&catalog), 0);
    catalog.seal(100, Plain::default).expect("seal");
    catalog.put(&at(3), &file(9)).expect("put");
    assert!(!sealed(&catalog, "d00003"));
    seal(&mut catalog);
    assert_eq!(count(&catalog), MANY);
    (0..MANY).for_each(|number| check(&catalog, &path(&format!("d{number:05}"))));
}

#[test]
fn a_slice_ends_with_the_rows_that_it_was_given_and_reads_no_more_than_a_sealer_wants() {
    let mut catalog = Catalog::in_memory().expect("in memory");
    catalog.begin().expect("begin");
    for number in 10..3010 {
        catalog.put(&path(&format!("weak/{number:05}")), &file(number)).expect("put");
        catalog.put(&path(&format!("d{number:05}")), &directory(number)).expect("put");
    }
    catalog.put(&path("weak/00003"), &file(4)).expect("put");
    catalog.commit().expect("commit");
    let rows = std::cell::Cell::new(0);
    struct Counting<'a>(Plain, &'a std::cell::Cell<u64>);
    impl Sealer for Counting<'_> {
        fn row(&mut self, name: &Name, record: &Record) -> bool {
            self.1.set(self.1.get() + 1);
            self.0.row(name, record)
        }
        fn seal(self) -> Option<Seal> {
            self.0.seal()
        }
    }
    while catalog.seal(100, || Counting(Plain::default(), &rows)).expect("seal") {}
    // Those of the root, and of the other one the first.
    assert_eq!(rows.get(), 3001 + 1);
    drop(catalog.get(&path("weak")));
    // One that was just opened passes over what is sealed bit by bit.
    catalog.begin().and_then(|()| catalog.rollback()).expect("rollback");
    let mut slices = 0;
    while catalog.seal(1, Plain::default).expect("seal") {
        slices += 1;
    }
    assert_eq!(slices, 2, "3002 directories");
}
