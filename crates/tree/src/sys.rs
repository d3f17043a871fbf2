//! System calls in the form this crate uses them: confined opening, `statx` as a `Stat`, handles as paths.

use crate::{Error, Result};
use fulmar_model::{Device, Kind, RelPath, RootId, Stat, Timestamp};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, SeekFrom, Statx, StatxFlags, StatxTimestamp, openat2};
use rustix::io::Errno;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// `openat2` answers EAGAIN when a rename or mount anywhere on the host raced with it; this often in a row is no race.
const OPEN_ATTEMPTS_MAX: u32 = 128;

/// It answers EXDEV for a mount point, and when a directory on the way was moved out of the tree during the call: the next
/// attempt finds that gone. This often in a row is a mount point.
const ESCAPES_MAX: u32 = 8;

/// How everything is opened: beneath the handle, no symlink anywhere, no other file system.
const CONFINED: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// A handle to a place, good for `*at` calls and for looking, not for reading.
pub(crate) const PLACE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW);

/// A handle to a directory that can be listed and synced.
pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// Opens `path` beneath `dir`; with `PLACE` a symlink in the last place is opened itself, else it is ELOOP.
pub(crate) fn open(dir: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
    create(dir, path, flags, Mode::empty())
}

/// As `open`, with the mode of what `flags` may create.
pub(crate) fn create(
    dir: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
) -> std::result::Result<OwnedFd, Errno> {
    let mut escapes = 0;
    for _ in 0..OPEN_ATTEMPTS_MAX {
        match openat2(dir, path, flags | OFlags::CLOEXEC, mode, CONFINED) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::XDEV) if escapes < ESCAPES_MAX => escapes += 1,
            done => return done,
        }
    }
    Err(Errno::AGAIN)
}

/// Opens the file of a name for reading, without moving its access time where that is permitted.
pub(crate) fn open_to_read(dir: BorrowedFd<'_>, name: &[u8]) -> std::result::Result<OwnedFd, Errno> {
    // O_NONBLOCK: a FIFO that took the file's place must not hang us.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match open(dir, name, flags | OFlags::NOATIME) {
        // O_NOATIME is for the owner and for root.
        Err(Errno::PERM) => open(dir, name, flags),
        other => other,
    }
}

/// Waits for the write to an open file that is under way, if there is one.
///
/// RACE: a write moves the times first and the bytes then, within one lock that neither `statx` nor, on ext4 and others, a read
/// takes. Who asks for the times and reads in between has the old bytes with the new times, and nothing moves those again. A
/// question for data takes the lock, so behind it the times that were asked for before it are those of the bytes, or move with
/// the next write.
///
/// Not covered: direct writes over blocks that ext4 has allocated, which share the lock; stores through a mapping.
pub(crate) fn outlast_write(file: BorrowedFd<'_>) {
    // Whether there is data at all does not matter, nor that a file system does not tell.
    let _ = rustix::fs::seek(file, SeekFrom::Data(0));
}

/// Where data begins at or after `from` in an open file, and where it ends; both at most `end`. Where the file system does not
/// tell, all is data.
pub(crate) fn data_after(file: BorrowedFd<'_>, from: u64, end: u64) -> std::result::Result<(u64, u64), Errno> {
    let seek = |to, untold| match rustix::fs::seek(file, to) {
        Ok(at) => Ok(at.min(end)),
        // Nothing of the kind up to the end, of which the file may have come short meanwhile: a read will tell.
        Err(Errno::NXIO) => Ok(end),
        Err(Errno::INVAL | Errno::NOTSUP) => Ok(untold),
        Err(error) => Err(error),
    };
    let data = seek(SeekFrom::Data(from), from)?;
    Ok((data, if data < end { seek(SeekFrom::Hole(data), end)? } else { end }))
}

/// What is asked of the kernel about dirty pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteOut {
    /// To begin with them.
    Begin,
    /// To be done with them.
    Wait,
}

/// Writes out a range, which may end behind the file; an empty one is nothing, though the kernel would take its length for "all".
/// Where the call is not to be had, nothing is written out, and nothing is lost by that.
pub(crate) fn write_out(file: BorrowedFd<'_>, range: Range<u64>, what: WriteOut) -> std::result::Result<(), Errno> {
    let flags = match what {
        WriteOut::Begin => libc::SYNC_FILE_RANGE_WRITE,
        WriteOut::Wait => {
            libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER
        }
    };
    let [start, end] = [range.start, range.end].map(|at| i64::try_from(at).unwrap_or(i64::MAX));
    if start >= end {
        return Ok(());
    }
    #[expect(unsafe_code, reason = "rustix does not carry this call")]
    // SAFETY: takes no pointers; the descriptor is borrowed for the whole call.
    let done = unsafe { libc::sync_file_range(file.as_raw_fd(), start, end - start, flags) };
    if done == 0 {
        return Ok(());
    }
    match Errno::from_io_error(&std::io::Error::last_os_error()) {
        Some(disk @ (Errno::IO | Errno::NOSPC | Errno::DQUOT)) => Err(disk),
        _ => Ok(()),
    }
}

/// Looks at `name` in `dir`, not following a symlink. Without a name, at the handle itself.
pub(crate) fn statx(dir: BorrowedFd<'_>, name: &[u8], wanted: StatxFlags) -> std::result::Result<Statx, Errno> {
    let empty = if name.is_empty() { AtFlags::EMPTY_PATH } else { AtFlags::empty() };
    rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | empty, wanted)
}

/// Looks at what a handle holds.
pub(crate) fn stat_handle(handle: BorrowedFd<'_>, path: &RelPath) -> Result<Stat> {
    let found = statx(handle, b"", StatxFlags::BASIC_STATS);
    to_stat(&found.map_err(|source| Error::Stat { path: path.clone(), source })?, path)
}

/// The kernel's answer in our words.
pub(crate) fn to_stat(from: &Statx, path: &RelPath) -> Result<Stat> {
    as_stat(from).ok_or_else(|| Error::UnknownKind { path: path.clone(), file_type: from.stx_mode & !PERMISSIONS })
}

/// The lower twelve bits of a mode.
const PERMISSIONS: u16 = 0o7777;

/// The same without a path for messages: `None` for a file type this kernel should not have.
pub(crate) fn as_stat(from: &Statx) -> Option<Stat> {
    Some(Stat {
        kind: kind(from.stx_mode)?,
        device: device(from),
        inode: from.stx_ino,
        links: from.stx_nlink,
        mode: from.stx_mode & PERMISSIONS,
        uid: from.stx_uid,
        gid: from.stx_gid,
        size: from.stx_size,
        // st_blocks counts units of 512 bytes whatever the block size is.
        allocated: from.stx_blocks.saturating_mul(512),
        mtime: time(from.stx_mtime),
        ctime: time(from.stx_ctime),
        node: Device { major: from.stx_rdev_major, minor: from.stx_rdev_minor },
    })
}

/// The identity in the kernel's answer, which must have been asked for the birth time.
pub(crate) fn to_identity(from: &Statx) -> RootId {
    let told = StatxFlags::from_bits_retain(from.stx_mask).contains(StatxFlags::BTIME);
    RootId { device: device(from), inode: from.stx_ino, born: told.then(|| time(from.stx_btime)) }
}

/// `None` for a file type this kernel should not have.
pub(crate) fn kind(mode: u16) -> Option<Kind> {
    Some(match FileType::from_raw_mode(u32::from(mode)) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Socket => Kind::Socket,
        _ => return None,
    })
}

fn device(from: &Statx) -> Device {
    Device { major: from.stx_dev_major, minor: from.stx_dev_minor }
}

fn time(from: StatxTimestamp) -> Timestamp {
    Timestamp::new(from.tv_sec, from.tv_nsec)
}

/// An inode that is held, and what the kernel takes the handle for.
#[derive(Clone, Copy)]
pub(crate) enum Handle<'a> {
    /// Opened with `O_PATH`.
    Place(BorrowedFd<'a>),
    /// Opened for reading or writing: every call takes it, without a way through `/proc`.
    Open(BorrowedFd<'a>),
}

impl<'a> Handle<'a> {
    /// For calls that take either.
    pub(crate) fn fd(self) -> BorrowedFd<'a> {
        match self {
            Self::Place(fd) | Self::Open(fd) => fd,
        }
    }
}

/// A path that leads to what the handle holds, for the calls that refuse an `O_PATH` handle (chmod, xattrs). Following
/// it ends at the handle even if that is a symlink.
pub(crate) fn proc_path(handle: BorrowedFd<'_>) -> Vec<u8> {
    format!("/proc/self/fd/{}", handle.as_raw_fd()).into_bytes()
}
