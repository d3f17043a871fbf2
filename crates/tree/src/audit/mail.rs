//! What can be said of Maildirs without reading a message: sizes that contradict names, and what `dovecot-uidlist` says.
//!
//! A file's size stands in its name behind `,S=`, written by who delivered it (Dovecot's Maildir format). A file that is
//! compressed or encrypted is of another size by right; it is told by how it begins.
//!
//! `dovecot-uidlist` has a head, `3 V<UIDVALIDITY> N<next UID> ...`, and a line for each message, `<UID> <fields> :<name>`, where the
//! name is that of the file without its flags.

use super::settings::{Auditing, Meter, readers};
use crate::{Clock, Dir, Error, Listing, Part, Result, Step, Tree, Walk, walk_together};
use fulmar_model::{Depth, Kind, Mailbox, NAMES_TOLD, Name, RelPath, Stat, Uids};
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

/// A list of more bytes is not understood: a million messages take half of it. Each thread may hold one.
const UIDLIST_BYTES_MAX: usize = 128 << 20;
/// Pauses before a mailbox in which something is wrong is looked at again, as long as it does not hold still.
const PAUSES_MS: [u64; 3] = [50, 200, 800];

/// How contents begin that are of another size than the message: gzip, bzip2, xz, zstd, LZ4 and encryption by Dovecot.
const PACKED: [&[u8]; 6] =
    [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"Dovecot-LZ4\x0d\x2a\x9b\xc5", b"CRYPTED\x03\x07"];

/// Every mailbox of the tree, in order of paths: each directory that has a directory `cur`.
pub fn mailboxes(tree: &Tree, how: &Auditing, meter: &Meter) -> Result<Vec<Mailbox>> {
    let filter = how.filter.clone();
    let enter = Arc::new(move |path: &RelPath, _: &Stat| !filter.excludes_here(path, true));
    let walk = Walk::filtered(tree, &RelPath::root(), enter);
    let work = |found: &mut Vec<Mailbox>, walk: &mut Walk, step: Step| {
        if meter.is_stopped() {
            return Err(Error::Stopped);
        }
        // What cannot be read is told by the audit itself.
        let Step::Listing(Listing { path, entries, .. }) = step else { return Ok(()) };
        let is_mailbox = |(name, stat): &(Name, Stat)| name.as_bytes() == b"cur" && stat.kind == Kind::Directory;
        if entries.iter().any(is_mailbox) {
            let own = entries.iter().filter(|(name, _)| matches!(name.as_bytes(), b"cur" | b"new" | b"tmp"));
            own.for_each(|(name, _)| walk.skip(name));
            // As above; and nothing can be said of it.
            let unseen = |_| Mailbox::unseen(path.clone());
            found.push(tree.dir(&path).and_then(|dir| mailbox(&dir, &path, meter)).unwrap_or_else(unseen));
        }
        Ok(())
    };
    // Each may hold a list.
    let threads = how.threads.clamp(1, readers(Depth::Quick, how.idle));
    let mut found = vec![Vec::new(); threads];
    walk_together(walk, &mut found, work)?;
    let mut all = found.concat();
    all.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    Ok(all)
}

/// That of a directory; `None`: it is none, or cannot be read, which the audit itself tells.
pub fn mailbox_at(tree: &Tree, path: &RelPath, meter: &Meter) -> Option<Mailbox> {
    let dir = tree.dir(path).ok()?;
    let cur = dir.stat(&Name::parse(b"cur").ok()?).ok()?;
    cur.filter(|cur| cur.kind == Kind::Directory)?;
    Some(mailbox(&dir, path, meter).unwrap_or_else(|_| Mailbox::unseen(path.clone())))
}

/// One that holds still, or as it was at the last look.
fn mailbox(dir: &Dir, path: &RelPath, meter: &Meter) -> Result<Mailbox> {
    let mut pauses = PAUSES_MS.into_iter();
    loop {
        let mailbox = look(dir, path)?;
        let doubtful = !mailbox.steady && mailbox.absent_count + mailbox.cut_count > 0;
        match pauses.next().filter(|_| doubtful && !meter.is_stopped()) {
            Some(pause) => std::thread::sleep(Duration::from_millis(pause)),
            None => return Ok(mailbox),
        }
    }
}

fn look(dir: &Dir, path: &RelPath) -> Result<Mailbox> {
    let mut mailbox = Mailbox::unseen(path.clone());
    let parts = || [b"cur".as_slice(), b"new", UIDLIST].into_iter().filter_map(|name| Name::parse(name).ok());
    let stats = || parts().map(|name| dir.stat(&name)).collect::<Result<Vec<_>>>();
    let before = stats()?;
    // The list first: what it names afterwards came later than what is listed below.
    let list = uidlist(dir)?;
    let (keys, mut names) = (RandomState::new(), HashSet::new());
    // Mail goes from new to cur: in this order it is seen in one of them.
    for folder in [b"new".as_slice(), b"cur"].into_iter().filter_map(|name| Name::parse(name).ok()) {
        if dir.stat(&folder)?.is_some_and(|stat| stat.kind == Kind::Directory) {
            let folder = dir.dir(&folder)?;
            let mut part = Some(Part::new(0, Part::number_for(folder.count()?)).unwrap_or(Part::WHOLE));
            while let Some(now) = part {
                for (name, stat) in folder.list(now)?.into_iter().filter(|(_, stat)| stat.kind == Kind::File) {
                    mailbox.messages += 1;
                    names.insert(keys.hash_one(base(name.as_bytes())));
                    if is_cut(&folder, &name, &stat)? {
                        mailbox.cut_count += 1;
                        mailbox.cut.extend((mailbox.cut.len() < NAMES_TOLD).then_some(name));
                    }
                }
                part = now.next();
            }
        }
    }
    if let Some((uids, list)) = &list {
        mailbox.uids = Some(*uids);
        for name in list.split(|byte| *byte == b'\n').skip(1).filter_map(listed) {
            mailbox.listed += 1;
            if !names.contains(&keys.hash_one(name)) {
                mailbox.absent_count += 1;
                let told = Name::parse(name).ok().filter(|_| mailbox.absent.len() < NAMES_TOLD);
                mailbox.absent.extend(told);
            }
        }
    }
    let same = |(before, after): (&Option<Stat>, &Option<Stat>)| match (before, after) {
        (Some(before), Some(after)) => before.same_version(after),
        (before, after) => before.is_none() && after.is_none(),
    };
    let after = stats()?;
    mailbox.steady = before.iter().zip(&after).all(same);
    let last = after.into_iter().flatten().map(|stat| stat.ctime.as_millis()).max().unwrap_or_default();
    mailbox.age_ms = Clock::coarse_now().as_millis().saturating_sub(last).max(0).unsigned_abs();
    Ok(mailbox)
}

const UIDLIST: &[u8] = b"dovecot-uidlist";

/// Head and lines of the list. `None`: there is none, or it is not understood.
fn uidlist(dir: &Dir) -> Result<Option<(Uids, Vec<u8>)>> {
    let Ok(name) = Name::parse(UIDLIST) else { return Ok(None) };
    let mut reader = match dir.open_file(&name) {
        Ok(reader) => reader,
        Err(error) if error.is_gone() => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.next_chunk(1 << 20)? {
        bytes.extend_from_slice(&chunk.bytes);
        if bytes.len() > UIDLIST_BYTES_MAX {
            return Ok(None);
        }
    }
    let head = bytes.split(|byte| *byte == b'\n').next().and_then(head);
    Ok(head.map(|uids| (uids, bytes)))
}

/// The first line.
fn head(line: &[u8]) -> Option<Uids> {
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    if words.next() != Some("3") {
        return None;
    }
    let (mut validity, mut next) = (None, None);
    for word in words {
        if let Some(number) = word.strip_prefix('V') {
            validity = Some(number.parse().ok()?);
        } else if let Some(number) = word.strip_prefix('N') {
            next = Some(number.parse().ok()?);
        }
    }
    Some(Uids { validity: validity?, next: next? })
}

/// The name in a line, without flags.
fn listed(line: &[u8]) -> Option<&[u8]> {
    let at = line.windows(2).position(|two| two == b" :")?;
    Some(base(line.get(at + 2..)?)).filter(|name| !name.is_empty())
}

/// A name without flags.
fn base(name: &[u8]) -> &[u8] {
    name.split(|byte| *byte == b':').next().unwrap_or(name)
}

/// Whether a message is not of the size in its name.
fn is_cut(folder: &Dir, name: &Name, stat: &Stat) -> Result<bool> {
    if said_size(name.as_bytes()).is_none_or(|said| said == stat.size) {
        return Ok(false);
    }
    let mut start = [0; 16];
    let read = folder.open_file(name).and_then(|reader| reader.read_at(0, &mut start));
    match read {
        Ok(read) => {
            let start = start.get(..read).unwrap_or_default();
            Ok(!PACKED.iter().any(|magic| start.starts_with(magic)))
        }
        Err(error) if error.is_gone() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Behind `,S=`.
fn said_size(name: &[u8]) -> Option<u64> {
    let name = base(name);
    let at = name.windows(3).position(|three| three == b",S=")? + 3;
    let digits = name.get(at..)?.split(|byte| !byte.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_lists_are_read_and_others_are_none() {
        let uids = |validity, next| Some(Uids { validity, next });
        for (line, expected) in [
            ("3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1", uids(1_275_660_208, 25_022)),
            ("3 N7 V1", uids(1, 7)),
            ("3 V1", None),
            ("1 1275660208 25022", None),
            ("3 V1 N99999999999", None),
            ("3 V1 N-1", None),
            ("", None),
        ] {
            assert_eq!(head(line.as_bytes()), expected, "{line}");
        }
        assert_eq!(head(b"3 V\xff N1"), None);
    }

    #[test]
    fn names_in_lists_and_sizes_in_names_are_found() {
        for (line, expected) in [
            (
                "25006 :1276528487.M364837P9451.kurkku,S=1355,W=1394:2,",
                Some("1276528487.M364837P9451.kurkku,S=1355,W=1394"),
            ),
            ("25017 W2481 :1276533073.M242911P3632.kurkku:2,F", Some("1276533073.M242911P3632.kurkku")),
            ("25017 W2481 :", None),
            ("no colon", None),
        ] {
            assert_eq!(listed(line.as_bytes()), expected.map(str::as_bytes), "{line}");
        }
        for (name, expected) in [
            ("1.M2P3.host,S=1355,W=1394:2,S", Some(1355)),
            ("1.M2P3.host,S=0", Some(0)),
            ("1.M2P3.host", None),
            ("1.M2P3.host:2,S=5", None),
            ("1.M2P3.host,S=", None),
            ("1.M2P3.host,S=99999999999999999999999", None),
        ] {
            assert_eq!(said_size(name.as_bytes()), expected, "{name}");
        }
    }
}
