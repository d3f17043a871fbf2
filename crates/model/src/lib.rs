//! The vocabulary of Fulmar, in reading order: where (`path`), what (`kind`, `stat`, `entry`), what it contains (`hash`,
//! `xattr`), what is remembered of it (`record`, `seal`), that it may differ (`change`), what could not be done (`outcome`),
//! who (`id`), what the user decided (`filter`, `policy`), how often something is done (`cadence`), and what an audit sees and
//! finds (`tally`, `sighting`, `difference`, `blame`, `mailbox`).
//!
//! Plain data over the standard library: nothing here reads a file, a socket, a clock or a random source.

mod blame;
mod cadence;
mod change;
mod difference;
mod entry;
mod filter;
mod glob;
mod hash;
mod id;
mod kind;
mod mailbox;
mod outcome;
mod path;
mod policy;
mod record;
mod seal;
mod sighting;
mod stat;
mod tally;
mod time;
mod xattr;

pub use blame::{Blame, holds_good_copy};
pub use cadence::Cadence;
pub use change::{Change, Scope, Seq};
pub use difference::{ACL_NAMES, Aspect, Difference, Side, Value, differences};
pub use entry::{Entry, LinkGroup, Node};
pub use filter::{Filter, FilterError};
pub use glob::Flaw;
pub use hash::Hash;
pub use id::{Id, IdError, QueueId, ReplicaId, RootId, Term, TreeId};
pub use kind::{Device, Kind};
pub use mailbox::{MailVerdict, Mailbox, NAMES_TOLD, Trouble, Uids, troubles};
pub use outcome::{Held, HeldReason, Outcome};
pub use path::{
    Escaped, NAME_BYTES_MAX, Name, PATH_BYTES_MAX, PRIVATE_DIRECTORY, PathError, RelPath, escape, unescape,
};
pub use policy::{DeletePolicy, Depth, Durability, PolicyError, Profile};
pub use record::{Recall, Record, Recorded, Standing};
pub use seal::{Seal, Sealer};
pub use sighting::{Below, Found, Look, Sighting, Unread};
pub use stat::Stat;
pub use tally::Tally;
pub use time::Timestamp;
pub use xattr::{Xattr, XattrDigest, Xattrs};
