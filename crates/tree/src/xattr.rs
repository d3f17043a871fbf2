//! Extended attributes: which are replicated, how they are read, compared and set. POSIX ACLs and file capabilities are
//! attributes to the kernel and are carried as the bytes it keeps.

use crate::sys::Handle;
use crate::{Error, Ownership, Result, sys};
use fulmar_model::{Name, RelPath, XattrDigest, Xattrs};
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

/// The kernel's limits, on a list of names (`XATTR_LIST_MAX`) and on a value (`XATTR_SIZE_MAX`): what does not fit into
/// this cannot be read by anybody, so no size is ever asked for first and none can change in between.
const BYTES_MAX: usize = 64 * 1024;

/// Enough for what most inodes have; larger answers take a second call.
const BYTES_USUAL: usize = 256;

/// Written by the machine's own policy about the machine's own inodes (labels, signatures over inode numbers).
const LOCAL: [&[u8]; 4] = [b"security.selinux", b"security.evm", b"security.ima", b"security.apparmor"];

/// POSIX ACLs. Other `system.` attributes are views of something else (NFSv4 ACLs, SMB descriptors).
const ACLS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// Whether an attribute is part of what is replicated.
fn is_replicated(name: &[u8]) -> bool {
    let smack = name.starts_with(b"security.SMACK64");
    name.starts_with(b"user.")
        || name.starts_with(b"trusted.")
        || (name.starts_with(b"security.") && !smack && !LOCAL.contains(&name))
        || ACLS.contains(&name)
}

/// Whether setting it takes privileges that a process without ownership of everything does not have.
fn is_privileged(name: &[u8]) -> bool {
    name.starts_with(b"trusted.") || name.starts_with(b"security.")
}

/// A digest over names and values: each preceded by its length (8 bytes, little endian), names ascending.
pub fn digest(xattrs: &Xattrs) -> XattrDigest {
    if xattrs.is_empty() {
        return XattrDigest::default();
    }
    let mut hasher = blake3::Hasher::new();
    for bytes in xattrs.iter().flat_map(|(name, value)| [name, value]) {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    let mut first = [0; 16];
    hasher.finalize_xof().fill(&mut first);
    XattrDigest(first)
}

/// How an inode is reached: these calls take no `O_PATH` handle and no directory handle.
pub(crate) enum Via<'a> {
    /// A name in a held directory, itself if it is a symlink.
    Name(Vec<u8>),
    /// What an `O_PATH` handle holds.
    Place(Vec<u8>),
    /// What is open.
    Open(BorrowedFd<'a>),
}

impl<'a> Via<'a> {
    pub(crate) fn name(dir: BorrowedFd<'_>, name: &Name) -> Self {
        let mut path = sys::proc_path(dir);
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
        Self::Name(path)
    }

    pub(crate) fn handle(handle: Handle<'a>) -> Self {
        match handle {
            Handle::Place(fd) => Self::Place(sys::proc_path(fd)),
            Handle::Open(fd) => Self::Open(fd),
        }
    }

    fn list(&self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Name(path) => rustix::fs::llistxattr(path, buffer),
            Self::Place(path) => rustix::fs::listxattr(path, buffer),
            Self::Open(fd) => rustix::fs::flistxattr(fd, buffer),
        }
    }

    fn get(&self, name: &[u8], buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Name(path) => rustix::fs::lgetxattr(path, name, buffer),
            Self::Place(path) => rustix::fs::getxattr(path, name, buffer),
            Self::Open(fd) => rustix::fs::fgetxattr(fd, name, buffer),
        }
    }

    fn set(&self, name: &[u8], value: &[u8]) -> rustix::io::Result<()> {
        match self {
            Self::Name(path) => rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()),
            Self::Place(path) => rustix::fs::setxattr(path, name, value, XattrFlags::empty()),
            Self::Open(fd) => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
        }
    }

    fn remove(&self, name: &[u8]) -> rustix::io::Result<()> {
        match self {
            Self::Name(path) => rustix::fs::lremovexattr(path, name),
            Self::Place(path) => rustix::fs::removexattr(path, name),
            Self::Open(fd) => rustix::fs::fremovexattr(fd, name),
        }
    }
}

/// The replicated attributes. One that vanishes while they are read is left out. `path` is for messages.
pub(crate) fn read(via: &Via<'_>, path: &dyn Fn() -> RelPath) -> Result<Xattrs> {
    try_read(via).map_err(|failed| match failed {
        Failed::List(source) => Error::ListXattrs { path: path(), source },
        Failed::Read(name, source) => Error::ReadXattr { path: path(), name, source },
    })
}

/// The same for who needs no words.
pub(crate) fn read_plain(via: &Via<'_>) -> std::result::Result<Xattrs, Errno> {
    try_read(via).map_err(|failed| match failed {
        Failed::List(source) | Failed::Read(_, source) => source,
    })
}

enum Failed {
    List(Errno),
    Read(Box<[u8]>, Errno),
}

fn try_read(via: &Via<'_>) -> std::result::Result<Xattrs, Failed> {
    let names = match fit(|buffer| via.list(buffer)) {
        Ok(names) => names,
        // This file system has none.
        Err(Errno::NOTSUP) => return Ok(Xattrs::default()),
        Err(source) => return Err(Failed::List(source)),
    };
    let mut pairs = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| is_replicated(name)) {
        match fit(|buffer| via.get(name, buffer)) {
            Ok(value) => pairs.push((Box::from(name), value.into())),
            Err(Errno::NODATA) => {}
            Err(source) => return Err(Failed::Read(name.into(), source)),
        }
    }
    Ok(Xattrs::new(pairs))
}

/// Calls with a small buffer, and again with the largest that can be needed when it was too small.
fn fit(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    let mut usual = [0; BYTES_USUAL];
    match call(&mut usual) {
        Ok(length) => return Ok(usual.get(..length).unwrap_or(&usual).to_vec()),
        Err(Errno::RANGE) => {}
        Err(other) => return Err(other),
    }
    let mut largest = vec![0; BYTES_MAX];
    let length = call(&mut largest)?;
    largest.truncate(length);
    Ok(largest)
}

/// Makes the replicated attributes equal to `wanted`; says whether any call was needed. With [`Ownership::Skip`] those
/// that need privileges are left as they are. Removes first, because the space for attributes is small.
pub(crate) fn apply(via: &Via<'_>, path: &RelPath, wanted: &Xattrs, ownership: Ownership) -> Result<bool> {
    let concerns = |name: &[u8]| is_replicated(name) && (ownership == Ownership::Keep || !is_privileged(name));
    let have = read(via, &|| path.clone())?;
    let mut touched = false;
    for (name, _) in have.iter().filter(|(name, _)| concerns(name) && wanted.get(name).is_none()) {
        touched = true;
        match via.remove(name) {
            Ok(()) | Err(Errno::NODATA) => {}
            Err(source) => return Err(Error::RemoveXattr { path: path.clone(), name: name.into(), source }),
        }
    }
    for (name, value) in wanted.iter().filter(|(name, value)| concerns(name) && have.get(name) != Some(value)) {
        touched = true;
        via.set(name, value).map_err(|source| Error::SetXattr { path: path.clone(), name: name.into(), source })?;
    }
    Ok(touched)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> Xattrs {
        Xattrs::new(pairs.iter().map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into())).collect())
    }

    #[test]
    fn a_digest_depends_on_where_a_name_ends() {
        assert_eq!(digest(&set(&[])), XattrDigest::default());
        assert_ne!(digest(&set(&[("user.a", "bc")])), digest(&set(&[("user.ab", "c")])));
        assert_ne!(digest(&set(&[("user.a", "")])), digest(&set(&[("user.b", "")])));
        assert_eq!(
            digest(&set(&[("user.b", "2"), ("user.a", "1")])),
            digest(&set(&[("user.a", "1"), ("user.b", "2")]))
        );
    }

    #[test]
    fn labels_of_this_machine_are_not_replicated() {
        for (name, expected) in [
            ("user.a", true),
            ("trusted.a", true),
            ("security.capability", true),
            ("security.selinux", false),
            ("security.ima", false),
            ("security.SMACK64EXEC", false),
            ("system.posix_acl_access", true),
            ("system.nfs4_acl", false),
        ] {
            assert_eq!(is_replicated(name.as_bytes()), expected, "{name}");
        }
    }
}
