//! The periodic verifier: what events have missed, and what somebody else did to a replica, is found without being asked for.
//!
//! Reading order: `schedule` (when what is due), `slice` (how much at once), `verifier` (the task: waits, verifies, writes down
//! what came of it), `run` (one verification, which repairs what differs), `tally` (what came of it, summed up).
//!
//! It is never the end of a follow: what goes wrong is a result, written down and told.

mod run;
mod schedule;
mod slice;
mod tally;
mod verifier;

pub(crate) use run::Auditor;
pub use schedule::Periodic;
pub(crate) use verifier::{Verifier, Ways};
