//! What `explain` is answered. Names of files are escaped, as in everything that is said here.

use crate::control::verified::Rounds;
use crate::render::shown_error;
use crate::report::{json, time_text};
use crate::state::shown;
use fulmar_model::{Look, Node, Scope, Sighting, Standing, differences, unescape};
use fulmar_primary::{Explained, Explanation, Finding, Pending, Primary, Work};
use serde::{Deserialize, Serialize};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Everything that is known of a path.
#[derive(Debug, Serialize, Deserialize)]
pub struct Explain {
    /// Of this format.
    pub version: u32,
    /// The source.
    pub source: String,
    /// Relative to it.
    pub path: String,
    /// Whether it is not replicated.
    pub excluded: bool,
    /// Its row of the queue.
    pub change: Option<Change>,
    /// The rows of directories above that speak of what is below them, the nearest first.
    #[serde(default)]
    pub above: Vec<Change>,
    /// What the source has there.
    pub on_source: There,
    /// Each replica.
    pub replicas: Vec<At>,
}

/// A row of the queue.
#[derive(Debug, Serialize, Deserialize)]
pub struct Change {
    /// Where; relative to the source.
    #[serde(default)]
    pub path: String,
    /// Its position.
    pub position: u64,
    /// When the first of the events that it stands for was noticed, in milliseconds since 1970.
    pub first_seen_ms: i64,
    /// Whether it speaks of everything below, too.
    pub whole_subtree: bool,
}

impl From<&fulmar_model::Change> for Change {
    fn from(change: &fulmar_model::Change) -> Self {
        Self {
            path: change.path.to_string(),
            position: change.seq.0,
            first_seen_ms: change.first_seen_ms,
            whole_subtree: change.scope != Scope::Path,
        }
    }
}

/// What one side has.
#[derive(Debug, Serialize, Deserialize)]
pub struct There {
    /// `file`, `directory`, ..., `nothing`, or `unreadable`.
    pub kind: String,
    /// Why it cannot be read.
    pub error: Option<String>,
    /// Bytes of a file.
    pub size: Option<u64>,
    /// BLAKE3 of a file's content, read now.
    pub hash: Option<String>,
    /// Of a symlink.
    pub target: Option<String>,
    /// Four octal digits.
    pub mode: Option<String>,
    /// Numeric.
    pub uid: Option<u32>,
    /// Numeric.
    pub gid: Option<u32>,
    /// RFC 3339.
    pub mtime: Option<String>,
    /// `as recorded`, `changed since it was recorded`, or `corrupt`; null without records.
    pub standing: Option<String>,
    /// The recorded BLAKE3.
    pub recorded_hash: Option<String>,
}

/// One replica.
#[derive(Debug, Serialize, Deserialize)]
pub struct At {
    /// As given.
    pub name: String,
    /// `connecting`, `comparing`, `live` or `away`.
    pub state: String,
    /// Why it is away, or cannot be asked.
    pub error: Option<String>,
    /// Whether it has what the source has.
    pub same: bool,
    /// What differs, as in a report (docs/audit.md).
    pub differences: Vec<serde_json::Value>,
    /// Why it need not have the source's version yet: `queued`, `held`, `content`, `compare`, `again`, `gone`, `doubted`; or null.
    pub pending: Option<String>,
    /// Why it is held.
    pub reason: Option<String>,
    /// How often that was tried.
    pub attempts: Option<u32>,
    /// Since when it is outstanding, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// When it is tried next, in milliseconds since 1970; null: when something else allows it.
    pub retry_ms: Option<i64>,
    /// What the replica has there; null when it cannot be asked.
    pub on_replica: Option<There>,
    /// When it was verified last.
    pub verified: Rounds,
}

/// Asks the primary. The path is absolute, and escaped.
pub async fn answer(path: &str, primary: &Primary) -> Result<Explain, String> {
    let source = primary.status().await.map_err(|error| error.to_string())?.source;
    let bytes = unescape(path).ok_or("a path that is not escaped as it should be")?;
    let absolute = Path::new(std::ffi::OsStr::from_bytes(&bytes));
    let below = absolute
        .strip_prefix(&source)
        .map_err(|_| format!("{path} is not in {}, which is followed here", shown(&source)))?;
    let path = fulmar_model::RelPath::parse(below.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    let explanation = primary.explain(path).await.map_err(|error| error.to_string())?;
    Ok(Explain::of(&source, &explanation))
}

impl Explain {
    fn of(source: &Path, explanation: &Explanation) -> Self {
        let Explanation { path, excluded, change, above, source: look, replicas } = explanation;
        let (change, above) = (change.as_ref().map(Change::from), above.iter().map(Change::from).collect());
        let replicas = replicas.iter().map(|replica| At::of(explanation, replica)).collect();
        let (source, path, on_source) = (shown(source), path.to_string(), There::of(look));
        Self { version: 1, source, path, excluded: *excluded, change, above, on_source, replicas }
    }
}

impl There {
    fn of(look: &Look) -> Self {
        let (kind, error, entry) = match &look.what {
            Sighting::Absent => ("nothing", None, None),
            Sighting::Unreadable { errno } => ("unreadable", Some(shown_error(*errno)), None),
            Sighting::There { entry, .. } => (entry.node.kind().word(), None, Some(entry)),
        };
        let recorded = look.recorded.as_ref();
        let standing = recorded.map(|recorded| match recorded.standing {
            Standing::Kept => "as recorded",
            Standing::Changed => "changed since it was recorded",
            Standing::Corrupt => "corrupt",
        });
        let node = entry.map(|entry| &entry.node);
        Self {
            kind: kind.to_owned(),
            error,
            size: node.and_then(|node| if let Node::File { size, .. } = node { Some(*size) } else { None }),
            hash: entry.and_then(|entry| entry.hash()).map(|hash| hash.to_string()),
            target: node.and_then(|node| match node {
                Node::Symlink { target } => Some(fulmar_model::escape(target).to_string()),
                _ => None,
            }),
            mode: entry.map(|entry| format!("{:04o}", entry.mode)),
            uid: entry.map(|entry| entry.uid),
            gid: entry.map(|entry| entry.gid),
            mtime: entry.map(|entry| time_text(entry.mtime)),
            standing: standing.map(str::to_owned),
            recorded_hash: recorded.and_then(|recorded| recorded.hash).map(|hash| hash.to_string()),
        }
    }
}

impl At {
    fn of(explanation: &Explanation, replica: &Explained) -> Self {
        let (path, source) = (&explanation.path, &explanation.source);
        let there = replica.look.as_ref();
        let differences = there.map(|look| differences(path, &source.what, &look.what)).unwrap_or_default();
        let line = |difference| json::finding(&replica.name, &Finding::Difference(difference, None));
        let asked = there.as_ref().err().map(|error| error.to_string());
        let left = replica.left.as_ref();
        let (pending, reason) = match replica.pending {
            None => (None, None),
            Some(Pending::Queued) => (Some("queued"), None),
            Some(Pending::Left(Work::Held { reason, .. })) => (Some("held"), Some(reason.to_string())),
            Some(Pending::Left(Work::Content)) => (Some("content"), None),
            Some(Pending::Left(Work::Compare)) => (Some("compare"), None),
            Some(Pending::Left(Work::Again)) => (Some("again"), None),
            Some(Pending::Left(Work::Gone { .. })) => (Some("gone"), None),
            Some(Pending::Left(Work::Doubted)) => (Some("doubted"), None),
        };
        Self {
            name: replica.name.clone(),
            state: replica.state.word().to_owned(),
            error: replica.error.clone().or(asked),
            same: replica.is_same(path, source),
            differences: differences.into_iter().map(line).collect(),
            pending: pending.map(str::to_owned),
            reason,
            attempts: left.map(|left| left.attempts),
            since_ms: left.map(|left| left.since_ms),
            retry_ms: left.map(|left| left.retry_ms).filter(|ms| *ms != i64::MAX),
            on_replica: there.ok().map(There::of),
            verified: Rounds::from(&replica.verified),
        }
    }
}
