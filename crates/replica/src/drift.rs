//! Whether what stands at a path is what this replica put there.

use fulmar_model::{Hash, Kind, LinkGroup, Name, Record, RelPath, Stat};
use fulmar_store::{Catalog, CatalogReader};
use fulmar_tree::{Dir, hash_bytes};

/// Rows looked at for one inode: more names than that are taken as unknown, which only costs reading.
pub(crate) const NAMES_MAX: usize = 1000;

/// Whose version it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// What was recorded: it may be replaced.
    Ours,
    /// Somebody else's: it goes to quarantine first.
    Foreign,
}

/// Judges the entry `name` of `dir`, which is `now` and was recorded as `record`. Stat data that differ lead to a hash, and
/// only a different content is foreign: a changed owner or mode destroys nothing when it is set back.
pub(crate) fn owner(catalog: &Catalog, dir: &Dir, (path, name): (&RelPath, &Name), now: &Stat) -> crate::Result<Owner> {
    let record = catalog.get(path)?;
    if let Some(record) = &record {
        if record.proves(now) {
            return Ok(Owner::Ours);
        }
        if record.stat.kind == now.kind && content_is(dir, name, now, record)? {
            return Ok(Owner::Ours);
        }
    }
    // A crash between a link and its record leaves our own inode under a name we did not record. (A rename that was cut short
    // is made up for by its intent.)
    for (other, known) in catalog.names_of(now.inode, NAMES_MAX)? {
        if other != *path && known.stat.kind == now.kind && content_is(dir, name, now, &known)? {
            return Ok(Owner::Ours);
        }
    }
    Ok(Owner::Foreign)
}

/// Whether every name recorded in a link group is recorded with this inode. After a crash between a new content and the
/// links to it, some are not: then the content is asked for, and the links with it.
pub(crate) fn group_is_whole(
    catalog: &CatalogReader,
    group: LinkGroup,
    inode: u64,
) -> Result<bool, fulmar_store::Error> {
    Ok(catalog.names_in_group(group, NAMES_MAX)?.iter().all(|(_, record)| record.stat.inode == inode))
}

/// Whether the content is the recorded one, by reading it where stat data do not settle it.
fn content_is(dir: &Dir, name: &Name, now: &Stat, record: &Record) -> fulmar_tree::Result<bool> {
    match now.kind {
        Kind::Directory | Kind::Fifo | Kind::Socket => Ok(true),
        Kind::CharDevice | Kind::BlockDevice => Ok(record.stat.node == now.node),
        Kind::Symlink => Ok(record.hash == Some(hash_bytes(&dir.read_link(name)?))),
        Kind::File if record.stat.size != now.size => Ok(false),
        Kind::File => Ok(record.hash.is_some() && record.hash == content_hash(dir, name)?),
    }
}

/// Hash of a regular file's content; `None` when it is gone or no regular file.
pub(crate) fn content_hash(dir: &Dir, name: &Name) -> fulmar_tree::Result<Option<Hash>> {
    match dir.open_file(name) {
        Ok(reader) => Ok(Some(reader.finish()?.0)),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error),
    }
}
