//! Setting owner, attributes, mode and times of an inode that is held open.
//!
//! The order: owner first (chown clears setuid bits and file capabilities); then attributes; then mode (an ACL changes
//! the group bits, and a mode without write permission would keep an owner without privileges from setting attributes);
//! times last. What is equal already costs no call and does not move the ctime.

use crate::stage::Newborn;
use crate::sys::Handle;
use crate::{Error, Result, sys, xattr};
use fulmar_model::{Kind, RelPath, Stat, Timestamp, Xattrs};
use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

/// What a path shall have besides its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Twelve bits; ignored for symlinks.
    pub mode: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Timestamp,
    /// Every replicated attribute, ACLs and capabilities among them.
    pub xattrs: Xattrs,
}

/// Whether this process can and shall give files away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Owner, group and every attribute as given.
    Keep,
    /// Not privileged: owner, group, `trusted.*` and `security.*` stay as they are.
    Skip,
}

pub(crate) const OWNER_MAY_WRITE: u16 = 0o200;

/// Makes the inode behind `handle`, which is `now` at this moment, have the metadata wanted.
pub(crate) fn apply(
    handle: Handle<'_>,
    path: &RelPath,
    mut now: Stat,
    wanted: &Metadata,
    ownership: Ownership,
) -> Result<()> {
    if ownership == Ownership::Keep && (now.uid, now.gid) != (wanted.uid, wanted.gid) {
        set_owner(handle, path, wanted)?;
        now = sys::stat_handle(handle.fd(), path)?;
    }
    if set_xattrs(handle, path, &now, wanted, ownership)? {
        now = sys::stat_handle(handle.fd(), path)?;
    }
    // Permissions of a symlink mean nothing and cannot be set.
    if now.kind != Kind::Symlink && now.mode != wanted.mode & 0o7777 {
        set_mode(handle, path, wanted.mode & 0o7777)?;
    }
    if now.mtime != wanted.mtime {
        set_mtime(handle, path, wanted.mtime)?;
    }
    Ok(())
}

/// The same for a file that was made a moment ago, and wants no attributes.
pub(crate) fn apply_to_new(
    handle: Handle<'_>,
    path: &RelPath,
    new: Newborn,
    wanted: &Metadata,
    ownership: Ownership,
) -> Result<()> {
    if ownership == Ownership::Keep && (new.uid, new.gid) != (wanted.uid, wanted.gid) {
        set_owner(handle, path, wanted)?;
    }
    if new.mode != Some(wanted.mode & 0o7777) {
        set_mode(handle, path, wanted.mode & 0o7777)?;
    }
    // It is new, and has the time of its first byte.
    set_mtime(handle, path, wanted.mtime)
}

fn set_owner(handle: Handle<'_>, path: &RelPath, wanted: &Metadata) -> Result<()> {
    let failed = |source| Error::SetOwner { path: path.clone(), uid: wanted.uid, gid: wanted.gid, source };
    // To chown this number means "leave it", and no file can have it.
    if wanted.uid == u32::MAX || wanted.gid == u32::MAX {
        return Err(failed(Errno::INVAL));
    }
    let (uid, gid) = (Uid::from_raw(wanted.uid), Gid::from_raw(wanted.gid));
    rustix::fs::chownat(handle.fd(), c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH).map_err(failed)
}

/// Says whether anything was changed, possibly the mode among it.
fn set_xattrs(handle: Handle<'_>, path: &RelPath, now: &Stat, wanted: &Metadata, ownership: Ownership) -> Result<bool> {
    let via = xattr::Via::handle(handle);
    match xattr::apply(&via, path, &wanted.xattrs, ownership) {
        // The kernel asks for write permission even from the owner of a read-only file.
        Err(denied)
            if denied.errno() == Errno::ACCESS.raw_os_error()
                && now.kind != Kind::Symlink
                && now.mode & OWNER_MAY_WRITE == 0 =>
        {
            set_mode(handle, path, now.mode | OWNER_MAY_WRITE)?;
            let done = xattr::apply(&via, path, &wanted.xattrs, ownership);
            if done.is_err() {
                set_mode(handle, path, now.mode)?;
            }
            done.map(|_| true)
        }
        done => done,
    }
}

pub(crate) fn set_mode(handle: Handle<'_>, path: &RelPath, mode: u16) -> Result<()> {
    let bits = Mode::from_raw_mode(u32::from(mode));
    let done = match handle {
        Handle::Open(fd) => rustix::fs::fchmod(fd, bits),
        Handle::Place(fd) => rustix::fs::chmodat(CWD, sys::proc_path(fd), bits, AtFlags::empty()),
    };
    done.map_err(|source| Error::SetMode { path: path.clone(), mode, source })
}

fn set_mtime(handle: Handle<'_>, path: &RelPath, mtime: Timestamp) -> Result<()> {
    // Clamped once more: numbers above the range of nanoseconds have meanings of their own to this call.
    let mtime = Timestamp::new(mtime.seconds, mtime.nanos);
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() },
    };
    rustix::fs::utimensat(handle.fd(), c"", &times, AtFlags::EMPTY_PATH)
        .map_err(|source| Error::SetTimes { path: path.clone(), source })
}
