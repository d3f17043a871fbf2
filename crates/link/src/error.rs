//! What can go wrong between two hosts. All of it is worth another try, except a far end that is not fulmar.

use fulmar_wire::{FrameError, PrefaceError};
use std::io;
use thiserror::Error;

/// Of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a link could not be made or did not last.
#[derive(Debug, Error)]
pub enum Error {
    /// The program that should reach the other host did not start.
    #[error("start {program}")]
    Spawn {
        /// As given.
        program: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// Reading failed.
    #[error("read from the other side")]
    Read(#[source] io::Error),
    /// The other side ended the connection.
    #[error("the other side closed the connection")]
    Closed,
    /// The program that should reach the other host ended before the other side spoke.
    #[error("{program} ended before the other side spoke{}", ending(.status, .stderr))]
    Exited {
        /// As given.
        program: String,
        /// Exit code, where there was one.
        status: Option<i32>,
        /// The last lines it printed, escaped.
        stderr: String,
    },
    /// Something else than fulmar spoke, a login banner perhaps.
    #[error("the other side printed \"{text}\" instead of speaking the fulmar protocol")]
    Banner {
        /// The beginning of it, escaped.
        text: String,
    },
    /// A message of impossible length.
    #[error("the other side sent a broken message")]
    Frame(#[source] FrameError),
    /// What should be compressed is not, or in a way that is not accepted.
    #[error("decompress what the other side sent")]
    Unpack(#[source] io::Error),
    /// There is no memory for compression.
    #[error("prepare compression")]
    Codec(#[source] io::Error),
    /// Not fulmar, or no common version.
    #[error("no common protocol")]
    Preface(#[source] PrefaceError),
}

impl Error {
    /// Whether another try without a change by a person is pointless.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Banner { .. } | Self::Preface(_))
    }
}

fn ending(status: &Option<i32>, stderr: &str) -> String {
    let status = status.map_or_else(String::new, |code| format!(" (exit code {code})"));
    if stderr.is_empty() { status } else { format!("{status}: {stderr}") }
}
