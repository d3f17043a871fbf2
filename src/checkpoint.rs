//! How far an audit is: a file that the auditor names, so that one that was interrupted goes on. docs/audit.md lists its lines.
//!
//! JSON Lines: a head; findings as they come, in the form of a report; and after each slice a mark, with its end, what came of it for each
//! replica, and how many findings are its own. What stands before a mark is on the disk before the mark is written, so what stands
//! behind the last one, of a slice that did not come to its end, is dropped. A file that does not begin as one of these is left
//! as it is; one that is damaged further up is refused.

use crate::exit::{Failure, Result};
use crate::render::say;
use crate::report::{self, json};
use crate::state::{pasted, shown};
use fulmar_model::{Device, Kind, RelPath, RootId, Tally, Timestamp, Value as Told, escape};
use fulmar_primary::{Finding, Verdict};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Of the format. Also to be raised when what is compared can be chosen in a further way.
const VERSION: u32 = 1;
/// How the head begins.
const BEGINNING: &[u8] = br#"{"type":"checkpoint","version":1,"#;
/// Bytes of a line. What is found at one path takes less, but for link groups of thousands of the longest names.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Directories that only one side has, and that are in several slices, of which it is put together how much is in them.
const DIRECTORIES_MAX: usize = 100_000;

/// What is audited, and whatever decides what is compared. Text is escaped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Subject {
    /// What this machine calls itself.
    pub host: String,
    /// Path of the source.
    pub source: String,
    /// Its root.
    pub root: Root,
    /// The replicas as they were typed.
    pub replicas: Vec<String>,
    /// Kind of tree.
    pub profile: String,
    /// Further exclusions.
    pub exclude: Vec<String>,
}

/// Identity of a directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Root {
    /// Major and minor number of its device.
    device: [u32; 2],
    inode: u64,
    /// Seconds and nanoseconds since 1970, where its file system tells; a device may be numbered anew at every boot.
    born: Option<(i64, u32)>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    r#type: String,
    version: u32,
    began: String,
    #[serde(flatten)]
    subject: Subject,
}

/// Up to where an audit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// The directories behind this one are left; `None`: all of them.
    Behind(Option<RelPath>),
    /// Which names are one file, and mailboxes.
    Rest,
    /// Everything is compared, and to be reported.
    Over,
}

/// What is known of an audit from its marks.
#[derive(Clone, Debug)]
struct Reached {
    position: Position,
    /// Of each replica; empty before the first mark.
    totals: Vec<Verdict>,
    /// Those that came to a mark.
    sittings: u64,
    /// Bytes up to the last mark and with it.
    kept: u64,
}

/// The file.
pub struct Checkpoint {
    path: PathBuf,
    file: BufWriter<File>,
    began: String,
    replicas: Vec<String>,
    reached: Reached,
    /// Number of this sitting.
    sitting: u64,
    /// Findings since the last mark.
    findings: u64,
}

/// What is wrong with a file.
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    Foreign,
    Newer,
    Damaged { line: u64 },
    Other(&'static str),
    Unread(std::io::ErrorKind),
}

impl Checkpoint {
    /// Opens the file, or makes it; `began`: this moment, where it begins. Nobody else may use it meanwhile.
    pub fn open(path: &Path, subject: Subject, began: String) -> Result<Self> {
        let failed = |error: std::io::Error| {
            let error = anyhow::Error::new(error).context(format!("open the checkpoint {}", shown(path)));
            Failure::failed(error).hint("name a file, or a name where a file can be made: --resume ~/audit.checkpoint")
        };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mut file = match rustix::fs::open(path, flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => File::from(file),
            Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Err(refused(path, &Wrong::Foreign)),
            Err(errno) => return Err(failed(errno.into())),
        };
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(refused(path, &Wrong::Foreign));
        }
        // Who removes it as we open it has it locked.
        let locked = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        if !locked || file.metadata().map_err(failed)?.nlink() == 0 {
            return Err(Failure::failed(anyhow::anyhow!("another fulmar uses the checkpoint {}", shown(path)))
                .hint(format!("wait until it has ended, or see who it is: fuser -v {}", pasted(&shown(path)))));
        }
        let known = read(&mut BufReader::new(&file), &subject).map_err(|wrong| refused(path, &wrong))?;
        let (began, reached) = match known {
            Some(known) => known,
            None => {
                let reached = begin(&mut file, &subject, &began).map_err(failed)?;
                sync_name(path);
                (began, reached)
            }
        };
        let behind = file.set_len(reached.kept).and_then(|()| file.seek(SeekFrom::Start(reached.kept)));
        behind.map_err(failed)?;
        let sitting = reached.sittings.saturating_add(1);
        let (path, file) = (path.to_owned(), BufWriter::new(file));
        Ok(Self { path, file, began, replicas: subject.replicas, reached, sitting, findings: 0 })
    }

    /// Up to where it is.
    pub fn position(&self) -> &Position {
        &self.reached.position
    }

    /// What came of what is compared, for each replica; empty: nothing is.
    pub fn totals(&self) -> &[Verdict] {
        &self.reached.totals
    }

    /// When it began, as RFC 3339.
    pub fn began(&self) -> &str {
        &self.began
    }

    /// In how many sittings it came so far; those in which nothing was finished do not count.
    pub fn sittings(&self) -> u64 {
        self.reached.sittings
    }

    /// Keeps what was found on a replica, once a mark follows.
    pub fn note(&mut self, replica: &str, finding: &Finding) -> Result<()> {
        let line = json::finding(replica, finding).to_string();
        if line.len() as u64 >= LINE_BYTES_MAX {
            let (path, most) = (line.get(..200).unwrap_or_default(), crate::render::bytes(LINE_BYTES_MAX));
            return Err(Failure::failed(anyhow::anyhow!("a finding takes more than {most}: {path}..."))
                .hint("an audit without --resume can tell it"));
        }
        self.findings = self.findings.saturating_add(1);
        writeln!(self.file, "{line}").map_err(|error| self.unwritten(error))
    }

    /// Everything up to `position` is compared, with these verdicts: of a slice, or, at the end, of everything. On the disk when it
    /// returns.
    pub fn mark(&mut self, position: Position, verdicts: Vec<Verdict>) -> Result<()> {
        let before = self.reached.totals.iter().zip(&self.replicas);
        for ((before, name), verdict) in before.zip(&verdicts) {
            let place = |verdict: &Verdict| format!("{}:{}", escape(&verdict.host), escape(&verdict.root));
            if place(before) != place(verdict) {
                return Err(Failure::usage(format!(
                    "the replica {name} is {}, and the one that was compared before is {}",
                    place(verdict),
                    place(before)
                ))
                .hint("name another FILE to begin anew"));
            }
        }
        let (kind, upto) = match &position {
            Position::Behind(upto) => ("slice", upto.as_ref().map(ToString::to_string)),
            Position::Rest => ("slice", None),
            Position::Over => ("rest", None),
        };
        let of_each = self.replicas.iter().zip(&verdicts);
        let replicas: Vec<Value> = of_each.map(|(name, verdict)| json::replica(name, &Ok(verdict.clone()))).collect();
        let line = json!({
            "type": kind, "sitting": self.sitting, "upto": upto, "findings": self.findings, "replicas": replicas
        });
        self.write_mark(&format!("{line}\n")).map_err(|error| self.unwritten(error))?;
        self.reached.advance(position, verdicts);
        self.reached.sittings = self.sitting;
        self.findings = 0;
        Ok(())
    }

    fn write_mark(&mut self, line: &str) -> std::io::Result<()> {
        self.file.flush()?;
        // A power cut must not take a part of what is in front of a mark.
        self.file.get_ref().sync_data()?;
        self.file.write_all(line.as_bytes())?;
        self.file.flush()?;
        self.file.get_ref().sync_data()?;
        self.reached.kept = self.file.stream_position()?;
        Ok(())
    }

    fn unwritten(&self, error: std::io::Error) -> Failure {
        Failure::failed(anyhow::Error::new(error).context(format!("write the checkpoint {}", shown(&self.path))))
    }

    /// Everything that was found in front of the last mark, with the index of the replica. What slices have of a directory that only
    /// one side has is put together, for [`DIRECTORIES_MAX`] of them.
    pub fn findings(&mut self, mut each: impl FnMut(usize, Finding) -> Result<()>) -> Result<()> {
        let mut further: HashMap<(usize, RelPath), Tally> = HashMap::new();
        self.each_finding(|replica, finding| {
            if let Finding::Further { path, tally } = finding {
                let (at, room) = ((replica, path), further.len() < DIRECTORIES_MAX);
                match further.get_mut(&at) {
                    Some(known) => known.add(tally),
                    None if room => drop(further.insert(at, tally)),
                    None => {}
                }
            }
            Ok(())
        })?;
        self.each_finding(|replica, mut finding| {
            match &mut finding {
                Finding::Further { .. } => return Ok(()),
                Finding::Difference(difference, _) if !further.is_empty() => {
                    for value in [&mut difference.source, &mut difference.replica] {
                        if let Told::Entry { kind: Kind::Directory, below, .. } = value
                            && let Some(more) = further.get(&(replica, difference.path.clone()))
                        {
                            below.get_or_insert_default().add(*more);
                        }
                    }
                }
                _ => {}
            }
            each(replica, finding)
        })
    }

    fn each_finding(&mut self, mut each: impl FnMut(usize, Finding) -> Result<()>) -> Result<()> {
        let unread = |path: &Path, error: std::io::Error| refused(path, &Wrong::Unread(error.kind()));
        self.file.flush().map_err(|error| self.unwritten(error))?;
        let mut file = self.file.get_ref();
        file.rewind().map_err(|error| unread(&self.path, error))?;
        let mut lines = BufReader::new(file.take(self.reached.kept));
        let mut number = 0;
        while let Some(line) = next_line(&mut lines).map_err(|error| unread(&self.path, error))? {
            number += 1;
            match Line::parse(&line, &self.replicas) {
                Some(Line::Finding(replica, finding)) => each(replica, *finding)?,
                Some(Line::Mark(_)) => {}
                None if number == 1 => {}
                None => return Err(refused(&self.path, &Wrong::Damaged { line: number })),
            }
        }
        self.file.seek(SeekFrom::Start(self.reached.kept)).map_err(|error| unread(&self.path, error))?;
        Ok(())
    }

    /// It has done its service; an audit of the same begins anew. Says so when it cannot be done.
    pub fn remove(self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            let path = shown(&self.path);
            say(format_args!("warning: the checkpoint {path} cannot be removed: {error}"));
            say(format_args!("hint: the same command would print the same report again; rm {}", pasted(&path)));
        }
    }
}

impl Reached {
    fn nothing(kept: u64) -> Self {
        Self { position: Position::Behind(None), totals: Vec::new(), sittings: 0, kept }
    }

    fn advance(&mut self, position: Position, verdicts: Vec<Verdict>) {
        if position == Position::Over || self.totals.is_empty() {
            // What comes last is about everything.
            self.totals = verdicts;
        } else {
            self.totals.iter_mut().zip(&verdicts).for_each(|(total, slice)| total.add(slice));
        }
        self.position = position;
    }

    /// Whether an audit that is here can be there next.
    fn can_reach(&self, next: &Position) -> bool {
        match (&self.position, next) {
            (Position::Behind(after), Position::Behind(Some(upto))) => {
                after.as_ref().is_none_or(|after| after.walk_cmp(upto).is_lt())
            }
            (Position::Behind(_), Position::Rest) | (Position::Rest, Position::Over) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Behind(None) => f.write_str("nothing"),
            Self::Behind(Some(upto)) => write!(f, "up to {upto}"),
            Self::Rest => f.write_str("all but which names are one file, and mailboxes"),
            Self::Over => f.write_str("which is everything"),
        }
    }
}

/// What a line behind the head says.
enum Line {
    Finding(usize, Box<Finding>),
    Mark(Box<Mark>),
}

struct Mark {
    position: Position,
    sitting: u64,
    findings: u64,
    verdicts: Vec<Verdict>,
}

impl Line {
    /// `None`: it says nothing that makes sense.
    fn parse(bytes: &[u8], replicas: &[String]) -> Option<Self> {
        let line: Value = serde_json::from_slice(bytes).ok()?;
        let position = match line["type"].as_str()? {
            "slice" if line["upto"].is_null() => Position::Rest,
            "slice" => Position::Behind(Some(report::path(&line["upto"])?)),
            "rest" => Position::Over,
            _ => {
                let (name, finding) = report::finding(&line)?;
                let replica = replicas.iter().position(|replica| *replica == name)?;
                return Some(Self::Finding(replica, Box::new(finding)));
            }
        };
        let told = report::reported(&line)?;
        let named = told.iter().map(|told| &told.replica).eq(replicas);
        let verdicts: Option<Vec<Verdict>> = told.into_iter().map(|told| told.verdict.ok()).collect();
        let (sitting, findings) = (line["sitting"].as_u64()?, line["findings"].as_u64()?);
        Some(Self::Mark(Box::new(Mark { position, sitting, findings, verdicts: verdicts.filter(|_| named)? })))
    }
}

/// When it began and what is reached; `None`: nothing is, or there was no time to begin. Only reads.
fn read(from: &mut impl BufRead, subject: &Subject) -> std::result::Result<Option<(String, Reached)>, Wrong> {
    let unread = |error: std::io::Error| Wrong::Unread(error.kind());
    let Some(first) = next_line(from).map_err(unread)? else { return Ok(None) };
    if !first.ends_with(b"\n") {
        let is_cut = BEGINNING.starts_with(&first) || first.starts_with(BEGINNING);
        return if is_cut { Ok(None) } else { Err(Wrong::Foreign) };
    }
    let head = head(&first)?;
    let (mut reached, mut at, mut number) = (Reached::nothing(first.len() as u64), first.len() as u64, 1u64);
    let (mut findings, mut odd) = (0u64, None);
    while let Some(line) = next_line(from).map_err(unread)? {
        number = number.saturating_add(1);
        at = at.saturating_add(line.len() as u64);
        // The last one may have been cut by the end of whoever wrote it, and what stands behind the last mark by a power cut.
        match Line::parse(&line, &head.subject.replicas).filter(|_| line.ends_with(b"\n")) {
            Some(Line::Finding(..)) => findings = findings.saturating_add(1),
            Some(Line::Mark(mark)) => {
                let sound = mark.findings == findings && reached.can_reach(&mark.position) && odd.is_none();
                if !sound {
                    return Err(Wrong::Damaged { line: odd.unwrap_or(number) });
                }
                reached.advance(mark.position, mark.verdicts);
                (reached.sittings, reached.kept, findings) = (reached.sittings.max(mark.sitting), at, 0);
            }
            None => odd = odd.or(Some(number)),
        }
    }
    if reached.totals.is_empty() {
        return Ok(None);
    }
    match head.subject.differs(subject) {
        Some(what) => Err(Wrong::Other(what)),
        None => Ok(Some((head.began, reached))),
    }
}

fn head(line: &[u8]) -> std::result::Result<Head, Wrong> {
    let value: Value = serde_json::from_slice(line).map_err(|_| Wrong::Foreign)?;
    if value["type"] != "checkpoint" {
        return Err(Wrong::Foreign);
    }
    if value["version"].as_u64().is_some_and(|version| version > VERSION.into()) {
        return Err(Wrong::Newer);
    }
    let head: Head = serde_json::from_value(value).map_err(|_| Wrong::Damaged { line: 1 })?;
    // It is printed.
    let is_time = head.began.len() <= 40 && head.began.parse::<jiff::Timestamp>().is_ok();
    if is_time { Ok(head) } else { Err(Wrong::Damaged { line: 1 }) }
}

/// With its end; `None`: there is none. One that is longer than it may be is cut, and says nothing.
fn next_line(from: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    Ok(Some(line).filter(|line| !line.is_empty()))
}

/// Writes the head to a file in which nothing is worth keeping.
fn begin(file: &mut File, subject: &Subject, began: &str) -> std::io::Result<Reached> {
    let (r#type, began) = ("checkpoint".to_owned(), began.to_owned());
    let head = Head { r#type, version: VERSION, began, subject: subject.clone() };
    let line = format!("{}\n", serde_json::to_string(&head)?);
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(line.as_bytes())?;
    file.sync_all()?;
    Ok(Reached::nothing(line.len() as u64))
}

/// Makes it last that there is such a file. Some file systems cannot; then a power cut in the next seconds takes nothing but its beginning.
fn sync_name(path: &Path) {
    let above = path.parent().unwrap_or(Path::new("/"));
    if let Err(error) = File::open(above).and_then(|above| above.sync_all()) {
        tracing::debug!(%error, "the directory of the checkpoint cannot be synced");
    }
}

impl Subject {
    /// What is not the same.
    fn differs(&self, now: &Self) -> Option<&'static str> {
        [
            ("host", self.host == now.host),
            ("source", self.source == now.source && self.root.id().is_same(&now.root.id())),
            ("set of replicas", self.replicas == now.replicas),
            ("profile", self.profile == now.profile),
            ("set of patterns", self.exclude == now.exclude),
        ]
        .into_iter()
        .find_map(|(what, same)| (!same).then_some(what))
    }
}

impl Root {
    /// That of a directory.
    pub fn of(root: &RootId) -> Self {
        let Device { major, minor } = root.device;
        Self { device: [major, minor], inode: root.inode, born: root.born.map(|born| (born.seconds, born.nanos)) }
    }

    fn id(&self) -> RootId {
        let [major, minor] = self.device;
        let born = self.born.map(|(seconds, nanos)| Timestamp::new(seconds, nanos));
        RootId { device: Device { major, minor }, inode: self.inode, born }
    }
}

fn refused(path: &Path, wrong: &Wrong) -> Failure {
    let (text, file) = (shown(path), pasted(&shown(path)));
    match wrong {
        Wrong::Foreign => Failure::usage(format!("{text} is something else than a checkpoint, and was left as it is"))
            .hint("name another FILE, which need not exist"),
        Wrong::Newer => Failure::usage(format!("the checkpoint {text} was written by a newer fulmar"))
            .hint("use that one, or name another FILE to begin anew"),
        Wrong::Damaged { line } => Failure::usage(format!("the checkpoint {text} is damaged in line {line}"))
            .hint(format!("begin anew: rm {file}, or name another FILE")),
        Wrong::Other("source") => Failure::usage(format!("the checkpoint {text} is of another source"))
            .hint("name another FILE, or the source as it was then; the directory itself must be the same"),
        Wrong::Other(what) => Failure::usage(format!("the checkpoint {text} is of an audit with another {what}"))
            .hint(format!("name another FILE, or the options as they were then: head -n 1 {file}")),
        Wrong::Unread(kind) => Failure::failed(
            anyhow::Error::new(std::io::Error::from(*kind)).context(format!("read the checkpoint {text}")),
        ),
    }
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
