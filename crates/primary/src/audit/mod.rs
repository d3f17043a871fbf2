//! Comparing every byte of a source with its replicas, changing nothing: no state, no lock, no queue. Beside a running primary
//! (`crate::verify`) with both, and what both sides recorded: then it is told whose doing a difference is, and it may be repaired.
//!
//! Reading order: this file (who takes part), `inspection` (one replica, from the greeting to the verdict), `far` (asking
//! it), `descent` (directories whose digests differ are listed), `suspects` (what seems to differ is looked at again until it is
//! certain), `groups` (which names are one file), `mail` (mailboxes), `flaws` (where their
//! verdicts look), `verdict` (what came of it), `earlier` (of the slices, where it was made in such); beside a primary `insight` (what that
//! knows), `blaming`, `repair`; `glance` (one path).

mod blaming;
mod descent;
mod earlier;
mod far;
mod flaws;
mod glance;
mod groups;
mod insight;
mod inspection;
mod mail;
mod repair;
mod suspects;
mod verdict;

pub use earlier::Earlier;
pub(crate) use glance::glance;
pub(crate) use insight::Insight;
pub use inspection::{AuditSettings, Inspected, Inspection, Pulse};
pub use verdict::{Census, Coverage, Finding, Outcome, Verdict, Why};

use std::time::Duration;

/// How long both sides must have stayed as they are before a difference is certain, by their own clocks or as watched from
/// here. More than the time a `follow` takes to ship a change, so that what it is about to repair is not told.
const STILL: Duration = Duration::from_secs(7);

/// Pauses before each further look at what differs. After the last, what has not held still is busy.
const PAUSES_MS: [u64; 6] = [100, 400, 1000, 2000, 4000, 8000];

/// Paths that seem to differ and are not certain; full: they are settled before more is listed.
const SUSPECTS_MAX: usize = 16_384;
