//! The only crate that touches replicated files, in reading order: the opened root (`root`), one directory of it (`dir`,
//! its names in `list` and `part`; several kept open in `handles`), a whole subtree (`walk`, `crew`, `remove`), what is read
//! (`reader`, `xattr`), what is written (`private`, `stage`, `nest`, `staged`, `held`, `outflow`, `metadata`; what is shared
//! instead: `lender`), and what surrounds it (`lock`, `clock`, `hash`, `fingerprint`, `sealing`, `survey`, `error`, `sys`). `audit`
//! reads all of a tree for a comparison.
//!
//! Invariants: every access starts at a held directory handle and names one component, or a relative path that the
//! kernel resolves beneath that handle without following symlinks (`openat2`) and without crossing a mount point. No
//! system call on a replicated file is given a path from "/" (`/proc/self/fd/N` names a handle that is already held).
//! Everything blocks; nothing here knows a runtime, a database or a peer.

pub mod audit;
mod clock;
mod crew;
mod dir;
mod error;
mod fingerprint;
mod handles;
mod hash;
mod held;
mod lender;
mod list;
mod lock;
mod metadata;
mod nest;
mod outflow;
mod part;
mod partial;
mod private;
mod reader;
mod remove;
mod root;
mod sealing;
mod stage;
mod staged;
mod survey;
mod sys;
pub mod walk;
mod xattr;

pub use clock::Clock;
pub use crew::{walk_together, walkers};
pub use dir::{Dir, Replace};
pub use error::{Error, Result};
pub use fingerprint::{DIRECTORIES_MAX, Fingerprint, Printed, fingerprint_of, print_of};
pub use handles::Handles;
pub use hash::{hash_bytes, zeros};
pub use held::is_crowded;
pub use lender::Lender;
pub use list::Names;
pub use lock::{Lock, lock_file};
pub use metadata::{Metadata, Ownership};
pub use nest::Nest;
pub use part::{NAMES_PER_PART, Part};
pub use partial::Partials;
pub use private::Private;
pub use reader::{Chunk, Reader};
pub use remove::{Visit, remove_tree};
pub use root::{Tree, identify};
pub use sealing::{Sealing, unbroken};
pub use stage::{PRIVATE_FILE, Stage};
pub use staged::{Staged, StagedFile};
pub use survey::{SurveyBounds, Surveyor, survey};
pub use walk::{Listing, Step, Walk, list_part};
pub use xattr::digest;
