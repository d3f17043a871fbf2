//! How a primary that is played by a test begins with a replica.

use fulmar_model::{DeletePolicy, Durability, Id, QueueId, ReplicaId, Term, TreeId};
use fulmar_replica::Options;
use fulmar_wire::Hello;

/// What the replica is told by the program around it.
pub const OPTIONS: Options =
    Options { fresh: ReplicaId(Id([7; 16])), boot: Id([8; 16]), clock: || 0, privileged: false, host: Vec::new };

/// Of the first visit.
pub fn hello() -> Hello {
    Hello {
        tree: TreeId(Id([1; 16])),
        term: Term(1),
        queue: QueueId(Id([2; 16])),
        boot: Id([3; 16]),
        ancestors: Vec::new(),
        source: Box::from(&b"/source"[..]),
        adopt: false,
        dry_run: false,
        durability: Durability::Batch,
        delete: DeletePolicy::Quarantine,
    }
}
