//! What differs is put into the queue like anything else that may differ, and looked at again once the replica is said to
//! have it. Nothing is shipped from here.
//!
//! What has rotted on the source is not touched: nobody knows which bytes are right. What has rotted on the replica is there as
//! recorded, for all its stat data say; so its record is doubted first.

use super::groups::same_sets;
use super::insight::Demand;
use super::inspection::Visit;
use super::suspects::{Read, Suspect, is_directory};
use super::verdict::{Finding, Why};
use crate::Result;
use fulmar_model::{Aspect, Blame, Difference, Look, RelPath, Value, differences};
use fulmar_store::{Pending, Reach, Work};
use fulmar_wire::LOOKS_MAX;
use std::time::{Duration, Instant};

/// Differences that wait for their repair; full: they are repaired before more is compared.
const REPAIRS_MAX: usize = 4096;
/// Directories that were repaired with all that is in them, and are gone through again; others are left for the next time.
const TREES_MAX: usize = 16_384;
/// So long nothing may be repaired until the rest counts as not repaired.
const PATIENCE: Duration = Duration::from_secs(300);
/// First and longest pause before another look.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often something is looked at that nothing is on its way to, and that still differs.
const LOOKS: u32 = 3;

/// Something to be repaired.
pub(super) struct Repair {
    /// Where; of names that are to be one file, all of them.
    paths: Vec<RelPath>,
    told: Vec<(Difference, Option<Why>)>,
    work: Work,
    /// Whether content is read to see that it is repaired.
    content: bool,
    looks: u32,
}

impl Repair {
    pub(super) fn of(suspect: &Suspect, told: Vec<(Difference, Option<Why>)>, source: &Look, replica: &Look) -> Self {
        let is_corrupt = told.iter().any(|(_, why)| why.is_some_and(|why| why.blame == Blame::CorruptReplica));
        let work = match is_directory(source) && !is_directory(replica) {
            // With all that is in it.
            true => Work::Compare,
            false if is_corrupt => Work::Doubted,
            false => Work::Again,
        };
        Self { paths: vec![suspect.path.clone()], told, work, content: suspect.read == Read::Always, looks: 0 }
    }

    pub(super) fn of_links(paths: Vec<RelPath>, difference: Difference, why: Option<Why>) -> Self {
        Self { paths, told: vec![(difference, why)], work: Work::Again, content: false, looks: 0 }
    }

    fn is_links(&self) -> bool {
        self.told.iter().any(|(difference, _)| difference.aspect == Aspect::Links)
    }

    fn is_missed(&self) -> bool {
        self.told.iter().any(|(_, why)| why.is_some_and(|why| why.blame == Blame::Missed))
    }

    /// Paths that go when it is repaired.
    fn removals(&self) -> u64 {
        let one = |difference: &Difference| match (&difference.aspect, &difference.replica) {
            (Aspect::Extra, Value::Entry { below, .. }) => below.map_or(1, |below| below.entries.saturating_add(1)),
            _ => 0,
        };
        self.told.iter().fold(0, |sum, (difference, _)| sum.saturating_add(one(difference)))
    }

    fn demands(&self) -> impl Iterator<Item = Demand> {
        let demand = |path: &RelPath| match self.is_missed() {
            true => Demand::Change(path.clone()),
            false => Demand::Work(path.clone(), self.work),
        };
        self.paths.iter().map(demand)
    }

    fn reach(&self) -> Reach {
        if self.work == Work::Compare || self.is_missed() { Reach::Below } else { Reach::Path }
    }
}

impl Visit {
    /// Unless it is in a directory that was repaired before: what is found there is told, and not repaired again.
    pub(super) async fn repair_later(&mut self, repair: Repair) -> Result<()> {
        let within = |path: &RelPath| path.ancestors().iter().any(|above| self.repaired_trees.contains(above));
        let too_many = repair.work == Work::Compare && self.repaired_trees.len() >= TREES_MAX;
        if too_many || repair.paths.iter().any(within) {
            return self.repaired(repair, false).await;
        }
        self.repairs.push(repair);
        if self.repairs.len() >= REPAIRS_MAX { self.repair().await } else { Ok(()) }
    }

    /// Has everything repaired that waits for it, and tells what came of it.
    pub(super) async fn repair(&mut self) -> Result<()> {
        let mut left = std::mem::take(&mut self.repairs);
        let Some(ledger) = self.ledger.as_ref().filter(|_| !left.is_empty()) else { return Ok(()) };
        let removals = left.iter().map(Repair::removals).fold(0, u64::saturating_add);
        ledger.demand(left.iter().flat_map(Repair::demands).collect(), removals).await?;
        let (mut pause, mut last) = (PAUSE_MIN, Instant::now());
        while !left.is_empty() {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            let count = left.len();
            left = self.repair_round(left).await?;
            if left.len() < count {
                (pause, last) = (PAUSE_MIN, Instant::now());
            } else if last.elapsed() > PATIENCE {
                for repair in std::mem::take(&mut left) {
                    self.repaired(repair, false).await?;
                }
            }
        }
        Ok(())
    }

    /// What is not decided yet.
    async fn repair_round(&mut self, repairs: Vec<Repair>) -> Result<Vec<Repair>> {
        let mut open = Vec::new();
        for mut repair in repairs {
            let paths = repair.paths.iter().map(|path| (path.clone(), repair.reach())).collect();
            let pending = self.pending(paths).await?;
            if pending.iter().any(|one| matches!(one, Some(Pending::Left(Work::Held { .. })))) {
                self.repaired(repair, false).await?;
            } else if pending.iter().any(Option::is_some) {
                open.push(repair);
            } else if self.is_repaired(&repair).await? {
                self.repaired(repair, true).await?;
            } else {
                repair.looks += 1;
                match repair.looks < LOOKS {
                    true => open.push(repair),
                    false => self.repaired(repair, false).await?,
                }
            }
        }
        Ok(open)
    }

    async fn is_repaired(&mut self, repair: &Repair) -> Result<bool> {
        let mut looks = Vec::new();
        for some in repair.paths.chunks(LOOKS_MAX) {
            let asked = some.iter().map(|path| (path.clone(), repair.content)).collect();
            looks.extend(some.iter().cloned().zip(self.look(asked).await?));
        }
        if repair.is_links() {
            return Ok(same_sets(&looks));
        }
        Ok(looks.iter().all(|(path, (source, replica))| differences(path, &source.what, &replica.what).is_empty()))
    }

    async fn repaired(&mut self, repair: Repair, done: bool) -> Result<()> {
        if let (true, Work::Compare, Some(path)) = (done, repair.work, repair.paths.first()) {
            self.repaired_trees.insert(path.clone());
            self.descend_into(path.clone());
        }
        for (difference, why) in repair.told {
            let why = why.map(|why| Why { repaired: Some(done), ..why });
            self.tell(Finding::Difference(difference, why)).await?;
        }
        Ok(())
    }
}
