//! A replica beside its source, on a file system whose files may share extents: large files take no room a second time, are
//! compared all the same, and come in the ordinary way wherever they cannot be shared.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use fulmar_testkit::{Cluster, Format, LoopMount, Random, need, oracle};

const MIB: usize = 1 << 20;
const LARGE: usize = 40 * MIB;
/// What a file system may take beside the content of files.
const ELSE: u64 = 8 << 20;

fn noise(seed: u64, length: usize) -> Vec<u8> {
    Random::new(seed).bytes(length)
}

/// A file system, and in it a source with large files of several kinds.
fn lending(format: Format) -> Option<(LoopMount, Cluster)> {
    let mount = if need("rsync") { LoopMount::of(format, 400 << 20)? } else { return None };
    let source = mount.path().join("source");
    fs::create_dir_all(source.join("deep/er")).unwrap();
    fs::write(source.join("deep/er/large"), noise(1, LARGE)).unwrap();
    // Neither a whole number of blocks nor much more than what goes within an operation.
    fs::write(source.join("uneven"), noise(2, 300_001)).unwrap();
    fs::hard_link(source.join("uneven"), source.join("another name")).unwrap();
    let holes = File::create(source.join("holes")).unwrap();
    holes.write_all_at(&noise(3, MIB), 20 * MIB as u64).unwrap();
    holes.set_len(64 * MIB as u64).unwrap();
    fs::write(source.join("small"), "small").unwrap();
    fs::write(source.join("empty"), "").unwrap();
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar")).with_source(source);
    Some((mount, cluster))
}

/// Bytes of `mount` that `act` takes.
fn taken(mount: &LoopMount, act: impl FnOnce()) -> u64 {
    let before = mount.used();
    act();
    mount.used().saturating_sub(before)
}

/// A sync to `replica` that leaves it equal to the source.
#[track_caller]
fn sync(cluster: &Cluster, replica: &Path) {
    cluster.sync_to(&[replica.as_os_str()], &[]).expect(0);
    oracle::assert_equal(cluster.source(), replica);
}

fn large_files_take_no_room(format: Format) {
    let Some((mount, cluster)) = lending(format) else { return };
    let (source, replica) = (cluster.source().to_owned(), mount.path().join("replica"));
    let first = taken(&mount, || sync(&cluster, &replica));
    assert!(first < ELSE, "{first} bytes for the first copy");
    let there = fs::metadata(replica.join("holes")).unwrap();
    assert!(there.blocks() * 512 < 4 << 20, "{} bytes allocated", there.blocks() * 512);

    // In place: what was shared is not any more.
    let large = source.join("deep/er/large");
    let file = File::options().write(true).open(&large).unwrap();
    file.write_all_at(&noise(4, 10_000), 7_000_001).unwrap();
    let unseen = fs::read(replica.join("deep/er/large")).unwrap();
    assert!(unseen == noise(1, LARGE), "a write to the source shows on the replica");
    file.set_len(LARGE as u64 - 5).unwrap();
    drop(file);
    let changed = taken(&mount, || sync(&cluster, &replica));
    assert!(changed < ELSE, "{changed} bytes for a few that were overwritten");

    fs::write(&large, noise(5, LARGE)).unwrap();
    mount.used();
    let replaced = taken(&mount, || sync(&cluster, &replica));
    assert!(replaced < ELSE, "{replaced} bytes for other content");

    // The other way round it is drift, and the source knows nothing of it.
    let there = File::options().write(true).open(replica.join("deep/er/large")).unwrap();
    there.write_all_at(b"somebody else's", 1000).unwrap();
    drop(there);
    assert!(fs::read(&large).unwrap() == noise(5, LARGE));
    sync(&cluster, &replica);
    assert_eq!(oracle::quarantined(&replica).len(), 1);
}

#[test]
fn large_files_take_no_room_a_second_time_on_btrfs() {
    large_files_take_no_room(Format::Btrfs);
}

#[test]
fn large_files_take_no_room_a_second_time_on_xfs() {
    large_files_take_no_room(Format::Xfs);
}

#[test]
fn a_replica_in_another_subvolume_shares_as_well() {
    let Some((mount, cluster)) = lending(Format::Btrfs) else { return };
    let volume = mount.path().join("volume");
    let made = Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(&volume).status().unwrap();
    assert!(made.success());
    let first = taken(&mount, || sync(&cluster, &volume.join("replica")));
    assert!(first < ELSE, "{first} bytes");
}

#[test]
fn several_replicas_share_where_they_can_and_one_elsewhere_gets_the_bytes() {
    let Some((mount, cluster)) = lending(Format::Xfs) else { return };
    let Some(elsewhere) = LoopMount::of(Format::Xfs, 400 << 20) else { return };
    for number in 0..40 {
        fs::write(cluster.source().join(format!("many {number}")), noise(100 + number, 270_000)).unwrap();
    }
    let mut replicas: Vec<PathBuf> = (0..3).map(|number| mount.path().join(format!("replica{number}"))).collect();
    replicas.insert(1, elsewhere.path().join("replica"));
    // One that could share, and is not asked: it is behind a program.
    replicas.push(mount.path().join("far"));
    let rsh = cluster.rsh("rsh");
    let far = OsString::from_iter([OsStr::new("host:"), replicas[4].as_os_str()]);
    let mut targets: Vec<_> = replicas.iter().map(|replica| replica.as_os_str()).collect();
    targets[4] = &far;
    let (mut there, mut finished) = (0, None);
    let here = taken(&mount, || {
        there = taken(&elsewhere, || {
            finished = Some(cluster.sync_to(&targets, &["-vv", "--rsh", rsh.command().to_str().unwrap()]));
        });
    });
    let finished = finished.unwrap();
    finished.expect(0);
    replicas.iter().for_each(|replica| oracle::assert_equal(cluster.source(), replica));
    let once = LARGE as u64 + 40 * 270_000;
    assert!((once..once + ELSE).contains(&here), "{here} bytes where one of four does not share");
    assert!((once..once + ELSE).contains(&there), "{there} bytes elsewhere");
    // Those that were on their way when the first was refused.
    let refused = finished.stderr.lines().filter(|line| line.contains("it is no clone")).count();
    assert!((1..=12).contains(&refused), "{refused} of 44 are tried though it never works\n{finished}");
}

#[test]
fn what_cannot_be_shared_is_written_and_the_others_are_shared_all_the_same() {
    let Some((mount, cluster)) = lending(Format::Btrfs) else { return };
    if !need("chattr") {
        return;
    }
    // Without checksums, which a file that has them shares nothing with.
    let odd = cluster.source().join("a first file");
    File::create(&odd).unwrap();
    assert!(Command::new("chattr").arg("+C").arg(&odd).status().unwrap().success());
    fs::write(&odd, noise(6, 10 * MIB)).unwrap();
    let replica = mount.path().join("replica");
    let first = taken(&mount, || sync(&cluster, &replica));
    let once = 10 * MIB as u64;
    assert!((once..once + ELSE).contains(&first), "{first} bytes");
}

#[test]
fn a_file_that_is_written_while_it_is_cloned_arrives_as_it_is_left() {
    let Some((mount, cluster)) = lending(Format::Btrfs) else { return };
    let replica = mount.path().join("replica");
    let large = cluster.source().join("uneven");
    let follow = cluster.follow_to(&[replica.as_os_str()], &[]);
    cluster.settle();
    let file = File::options().write(true).open(&large).unwrap();
    for round in 0..3000_u64 {
        file.write_all_at(&noise(round, 5000), round * 7919 % 295_000).unwrap();
    }
    drop(file);
    cluster.settle();
    oracle::assert_equal(cluster.source(), &replica);
    assert_eq!(oracle::quarantined(&replica).len(), 0);
    follow.stop();
}
