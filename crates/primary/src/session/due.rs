//! Outstanding work whose time has come: what is tried again, what is compared, and large files, which flow beside the batches.

use super::Until;
use super::flight::{Errand, Left, retry_ms};
use super::visit::{ASKED_MAX, Visit};
use crate::Result;
use crate::chunks::{Arrived, Delivered, Delivery, Parcel, SHIPPING_MAX, STREAMS_EACH, Ship};
use crate::guard::GuardState;
use crate::plan::Have;
use crate::step::Action;
use fulmar_link::Lane;
use fulmar_model::{HeldReason, Kind, RelPath};
use fulmar_store::{Outstanding, Work};
use fulmar_wire::{DOUBTS_MAX, FromPrimary};
use std::collections::HashSet;

/// In `attempts`: the path is with the shipper.
const SHIPPING: u32 = u32::MAX;

/// Large files in the replica's stage that wait for a batch, at most.
const ARRIVED_MAX: usize = 64;

impl Visit<'_> {
    /// Puts outstanding work that is due to work. While a plan is being made or comes next only large files, which flow beside
    /// it: the others would be planned behind it, and may be part of it.
    pub(super) async fn take_due(&mut self) -> Result<()> {
        let planning = self.is_planning();
        let (replica, now) = (self.replica, (self.session.clock)());
        // Files that are on their way are still outstanding, and may be the first.
        let content = self.busy.len() + SHIPPING_MAX;
        if self.session.would.is_some() {
            return Ok(());
        }
        let clear = self.outstanding.approval > 0
            && self.session.planner.ask(|planner| planner.guard.state()).await? == GuardState::Clear;
        let rows = self
            .session
            .queue
            .ask(move |queue| {
                if clear {
                    queue.reconsider(replica)?;
                }
                let count = queue.outstanding_count(replica)?;
                let rows = if count.total() > 0 { queue.due(replica, now, (ASKED_MAX, content))? } else { Vec::new() };
                Ok::<_, fulmar_store::Error>((count, rows))
            })
            .await??;
        let (count, rows) = rows;
        self.outstanding = count;
        // It may have turned out to be gone, and needs no comparison any more.
        if self.fence.as_ref().is_some_and(|(path, _)| !rows.iter().any(|row| row.path == *path)) {
            self.fence = None;
        }
        let delay_max = i64::try_from(self.session.delay_max.as_millis()).unwrap_or(i64::MAX);
        let mut doubted = Vec::new();
        for row in rows {
            if self.busy.contains_key(&row.path) || (planning && row.work != Work::Content) {
                continue;
            }
            let torn = now - row.since_ms > delay_max;
            match row.work {
                // A run that ends does not wait for what is held to heal.
                Work::Held { .. } if self.session.until == Until::InSync && row.attempts > 0 => continue,
                Work::Compare => {
                    self.compare_due(row).await?;
                    continue;
                }
                Work::Held { reason: HeldReason::Unreadable, .. } if self.is_directory(&row.path) => {
                    self.compare_due(row).await?;
                    continue;
                }
                Work::Doubted => {
                    doubted.push(row.path.clone());
                    self.retries.push_back((row.path.clone(), Have::Nothing));
                }
                Work::Held { .. } => self.retries.push_back((row.path.clone(), Have::Unknown)),
                Work::Again if torn => self.retries.push_back((row.path.clone(), Have::NothingTorn)),
                Work::Again => self.retries.push_back((row.path.clone(), Have::Nothing)),
                Work::Content => {
                    if self.shipping() >= SHIPPING_MAX || self.arrived.len() >= ARRIVED_MAX {
                        continue;
                    }
                    let at = row.path.clone();
                    let known = self.session.planner.ask(move |planner| planner.catalog.get(&at)).await??;
                    let (path, stream) = (row.path.clone(), self.next_stream);
                    self.next_stream += STREAMS_EACH;
                    self.shipping.tell(Parcel::Ship(Ship { path, stream, torn, known }))?;
                    self.attempts.insert(row.path.clone(), SHIPPING);
                    self.busy.insert(row.path, row.since_ms);
                    continue;
                }
                // `removals` has them.
                Work::Gone { .. } => continue,
            }
            self.attempts.insert(row.path.clone(), row.attempts + 1);
            self.busy.insert(row.path, row.since_ms);
        }
        // Before whatever is planned for them.
        for paths in doubted.chunks(DOUBTS_MAX) {
            let doubt = FromPrimary::Doubt { paths: paths.to_vec() };
            self.sender.send(Lane::Urgent, doubt.encode()?).await?;
        }
        Ok(())
    }

    /// A comparison begins when everything that was sent before has been answered: it would see neither what a batch
    /// under way is about to move into the subtree, nor what that is about to leave there.
    async fn compare_due(&mut self, row: Outstanding) -> Result<()> {
        if self.comparing.is_some() {
            return Ok(());
        }
        let sent = match &self.fence {
            Some((path, batch)) if *path == row.path => *batch,
            Some(_) => return Ok(()),
            None => self.next_batch,
        };
        self.fence = self.flights.front().filter(|first| first.number < sent).map(|_| (row.path.clone(), sent));
        if self.fence.is_none() {
            self.begin_comparison(row.path, row.since_ms, row.after).await?;
        }
        Ok(())
    }

    pub(super) fn is_directory(&self, path: &RelPath) -> bool {
        self.tree.stat(path).is_ok_and(|stat| stat.is_some_and(|stat| stat.kind == Kind::Directory))
    }

    fn shipping(&self) -> usize {
        self.attempts.values().filter(|attempts| **attempts == SHIPPING).count()
    }

    /// A large file has reached the replica's stage, or will not.
    pub(super) async fn delivered(&mut self, delivery: Delivery) -> Result<()> {
        let Delivery { path, stream, result, sent } = delivery;
        self.session.pulse.send_modify(|pulse| pulse.bytes += sent);
        self.attempts.remove(&path);
        self.due = true;
        let now = (self.session.clock)();
        let left = |work, retry_ms| Left::new(work, retry_ms).at(path.clone(), now);
        let (content, torn) = match result {
            Delivered::Whole(content) => (content, false),
            Delivered::Torn(content) => (content, true),
            Delivered::Moving => {
                self.busy.remove(&path);
                return self.leave(left(Work::Content, now + 1000)).await;
            }
            Delivered::Changed => {
                self.busy.remove(&path);
                return self.leave(left(Work::Again, now)).await;
            }
            Delivered::Unreadable(errno) => {
                self.busy.remove(&path);
                let work = Work::Held { reason: HeldReason::Unreadable, errno };
                return self.leave(left(work, now + 1000)).await;
            }
            Delivered::Rotten => {
                self.busy.remove(&path);
                let reason = HeldReason::Corrupt;
                return self.leave(left(Work::Held { reason, errno: 0 }, retry_ms(reason, 0, now))).await;
            }
        };
        self.arrived.push(Arrived { path, content, stream, torn });
        Ok(())
    }

    /// Uses the large files that have reached the replica's stage, all in one batch.
    pub(super) async fn ship_arrived(&mut self) -> Result<()> {
        let arrived = std::mem::take(&mut self.arrived);
        self.due = true;
        let asked: Vec<_> = arrived.iter().map(|arrived| arrived.path.clone()).collect();
        let streams: Vec<_> = arrived.iter().map(|arrived| (arrived.path.clone(), arrived.stream)).collect();
        let replica = self.replica;
        let steps = self.session.planner.ask(move |planner| planner.shipped(&arrived, replica)).await??;
        let puts = steps.iter().filter(|step| matches!(step.action, Action::Operate { word: "put", .. }));
        let used: HashSet<_> = puts.map(|step| &step.path).collect();
        for (path, stream) in streams {
            if !used.contains(&path) {
                self.sender.send(Lane::Urgent, FromPrimary::Abandon { stream }.encode()?).await?;
            }
        }
        let since_ms = asked.iter().filter_map(|path| self.busy.get(path)).min().copied();
        self.send(steps, Errand { asked, since_ms, ..Errand::default() }).await
    }
}
