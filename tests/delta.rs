//! Large files over a remote shell: what crosses the wire when little has changed, when the other side has something else
//! than expected, and when the connection breaks.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use fulmar_testkit::{Cluster, Random, Rsh, fixture::Node::File, need, oracle};

const MIB: usize = 1 << 20;
const MAILS: usize = 100_000;

/// Bytes that neither shrink nor repeat.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(length + 64);
    while bytes.len() < length {
        // Longer pieces may repeat.
        bytes.extend(random.bytes(64));
    }
    bytes.truncate(length);
    bytes
}

/// A source with one large file and a replica behind a script that counts what goes there.
struct Wire {
    cluster: Cluster,
    rsh: Rsh,
    counted: PathBuf,
}

impl Wire {
    fn new(content: &[u8]) -> Self {
        let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
        let counted = cluster.path().join("counting");
        // While `limit` is there, the connection breaks after that many reads (of 64 KiB at most).
        let body = format!(
            "shift; eval \"set -- $*\"; shift; cd '{}'; \
             if [ -e limit ]; then dd bs=64k count=$(cat limit) status=none; else cat; fi | tee sent | '{}' \"$@\"",
            counted.display(),
            cluster.binary().path().display()
        );
        let rsh = Rsh::script(&counted, &body);
        fs::write(cluster.source().join("large"), content).unwrap();
        Self { cluster, rsh, counted }
    }

    fn sync(&self) -> fulmar_testkit::Finished {
        let mut target = OsString::from("host:");
        target.push(self.cluster.replica(0));
        self.cluster.sync_to(&[&target], &["--rsh", self.rsh.command().to_str().unwrap()])
    }

    /// Bytes a sync sends that succeeds and leaves both sides equal.
    #[track_caller]
    fn cost(&self) -> usize {
        self.sync().expect(0);
        oracle::assert_equal(self.cluster.source(), &self.cluster.replica(0));
        self.sent()
    }

    /// Bytes sent to a place that hears them and is no replica.
    fn greeting(&self) -> usize {
        let place = self.cluster.replica(1);
        fs::create_dir(&place).unwrap();
        fs::write(place.join("precious"), "somebody's").unwrap();
        let mut target = OsString::from("host:");
        target.push(place);
        self.cluster.sync_to(&[&target], &["--rsh", self.rsh.command().to_str().unwrap()]).expect(2);
        self.sent()
    }

    fn sent(&self) -> usize {
        fs::metadata(self.counted.join("sent")).unwrap().len() as usize
    }

    fn large(&self) -> PathBuf {
        self.cluster.source().join("large")
    }

    fn signatures(&self) -> Vec<PathBuf> {
        let trees = fs::read_dir(self.cluster.state().join("trees")).unwrap();
        trees.map(|tree| tree.unwrap().path().join("signatures")).collect()
    }
}

#[test]
fn what_has_not_changed_in_a_large_file_does_not_cross_the_wire() {
    if !need("rsync") {
        return;
    }
    let mut content = noise(1, 32 * MIB);
    let wire = Wire::new(&content);
    assert!(wire.cost() > 32 * MIB);
    assert!(wire.cost() < 1000, "nothing changed");

    content.extend(noise(2, MIB));
    fs::write(wire.large(), &content).unwrap();
    let appended = wire.cost();
    assert!((MIB..MIB + 20_000).contains(&appended), "{appended} bytes for 1 MiB appended");

    let file = fs::File::options().write(true).open(wire.large()).unwrap();
    file.write_all_at(&noise(3, 4096), 10_000_001).unwrap();
    drop(file);
    let written = wire.cost();
    assert!(written < 30_000, "{written} bytes for 4 KiB written");

    let content = fs::read(wire.large()).unwrap();
    fs::write(wire.large(), [&b"0123456789"[..], &content].concat()).unwrap();
    let inserted = wire.cost();
    assert!(inserted < 30_000, "{inserted} bytes for 10 bytes inserted at the front");

    fs::write(wire.large(), noise(4, 8 * MIB)).unwrap();
    let unrelated = wire.cost();
    assert!(unrelated < 8 * MIB + MIB / 8, "{unrelated} bytes for 8 MiB of something else");
}

#[test]
fn eight_replicas_get_what_one_would_get() {
    if !need("rsync") {
        return;
    }
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    let rsh = cluster.rsh("rsh");
    let large = cluster.source().join("large");
    let targets: Vec<_> =
        (0..8).map(|number| OsString::from_iter([OsString::from("host:"), cluster.replica(number).into()])).collect();
    // One replica on this host, which gets no patches.
    let here = cluster.replica(8).into_os_string();
    let targets: Vec<_> = targets.iter().chain([&here]).map(OsString::as_os_str).collect();
    let content = noise(16, 20 * MIB);
    fs::write(&large, &content).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(cluster.source().join(name), &content[..MIB]).unwrap();
    }
    let equal = || {
        let finished = cluster.sync_to(&targets, &["-vv", "--rsh", rsh.command().to_str().unwrap()]);
        finished.expect(0);
        (0..9).for_each(|number| oracle::assert_equal(cluster.source(), &cluster.replica(number)));
        let lines = finished.stderr.lines().filter(|line| line.contains("preparing it for all"));
        lines.filter(|line| line.contains("large")).count()
    };
    // Once for those elsewhere and once for that here; where somebody was slow, again.
    let prepared = equal();
    assert!((2..9).contains(&prepared), "prepared {prepared} times");
    let file = fs::File::options().write(true).open(&large).unwrap();
    for at in [1, 7_000_000, 19_000_000] {
        file.write_all_at(&noise(at, 10_000), at).unwrap();
    }
    // Two of them have something else.
    for number in [2, 5] {
        let there = fs::File::options().write(true).open(cluster.replica(number).join("large")).unwrap();
        there.write_all_at(b"somebody else's", 5_000_000).unwrap();
    }
    // In three ways.
    let prepared = equal();
    assert!((3..11).contains(&prepared), "prepared {prepared} times");
    assert_eq!(oracle::quarantined(&cluster.replica(2)).len(), 1);
    assert_eq!(oracle::quarantined(&cluster.replica(3)).len(), 0);
}

#[test]
fn a_primary_that_forgot_what_it_shipped_asks() {
    if !need("rsync") {
        return;
    }
    let content = noise(5, 16 * MIB);
    let wire = Wire::new(&content);
    wire.cost();
    for folder in wire.signatures() {
        fs::remove_dir_all(folder).unwrap();
    }
    fs::write(wire.large(), [&content[..], b"more"].concat()).unwrap();
    let cost = wire.cost();
    assert!(cost < 30_000, "{cost} bytes");
}

#[test]
fn a_replica_that_has_something_else_gets_a_patch_for_that() {
    if !need("rsync") {
        return;
    }
    let mut content = noise(6, 16 * MIB);
    let wire = Wire::new(&content);
    wire.cost();
    // Somebody else's version, which is kept; most of it is what is to come.
    let there = fs::File::options().write(true).open(wire.cluster.replica(0).join("large")).unwrap();
    there.write_all_at(&noise(7, 10_000), 5_000_000).unwrap();
    drop(there);
    content.extend(b"an end");
    fs::write(wire.large(), &content).unwrap();
    let cost = wire.cost();
    assert!(cost < 100_000, "{cost} bytes");
    assert_eq!(oracle::quarantined(&wire.cluster.replica(0)).len(), 1);
}

#[test]
fn a_signature_that_lies_costs_the_whole_file_and_nothing_else() {
    if !need("rsync") {
        return;
    }
    let content = noise(8, 4 * MIB);
    let wire = Wire::new(&content);
    wire.cost();
    // The signature of other content under this content's name.
    let other = Wire::new(&noise(9, 4 * MIB));
    other.cost();
    let kept = |wire: &Wire| {
        let folder = fs::read_dir(&wire.signatures()[0]).unwrap();
        folder.map(|entry| entry.unwrap().path()).next().unwrap()
    };
    fs::copy(kept(&other), kept(&wire)).unwrap();
    fs::write(wire.large(), [&noise(9, 4 * MIB)[..], b"more"].concat()).unwrap();
    let cost = wire.cost();
    assert!((4 * MIB..5 * MIB).contains(&cost), "{cost} bytes");
}

#[test]
fn a_connection_that_broke_goes_on_where_it_was() {
    if !need("rsync") {
        return;
    }
    let content = noise(10, 32 * MIB);
    let wire = Wire::new(&content);
    // Beside it, so that there is something to see of the session that broke.
    fulmar_testkit::fixture::build(wire.cluster.source(), &[("small", File("a message"))]);
    let mut done = 0;
    for reads in [60, 120, 200] {
        fs::write(wire.counted.join("limit"), reads.to_string()).unwrap();
        wire.sync().expect(3);
        done += wire.sent().saturating_sub(MIB);
    }
    assert!(done > 4 * MIB, "{done} bytes in three sessions that broke");
    fs::remove_file(wire.counted.join("limit")).unwrap();
    let rest = wire.cost();
    assert!(rest < 32 * MIB - done, "{rest} bytes after {done} were there already");
    let left = fs::read_dir(wire.cluster.replica(0).join(".fulmar/partial")).unwrap().count();
    assert_eq!(left, 0, "what is complete is no partial any more");
}

#[test]
fn holes_of_a_large_file_stay_holes() {
    use std::os::unix::fs::MetadataExt;
    if !need("rsync") {
        return;
    }
    let wire = Wire::new(b"");
    let file = fs::File::options().write(true).open(wire.large()).unwrap();
    file.set_len(64 * MIB as u64).unwrap();
    file.write_all_at(&noise(11, MIB), 20 * MIB as u64).unwrap();
    wire.cost();
    file.write_all_at(&noise(12, MIB), 40 * MIB as u64).unwrap();
    drop(file);
    let cost = wire.cost();
    assert!(cost < 2 * MIB, "{cost} bytes");
    let there = fs::metadata(wire.cluster.replica(0).join("large")).unwrap();
    assert!(there.blocks() * 512 < 8 * MIB as u64, "{} bytes allocated", there.blocks() * 512);
}

#[test]
fn a_file_that_grew_by_a_hole_costs_what_is_in_it_at_most() {
    if !need("rsync") {
        return;
    }
    let wire = Wire::new(&noise(14, 4 * MIB));
    wire.cost();
    fs::File::options().write(true).open(wire.large()).unwrap().set_len(1 << 30).unwrap();
    let cost = wire.cost();
    assert!(cost < 5 * MIB, "{cost} bytes");
    fs::File::options().write(true).open(wire.large()).unwrap().set_len((1 << 30) + (32 << 20)).unwrap();
    assert!(wire.cost() < 5 * MIB);
}

#[test]
fn a_replica_that_never_had_the_file_goes_on_where_it_was_as_well() {
    if !need("rsync") {
        return;
    }
    let wire = Wire::new(&noise(15, 16 * MIB));
    wire.cost();
    // Another replica takes its place: the primary believes it has what it shipped before.
    fs::remove_dir_all(wire.cluster.replica(0)).unwrap();
    fs::write(wire.counted.join("limit"), "160").unwrap();
    wire.sync().expect(3);
    let done = wire.sent().saturating_sub(MIB);
    assert!(done > 2 * MIB, "{done} bytes before it broke");
    fs::remove_file(wire.counted.join("limit")).unwrap();
    let rest = wire.cost();
    assert!(rest < 16 * MIB - done + MIB / 2, "{rest} bytes after {done} were there already");
}

#[test]
fn renames_cost_a_few_hundred_bytes_whatever_is_renamed() {
    if !need("rsync") {
        return;
    }
    let wire = Wire::new(&noise(13, 1 << 20));
    let source = wire.cluster.source();
    fs::create_dir_all(source.join("cur")).unwrap();
    for number in 0..MAILS {
        fs::write(source.join("cur").join(format!("1700000000.M{number}P1.host,S=9,W=9:2,")), "a message").unwrap();
    }
    let mut target = OsString::from("host:");
    target.push(wire.cluster.replica(0));
    let follow = wire.cluster.follow_to(&[&target], &["--rsh", wire.rsh.command().to_str().unwrap()]);
    wire.cluster.assert_in_sync(1);
    let flag = |number: usize| {
        let message = source.join("cur").join(format!("1700000000.M{number}P1.host,S=9,W=9:2,"));
        let mut flagged = message.clone().into_os_string();
        flagged.push("S");
        fs::rename(message, flagged).unwrap();
    };
    let moved = |what: &str, most: usize, rename: &dyn Fn()| {
        let before = wire.sent();
        rename();
        wire.cluster.assert_in_sync(1);
        let cost = wire.sent() - before;
        assert!(cost < most, "{cost} bytes for {what}");
    };
    moved("the flag of a mail", 300, &|| flag(7));
    moved("a file of 1 MiB", 300, &|| fs::rename(wire.large(), source.join("renamed")).unwrap());
    // What both sides read, of which they have it all in memory or on disk.
    fs::write(source.join("cur/large"), noise(14, 64 * MIB)).unwrap();
    wire.cluster.assert_in_sync(1);
    let read = || {
        let io = fs::read_to_string(format!("/proc/{}/io", follow.pid())).unwrap();
        let read = io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
        read.parse::<usize>().unwrap()
    };
    let before = read();
    moved("a directory of 100 000 mails", 1024, &|| fs::rename(source.join("cur"), source.join("away")).unwrap());
    let read = read() - before;
    assert!(read < 64 * MIB, "{read} bytes were read to rename a directory");
    follow.stop();
}

#[test]
fn of_a_tree_only_the_directories_that_differ_are_listed() {
    if !need("rsync") {
        return;
    }
    let wire = Wire::new(b"small");
    let (source, replica) = (wire.cluster.source().to_owned(), wire.cluster.replica(0));
    for directory in 0..300 {
        let at = source.join(format!("user{:02}/folder{directory:03}", directory / 10));
        fs::create_dir_all(&at).unwrap();
        for mail in 0..20 {
            fs::write(at.join(format!("1700000{mail:03}.M{directory}.host,S=7")), format!("mail {mail}")).unwrap();
        }
    }
    let first = wire.cost();
    assert!(first > 40_000, "{first} bytes for 6000 mails");
    let nothing = wire.cost();
    assert!(nothing < 300, "{nothing} bytes when nothing changed, the greeting included");
    let nothing = nothing - wire.greeting();
    assert!(nothing < 200, "{nothing} bytes when nothing changed, without the greeting");

    // The fingerprint of each directory, and the entries of one.
    fs::write(source.join("user03/folder033/new"), "one more").unwrap();
    let one = wire.cost();
    assert!(one < 330 * 45, "{one} bytes for one more file");
    let nothing = wire.cost();
    assert!(nothing < 300, "{nothing} bytes when nothing has changed since");

    // What differs on the replica alone, each in a directory that is otherwise equal.
    fs::write(replica.join("user04/folder040/stray"), "not from here").unwrap();
    fs::create_dir_all(replica.join("user05/strays/deep")).unwrap();
    fs::write(replica.join("user05/strays/deep/stray"), "not from here").unwrap();
    fs::remove_file(replica.join("user06/folder060/1700000000.M60.host,S=7")).unwrap();
    fs::remove_dir_all(replica.join("user07/folder070")).unwrap();
    fs::write(replica.join("user08/folder080/1700000000.M80.host,S=7"), "MAIL 0").unwrap();
    wire.cost();
    let mut quarantined: Vec<_> =
        oracle::quarantined(&replica).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    quarantined.sort();
    assert_eq!(quarantined, ["1700000000.M80.host,S=7", "stray", "stray"]);
}
