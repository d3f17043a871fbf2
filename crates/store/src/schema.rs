//! The layouts of the three files, as lists of migrations: entry `n` turns `user_version` n into n + 1. An entry that was
//! released never changes; docs/store.md says what each column means.

use crate::layout_2;
use crate::record::Searched;
use rusqlite::Connection;

/// Part of a migration. All parts of all that a file needs run in one transaction.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    /// Statements.
    Script(&'static str),
    /// What SQL cannot express.
    Code(fn(&Connection) -> rusqlite::Result<()>),
}

/// What makes a database one of ours.
pub(crate) struct Layout {
    /// `PRAGMA application_id`.
    pub(crate) application_id: i32,
    /// What leads from an empty file to the present.
    pub(crate) migrations: &'static [&'static [Step]],
    /// Which inodes its catalog, if it has one, is searched by.
    pub(crate) searched: Searched,
    /// Page cache of the writing connection in KiB.
    pub(crate) cache_kib: i64,
}

const QUEUE_1: &[Step] = &[Step::Script(include_str!("sql/queue_1.sql"))];
const QUEUE_2: &[Step] = &[Step::Script(include_str!("sql/queue_2.sql"))];

const NODES_1: Step = Step::Script(include_str!("sql/catalog_1.sql"));
const CATALOG_1: &[Step] = &[NODES_1];
const REPLICA_1: &[Step] = &[NODES_1, Step::Script(include_str!("sql/replica_1.sql"))];

const NODES_2: Step = Step::Script(include_str!("sql/catalog_2.sql"));
const NODES_2_INDEXES: Step = Step::Script(include_str!("sql/catalog_2_indexes.sql"));
const CATALOG_2: &[Step] =
    &[NODES_2, Step::Code(|connection| layout_2::copy_nodes(connection, Searched::Every)), NODES_2_INDEXES];
const REPLICA_2: &[Step] = &[
    NODES_2,
    Step::Code(|connection| layout_2::copy_nodes(connection, Searched::Linked)),
    NODES_2_INDEXES,
    Step::Script(include_str!("sql/replica_2.sql")),
    Step::Code(layout_2::copy_intents),
    Step::Script(include_str!("sql/replica_2_end.sql")),
];

const SEALS: &[Step] = &[Step::Script(include_str!("sql/catalog_3.sql"))];

/// queue.db; the id reads "FulQ".
pub(crate) const QUEUE: Layout = Layout {
    application_id: 0x4675_6c51,
    migrations: &[QUEUE_1, QUEUE_2],
    searched: Searched::Every,
    cache_kib: 8 * 1024,
};

/// catalog.db; the id reads "FulC".
pub(crate) const CATALOG: Layout = Layout {
    application_id: 0x4675_6c43,
    migrations: &[CATALOG_1, CATALOG_2, SEALS],
    searched: Searched::Every,
    cache_kib: 16 * 1024,
};

/// store.db of a replica, a catalog and more; the id reads "FulR".
pub(crate) const REPLICA: Layout = Layout {
    application_id: 0x4675_6c52,
    migrations: &[REPLICA_1, REPLICA_2, SEALS],
    searched: Searched::Linked,
    cache_kib: 16 * 1024,
};

impl Layout {
    /// The `user_version` this program writes.
    pub(crate) fn version(&self) -> i64 {
        i64::try_from(self.migrations.len()).unwrap_or(i64::MAX)
    }

    /// Brings tables of version `found` up to date.
    pub(crate) fn migrate(&self, connection: &Connection, found: i64) -> rusqlite::Result<()> {
        let done = usize::try_from(found).unwrap_or(usize::MAX);
        for step in self.migrations.iter().skip(done).copied().flatten() {
            match step {
                Step::Script(statements) => connection.execute_batch(statements)?,
                Step::Code(run) => run(connection)?,
            }
        }
        Ok(())
    }
}
