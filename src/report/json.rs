//! The report for programs: JSON Lines, one object a finding as it is found, one summary at the end. The forms are listed in
//! docs/audit.md and do not change.

use super::value::json as value;
use super::{Audit, Beside, Header};
use crate::render::shown_error;
use fulmar_model::{Aspect, Blame, MailVerdict, Mailbox, Name, Side, escape};
use fulmar_primary::{Coverage, Finding, Outcome, Verdict, Why};
use serde_json::{Map, Value, json};

/// One line.
pub fn finding(replica: &str, finding: &Finding) -> Value {
    match finding {
        Finding::Difference(difference, why) => {
            let mut line = json!({
                "type": "difference",
                "replica": replica,
                "path": difference.path.to_string(),
                "kind": difference.aspect.word(),
                "on_source": value(&difference.source),
                "on_replica": value(&difference.replica),
            });
            if let (Some(Why { blame, good_copy, repaired }), Some(fields)) = (why, line.as_object_mut()) {
                fields.insert("blame".to_owned(), json!(blame.word()));
                fields.insert("good_copy".to_owned(), json!(good_copy));
                fields.insert("repaired".to_owned(), json!(repaired));
            }
            line
        }
        Finding::Arriving { path, held } => json!({
            "type": "arriving",
            "replica": replica,
            "path": path.to_string(),
            "held": held.map(|reason| reason.text()),
        }),
        Finding::Corrupt { path, recorded, found, good_copy } => json!({
            "type": "corrupt",
            "replica": replica,
            "side": Side::Source.word(),
            "path": path.to_string(),
            "recorded": recorded.to_string(),
            "found": found.to_string(),
            "good_copy": good_copy,
        }),
        Finding::Mailbox { path, troubles, sides } => {
            let [on_source, on_replica] = &**sides;
            json!({
                "type": "mailbox",
                "replica": replica,
                "path": path.to_string(),
                "verdict": MailVerdict::of(troubles).word(),
                "troubles": troubles.iter().map(|trouble| trouble.word()).collect::<Vec<_>>(),
                "on_source": mailbox(on_source.as_ref()),
                "on_replica": mailbox(on_replica.as_ref()),
            })
        }
        Finding::Further { path, tally } => json!({
            "type": "further",
            "replica": replica,
            "path": path.to_string(),
            "entries": tally.entries,
            "files": tally.files,
            "bytes": tally.bytes,
        }),
        Finding::Busy(path) => json!({ "type": "busy", "replica": replica, "path": path.to_string() }),
        Finding::Unreadable { side, unread } => json!({
            "type": "unreadable",
            "replica": replica,
            "side": side.word(),
            "path": unread.path.to_string(),
            "error": shown_error(unread.errno),
            "errno": unread.errno,
        }),
    }
}

/// The last line.
pub fn summary(header: &Header, audits: &[Audit]) -> Value {
    let equal = audits.iter().all(|audit| audit.verdict.as_ref().is_ok_and(Verdict::is_equal));
    let mut line = json!({
        "type": "summary",
        "version": 1,
        "equal": equal,
        "host": header.host,
        "source": header.source,
        "began": header.began,
        "replicas": audits.iter().map(|audit| replica(&audit.replica, &audit.verdict)).collect::<Vec<_>>(),
    });
    if let (Some(sittings), Some(fields)) = (header.sittings, line.as_object_mut()) {
        fields.insert("sittings".to_owned(), json!(sittings));
    }
    if let (Some(Beside { depth, repair }), Some(fields)) = (header.beside, line.as_object_mut()) {
        fields.insert("depth".to_owned(), json!(depth.word()));
        fields.insert("repair".to_owned(), json!(repair));
    }
    line
}

/// A replica's part of it.
pub fn replica(name: &str, verdict: &Result<Verdict, String>) -> Value {
    let verdict = match verdict {
        Ok(verdict) => verdict,
        Err(error) => return json!({ "replica": name, "verdict": "failed", "error": error }),
    };
    let word = match verdict.outcome() {
        Outcome::Equal => "equal",
        Outcome::Open => "uncertain",
        Outcome::Different => "different",
    };
    let counts = Aspect::ALL
        .iter()
        .filter_map(|aspect| Some((aspect.word().to_owned(), json!(verdict.differences.get(aspect)?))));
    let mut line = json!({
        "replica": name,
        "verdict": word,
        "host": escape(&verdict.host).to_string(),
        "root": escape(&verdict.root).to_string(),
        "differences": verdict.difference_count(),
        "by_kind": Value::Object(counts.collect::<Map<_, _>>()),
        "busy": verdict.busy,
        "on_source": coverage(verdict.source),
        "on_replica": coverage(verdict.replica),
        "mailboxes": verdict.mailboxes.map(|census| {
            json!({ "count": census.count, "equal": census.equal(), "troubled": census.troubled, "busy": census.busy })
        }),
        "hard_links_compared": verdict.links,
        "trusted_compared": verdict.trusted,
        "seconds": (verdict.took.as_secs_f64() * 1000.0).round() / 1000.0,
    });
    if let (Some(_), Some(fields)) = (verdict.depth, line.as_object_mut()) {
        let blames =
            Blame::ALL.iter().filter_map(|blame| Some((blame.word().to_owned(), json!(verdict.blames.get(blame)?))));
        fields.insert("by_blame".to_owned(), Value::Object(blames.collect()));
        fields.insert("arriving".to_owned(), json!(verdict.arriving));
        fields.insert("corrupt".to_owned(), json!(verdict.corrupt));
        fields.insert("repaired".to_owned(), json!(verdict.repaired));
        fields.insert("replica_records".to_owned(), json!(verdict.recalls));
    }
    line
}

fn mailbox(mailbox: Option<&Mailbox>) -> Value {
    let Some(mailbox) = mailbox else { return Value::Null };
    let names = |names: &[Name]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "uidvalidity": mailbox.uids.map(|uids| uids.validity),
        "next_uid": mailbox.uids.map(|uids| uids.next),
        "messages": mailbox.messages,
        "listed": mailbox.listed,
        "absent": mailbox.absent_count,
        "absent_names": names(&mailbox.absent),
        "cut": mailbox.cut_count,
        "cut_names": names(&mailbox.cut),
    })
}

fn coverage(coverage: Coverage) -> Value {
    let tally = coverage.tally;
    json!({
        "entries": tally.entries,
        "files": tally.files,
        "bytes": tally.bytes,
        "unreadable": coverage.unread,
        "mount_points": coverage.mounts,
        "bytes_read": coverage.read,
    })
}
