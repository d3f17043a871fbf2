//! Mailboxes, where the tree is one of Maildirs: what each side's names, sizes and lists of UIDs say, and whether they agree.
//!
//! Where everything else is equal the replica is not asked. Else what does not agree is looked at again on both sides, as any
//! difference is, until it agrees, or is certain, or has kept changing too long.
//!
//! Every mailbox is told, as soon as its verdict is known, and then forgotten. What is in memory are those of the source, once for all
//! replicas (a path and some 150 bytes each, and the names of ten messages of those in which something is wrong), a page of the
//! replica's, and the suspects.

use super::inspection::Visit;
use super::verdict::{Census, Finding};
use super::{PAUSES_MS, STILL};
use crate::{Error, Result};
use fulmar_model::{MailVerdict, Mailbox, RelPath, Trouble, troubles};
use fulmar_tree::audit::{mailbox_at, mailboxes};
use fulmar_wire::{LOOKS_MAX, Question};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What both sides have of a mailbox; the source first.
type Sides = [Option<Mailbox>; 2];

/// Mailboxes of a replica that are gone through; nobody has so many.
const MAILBOXES_MAX: u64 = 10_000_000;
/// Mailboxes in which something seems to be wrong that are looked at again; more of them are uncertain.
const SUSPECTS_MAX: usize = 20_000;

/// One in which something seems to be wrong, and since when it looks so.
struct Suspect {
    sides: Sides,
    since: Instant,
}

/// What came of both sides' lists.
struct Matched {
    suspects: BTreeMap<RelPath, Suspect>,
    since: Instant,
    count: u64,
}

impl Matched {
    fn new(since: Instant) -> Self {
        Self { suspects: BTreeMap::new(), since, count: 0 }
    }
}

impl Visit {
    pub(super) async fn compare_mailboxes(&mut self) -> Result<()> {
        let Some(cell) = self.mailboxes.clone() else { return Ok(()) };
        let (source, meter) = (self.source.clone(), self.meter.clone());
        let look = || async {
            let work = tokio::task::spawn_blocking(move || mailboxes(source.tree(), source.how(), &meter));
            Ok::<_, Error>(work.await.map_err(|_| Error::Gone)??)
        };
        let ours = cell.get_or_try_init(look).await?;
        let mut census = Census::default();
        self.flaws.settle(ours, &self.verdict);
        if self.verdict.is_equal() {
            for mailbox in ours {
                let sides = [Some(mailbox.clone()), Some(mailbox.clone())];
                self.judge(mailbox.path.clone(), sides, &mut census).await?;
            }
        } else {
            let suspects = self.match_up(ours, &mut census).await?;
            self.look_again(suspects, &mut census).await?;
        }
        self.verdict.mailboxes = Some(census);
        Ok(())
    }

    /// Tells what it comes to.
    async fn judge(&mut self, path: RelPath, sides: Sides, census: &mut Census) -> Result<()> {
        let mut troubles = wrong(&sides);
        let known = troubles.iter().any(|trouble| matches!(trouble, Trouble::OnlyOn(_)));
        troubles.extend(self.flaws.of(&path).filter(|_| !known));
        self.tell_mailbox(path, troubles, sides, census).await
    }

    async fn tell_mailbox(
        &mut self,
        path: RelPath,
        troubles: Vec<Trouble>,
        sides: Sides,
        census: &mut Census,
    ) -> Result<()> {
        census.count += 1;
        match MailVerdict::of(&troubles) {
            MailVerdict::Equal => {}
            MailVerdict::Troubled => census.troubled += 1,
            MailVerdict::Uncertain => census.busy += 1,
        }
        self.tell(Finding::Mailbox { path, troubles, sides: Box::new(sides) }).await
    }

    /// Goes through both sides' mailboxes, in order of paths; gives those in which something seems to be wrong.
    async fn match_up(&mut self, ours: &[Mailbox], census: &mut Census) -> Result<BTreeMap<RelPath, Suspect>> {
        let (mut ours, mut matched, mut last) = (ours.iter().peekable(), Matched::new(Instant::now()), None);
        self.far.ask(Question::Mailboxes { paths: Vec::new() }).await?;
        loop {
            let (page, more) = self.far.mailboxes().await?;
            if more && page.is_empty() {
                return Err(Error::Protocol("a page of nothing"));
            }
            for theirs in page {
                if last.as_ref().is_some_and(|last| *last >= theirs.path) {
                    return Err(Error::Protocol("mailboxes out of order"));
                }
                last = Some(theirs.path.clone());
                while let Some(only) = ours.next_if(|mailbox| mailbox.path < theirs.path) {
                    self.meet([Some(only.clone()), None], &mut matched, census).await?;
                }
                let here = ours.next_if(|mailbox| mailbox.path.cmp(&theirs.path) == Ordering::Equal);
                self.meet([here.cloned(), Some(theirs)], &mut matched, census).await?;
                if matched.count > MAILBOXES_MAX {
                    return Err(Error::Protocol("mailboxes without end"));
                }
            }
            if !more {
                break;
            }
        }
        for only in ours {
            self.meet([Some(only.clone()), None], &mut matched, census).await?;
        }
        Ok(matched.suspects)
    }

    /// One mailbox: a suspect, or told.
    async fn meet(&mut self, sides: Sides, matched: &mut Matched, census: &mut Census) -> Result<()> {
        matched.count += 1;
        let Some(path) = sides.iter().flatten().next().map(|mailbox| mailbox.path.clone()) else { return Ok(()) };
        if wrong(&sides).is_empty() {
            self.judge(path, sides, census).await
        } else if matched.suspects.len() < SUSPECTS_MAX {
            matched.suspects.insert(path, Suspect { sides, since: matched.since });
            Ok(())
        } else {
            self.tell_mailbox(path, vec![Trouble::Uncertain], sides, census).await
        }
    }

    async fn look_again(&mut self, mut left: BTreeMap<RelPath, Suspect>, census: &mut Census) -> Result<()> {
        for pause in [0].into_iter().chain(PAUSES_MS) {
            if pause > 0 && !left.is_empty() {
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            let all: Vec<RelPath> = left.keys().cloned().collect();
            for paths in all.chunks(LOOKS_MAX) {
                for (path, sides) in paths.iter().zip(self.look_at_mailboxes(paths).await?) {
                    let Some(suspect) = left.get_mut(path) else { continue };
                    suspect.see(sides);
                    // One that is gone on both sides is none.
                    if suspect.sides.iter().all(Option::is_none) {
                        left.remove(path);
                    } else if (wrong(&suspect.sides).is_empty() || suspect.is_certain())
                        && let Some(suspect) = left.remove(path)
                    {
                        self.judge(path.clone(), suspect.sides, census).await?;
                    }
                }
            }
        }
        for (path, suspect) in left {
            self.busy(path.clone()).await?;
            self.tell_mailbox(path, vec![Trouble::Uncertain], suspect.sides, census).await?;
        }
        Ok(())
    }

    /// What both sides have at these paths, looked at together.
    async fn look_at_mailboxes(&mut self, paths: &[RelPath]) -> Result<Vec<Sides>> {
        self.far.ask(Question::Mailboxes { paths: paths.to_vec() }).await?;
        let (source, meter, wanted) = (self.source.clone(), self.meter.clone(), paths.to_vec());
        let ours = tokio::task::spawn_blocking(move || {
            wanted.iter().map(|path| mailbox_at(source.tree(), path, &meter)).collect::<Vec<_>>()
        });
        let mut theirs = BTreeMap::new();
        loop {
            let (page, more) = self.far.mailboxes().await?;
            if more && page.is_empty() {
                return Err(Error::Protocol("a page of nothing"));
            }
            theirs.extend(page.into_iter().map(|mailbox| (mailbox.path.clone(), mailbox)));
            if theirs.len() > paths.len() {
                return Err(Error::Protocol("mailboxes that were not asked for"));
            }
            if !more {
                break;
            }
        }
        let ours = ours.await.map_err(|_| Error::Gone)?;
        Ok(ours.into_iter().zip(paths).map(|(ours, path)| [ours, theirs.remove(path)]).collect())
    }
}

impl Suspect {
    fn see(&mut self, sides: Sides) {
        let same = |(before, now): (&Option<Mailbox>, &Option<Mailbox>)| match (before, now) {
            (Some(before), Some(now)) => before.says_the_same(now) && now.steady,
            (before, now) => before.is_none() && now.is_none(),
        };
        if !self.sides.iter().zip(&sides).all(same) {
            self.since = Instant::now();
        }
        self.sides = sides;
    }

    /// Whether both sides have been as they are for long enough.
    fn is_certain(&self) -> bool {
        let watched = self.since.elapsed();
        let still = |side: &Option<Mailbox>| {
            let aged = side.as_ref().map_or(Duration::ZERO, |mailbox| Duration::from_millis(mailbox.age_ms));
            side.as_ref().is_none_or(|mailbox| mailbox.steady) && watched.max(aged) >= STILL
        };
        self.sides.iter().all(still)
    }
}

fn wrong(sides: &Sides) -> Vec<Trouble> {
    let [source, replica] = sides;
    troubles(source.as_ref(), replica.as_ref())
}
