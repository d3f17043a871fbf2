//! Digests of whole trees depend on what is in them and on nothing else, and what differs is listed without being read twice.

mod support;

use fulmar_model::{
    Depth, Filter, Hash, Name, Node, Profile, Recall, Record, RelPath, Seal, Sealer, Sighting, Standing, Stat,
    XattrDigest,
};
use fulmar_tree::audit::{Audited, Auditing, Looker, Meter, Records, Scope, audit};
use fulmar_tree::{Clock, Part, Sealing, hash_bytes};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::Fixture;

fn how(threads: usize) -> Auditing {
    Auditing {
        filter: Filter::default(),
        scope: Scope::default(),
        trusted: true,
        threads,
        rate: None,
        idle: false,
        records: None,
        depth: Depth::Deep,
        links_only: false,
    }
}

fn read(fixture: &Fixture, threads: usize) -> Audited {
    audit(&fixture.tree, &RelPath::root(), &how(threads), &Meter::default()).expect("it can be read")
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

/// Puts every time below at the same moment.
fn level(root: &Path) {
    for entry in std::fs::read_dir(root).expect("a directory").flatten() {
        if entry.file_type().expect("a kind").is_dir() {
            level(&entry.path());
        } else {
            std::fs::File::open(entry.path()).expect("a file").set_modified(std::time::UNIX_EPOCH).expect("a time");
        }
    }
    std::fs::File::open(root).expect("a directory").set_modified(std::time::UNIX_EPOCH).expect("a time");
}

/// More names than a thread takes at once, files large enough to be shared out, and some depth.
fn fixture(reversed: bool) -> Fixture {
    let fixture = Fixture::new();
    let mut files: Vec<(String, Vec<u8>)> = (0..600).map(|n| (format!("wide/{n}"), vec![7; n])).collect();
    files.extend((0..3).map(|n| (format!("large/{n}"), vec![n])));
    files.extend((0..40).map(|n| (format!("deep/{}/{}/{n}", n % 5, n % 3), n.to_string().into_bytes())));
    if reversed {
        files.reverse();
    }
    for (at, content) in &files {
        fixture.file(at, content);
        if at.starts_with("large") {
            let file = std::fs::File::options().write(true).open(fixture.path(at)).expect("a file");
            file.set_len(40 << 20).expect("a hole");
        }
    }
    level(&fixture.path(""));
    fixture
}

#[test]
fn a_digest_is_the_same_for_any_number_of_threads_and_any_order_of_making() {
    let (one, other) = (fixture(false), fixture(true));
    let expected = read(&one, 1);
    for (tree, threads) in [(&one, 1), (&one, 4), (&other, 1), (&other, 3)] {
        let now = read(tree, threads);
        assert_eq!((now.below(), now.entry()), (expected.below(), expected.entry()), "{threads} threads");
    }
    let tally = expected.below().tally;
    assert_eq!((tally.files, tally.entries), (643, 643 + 3 + 5 + 15));
}

#[test]
fn a_digest_changes_with_anything_at_any_depth_and_only_on_the_way_there() {
    let one = fixture(false);
    let before = read(&one, 2);
    std::fs::set_permissions(one.path("deep/4/1/4"), std::fs::Permissions::from_mode(0o600)).expect("a mode");
    let after = read(&one, 2);
    let list = |audited: &Audited, at: &str| audited.list(&path(at), Part::WHOLE, &Meter::default()).expect("listed");
    let below = |audited: &Audited, at: &str| -> Vec<_> {
        list(audited, at).into_iter().map(|found| (found.name.to_string(), found.below)).collect()
    };
    let differing = |at: &str| -> Vec<String> {
        let pairs = below(&before, at).into_iter().zip(below(&after, at));
        pairs.filter(|(a, b)| a != b).map(|((name, _), _)| name).collect()
    };
    assert_eq!(
        (differing(""), differing("deep"), differing("deep/4")),
        (vec!["deep".into()], vec!["4".into()], vec!["1".into()])
    );
    assert_ne!(before.below().digest, after.below().digest);
}

#[test]
fn what_was_not_touched_is_listed_without_being_read_again() {
    let one = fixture(false);
    // Hashes of files that were changed in the present tick of the clock are not trusted.
    let made = Clock::coarse_now();
    while Clock::coarse_now() == made {
        std::hint::spin_loop();
    }
    let audited = read(&one, 2);
    let meter = Meter::default();
    let found = audited.list(&path("wide"), Part::WHOLE, &meter).expect("listed");
    assert!(found.len() == 600 && found.iter().all(|found| found.entry.hash().is_some()));
    assert_eq!(meter.read(), (0, 0), "files and bytes that were read");
    one.file("wide/7", "touched");
    let found = audited.list(&path("wide"), Part::WHOLE, &meter).expect("listed");
    assert_eq!(meter.read(), (1, 7));
    assert!(found.iter().any(|found| matches!(found.entry.node, Node::File { size: 7, hash: Some(_) })));
}

#[test]
fn what_is_excluded_takes_no_part() {
    let (one, other) = (Fixture::new(), Fixture::new());
    one.file("a/b", "1").file("a/c.tmp", "2").file(".fulmar/store", "3").mkdir("cache/d");
    other.file("a/b", "1");
    level(&one.path(""));
    level(&other.path(""));
    let patterns = [&b"*.tmp"[..], b"cache/"];
    let filter = Filter::new(Profile::Plain, patterns).expect("patterns");
    let how = Auditing { filter, ..how(2) };
    let read = |tree: &Fixture| audit(&tree.tree, &RelPath::root(), &how, &Meter::default()).expect("read").below();
    assert_eq!(read(&one), read(&other));
}

#[test]
fn a_look_tells_what_is_there_whether_it_moved_and_since_when() {
    let one = Fixture::new();
    one.file("a/b", "1");
    let see = |at: &str, content| Looker::new(&one.tree, &how(1), &Meter::default()).look(&path(at), content);
    let first = see("a/b", true);
    assert!(matches!(&first.what, Sighting::There { entry, .. } if entry.hash().is_some()) && first.steady);
    assert_eq!(see("a/b", false).version, first.version);
    assert!(first.age_ms < 60_000, "{} ms", first.age_ms);
    assert!(matches!(see("a/none", true).what, Sighting::Absent) && see("none/at/all", true).age_ms < 60_000);
    std::fs::write(one.path("a/b"), "22").expect("a file");
    assert_ne!(see("a/b", false).version, first.version);
}

#[test]
fn reading_ends_when_it_is_told_to() {
    let one = fixture(false);
    let meter = Meter::default();
    meter.stop();
    assert!(audit(&one.tree, &RelPath::root(), &how(2), &meter).is_err());
    assert!(audit(&one.tree, &path("none"), &how(2), &Meter::default()).is_err());
}

/// Says of each file that it has this content, and what it knows of whole directories.
struct Told {
    files: Vec<(RelPath, Stat, Hash)>,
    seals: Vec<(RelPath, Seal)>,
    /// How many names it was asked for.
    asked: Arc<AtomicUsize>,
}

impl Recall for Told {
    fn of(&self, path: &RelPath) -> Option<Record> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let (_, stat, hash) = self.files.iter().find(|(at, ..)| at == path)?;
        Some(Record { stat: *stat, xattrs: XattrDigest::default(), hash: Some(*hash), group: None, settled: true })
    }

    fn within(&self, directory: &RelPath, names: &[&Name], told: &mut [Option<Record>]) {
        told.iter_mut().zip(names).for_each(|(slot, name)| *slot = self.of(&directory.join(name)));
    }

    fn seal(&self, directory: &RelPath) -> Option<Seal> {
        self.seals.iter().find(|(at, _)| at == directory).map(|(_, seal)| *seal)
    }
}

#[test]
fn a_quick_look_takes_what_a_record_vouches_for_and_reads_the_rest() {
    let fixture = Fixture::new();
    for name in ["kept", "touched", "unknown"] {
        fixture.file(name, b"12345");
    }
    let hash = |byte| Hash([byte; 32]);
    let stat = |name: &str| fixture.tree.stat(&path(name)).expect("a look").expect("it is there");
    let told =
        vec![(path("kept"), stat("kept"), hash(1)), (path("touched"), Stat { size: 4, ..stat("touched") }, hash(2))];
    let told = move || Told { files: told.clone(), seals: Vec::new(), asked: Arc::default() };
    let records = Records::new(move || Some(Box::new(told())));
    for (depth, read, expected) in [(Depth::Quick, 10, true), (Depth::Deep, 15, false)] {
        let how = Auditing { records: Some(records.clone()), depth, ..how(1) };
        let meter = Meter::default();
        let audited = audit(&fixture.tree, &RelPath::root(), &how, &meter).expect("it can be read");
        assert_eq!(meter.read().1, read, "{depth:?}");
        let listed = audited.list(&RelPath::root(), Part::WHOLE, &meter).expect("it can be listed");
        let hashes: Vec<_> = listed.iter().map(|found| found.entry.hash()).collect();
        assert_eq!(hashes[0] == Some(hash(1)), expected, "{depth:?}");
        assert_ne!(hashes[1], Some(hash(2)), "{depth:?}");
        assert_eq!(meter.read().1, read, "nothing was read a second time");
        let mut looker = Looker::new(&fixture.tree, &how, &meter);
        let mut stands = |name: &str| looker.look(&path(name), true).recorded.expect("there are records").standing;
        // What is recorded of it is not what is there, and its times are too young to call it rot.
        assert_eq!(stands("kept"), Standing::Changed);
        assert_eq!((stands("unknown"), stands("nowhere")), (Standing::Changed, Standing::Kept));
    }
}

#[test]
fn where_a_seal_fits_no_record_is_asked_for_and_it_comes_to_the_same() {
    let fixture = fixture(false);
    let directories = [path("wide"), path("deep/1/1"), path("deep/2/0"), path("deep")];
    let (mut files, mut seals) = (Vec::new(), Vec::new());
    for directory in directories {
        let mut sealing = Sealing::default();
        for name in fixture.tree.dir(&directory).and_then(|dir| dir.names(Part::WHOLE)).expect("names") {
            let at = directory.join(&name);
            let stat = fixture.tree.stat(&at).expect("a look").expect("it is there");
            let content = std::fs::read(fixture.path(&at.to_string()));
            let hash = content.ok().map(|content| hash_bytes(&content));
            let record = Record { stat, xattrs: XattrDigest::default(), hash, group: None, settled: true };
            sealing.row(&name, &record);
            files.extend(hash.map(|hash| (at, stat, hash)));
        }
        seals.push((directory, sealing.seal().expect("a seal")));
    }
    let asked = Arc::<AtomicUsize>::default();
    let quick = |seals: &[(RelPath, Seal)]| {
        let (files, seals, shared) = (files.clone(), seals.to_vec(), Arc::clone(&asked));
        let told = move || Told { files: files.clone(), seals: seals.clone(), asked: Arc::clone(&shared) };
        let records = Some(Records::new(move || Some(Box::new(told()))));
        let how = Auditing { records, depth: Depth::Quick, ..how(2) };
        let audited = audit(&fixture.tree, &RelPath::root(), &how, &Meter::default()).expect("it can be read");
        (audited.below(), asked.swap(0, Ordering::Relaxed))
    };
    let (unsealed, all) = quick(&[]);
    let (sealed, some) = quick(&seals);
    assert_eq!(unsealed, read(&fixture, 2).below());
    assert_eq!(sealed, unsealed);
    // And "deep" has only directories, which a record never stands for.
    assert_eq!(all - some, files.len() + 5);
    // Somebody touches one of them.
    std::fs::write(fixture.path("deep/1/1/6"), "other").expect("a file");
    let (changed, some) = quick(&seals);
    assert_eq!(changed, read(&fixture, 2).below());
    assert!(changed != sealed && all - some < files.len() + 5);
}

#[test]
fn which_names_are_one_file_is_found_without_reading_any() {
    let fixture = Fixture::new();
    fixture.file("a/one", "content").file("b/alone", "x").file("b/c/two", "y");
    for (from, to) in [("a/one", "b/other"), ("b/c/two", "two")] {
        std::fs::hard_link(fixture.path(from), fixture.path(to)).expect("linked");
    }
    let (all, meter) = (read(&fixture, 2), Meter::default());
    let how = Auditing { links_only: true, ..how(2) };
    let links = audit(&fixture.tree, &RelPath::root(), &how, &meter).expect("it can be read");
    let digest = |audited: &Audited| audited.links().expect("few").digest();
    assert_eq!(digest(&links), digest(&all));
    assert_eq!(meter.read(), (0, 0));
    std::fs::remove_file(fixture.path("two")).expect("removed");
    assert_ne!(digest(&audit(&fixture.tree, &RelPath::root(), &how, &meter).expect("it can be read")), digest(&all));
}
