//! What ends a primary. Failures of one replica, or at one path, are states, not errors.

use thiserror::Error;

/// Of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a primary cannot go on.
#[derive(Debug, Error)]
pub enum Error {
    /// The source cannot be opened or read as a whole.
    #[error("source directory")]
    Tree(#[from] fulmar_tree::Error),
    /// Queue or catalog cannot be used.
    #[error("state of the tree")]
    Store(#[from] fulmar_store::Error),
    /// The source cannot be watched.
    #[error("watch the source")]
    Watch(#[from] fulmar_watch::Error),
    /// A replica's link.
    #[error("link to the replica")]
    Link(#[from] fulmar_link::Error),
    /// The replica sent what cannot be understood.
    #[error("message from the replica")]
    Decode(#[from] fulmar_wire::DecodeError),
    /// What is to be said does not fit into a frame.
    #[error("message to the replica")]
    Encode(#[from] fulmar_wire::FrameError),
    /// The replica sent something out of turn.
    #[error("the replica broke the protocol: {0}")]
    Protocol(&'static str),
    /// The replica refuses to be one of this source.
    #[error("{text}")]
    Refused {
        /// Which rule.
        reason: fulmar_wire::Refusal,
        /// What the replica says.
        text: String,
    },
    /// The replica could not go on.
    #[error("the replica failed: {text}")]
    ReplicaFailed {
        /// What the replica says.
        text: String,
    },
    /// Another replica on this machine was refused, and nothing was done to this one.
    #[error("nothing was done to it, because another replica is refused")]
    Withheld,
    /// The source is gone, or was and is back.
    #[error("the source directory is gone")]
    SourceGone,
    /// A verification is refused because of another.
    #[error("a verification of this tree is under way")]
    Verifying,
    /// A verification was told to end, or nobody listens to it.
    #[error("the verification was stopped")]
    Stopped,
    /// A thread ended without a word, or the primary is ending.
    #[error("a part of the primary has ended")]
    Gone,
}

impl Error {
    /// Whether a database must be set aside and built anew, and which.
    pub fn damaged(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_damage())
    }

    /// Whether trying again without a change by a person is pointless.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Refused { reason, .. } => *reason != fulmar_wire::Refusal::Busy,
            Self::Link(error) => error.is_final(),
            _ => false,
        }
    }
}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
