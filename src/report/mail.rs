//! How mailboxes read, for people.

use super::counted;
use fulmar_model::{Mailbox, Name, Side, Trouble};
use fulmar_primary::Census;

/// All mailboxes in one line.
pub fn census(census: Census) -> String {
    let Census { count, troubled, busy } = census;
    let uncertain = if busy == 0 { String::new() } else { format!(", {busy} uncertain") };
    format!("{}: {} equal, {troubled} troubled{uncertain}", counted(count, "mailbox"), census.equal())
}

/// A line for each trouble.
pub fn lines(troubles: &[Trouble], sides: &[Option<Mailbox>; 2]) -> Vec<String> {
    let [source, replica] = sides;
    let of = |side| if side == Side::Source { source.as_ref() } else { replica.as_ref() };
    let what = |trouble: &Trouble| match *trouble {
        Trouble::Cut(side) => of(side).map(|mailbox| {
            let (count, names) = (counted(mailbox.cut_count, "message"), named(&mailbox.cut, mailbox.cut_count));
            format!("{count} of another size than the name says, on the {}: {names}", side.word())
        }),
        Trouble::Absent => of(Side::Replica).map(|mailbox| {
            let (count, names) =
                (counted(mailbox.absent_count, "message"), named(&mailbox.absent, mailbox.absent_count));
            format!("{count} in the replica's dovecot-uidlist and not in its folders: {names}")
        }),
        Trouble::Validity => Some("another UIDVALIDITY: clients would fetch everything again".to_owned()),
        Trouble::Behind => Some("the replica would give out UIDs again".to_owned()),
        Trouble::Ahead => Some("the replica has given out UIDs of its own: mail arrived there".to_owned()),
        Trouble::Unlisted(side) => Some(format!("no dovecot-uidlist that can be understood on the {}", side.word())),
        Trouble::Differs => Some("something in it differs: see the differences".to_owned()),
        Trouble::Uncertain => Some("something in it could not be compared".to_owned()),
        Trouble::OnlyOn(side) => Some(format!("only on the {}", side.word())),
    };
    troubles.iter().filter_map(what).collect()
}

/// One side in few words.
pub fn side(mailbox: Option<&Mailbox>) -> String {
    let Some(mailbox) = mailbox else { return "nothing".to_owned() };
    let uids = mailbox
        .uids
        .map_or("no list of UIDs".to_owned(), |uids| format!("UIDVALIDITY {}, next UID {}", uids.validity, uids.next));
    format!("{}, {uids}", counted(mailbox.messages, "message"))
}

fn named(names: &[Name], count: u64) -> String {
    let mut shown = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if count > names.len() as u64 {
        shown.push_str(", ...");
    }
    shown
}
