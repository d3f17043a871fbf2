//! Whether equal times prove that nothing changed.
//!
//! A file system stamps changes from a clock that ticks every few milliseconds: two changes within a tick carry the same
//! ctime. Since Linux 6.13 some file systems have multigrain times: a change that follows a look at the times always
//! gets a later ctime (Documentation/filesystems/multigrain-ts.rst).
//!
//! Not covered, on any kernel: stores through a shared writable mapping move the times only at the first store after a
//! write-back, and a clock that is set back can repeat a ctime.

use fulmar_model::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::os::fd::BorrowedFd;

/// The clock that file systems stamp changes with.
pub struct Clock;

impl Clock {
    /// Its present tick. A change made later gets this time or a later one.
    pub fn coarse_now() -> Timestamp {
        let now = clock_gettime(ClockId::RealtimeCoarse);
        Timestamp::new(now.tv_sec, u32::try_from(now.tv_nsec).unwrap_or(0))
    }
}

/// `f_type` of ext4, xfs and btrfs (statfs(2) lists the numbers). tmpfs has `FS_MGTIME` as well and is left out: when an
/// entry is removed it stamps the directory with the coarse time of the removed inode, measured on Linux 6.18 (nearly
/// every removal right after a look left the directory's ctime as it was).
const MULTIGRAIN_FILE_SYSTEMS: [u64; 3] = [0xef53, 0x5846_5342, 0x9123_683e];

/// The first kernel with multigrain times.
const MULTIGRAIN_SINCE: (u32, u32) = (6, 13);

/// Whether the file system behind `handle` has multigrain times under this kernel; false when in doubt.
pub(crate) fn has_multigrain_times(handle: BorrowedFd<'_>) -> bool {
    let Ok(found) = rustix::fs::fstatfs(handle) else { return false };
    let Ok(magic) = u64::try_from(found.f_type) else { return false };
    let kernel = rustix::system::uname();
    MULTIGRAIN_FILE_SYSTEMS.contains(&magic) && version(kernel.release().to_bytes()) >= Some(MULTIGRAIN_SINCE)
}

/// Major and minor number of "6.18.44-something".
fn version(release: &[u8]) -> Option<(u32, u32)> {
    let mut numbers = std::str::from_utf8(release).ok()?.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn a_kernel_release_is_read_and_a_strange_one_is_older_than_all() {
        assert_eq!(version(b"6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(version(b"7.0-rc1"), Some((7, 0)));
        assert!(version(b"strange") < Some((0, 0)));
    }
}
