//! Acts that change which names there are, and what kind of thing they stand for.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};

use super::{Kind, Life, beside, words};

const MOVABLE: &[Kind] = &[Kind::File, Kind::Symlink, Kind::Special];
const ANYTHING: &[Kind] = &[Kind::File, Kind::Symlink, Kind::Special, Kind::Directory];

/// To a name that is free or not, in any directory.
pub fn rename_file(life: &mut Life) -> io::Result<String> {
    let (path, to) = (life.some(MOVABLE)?, life.fresh());
    rename(life, &path, &to)?;
    Ok(format!("rename {} to {}", words(&path), words(&to)))
}

/// Over a file that is there.
pub fn rename_over(life: &mut Life) -> io::Result<String> {
    let (path, to) = (life.some(MOVABLE)?, life.some_file()?);
    rename(life, &path, &to)?;
    Ok(format!("rename-over {} to {}", words(&path), words(&to)))
}

/// With all that is in it; over an empty directory too.
pub fn rename_directory(life: &mut Life) -> io::Result<String> {
    let path = life.some(&[Kind::Directory])?;
    let to = if life.random.chance(20) { life.some(&[Kind::Directory])? } else { life.fresh() };
    rename(life, &path, &to)?;
    if life.random.chance(50) {
        // Work goes on at once under the new name, before anybody can have followed.
        let inside = to.join(format!("moved-in-{}", life.counter));
        fs::write(life.at(&inside), b"written right after the rename")?;
    }
    life.walk();
    Ok(format!("rename-directory {} to {}", words(&path), words(&to)))
}

/// Two names change places in one step.
pub fn exchange(life: &mut Life) -> io::Result<String> {
    let (one, other) = (life.some(ANYTHING)?, life.some(ANYTHING)?);
    renameat_with(CWD, life.at(&one), CWD, life.at(&other), RenameFlags::EXCHANGE)?;
    life.walk();
    Ok(format!("exchange {} with {}", words(&one), words(&other)))
}

/// a→b, c→a: what log rotation does; or a swap by way of a third name.
pub fn chain(life: &mut Life) -> io::Result<String> {
    let (one, other) = (life.some(MOVABLE)?, life.some(MOVABLE)?);
    let third = life.fresh();
    rename(life, &one, &third)?;
    rename(life, &other, &one)?;
    let swap = life.random.chance(50);
    if swap {
        rename(life, &third, &other)?;
    }
    Ok(format!("{} {} {} by {}", if swap { "swap" } else { "chain" }, words(&one), words(&other), words(&third)))
}

/// The same name, another kind of thing.
pub fn swap_kind(life: &mut Life) -> io::Result<String> {
    let path = life.some(ANYTHING)?;
    if !life.may_go(&path) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    take_away(&life.at(&path))?;
    let at = life.at(&path);
    match life.random.below(4) {
        0 => {
            fs::create_dir(&at)?;
            fs::write(at.join("inside"), b"a directory where something else was")?;
        }
        1 => std::os::unix::fs::symlink("somewhere/else", &at)?,
        2 => mknodat(CWD, &at, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?,
        _ => fs::write(&at, b"a file where something else was")?,
    }
    life.walk();
    Ok(format!("become-another-kind {}", words(&path)))
}

/// Directories below directories, written into as soon as they exist.
pub fn make_tree(life: &mut Life) -> io::Result<String> {
    let path = life.fresh();
    // The first one must not exist: an existing one may be a link that leads out of the tree.
    fs::create_dir(life.at(&path))?;
    let mut deepest = path.clone();
    for _ in 0..life.random.below(3) {
        deepest.push(super::names::name(&mut life.random, life.options.hostile_names));
    }
    fs::create_dir_all(life.at(&deepest))?;
    for number in 0..life.random.below(5) {
        let content = life.content();
        fs::write(life.at(&deepest.join(format!("f{number}"))), content)?;
    }
    life.walk();
    Ok(format!("make-tree {}", words(&deepest)))
}

/// One thing less.
pub fn remove(life: &mut Life) -> io::Result<String> {
    let path = life.some(&[Kind::File, Kind::Symlink, Kind::Special, Kind::Socket])?;
    if !life.options.removals {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    fs::remove_file(life.at(&path))?;
    life.forget(&path);
    Ok(format!("remove {}", words(&path)))
}

/// A directory and all below.
pub fn remove_tree(life: &mut Life) -> io::Result<String> {
    let path = life.some(&[Kind::Directory])?;
    if !life.may_go(&path) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    fs::remove_dir_all(life.at(&path))?;
    life.walk();
    Ok(format!("remove-tree {}", words(&path)))
}

/// Out of the tree, to a sibling directory.
pub fn leave(life: &mut Life) -> io::Result<String> {
    let path = life.some(ANYTHING)?;
    if !life.may_go(&path) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let to = life.outside.join(life.counter.to_string());
    fs::rename(life.at(&path), to)?;
    life.walk();
    Ok(format!("leave {}", words(&path)))
}

/// Back into the tree, under another name, sometimes with more in it than it left with.
pub fn come_back(life: &mut Life) -> io::Result<String> {
    let mut away = fs::read_dir(&life.outside)?.filter_map(Result::ok).map(|entry| entry.path()).collect::<Vec<_>>();
    away.sort();
    let from = away.get(life.random.below(away.len())).cloned().ok_or(io::ErrorKind::NotFound)?;
    if from.symlink_metadata()?.is_dir() && life.random.chance(50) {
        fs::write(from.join(format!("souvenir-{}", life.counter)), b"made outside")?;
    }
    let to = life.fresh();
    fs::rename(&from, life.at(&to))?;
    life.walk();
    Ok(format!("come-back {}", words(&to)))
}

/// One more name of a file; now and then of a symlink or a FIFO.
pub fn link(life: &mut Life) -> io::Result<String> {
    let path = if life.random.chance(90) { life.some_file()? } else { life.some(MOVABLE)? };
    let to = life.fresh();
    fs::hard_link(life.at(&path), life.at(&to))?;
    let stat = life.at(&to).symlink_metadata()?;
    let most = life.linked.entry(stat.ino()).or_default();
    *most = stat.nlink().max(*most);
    life.know(&to, Kind::File);
    life.since_walk = super::WALK_EVERY;
    Ok(format!("link {} as {}", words(&path), words(&to)))
}

/// A name gets its own copy, as editors that publish by rename do.
pub fn break_link(life: &mut Life) -> io::Result<String> {
    let path = life.some_file()?;
    let temporary = beside(&path, format!("{}~", life.counter));
    let (mut from, mut to) = (life.open(&path)?, fs::File::create_new(life.at(&temporary))?);
    io::copy(&mut from, &mut to)?;
    fs::rename(life.at(&temporary), life.at(&path))?;
    Ok(format!("break-link {}", words(&path)))
}

/// To something, to nothing, absolute, long, and over another link.
pub fn symlink(life: &mut Life) -> io::Result<String> {
    let path = life.fresh();
    let target = match life.random.below(5) {
        0 => "/nowhere".to_owned(),
        1 => "../".repeat(1 + life.random.below(6)),
        2 => "x/".repeat(1 + life.random.below(1500)),
        3 => "\u{1b}[1m\n\\".to_owned(),
        _ => format!("f{}", life.random.below(40)),
    };
    let temporary = beside(&path, format!(".{}.link", life.counter));
    std::os::unix::fs::symlink(&target, life.at(&temporary))?;
    if let Err(error) = fs::rename(life.at(&temporary), life.at(&path)) {
        fs::remove_file(life.at(&temporary))?;
        return Err(error);
    }
    life.know(&path, Kind::Symlink);
    Ok(format!("symlink {} {} bytes", words(&path), target.len()))
}

/// A named pipe.
pub fn fifo(life: &mut Life) -> io::Result<String> {
    let path = life.fresh();
    mknodat(CWD, life.at(&path), FileType::Fifo, Mode::from_raw_mode(0o640), 0)?;
    life.know(&path, Kind::Special);
    Ok(format!("fifo {}", words(&path)))
}

/// A socket, which is not replicated.
pub fn socket(life: &mut Life) -> io::Result<String> {
    let path = life.some_parent().join(format!("{}.sock", life.counter));
    mknodat(CWD, life.at(&path), FileType::Socket, Mode::from_raw_mode(0o600), 0)?;
    life.know(&path, Kind::Socket);
    Ok(format!("socket {}", words(&path)))
}

/// A device, character or block.
pub fn device(life: &mut Life) -> io::Result<String> {
    let path = life.fresh();
    let kind = if life.random.chance(50) { FileType::CharacterDevice } else { FileType::BlockDevice };
    let number = rustix::fs::makedev(240, life.random.below(70_000) as u32);
    mknodat(CWD, life.at(&path), kind, Mode::from_raw_mode(0o600), number)?;
    life.know(&path, Kind::Special);
    Ok(format!("device {}", words(&path)))
}

fn rename(life: &mut Life, path: &Path, to: &Path) -> io::Result<()> {
    let kind = life.paths.iter().find(|(other, _)| other == path).map_or(Kind::File, |(_, kind)| *kind);
    fs::rename(life.at(path), life.at(to))?;
    life.forget(path);
    life.know(to, kind);
    Ok(())
}

fn take_away(at: &Path) -> io::Result<()> {
    if at.symlink_metadata()?.is_dir() { fs::remove_dir_all(at) } else { fs::remove_file(at) }
}
