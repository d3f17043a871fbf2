//! The local socket between a running `follow` and the commands that ask it: JSON, one object a line, described in
//! docs/control.md. `protocol` has the words (`verified` those of the periodic verifier, `explain` those about a path), `server` answers (what takes long in `verify`),
//! `client` asks.

mod client;
mod explain;
mod protocol;
mod server;
mod verified;
mod verify;

pub use client::{Listening, ask, listens};
pub use explain::{At, Change, Explain, There};
pub use protocol::{Answer, Command, Progress, Replica, Status, Tree, VERSION, Verify};
pub use server::serve;
#[cfg(test)]
pub use verified::Round;
pub use verified::{Rounds, Verified, Verifying};
