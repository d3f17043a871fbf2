//! What is removed from the tree, and what is kept of it.

use crate::Error;
use crate::apply::{Applier, Step, Stop};
use crate::drift::{Owner, owner};
use crate::quarantine::Why;
use fulmar_model::{DeletePolicy, HeldReason, Kind, Name, Outcome, RelPath};
use fulmar_tree::{Dir, Visit, remove_tree};

/// Foreign files moved away in one go: bounds memory, not their number.
const FOREIGN_MAX: usize = 10_000;

impl Applier {
    pub(crate) fn remove(&mut self, path: &RelPath) -> Step {
        if path.is_root() {
            return Err(Stop::Fatal(Error::Protocol("removal of the root")));
        }
        if self.delete == DeletePolicy::Keep {
            return Ok(());
        }
        let (dir, name) = match self.place(path) {
            Ok(place) => place,
            // The directory it was in is gone: so is it.
            Err(Stop::Outcome(Outcome::NeedCompare { .. })) => {
                self.store.catalog_mut().remove(path)?;
                return Ok(());
            }
            Err(stop) => return Err(stop),
        };
        if let Some(now) = dir.stat(&name)? {
            if now.kind == Kind::Directory {
                self.clear_foreign(&dir, &name, path, Why::Removed)?;
                self.forget_handles();
                let all = remove_tree(&dir, &name, &mut |_, _, _| Ok(Visit::Remove))?;
                if !all {
                    return Err(Stop::Outcome(Outcome::Held { reason: HeldReason::InTheWay, errno: 39 }));
                }
            } else if self.delete == DeletePolicy::Quarantine
                && owner(self.store.catalog(), &dir, (path, &name), &now)? == Owner::Foreign
            {
                self.quarantine(&dir, &name, path, Why::Removed)?;
            } else {
                dir.remove(&name, now.kind)?;
            }
            self.touch(path);
            self.store.catalog_mut().remove(path)?;
            return self.one_name_less(&now);
        }
        self.store.catalog_mut().remove(path)?;
        Ok(())
    }

    /// Moves everything below the directory `name` that fulmar did not put there to quarantine. What is ours stays.
    pub(crate) fn clear_foreign(&mut self, dir: &Dir, name: &Name, path: &RelPath, why: Why) -> Step {
        if why == Why::Removed && self.delete == DeletePolicy::Remove {
            return Ok(());
        }
        let top = path.parent().unwrap_or_default();
        let (catalog, mut foreign) = (self.store.catalog(), Vec::new());
        let mut failure = None;
        // The walk of a removal, removing nothing: it visits every entry with the directory that holds it.
        remove_tree(dir, name, &mut |at, name, stat| {
            let here = at.path().join(name);
            if stat.kind != Kind::Directory && failure.is_none() {
                match owner(catalog, at, (&here, name), stat) {
                    Ok(Owner::Foreign) if foreign.len() < FOREIGN_MAX => foreign.push(here),
                    Ok(_) => {}
                    Err(error) => failure = Some(error),
                }
            }
            Ok(Visit::Keep)
        })?;
        if let Some(error) = failure {
            return Err(error.into());
        }
        let again = foreign.len() == FOREIGN_MAX;
        for path in foreign {
            debug_assert!(path.starts_with(&top));
            let (dir, name) = self.place(&path)?;
            self.quarantine(&dir, &name, &path, why)?;
        }
        if again { self.clear_foreign(dir, name, path, why) } else { Ok(()) }
    }
}
