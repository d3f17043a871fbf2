//! What is not there any more: noted, removed when its time has come, and looked for under its other names.

use super::{Class, Have, Mood, NAMES_MAX, Plan, TOLD_GONE};
use crate::Result;
use crate::step::{Action, Step};
use fulmar_model::{HeldReason, Kind, Record, RelPath, ReplicaId};
use fulmar_wire::Operation;

impl Plan<'_> {
    /// Notes what is not there; removes it where that was noted before, and may go now.
    pub(super) fn gone(&mut self, path: RelPath, have: Have) -> Result<()> {
        if self.renamed.contains(&path) || path.ancestors().iter().any(|above| self.removed.contains(above)) {
            return Ok(());
        }
        let record = self.catalog.get(&path)?;
        if let Some(record) = &record {
            self.loses_name(&path, record)?;
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

    /// The inode's other names are looked at as well: what was written through this one shows in them.
    pub(super) fn loses_name(&mut self, path: &RelPath, record: &Record) -> Result<()> {
        if record.stat.links > 1 && record.stat.kind != Kind::Directory {
            let names = self.catalog.names_of(record.stat.inode, NAMES_MAX)?;
            self.siblings.extend(names.into_iter().map(|(name, _)| name).filter(|name| name != path));
        }
        Ok(())
    }

    pub(super) fn loses_names_below(&mut self, directory: &RelPath) -> Result<()> {
        let mut after = None;
        loop {
            let rows = self.catalog.children(directory, after.as_ref(), NAMES_MAX)?;
            after = rows.last().map(|(name, _)| name.clone());
            let full = rows.len() == NAMES_MAX;
            for (name, record) in rows {
                let path = directory.join(&name);
                match record.stat.kind {
                    Kind::Directory => self.loses_names_below(&path)?,
                    _ => self.loses_name(&path, &record)?,
                }
            }
            if !full {
                return Ok(());
            }
        }
    }
}
