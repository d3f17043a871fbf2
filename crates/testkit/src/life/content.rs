//! Acts that change what files contain.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags, linkat};

use super::{Kind, Life, beside, words};

/// As careful programs write: beside the name, then renamed over it.
pub fn publish(life: &mut Life) -> io::Result<String> {
    let path = if life.random.chance(50) { life.some_file()? } else { life.fresh() };
    let temporary = beside(&path, format!(".{}.tmp", life.counter));
    let content = life.content();
    fs::write(life.at(&temporary), &content)?;
    if let Err(error) = fs::rename(life.at(&temporary), life.at(&path)) {
        fs::remove_file(life.at(&temporary))?;
        return Err(error);
    }
    life.know(&path, Kind::File);
    Ok(format!("publish {} {} bytes", words(&path), content.len()))
}

/// Written under its final name, in several pieces.
pub fn create(life: &mut Life) -> io::Result<String> {
    let path = life.fresh();
    let content = life.content();
    let mut file = OpenOptions::new().write(true).create_new(true).open(life.at(&path))?;
    for piece in content.chunks((content.len() / 3).max(1)) {
        file.write_all(piece)?;
    }
    life.know(&path, Kind::File);
    Ok(format!("create {} {} bytes", words(&path), content.len()))
}

/// A few blocks somewhere in a file, or all of it; through every hard link it has.
pub fn overwrite(life: &mut Life) -> io::Result<String> {
    let path = life.some_file()?;
    let content = life.content();
    if life.random.chance(40) {
        let mut file = life.open(&path)?;
        file.set_len(0)?;
        file.write_all(&content)?;
        return Ok(format!("overwrite {} all, {} bytes", words(&path), content.len()));
    }
    let file = life.open(&path)?;
    let len = file.metadata()?.len();
    let offset = life.random.below(len as usize) as u64;
    let piece = &content[..content.len().min(5000)];
    file.write_all_at(piece, offset)?;
    Ok(format!("overwrite {} {} bytes at {offset}", words(&path), piece.len()))
}

/// As logs grow: several small writes, one open file.
pub fn append(life: &mut Life) -> io::Result<String> {
    let path = life.some_file()?;
    let mut file = life.open_at_end(&path)?;
    let lines = 1 + life.random.below(20);
    for _ in 0..lines {
        let len = life.random.below(300);
        let line = life.random.bytes(len);
        file.write_all(&line)?;
    }
    Ok(format!("append {} {lines} lines", words(&path)))
}

/// Shorter or longer, without a write.
pub fn truncate(life: &mut Life) -> io::Result<String> {
    let path = life.some_file()?;
    let file = life.open(&path)?;
    let len = life.random.below(2 * file.metadata()?.len() as usize + 2) as u64;
    file.set_len(len)?;
    Ok(format!("truncate {} to {len}", words(&path)))
}

/// Other content, same length, and the time put back: what only the change time tells.
pub fn write_keeping_time(life: &mut Life) -> io::Result<String> {
    let path = life.some_file()?;
    let file = life.open(&path)?;
    let before = file.metadata()?;
    let content = life.random.bytes((before.len() as usize).min(300_000));
    file.write_all_at(&content, 0)?;
    crate::fixture::set_mtime(&life.at(&path), before.mtime(), before.mtime_nsec() as u32);
    Ok(format!("rewrite-unseen {}", words(&path)))
}

/// A program holds a file open while another one renames it.
pub fn write_after_rename(life: &mut Life) -> io::Result<String> {
    let (path, to) = (life.some_file()?, life.fresh());
    let mut file = life.open_at_end(&path)?;
    file.write_all(b"before the rename\n")?;
    fs::rename(life.at(&path), life.at(&to))?;
    file.write_all(b"after the rename\n")?;
    life.forget(&path);
    life.know(&to, Kind::File);
    Ok(format!("write-while-renamed {} to {}", words(&path), words(&to)))
}

/// Islands of data in a file full of holes; sometimes nothing but a hole.
pub fn sparse(life: &mut Life) -> io::Result<String> {
    let path = life.fresh();
    let file = OpenOptions::new().write(true).create_new(true).open(life.at(&path))?;
    let len = 1 + life.random.below(2_000_000) as u64;
    file.set_len(len)?;
    let islands = life.random.below(4);
    for _ in 0..islands {
        let offset = life.random.below(len as usize) as u64;
        file.write_all_at(b"an island of data", offset)?;
    }
    life.know(&path, Kind::File);
    Ok(format!("sparse {} {len} bytes, {islands} islands", words(&path)))
}

/// A hole where data was; the length stays.
pub fn punch_hole(life: &mut Life) -> io::Result<String> {
    let path = life.some_file()?;
    let file = life.open(&path)?;
    let len = file.metadata()?.len();
    let offset = life.random.below(len as usize) as u64;
    rustix::fs::fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, 1 + len / 2)?;
    Ok(format!("punch {} at {offset}", words(&path)))
}

/// A file that has no name until it is complete.
pub fn unnamed_then_linked(life: &mut Life) -> io::Result<String> {
    let path = life.fresh();
    let directory = beside(&life.at(&path), "");
    let file = File::from(rustix::fs::open(&directory, OFlags::TMPFILE | OFlags::WRONLY, Mode::from_raw_mode(0o640))?);
    let content = life.content();
    (&file).write_all(&content)?;
    linkat(CWD, format!("/proc/self/fd/{}", file.as_raw_fd()), CWD, life.at(&path), AtFlags::SYMLINK_FOLLOW)?;
    life.know(&path, Kind::File);
    Ok(format!("tmpfile {} {} bytes", words(&path), content.len()))
}

/// Written through memory, which no event tells; then touched, which one does.
pub fn through_mapping(life: &mut Life) -> io::Result<String> {
    let path = life.some_file()?;
    let file = life.open(&path)?;
    let len = file.metadata()?.len() as usize;
    let start = life.random.below(len);
    let end = len.min(start + 1 + life.random.below(9000));
    crate::syscall::flip_through_mapping(&file, start..end)?;
    drop(file);
    File::open(life.at(&path))?.set_modified(std::time::SystemTime::now())?;
    Ok(format!("mmap {} {start}..{end}", words(&path)))
}

/// Larger than any buffer.
pub fn large(life: &mut Life) -> io::Result<String> {
    if !life.options.large_files {
        return publish(life);
    }
    let path = life.fresh();
    let len = 2_000_000 + life.random.below(2_000_000);
    let content = life.random.bytes(len);
    OpenOptions::new().write(true).create_new(true).open(life.at(&path))?.write_all(&content)?;
    life.know(&path, Kind::File);
    Ok(format!("large {} {len} bytes", words(&path)))
}
