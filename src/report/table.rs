//! The report for a person at a terminal.

use super::value::text;
use super::{Audit, Gathered, Header, blamed, counted, coverage, how, mail, sat};
use crate::render::{bytes, shown_error};
use fulmar_model::RelPath;
use fulmar_primary::{Coverage, Outcome, Verdict};
use std::fmt::Write;

/// Everything about one replica.
pub fn table(header: &Header, audit: &Audit) -> String {
    let mut out = String::new();
    // Writing to memory cannot fail.
    let _ = write_table(&mut out, header, audit);
    out
}

fn write_table(out: &mut String, header: &Header, audit: &Audit) -> std::fmt::Result {
    let verdict = match &audit.verdict {
        Ok(verdict) => verdict,
        Err(error) => return writeln!(out, "FAILED: {}: {error}", audit.replica),
    };
    differences(out, header, audit)?;
    let gathered = &audit.gathered;
    if gathered.busy_count > 0 {
        writeln!(out, "busy: changed each time they were looked at, so nothing can be said ({})", gathered.busy_count)?;
        gathered.busy.iter().try_for_each(|path| writeln!(out, "  {path}"))?;
        more(out, gathered.busy_count, gathered.busy.len())?;
    }
    mailboxes(out, gathered, verdict)?;
    if verdict.arriving > 0 {
        writeln!(out, "arriving: on their way to the replica, or held ({})", verdict.arriving)?;
        for (path, held) in &gathered.arriving {
            match held {
                Some(reason) => writeln!(out, "  {path}: held: {reason}")?,
                None => writeln!(out, "  {path}")?,
            }
        }
        more(out, verdict.arriving, gathered.arriving.len())?;
    }
    if verdict.corrupt > 0 {
        writeln!(out, "corrupt on the source: the content has changed without a write ({})", verdict.corrupt)?;
        for (path, recorded, good_copy) in &gathered.corrupt {
            let copy = if *good_copy { "the replica has the good copy" } else { "the replica does not have it" };
            writeln!(out, "  {path}: was {}; {copy}", recorded.short())?;
        }
        more(out, verdict.corrupt, gathered.corrupt.len())?;
    }
    let unread = verdict.unread();
    if unread > 0 {
        writeln!(out, "unreadable ({unread})")?;
        for (side, unread) in &gathered.unread {
            writeln!(out, "  on the {}: {}: {}", side.word(), unread.path, shown_error(unread.errno))?;
        }
        more(out, unread, gathered.unread.len())?;
    }
    side(out, "source", &format!("{}:{}", header.host, header.source), verdict.source)?;
    side(out, "replica", &place(verdict), verdict.replica)?;
    if let Some(census) = verdict.mailboxes {
        writeln!(out, "mail     {}", mail::census(census))?;
    }
    coverage(verdict).iter().try_for_each(|note| writeln!(out, "note     {note}"))?;
    writeln!(out, "{}", summary(header, audit, verdict))
}

fn differences(out: &mut String, header: &Header, audit: &Audit) -> std::fmt::Result {
    let directories = audit.gathered.directories();
    for (directory, group) in directories.iter().take(header.limit) {
        writeln!(out, "{}  ({})", shown(directory), counted(group.paths, "path"))?;
        let mut paths = 0;
        let mut last: Option<&RelPath> = None;
        for (difference, why) in &group.shown {
            if last != Some(&difference.path) {
                (paths, last) = (paths + 1, Some(&difference.path));
                let name = difference.path.split().map_or_else(|| ".".to_owned(), |(_, name)| name.to_string());
                writeln!(out, "  {name}")?;
            }
            let (source, replica) = (text(&difference.source), text(&difference.replica));
            let blamed = match blamed(*why) {
                blamed if blamed.is_empty() => blamed,
                blamed => format!(" ({blamed})"),
            };
            writeln!(out, "    {:11}  source {source}; replica {replica}{blamed}", difference.aspect.word())?;
        }
        more(out, group.paths, paths)?;
    }
    let hidden: u64 = directories.iter().skip(header.limit).map(|(_, group)| group.paths).sum();
    let hidden = hidden + audit.gathered.elsewhere;
    if hidden > 0 {
        writeln!(
            out,
            "and {} more in other directories (--limit shows more, --format json all)",
            counted(hidden, "path")
        )?;
    }
    Ok(())
}

fn mailboxes(out: &mut String, gathered: &Gathered, verdict: &Verdict) -> std::fmt::Result {
    let Some(census) = verdict.mailboxes.filter(|census| census.troubled > 0) else { return Ok(()) };
    writeln!(out, "mailboxes in which something is wrong ({} of {})", census.troubled, census.count)?;
    for troubled in &gathered.mailboxes {
        let [source, replica] = &*troubled.sides;
        writeln!(out, "  {}", troubled.path)?;
        writeln!(out, "    source {}; replica {}", mail::side(source.as_ref()), mail::side(replica.as_ref()))?;
        mail::lines(&troubled.troubles, &troubled.sides).iter().try_for_each(|line| writeln!(out, "    {line}"))?;
    }
    more(out, census.troubled, gathered.mailboxes.len())
}

/// A directory as a person reads it.
fn shown(directory: &RelPath) -> String {
    if directory.is_root() { "./".to_owned() } else { format!("{directory}/") }
}

fn more(out: &mut String, all: u64, shown: usize) -> std::fmt::Result {
    match all.saturating_sub(shown as u64) {
        0 => Ok(()),
        more => writeln!(out, "  and {more} more"),
    }
}

fn side(out: &mut String, word: &str, place: &str, coverage: Coverage) -> std::fmt::Result {
    let tally = coverage.tally;
    let (entries, files) = (counted(tally.entries, "entry"), counted(tally.files, "file"));
    writeln!(out, "{word:8} {place}: {entries}, {files}, {}", bytes(tally.bytes))
}

/// Where a replica says that it is.
pub fn place(verdict: &Verdict) -> String {
    format!("{}:{}", fulmar_model::escape(&verdict.host), fulmar_model::escape(&verdict.root))
}

/// The last line.
pub fn summary(header: &Header, audit: &Audit, verdict: &Verdict) -> String {
    let how = format!("{}, in {:.1} s{}", how(verdict), verdict.took.as_secs_f64(), sat(header));
    if verdict.is_equal() {
        let repaired = match verdict.repaired {
            0 => String::new(),
            repaired => format!(", after {}", counted(repaired, "repair")),
        };
        return format!("EQUAL: {} is the same as {}{repaired}: {how}", audit.replica, header.source);
    }
    let count = verdict.difference_count();
    let mut found = if count == 0 { "no difference found".to_owned() } else { counted(count, "difference") };
    for (number, word) in [(verdict.repaired, "repaired"), (verdict.corrupt, "corrupt"), (verdict.arriving, "arriving")]
    {
        if number > 0 {
            found = format!("{found}, {number} {word}");
        }
    }
    let word = if verdict.outcome() == Outcome::Open { "NOT CERTAIN" } else { "DIFFERENT" };
    let unread = verdict.unread();
    format!(
        "{word}: {} against {}: {found}, {} busy, {unread} unreadable; {how}",
        audit.replica, header.source, verdict.busy
    )
}
