//! The side that is authoritative for a tree: notices changes, queues them, and keeps every replica up to date.
//!
//! Reading order, which is the way of one change: `capture` (events settle and enter the queue; `settle` is its rule), `planner`
//! (the owner of catalog and guard: which changes are next), `plan` (path now and catalog make a step), `prepare` (content
//! is read once), `session` (one per replica: ships, takes answers, keeps the cursor), `chunks` and `shipper` (large content
//! beside it within `credit`, as a `patch` where `signatures` tell what was shipped before;
//! `attempt` is the way of one file, which `preparations` share among replicas: `preparation`, `spool`).
//! Beside the way: `rescan` (what events could not tell), `listing` (for a comparison), `guard` (a vanished source deletes
//! nothing), `supervisor` (the watch on the source), `primary` (starts and ends it all), `status` and `waiting` (what people ask), `keeper` (a thread that owns), `housekeeping` (what
//! can wait until there is time).
//! Apart from all of that: `audit` (both sides are read and compared, and nothing is changed); with it `verify` (the same beside a
//! primary that runs, which may repair) and `periodic` (that again and again).
//!
//! Owners: the queue has a thread, the catalog has a thread (the planner's), every session is a task with its own state.
//! They talk by messages; nothing is shared under a lock.

mod attempt;
mod audit;
mod capture;
mod chunks;
mod clock;
mod credit;
mod error;
mod explain;
mod further;
mod guard;
mod housekeeping;
mod keeper;
mod listing;
mod patch;
mod periodic;
mod plan;
mod planner;
mod preparation;
mod preparations;
mod prepare;
mod primary;
mod rescan;
mod session;
mod settle;
mod shipper;
mod signatures;
mod spool;
mod status;
mod step;
mod supervisor;
mod verify;
mod waiting;

pub use audit::{
    AuditSettings, Census, Coverage, Earlier, Finding, Inspected, Inspection, Outcome, Pulse as AuditPulse, Verdict,
    Why,
};
pub use clock::Clock;
pub use error::{Error, Result};
pub use explain::{Explained, Explanation};
pub use fulmar_store::{Pending, Work};
pub use guard::{GuardState, Trip};
pub use periodic::Periodic;
pub use primary::{Finished, HELD_LISTED, Mode, Primary, Sessions, Settings, Would};
pub use session::{Endpoint, Target};
pub use status::{HeldPath, ReplicaState, ReplicaStatus, TreeStatus, VerifyStatus, WatchStatus};
pub use verify::{Told, Verification, Verified};
pub use waiting::{WaitError, Waited};
