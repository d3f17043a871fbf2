//! What is written down of a replica: where it goes on, how far it is, and what is left over.

use super::flight::{Errand, Left};
use super::visit::Visit;
use super::{Session, Until};
use crate::Result;
use fulmar_model::{RelPath, Seq};
use fulmar_store::{Ack, Outstanding, Work};
use fulmar_wire::Welcome;

impl Visit<'_> {
    /// The replica has everything up to here: it says so when it is reached again, and is not compared then.
    pub(super) async fn note_position(&mut self) -> Result<()> {
        if self.noted || self.session.would.is_some() {
            return Ok(());
        }
        self.send(Vec::new(), Errand { position: Some(self.position), ..Errand::default() }).await
    }

    /// Writes down work that no batch leaves over.
    pub(super) async fn leave(&mut self, row: Outstanding) -> Result<()> {
        self.acknowledge(None, vec![row], Settled::default()).await?;
        // Who waits for it need not wait any longer where it is held.
        self.session.progress.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Moves the cursor, and writes down what is left over and what is settled.
    pub(super) async fn acknowledge(
        &mut self,
        cursor: Option<Seq>,
        add: Vec<Outstanding>,
        settled: Settled,
    ) -> Result<()> {
        let replica = self.replica;
        let Settled { done, made, removed } = settled;
        let nothing = cursor.is_none() && [add.len(), done.len(), made.len(), removed.len()] == [0; 4];
        if self.session.would.is_some() || nothing {
            return Ok(());
        }
        self.removals.note(&add);
        for row in &add {
            tracing::debug!(path = %row.path, work = ?row.work, after = row.after.as_ref().map(tracing::field::display), "left over");
        }
        self.outstanding = self
            .session
            .queue
            .ask(move |queue| {
                let ack = Ack { cursor, add: &add, done: &done, made: &made, removed: &removed, compared: None };
                queue.acknowledge(replica, ack)?;
                queue.outstanding_count(replica)
            })
            .await??;
        Ok(())
    }

    /// A subtree was compared from end to end, or cannot be.
    pub(super) async fn compared_whole(&mut self, subtree: RelPath, left: Option<Outstanding>) -> Result<()> {
        let replica = self.replica;
        if self.session.would.is_some() {
            return Ok(());
        }
        let add: Vec<_> = left.into_iter().collect();
        self.removals.note(&add);
        self.outstanding = self
            .session
            .queue
            .ask(move |queue| {
                queue.acknowledge(replica, Ack { compared: Some(&subtree), add: &add, ..Ack::default() })?;
                queue.outstanding_count(replica)
            })
            .await??;
        Ok(())
    }
}

/// Paths whose outstanding work a batch has settled; see [`Ack`].
#[derive(Default)]
pub(super) struct Settled {
    pub(super) done: Vec<RelPath>,
    pub(super) made: Vec<RelPath>,
    pub(super) removed: Vec<RelPath>,
}

/// Where to go on: at the replica's own position, if the queue still has everything behind it; else with a comparison.
/// Also whether the replica knows a position that will do for the next time.
pub(super) async fn resume(session: &Session, welcome: &Welcome) -> Result<(Seq, bool)> {
    if session.would.is_some() {
        // A dry run leaves no trace.
        return Ok((session.queue.ask(|queue| queue.last()).await?, true));
    }
    let (replica, name) = (welcome.replica, session.endpoint.name.clone());
    let position = welcome.position;
    let compare = session.until == Until::InSync;
    let now = (session.clock)();
    let resumed = session
        .queue
        .ask(move |queue| {
            let known = queue.register(replica, &name)?;
            let resumable = match (position, known.cursor) {
                // What the replica has beyond the cursor may have left work behind that was never written down.
                (Some((life, seq)), Some(cursor)) if life == queue.id() && queue.can_resume(seq.min(cursor))? => {
                    Some(seq.min(cursor))
                }
                _ => None,
            };
            if let (Some(seq), false) = (resumable, compare) {
                return Ok((seq, true));
            }
            // What is queued up to here was noticed before the comparison looks: it is covered.
            let start = queue.last();
            // It takes the place of what was to be done, and is as old as that: who waits for that waits for this.
            let behind = known.cursor.map(|cursor| queue.backlog(cursor)).transpose()?.and_then(|rows| rows.oldest_ms);
            let left = queue.outstanding_since(replica)?;
            let since = [behind, left].into_iter().flatten().fold(now, i64::min);
            queue.reset_cursor(replica)?;
            let whole = Left::new(Work::Compare, 0).at(RelPath::root(), since);
            queue.acknowledge(replica, Ack { cursor: Some(start), add: &[whole], ..Ack::default() })?;
            Ok::<_, fulmar_store::Error>((start, position == Some((queue.id(), start))))
        })
        .await??;
    Ok(resumed)
}
