//! The system calls of the testkit that no safe wrapper offers: writing through a shared mapping, writing from memory that
//! is not there yet, the power cut of a file system, and where on its device a file is.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// `_IOR('X', 125, u32)` of linux/fs.h; known to ext4 and xfs.
const FS_IOC_SHUTDOWN: libc::Ioctl = 0x8004_587d_u32 as libc::Ioctl;
/// Stop at once, and write nothing of the journal that is only in memory.
static SHUTDOWN_NOLOGFLUSH: u32 = 2;

/// `_IO(0x00, 1)` of linux/fs.h.
const FIBMAP: libc::Ioctl = 1;

/// `_IOWR(0xaa, 0x3f, struct uffdio_api)` and `_IOWR(0xaa, 0, struct uffdio_register)` of linux/userfaultfd.h.
const UFFDIO_API: libc::Ioctl = 0xc018_aa3f_u32 as libc::Ioctl;
const UFFDIO_REGISTER: libc::Ioctl = 0xc020_aa00_u32 as libc::Ioctl;
/// The one version there is, and the one kind of fault that is asked for.
const UFFD_API: u64 = 0xaa;
const UFFDIO_REGISTER_MODE_MISSING: u64 = 1;

/// A page of memory. It is never unmapped: nobody knows when the kernel is done with it.
pub struct Absent(usize);

impl Absent {
    /// Whoever touches the page waits until the handle is closed, and finds zeros then.
    #[expect(unsafe_code, reason = "a system call that rustix does not carry without a feature of its own")]
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        let mut api = [UFFD_API, 0, 0];
        // SAFETY: a fresh handle, owned from here on; a fresh private mapping, checked; both ioctls read and write an array of
        // the size of their argument (three and four 64-bit words) behind a pointer that is valid for the call.
        unsafe {
            let handle = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC);
            if handle < 0 {
                return Err(io::Error::last_os_error());
            }
            let handle = OwnedFd::from_raw_fd(handle as i32);
            let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let page = libc::mmap(std::ptr::null_mut(), PAGE, access, flags, -1, 0);
            if page == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let mut register = [page as u64, PAGE as u64, UFFDIO_REGISTER_MODE_MISSING, 0];
            let ready = libc::ioctl(handle.as_raw_fd(), UFFDIO_API, api.as_mut_ptr()) == 0
                && libc::ioctl(handle.as_raw_fd(), UFFDIO_REGISTER, register.as_mut_ptr()) == 0;
            if ready { Ok((Self(page as usize), handle)) } else { Err(io::Error::last_os_error()) }
        }
    }
}

/// Writes `len` bytes from the beginning of the page over the beginning of the file.
#[expect(unsafe_code, reason = "no slice may speak of memory that waits")]
pub fn overwrite(file: &File, page: Absent, len: usize) -> io::Result<()> {
    assert!(len <= PAGE, "{len} bytes are more than a page");
    // SAFETY: the page is mapped for ever, `len` lies within it, and nobody else uses it.
    let written = unsafe { libc::pwrite(file.as_raw_fd(), page.0 as *const libc::c_void, len, 0) };
    if usize::try_from(written) == Ok(len) { Ok(()) } else { Err(io::Error::last_os_error()) }
}

const PAGE: usize = 4096;

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
