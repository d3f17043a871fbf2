//! The local socket between a running `follow` and the commands that ask it: JSON, one object a line, described in
//! docs/control.md. `protocol` has the words, `server` answers (what takes long in `verify`), `client` asks.

mod client;
mod protocol;
mod server;
mod verify;

pub use client::{Listening, ask, listens};
pub use protocol::{Answer, Command, Progress, Replica, Status, Tree, VERSION, Verify};
pub use server::serve;
