//! The system calls of the testkit that no safe wrapper offers: writing through a shared mapping, the power cut of a file
//! system, and where on its device a file is.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// `_IOR('X', 125, u32)` of linux/fs.h; known to ext4 and xfs.
const FS_IOC_SHUTDOWN: libc::Ioctl = 0x8004_587d_u32 as libc::Ioctl;
/// Stop at once, and write nothing of the journal that is only in memory.
static SHUTDOWN_NOLOGFLUSH: u32 = 2;

/// `_IO(0x00, 1)` of linux/fs.h.
const FIBMAP: libc::Ioctl = 1;

/// The block of its device in which a file begins, in blocks of its file system; 0 when nothing was written there yet.
#[expect(unsafe_code, reason = "an ioctl that rustix does not carry")]
pub fn first_block(file: &File) -> io::Result<u64> {
    let mut block: libc::c_int = 0;
    // SAFETY: the ioctl reads and writes one int behind a pointer that is valid for the call.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), FIBMAP, &raw mut block) };
    if answer == 0 { Ok(u64::from(block.cast_unsigned())) } else { Err(io::Error::last_os_error()) }
}

/// Cuts the power of the file system that `any` lies on: nothing reaches its device from then on.
#[expect(unsafe_code, reason = "an ioctl that rustix does not carry")]
pub fn shutdown(any: &File) -> io::Result<()> {
    // SAFETY: the ioctl reads one u32 from a pointer that is valid for the call.
    let answer = unsafe { libc::ioctl(any.as_raw_fd(), FS_IOC_SHUTDOWN, &raw const SHUTDOWN_NOLOGFLUSH) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Flips every byte of `range` of `file` through a shared mapping, then msync and munmap. inotify reports none of it.
#[expect(unsafe_code, reason = "a mapping is the point of the exercise")]
pub fn flip_through_mapping(file: &File, range: std::ops::Range<usize>) -> io::Result<()> {
    let len = file.metadata()?.len() as usize;
    assert!(range.end <= len, "{range:?} is not within {len} bytes");
    if len == 0 {
        return Ok(());
    }
    // SAFETY: a fresh mapping of `len` bytes, checked below, unmapped before return; nobody else truncates the file
    // meanwhile (one life owns its tree), and `range` lies within it.
    unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        );
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        for offset in range {
            let byte = at.cast::<u8>().add(offset);
            byte.write(!byte.read());
        }
        let synced = libc::msync(at, len, libc::MS_SYNC);
        let error = io::Error::last_os_error();
        libc::munmap(at, len);
        if synced == 0 { Ok(()) } else { Err(error) }
    }
}
