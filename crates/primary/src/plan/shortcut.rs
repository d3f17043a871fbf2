//! Metadata, link or rename instead of content, where the catalog vouches for the content.

use super::{Have, NAMES_MAX, Plan};
use crate::Result;
use fulmar_model::{Entry, Hash, Kind, Record, RelPath, Stat, Xattrs};
use fulmar_tree::digest;
use fulmar_wire::Operation;

/// Up to this size a content that stat data cannot vouch for is hashed again, on this machine, before a shortcut relies on
/// it. A write whose time was put back hides behind any change that moves the ctime too (chmod, link, rename); only for
/// larger files such a change is taken as the explanation (docs/adr/0003).
const HASH_BYTES_MAX: u64 = 16 << 20;

impl Plan<'_> {
    /// Metadata, link or rename instead of content, where the catalog vouches for the content.
    pub(super) fn shortcut(
        &mut self,
        path: &RelPath,
        stat: &Stat,
        record: Option<&Record>,
        have: Have,
    ) -> Result<bool> {
        let wanted = |hash| stat.kind == Kind::File && (self.everyone() || have == Have::Content(hash));
        if let Some((record, hash)) =
            record.and_then(|record| Some((record, record.hash?))).filter(|(_, hash)| wanted(*hash))
            && record.stat.same_content(stat)
            && self.vouches(path, stat, record)?
        {
            self.metadata(path.clone(), *stat, hash)?;
            return Ok(true);
        }
        let mut before = None;
        for (other, known) in self.catalog.names_of(stat.inode, NAMES_MAX)? {
            let nested = other.starts_with(path) || path.starts_with(&other);
            let file_without_hash = stat.kind == Kind::File && known.hash.is_none();
            if nested || file_without_hash || known.stat.kind == Kind::Directory || !known.stat.same_content(stat) {
                continue;
            }
            let alive = self.look(&other)?.is_some_and(|now| now.inode == stat.inode);
            if alive && stat.links > 1 && self.vouches(path, stat, &known)? {
                return self.link(path, &other, stat, known).map(|()| true);
            }
            if !alive {
                before.get_or_insert((other, known));
            }
        }
        // Only when no name of it is left where it was: a replica must not be left with two inodes for one.
        match before {
            Some((from, known))
                if self.everyone() && stat.kind == Kind::File && self.vouches(path, stat, &known)? =>
            {
                self.renamed(from, path, stat, known).map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// Whether the content at `path` is the one that was recorded: proved by stat data, or by reading it again.
    fn vouches(&mut self, path: &RelPath, stat: &Stat, record: &Record) -> Result<bool> {
        if stat.kind != Kind::File || record.proves(stat) {
            return Ok(true);
        }
        if stat.size > HASH_BYTES_MAX {
            let same_name = self.catalog.get(path)?.is_some_and(|known| known.stat.inode == stat.inode);
            return Ok(record.settled && (!same_name || self.explains(path, stat, record)?));
        }
        let Some((dir, name)) = self.place(path)? else { return Ok(false) };
        let Ok(reader) = dir.open_file(&name) else { return Ok(false) };
        if !reader.stat().same_version(stat) {
            return Ok(false);
        }
        Ok(reader.finish().is_ok_and(|(hash, after)| Some(hash) == record.hash && after.same_version(stat)))
    }

    /// Whether something that is visible without reading explains that the ctime moved.
    fn explains(&mut self, path: &RelPath, stat: &Stat, record: &Record) -> Result<bool> {
        let before = &record.stat;
        if (before.mode, before.uid, before.gid, before.links) != (stat.mode, stat.uid, stat.gid, stat.links) {
            return Ok(true);
        }
        let Some((dir, name)) = self.place(path)? else { return Ok(false) };
        Ok(dir.xattrs(&name, stat.kind).is_ok_and(|xattrs| digest(&xattrs) != record.xattrs))
    }

    pub(super) fn xattrs(&mut self, path: &RelPath, kind: Kind) -> Xattrs {
        // An inode that vanished meanwhile has its own change coming.
        let place = self.place(path).unwrap_or(None);
        place.and_then(|(dir, name)| dir.xattrs(&name, kind).ok()).unwrap_or_default()
    }

    pub(super) fn metadata(&mut self, path: RelPath, stat: Stat, hash: Hash) -> Result<()> {
        let xattrs = self.xattrs(&path, stat.kind);
        let settled = self.tree.is_settled(&stat, self.began);
        let record = Record { stat, xattrs: digest(&xattrs), hash: Some(hash), group: None, settled };
        if let Some(known) = self.catalog.get(&path)?.filter(|_| stat.links > 1) {
            // Names that were recorded together are one inode on a replica too, and follow. One that was not may never have been
            // linked there: the others were shipped while it was on its way with its directory.
            for (other, before) in self.catalog.names_of(stat.inode, NAMES_MAX)? {
                let together = before.hash == known.hash && before.stat.same_version(&known.stat);
                if together && self.look(&other)?.is_some_and(|now| now.same_version(&stat)) {
                    // Each name has a change of its own, and they are many.
                    if before != record {
                        self.record(&other, record.clone())?;
                    }
                    self.followed.insert(other);
                }
            }
        }
        self.record(&path, record)?;
        let entry = Entry::of(&stat, Some(hash), &[], digest(&xattrs));
        self.touch_parent(&path);
        self.operate(super::Class::Change, path.clone(), Operation::Metadata { path, entry, xattrs });
        Ok(())
    }

    fn link(&mut self, path: &RelPath, target: &RelPath, stat: &Stat, known: Record) -> Result<()> {
        let link_target = match stat.kind {
            Kind::Symlink => self.place(path)?.and_then(|(dir, name)| dir.read_link(&name).ok()).unwrap_or_default(),
            _ => Box::default(),
        };
        if stat.kind == Kind::Symlink && link_target.is_empty() {
            return self.gone(path.clone(), Have::Unknown);
        }
        let xattrs = self.xattrs(path, stat.kind);
        let settled = self.tree.is_settled(stat, self.began);
        let record = Record { stat: *stat, xattrs: digest(&xattrs), group: None, settled, ..known };
        self.record(path, record.clone())?;
        self.record(target, record.clone())?;
        let hash = if stat.kind == Kind::File { record.hash } else { None };
        let entry = Entry::of(stat, hash, &link_target, record.xattrs);
        self.touch_parent(path);
        self.operate_link(path.clone(), target.clone(), entry, xattrs);
        Ok(())
    }

    fn renamed(&mut self, from: RelPath, to: &RelPath, stat: &Stat, known: Record) -> Result<()> {
        let Some(hash) = known.hash else { return Ok(()) };
        self.catalog.rename(&from, to)?;
        let xattrs = self.xattrs(to, stat.kind);
        let settled = self.tree.is_settled(stat, self.began);
        self.record(to, Record { stat: *stat, xattrs: digest(&xattrs), hash: Some(hash), group: None, settled })?;
        self.renamed.insert(from.clone());
        self.touch_parent(&from);
        self.touch_parent(to);
        let entry = Entry::of(stat, Some(hash), &[], digest(&xattrs));
        let operation = Operation::Rename { from: from.clone(), to: to.clone(), entry, xattrs };
        self.operate_from(super::Class::Change, to.clone(), Some(from), operation);
        Ok(())
    }
}
