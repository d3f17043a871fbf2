//! The only crate that talks to another host: carries frames between a primary and a replica.
//!
//! A link has two lanes each way. Frames keep their order within a lane; an urgent frame overtakes bulk frames that have
//! not been handed to the kernel yet, so a small change never waits behind a large file. Lanes hold a stated number of
//! frames; a full lane makes the sender wait, which is how a slow peer is felt.
//!
//! What crosses a byte stream is compressed when both sides can; what stays in memory never is.
//!
//! Reading order: `link` (the pair of ends), `memory` (both sides in one process), `stream` (frames over bytes, as they
//! arrive), `writer` (as they leave), `pack` (compression), `child` (a program such as ssh whose standard input and output
//! reach the other side), `standard` (the same seen from the other side).

mod child;
mod error;
mod link;
mod memory;
mod pack;
mod standard;
mod stream;
mod writer;

pub use child::{Invocation, shell_quote};
pub use error::{Error, Result};
pub use link::{BULK_FRAMES, Lane, Link, Receiver, Sender, URGENT_FRAMES};
pub use memory::pair;
pub use standard::standard;
pub use stream::over;
