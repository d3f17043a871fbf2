//! Whether a directory is, or may become, a replica of the primary that says hello. Nothing is changed before every
//! question has been answered.

use crate::identity::Identity;
use crate::session::Options;
use crate::{Error, Result};
use fulmar_model::{Kind, PRIVATE_DIRECTORY, Record, RelPath, RootId, escape};
use fulmar_store::{Intent, Opened, ReplicaStore};
use fulmar_tree::{Lock, Metadata, Names, Ownership, Partials, Private, Stage, Tree};
use fulmar_wire::{Ancestor, Begin, Hello, Refusal};
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The store, in a replica's root.
pub(crate) const STORE: &str = ".fulmar/store.db";

/// A replica that is ready to follow.
pub(crate) struct Opening {
    pub(crate) identity: Identity,
    pub(crate) tree: Tree,
    pub(crate) private: Private,
    pub(crate) stage: Stage,
    pub(crate) partials: Partials,
    pub(crate) store: ReplicaStore,
    pub(crate) lock: Lock,
}

/// The answer to a hello.
pub(crate) enum Ready {
    /// The replica can follow.
    Open(Box<Opening>),
    /// A dry run against a directory that is no replica yet, or does not exist.
    Look(Option<Tree>),
}

/// Answers every question in an order that touches nothing until the last.
pub(crate) fn open(root: &Path, hello: &Hello, options: &Options) -> Result<Ready> {
    let shown = escape(root.as_os_str().as_bytes()).to_string();
    let exists = match std::fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => true,
        Ok(_) => return refuse(Refusal::Unusable, format!("{shown} is not a directory")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return refuse(Refusal::Unusable, format!("cannot look at {shown}: {error}")),
    };
    let anchor = if exists { root } else { root.parent().unwrap_or(Path::new("/")) };
    let anchor = if anchor.as_os_str().is_empty() { Path::new(".") } else { anchor };
    let near = match Tree::open(anchor) {
        Ok(tree) => tree,
        Err(error) => {
            let what = if exists { "open" } else { "create" };
            return refuse(Refusal::Unusable, format!("cannot {what} {shown}: {}", because(&error)));
        }
    };
    if hello.boot == options.boot {
        check_nesting(&near, exists, (&hello.ancestors, &hello.source), &shown)?;
    }
    check_above(anchor, exists, &shown)?;
    if !exists {
        if hello.dry_run {
            return Ok(Ready::Look(None));
        }
        if let Err(error) = std::fs::create_dir(root) {
            return refuse(Refusal::Unusable, format!("cannot create {shown}: {error}"));
        }
    }
    let tree = if exists { near } else { Tree::open(root)? };
    let known = check_identity(root, &tree, hello, &shown)?;
    if hello.dry_run && known.is_none() {
        return Ok(Ready::Look(Some(tree)));
    }
    take(root, tree, known, hello, options, &shown).map(|opening| Ready::Open(Box::new(opening)))
}

fn refuse<T>(reason: Refusal, text: String) -> Result<T> {
    Err(Error::Refused { reason, text })
}

fn because(error: &fulmar_tree::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Opens a directory that is only to be read.
pub(crate) fn open_to_read(root: &Path, begin: &Begin, options: &Options) -> Result<Tree> {
    let shown = escape(root.as_os_str().as_bytes()).to_string();
    match std::fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return refuse(Refusal::Unusable, format!("{shown} is not a directory")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return refuse(Refusal::Unusable, format!("{shown} does not exist"));
        }
        Err(error) => return refuse(Refusal::Unusable, format!("cannot look at {shown}: {error}")),
    }
    let tree = match Tree::open(root) {
        Ok(tree) => tree,
        Err(error) => return refuse(Refusal::Unusable, format!("cannot open {shown}: {}", because(&error))),
    };
    if begin.boot == options.boot {
        check_nesting(&tree, true, (&begin.ancestors, &begin.source), &shown)?;
    }
    Ok(tree)
}

/// On one machine only: `theirs` are the source's root with the directories above it, and its name.
fn check_nesting(near: &Tree, exists: bool, theirs: (&[Ancestor], &[u8]), shown: &str) -> Result<()> {
    let (ancestors, source) = (theirs.0, escape(theirs.1).to_string());
    let mine = near.ancestors()?;
    let is = |root: &RootId, theirs: &Ancestor| (root.device, root.inode) == (theirs.device, theirs.inode);
    let Some(their_root) = ancestors.first() else {
        return Err(Error::Protocol("a hello without the source's identity"));
    };
    if mine.iter().any(|above| is(above, their_root)) {
        let same = exists && mine.first().is_some_and(|root| is(root, their_root));
        let how = if same { "is the source itself" } else { "is inside the source" };
        return refuse(Refusal::Nested, format!("the replica {shown} {how} {source}"));
    }
    if exists && mine.first().is_some_and(|root| ancestors.iter().any(|above| is(root, above))) {
        return refuse(Refusal::Nested, format!("the source {source} is inside the replica {shown}"));
    }
    Ok(())
}

/// Refuses a place inside another replica: whoever serves that one would take this one for strays.
fn check_above(anchor: &Path, exists: bool, shown: &str) -> Result<()> {
    let Ok(real) = std::fs::canonicalize(anchor) else { return Ok(()) };
    // The directory may be a replica itself; one that is still to be made may not be in a replica.
    let mut above = real.ancestors().skip(usize::from(exists));
    let is_replica = |path: &&Path| match std::fs::symlink_metadata(Identity::at(path)) {
        Ok(_) => true,
        // Private to the user it belongs to.
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    };
    match above.find(is_replica) {
        Some(outer) => {
            let outer = escape(outer.as_os_str().as_bytes());
            refuse(Refusal::Nested, format!("{shown} is inside another replica, {outer}"))
        }
        None => Ok(()),
    }
}

/// The identity the directory has; an error when it belongs to somebody else, or to nobody and is not empty.
fn check_identity(root: &Path, tree: &Tree, hello: &Hello, shown: &str) -> Result<Option<Identity>> {
    let known = Identity::read(root);
    match known {
        Some(identity) if identity.tree != hello.tree => refuse(
            Refusal::OtherTree,
            format!("{shown} is a replica of another source (tree {}, this one is {})", identity.tree, hello.tree),
        ),
        Some(identity) if identity.term > hello.term => refuse(
            Refusal::OldTerm,
            format!("{shown} follows a later primary (term {}, this one has {})", identity.term.0, hello.term.0),
        ),
        None if !hello.adopt && !is_empty(tree)? => {
            refuse(Refusal::NotEmpty, format!("{shown} is not empty and was never a replica"))
        }
        known => Ok(known),
    }
}

/// Nothing in it but what mkfs, or an earlier attempt that got no further, leaves.
fn is_empty(tree: &Tree) -> Result<bool> {
    Ok(match tree.root().names_if_few()? {
        Names::All(names) => names.iter().all(|name| is_ignored(name.as_bytes())),
        Names::TooMany(_) => false,
    })
}

/// Names in a replica's root that are nobody's business.
pub(crate) fn is_ignored(name: &[u8]) -> bool {
    name == PRIVATE_DIRECTORY || name == b"lost+found"
}

fn take(
    root: &Path,
    tree: Tree,
    known: Option<Identity>,
    hello: &Hello,
    options: &Options,
    shown: &str,
) -> Result<Opening> {
    let private = match Private::open(&tree) {
        Ok(private) => private,
        Err(error) => {
            return refuse(Refusal::Unusable, format!("cannot write to {shown}: {error}: {}", because(&error)));
        }
    };
    let lock = match private.lock() {
        Ok(lock) => lock,
        Err(fulmar_tree::Error::Locked { holder, .. }) => {
            return refuse(
                Refusal::Busy,
                format!("{shown} is being served by another process (pid {})", holder.trim()),
            );
        }
        Err(error) => return Err(error.into()),
    };
    // Another process may have been first between the question and the lock.
    let known = if known.is_some() {
        known
    } else {
        check_identity(root, &tree, &Hello { adopt: true, ..hello.clone() }, shown)?
    };
    let identity = Identity { tree: hello.tree, term: hello.term, replica: known.map_or(options.fresh, |k| k.replica) };
    if known != Some(identity) {
        identity.write(root)?;
    }
    let stage = private.stage()?;
    let partials = private.partials()?;
    let store = open_store(root)?;
    let mut opening = Opening { identity, tree, private, stage, partials, store, lock };
    recover(&mut opening)?;
    Ok(opening)
}

fn open_store(root: &Path) -> Result<ReplicaStore> {
    let (store, opened) = ReplicaStore::open(&root.join(STORE))?;
    if let Opened::Rebuilt { reason } = opened {
        tracing::warn!(?reason, "the replica's store was damaged; comparing everything with the primary");
    }
    Ok(store)
}

/// A process that died between making files visible and recording it left intents: what is there as intended is ours.
fn recover(opening: &mut Opening) -> Result<()> {
    let intents = opening.store.intents()?;
    if intents.is_empty() {
        return Ok(());
    }
    tracing::info!(count = intents.len(), "completing the records of a batch that was cut short");
    opening.store.begin()?;
    let mut touched = BTreeSet::new();
    // In the order of the batch, of which a beginning was carried out.
    for (index, intent) in intents.iter().enumerate() {
        touched.extend(intent.path.parent());
        touched.extend(intent.from.as_ref().and_then(RelPath::parent));
        let (inode, later) = (intent.record.stat.inode, intents.get(index + 1..).unwrap_or_default());
        if let Some(from) = &intent.from {
            let recorded = opening.store.catalog().get(from)?.map(|record| record.stat.inode);
            if recorded == Some(inode) && inode_at(opening, from) != Some(inode) && is_there(opening, intent, later) {
                opening.store.catalog_mut().rename(from, &intent.path)?;
            }
            continue;
        }
        let record = match opening.tree.stat(&intent.path).unwrap_or(None) {
            // Its times may have been set once more; the content is verified by hash before anything relies on it.
            Some(now) if (now.inode, now.kind) == (inode, intent.record.stat.kind) => {
                Record { stat: now, ..intent.record.clone() }
            }
            // A record of what is not there would take the place of what is above it.
            _ if !is_there(opening, intent, later) => continue,
            _ => intent.record.clone(),
        };
        opening.store.catalog_mut().put(&intent.path, &Record { settled: false, ..record })?;
    }
    for directory in touched {
        restore_times(opening, &directory)?;
    }
    opening.store.clear_intents()?;
    opening.store.commit()?;
    Ok(())
}

/// What the batch did moved the times of directories, and it did not live to set them. Not every one of its operations is
/// sent again: a name that was only linked along with another has no change of its own.
fn restore_times(opening: &mut Opening, path: &RelPath) -> Result<()> {
    let Some(record) = opening.store.catalog().get(path)?.filter(|record| record.stat.kind == Kind::Directory) else {
        return Ok(());
    };
    // Whatever cannot be reached is for the operations to come: they say why.
    let Ok(dir) = opening.tree.dir(path) else { return Ok(()) };
    let (now, xattrs) = (dir.stat_self()?, dir.xattrs_self()?);
    if now.inode != record.stat.inode || now.mtime == record.stat.mtime {
        return Ok(());
    }
    let wanted = Metadata { mode: now.mode, uid: now.uid, gid: now.gid, mtime: record.stat.mtime, xattrs };
    if let Err(error) = dir.set_metadata_self(&now, &wanted, Ownership::Skip) {
        tracing::debug!(%path, %error, "the times of a directory stay as a crash left them");
        return Ok(());
    }
    let record = Record { stat: dir.stat_self()?, settled: false, ..record };
    Ok(opening.store.catalog_mut().put(path, &record)?)
}

fn inode_at(opening: &Opening, path: &RelPath) -> Option<u64> {
    opening.tree.stat(path).unwrap_or(None).map(|stat| stat.inode)
}

/// Whether what was to appear at a path is there, or where later operations of the batch took it.
fn is_there(opening: &Opening, intent: &Intent, later: &[Intent]) -> bool {
    let inode = Some(intent.record.stat.inode);
    let mut at = intent.path.clone();
    if inode_at(opening, &at) == inode {
        return true;
    }
    for (from, to) in later.iter().filter_map(|later| Some((later.from.as_ref()?, &later.path))) {
        if let Some(below) = at.strip(from) {
            at = below.under(to);
            if inode_at(opening, &at) == inode {
                return true;
            }
        }
    }
    false
}

/// The path of a directory's missing ancestor: how many names lead to the first that is not a directory.
pub(crate) fn missing_depth(tree: &Tree, path: &RelPath) -> u16 {
    let depth = path.ancestors().iter().position(|above| {
        let stat = tree.stat(above).unwrap_or(None);
        stat.is_none_or(|stat| stat.kind != fulmar_model::Kind::Directory)
    });
    u16::try_from(depth.unwrap_or_else(|| path.depth())).unwrap_or(u16::MAX)
}
