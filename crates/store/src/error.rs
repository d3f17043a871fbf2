//! What can go wrong, by class: damage (rebuild), locked (somebody else has it), newer (never touched), the rest.

use fulmar_model::{Escaped, RelPath, ReplicaId, Seq, escape};
use rusqlite::{ErrorCode, ffi};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Shorthand of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Failures of the store. `path` is the database file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A newer program wrote the file. It was left as it is.
    #[error("{} has layout {found}, this version knows layouts up to {known}", shown(path))]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its `user_version`.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// Another connection holds the write lock.
    #[error("{} is in use by another process", shown(path))]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The content is not what SQLite, or this crate, would have written. Drop every connection, call
    /// [`crate::set_aside`] and open again.
    #[error("{} is damaged", shown(path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        source: rusqlite::Error,
    },
    /// A database, but of another program or of another part of this one.
    #[error("{} belongs to another application (id {found:#010x})", shown(path))]
    WrongApplication {
        /// The file.
        path: PathBuf,
        /// Its `application_id`.
        found: i32,
    },
    /// A directory, a socket or the like has the name of the file.
    #[error("{} is not a regular file", shown(path))]
    NotAFile {
        /// What is there.
        path: PathBuf,
    },
    /// The file cannot be opened or read.
    #[error("cannot open {}", shown(path))]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A damaged file cannot be moved out of the way.
    #[error("cannot set {} aside", shown(path))]
    SetAside {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What was committed cannot be made durable.
    #[error("cannot sync {}", shown(path))]
    Flush {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A statement failed for a reason outside the file: no space, no permission, no memory.
    #[error("cannot read or write {}", shown(path))]
    Access {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The replica was never registered, or was forgotten.
    #[error("replica {replica} is not registered")]
    UnknownReplica {
        /// Which.
        replica: ReplicaId,
    },
    /// A replica acknowledges a position the queue never gave.
    #[error("cursor {cursor} is ahead of the queue, which ends at {last}")]
    CursorAhead {
        /// What was acknowledged.
        cursor: Seq,
        /// The highest position ever given.
        last: Seq,
    },
    /// A replica without a cursor is given one behind rows that are gone: it would miss them.
    #[error("cursor {cursor} is behind {pruned}, up to which changes are pruned")]
    CursorBehind {
        /// What was acknowledged.
        cursor: Seq,
        /// The highest position that was pruned.
        pruned: Seq,
    },
    /// A path cannot be moved below itself or over a directory it is in.
    #[error("cannot move {from} to {to}: one is inside the other")]
    IntoItself {
        /// The source.
        from: RelPath,
        /// The target.
        to: RelPath,
    },
    /// The call needs its own durable transaction, but one is open.
    #[error("a transaction is open on {}", shown(path))]
    InTransaction {
        /// The file.
        path: PathBuf,
    },
    /// A failed statement rolled the open transaction back, or none was begun.
    #[error("no transaction is open on {}", shown(path))]
    NoTransaction {
        /// The file.
        path: PathBuf,
    },
    /// A catalog in memory has no second connection.
    #[error("a catalog in memory has no reader")]
    InMemory,
}

impl Error {
    /// Whether setting the file aside and opening it again cures this.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::WrongApplication { .. })
    }

    /// Sorts an error of SQLite into its class.
    pub(crate) fn from_sql(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match class(&source) {
            Class::Damage => Self::Damaged { path, source },
            Class::Busy => Self::Locked { path },
            Class::Other => Self::Access { path, source },
        }
    }
}

enum Class {
    Damage,
    Busy,
    Other,
}

fn class(error: &rusqlite::Error) -> Class {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => match (failure.code, failure.extended_code) {
            (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) => Class::Damage,
            // A page that cannot be read will not come back by asking again; a new file avoids the bad block.
            (
                _,
                ffi::SQLITE_IOERR_READ
                | ffi::SQLITE_IOERR_SHORT_READ
                | ffi::SQLITE_IOERR_DATA
                | ffi::SQLITE_IOERR_CORRUPTFS,
            ) => Class::Damage,
            // Only a row that contradicts another one can break a constraint: every caller looks first.
            (ErrorCode::ConstraintViolation, _) => Class::Damage,
            (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => Class::Busy,
            _ => Class::Other,
        },
        // A row that must exist and does not, or holds what this crate never writes.
        rusqlite::Error::QueryReturnedNoRows
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => Class::Damage,
        _ => Class::Other,
    }
}

/// Adds the file to an error of SQLite.
pub(crate) trait At<T> {
    /// Names the file.
    fn at(self, path: &Path) -> Result<T>;
}

impl<T> At<T> for rusqlite::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|source| Error::from_sql(path, source))
    }
}

fn shown(path: &Path) -> Escaped<'_> {
    escape(path.as_os_str().as_bytes())
}
