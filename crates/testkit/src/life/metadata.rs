//! Acts that change what is known about files, and nothing they contain.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown};

use rustix::fs::{XattrFlags, lremovexattr, lsetxattr};

use super::{Kind, Life, words};

const INODES: &[Kind] = &[Kind::File, Kind::Directory];

/// Any mode that a file or directory can have.
pub fn mode(life: &mut Life) -> io::Result<String> {
    let path = life.some(&[Kind::File, Kind::Directory, Kind::Special])?;
    let modes: &[u32] = match life.options.powers {
        true => &[0o644, 0o755, 0o600, 0o777, 0o000, 0o4755, 0o2755, 0o6711, 0o1777, 0o2770, 0o400],
        // Without powers, what nobody may read cannot be copied either.
        false => &[0o644, 0o755, 0o700, 0o777, 0o4755, 0o1777],
    };
    let mode = *life.random.pick(modes);
    fs::set_permissions(life.at(&path), fs::Permissions::from_mode(mode))?;
    Ok(format!("chmod {} {mode:o}", words(&path)))
}

/// The past, the future, before 1970, and fractions of a second.
pub fn times(life: &mut Life) -> io::Result<String> {
    let path = life.some(&[Kind::File, Kind::Directory, Kind::Symlink, Kind::Special])?;
    let seconds = match life.random.below(4) {
        0 => -(life.random.below(1 << 30) as i64),
        1 => 1_700_000_000,
        2 => 4_000_000_000,
        _ => life.random.below(1_700_000_000) as i64,
    };
    let nanoseconds = if life.random.chance(30) { 0 } else { life.random.below(1_000_000_000) as u32 };
    crate::fixture::set_mtime(&life.at(&path), seconds, nanoseconds);
    Ok(format!("utimes {} {seconds}.{nanoseconds:09}", words(&path)))
}

/// One of a few user attributes, small enough for every file system.
pub fn attribute(life: &mut Life) -> io::Result<String> {
    let path = life.some(INODES)?;
    let name = format!("user.n{}", life.random.below(4));
    let len = life.random.below(300);
    let value = life.random.bytes(len);
    lsetxattr(life.at(&path), &name, &value, XattrFlags::empty())?;
    Ok(format!("setxattr {} {name} {len} bytes", words(&path)))
}

/// One attribute less.
pub fn drop_attribute(life: &mut Life) -> io::Result<String> {
    let path = life.some(INODES)?;
    let mut names = Vec::with_capacity(4096);
    rustix::fs::llistxattr(life.at(&path), rustix::buffer::spare_capacity(&mut names))?;
    let names = names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty() && !name.starts_with(b"security.selinux"))
        .collect::<Vec<_>>();
    let chosen = names.get(life.random.below(names.len())).ok_or(io::ErrorKind::NotFound)?;
    lremovexattr(life.at(&path), *chosen)?;
    Ok(format!("removexattr {} {}", words(&path), chosen.escape_ascii()))
}

/// An ACL; on a directory sometimes one that what is made there inherits.
pub fn acl(life: &mut Life) -> io::Result<String> {
    let path = life.some(INODES)?;
    let inherited = life.random.chance(50) && life.at(&path).symlink_metadata()?.is_dir();
    let name = if inherited { "system.posix_acl_default" } else { "system.posix_acl_access" };
    let value = crate::fixture::acl(1000 + life.random.below(3) as u32, 4 + life.random.below(4) as u16);
    lsetxattr(life.at(&path), name, &value, XattrFlags::empty())?;
    Ok(format!("setfacl {} {name}", words(&path)))
}

/// Owner and group, of links themselves too.
pub fn owner(life: &mut Life) -> io::Result<String> {
    let path = life.some(&[Kind::File, Kind::Directory, Kind::Symlink, Kind::Special])?;
    let (user, group) = (life.random.below(5) as u32 * 500, life.random.below(5) as u32 * 500);
    lchown(life.at(&path), Some(user), Some(group))?;
    Ok(format!("chown {} {user}:{group}", words(&path)))
}

/// An attribute that only root sees.
pub fn trusted(life: &mut Life) -> io::Result<String> {
    let path = life.some(INODES)?;
    let value = life.random.bits().to_le_bytes();
    lsetxattr(life.at(&path), "trusted.life", &value, XattrFlags::empty())?;
    Ok(format!("settrusted {}", words(&path)))
}

/// A file capability.
pub fn capability(life: &mut Life) -> io::Result<String> {
    let path = life.some_file()?;
    let value = crate::fixture::capability(life.random.below(30) as u32);
    lsetxattr(life.at(&path), "security.capability", &value, XattrFlags::empty())?;
    Ok(format!("setcap {}", words(&path)))
}
