//! `fulmar explain`: what is known of one path, and why it is, or is not, on each replica.

use crate::cli::ExplainArgs;
use crate::control::{Answer, At, Change, Command, Explain, There, ask};
use crate::exit::{Exit, Failure, Result};
use crate::identity;
use crate::render::{self, lag};
use crate::report::{counted, finding, value_text};
use crate::state::{self, shown};
use fulmar_primary::Finding;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Exit code 0: every replica has what the source has; 1: one has not, or cannot be asked.
pub fn run(args: &ExplainArgs) -> Result {
    let path = absolute(&args.path)?;
    let socket = match &args.shared.control {
        Some(given) => given.clone(),
        None => state::control_of(&args.shared, &path, "explain")?,
    };
    let Answer::Explained(explain) = ask(&socket, Command::Explain { path: shown(&path) })? else {
        return Err(Failure::failed(anyhow::anyhow!("fulmar follow answered something else")));
    };
    match args.json {
        true => drop(render::data(serde_json::to_string(&explain).map_err(Failure::failed)?)?),
        false => drop(render::data(text(&explain, identity::now_ms()).trim_end())?),
    }
    let all = explain.excluded || explain.replicas.iter().all(|replica| replica.same);
    Ok(if all { Exit::Done } else { Exit::Differs })
}

/// Where it really is; a last component that is a symlink is what is asked about.
fn absolute(given: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(given).map_err(Failure::failed)?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path) };
    // What is gone may have been in a directory that is gone.
    Ok(std::fs::canonicalize(parent).map_or_else(|_| path.clone(), |parent| parent.join(name)))
}

fn text(explain: &Explain, now_ms: i64) -> String {
    let mut out = String::new();
    // Writing to memory cannot fail.
    let _ = write_text(&mut out, explain, now_ms);
    out
}

fn write_text(out: &mut String, explain: &Explain, now_ms: i64) -> std::fmt::Result {
    let ago = |ms: i64| lag(now_ms.saturating_sub(ms).max(0));
    writeln!(out, "{} in {}", explain.path, explain.source)?;
    if explain.excluded {
        writeln!(out, "  excluded: the profile or a pattern keeps it at home; replicas are not expected to have it")?;
    }
    writeln!(out, "  source   {}", there(&explain.on_source))?;
    match &explain.change {
        Some(change) => {
            writeln!(out, "  queue    {}; what happened since is in it", row(change, None, &ago))?;
        }
        None if explain.above.is_empty() => {
            writeln!(out, "  queue    nothing: the last change was taken by every replica")?
        }
        None => writeln!(out, "  queue    nothing of its own")?,
    }
    for change in &explain.above {
        let place = if change.path == "." { "the whole tree" } else { &change.path };
        writeln!(out, "           part of {}", row(change, Some(place), &ago))?;
    }
    explain.replicas.iter().try_for_each(|replica| one(out, &explain.on_source, replica, &ago))
}

fn row(change: &Change, of: Option<&str>, ago: &impl Fn(i64) -> String) -> String {
    let of = of.map(|path| format!(" of {path}")).unwrap_or_default();
    let below = if change.whole_subtree { " and everything below" } else { "" };
    format!("change {}{of}{below}, first noticed {} ago", change.position, ago(change.first_seen_ms))
}

fn one(out: &mut String, on_source: &There, replica: &At, ago: &impl Fn(i64) -> String) -> std::fmt::Result {
    let same = match (replica.same, &replica.on_replica) {
        (true, _) => "the same",
        (false, Some(_)) => "NOT the same",
        (false, None) => "cannot be asked",
    };
    writeln!(out, "  {}: {same} ({})", replica.name, replica.state)?;
    if let Some(error) = &replica.error {
        writeln!(out, "    {error}")?;
    }
    if let Some(found) = replica.on_replica.as_ref().filter(|_| !replica.same) {
        writeln!(out, "    has      {}", there(found))?;
    }
    for line in &replica.differences {
        if let Some((_, Finding::Difference(difference, _))) = finding(line) {
            let (source, replica) = (value_text(&difference.source), value_text(&difference.replica));
            writeln!(out, "    {:8} source {source}; replica {replica}", difference.aspect.word())?;
        }
    }
    let why = match replica.pending.as_deref() {
        None if replica.same => None,
        None if on_source.kind == "nothing" => Some(
            "gone from the source: it goes within seconds, when removals have waited for each other, unless --delete keeps it; \
             if it stays, fulmar verify --repair finds out whose doing it is, and repairs it"
                .to_owned(),
        ),
        None => {
            Some("nothing is on its way: fulmar verify --repair finds out whose doing it is, and repairs it".to_owned())
        }
        Some("queued") => Some("on its way: a change of it, or of a directory above, is queued".to_owned()),
        Some("content") => Some("on its way: large content is being sent".to_owned()),
        Some("compare") => Some("on its way: it is being compared with what is below".to_owned()),
        Some("gone") => Some("gone from the source: it goes once the replica has everything else".to_owned()),
        Some("held") => {
            Some(format!("held: {}", replica.reason.as_deref().unwrap_or("for no reason that is known here")))
        }
        Some(_) => Some("on its way: it is about to be looked at again".to_owned()),
    };
    if let Some(why) = why {
        writeln!(out, "    why      {why}")?;
    }
    if let (Some(attempts), Some(since)) = (replica.attempts, replica.since_ms) {
        let next = match replica.retry_ms {
            Some(_) if replica.pending.as_deref() != Some("held") => String::new(),
            Some(ms) => format!(", next in {}", lag(ms.saturating_sub(identity::now_ms()).max(0))),
            None => ", next when it is allowed".to_owned(),
        };
        writeln!(out, "    since    {} ago, tried {}{next}", ago(since), counted(u64::from(attempts), "time"))?;
    }
    let verified = [("quickly", &replica.verified.quick), ("deeply", &replica.verified.deep)];
    for (how, last) in verified {
        if let Some(ended) = last.as_ref().and_then(|last| last.ended_ms) {
            writeln!(out, "    verified {how} {} ago", ago(ended))?;
        }
    }
    Ok(())
}

fn there(found: &There) -> String {
    if let Some(error) = &found.error {
        return format!("cannot be read: {error}");
    }
    let mut parts = vec![found.kind.clone()];
    parts.extend(found.size.map(|size| counted(size, "byte")));
    parts.extend(found.target.as_ref().map(|target| format!("to {target}")));
    parts.extend(found.mode.as_ref().map(|mode| format!("mode {mode}")));
    parts.extend(found.uid.zip(found.gid).map(|(uid, gid)| format!("owner {uid}:{gid}")));
    parts.extend(found.mtime.as_ref().map(|mtime| format!("modified {mtime}")));
    parts.extend(found.hash.as_ref().map(|hash| format!("content {}", hash.get(..16).unwrap_or(hash))));
    parts.extend(found.standing.clone());
    parts.join(", ")
}
