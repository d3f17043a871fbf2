//! A database's write-ahead log, synced when the caller says so: with `synchronous=NORMAL` a commit only writes to it.
//!
//! Commits become durable in their order: a later one never without those before it.

use crate::error::{Error, Result};
use crate::open::with_suffix;
use std::fs::File;
use std::path::Path;

/// The log of one open database.
pub(crate) struct Log {
    place: Place,
    /// Syncs so far, for tests of what things cost.
    #[cfg(test)]
    pub(crate) syncs: u64,
}

enum Place {
    /// The database is nowhere on disk.
    Nowhere,
    /// Not synced yet.
    Closed,
    /// Synced before: it stays the same file as long as the database is open.
    Open(File),
}

impl Log {
    /// Of a database in a file.
    pub(crate) fn beside() -> Self {
        Self::at(Place::Closed)
    }

    /// Of a database in memory: there is nothing to sync.
    pub(crate) fn nowhere() -> Self {
        Self::at(Place::Nowhere)
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            #[cfg(test)]
            syncs: 0,
        }
    }

    /// The log of the same database, for another thread.
    pub(crate) fn another(&self) -> Self {
        match self.place {
            Place::Nowhere => Self::nowhere(),
            Place::Closed | Place::Open(_) => Self::beside(),
        }
    }

    /// Makes every commit so far durable. `database`: its file.
    pub(crate) fn flush(&mut self, database: &Path) -> Result<()> {
        let failed = |source| Error::Flush { path: database.to_owned(), source };
        #[cfg(test)]
        {
            self.syncs += 1;
        }
        if let Place::Closed = self.place {
            self.place = Place::Open(File::open(with_suffix(database, "-wal")).map_err(failed)?);
        }
        match &self.place {
            Place::Open(file) => file.sync_data().map_err(failed),
            Place::Nowhere | Place::Closed => Ok(()),
        }
    }
}
