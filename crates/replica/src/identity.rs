//! `.fulmar/identity`: which tree this directory is a replica of, which replica it is, and the latest term it has seen.
//!
//! A text file of `key value` lines, replaced by rename, so that a person can read it.

use crate::{Error, Result};
use fulmar_model::{Id, ReplicaId, Term, TreeId};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// Contents of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The tree it replicates.
    pub tree: TreeId,
    /// Which of the tree's replicas it is.
    pub replica: ReplicaId,
    /// The latest term of a primary it accepted.
    pub term: Term,
}

const FILE: &str = ".fulmar/identity";
/// More than any version will write.
const BYTES_MAX: u64 = 4096;

impl Identity {
    /// Where the replica at `root` has it.
    pub fn at(root: &Path) -> PathBuf {
        root.join(FILE)
    }

    /// Reads the identity of the replica at `root`; `None` when there is none, or none that can be read.
    pub fn read(root: &Path) -> Option<Self> {
        let file = std::fs::File::open(Self::at(root)).ok()?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::io::Read::take(file, BYTES_MAX), &mut text).ok()?;
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        Some(Self {
            tree: TreeId(Id::parse(value("tree")?).ok()?),
            replica: ReplicaId(Id::parse(value("replica")?).ok()?),
            term: Term(value("term")?.parse().ok()?),
        })
    }

    /// Writes it durably.
    pub fn write(&self, root: &Path) -> Result<()> {
        let text = format!("tree {}\nreplica {}\nterm {}\n", self.tree, self.replica, self.term.0);
        let (path, staged) = (Self::at(root), root.join(".fulmar/identity.new"));
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::File::create(&staged)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&staged, &path)?;
            std::fs::File::open(root.join(".fulmar"))?.sync_all()
        };
        write().map_err(|error| Error::Refused {
            reason: fulmar_wire::Refusal::Unusable,
            text: match error.kind() {
                ErrorKind::PermissionDenied => format!("no permission to write {}", path.display()),
                _ => format!("cannot write {}: {error}", path.display()),
            },
        })
    }
}
