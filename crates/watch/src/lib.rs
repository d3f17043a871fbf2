//! The only crate that listens to the kernel for changes.
//!
//! What it says (`event`), how much of the tree it sees (`coverage`), what can go wrong at the start (`error`), the
//! handle and its settings (`watcher`); then the thread behind it (`reader`) and its state, the `lookout`: which
//! directories are watched (`tree`), how kernel events change that (`apply`), rename halves on their way (`pairing`),
//! how a directory is opened and identified (`look`) and listed (`walk`), what cannot be watched or was missed
//! (`degrade`, `heal`), where facts leave (`outbox`), the root's identity (`root`), and the system calls (`kernel`).
//!
//! Invariants:
//! - A directory is watched first and listed afterwards, so nothing falls between.
//! - Whatever is not seen is said: every directory that is neither watched nor excluded nor on another file system is
//!   below a subtree that is polled, or a `Rescan` that covers it is due.
//! - Which directory an inotify watch belongs to is decided by the inode (equal watch descriptors), never by a path.
//! - Nothing here reads or compares content, or remembers a file: `fulmar-primary` does.

mod apply;
mod coverage;
mod degrade;
mod error;
mod event;
mod heal;
mod kernel;
mod look;
mod lookout;
mod outbox;
mod pairing;
mod reader;
mod root;
mod tree;
mod walk;
mod watcher;

pub use coverage::{Coverage, Meter};
pub use error::Error;
pub use event::{Event, Pace, RescanReason, RootGone};
pub use watcher::{Options, Watcher};
