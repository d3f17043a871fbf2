//! Reports of an audit, in reading order: what is kept of the findings (`gather`), how a value and a mailbox read (`value`, `mail`), and the
//! three forms (`table`, `json`, `html`); `parse` reads what a running `follow` tells in the second; `progress` while it lasts.

mod gather;
pub mod html;
pub mod json;
mod mail;
mod parse;
mod progress;
pub mod table;
mod value;

pub use gather::Gathered;
pub use parse::{Reported, finding, path, reported};
pub use progress::{Bars, Picture, Progress, Stage};
pub use value::{text as value_text, time_text};

use crate::render::bytes;
use fulmar_model::{Blame, Depth};
use fulmar_primary::{Verdict, Why};

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
    /// How it was asked of a running `follow`; `None` of an audit that stands alone.
    pub beside: Option<Beside>,
    /// In how many sittings it was made; `None` where there is but one.
    pub sittings: Option<u64>,
}

/// What a running `follow` was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beside {
    /// How closely.
    pub depth: Depth,
    /// Whether what differs is repaired.
    pub repair: bool,
}

/// What there is to say of a difference besides what it is; empty where nothing is known.
fn blamed(why: Option<Why>) -> String {
    let Some(Why { blame, good_copy, repaired }) = why else { return String::new() };
    let copy = if good_copy && blame == Blame::CorruptSource { ", the replica has the good copy" } else { "" };
    let done = match repaired {
        Some(true) => ", repaired",
        Some(false) => ", not repaired",
        None => "",
    };
    format!("{}{copy}{done}", blame.word())
}

/// What was read and how, for the last line of a report.
fn how(verdict: &Verdict) -> String {
    let tally = verdict.source.tally;
    let (files, size) = (counted(tally.files, "file"), bytes(tally.bytes));
    match verdict.depth {
        Some(Depth::Quick) => {
            let read = [verdict.source.read, verdict.replica.read].map(|read| bytes(read.unwrap_or(0)));
            format!("{files} ({size}) and all metadata, of which {} and {} had to be read", read[0], read[1])
        }
        Some(Depth::Deep) | None => format!("every byte of {files} ({size}) and all metadata"),
    }
}

/// In how many sittings it was made and since when; empty where that goes without saying.
fn sat(header: &Header) -> String {
    match header.sittings {
        Some(sittings) => format!(", in {} since {}", counted(sittings, "sitting"), header.began),
        None => String::new(),
    }
}

/// This moment, as RFC 3339.
pub fn began() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// "1 difference", "2 differences".
pub fn counted(count: u64, what: &str) -> String {
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
    if verdict.recalls == Some(false) {
        notes.push("the replica has no records of this tree: it was read".to_owned());
    }
    if !verdict.links {
        notes.push("hard-link groups were not compared, or not all: there are too many names".to_owned());
    }
    if !verdict.trusted {
        notes.push("trusted.* attributes were not compared: not both sides run as root".to_owned());
    }
    notes
}
