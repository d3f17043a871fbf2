//! Steps as they are found, and their order at the end.

use super::{Class, Mood, Plan, Planned, TOLD_GONE};
use crate::Result;
use crate::step::{Action, Step};
use fulmar_model::{Entry, HeldReason, Kind, Node, Record, RelPath, Xattrs};
use fulmar_tree::digest;
use fulmar_wire::{FromPrimary, Operation};
use std::collections::BTreeSet;

impl Plan<'_> {
    pub(super) fn push(&mut self, class: Class, step: Step) {
        self.steps.push((class, step));
    }

    /// What was touched below a directory that is renamed is to be found under its new name. The old one may be in use again.
    pub(super) fn touch_elsewhere(&mut self, from: &RelPath, to: &RelPath) {
        for (path, moved) in std::mem::take(&mut self.touched) {
            let path = path.strip(from).map(|below| below.under(to)).unwrap_or(path);
            *self.touched.entry(path).or_insert(false) |= moved;
        }
    }

    pub(super) fn touch_parent(&mut self, path: &RelPath) {
        if let Some(parent) = path.parent() {
            self.touched.insert(parent, true);
        }
    }

    pub(super) fn operate(&mut self, class: Class, path: RelPath, operation: Operation) {
        self.operate_from(class, path, None, operation);
    }

    pub(super) fn operate_link(&mut self, path: RelPath, target: RelPath, entry: Entry, xattrs: Xattrs) {
        self.operate(Class::Change, path.clone(), Operation::Link { path, target, entry, xattrs });
    }

    pub(super) fn operate_from(&mut self, class: Class, path: RelPath, from: Option<RelPath>, operation: Operation) {
        let action = match FromPrimary::encode_operation(&operation) {
            Ok(frame) => {
                self.bytes += frame.as_bytes().len();
                Action::Operate { frame, word: operation.word() }
            }
            Err(_) => Action::Hold { reason: HeldReason::TooLarge, errno: 7 },
        };
        let entry = operation.entry();
        let directory = entry.is_some_and(|entry| entry.node == Node::Directory);
        let subtree = directory && matches!(&operation, Operation::Rename { .. });
        let removes = matches!(&operation, Operation::Remove { .. });
        self.push(class, Step { path, from, subtree, removes, directory, action });
    }

    /// Puts the steps in order and adds the times of touched directories, the deepest first.
    pub(crate) fn finish(mut self) -> Result<Planned> {
        let touched = std::mem::take(&mut self.touched);
        let mut steps = std::mem::take(&mut self.steps);
        let reminded = |step: &Step| {
            let moved_on = matches!(step.action, Action::Operate { .. }) || self.siblings.contains(&step.path);
            !moved_on && self.reminders.contains(&step.path)
        };
        let owing = steps.iter().map(|(_, step)| step).filter(|step| !reminded(step));
        let owing = owing.map(|step| &step.path).chain(&self.renamed).filter(|path| !self.asked.contains(*path));
        let mut owed: BTreeSet<_> = owing.filter(|_| self.everyone()).cloned().collect();
        let others = std::mem::take(&mut self.others).into_iter();
        // Whoever plans for the others does not find a sibling any more by the name that it was found by for one replica.
        let found: Vec<_> =
            others.chain(self.siblings.clone().into_iter().filter(|_| matches!(self.mood, Mood::One { .. }))).collect();
        // What is gone has a change of its own: two names that owe each other would never end.
        let is_there = |path: &RelPath| !self.filter.excludes(path, false) && !matches!(self.look(path), Ok(None));
        owed.extend(found.into_iter().filter(is_there));
        steps.sort_by_key(|(class, _)| *class);
        let mut times: Vec<_> = touched.into_iter().collect();
        times.sort_by_key(|(path, _)| std::cmp::Reverse(path.depth()));
        for (path, moved) in times {
            let record = self.catalog.get(&path)?;
            let stat = self.look(&path).unwrap_or(None).filter(|stat| stat.kind == Kind::Directory);
            if stat.is_some_and(|stat| {
                let known = !moved && record.as_ref().is_some_and(|record| record.proves(&stat));
                known || self.filter.excludes(&path, true)
            }) {
                continue;
            }
            let Some((stat, xattrs)) = stat.and_then(|stat| Some((stat, self.directory_xattrs(&path, &stat)?))) else {
                // Renamed meanwhile, perhaps: whoever finds it under its next name must set its times.
                if let Some(record) = record.filter(|_| moved) {
                    self.record(&path, Record { settled: false, ..record })?;
                }
                continue;
            };
            // Another directory than the one that is known has a change of its own coming, with all that is in it.
            match record.filter(|known| self.is_recorded(&path, &stat, known).unwrap_or(true)) {
                Some(known) => {
                    let mark = known.group.filter(|mark| *mark != TOLD_GONE);
                    self.record_directory(&path, stat, Some(&xattrs), mark)?;
                }
                None if self.everyone() => continue,
                None => {}
            }
            let entry = Entry { node: Node::Directory, ..Entry::of(&stat, None, &[], digest(&xattrs)) };
            let operation = Operation::Metadata { path: path.clone(), entry, xattrs };
            let action = match FromPrimary::encode_operation(&operation) {
                Ok(frame) => Action::Operate { frame, word: "times" },
                Err(_) => Action::Hold { reason: HeldReason::TooLarge, errno: 7 },
            };
            steps.push((Class::Removal, Step { directory: true, ..Step::new(path, action) }));
        }
        steps.append(&mut self.steps);
        let steps = steps.into_iter().map(|(_, step)| step).collect();
        let Self { rescans, widen, dealt_with, .. } = self;
        Ok(Planned { steps, rescans, widen, owed, dealt_with })
    }
}
