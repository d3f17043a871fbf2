//! What a running `follow` tells, in the form of docs/audit.md, as what it was before: so that every form of a report is made
//! in one place. `None`: a later version's line, of which nothing can be made here.

use fulmar_model::{
    Aspect, Blame, Depth, Device, Difference, Hash, HeldReason, Kind, Mailbox, Name, RelPath, Side, Tally, Timestamp,
    Trouble, Uids, Unread, Value, unescape,
};
use fulmar_primary::{Census, Coverage, Finding, Verdict, Why};
use serde_json::Value as Json;
use std::time::Duration;

/// A replica's part of a summary.
pub struct Reported {
    /// The replica, as it was named.
    pub replica: String,
    /// What came of it.
    pub verdict: Result<Verdict, String>,
}

/// A finding, and the replica it is of.
pub fn finding(line: &Json) -> Option<(String, Finding)> {
    let path = path(&line["path"])?;
    let found = match line["type"].as_str()? {
        "difference" => {
            let aspect = Aspect::from_word(line["kind"].as_str()?)?;
            let (source, replica) = (value(aspect, &line["on_source"])?, value(aspect, &line["on_replica"])?);
            let why = line["blame"].as_str().and_then(Blame::from_word).map(|blame| Why {
                blame,
                good_copy: line["good_copy"].as_bool().unwrap_or(false),
                repaired: line["repaired"].as_bool(),
            });
            Finding::Difference(Difference { path, aspect, source, replica }, why)
        }
        "further" => Finding::Further { path, tally: tally(line) },
        "busy" => Finding::Busy(path),
        "arriving" => Finding::Arriving { path, held: line["held"].as_str().and_then(HeldReason::from_text) },
        "corrupt" => Finding::Corrupt {
            path,
            recorded: hash(&line["recorded"])?,
            found: hash(&line["found"])?,
            good_copy: line["good_copy"].as_bool()?,
        },
        "mailbox" => {
            let troubles = line["troubles"].as_array()?.iter().filter_map(|word| Trouble::from_word(word.as_str()?));
            let sides = ["on_source", "on_replica"].map(|side| mailbox(&path, &line[side]));
            Finding::Mailbox { troubles: troubles.collect(), path, sides: Box::new(sides) }
        }
        "unreadable" => {
            let side =
                [Side::Source, Side::Replica].into_iter().find(|side| Some(side.word()) == line["side"].as_str());
            let errno = i32::try_from(line["errno"].as_i64()?).ok()?;
            Finding::Unreadable { side: side?, unread: Unread { path, errno } }
        }
        _ => return None,
    };
    Some((line["replica"].as_str()?.to_owned(), found))
}

/// The replicas of a summary.
pub fn reported(summary: &Json) -> Option<Vec<Reported>> {
    let depth = summary["depth"].as_str().and_then(Depth::from_word);
    summary["replicas"].as_array()?.iter().map(|one| replica(one, depth)).collect()
}

fn replica(one: &Json, depth: Option<Depth>) -> Option<Reported> {
    let replica = one["replica"].as_str()?.to_owned();
    if let Some(error) = one["error"].as_str() {
        return Some(Reported { replica, verdict: Err(error.to_owned()) });
    }
    let count = |field: &str| one[field].as_u64().unwrap_or(0);
    let counts = |field: &str| one[field].as_object().into_iter().flatten();
    let verdict = Verdict {
        host: unescape(one["host"].as_str()?)?,
        root: unescape(one["root"].as_str()?)?,
        source: coverage(&one["on_source"]),
        replica: coverage(&one["on_replica"]),
        differences: counts("by_kind").filter_map(|(word, n)| Some((Aspect::from_word(word)?, n.as_u64()?))).collect(),
        blames: counts("by_blame").filter_map(|(word, n)| Some((Blame::from_word(word)?, n.as_u64()?))).collect(),
        busy: count("busy"),
        arriving: count("arriving"),
        corrupt: count("corrupt"),
        repaired: count("repaired"),
        depth,
        recalls: one["replica_records"].as_bool(),
        mailboxes: census(&one["mailboxes"]),
        links: one["hard_links_compared"].as_bool()?,
        trusted: one["trusted_compared"].as_bool()?,
        took: Duration::try_from_secs_f64(one["seconds"].as_f64()?).ok()?,
    };
    Some(Reported { replica, verdict: Ok(verdict) })
}

fn census(of: &Json) -> Option<Census> {
    let count = |field: &str| of[field].as_u64();
    Some(Census { count: count("count")?, troubled: count("troubled")?, busy: count("busy")? })
}

fn mailbox(at: &RelPath, of: &Json) -> Option<Mailbox> {
    let (number, count) =
        (|field: &str| u32::try_from(of[field].as_u64()?).ok(), |field: &str| of[field].as_u64().unwrap_or(0));
    let names = |field: &str| {
        let names = of[field].as_array().into_iter().flatten();
        names.filter_map(|name| Name::parse(&unescape(name.as_str()?)?).ok()).collect()
    };
    of.as_object()?;
    Some(Mailbox {
        path: at.clone(),
        uids: number("uidvalidity").zip(number("next_uid")).map(|(validity, next)| Uids { validity, next }),
        messages: count("messages"),
        listed: count("listed"),
        absent: names("absent_names"),
        absent_count: count("absent"),
        cut: names("cut_names"),
        cut_count: count("cut"),
        steady: true,
        age_ms: 0,
    })
}

fn coverage(of: &Json) -> Coverage {
    let count = |field: &str| of[field].as_u64().unwrap_or(0);
    Coverage {
        tally: tally(of),
        unread: count("unreadable"),
        mounts: count("mount_points"),
        read: of["bytes_read"].as_u64(),
    }
}

fn tally(of: &Json) -> Tally {
    let count = |field: &str| of[field].as_u64().unwrap_or(0);
    Tally { entries: count("entries"), files: count("files"), bytes: count("bytes") }
}

fn value(aspect: Aspect, told: &Json) -> Option<Value> {
    let number = |field: &str| u32::try_from(told[field].as_u64()?).ok();
    Some(match aspect {
        Aspect::Missing | Aspect::Extra if told.is_null() => Value::Nothing,
        Aspect::Missing | Aspect::Extra => {
            let below = told.get("entries").map(|_| tally(told));
            Value::Entry { kind: kind(&told["kind"])?, size: told["size"].as_u64().unwrap_or(0), below }
        }
        Aspect::Kind => Value::Kind(kind(told)?),
        Aspect::Size => Value::Size(told.as_u64()?),
        Aspect::Content => Value::Content(hash(told)?),
        Aspect::Target => Value::Target(unescape(told.as_str()?)?.into()),
        Aspect::Device => Value::Device(Device { major: number("major")?, minor: number("minor")? }),
        Aspect::Mode => Value::Mode(u16::from_str_radix(told.as_str()?, 8).ok()?),
        Aspect::Owner => Value::Owner { uid: number("uid")?, gid: number("gid")? },
        Aspect::Mtime => Value::Time(time(told.as_str()?)?),
        Aspect::Xattr | Aspect::Acl => {
            let bytes = |field: &str| Some(told[field].as_str().map(unescape)??.into());
            Value::Attribute { name: bytes("name"), value: bytes("value") }
        }
        Aspect::Links => {
            let set = |set: &Json| set.as_array()?.iter().map(path).collect::<Option<Vec<_>>>();
            Value::Groups(told.as_array()?.iter().map(set).collect::<Option<_>>()?)
        }
    })
}

/// A path as it is told.
pub fn path(told: &Json) -> Option<RelPath> {
    match told.as_str()? {
        "." => Some(RelPath::root()),
        text => RelPath::parse(&unescape(text)?).ok(),
    }
}

fn kind(told: &Json) -> Option<Kind> {
    let word = told.as_str()?;
    (1..=7).filter_map(Kind::from_code).find(|kind| kind.word() == word)
}

fn hash(told: &Json) -> Option<Hash> {
    let digits = told.as_str().filter(|text| text.len() == 64)?;
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(Hash(bytes))
}

/// As `value` writes it: RFC 3339 with nine digits, or seconds and " s".
fn time(text: &str) -> Option<Timestamp> {
    let (whole, nanos) = text.strip_suffix('Z').or_else(|| text.strip_suffix(" s"))?.rsplit_once('.')?;
    let seconds = match text.ends_with('Z') {
        true => format!("{whole}Z").parse::<jiff::Timestamp>().ok()?.as_second(),
        false => whole.parse().ok()?,
    };
    Some(Timestamp::new(seconds, nanos.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::json;
    use super::*;

    fn path(text: &[u8]) -> RelPath {
        RelPath::parse(text).expect("a path")
    }

    #[test]
    fn what_is_told_is_read_back_as_it_was() {
        let entry = |below| Value::Entry { kind: Kind::Directory, size: 0, below };
        let attribute = |name: &[u8], value: Option<&[u8]>| Value::Attribute {
            name: Some(name.into()),
            value: value.map(Box::from),
        };
        let tally = Tally { entries: 3, files: 2, bytes: 1 << 40 };
        let all = [
            (Aspect::Missing, entry(Some(tally)), Value::Nothing),
            (Aspect::Extra, Value::Nothing, Value::Entry { kind: Kind::File, size: 7, below: None }),
            (Aspect::Kind, Value::Kind(Kind::Fifo), Value::Kind(Kind::BlockDevice)),
            (Aspect::Size, Value::Size(0), Value::Size(u64::MAX)),
            (Aspect::Content, Value::Content(Hash([7; 32])), Value::Content(Hash([0xfe; 32]))),
            (Aspect::Target, Value::Target(Box::from(&b"a\n\xff"[..])), Value::Target(Box::from(&b"b"[..]))),
            (
                Aspect::Device,
                Value::Device(Device { major: 1, minor: 3 }),
                Value::Device(Device { major: 1, minor: 5 }),
            ),
            (Aspect::Mode, Value::Mode(0o4755), Value::Mode(0)),
            (Aspect::Owner, Value::Owner { uid: 0, gid: u32::MAX }, Value::Owner { uid: 1, gid: 2 }),
            (Aspect::Mtime, Value::Time(Timestamp::new(1_700_000_000, 5)), Value::Time(Timestamp::new(i64::MAX, 1))),
            (Aspect::Mtime, Value::Time(Timestamp::new(-1, 999_999_999)), Value::Time(Timestamp::new(0, 0))),
            (Aspect::Xattr, attribute(b"user.\xff", None), attribute(b"user.\xff", Some(b"\\\n"))),
            (Aspect::Acl, attribute(b"x", Some(b"")), Value::Attribute { name: None, value: None }),
            (
                Aspect::Links,
                Value::Groups(vec![vec![path(b"a"), path(b"b\t")], vec![path(b"c")]]),
                Value::Groups(vec![]),
            ),
        ];
        let whys = [
            None,
            Some(Why { blame: Blame::Drift, good_copy: false, repaired: Some(true) }),
            Some(Why { blame: Blame::CorruptSource, good_copy: true, repaired: None }),
        ];
        for (at, (aspect, source, replica)) in all.into_iter().enumerate() {
            let difference = Difference { path: path(b"x/\x1b"), aspect, source, replica };
            let told = Finding::Difference(difference, whys[at % 3]);
            assert_eq!(finding(&json::finding("r", &told)), Some(("r".to_owned(), told)));
        }
        for told in [
            Finding::Busy(RelPath::root()),
            Finding::Arriving { path: path(b"a"), held: None },
            Finding::Arriving { path: path(b"a"), held: Some(HeldReason::Corrupt) },
            Finding::Corrupt { path: path(b"a"), recorded: Hash([1; 32]), found: Hash([2; 32]), good_copy: true },
            Finding::Unreadable { side: Side::Replica, unread: Unread { path: path(b"a"), errno: 5 } },
        ] {
            assert_eq!(finding(&json::finding("r", &told)), Some(("r".to_owned(), told)));
        }
    }
}
