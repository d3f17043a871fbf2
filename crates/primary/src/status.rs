//! What people and scripts are told of a tree: one picture, put together when asked for.

use crate::guard::GuardState;
use fulmar_model::{HeldReason, RelPath, ReplicaId, TreeId};
use fulmar_store::{Round, VerifiedRounds};
use std::path::PathBuf;
use std::time::Duration;

/// Where a replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ReplicaState {
    /// Being reached for the first time.
    #[default]
    Connecting,
    /// Connected; a comparison is under way.
    Comparing,
    /// Connected; changes are shipped as they come.
    Live,
    /// Not connected; tried again with back-off.
    Away,
}

impl ReplicaState {
    /// The word for tables and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Comparing => "comparing",
            Self::Live => "live",
            Self::Away => "away",
        }
    }
}

/// What a session knows of its replica.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pulse {
    pub(crate) state: ReplicaState,
    pub(crate) replica: Option<ReplicaId>,
    /// Why it is away.
    pub(crate) error: Option<String>,
    /// What can be done about that.
    pub(crate) hint: Option<String>,
    pub(crate) quarantined: u64,
    pub(crate) owners: bool,
    /// Entries of the source listed for the comparison under way, or the last.
    pub(crate) listed: u64,
    /// Whether the listing is complete.
    pub(crate) listing_ended: bool,
    /// Sockets that the last listing of the whole source passed over.
    pub(crate) sockets: u64,
    /// Paths the replica asked for.
    pub(crate) wanted: u64,
    /// Operations the replica has acknowledged.
    pub(crate) done: u64,
    /// Bytes of frames sent.
    pub(crate) bytes: u64,
}

/// A path that is held.
#[derive(Clone, Debug)]
pub struct HeldPath {
    /// Where.
    pub path: RelPath,
    /// Why.
    pub reason: HeldReason,
    /// Number of the system call's error, 0 where there is none.
    pub errno: i32,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
}

/// One replica.
#[derive(Clone, Debug)]
pub struct ReplicaStatus {
    /// As given on the command line.
    pub name: String,
    /// Its identity, once it has been reached.
    pub replica: Option<ReplicaId>,
    /// Where it stands.
    pub state: ReplicaState,
    /// Why it is away.
    pub error: Option<String>,
    /// What can be done about that.
    pub hint: Option<String>,
    /// Age of the oldest change that is not durable there, in milliseconds; `None` before the first comparison.
    pub lag_ms: Option<i64>,
    /// Changes that are not durable there.
    pub backlog: u64,
    /// Paths held, all of them.
    pub held: u64,
    /// The first of them.
    pub held_paths: Vec<HeldPath>,
    /// Large files under way.
    pub large: u64,
    /// Foreign versions in its quarantine.
    pub quarantined: u64,
    /// Whether owners are kept there.
    pub owners: bool,
    /// Entries listed in the comparison under way or the last, and whether that is all of them.
    pub listed: (u64, bool),
    /// Sockets of the source that the last comparison of the whole tree passed over.
    pub sockets: u64,
    /// Paths it asked for, operations it acknowledged, bytes sent, in this visit.
    pub counts: (u64, u64, u64),
    /// What the periodic verifier found of it.
    pub verified: VerifiedRounds,
}

/// How much of the source inotify covers.
#[derive(Clone, Copy, Debug, Default)]
pub struct WatchStatus {
    /// Directories known.
    pub known: u64,
    /// Directories watched.
    pub watched: u64,
    /// Subtrees polled because they cannot be watched.
    pub polled: u64,
    /// Overflows of the kernel's queue since the start.
    pub overflows: u64,
    /// Whether the limit of watches was reached.
    pub limit_reached: bool,
}

/// How a follow verifies by itself.
#[derive(Clone, Debug)]
pub struct VerifyStatus {
    /// How often quickly; `None`: never.
    pub quick_every: Option<Duration>,
    /// In which time deeply; `None`: never.
    pub deep_every: Option<Duration>,
    /// The deep round that is under way, or was the last.
    pub deep: Option<Round>,
}

/// One tree.
#[derive(Clone, Debug)]
pub struct TreeStatus {
    /// Where the source is.
    pub source: PathBuf,
    /// Its identity.
    pub tree: TreeId,
    /// Whether removals flow.
    pub guard: GuardState,
    /// Coverage, where the tree is watched.
    pub watch: Option<WatchStatus>,
    /// How it is verified, where it is followed.
    pub verify: Option<VerifyStatus>,
    /// Whether a scan is under way.
    pub scanning: bool,
    /// Its replicas, in the order given.
    pub replicas: Vec<ReplicaStatus>,
}
