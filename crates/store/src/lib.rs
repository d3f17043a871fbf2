//! The durable state of a tree, in reading order: how a file is opened and what is done with a damaged one (`open`,
//! `schema`, `layout_2`) and when it is synced (`log`), the queue of changes (`queue`), who has seen them (`cursor`) and what was passed over
//! (`outstanding`), what came of comparing (`verified`), what is remembered of each path (`catalog`, `reader`, `rows`, `record`, `seals`), and what a replica keeps
//! besides (`replica`).
//!
//! Invariants:
//! - This is the only crate that knows SQL. Its types own their connection: `Send`, not `Sync`, one thread each.
//! - Clocks and random identities are parameters.
//! - Nothing read from a database is believed: a value out of range is damage, never a panic.
//! - State is disposable. A damaged file is set aside and created anew; see docs/store.md for what that costs.
//!
//! It does not look at the tree, and takes no lock on it: one process per tree is the business of the caller.

mod catalog;
mod column;
mod cursor;
mod directories;
mod error;
mod layout_2;
mod log;
mod open;
mod outstanding;
mod queue;
mod reader;
mod record;
mod replica;
mod rows;
mod schema;
mod seals;
mod verified;

pub use catalog::Catalog;
pub use cursor::{Ack, ReplicaRow};
pub use error::{Error, Result};
pub use open::{Opened, Rebuilt, set_aside};
pub use outstanding::{Outstanding, OutstandingCount, Pending, Reach, Unfinished, Waiting, Work};
pub use queue::{Backlog, NewChange, Queue, QueueLog};
pub use reader::CatalogReader;
pub use replica::{Intent, Quarantined, ReplicaStore};
pub use rows::Rows;
pub use verified::{Measure, Round, Verified, VerifiedRounds};

#[cfg(test)]
mod tests;
