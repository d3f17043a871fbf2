//! Large files that are being prepared, or were: each version once for all replicas that need it against the same basis.
//!
//! Shared by the shippers of one primary. The first that wants something leads, the others follow; what is finished stays for
//! replicas that come later, until each has had it, and the least recently used goes first. Bounds: [`KEPT_MAX`] of them, [`SPOOLED_BYTES_MAX`] of patches.

use crate::Result;
use crate::keeper::Keeper;
use crate::preparation::{Follow, Lead, preparation};
use crate::spool::{Spool, Spools};
use fulmar_model::{Hash, RelPath, Stat};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Kept at once, finished or not.
const KEPT_MAX: usize = 64;
/// Shippers that are remembered to have had one.
const HAD_MAX: usize = 64;
/// What the patches among them take together.
const SPOOLED_BYTES_MAX: u64 = 1 << 30;
/// How long a follower that has sent everything waits for its leader to go on: long enough for a thread that waits for a processor
/// or a disk, too short for anybody to notice.
const PATIENCE: Duration = Duration::from_millis(100);

/// What is prepared.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) path: RelPath,
    /// The version.
    pub(crate) stat: Stat,
    pub(crate) against: Against,
}

/// What it is to be sent against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Against {
    /// Nothing.
    Nothing {
        /// Whether its signature is made by the way.
        signed: bool,
    },
    /// The source itself, of which replicas have clones.
    Source,
    /// Content of this hash, with a signature of that one: what one replica claims is no matter of the others.
    Basis(Hash, Hash),
}

impl Key {
    fn is(&self, other: &Self) -> bool {
        let same = self.stat.same_version(&other.stat) && self.stat.device == other.stat.device;
        same && (&self.path, self.against) == (&other.path, other.against)
    }
}

/// Whose turn it is to prepare something.
#[derive(Debug)]
pub(crate) enum Role {
    /// Whoever asked.
    Lead(Lead),
    /// Somebody else's, under this number.
    Follow(Follow, u64),
    /// Everyone's for himself.
    Alone,
}

/// A way to all of them, for one shipper.
#[derive(Clone)]
pub(crate) struct Preparations {
    kept: Keeper<Kept>,
    shippers: Arc<AtomicU64>,
    /// This one among them.
    shipper: u64,
    /// How long a follower waits.
    pub(crate) patience: Duration,
}

impl Preparations {
    /// For so many replicas, with spools in `folder`.
    pub(crate) fn new(folder: PathBuf, replicas: usize) -> Result<Self> {
        Self::within(folder, replicas, SPOOLED_BYTES_MAX, PATIENCE)
    }

    fn within(folder: PathBuf, replicas: usize, bytes_max: u64, patience: Duration) -> Result<Self> {
        let kept = Kept { spools: Spools::new(folder, bytes_max), entries: Vec::new(), next: 0, replicas };
        let kept = Keeper::start("fulmar-prepared", kept)?;
        Ok(Self { kept, shippers: Arc::new(AtomicU64::new(1)), shipper: 0, patience })
    }

    /// For another shipper.
    pub(crate) fn another(&self) -> Self {
        Self { shipper: self.shippers.fetch_add(1, Ordering::Relaxed), ..self.clone() }
    }

    /// The first time this shipper wants it.
    pub(crate) fn join(&self, key: &Key) -> Result<Role> {
        self.ask(key, None)
    }

    /// The same when the preparation of this number came to nothing, or was too slow: whoever comes first takes its place.
    pub(crate) fn replace(&self, key: &Key, number: u64) -> Result<Role> {
        self.ask(key, Some(number))
    }

    /// This shipper has done with something: what nobody needs any more goes.
    pub(crate) fn leave(&self) -> Result<()> {
        self.kept.ask_blocking(Kept::sweep)
    }

    fn ask(&self, key: &Key, left: Option<u64>) -> Result<Role> {
        let (key, shipper) = (key.clone(), self.shipper);
        self.kept.ask_blocking(move |kept| kept.join(key, shipper, left))
    }
}

/// Owns the list.
struct Kept {
    spools: Spools,
    /// The one used last is the last.
    entries: Vec<Entry>,
    next: u64,
    replicas: usize,
}

struct Entry {
    key: Key,
    number: u64,
    follow: Follow,
    /// Shippers that had it. One that wants it again had no luck with it.
    had: Vec<u64>,
}

impl Kept {
    /// A replica that was reached twice may have had it twice, and another one comes too late.
    fn sweep(&mut self) {
        self.entries.retain(|entry| !entry.follow.is_over() || entry.had.len() < self.replicas);
    }

    fn join(&mut self, key: Key, shipper: u64, left: Option<u64>) -> Role {
        if let Some(at) = self.entries.iter().position(|entry| entry.key.is(&key)) {
            let mut entry = self.entries.remove(at);
            let usable = match left {
                Some(number) => entry.number != number,
                None => !entry.had.contains(&shipper),
            };
            if entry.follow.is_alone() {
                self.entries.push(entry);
                return Role::Alone;
            }
            if usable && !entry.follow.is_lost() {
                let role = Role::Follow(entry.follow.another(), entry.number);
                entry.had.truncate(HAD_MAX - 1);
                entry.had.insert(0, shipper);
                self.entries.push(entry);
                return role;
            }
        }
        while self.entries.len() >= KEPT_MAX || self.spools.is_half_full() {
            match self.entries.iter().position(|entry| entry.follow.is_over()) {
                Some(at) => drop(self.entries.remove(at)),
                None if self.entries.len() >= KEPT_MAX => return Role::Alone,
                None => break,
            }
        }
        let spool = match key.against {
            Against::Nothing { .. } => Spool::of_runs(),
            Against::Source | Against::Basis(..) => Spool::of_bytes(self.spools.clone()),
        };
        let (lead, follow) = preparation(spool);
        self.entries.push(Entry { key, number: self.next, follow, had: vec![shipper] });
        self.next += 1;
        Role::Lead(lead)
    }
}

/// For tests: with other bounds, and a count.
#[cfg(test)]
impl Preparations {
    pub(crate) fn for_test(folder: PathBuf, replicas: usize, bytes_max: u64, patience: Duration) -> Self {
        Self::within(folder, replicas, bytes_max, patience).expect("a thread")
    }

    /// How many are kept.
    pub(crate) async fn kept(&self) -> usize {
        self.kept.ask(|kept| kept.entries.len()).await.expect("the owner lives")
    }

    /// How many were begun.
    pub(crate) async fn begun(&self) -> u64 {
        self.kept.ask(|kept| kept.next).await.expect("the owner lives")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preparation::{Flaw, Next, Prepared};
    use fulmar_model::{Kind, Stat, Xattrs};

    fn stat(inode: u64) -> Stat {
        let time = fulmar_model::Timestamp::new(0, 0);
        let device = fulmar_model::Device::default();
        let (links, mode, uid, gid, size, allocated) = (1, 0o644, 0, 0, 1, 1);
        Stat {
            kind: Kind::File,
            device,
            inode,
            links,
            mode,
            uid,
            gid,
            size,
            allocated,
            mtime: time,
            ctime: time,
            node: device,
        }
    }

    fn key(inode: u64) -> Key {
        let path = RelPath::parse(b"large").expect("a path");
        Key { path, stat: stat(inode), against: Against::Nothing { signed: false } }
    }

    fn kept() -> Kept {
        let spools = Spools::new(PathBuf::from("/nowhere"), 100);
        Kept { spools, entries: Vec::new(), next: 0, replicas: KEPT_MAX }
    }

    #[track_caller]
    fn leads(role: Role) -> Lead {
        match role {
            Role::Lead(lead) => lead,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn follows(role: Role) -> (crate::preparation::Follow, u64) {
        match role {
            Role::Follow(follow, number) => (follow, number),
            other => panic!("{other:?}"),
        }
    }

    fn end(lead: Lead) {
        let began = fulmar_model::Timestamp::new(0, 0);
        let prepared = Prepared { stat: stat(1), xattrs: Xattrs::default(), hash: Hash([0; 32]), began, end: 1 };
        lead.prepared(Arc::new(prepared));
    }

    #[test]
    fn what_came_to_nothing_is_for_those_who_were_waiting_and_for_nobody_else() {
        let mut kept = kept();
        let lead = leads(kept.join(key(1), 1, None));
        let (mut follow, _) = follows(kept.join(key(1), 2, None));
        assert!(matches!(follow.next(0, 1), Next::Nothing));
        lead.beat();
        assert!(matches!(follow.next(0, 1), Next::Soon));
        lead.flawed(Flaw::Rotten);
        assert!(matches!(follow.next(0, 1), Next::Flawed(Flaw::Rotten)));
        let lead = leads(kept.join(key(1), 3, None));
        let (mut follow, _) = follows(kept.join(key(1), 4, None));
        drop(lead);
        assert!(matches!(follow.next(0, 1), Next::Left));
        end(leads(kept.join(key(1), 5, None)));
        let (mut follow, _) = follows(kept.join(key(1), 6, None));
        assert!(matches!(follow.next(0, 1), Next::End(_)), "its last word is not its death");
    }

    #[test]
    fn only_the_first_who_is_left_takes_the_place_of_who_left_him() {
        let mut kept = kept();
        let first = leads(kept.join(key(1), 1, None));
        let numbers = [2, 3].map(|shipper| follows(kept.join(key(1), shipper, None)).1);
        assert_eq!(numbers[0], numbers[1]);
        let _second = leads(kept.join(key(1), 2, Some(numbers[0])));
        let (_, number) = follows(kept.join(key(1), 3, Some(numbers[1])));
        assert_ne!(number, numbers[1]);
        assert!(!first.is_followed());
    }

    #[test]
    fn what_is_finished_makes_room_for_what_is_wanted_and_nothing_else_does() {
        let mut kept = kept();
        let under_way: Vec<_> = (1..KEPT_MAX as u64).map(|inode| leads(kept.join(key(inode), 1, None))).collect();
        end(leads(kept.join(key(1000), 1, None)));
        let _one_more = leads(kept.join(key(2000), 1, None));
        assert_eq!(kept.entries.len(), KEPT_MAX);
        assert!(matches!(kept.join(key(3000), 1, None), Role::Alone));
        assert!(under_way.iter().all(|lead| lead.publish(0, b"x")));
        follows(kept.join(key(5), 2, None));
        drop(under_way);
        leads(kept.join(key(3000), 1, None));
        assert!(kept.entries.iter().any(|entry| entry.key.stat.inode == 5), "it was used last");
        assert!(kept.entries.iter().all(|entry| entry.key.stat.inode != 1));
    }
}
