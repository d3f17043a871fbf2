//! The layouts of the three files, as lists of migrations: entry `n` turns `user_version` n into n + 1. An entry that was
//! released never changes; docs/store.md says what each column means.

/// What makes a database one of ours.
pub(crate) struct Layout {
    /// `PRAGMA application_id`.
    pub(crate) application_id: i32,
    /// SQL that leads from an empty file to the present; an entry may have several scripts.
    pub(crate) migrations: &'static [&'static [&'static str]],
    /// Page cache of the writing connection in KiB.
    pub(crate) cache_kib: i64,
}

const QUEUE_1: &str = include_str!("sql/queue_1.sql");
const CATALOG_1: &str = include_str!("sql/catalog_1.sql");
const REPLICA_1: &str = include_str!("sql/replica_1.sql");

/// queue.db; the id reads "FulQ".
pub(crate) const QUEUE: Layout = Layout { application_id: 0x4675_6c51, migrations: &[&[QUEUE_1]], cache_kib: 8 * 1024 };

/// catalog.db; the id reads "FulC".
pub(crate) const CATALOG: Layout =
    Layout { application_id: 0x4675_6c43, migrations: &[&[CATALOG_1]], cache_kib: 32 * 1024 };

/// store.db of a replica, a catalog and more; the id reads "FulR".
pub(crate) const REPLICA: Layout =
    Layout { application_id: 0x4675_6c52, migrations: &[&[CATALOG_1, REPLICA_1]], cache_kib: 32 * 1024 };

impl Layout {
    /// The `user_version` this program writes.
    pub(crate) fn version(&self) -> i64 {
        i64::try_from(self.migrations.len()).unwrap_or(i64::MAX)
    }

    /// The migrations a file of version `found` still needs.
    pub(crate) fn after(&self, found: i64) -> impl Iterator<Item = &'static str> {
        let done = usize::try_from(found).unwrap_or(usize::MAX);
        self.migrations.iter().skip(done).flat_map(|scripts| scripts.iter().copied())
    }
}
