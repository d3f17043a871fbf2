//! A write that no watcher hears of.

use std::fs::File;
use std::path::Path;

/// Flips every byte of a file through a shared mapping. As long as this is held, inotify has reported nothing: it would report
/// that the file was closed.
#[derive(Debug)]
pub struct Unseen(#[expect(dead_code, reason = "held open")] File);

impl Unseen {
    /// Does it. The times of the file move.
    pub fn flip(path: &Path) -> Self {
        let file = File::options().read(true).write(true).open(path).expect("a file");
        let len = usize::try_from(file.metadata().expect("a file").len()).expect("small");
        crate::syscall::flip_through_mapping(&file, 0..len).expect("a mapping");
        Self(file)
    }
}
