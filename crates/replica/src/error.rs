//! What ends a replica's session. Failures at one path are outcomes, not errors.

use fulmar_wire::{DecodeError, FrameError, Refusal};
use thiserror::Error;

/// Of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a session ended before its time.
#[derive(Debug, Error)]
pub enum Error {
    /// The link is gone.
    #[error("link to the primary")]
    Link(#[from] fulmar_link::Error),
    /// The primary sent what cannot be understood.
    #[error("message from the primary")]
    Decode(#[from] DecodeError),
    /// An answer does not fit into a frame.
    #[error("answer to the primary")]
    Encode(#[from] FrameError),
    /// The primary sent something out of turn.
    #[error("the primary broke the protocol: {0}")]
    Protocol(&'static str),
    /// The directory will not be a replica of this primary.
    #[error("refused: {text}")]
    Refused {
        /// Which rule.
        reason: Refusal,
        /// For a person.
        text: String,
    },
    /// The replica's tree as a whole is unusable.
    #[error("replica directory")]
    Tree(#[from] fulmar_tree::Error),
    /// What is served is not at its path any more.
    #[error("the replica, or .fulmar in it, was removed, moved or replaced while it was served")]
    Displaced,
    /// The replica's store cannot be used.
    #[error("store of the replica")]
    Store(#[from] fulmar_store::Error),
    /// A thread of the replica ended without a word.
    #[error("a thread of the replica ended unexpectedly")]
    Panicked,
}
