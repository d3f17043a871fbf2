//! The local socket between a running `follow` and the commands that ask it: JSON, one object a line, described in
//! docs/control.md. `protocol` has the words, `server` answers, `client` asks.

mod client;
mod protocol;
mod server;

pub use client::{ask, listens};
pub use protocol::{Answer, Command, Replica, Status, Tree, VERSION};
pub use server::serve;
