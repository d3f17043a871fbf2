//! Where foreign versions go: `.fulmar/quarantine/<milliseconds since 1970>-<n>/<path in the tree>`, moved by rename, so that
//! nothing is copied and nothing is lost. The store lists them.

use crate::Result;
use fulmar_model::{Name, RelPath};
use fulmar_store::{Quarantined, ReplicaStore};
use fulmar_tree::{Dir, Private, Replace};

/// Why something was moved away, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The primary has another version for the path.
    Overwritten = 1,
    /// The primary has nothing at the path.
    Removed = 2,
}

/// Moves the entry `name` of `dir`, which is at `path`, away.
pub(crate) fn quarantine(
    private: &Private,
    store: &mut ReplicaStore,
    (dir, name, path): (&Dir, &Name, &RelPath),
    (when_ms, why): (i64, Why),
) -> Result<()> {
    let id = store.quarantined_last()? + 1;
    let drawer = Name::parse(format!("{when_ms}-{id}").as_bytes()).expect("digits and a dash are a name");
    let mut at = make(private.quarantine(), &drawer)?;
    for part in path.parent().unwrap_or_default().names() {
        at = make(&at, &part)?;
    }
    let kept_name = path.split().map_or_else(|| name.clone(), |(_, name)| name);
    dir.rename_to(name, &at, &kept_name, Replace::No)?;
    tracing::warn!(%path, quarantine = %drawer, ?why, "a version that fulmar did not put here was moved to quarantine");
    let stored_as = [drawer.as_bytes(), b"/", path.as_bytes()].concat();
    store.quarantine_add(&Quarantined { id, path: path.clone(), stored_as, when_ms, why: why as u8 })?;
    Ok(())
}

fn make(parent: &Dir, name: &Name) -> Result<Dir> {
    match parent.make_dir(name, 0o700) {
        Err(error) if error.errno() != 17 => Err(error.into()),
        _ => Ok(parent.dir(name)?),
    }
}
