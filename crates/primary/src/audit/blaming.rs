//! Whose doing a difference is. Only beside a running primary, which has records to tell.
//!
//! A difference is first taken for one that is about to go away: everything that has happened is put into the queue, and where
//! something is on its way to the replica the path is looked at again later. Only where nothing is, and both sides still are as
//! they were when they were compared, somebody is to be blamed.

use super::inspection::Visit;
use super::repair::Repair;
use super::suspects::{Suspect, same};
use super::verdict::{Finding, Why};
use crate::Result;
use fulmar_model::{
    Aspect, Blame, Difference, HeldReason, Look, Recorded, RelPath, Sighting, Standing, holds_good_copy,
};
use fulmar_store::{Pending, Reach, Work};
use fulmar_wire::LOOKS_MAX;
use std::collections::HashSet;

impl Visit {
    /// Tells what is to be blamed for, and gives back what must be looked at again. Without records everything is told as
    /// it is.
    pub(super) async fn blame(&mut self, mut certain: Vec<(Suspect, Vec<Difference>)>) -> Result<Vec<Suspect>> {
        if certain.is_empty() {
            return Ok(Vec::new());
        }
        let Some(ledger) = &self.ledger else {
            for (suspect, differences) in certain {
                for difference in differences {
                    self.tell(Finding::Difference(difference, None)).await?;
                }
                self.go_on(suspect).await?;
            }
            return Ok(Vec::new());
        };
        ledger.pass().await?;
        let mut open = Vec::new();
        while !certain.is_empty() {
            let rest = certain.split_off(certain.len().min(LOOKS_MAX));
            let some = std::mem::replace(&mut certain, rest);
            let paths = some.iter().map(|(suspect, differences)| (suspect.path.clone(), reach(differences)));
            let pending = self.pending(paths.collect()).await?;
            let mut settled = Vec::new();
            for ((suspect, differences), pending) in some.into_iter().zip(pending) {
                match pending {
                    None => settled.push((suspect, differences)),
                    // The very thing it is held for.
                    Some(Pending::Left(Work::Held { reason: HeldReason::Corrupt, .. }))
                        if has_content(&differences) =>
                    {
                        settled.push((suspect, differences));
                    }
                    Some(Pending::Left(Work::Held { reason, .. })) => self.arriving(suspect.path, Some(reason)).await?,
                    Some(_) => open.push(suspect),
                }
            }
            let looks = self.look(settled.iter().map(|(suspect, _)| (suspect.path.clone(), false)).collect()).await?;
            for ((suspect, differences), (source, replica)) in settled.into_iter().zip(looks) {
                let unmoved =
                    |held: &super::suspects::Held| same(&held.source, &source) && same(&held.replica, &replica);
                match suspect.held.as_ref().filter(|held| unmoved(held)) {
                    Some(held) => {
                        let (source, replica) = (held.source.clone(), held.replica.clone());
                        self.explain(&suspect, differences, &source, &replica).await?;
                        self.go_on(suspect).await?;
                    }
                    None => open.push(suspect),
                }
            }
        }
        Ok(open)
    }

    async fn explain(
        &mut self,
        suspect: &Suspect,
        differences: Vec<Difference>,
        source: &Look,
        replica: &Look,
    ) -> Result<()> {
        let good_copy = holds_good_copy(source, replica);
        let why = |difference: &Difference| {
            let blame = Blame::of(difference.aspect, source, replica)?;
            Some(Why { blame, good_copy, repaired: None })
        };
        let told: Vec<_> = differences.into_iter().map(|one| (why(&one), one)).map(|(why, one)| (one, why)).collect();
        let is = |wanted| told.iter().any(|(_, why)| why.is_some_and(|why| why.blame == wanted));
        if is(Blame::CorruptSource) {
            self.rotten.insert(suspect.path.clone());
        } else if self.ledger.as_ref().is_some_and(super::insight::Ledger::repairs) {
            return self.repair_later(Repair::of(suspect, told, source, replica)).await;
        }
        for (difference, why) in told {
            self.tell(Finding::Difference(difference, why)).await?;
        }
        Ok(())
    }

    /// Names that are one file on one side only.
    pub(super) async fn blame_links(
        &mut self,
        difference: Difference,
        looks: &[(RelPath, (Look, Look))],
    ) -> Result<()> {
        let Some(ledger) = &self.ledger else { return self.tell(Finding::Difference(difference, None)).await };
        ledger.pass().await?;
        let paths = looks.iter().map(|(path, _)| (path.clone(), Reach::Path)).collect();
        if self.pending(paths).await?.iter().any(Option::is_some) {
            return self.arriving(difference.path, None).await;
        }
        let any = |changed: fn(&(Look, Look)) -> bool| looks.iter().any(|(_, both)| changed(both));
        let blame = match (any(|(_, there)| has_changed(there)), any(|(here, _)| has_changed(here))) {
            (true, _) => Blame::Drift,
            (_, true) => Blame::Missed,
            _ => Blame::NeverArrived,
        };
        let why = Some(Why { blame, good_copy: false, repaired: None });
        if self.ledger.as_ref().is_some_and(super::insight::Ledger::repairs) {
            let paths = looks.iter().map(|(path, _)| path.clone()).collect();
            return self.repair_later(Repair::of_links(paths, difference, why)).await;
        }
        self.tell(Finding::Difference(difference, why)).await
    }

    /// What kept changing until the end, or is still on its way.
    pub(super) async fn give_up(&mut self, path: RelPath) -> Result<()> {
        if self.ledger.is_some() {
            match self.pending(vec![(path.clone(), Reach::Below)]).await?.pop().flatten() {
                Some(Pending::Left(Work::Held { reason, .. })) => return self.arriving(path, Some(reason)).await,
                Some(_) => return self.arriving(path, None).await,
                None => {}
            }
        }
        self.busy(path).await
    }

    pub(super) async fn pending(&mut self, paths: Vec<(RelPath, Reach)>) -> Result<Vec<Option<Pending>>> {
        match &self.ledger {
            Some(ledger) => ledger.pending(paths).await,
            None => Ok(vec![None; paths.len()]),
        }
    }

    async fn arriving(&mut self, path: RelPath, held: Option<HeldReason>) -> Result<()> {
        self.tell(Finding::Arriving { path, held }).await
    }

    /// What has rotted on the source is told where no replica differs there, too: then the rot was shipped, or the record is
    /// wrong, and somebody must know. What is not remembered by name is counted.
    pub(super) async fn tell_rotten(&mut self) -> Result<()> {
        if self.ledger.is_none() {
            return Ok(());
        }
        let named = self.source.rotten();
        let nameless = nameless(self.source.counts().rotten, named, &self.rotten);
        self.verdict.corrupt = self.verdict.corrupt.saturating_add(nameless);
        let left: Vec<_> = named.iter().filter(|path| !self.rotten.contains(path)).cloned().collect();
        for some in left.chunks(LOOKS_MAX) {
            let looks = self.look(some.iter().map(|path| (path.clone(), true)).collect()).await?;
            for (path, (source, replica)) in some.iter().zip(looks) {
                let good_copy = holds_good_copy(&source, &replica);
                if let (Some(Recorded { standing: Standing::Corrupt, hash: Some(recorded) }), Some(found)) =
                    (source.recorded, source.hash())
                {
                    self.tell(Finding::Corrupt { path: path.clone(), recorded, found, good_copy }).await?;
                }
            }
        }
        Ok(())
    }
}

/// Of `all` that has rotted, what is neither among `named` nor was told as a difference.
fn nameless(all: u64, named: &[RelPath], told: &HashSet<RelPath>) -> u64 {
    let among = named.iter().filter(|path| told.contains(path)).count();
    let others = (told.len() - among) as u64;
    all.saturating_sub(named.len() as u64).saturating_sub(others)
}

fn has_changed(look: &Look) -> bool {
    look.recorded.is_some_and(|recorded| recorded.standing == Standing::Changed)
        && !matches!(look.what, Sighting::Unreadable { .. })
}

fn has_content(differences: &[Difference]) -> bool {
    differences.iter().any(|difference| difference.aspect == Aspect::Content)
}

/// What is on its way below a directory moves its times, and may be what is missing in it; it explains nothing else.
fn reach(differences: &[Difference]) -> Reach {
    let below = |aspect| matches!(aspect, Aspect::Mtime | Aspect::Missing | Aspect::Extra | Aspect::Kind);
    if differences.iter().all(|difference| below(difference.aspect)) { Reach::Below } else { Reach::Path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_rotted_without_being_remembered_is_counted_unless_it_was_told() {
        let path = |text: &str| RelPath::parse(text.as_bytes()).expect("a path");
        let named = [path("a"), path("b")];
        for (all, told, left) in
            [(2, &[][..], 0), (5, &[], 3), (5, &["a"], 3), (5, &["a", "x"], 2), (3, &["x", "y"], 0)]
        {
            let told = told.iter().map(|at| path(at)).collect();
            assert_eq!(nameless(all, &named, &told), left, "{all} {told:?}");
        }
    }
}
