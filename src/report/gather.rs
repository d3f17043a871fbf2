//! Findings by directory, as many as will be shown; the others are counted.

use fulmar_model::{Difference, Hash, HeldReason, MailVerdict, Mailbox, RelPath, Side, Trouble, Unread};
use fulmar_primary::{Finding, Why};
use std::collections::HashMap;

/// Directories that are told apart; differences in others are counted together.
const DIRECTORIES_MAX: usize = 100_000;
/// Findings that are kept in all.
const KEPT_MAX: usize = 100_000;
/// Mailboxes besides that are named though nothing is wrong with them, of each verdict; of more only the number is told.
const NAMED_MAX: usize = 100_000;

/// A directory in which something differs.
#[derive(Default)]
pub struct Group {
    /// Paths that differ in it.
    pub paths: u64,
    /// Differences of the first of them.
    pub shown: Vec<(Difference, Option<Why>)>,
    last: Option<RelPath>,
}

/// A mailbox in which something is wrong.
pub struct Troubled {
    /// Where.
    pub path: RelPath,
    /// What.
    pub troubles: Vec<Trouble>,
    /// What both sides have of it; the source first.
    pub sides: Box<[Option<Mailbox>; 2]>,
}

/// What is kept of the findings.
#[derive(Default)]
pub struct Gathered {
    groups: HashMap<RelPath, Group>,
    /// Paths in directories that are not told apart.
    pub elsewhere: u64,
    /// Paths that kept changing, the first of them.
    pub busy: Vec<RelPath>,
    /// How many there are.
    pub busy_count: u64,
    /// Mailboxes in which something is wrong, the first of them.
    pub mailboxes: Vec<Troubled>,
    /// Mailboxes that are the same, and how many messages are in them, the first of them.
    pub equal_mailboxes: Vec<(RelPath, u64)>,
    /// Mailboxes of which nothing is certain, the first of them.
    pub uncertain_mailboxes: Vec<RelPath>,
    /// Paths that are on their way, and why they are held, the first of them.
    pub arriving: Vec<(RelPath, Option<HeldReason>)>,
    /// Files that have rotted on the source: what was recorded, and whether the replica has it; the first of them.
    pub corrupt: Vec<(RelPath, Hash, bool)>,
    /// Paths that could not be read, the first of them.
    pub unread: Vec<(Side, Unread)>,
    kept: usize,
    limit: usize,
}

impl Gathered {
    /// Keeps `limit` paths of each directory.
    pub fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Takes one in.
    pub fn add(&mut self, finding: Finding) {
        let room = self.kept < KEPT_MAX;
        match finding {
            Finding::Difference(difference, why) => self.add_difference(difference, why, room),
            Finding::Arriving { path, held } => {
                if self.arriving.len() < self.limit && room {
                    self.kept += 1;
                    self.arriving.push((path, held));
                }
            }
            Finding::Corrupt { path, recorded, good_copy, .. } => {
                if self.corrupt.len() < self.limit && room {
                    self.kept += 1;
                    self.corrupt.push((path, recorded, good_copy));
                }
            }
            // It is put to the difference before.
            Finding::Further { .. } => {}
            Finding::Busy(path) => {
                self.busy_count += 1;
                if self.busy.len() < self.limit && room {
                    self.kept += 1;
                    self.busy.push(path);
                }
            }
            Finding::Mailbox { path, troubles, sides } => match MailVerdict::of(&troubles) {
                MailVerdict::Troubled => {
                    if self.mailboxes.len() < self.limit && room {
                        self.kept += 1;
                        self.mailboxes.push(Troubled { path, troubles, sides });
                    }
                }
                MailVerdict::Equal => {
                    if self.equal_mailboxes.len() < self.limit.min(NAMED_MAX) {
                        let messages = sides.iter().flatten().next().map_or(0, |mailbox| mailbox.messages);
                        self.equal_mailboxes.push((path, messages));
                    }
                }
                MailVerdict::Uncertain => {
                    if self.uncertain_mailboxes.len() < self.limit.min(NAMED_MAX) {
                        self.uncertain_mailboxes.push(path);
                    }
                }
            },
            Finding::Unreadable { side, unread } => {
                if self.unread.len() < self.limit && room {
                    self.kept += 1;
                    self.unread.push((side, unread));
                }
            }
        }
    }

    fn add_difference(&mut self, difference: Difference, why: Option<Why>, room: bool) {
        let directory = difference.path.parent().unwrap_or_else(RelPath::root);
        if self.groups.len() >= DIRECTORIES_MAX && !self.groups.contains_key(&directory) {
            self.elsewhere += 1;
            return;
        }
        let group = self.groups.entry(directory).or_default();
        let further = group.last.as_ref() != Some(&difference.path);
        if further {
            group.paths += 1;
            group.last = Some(difference.path.clone());
        }
        if group.paths <= self.limit as u64 && room {
            self.kept += 1;
            group.shown.push((difference, why));
        }
    }

    /// Directories, that with the most paths that differ first.
    pub fn directories(&self) -> Vec<(&RelPath, &Group)> {
        let mut all: Vec<_> = self.groups.iter().collect();
        all.sort_by(|(a, one), (b, other)| other.paths.cmp(&one.paths).then_with(|| a.cmp(b)));
        all
    }
}
