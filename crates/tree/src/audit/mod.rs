//! Reading a tree from end to end: every byte, every attribute, by as many threads as are asked for.
//!
//! Reading order: `settings` (how, and how far it is), `scope` (how much of the tree), `engine` (deals directories to threads and puts digests together),
//! `worker` (what a thread does), `describe` (one entry), `content` (the bytes of a file), `kept` (digests and hashes that are
//! remembered), `links` (which names are one file), `audited` (what came of it, and listings of what differs), `look` (one path,
//! read again), `standing` (beside what was recorded of it), `mail` (mailboxes, by names and sizes), `cut` (where a slice ends).
//!
//! Nothing is written, made or locked. What changes meanwhile is read again at once, a few times; what is listed later is as
//! it is then. Memory is bounded: digests of [`crate::DIRECTORIES_MAX`] directories, hashes of [`HASHES_MAX`] files,
//! [`LINK_BYTES_MAX`] of names that share an inode, [`UNREAD_MAX`] paths that could not be read.

mod audited;
mod content;
mod cut;
mod describe;
mod engine;
mod kept;
mod links;
mod look;
mod mail;
mod scope;
mod settings;
mod standing;
mod worker;

pub use audited::Audited;
pub use cut::{Span, cut};
pub use engine::audit;
pub use kept::HASHES_MAX;
pub use links::{LINK_BYTES_MAX, Links};
pub use look::Looker;
pub use mail::{mailbox_at, mailboxes};
pub use scope::Scope;
pub use settings::{Auditing, Meter, Records, readers};
pub use standing::is_calm;

/// Paths that are remembered as unreadable; beyond it they are counted.
pub const UNREAD_MAX: usize = 10_000;

/// Stands for a directory that only leads to the range: its metadata is told with the directory it is in.
const ON_THE_WAY: fulmar_model::Entry = fulmar_model::Entry {
    node: fulmar_model::Node::Directory,
    mode: 0,
    uid: 0,
    gid: 0,
    mtime: fulmar_model::Timestamp { seconds: 0, nanos: 0 },
    xattrs: fulmar_model::XattrDigest([0; 16]),
    group: None,
};

/// Stands in a digest for content that cannot be read, and for a directory that is not entered.
const UNKNOWN: fulmar_model::Hash = fulmar_model::Hash([0; 32]);
