//! What one side has of a mailbox in Maildir format, and what two sides' mailboxes say about each other.

use crate::{Name, RelPath, Side};

/// Names of messages that are told of a mailbox, of each kind.
pub const NAMES_TOLD: usize = 5;

/// A mailbox as it was found on one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// The directory that has `cur` in it.
    pub path: RelPath,
    /// What its `dovecot-uidlist` says; `None`: there is none, or it is not understood.
    pub uids: Option<Uids>,
    /// Messages: files in `cur` and `new`.
    pub messages: u64,
    /// Messages that the list names.
    pub listed: u64,
    /// Messages that the list names, and no file has the name.
    pub absent: Vec<Name>,
    /// How many there are; `absent` has the first [`NAMES_TOLD`].
    pub absent_count: u64,
    /// Messages of another size than their name says (`,S=`).
    pub cut: Vec<Name>,
    /// How many there are; `cut` has the first [`NAMES_TOLD`].
    pub cut_count: u64,
    /// Whether it held still while it was looked at.
    pub steady: bool,
    /// How long ago something last changed in it, by its side's clock.
    pub age_ms: u64,
}

impl Mailbox {
    /// One of which nothing is known: not even that it holds still.
    pub fn unseen(path: RelPath) -> Self {
        Self {
            path,
            uids: None,
            messages: 0,
            listed: 0,
            absent: Vec::new(),
            absent_count: 0,
            cut: Vec::new(),
            cut_count: 0,
            steady: false,
            age_ms: 0,
        }
    }

    /// Whether this is what `other` says, of whatever age.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let aged = Self { age_ms: self.age_ms, ..other.clone() };
        *self == aged
    }
}

/// What a client remembers a mailbox by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uids {
    /// UIDVALIDITY: when it changes, clients forget everything and begin anew.
    pub validity: u32,
    /// The UID that the next message gets.
    pub next: u32,
}

/// Something about a mailbox that an administrator wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// A side has messages of another size than their names say.
    Cut(Side),
    /// The replica's list names messages that are not there, more of them than the source's.
    Absent,
    /// UIDVALIDITY differs.
    Validity,
    /// The replica will give the next message a UID that the source has given out.
    Behind,
    /// The replica has given out UIDs that the source has not: mail was delivered or copied there.
    Ahead,
    /// Only one side has a list of UIDs that can be read.
    Unlisted(Side),
    /// Only this side has the mailbox.
    OnlyOn(Side),
    /// Something in it differs, or has rotted, which is told by itself.
    Differs,
    /// Something in it, or above it, could not be compared, which is told by itself; or it has kept changing.
    Uncertain,
}

impl Trouble {
    /// All there are.
    pub const ALL: [Self; 12] = [
        Self::Cut(Side::Source),
        Self::Cut(Side::Replica),
        Self::Absent,
        Self::Validity,
        Self::Behind,
        Self::Ahead,
        Self::Unlisted(Side::Source),
        Self::Unlisted(Side::Replica),
        Self::OnlyOn(Side::Source),
        Self::OnlyOn(Side::Replica),
        Self::Differs,
        Self::Uncertain,
    ];

    /// The reverse of [`Self::word`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|trouble| trouble.word() == word)
    }

    /// As reports call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cut(Side::Source) => "cut-on-source",
            Self::Cut(Side::Replica) => "cut-on-replica",
            Self::Absent => "absent",
            Self::Validity => "uidvalidity",
            Self::Behind => "behind",
            Self::Ahead => "ahead",
            Self::Unlisted(Side::Source) => "no-uidlist-on-source",
            Self::Unlisted(Side::Replica) => "no-uidlist-on-replica",
            Self::OnlyOn(Side::Source) => "missing",
            Self::OnlyOn(Side::Replica) => "extra",
            Self::Differs => "differs",
            Self::Uncertain => "uncertain",
        }
    }
}

/// What a mailbox comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailVerdict {
    /// Both sides have the same, and nothing is wrong with it.
    Equal,
    /// Something is wrong with it, on one side or between both.
    Troubled,
    /// Nothing is known to be wrong, and not everything could be compared.
    Uncertain,
}

impl MailVerdict {
    /// What these come to.
    pub fn of(troubles: &[Trouble]) -> Self {
        match troubles {
            [] => Self::Equal,
            [Trouble::Uncertain] => Self::Uncertain,
            _ => Self::Troubled,
        }
    }

    /// As reports call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Troubled => "troubled",
            Self::Uncertain => "uncertain",
        }
    }
}

/// What is wrong with a mailbox that at least one side has; empty when nothing is.
///
/// A list that names messages which are gone is no fault by itself: Dovecot takes them out when it writes the list next.
pub fn troubles(source: Option<&Mailbox>, replica: Option<&Mailbox>) -> Vec<Trouble> {
    let mut all = Vec::new();
    for (side, mailbox) in [(Side::Source, source), (Side::Replica, replica)] {
        if mailbox.is_some_and(|mailbox| mailbox.cut_count > 0) {
            all.push(Trouble::Cut(side));
        }
    }
    match (source, replica) {
        (Some(source), Some(replica)) => {
            if replica.absent_count > source.absent_count {
                all.push(Trouble::Absent);
            }
            all.extend(uid_trouble(source.uids, replica.uids));
        }
        (Some(_), None) => all.push(Trouble::OnlyOn(Side::Source)),
        (None, Some(_)) => all.push(Trouble::OnlyOn(Side::Replica)),
        (None, None) => {}
    }
    all
}

fn uid_trouble(source: Option<Uids>, replica: Option<Uids>) -> Option<Trouble> {
    match (source, replica) {
        (Some(source), Some(replica)) if source.validity != replica.validity => Some(Trouble::Validity),
        (Some(source), Some(replica)) if replica.next < source.next => Some(Trouble::Behind),
        (Some(source), Some(replica)) if replica.next > source.next => Some(Trouble::Ahead),
        (Some(_), None) => Some(Trouble::Unlisted(Side::Replica)),
        (None, Some(_)) => Some(Trouble::Unlisted(Side::Source)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(uids: Option<(u32, u32)>, absent: u64, cut: u64) -> Mailbox {
        Mailbox {
            path: RelPath::root(),
            uids: uids.map(|(validity, next)| Uids { validity, next }),
            messages: 0,
            listed: 0,
            absent: Vec::new(),
            absent_count: absent,
            cut: Vec::new(),
            cut_count: cut,
            steady: true,
            age_ms: 0,
        }
    }

    #[test]
    fn each_trouble_is_told_by_what_both_sides_have() {
        use Trouble::{Absent, Ahead, Behind, Cut, OnlyOn, Unlisted, Validity};
        let good = || Some(mailbox(Some((1, 10)), 0, 0));
        for (source, replica, expected) in [
            (good(), good(), vec![]),
            (Some(mailbox(None, 0, 0)), Some(mailbox(None, 0, 0)), vec![]),
            (Some(mailbox(Some((1, 10)), 2, 0)), Some(mailbox(Some((1, 10)), 2, 0)), vec![]),
            (good(), Some(mailbox(Some((1, 10)), 1, 0)), vec![Absent]),
            (good(), Some(mailbox(Some((2, 1)), 0, 0)), vec![Validity]),
            (good(), Some(mailbox(Some((1, 9)), 0, 1)), vec![Cut(Side::Replica), Behind]),
            (good(), Some(mailbox(Some((1, 11)), 0, 0)), vec![Ahead]),
            (good(), Some(mailbox(None, 0, 0)), vec![Unlisted(Side::Replica)]),
            (Some(mailbox(None, 0, 1)), good(), vec![Cut(Side::Source), Unlisted(Side::Source)]),
            (good(), None, vec![OnlyOn(Side::Source)]),
            (None, good(), vec![OnlyOn(Side::Replica)]),
        ] {
            assert_eq!(troubles(source.as_ref(), replica.as_ref()), expected, "{source:?} {replica:?}");
        }
    }
}
