//! Reports of an audit, in reading order: what is kept of the findings (`gather`), how a value and a mailbox read (`value`, `mail`), and the three
//! forms (`table`, `json`, `html`); `progress` while it lasts.

mod gather;
pub mod html;
pub mod json;
mod mail;
mod progress;
pub mod table;
mod value;

pub use gather::Gathered;
pub use progress::Progress;

use fulmar_primary::Verdict;

/// An audit of one replica that has come to its end.
pub struct Audit {
    /// The replica as it was typed.
    pub replica: String,
    /// What came of it; a failure for people when nothing did.
    pub verdict: Result<Verdict, String>,
    /// What was found.
    pub gathered: Gathered,
}

/// What all replicas have in common.
pub struct Header {
    /// What this machine calls itself.
    pub host: String,
    /// The source.
    pub source: String,
    /// When it began, as RFC 3339.
    pub began: String,
    /// How many paths of a directory, and how many directories, are shown.
    pub limit: usize,
}

/// "1 difference", "2 differences".
fn counted(count: u64, what: &str) -> String {
    match what {
        _ if count == 1 => format!("{count} {what}"),
        _ if what.ends_with('x') => format!("{count} {what}es"),
        _ if what.ends_with('y') => format!("{count} {}ies", what.trim_end_matches('y')),
        _ => format!("{count} {what}s"),
    }
}

/// What was not looked into, in words; empty when everything was.
fn coverage(verdict: &Verdict) -> Vec<String> {
    let mut notes = Vec::new();
    for (side, coverage) in [("source", verdict.source), ("replica", verdict.replica)] {
        if coverage.mounts > 0 {
            notes.push(format!("{} of the {side} not entered", counted(coverage.mounts, "mount point")));
        }
    }
    if !verdict.links {
        notes.push("hard-link groups were not compared, or not all: there are too many names".to_owned());
    }
    if !verdict.trusted {
        notes.push("trusted.* attributes were not compared: not both sides run as root".to_owned());
    }
    notes
}
