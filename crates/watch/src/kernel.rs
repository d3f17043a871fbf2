//! inotify, as far as it is used: one instance, one mask, watches by handle.
//!
//! Creating the instance and adding watches is the `inotify` crate's. Reading and removing go through
//! `rustix::fs::inotify` on the same descriptor, because `inotify::Event` panics on a mask bit it does not know and
//! `inotify::Watches::remove` wants an object of 16 bytes a watch where the kernel's number does.

use inotify::{Inotify, WatchMask};
use rustix::fs::inotify::{ReadFlags, Reader, remove_watch};
use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Bytes read at once: between 1 000 and 10 000 events.
const BUFFER_BYTES: usize = 256 * 1024;

/// A watch descriptor: the kernel's name for a watched inode, until the watch is removed.
pub(crate) type Wd = i32;

/// An event as the kernel gave it.
pub(crate) struct Raw<'a> {
    pub wd: Wd,
    pub mask: ReadFlags,
    pub cookie: u32,
    /// Empty when the event is about the watched directory itself.
    pub name: &'a [u8],
}

/// What reading has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// The queue was empty for a moment.
    Empty,
    /// One buffer was taken; there may be more.
    Some {
        /// Size of the events taken.
        bytes: u64,
    },
}

pub(crate) struct Kernel {
    inotify: Inotify,
}

impl Kernel {
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { inotify: Inotify::init()? })
    }

    /// Watches the directory behind the handle. The same inode gives the same number as long as it is watched.
    ///
    /// The path of the descriptor is resolved by the kernel to the inode itself: no name is looked up that somebody
    /// could have exchanged, and no path is too long. The trailing dot is there because the descriptor's entry in
    /// `/proc` is a symlink, which `DONT_FOLLOW` would refuse.
    ///
    /// RACE: the kernel takes a replaced mask away before it sets the new one (`inotify_update_existing_watch`), and what
    /// happens in that moment is told to nobody. `MASK_ADD` leaves the mask of a known watch standing.
    pub(crate) fn watch(&self, directory: impl AsFd) -> Result<Wd, Errno> {
        let mask = WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVED_FROM
            | WatchMask::MOVED_TO
            | WatchMask::CLOSE_WRITE
            | WatchMask::MODIFY
            | WatchMask::ATTRIB
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::MASK_ADD
            | WatchMask::ONLYDIR
            | WatchMask::DONT_FOLLOW
            | WatchMask::EXCL_UNLINK;
        let path = format!("/proc/self/fd/{}/.", directory.as_fd().as_raw_fd());
        let watch = self.inotify.watches().add(path, mask);
        watch
            .map(|watch| watch.get_watch_descriptor_id())
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    /// Ends a watch. The kernel answers with `IGNORED`; a watch that it has ended itself gives an error of no interest.
    pub(crate) fn unwatch(&self, wd: Wd) -> Result<(), Errno> {
        remove_watch(&self.inotify, wd)
    }

    /// Bytes in the kernel's queue: what happened up to this call has been seen when as many have been read.
    pub(crate) fn queued_bytes(&self) -> u64 {
        rustix::io::ioctl_fionread(&self.inotify).unwrap_or(u64::MAX)
    }

    /// Takes one buffer of events without waiting and gives them to `each` in order. A failure of `each` ends it, and
    /// what was in the buffer behind is lost: the caller gives up then.
    pub(crate) fn read<E>(
        &self,
        buffer: &mut Buffer,
        mut each: impl FnMut(Raw<'_>) -> Result<(), E>,
    ) -> Result<Drained, E> {
        let mut reader = Reader::new(&self.inotify, &mut buffer.0);
        let mut bytes = 0;
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map_or(&b""[..], |name| name.to_bytes());
                    bytes += queued_size(name);
                    each(Raw { wd: event.wd(), mask: event.events(), cookie: event.cookie(), name })?;
                }
                Err(Errno::INTR) => continue,
                // Only an empty queue is expected here. Anything else would repeat for ever if it were retried at once.
                Err(error) => {
                    if error != Errno::AGAIN {
                        tracing::warn!(%error, "reading inotify events failed");
                    }
                    return Ok(Drained::Empty);
                }
            }
            if reader.is_buffer_empty() {
                return Ok(Drained::Some { bytes });
            }
        }
    }
}

impl AsFd for Kernel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// Size of an event in the queue: 16 bytes, and the name with its terminating zero rounded up to 16.
fn queued_size(name: &[u8]) -> u64 {
    let padded = if name.is_empty() { 0 } else { (name.len() + 1).next_multiple_of(16) };
    16 + padded as u64
}

/// Where events are read into.
pub(crate) struct Buffer(Box<[MaybeUninit<u8>]>);

impl Buffer {
    pub(crate) fn new() -> Self {
        Self(Box::new_uninit_slice(BUFFER_BYTES))
    }
}

/// Whether inotify misses what other machines (or the server behind a FUSE mount) change on this file system.
pub(crate) fn is_remote(directory: impl AsFd) -> bool {
    // Magic numbers of linux/magic.h: NFS, SMB (old), CIFS, SMB2, FUSE, 9p, Ceph, AFS (two), Coda, OCFS2, GFS2, Lustre.
    const REMOTE: [u32; 13] = [
        0x6969,
        0x517b,
        0xff53_4d42,
        0xfe53_4d42,
        0x6573_5546,
        0x0102_1997,
        0x00c3_6400,
        0x5346_414f,
        0x6b41_4653,
        0x7375_7245,
        0x7461_636f,
        0x0116_1970,
        0x0bd0_0bd0,
    ];
    rustix::fs::fstatfs(directory).is_ok_and(|info| {
        // The kernel's field is signed on some machines; the magic is its low 32 bits.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the low 32 bits are meant")]
        let magic = info.f_type as u32;
        REMOTE.contains(&magic)
    })
}

#[cfg(test)]
#[path = "kernel_tests.rs"]
mod tests;
