//! What has rotted on the source, other bytes though nobody wrote there, is held and never shipped over a good copy.

use std::fs;

use fulmar_testkit::{Cluster, LoopMount, fixture};

/// A source on a file system of its own, in which two files have rested for an hour, and a replica that has everything.
fn rested() -> Option<(Cluster, LoopMount)> {
    let mut mount = LoopMount::new(64 << 20)?;
    let source = mount.path().join("source");
    fs::create_dir(&source).unwrap();
    for (name, size) in [("small", 5000), ("large", 3 << 20)] {
        fs::write(source.join(name), vec![b'g'; size]).unwrap();
    }
    for file in ["small", "large"] {
        mount.age(&format!("source/{file}"));
    }
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar")).with_source(source);
    cluster.sync(&[]).expect(0);
    Some((cluster, mount))
}

#[test]
fn a_replica_that_has_lost_its_copy_is_not_given_one_that_has_rotted() {
    let Some((cluster, mount)) = rested() else { return };
    let replica = cluster.replica(0);
    for name in ["small", "large"] {
        mount.rot(&cluster.source().join(name));
        fs::remove_file(replica.join(name)).unwrap();
    }
    let synced = cluster.sync(&["--json"]);
    synced.expect(1);
    assert_eq!(synced.stdout.matches("corrupt on the primary").count(), 2, "{synced}");
    assert!(!replica.join("small").exists() && !replica.join("large").exists(), "{synced}");

    // Touched, it is right.
    for name in ["small", "large"] {
        fixture::set_mtime(&cluster.source().join(name), 1_700_000_000, 1);
    }
    cluster.sync(&[]).expect(0);
    for (name, size) in [("small", 5000), ("large", 3 << 20)] {
        let content = fs::read(replica.join(name)).unwrap();
        assert_eq!((content[0], content.len()), (!b'g', size), "{name}");
    }
}

#[test]
fn a_copy_that_was_changed_is_set_aside_only_when_there_is_a_good_one_to_take_its_place() {
    let Some((cluster, mount)) = rested() else { return };
    let (source, replica) = (cluster.source().join("small"), cluster.replica(0).join("small"));
    mount.rot(&source);
    fs::write(&replica, "mine").unwrap();
    cluster.sync(&[]).expect(1);
    assert_eq!(fs::read(&replica).unwrap(), b"mine");
    fs::write(&source, vec![b'g'; 5000]).unwrap();
    cluster.sync(&[]).expect(0);
    assert_eq!(fs::read(&replica).unwrap(), vec![b'g'; 5000]);
}
