//! The report to hand to an auditor: one page that needs nothing else, on paper, a phone or a screen, light or dark.

use super::table::place;
use super::value::text;
use super::{Audit, Beside, Header, blamed, counted, coverage, mail};
use crate::render::{bytes, shown_error};
use fulmar_model::{Aspect, Depth, RelPath};
use fulmar_primary::{Coverage, Outcome, Verdict};
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub fn page(header: &Header, audits: &[Audit]) -> String {
    let mut out = String::new();
    // Writing to memory cannot fail.
    let _ = write_page(&mut out, header, audits);
    out
}

fn write_page(out: &mut String, header: &Header, audits: &[Audit]) -> std::fmt::Result {
    let source = html(&format!("{}:{}", header.host, header.source));
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Audit of {source}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>Audit of <span class=\"name\">{source}</span></h1>\n\
         <p>Begun {} by fulmar {}{}. {}</p>\n",
        html(&header.began),
        env!("CARGO_PKG_VERSION"),
        header.sittings.map_or(String::new(), |sittings| format!(", in {}", counted(sittings, "sitting"))),
        method(header.beside)
    )?;
    audits.iter().try_for_each(|audit| section(out, header, audit))?;
    out.write_str("</main>\n</body>\n</html>\n")
}

fn method(beside: Option<Beside>) -> String {
    let read = match beside.map(|beside| beside.depth) {
        Some(Depth::Quick) => {
            "All metadata were compared; content was read only where no record of a side vouched for it by unchanged stat data"
        }
        Some(Depth::Deep) | None => "Every byte of every file and all metadata were read on both sides and compared",
    };
    let done = if beside.is_some_and(|beside| beside.repair) {
        "what differed was to be repaired"
    } else {
        "nothing was changed"
    };
    format!("{read}; {done}.")
}

fn section(out: &mut String, header: &Header, audit: &Audit) -> std::fmt::Result {
    let name = html(&audit.replica);
    let verdict = match &audit.verdict {
        Ok(verdict) => verdict,
        Err(error) => {
            let (class, word) = ("bad", "failed");
            return write!(
                out,
                "<section>\n<h2 class=\"name\">{name}</h2>\n<p class=\"verdict {class}\">{word}</p>\n<p>{}</p>\n</section>\n",
                html(error)
            );
        }
    };
    let (class, word) = match verdict.outcome() {
        Outcome::Equal => ("good", "equal"),
        Outcome::Open => ("open", "not certain"),
        Outcome::Different => ("bad", "different"),
    };
    write!(out, "<section>\n<h2 class=\"name\">{name}</h2>\n<p class=\"verdict {class}\">{word}</p>\n")?;
    facts(out, header, verdict)?;
    by_kind(out, verdict)?;
    directories(out, header, audit)?;
    mailboxes(out, audit, verdict)?;
    others(out, audit, verdict)?;
    out.write_str("</section>\n")
}

fn facts(out: &mut String, header: &Header, verdict: &Verdict) -> std::fmt::Result {
    out.write_str("<h3>What was compared</h3>\n<dl>\n")?;
    let mut fact = |term: &str, text: &str| writeln!(out, "<dt>{term}</dt><dd>{}</dd>", html(text));
    fact("Source", &format!("{}:{}", header.host, header.source))?;
    fact("", &side(verdict.source))?;
    fact("Replica", &place(verdict))?;
    fact("", &side(verdict.replica))?;
    fact("Took", &format!("{:.1} s", verdict.took.as_secs_f64()))?;
    if let Some(census) = verdict.mailboxes {
        fact("Mail", &mail::census(census))?;
    }
    let notes = coverage(verdict);
    let complete = verdict.unread() == 0 && verdict.busy == 0;
    if notes.is_empty() && complete && verdict.arriving == 0 {
        fact("Coverage", "complete")?;
    }
    notes.iter().try_for_each(|note| fact("Note", note))?;
    out.write_str("</dl>\n")
}

fn side(coverage: Coverage) -> String {
    let tally = coverage.tally;
    let (entries, files) = (counted(tally.entries, "entry"), counted(tally.files, "file"));
    let unread = if coverage.unread == 0 { String::new() } else { format!(", {} unreadable", coverage.unread) };
    format!("{entries}, {files}, {} ({} bytes){unread}", bytes(tally.bytes), tally.bytes)
}

fn by_kind(out: &mut String, verdict: &Verdict) -> std::fmt::Result {
    if verdict.differences.is_empty() {
        return Ok(());
    }
    out.write_str("<h3>Differences by kind</h3>\n<div class=\"wide\"><table>\n<tr><th>Kind</th><th>Count</th></tr>\n")?;
    for aspect in Aspect::ALL {
        if let Some(count) = verdict.differences.get(&aspect) {
            writeln!(out, "<tr><td>{}</td><td class=\"count\">{count}</td></tr>", aspect.word())?;
        }
    }
    out.write_str("</table></div>\n")
}

fn directories(out: &mut String, header: &Header, audit: &Audit) -> std::fmt::Result {
    let directories = audit.gathered.directories();
    if directories.is_empty() {
        return Ok(());
    }
    out.write_str("<h3>Differences by directory</h3>\n")?;
    for (directory, group) in directories.iter().take(header.limit) {
        let shown = if directory.is_root() { "./".to_owned() } else { format!("{directory}/") };
        writeln!(
            out,
            "<h4><span class=\"name\">{}</span> <small>{}</small></h4>",
            html(&shown),
            counted(group.paths, "path")
        )?;
        let blame = if header.beside.is_some() { "<th>Blame</th>" } else { "" };
        writeln!(
            out,
            "<div class=\"wide\"><table class=\"differences\">\n<tr><th>Name</th><th>Kind</th><th>Source</th><th>Replica</th>{blame}</tr>"
        )?;
        let (mut paths, mut last): (u64, Option<&RelPath>) = (0, None);
        for (difference, why) in &group.shown {
            let again = last == Some(&difference.path);
            paths += u64::from(!again);
            last = Some(&difference.path);
            let name = difference.path.split().map_or_else(|| ".".to_owned(), |(_, name)| name.to_string());
            writeln!(
                out,
                "<tr><td class=\"name\">{}</td><td>{}</td><td class=\"name\" data-side=\"source\">{}</td><td class=\"name\" data-side=\"replica\">{}</td>{}</tr>",
                if again { String::new() } else { html(&name) },
                difference.aspect.word(),
                html(&text(&difference.source)),
                html(&text(&difference.replica)),
                if header.beside.is_some() { format!("<td>{}</td>", blamed(*why)) } else { String::new() }
            )?;
        }
        out.write_str("</table></div>\n")?;
        more(out, group.paths.saturating_sub(paths))?;
    }
    let hidden: u64 = directories.iter().skip(header.limit).map(|(_, group)| group.paths).sum();
    match hidden + audit.gathered.elsewhere {
        0 => Ok(()),
        hidden => writeln!(out, "<p>and {} more in other directories</p>", counted(hidden, "path")),
    }
}

/// Each with its verdict; those that are equal folded away.
fn mailboxes(out: &mut String, audit: &Audit, verdict: &Verdict) -> std::fmt::Result {
    let Some(census) = verdict.mailboxes.filter(|census| census.count > 0) else { return Ok(()) };
    let gathered = &audit.gathered;
    writeln!(out, "<h3>Mail: {}</h3>", html(&mail::census(census)))?;
    if census.troubled + census.busy > 0 {
        out.write_str(
            "<div class=\"wide\"><table class=\"differences\">\n\
             <tr><th>Mailbox</th><th>Verdict</th><th>What</th><th>Source</th><th>Replica</th></tr>\n",
        )?;
        for troubled in &gathered.mailboxes {
            let [source, replica] = &*troubled.sides;
            writeln!(
                out,
                "<tr><td class=\"name\">{}</td><td class=\"bad\">troubled</td><td>{}</td><td class=\"name\" data-side=\"source\">{}</td><td class=\"name\" data-side=\"replica\">{}</td></tr>",
                html(&troubled.path.to_string()),
                html(&mail::lines(&troubled.troubles, &troubled.sides).join("; ")),
                html(&mail::side(source.as_ref())),
                html(&mail::side(replica.as_ref()))
            )?;
        }
        for path in &gathered.uncertain_mailboxes {
            writeln!(
                out,
                "<tr><td class=\"name\">{}</td><td class=\"open\">uncertain</td><td>something in it could not be compared</td><td></td><td></td></tr>",
                html(&path.to_string())
            )?;
        }
        out.write_str("</table></div>\n")?;
        let shown = gathered.mailboxes.len() + gathered.uncertain_mailboxes.len();
        more(out, (census.troubled + census.busy).saturating_sub(shown as u64))?;
    }
    if gathered.equal_mailboxes.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<details>\n<summary>{} equal</summary>\n<table>\n<tr><th>Mailbox</th><th>Verdict</th><th>Messages</th></tr>",
        census.equal()
    )?;
    for (path, messages) in &gathered.equal_mailboxes {
        let name = html(&path.to_string());
        writeln!(
            out,
            "<tr><td class=\"name\">{name}</td><td class=\"good\">equal</td><td class=\"count\">{messages}</td></tr>"
        )?;
    }
    out.write_str("</table>\n")?;
    more(out, census.equal().saturating_sub(gathered.equal_mailboxes.len() as u64))?;
    out.write_str("</details>\n")
}

fn others(out: &mut String, audit: &Audit, verdict: &Verdict) -> std::fmt::Result {
    let gathered = &audit.gathered;
    if gathered.busy_count > 0 {
        out.write_str("<h3>Busy: changed each time they were looked at, so nothing can be said</h3>\n<ul>\n")?;
        gathered
            .busy
            .iter()
            .try_for_each(|path| writeln!(out, "<li class=\"name\">{}</li>", html(&path.to_string())))?;
        out.write_str("</ul>\n")?;
        more(out, gathered.busy_count.saturating_sub(gathered.busy.len() as u64))?;
    }
    if verdict.arriving > 0 {
        out.write_str("<h3>Arriving: on their way to the replica, or held</h3>\n<ul>\n")?;
        for (path, held) in &gathered.arriving {
            let held = held.map_or_else(String::new, |reason| format!(": held: {}", html(reason.text())));
            writeln!(out, "<li><span class=\"name\">{}</span>{held}</li>", html(&path.to_string()))?;
        }
        out.write_str("</ul>\n")?;
        more(out, verdict.arriving.saturating_sub(gathered.arriving.len() as u64))?;
    }
    if verdict.corrupt > 0 {
        out.write_str("<h3>Corrupt on the source: the content has changed without a write</h3>\n<ul>\n")?;
        for (path, recorded, good_copy) in &gathered.corrupt {
            let (path, was) = (html(&path.to_string()), recorded.short());
            let copy = if *good_copy { "the replica has the good copy" } else { "the replica does not have it" };
            writeln!(out, "<li><span class=\"name\">{path}</span>: was {was}; {copy}</li>")?;
        }
        out.write_str("</ul>\n")?;
        more(out, verdict.corrupt.saturating_sub(gathered.corrupt.len() as u64))?;
    }
    let count = verdict.unread();
    if count > 0 {
        out.write_str("<h3>Unreadable, so nothing can be said</h3>\n<ul>\n")?;
        for (side, unread) in &gathered.unread {
            let (path, error) = (html(&unread.path.to_string()), html(&shown_error(unread.errno)));
            writeln!(out, "<li>on the {}: <span class=\"name\">{path}</span>: {error}</li>", side.word())?;
        }
        out.write_str("</ul>\n")?;
        more(out, count.saturating_sub(gathered.unread.len() as u64))?;
    }
    Ok(())
}

fn more(out: &mut String, more: u64) -> std::fmt::Result {
    if more == 0 { Ok(()) } else { writeln!(out, "<p>and {more} more</p>") }
}

/// Text that no browser takes for markup, in an element or an attribute.
fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_names_stays_text() {
        assert_eq!(html("<b a='1'>\"&"), "&lt;b a=&#39;1&#39;&gt;&quot;&amp;");
    }
}
