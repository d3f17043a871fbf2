//! Directories that a replica does not have yet.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use fulmar_testkit::{Cluster, fixture, need, oracle};

fn cluster() -> Cluster {
    Cluster::new(env!("CARGO_BIN_EXE_fulmar"))
}

#[test]
fn what_a_directory_hands_down_to_new_files_is_not_on_those_that_had_it_not() {
    if !need("rsync") {
        return;
    }
    let cluster = cluster();
    let above = cluster.source().join("above");
    fs::create_dir_all(above.join("below")).unwrap();
    fs::write(above.join("file"), "x").unwrap();
    std::os::unix::fs::symlink("file", above.join("symlink")).unwrap();
    fs::hard_link(above.join("file"), above.join("below/link")).unwrap();
    // Set when everything was there: nobody inherits it here.
    for directory in [&above, &above.join("below")] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o2755)).unwrap();
        let acl = fixture::acl(1234, 7);
        rustix::fs::setxattr(directory, "system.posix_acl_default", &acl, rustix::fs::XattrFlags::empty()).unwrap();
    }
    std::os::unix::fs::chown(&above, None, Some(4321)).unwrap();
    cluster.sync(&[]).expect(0);
    oracle::assert_equal(cluster.source(), &cluster.replica(0));
}
