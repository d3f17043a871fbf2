//! Directories: made, renamed with all that is in them, or only given other attributes.

use super::{Class, FOR_ONE, NAMES_MAX, Plan};
use crate::Result;
use crate::step::{Action, Step};
use fulmar_model::{Entry, HeldReason, Kind, LinkGroup, Record, RelPath, Stat, Xattrs};
use fulmar_tree::digest;
use fulmar_wire::{Content as Carried, Operation};

impl Plan<'_> {
    pub(super) fn directory(&mut self, path: RelPath, stat: Stat) -> Result<()> {
        let record = self.catalog.get(&path)?;
        if let Some(file) = record.as_ref().filter(|old| old.stat.kind != Kind::Directory) {
            self.loses(&path, file)?;
        }
        let same = record.as_ref().is_some_and(|record| self.is_recorded(&path, &stat, record).unwrap_or(false));
        let everyone_has_it = record.as_ref().is_some_and(|record| record.group != Some(FOR_ONE));
        if self.everyone() && same && everyone_has_it {
            if self.moved_here.contains(&path) {
                // There and back again.
                self.rescans.push(path.clone());
            }
            // Planned once more for a replica that made it and died, perhaps: that has put the times back that it had recorded.
            self.touch_parent(&path);
            self.touched.insert(path, true);
            return Ok(());
        }
        if self.everyone()
            && !path.is_root()
            && let Some(from) = self.directory_before(&path, &stat)?
        {
            return self.directory_renamed(from, path, stat, record.map(|record| record.stat.kind));
        }
        if self.everyone() {
            // It may have been made under another name, with changes queued under that name; or it has taken the place
            // of another directory, whose entries it lacks.
            self.rescans.push(path.clone());
        }
        self.put_directory(path, stat)
    }

    /// Whether the directory at `path` is the one that was recorded. One that was born later may have its inode number.
    /// `None`: the number is the same, and the file system keeps no birth times.
    ///
    /// RACE: kernels before 6.13 give the same time to what happens within a few milliseconds. Who was removed in the moment
    /// in which it was looked at, and replaced in the same, is not told from its successor there.
    pub(super) fn is_recorded(&mut self, path: &RelPath, stat: &Stat, record: &Record) -> Option<bool> {
        if record.stat.kind != Kind::Directory || record.stat.inode != stat.inode {
            return Some(false);
        }
        if record.proves(stat) {
            return Some(true);
        }
        let held = self.handles.dir(self.tree, path).and_then(|dir| dir.identity()).ok();
        let identity = match held.filter(|identity| identity.inode == stat.inode) {
            Some(identity) => identity,
            // Another one is held than stands there by now.
            None => self.tree.dir(path).and_then(|dir| dir.identity()).ok()?,
        };
        Some(identity.born? <= record.stat.ctime)
    }

    fn put_directory(&mut self, path: RelPath, stat: Stat) -> Result<()> {
        let read = self.directory_xattrs(&path, &stat);
        self.record_directory(&path, stat, read.as_ref(), None)?;
        let xattrs = read.unwrap_or_default();
        let entry = Entry::of(&stat, None, &[], digest(&xattrs));
        self.touched.insert(path.clone(), true);
        self.touch_parent(&path);
        let operation = Operation::Put { path: path.clone(), entry, xattrs, content: Carried::None };
        self.operate(Class::Change, path, operation);
        Ok(())
    }

    /// Without attributes the record proves nothing: the next scan reads them. `mark`: see [`FOR_ONE`].
    pub(super) fn record_directory(
        &mut self,
        path: &RelPath,
        stat: Stat,
        xattrs: Option<&Xattrs>,
        mark: Option<LinkGroup>,
    ) -> Result<()> {
        let settled = self.tree.is_settled(&stat, self.began);
        let xattrs = digest(xattrs.unwrap_or(&Xattrs::default()));
        self.record(path, Record { stat, xattrs, hash: None, group: mark, settled })
    }

    /// The attributes of the directory that was looked at; `None` when it is not there any more, or another one is: it has a change
    /// of its own.
    ///
    /// What is visible of a directory that this process may not read is shipped without attributes, and the path is held: what is in
    /// it does not arrive.
    ///
    /// RACE: the look goes by the directory above, which may have been opened before it was renamed.
    pub(super) fn directory_xattrs(&mut self, path: &RelPath, stat: &Stat) -> Option<Xattrs> {
        let held = self.handles.dir(self.tree, path);
        match held.and_then(|dir| Ok((dir.stat_self()?.inode, dir.xattrs_self()?))) {
            Ok((inode, xattrs)) => (inode == stat.inode).then_some(xattrs),
            Err(error) if error.is_gone() => None,
            Err(error) => {
                let action = Action::Hold { reason: HeldReason::Unreadable, errno: error.errno() };
                self.push(Class::Change, Step::new(path.clone(), action));
                Some(Xattrs::default())
            }
        }
    }

    /// Where the directory was, when it was renamed here.
    fn directory_before(&mut self, path: &RelPath, stat: &Stat) -> Result<Option<RelPath>> {
        for (from, record) in self.catalog.names_of(stat.inode, NAMES_MAX)? {
            if from == *path || path.starts_with(&from) || from.starts_with(path) {
                continue;
            }
            let is_it = self.is_recorded(path, stat, &record).unwrap_or(true);
            if is_it && self.look(&from)?.is_none_or(|now| now.inode != stat.inode) {
                return Ok(Some(from));
            }
        }
        Ok(None)
    }

    fn directory_renamed(&mut self, from: RelPath, to: RelPath, stat: Stat, before: Option<Kind>) -> Result<()> {
        match before {
            Some(Kind::Directory) => {
                // What was in it is gone, or has another name that a replica may not have yet; and a replica may have more in
                // it than the catalog: one by one.
                self.rescans.push(to.clone());
                return self.put_directory(to, stat);
            }
            Some(_) => self.operate(Class::Change, to.clone(), Operation::Remove { path: to.clone() }),
            None => {}
        }
        self.widen.push(to.clone());
        self.touch_elsewhere(&from, &to);
        self.catalog.rename(&from, &to)?;
        self.renamed.insert(from.clone());
        let read = self.directory_xattrs(&to, &stat);
        self.record_directory(&to, stat, read.as_ref(), None)?;
        let xattrs = read.unwrap_or_default();
        let entry = Entry::of(&stat, None, &[], digest(&xattrs));
        for path in [&from, &to] {
            self.touch_parent(path);
        }
        self.touched.insert(to.clone(), true);
        // Changes queued under the old name mean nothing any more.
        self.rescans.push(to.clone());
        let operation = Operation::Rename { from: from.clone(), to: to.clone(), entry, xattrs };
        self.operate_from(Class::Change, to, Some(from), operation);
        Ok(())
    }
}
