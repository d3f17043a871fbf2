//! A small file system of its own: an image file, mounted through a loop device. It can be filled, and its power can be cut.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a file system is made as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Files do not share extents.
    Ext4,
    /// They do; 128 MiB at least.
    Btrfs,
    /// They do; 320 MiB at least.
    Xfs,
}

/// A file system in an image file, unmounted and gone when dropped.
pub struct LoopMount {
    directory: tempfile::TempDir,
    mounted: bool,
}

impl LoopMount {
    /// Makes and mounts an ext4 of `bytes`; `None`, said so, where the machine cannot (see [`crate::need_root`]).
    pub fn new(bytes: u64) -> Option<Self> {
        if crate::need("debugfs") { Self::of(Format::Ext4, bytes) } else { None }
    }

    /// The same of another format. What is said of rot, ages and links is for ext4 alone, of power for btrfs not.
    pub fn of(format: Format, bytes: u64) -> Option<Self> {
        let (program, options) = match format {
            Format::Ext4 => ("mkfs.ext4", &["-q", "-m", "0"][..]),
            Format::Btrfs => ("mkfs.btrfs", &["-q"][..]),
            Format::Xfs => ("mkfs.xfs", &["-q", "-m", "reflink=1"][..]),
        };
        if !(crate::need_root("mounting an image") && crate::need(program) && crate::need("mount")) {
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut mount = Self { directory, mounted: false };
        let image = File::create(mount.image()).expect("an image file");
        image.set_len(bytes).expect("a sparse image");
        std::fs::create_dir(mount.path()).expect("a mount point");
        expect_success(Command::new(program).args(options).arg(mount.image()));
        mount.mount();
        Some(mount)
    }

    /// Where it is mounted. Holds `lost+found`: keep trees in directories below.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("mounted")
    }

    /// Bytes taken, once everything is written out.
    pub fn used(&self) -> u64 {
        let root = File::open(self.path()).expect("a mounted file system");
        rustix::fs::syncfs(&root).expect("written out");
        let all = rustix::fs::fstatvfs(&root).expect("a file system");
        (all.f_blocks - all.f_bfree) * all.f_frsize
    }

    /// Cuts the power: whatever is not on the image is lost. Every later access fails until [`Self::remount`].
    pub fn shutdown(&self) {
        let root = File::open(self.path()).expect("a mounted file system");
        crate::syscall::shutdown(&root).expect("ext4 and xfs know FS_IOC_SHUTDOWN");
    }

    /// Unmounts and mounts again, replaying the journal, as a machine does that comes back. Nobody may use it meanwhile:
    /// end the processes that do first.
    pub fn remount(&mut self) {
        self.unmount();
        self.mount();
    }

    /// Lets the first byte of a file rot: flips it on the image, below the file system, which knows nothing of it. The next who
    /// reads the file finds it.
    pub fn rot(&self, path: &Path) {
        let file = File::open(path).expect("a file");
        // Afterwards it has blocks, and its pages are clean.
        file.sync_all().expect("synced");
        let block = crate::syscall::first_block(&file).expect("ext4 knows where its files are");
        let size = rustix::fs::fstatvfs(&file).expect("a file system").f_bsize;
        assert!(block > 0, "{} has no block", path.display());
        let image = File::options().read(true).write(true).open(self.image()).expect("the image");
        let mut byte = [0];
        image.read_exact_at(&mut byte, block * size).expect("within the image");
        let mut start = [0];
        file.read_exact_at(&mut start, 0).expect("a file that is not empty");
        assert_eq!(byte, start, "{} begins elsewhere", path.display());
        image.write_all_at(&[!byte[0]], block * size).expect("written");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("forgotten");
        crate::until(std::time::Duration::from_secs(20), "the rot is seen", || {
            let mut now = [0];
            file.read_exact_at(&mut now, 0).expect("readable");
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("forgotten");
            if now != start { Ok(()) } else { Err("it is still in memory".to_owned()) }
        });
    }

    /// Puts the ctime of a file, by its path below the mount point, an hour into the past, which no system call does. Nobody may
    /// use the file system meanwhile.
    pub fn age(&mut self, below: &str) {
        self.unmount();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
        let request = format!("set_inode_field /{below} ctime @{}", now - 3600);
        expect_success(Command::new("debugfs").args(["-w", "-R", &request]).arg(self.image()));
        self.mount();
        let seconds = std::os::unix::fs::MetadataExt::ctime(&self.path().join(below).metadata().expect("a file"));
        assert_eq!(u64::try_from(seconds), Ok(now - 3600), "{request}");
    }

    /// Has a directory, by its path below the mount point, say that it has one link, however many directories are in it: as all do on
    /// btrfs and in an overlay, and here those with more than 65 000. Nobody may use the file system meanwhile.
    pub fn hide_links(&mut self, below: &str) {
        self.unmount();
        let request = format!("set_inode_field /{below} links_count 1");
        expect_success(Command::new("debugfs").args(["-w", "-R", &request]).arg(self.image()));
        self.mount();
        let links = std::os::unix::fs::MetadataExt::nlink(&self.path().join(below).metadata().expect("a directory"));
        assert_eq!(links, 1, "{request}");
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    fn mount(&mut self) {
        expect_success(Command::new("mount").args(["-o", "loop,noatime"]).arg(self.image()).arg(self.path()));
        self.mounted = true;
    }

    fn unmount(&mut self) {
        let path = self.path();
        // A process that was killed a moment ago may still be closing its files.
        crate::until(std::time::Duration::from_secs(20), "the file system can be unmounted", || {
            let output = umount(&path, &[]);
            if output.status.success() { Ok(()) } else { Err(text(&output)) }
        });
        self.mounted = false;
    }
}

impl Drop for LoopMount {
    fn drop(&mut self) {
        if self.mounted && !umount(&self.path(), &[]).status.success() {
            umount(&self.path(), &["--lazy"]);
        }
    }
}

fn umount(path: &Path, options: &[&str]) -> Output {
    Command::new("umount").args(options).arg(path).output().expect("umount can be run")
}

fn expect_success(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", text(&output));
}

fn text(output: &Output) -> String {
    format!("{} {}", output.status, String::from_utf8_lossy(&output.stderr).trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_rots_without_a_trace_in_its_stat_data_and_ages() {
        use std::os::unix::fs::MetadataExt;
        let Some(mut mount) = LoopMount::new(32 << 20) else { return };
        let file = mount.path().join("file");
        fs::write(&file, vec![b'a'; 10_000]).unwrap();
        File::open(&file).unwrap().sync_all().unwrap();
        mount.age("file");
        let before = file.metadata().unwrap();
        mount.rot(&file);
        let (after, now) = (file.metadata().unwrap(), fs::read(&file).unwrap());
        assert_eq!((after.ctime(), after.mtime_nsec(), after.len()), (before.ctime(), before.mtime_nsec(), 10_000));
        assert_eq!((now[0], now[1]), (!b'a', b'a'));
    }

    #[test]
    fn a_power_cut_loses_what_was_not_synced_and_keeps_what_was() {
        let Some(mut mount) = LoopMount::new(32 << 20) else { return };
        let (kept, lost) = (mount.path().join("kept"), mount.path().join("lost"));
        fs::write(&kept, "kept").unwrap();
        File::open(&kept).unwrap().sync_all().unwrap();
        File::open(mount.path()).unwrap().sync_all().unwrap();
        fs::write(&lost, "lost").unwrap();
        mount.shutdown();
        assert!(fs::write(mount.path().join("late"), "late").is_err());
        mount.remount();
        assert_eq!(fs::read(&kept).unwrap(), b"kept");
        assert!(!lost.exists());
    }
}
