//! How what one side has reads, for people and for programs.

use crate::render::bytes;
use fulmar_model::{ACL_NAMES, RelPath, Tally, Timestamp, Value, escape};
use serde_json::json;

/// Bytes of an attribute that people are shown.
const SHOWN_BYTES: usize = 48;
/// Names of a file that people are shown.
const SHOWN_NAMES: usize = 8;

/// For people: one line, safe for a terminal.
pub fn text(value: &Value) -> String {
    match value {
        Value::Nothing => "nothing".to_owned(),
        Value::Entry { kind, below: Some(Tally { entries, bytes: size, .. }), .. } => {
            format!("{} with {}, {}", kind.word(), super::counted(*entries, "entry"), bytes(*size))
        }
        Value::Entry { kind: fulmar_model::Kind::File, size, .. } => format!("file of {}", bytes(*size)),
        Value::Entry { kind, .. } | Value::Kind(kind) => kind.word().to_owned(),
        Value::Size(size) => super::counted(*size, "byte"),
        Value::Content(hash) => hash.short(),
        Value::Target(target) => escape(target).to_string(),
        Value::Device(device) => format!("{}:{}", device.major, device.minor),
        Value::Mode(mode) => format!("{mode:04o}"),
        Value::Owner { uid, gid } => format!("{uid}:{gid}"),
        Value::Time(time) => time_text(*time),
        Value::Attribute { name: None, .. } => "attributes too large to be told".to_owned(),
        Value::Attribute { name: Some(name), value: None } => format!("no {}", escape(name)),
        Value::Attribute { name: Some(name), value: Some(value) } => match acl(name, value) {
            Some(acl) => acl,
            None => {
                let more = if value.len() > SHOWN_BYTES { "..." } else { "" };
                let shown = value.get(..SHOWN_BYTES).unwrap_or(value);
                format!("{}={}{more}", escape(name), escape(shown))
            }
        },
        Value::Groups(groups) => groups_text(groups),
    }
}

fn groups_text(groups: &[Vec<RelPath>]) -> String {
    let (mut sets, mut left) = (Vec::new(), SHOWN_NAMES);
    for group in groups {
        let names: Vec<String> = group.iter().take(left).map(ToString::to_string).collect();
        left -= names.len();
        if !names.is_empty() {
            sets.push(names.join(" = "));
        }
    }
    let more = groups.iter().map(Vec::len).sum::<usize>().saturating_sub(SHOWN_NAMES);
    if more > 0 {
        sets.push(format!("and {more} more"));
    }
    sets.join(", ")
}

/// For programs; docs/audit.md lists the forms.
pub fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Nothing => serde_json::Value::Null,
        Value::Entry { kind, below: Some(tally), .. } => json!({
            "kind": kind.word(), "entries": tally.entries, "files": tally.files, "bytes": tally.bytes
        }),
        Value::Entry { kind, size, below: None } => json!({ "kind": kind.word(), "size": size }),
        Value::Kind(kind) => json!(kind.word()),
        Value::Size(size) => json!(size),
        Value::Content(hash) => json!(hash.to_string()),
        Value::Target(target) => json!(escape(target).to_string()),
        Value::Device(device) => json!({ "major": device.major, "minor": device.minor }),
        Value::Mode(mode) => json!(format!("{mode:04o}")),
        Value::Owner { uid, gid } => json!({ "uid": uid, "gid": gid }),
        Value::Time(time) => json!(time_text(*time)),
        Value::Attribute { name, value } => {
            let shown = |bytes: &Option<Box<[u8]>>| bytes.as_ref().map(|bytes| escape(bytes).to_string());
            json!({ "name": shown(name), "value": shown(value) })
        }
        Value::Groups(groups) => {
            let set = |group: &Vec<RelPath>| group.iter().map(ToString::to_string).collect::<Vec<_>>();
            json!(groups.iter().map(set).collect::<Vec<_>>())
        }
    }
}

/// RFC 3339 to the nanosecond; seconds since 1970 where a calendar ends.
pub fn time_text(time: Timestamp) -> String {
    let nanos = i32::try_from(time.nanos).unwrap_or(0);
    match jiff::Timestamp::new(time.seconds, 0) {
        Ok(whole) => format!("{}.{nanos:09}Z", whole.to_string().trim_end_matches('Z')),
        Err(_) => format!("{}.{nanos:09} s", time.seconds),
    }
}

/// The kernel's form of an ACL as getfacl(1) writes it; `None` for what is none.
fn acl(name: &[u8], value: &[u8]) -> Option<String> {
    let default = match ACL_NAMES.iter().position(|acl| *acl == name)? {
        0 => "",
        _ => "default:",
    };
    let (version, entries) = value.split_first_chunk::<4>()?;
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != 2 || !rest.is_empty() {
        return None;
    }
    let mut words = Vec::new();
    for [t0, t1, p0, p1, id @ ..] in entries {
        let (tag, bits, id) = (u16::from_le_bytes([*t0, *t1]), u16::from_le_bytes([*p0, *p1]), u32::from_le_bytes(*id));
        let who = match tag {
            0x01 => "user:".to_owned(),
            0x02 => format!("user:{id}"),
            0x04 => "group:".to_owned(),
            0x08 => format!("group:{id}"),
            0x10 => "mask:".to_owned(),
            0x20 => "other:".to_owned(),
            _ => return None,
        };
        let bit = |mask: u16, letter: char| if bits & mask == 0 { '-' } else { letter };
        words.push(format!("{default}{who}:{}{}{}", bit(4, 'r'), bit(2, 'w'), bit(1, 'x')));
    }
    Some(words.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acl_reads_as_getfacl_writes_it_and_what_is_none_as_bytes() {
        let value = fulmar_testkit::fixture::acl(1234, 6);
        let told =
            |name: &[u8], value: &[u8]| text(&Value::Attribute { name: Some(name.into()), value: Some(value.into()) });
        assert_eq!(told(ACL_NAMES[0], &value), "user::rwx,user:1234:rw-,group::r-x,mask::rwx,other::---");
        assert!(told(ACL_NAMES[1], &value).starts_with("default:user::rwx,default:"));
        assert_eq!(told(b"user.x", b"a\n"), "user.x=a\\n");
        assert_eq!(told(ACL_NAMES[0], b"odd"), "system.posix_acl_access=odd");
    }

    #[test]
    fn times_are_told_to_the_nanosecond_and_beyond_the_calendar() {
        assert_eq!(time_text(Timestamp::new(1_700_000_000, 5)), "2023-11-14T22:13:20.000000005Z");
        assert_eq!(time_text(Timestamp::new(-1, 999_999_999)), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(time_text(Timestamp::new(i64::MAX, 1)), format!("{}.000000001 s", i64::MAX));
    }

    #[test]
    fn names_of_one_file_are_told_set_by_set_and_not_without_end() {
        let path = |text: &str| RelPath::parse(text.as_bytes()).expect("a path");
        assert_eq!(groups_text(&[vec![path("a"), path("b")], vec![path("c")]]), "a = b, c");
        let many = (0..20).map(|n| path(&n.to_string())).collect();
        assert!(groups_text(&[many]).ends_with("and 12 more"));
    }
}
