//! What is not there any more: noted, removed when its time has come, and looked for under its other names.

use super::{Class, Have, Mood, NAMES_MAX, Plan, TOLD_GONE};
use crate::Result;
use crate::further::FurtherName;
use crate::step::{Action, Step};
use fulmar_model::{HeldReason, Kind, Record, RelPath, ReplicaId};
use fulmar_wire::Operation;
use std::collections::BTreeSet;

/// Other names of what is gone, or was in directories that are gone, which one plan looks at, or gives changes of their own.
const OTHERS_MAX: usize = 10_000;

impl Plan<'_> {
    /// Notes what is not there; removes it where that was noted before, and may go now.
    pub(super) fn gone(&mut self, path: RelPath, have: Have) -> Result<()> {
        if self.renamed.contains(&path) || path.ancestors().iter().any(|above| self.removed.contains(above)) {
            return Ok(());
        }
        let record = self.catalog.get(&path)?;
        if let Some(record) = &record {
            let again = matches!(have, Have::Gone { .. }) && record.group == Some(TOLD_GONE);
            if !again {
                self.loses(&path, record)?;
            }
            if self.everyone() {
                self.catalog.put(&path, &Record { group: Some(TOLD_GONE), ..record.clone() })?;
            }
        }
        match (have, self.mood) {
            (_, Mood::DryRun) => self.operate(Class::Removal, path.clone(), Operation::Remove { path }),
            (Have::Gone { approved }, Mood::One { replica, .. }) => {
                return self.remove(path, record.as_ref(), approved, replica);
            }
            // Made and removed between two looks, or renamed by an earlier plan: no replica was told of it.
            (_, Mood::Everyone) if record.is_none() => {}
            _ => self.push(Class::Removal, Step::new(path, Action::Gone)),
        }
        Ok(())
    }

    fn remove(&mut self, path: RelPath, known: Option<&Record>, approved: bool, replica: ReplicaId) -> Result<()> {
        let (count, tree) = (self.catalog.count_below(&path, u64::MAX)?.max(1), self.catalog.count()?);
        if !approved && !self.guard.admit(Some(replica), count, tree, self.now_ms) {
            self.push(Class::Removal, Step::new(path, Action::Hold { reason: HeldReason::Approval, errno: 0 }));
            return Ok(());
        }
        let shared = matches!(self.mood, Mood::One { shared: true, .. });
        if known.is_some_and(|record| !shared || record.group == Some(TOLD_GONE)) {
            self.catalog.remove(&path)?;
        }
        self.touch_parent(&path);
        self.removed.insert(path.clone());
        self.operate(Class::Removal, path.clone(), Operation::Remove { path });
        Ok(())
    }

    /// What was recorded at a path is not there any more. Other names of its inode are looked at as well: what was written
    /// through this one shows in them. Of a directory, those of everything that was in it: it may have had another name for a while,
    /// by which nobody knew what was in it.
    pub(super) fn loses(&mut self, path: &RelPath, record: &Record) -> Result<()> {
        match record.stat.kind {
            Kind::Directory => self.loses_below(path),
            _ => self.loses_name(path, record),
        }
    }

    fn loses_name(&mut self, path: &RelPath, record: &Record) -> Result<()> {
        let names = self.other_names(path, record)?;
        self.looks_at(names);
        Ok(())
    }

    /// The same for further names that were gone, or another's, before their turn to be recorded came.
    pub(super) fn loses_unrecorded(&mut self, further: Vec<FurtherName>) -> Result<()> {
        if self.mood == Mood::DryRun {
            return Ok(());
        }
        for (path, inode) in further {
            let record = self.catalog.get(&path)?.filter(|record| record.group != Some(TOLD_GONE));
            if record.is_none_or(|record| record.stat.inode != inode) {
                match self.look(&path) {
                    // On its way, or held.
                    Ok(Some(now)) if now.inode == inode => continue,
                    // Nobody knows. Its path is held.
                    Err(_) => continue,
                    Ok(_) => {}
                }
                self.looks_at(self.names_beside(&path, inode)?);
            }
            self.dealt_with.push((path, inode));
        }
        Ok(())
    }

    /// These names are to be planned. Where they are too many, a scan looks at the whole tree.
    fn looks_at(&mut self, names: Vec<RelPath>) {
        if self.siblings.len() < OTHERS_MAX {
            self.siblings.extend(names);
        } else if self.mood != Mood::DryRun {
            self.rescans.push(RelPath::root());
        }
    }

    /// Plans one of those other names. A directory, or nothing, has a change of its own.
    pub(super) fn sibling(&mut self, path: &RelPath) -> Result<()> {
        let stat = self.look(path)?.filter(|stat| stat.kind != Kind::Directory && !self.filter.excludes(path, false));
        let Some(stat) = stat else { return Ok(()) };
        let as_recorded = self.catalog.get(path)?.is_some_and(|record| record.stat.same_version(&stat));
        if as_recorded && self.followed.contains(path) {
            self.siblings.remove(path);
            return Ok(());
        }
        if !as_recorded {
            // What this plan has of it may be older than what was written through the name that is lost.
            self.linked.remove(path);
        }
        self.file(path.clone(), stat, Have::Unknown)
    }

    fn other_names(&self, path: &RelPath, record: &Record) -> Result<Vec<RelPath>> {
        if record.stat.links < 2 {
            return Ok(Vec::new());
        }
        self.names_beside(path, record.stat.inode)
    }

    fn names_beside(&self, path: &RelPath, inode: u64) -> Result<Vec<RelPath>> {
        let names = self.catalog.names_of(inode, NAMES_MAX)?.into_iter().map(|(name, _)| name);
        Ok(names.filter(|name| name != path).collect())
    }

    /// What was noted as gone before is not gone through again: its turn was then. Where the other names are too many to be owed
    /// one by one, a scan looks at the whole tree.
    fn loses_below(&mut self, top: &RelPath) -> Result<()> {
        if self.mood == Mood::DryRun || top.ancestors().iter().any(|above| self.walked.contains(above)) {
            return Ok(());
        }
        self.walked.insert(top.clone());
        let (mut pending, mut inodes) = (vec![(top.clone(), None)], BTreeSet::new());
        while let Some((directory, after)) = pending.pop() {
            let rows = self.catalog.children(&directory, after.as_ref(), NAMES_MAX)?;
            if let Some((last, _)) = rows.last().filter(|_| rows.len() == NAMES_MAX) {
                pending.push((directory.clone(), Some(last.clone())));
            }
            for (name, record) in rows.into_iter().filter(|(_, record)| record.group != Some(TOLD_GONE)) {
                let path = directory.join(&name);
                if record.stat.kind == Kind::Directory {
                    pending.push((path, None));
                } else if record.stat.links > 1 && inodes.insert(record.stat.inode) {
                    let names = self.other_names(&path, &record)?;
                    if names.len() + 1 >= NAMES_MAX || inodes.len().max(self.others.len()) >= OTHERS_MAX {
                        self.rescans.push(RelPath::root());
                        return Ok(());
                    }
                    // Others in it are gone with it.
                    self.others.extend(names.into_iter().filter(|name| !name.starts_with(top)));
                }
            }
        }
        Ok(())
    }
}
