//! Signatures, matching and patches together, as a sender and a receiver use them.
//!
//! `content` is what the stories share: bytes, their edits, and the way from two contents to a patch and back.

mod content;
mod costs;
mod hostile;
mod returns;
mod signatures;
