//! What differs goes back into the queue, and is looked at, planned and shipped like any other change. What somebody else did
//! on the replica goes to the quarantine there, as ever.

use crate::Result;
use crate::audit::Finding;
use crate::capture::advance;
use crate::clock::Clock;
use crate::keeper::Keeper;
use crate::planner::Planner;
use fulmar_model::{Aspect, Difference, Kind, RelPath, ReplicaId, Scope, Seq, Value};
use fulmar_store::{Ack, NewChange, Outstanding, Queue, Work};
use tokio::sync::watch;

/// Ways to where it is queued.
pub(super) struct Mender {
    pub(super) queue: Keeper<Queue>,
    pub(super) planner: Keeper<Planner>,
    /// The highest position, told to the sessions.
    pub(super) last: watch::Sender<Seq>,
    pub(super) clock: Clock,
}

/// What is queued.
#[derive(Debug, Default)]
struct Queued {
    /// Anybody may lack it: a change, as an event would have made it.
    changes: Vec<RelPath>,
    /// This replica has work to do there.
    work: Vec<(RelPath, Work)>,
    /// How many paths are going to be removed by it.
    removals: u64,
}

impl Mender {
    /// Queues what was found on a replica.
    pub(super) async fn mend(&self, replica: ReplicaId, findings: &[Finding]) -> Result<()> {
        let mut queued = Queued::default();
        findings.iter().for_each(|finding| queued.add(finding));
        let Queued { changes, work, removals } = queued;
        let now = (self.clock)();
        if removals > 0 {
            let expect = move |planner: &mut Planner| planner.expect_removals(Some(replica), removals);
            self.planner.ask(expect).await??;
        }
        if !work.is_empty() {
            let row = |(path, work)| Outstanding { path, work, since_ms: now, attempts: 0, retry_ms: 0, after: None };
            let rows: Vec<_> = work.into_iter().map(row).collect();
            let put = move |queue: &mut Queue| queue.acknowledge(replica, Ack { add: &rows, ..Ack::default() });
            self.queue.ask(put).await??;
        }
        if !changes.is_empty() {
            let change = |path| NewChange { path, scope: Scope::Path, first_seen_ms: now };
            let changes: Vec<_> = changes.into_iter().map(change).collect();
            advance(&self.last, self.queue.ask(move |queue| queue.put(&changes)).await??);
        }
        Ok(())
    }
}

impl Queued {
    fn add(&mut self, finding: &Finding) {
        // Of the others nothing can be said, and there is nothing to be done.
        let Finding::Difference(Difference { path, aspect, source, replica }) = finding else { return };
        let is_directory =
            |value: &Value| matches!(value, Value::Entry { kind: Kind::Directory, .. } | Value::Kind(Kind::Directory));
        match aspect {
            Aspect::Missing | Aspect::Kind if is_directory(source) => self.work.push((path.clone(), Work::Compare)),
            Aspect::Extra => {
                let below = match replica {
                    Value::Entry { below: Some(below), .. } => below.entries,
                    _ => 0,
                };
                self.removals = self.removals.saturating_add(below).saturating_add(1);
                // Planned by its session, which sees that it is gone and removes it behind everything else.
                self.work.push((path.clone(), Work::Again));
            }
            Aspect::Links => {
                for value in [source, replica] {
                    if let Value::Groups(groups) = value {
                        self.changes.extend(groups.iter().flatten().cloned());
                    }
                }
            }
            _ => self.changes.push(path.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulmar_model::{Side, Tally, Unread};

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a path")
    }

    #[test]
    fn what_differs_is_queued_by_what_the_replica_lacks_and_nothing_else_is() {
        let entry = |kind, entries| Value::Entry {
            kind,
            size: 0,
            below: (kind == Kind::Directory).then_some(Tally { entries, files: 0, bytes: 0 }),
        };
        let groups = |names: &[&str]| Value::Groups(vec![names.iter().map(|name| path(name)).collect()]);
        let found = [
            ("file", Aspect::Missing, entry(Kind::File, 0), Value::Nothing),
            ("tree", Aspect::Missing, entry(Kind::Directory, 9), Value::Nothing),
            ("was a file", Aspect::Kind, Value::Kind(Kind::Directory), Value::Kind(Kind::File)),
            ("was a tree", Aspect::Kind, Value::Kind(Kind::File), Value::Kind(Kind::Directory)),
            ("stray", Aspect::Extra, Value::Nothing, entry(Kind::File, 0)),
            ("stray tree", Aspect::Extra, Value::Nothing, entry(Kind::Directory, 40)),
            ("mode", Aspect::Mode, Value::Mode(1), Value::Mode(2)),
            ("a", Aspect::Links, groups(&["a", "b"]), groups(&["a"])),
        ];
        let mut queued = Queued::default();
        for (at, aspect, source, replica) in found {
            queued.add(&Finding::Difference(Difference { path: path(at), aspect, source, replica }));
        }
        queued.add(&Finding::Busy(path("busy")));
        let unread = Unread { path: path("unread"), errno: 5 };
        queued.add(&Finding::Unreadable { side: Side::Replica, unread });
        assert_eq!(queued.changes, ["file", "was a tree", "mode", "a", "b", "a"].map(path));
        let work = [
            ("tree", Work::Compare),
            ("was a file", Work::Compare),
            ("stray", Work::Again),
            ("stray tree", Work::Again),
        ];
        assert_eq!(queued.work, work.map(|(at, work)| (path(at), work)));
        assert_eq!(queued.removals, 42);
    }
}
