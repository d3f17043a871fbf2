//! Bounds what a file leaves dirty while it is written. Without it the kernel keeps gigabytes back, and whatever is made durable
//! beside it on the same file system waits until they are on disk.
//!
//! Each window is begun to be written out when it is complete; before that, the one before it is waited for. So the disk
//! always has something to do, and never more than two windows. This makes nothing durable: sizes and places of blocks
//! are in the journal, and `fsync` is still to come.

use std::ops::Range;

/// Written out in one go: 4 MiB are 10 to 20 ms of a disk that writes 200 to 400 MB/s, which is how long somebody else's sync waits
/// behind each of the two windows under way.
const WINDOW_BYTES: u64 = 4 << 20;

/// How far a file that grows from its beginning is written out.
#[derive(Debug, Default)]
pub(crate) struct Outflow {
    /// Up to here it has begun.
    begun: u64,
    /// Up to here it was waited for.
    waited: u64,
}

/// What is to be done once a window is complete, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// Bytes to wait for; none behind the first window.
    pub(crate) wait: Range<u64>,
    /// Bytes to begin with.
    pub(crate) begin: Range<u64>,
}

impl Outflow {
    /// The file has been written up to `end`.
    pub(crate) fn advance(&mut self, end: u64) -> Option<Due> {
        if end.saturating_sub(self.begun) < WINDOW_BYTES {
            return None;
        }
        let due = Due { wait: self.waited..self.begun, begin: self.begun..end };
        (self.waited, self.begun) = (self.begun, end);
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_begun_and_waited_for_once_and_no_more_than_two_windows_are_under_way() {
        let step = 256 << 10;
        let (mut outflow, mut begun, mut waited) = (Outflow::default(), 0, 0);
        for end in (1..200).map(|count| count * step) {
            if let Some(Due { wait, begin }) = outflow.advance(end) {
                assert_eq!((wait.start, begin.start), (waited, begun));
                (waited, begun) = (wait.end, begin.end);
            }
            assert!(end - begun < WINDOW_BYTES, "{end} bytes, begun up to {begun}");
            assert!(begun - waited <= WINDOW_BYTES, "begun up to {begun}, waited up to {waited}");
        }
        assert!(waited > 0);
    }

    #[test]
    fn small_files_are_left_to_the_kernel() {
        assert_eq!(Outflow::default().advance(WINDOW_BYTES - 1), None);
    }
}
