//! What is asked and answered. Fields are added, never changed; `version` grows when an old client could misunderstand.

use crate::control::explain::Explain;
use crate::control::verified::{Rounds, Verifying};
use crate::state::shown;
use fulmar_model::HeldReason;
use fulmar_primary::{GuardState, HeldPath, ReplicaStatus, TreeStatus, Trip};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;

/// Of this protocol.
pub const VERSION: u32 = 1;

/// One line to the server.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// What the client speaks.
    pub version: u32,
    /// What it wants.
    #[serde(flatten)]
    pub command: Command,
}

/// What can be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// The picture.
    Status,
    /// Until everything so far is durable everywhere.
    Wait {
        /// How long at most.
        timeout_ms: u64,
    },
    /// Let held removals go ahead.
    Approve,
    /// What is known of a path.
    Explain {
        /// Absolute, escaped.
        path: String,
    },
    /// Compare the source with its replicas.
    Verify(Verify),
}

/// What is to be verified, and how.
#[derive(Debug, Serialize, Deserialize)]
pub struct Verify {
    /// Whether every byte is read.
    #[serde(default)]
    pub deep: bool,
    /// Whether what differs is repaired.
    #[serde(default)]
    pub repair: bool,
    /// Bytes that are read a second, on each side.
    #[serde(default)]
    pub rate: Option<NonZeroU64>,
    /// Whether disks are used only when nobody else wants them.
    #[serde(default)]
    pub idle: bool,
}

/// One line back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// To `status`.
    Status(Status),
    /// To `wait`: it is so.
    Durable {
        /// Position in the queue up to which everything is durable.
        upto: u64,
    },
    /// To `wait`: paths are held.
    Held {
        /// The replica.
        replica: String,
        /// The paths.
        paths: Vec<Held>,
    },
    /// To `wait`: the time was not enough.
    Timeout {
        /// What is missing.
        message: String,
    },
    /// To `approve`.
    Approved {
        /// Removals that go ahead.
        removals: u64,
    },
    /// To `verify`, as often as something is found.
    Finding {
        /// A line of docs/audit.md.
        finding: serde_json::Value,
    },
    /// To `verify`, every second.
    Progress {
        /// Of the source.
        source: Progress,
        /// Of each replica.
        replicas: Vec<Progress>,
    },
    /// To `verify`, at its end.
    Verified {
        /// The last line of docs/audit.md.
        summary: serde_json::Value,
    },
    /// To `explain`.
    Explained(Box<Explain>),
    /// It cannot be answered.
    Error {
        /// Why.
        message: String,
    },
}

/// How far one side of a verification is.
#[derive(Debug, Serialize, Deserialize)]
pub struct Progress {
    /// The replica, as given; nothing for the source.
    #[serde(default)]
    pub name: Option<String>,
    /// Files that were read.
    pub files: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Whether everything was read, and what differs is looked at.
    #[serde(default)]
    pub compares: bool,
    /// Differences found.
    #[serde(default)]
    pub differences: u64,
}

/// `fulmar status --json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// Of this format.
    pub version: u32,
    /// Trees.
    pub trees: Vec<Tree>,
}

/// A tree. Names of files are escaped (see docs/control.md).
#[derive(Debug, Serialize, Deserialize)]
pub struct Tree {
    /// Where the source is.
    pub source: String,
    /// Its identity.
    pub tree_id: String,
    /// `scanning` or `following`.
    pub phase: String,
    /// Whether removals flow.
    pub guard: Guard,
    /// Coverage of the source.
    pub watch: Option<Watch>,
    /// How it is verified; null where it is not followed.
    #[serde(default)]
    pub verify: Option<Verifying>,
    /// Replicas.
    pub replicas: Vec<Replica>,
}

/// Whether removals flow.
#[derive(Debug, Serialize, Deserialize)]
pub struct Guard {
    /// `ok` or `tripped`.
    pub state: String,
    /// Why it tripped.
    pub reason: Option<String>,
    /// The same as a word for programs: `source_gone`, `source_empty`, `source_replaced` or `wave`.
    #[serde(default)]
    pub cause: Option<String>,
}

/// Coverage of the source.
#[derive(Debug, Serialize, Deserialize)]
pub struct Watch {
    /// Directories known.
    pub directories: u64,
    /// Directories watched.
    pub watched: u64,
    /// Subtrees polled because they cannot be watched.
    pub polled: u64,
    /// Overflows of the kernel's queue since the start.
    pub overflows: u64,
    /// Whether `fs.inotify.max_user_watches` was reached.
    pub limit_reached: bool,
}

/// A replica.
#[derive(Debug, Serialize, Deserialize)]
pub struct Replica {
    /// As given.
    pub name: String,
    /// Its identity, once known.
    pub replica_id: Option<String>,
    /// `connecting`, `comparing`, `live` or `away`.
    pub state: String,
    /// Why it is away.
    pub error: Option<String>,
    /// What can be done about that.
    #[serde(default)]
    pub hint: Option<String>,
    /// Age of the oldest change that is not durable there, in milliseconds; null before the first comparison.
    pub lag_ms: Option<i64>,
    /// Changes that are not durable there.
    pub backlog: u64,
    /// Held paths.
    pub held: u64,
    /// The first hundred of them.
    pub held_paths: Vec<Held>,
    /// Large files under way.
    pub large: u64,
    /// Foreign versions in its quarantine.
    pub drift: u64,
    /// Whether owner and group are kept there.
    pub owners: bool,
    /// Entries listed in the comparison under way, or the last.
    pub listed: u64,
    /// Sockets of the source that the last comparison of the whole tree passed over.
    #[serde(default)]
    pub sockets: u64,
    /// What the periodic verifier found.
    #[serde(default)]
    pub verified: Rounds,
    /// Operations acknowledged since it was reached.
    pub applied: u64,
    /// Bytes sent in batches since it was reached.
    pub bytes: u64,
}

/// A held path.
#[derive(Debug, Serialize, Deserialize)]
pub struct Held {
    /// Where.
    pub path: String,
    /// Why.
    pub reason: String,
    /// Number of the system call's error, 0 where there is none.
    pub errno: i32,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
}

impl From<&HeldPath> for Held {
    fn from(held: &HeldPath) -> Self {
        let HeldPath { path, reason, errno, since_ms } = held;
        // Where the reason is the system call's error in other words, it need not be said twice.
        let plain =
            matches!(reason, HeldReason::DiskFull | HeldReason::Quota | HeldReason::Permission | HeldReason::ReadOnly);
        let reason = match *errno {
            errno if errno != 0 && !plain => format!("{reason}: {}", std::io::Error::from_raw_os_error(errno)),
            _ => reason.to_string(),
        };
        Self { path: path.to_string(), reason, errno: *errno, since_ms: *since_ms }
    }
}

impl From<&ReplicaStatus> for Replica {
    fn from(status: &ReplicaStatus) -> Self {
        Self {
            // As typed, and escaped when it was.
            name: status.name.clone(),
            replica_id: status.replica.map(|id| id.to_string()),
            state: status.state.word().to_owned(),
            error: status.error.clone(),
            hint: status.hint.clone(),
            lag_ms: status.lag_ms,
            backlog: status.backlog,
            held: status.held,
            held_paths: status.held_paths.iter().map(Held::from).collect(),
            large: status.large,
            drift: status.quarantined,
            owners: status.owners,
            listed: status.listed.0,
            sockets: status.sockets,
            verified: Rounds::from(&status.verified),
            applied: status.counts.1,
            bytes: status.counts.2,
        }
    }
}

impl From<&TreeStatus> for Tree {
    fn from(status: &TreeStatus) -> Self {
        let (state, trip) = match status.guard {
            GuardState::Clear => ("ok", None),
            GuardState::Tripped(why) => ("tripped", Some(why)),
        };
        let cause = trip.map(|why| match why {
            Trip::SourceGone => "source_gone",
            Trip::SourceEmpty => "source_empty",
            Trip::SourceReplaced => "source_replaced",
            Trip::Wave { .. } => "wave",
        });
        Self {
            source: shown(&status.source),
            tree_id: status.tree.to_string(),
            phase: if status.scanning { "scanning" } else { "following" }.to_owned(),
            guard: Guard {
                state: state.to_owned(),
                reason: trip.map(|why| why.to_string()),
                cause: cause.map(str::to_owned),
            },
            watch: status.watch.map(|watch| Watch {
                directories: watch.known,
                watched: watch.watched,
                polled: watch.polled,
                overflows: watch.overflows,
                limit_reached: watch.limit_reached,
            }),
            verify: status.verify.as_ref().map(Verifying::from),
            replicas: status.replicas.iter().map(Replica::from).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_path_says_which_error_it_was_where_the_reason_does_not() {
        for (reason, errno, expected) in [
            (HeldReason::ReplicaFailed, 5, "system call failed on the replica: Input/output error (os error 5)"),
            (HeldReason::DiskFull, 28, "disk full on the replica"),
            (HeldReason::Approval, 0, "removal waits for approval"),
        ] {
            let held = HeldPath { path: fulmar_model::RelPath::root(), reason, errno, since_ms: 0 };
            assert_eq!(Held::from(&held).reason, expected);
        }
    }
}
