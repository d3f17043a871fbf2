//! A primary whose only replica is played by a test, at the far end of a link in memory.

use fulmar_link::Link;
use fulmar_model::{DeletePolicy, Durability, Filter, Id, Profile, QueueId, TreeId};
use fulmar_primary::{Endpoint, Mode, Periodic, Settings, Target};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// One sync of `source` in `place`, with state in `state`. `serve` is given the far end of each link.
pub fn settings(place: &Path, serve: impl Fn(Link) + Send + Sync + 'static) -> Settings {
    Settings {
        source: place.join("source"),
        state: place.join("state"),
        mode: Mode::Sync,
        endpoints: vec![Endpoint {
            name: "played".to_owned(),
            target: Target::Here(Arc::new(move |link, _| serve(link))),
        }],
        profile: Profile::Plain,
        patterns: Vec::new(),
        filter: Filter::default(),
        adopt: false,
        durability: Durability::Batch,
        delete: DeletePolicy::Quarantine,
        approve_removals: false,
        tree: TreeId(Id([1; 16])),
        fresh_queue: QueueId(Id([2; 16])),
        boot: Id([3; 16]),
        privileged: false,
        clock: || 0,
        settle: (Duration::ZERO, Duration::from_secs(5)),
        periodic: Periodic { quick: None, deep: None, slice: Periodic::SLICE, rate: Periodic::RATE, random: 0 },
        advice: |_, _| None,
    }
}
