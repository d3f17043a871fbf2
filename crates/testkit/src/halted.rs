//! A write that is under way for as long as a test wants.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::process::state;
use crate::syscall::{Absent, overwrite};
use crate::{skipped, until};

/// One write in the place of a file's first bytes, in whose middle the writer waits for its memory: the kernel has moved the
/// times of the file and not its bytes, and holds the lock that writers take.
pub struct Halted {
    absent: OwnedFd,
    writer: JoinHandle<()>,
}

impl Halted {
    /// Begins to write `len` zeros, a page at most; as root only.
    pub fn zeros(path: &Path, len: usize) -> Option<Self> {
        let (page, absent) = match Absent::new() {
            Ok(absent) => absent,
            Err(error) => {
                skipped(&format!("a write cannot be halted: {error}"));
                return None;
            }
        };
        let file = File::options().write(true).open(path).expect("a file");
        let stat = || path.metadata().map(|stat| (stat.ctime(), stat.ctime_nsec())).expect("a file");
        let before = stat();
        let writer = std::thread::spawn(move || overwrite(&file, page, len).expect("a write"));
        until(Duration::from_secs(20), "the write moves the times", || {
            if stat() == before { Err(format!("{before:?}")) } else { Ok(()) }
        });
        Some(Self { absent, writer })
    }

    /// Begins `look` while the write is under way, which goes on once `look` has ended or waits for it. Gives what `look` gave.
    pub fn during<T: Send + 'static>(self, look: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        let looking = std::thread::spawn(move || {
            tell.send(fs::read_link("/proc/thread-self")).expect("somebody listens");
            look()
        });
        let thread = told.recv().expect("a thread").expect("its place in /proc");
        until(Duration::from_secs(20), "the look has ended, or waits", || {
            let state = state(&Path::new("/proc").join(&thread));
            if looking.is_finished() || state == Some('D') { Ok(()) } else { Err(format!("{state:?}")) }
        });
        self.finish();
        looking.join().expect("the look")
    }

    /// Lets the write go on, and waits for its end.
    pub fn finish(self) {
        drop(self.absent);
        self.writer.join().expect("the writer");
    }
}
