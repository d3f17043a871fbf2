//! Where something differs or could not be compared, as far as the verdicts of mailboxes depend on it: what a mailbox's sizes and
//! list of UIDs say is not all there is to it.
//!
//! What is in or below `cur`, `new` and `tmp` belongs to the directory those are in, and to them where they are mailboxes; anything
//! else to itself, if that is a mailbox, or to the directory it is in. What could not be compared may hide what is below it, too.

use super::verdict::{Finding, Verdict};
use fulmar_model::{Kind, Mailbox, RelPath, Trouble, Value};
use std::collections::{HashMap, HashSet};

/// Paths that are remembered, some hundred bytes each, some of them twice; beyond it nothing can be said of mailboxes that look well.
const PATHS_MAX: usize = 100_000;

/// What was told, by where.
#[derive(Default)]
pub(super) struct Flaws {
    /// By the mailbox, where it is one.
    own: HashMap<RelPath, Trouble>,
    /// By itself: it may be a mailbox, or in one.
    loose: HashMap<RelPath, Trouble>,
    /// What could not be compared.
    open: HashSet<RelPath>,
    /// Paths that were told to be unreadable.
    unread: u64,
    /// Whether there is more.
    full: bool,
}

impl Flaws {
    pub(super) fn note(&mut self, finding: &Finding) {
        match finding {
            Finding::Difference(_, Some(why)) if why.repaired == Some(true) => {}
            Finding::Difference(difference, _) => {
                let sides = [&difference.source, &difference.replica];
                // The directory that one is missing from has other times by itself.
                let alone = |value: &Value| matches!(value, Value::Entry { kind: Kind::Directory, .. });
                if !sides.into_iter().any(alone) {
                    self.add(&difference.path, Trouble::Differs);
                } else if self.has_room() {
                    let mailbox = folder_of(&difference.path).map_or(difference.path.clone(), |(mailbox, _)| mailbox);
                    self.own.insert(mailbox, Trouble::Differs);
                }
                for value in sides {
                    if let Value::Groups(groups) = value {
                        groups.iter().flatten().for_each(|path| self.add(path, Trouble::Differs));
                    }
                }
            }
            Finding::Corrupt { path, .. } => self.add(path, Trouble::Differs),
            Finding::Arriving { path, .. } | Finding::Busy(path) => self.add(path, Trouble::Uncertain),
            Finding::Unreadable { unread, .. } => {
                self.unread += 1;
                self.add(&unread.path, Trouble::Uncertain);
            }
            Finding::Mailbox { .. } | Finding::Further { .. } => {}
        }
    }

    /// Everything that `verdict` counts was told, but the mailboxes; `ours` are in order of paths.
    pub(super) fn settle(&mut self, ours: &[Mailbox], verdict: &Verdict) {
        for (path, trouble) in std::mem::take(&mut self.loose) {
            let is_one = ours.binary_search_by(|mailbox| mailbox.path.cmp(&path)).is_ok();
            let place = if is_one { Some(path) } else { path.parent() };
            place.into_iter().for_each(|place| put(&mut self.own, place, trouble));
        }
        self.full |= !verdict.links || verdict.unread() > self.unread;
    }

    /// What a mailbox has to answer for; nothing: it is well.
    pub(super) fn of(&self, mailbox: &RelPath) -> Option<Trouble> {
        let hidden = || self.full || mailbox.ancestors().iter().any(|above| self.open.contains(above));
        self.own.get(mailbox).copied().or_else(|| hidden().then_some(Trouble::Uncertain))
    }

    fn add(&mut self, path: &RelPath, trouble: Trouble) {
        if !self.has_room() {
            return;
        }
        if trouble == Trouble::Uncertain {
            self.open.insert(path.clone());
        }
        let folder = folder_of(path);
        // Once for all messages of a folder; and what is called like a folder may be a mailbox itself, and this in it.
        let place = if let Some((_, 1)) = folder { path.parent() } else { Some(path.clone()) };
        folder.into_iter().for_each(|(mailbox, _)| put(&mut self.own, mailbox, trouble));
        place.into_iter().for_each(|place| put(&mut self.loose, place, trouble));
    }

    fn has_room(&mut self) -> bool {
        self.full |= self.own.len() + self.loose.len() + self.open.len() >= PATHS_MAX;
        !self.full
    }
}

/// A difference says more than that something was not compared.
fn put(to: &mut HashMap<RelPath, Trouble>, path: RelPath, trouble: Trouble) {
    let known = to.entry(path).or_insert(trouble);
    if trouble == Trouble::Differs {
        *known = trouble;
    }
}

/// The directory whose `cur`, `new` or `tmp` the path is, or is below, and how far below.
fn folder_of(path: &RelPath) -> Option<(RelPath, usize)> {
    let (mut at, mut below) = (path.clone(), 0);
    while let Some((above, name)) = at.split() {
        if matches!(name.as_bytes(), b"cur" | b"new" | b"tmp") {
            return Some((above, below));
        }
        (at, below) = (above, below + 1);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulmar_model::{Aspect, Difference, Side, Unread};

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a path")
    }

    fn mailbox(text: &str) -> Mailbox {
        Mailbox { steady: true, ..Mailbox::unseen(path(text)) }
    }

    fn differs(at: &str) -> Finding {
        let (source, replica) = (Value::Size(1), Value::Size(2));
        Finding::Difference(Difference { path: path(at), aspect: Aspect::Size, source, replica }, None)
    }

    /// Of `ann`, `ann/.Sent` and `bob`.
    fn told(findings: &[Finding]) -> [Option<Trouble>; 3] {
        let mut flaws = Flaws::default();
        findings.iter().for_each(|finding| flaws.note(finding));
        let ours = ["ann", "ann/.Sent", "bob"];
        let mut verdict = Verdict { links: true, ..Verdict::default() };
        verdict.source.unread = flaws.unread;
        flaws.settle(&ours.map(mailbox), &verdict);
        ours.map(|ours| flaws.of(&path(ours)))
    }

    #[test]
    fn what_differs_counts_where_it_belongs() {
        let yes = Some(Trouble::Differs);
        for (at, expected) in [
            ("ann/cur/1.M1", [yes, None, None]),
            ("ann/cur", [yes, None, None]),
            ("ann/dovecot-uidlist", [yes, None, None]),
            ("ann", [yes, None, None]),
            ("ann/.Sent", [None, yes, None]),
            ("ann/.Sent/new/1.M1", [None, yes, None]),
            ("ann/.Sent/subscriptions", [None, yes, None]),
            ("ann/cur/deep/er/1", [yes, None, None]),
            ("elsewhere/file", [None, None, None]),
        ] {
            assert_eq!(told(&[differs(at)]), expected, "{at}");
        }
    }

    #[test]
    fn what_was_not_compared_hides_what_is_below_it_and_a_difference_says_more() {
        let (yes, open) = (Some(Trouble::Differs), Some(Trouble::Uncertain));
        let unread = |at| Finding::Unreadable { side: Side::Replica, unread: Unread { path: path(at), errno: 5 } };
        assert_eq!(told(&[Finding::Busy(path("ann"))]), [open, open, None]);
        assert_eq!(told(&[unread("ann/new/1.M1")]), [open, None, None]);
        assert_eq!(told(&[differs("ann/cur/1"), unread("ann/new/2"), unread("ann/.Sent")]), [yes, open, None]);
        assert_eq!(told(&[Finding::Busy(RelPath::root())]), [open, open, open]);
    }

    #[test]
    fn a_mailbox_that_is_called_like_a_folder_answers_for_its_own_files() {
        for at in ["ann/new", "ann/new/dovecot-keywords"] {
            let mut flaws = Flaws::default();
            flaws.note(&differs(at));
            flaws.settle(&["ann/new", "bob"].map(mailbox), &Verdict { links: true, ..Verdict::default() });
            assert_eq!(flaws.of(&path("ann/new")), Some(Trouble::Differs), "{at}");
            assert_eq!(flaws.of(&path("bob")), None, "{at}");
        }
    }

    #[test]
    fn many_messages_of_one_mailbox_leave_room_for_others() {
        let mut flaws = Flaws::default();
        (0..=PATHS_MAX).for_each(|number| flaws.note(&differs(&format!("ann/cur/{number}"))));
        flaws.settle(&["ann", "bob"].map(mailbox), &Verdict { links: true, ..Verdict::default() });
        assert_eq!([flaws.of(&path("ann")), flaws.of(&path("bob"))], [Some(Trouble::Differs), None]);
    }

    #[test]
    fn where_not_everything_was_told_nothing_is_well() {
        let mut flaws = Flaws::default();
        let mut verdict = Verdict { links: true, ..Verdict::default() };
        flaws.settle(&[mailbox("ann")], &verdict);
        assert_eq!(flaws.of(&path("ann")), None);
        verdict.replica.unread = 1;
        flaws.settle(&[mailbox("ann")], &verdict);
        assert_eq!(flaws.of(&path("ann")), Some(Trouble::Uncertain));
        let mut many = Flaws::default();
        (0..=PATHS_MAX).for_each(|number| many.note(&differs(&format!("{number}"))));
        many.settle(&[], &Verdict { links: true, ..Verdict::default() });
        assert_eq!(many.of(&path("x")), Some(Trouble::Uncertain));
    }
}
