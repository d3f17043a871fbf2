//! The side that follows: turns messages of a primary into a tree that equals the primary's.
//!
//! Reading order: `session` (frames in, answers out), `open` (is this directory a replica, and whose), `stager` (content into
//! the stage; `nests`: with the directory it belongs in), `chunks` (the same for large files; `basis`: what their patches
//! start from), `commit` (batches: sync, rename, sync, record, answer), `apply` (one operation; `removal`: one that takes
//! something away), `drift` (is what stands here ours), `quarantine` (where it goes when it is not), `compare` (a listing of
//! the primary against this tree), `survey` (what needs no listing).
//! Apart from that: an `audit`, which only reads.
//!
//! Threads: the session is a task that only receives and hands on. Four threads own what blocks: the stager owns the
//! batch being gathered, the chunk writer the large files under way, the committer the store and every change to the tree,
//! the comparer a read-only view. Work flows session → stager → committer, through channels that hold a stated number.

mod apply;
mod audit;
mod basis;
mod chunks;
mod commit;
mod compare;
mod drift;
mod error;
mod identity;
mod nests;
mod open;
mod quarantine;
mod removal;
mod session;
mod stager;
mod survey;

pub use error::{Error, Result};
pub use identity::Identity;
pub use session::{Options, serve, serve_beside};
