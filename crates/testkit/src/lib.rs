//! What the tests of Fulmar stand on, in reading order: what a machine must offer (`need`), waiting without sleeping
//! (`until`), choices from a seed (`random`), trees written as literals (`fixture`), files that know what they are
//! (`ledger`), file systems that lose power (`loop_mount`), random life (`life`), the judge (`oracle`), the program under
//! test (`process`, `children`, `cluster`), what stands between two hosts (`rsh`, `sshd`), and a real mail server with its
//! clients (`dovecot`, `lmtp`, `imap`).
//!
//! For tests only. Everything here panics on failure and says in which state it was; everything stays in temporary
//! directories and ends only processes it started.

mod children;
mod cluster;
mod dovecot;
pub mod fixture;
mod halted;
mod imap;
mod ledger;
mod life;
mod lmtp;
mod loop_mount;
mod need;
pub mod oracle;
mod process;
mod random;
mod rsh;
mod sshd;
mod syscall;
mod unseen;
mod until;

pub use children::{children, descendants, kill};
pub use cluster::{Cluster, NOBODY};
pub use dovecot::Dovecot;
pub use halted::Halted;
pub use imap::{Imap, Mailbox, Message, Response};
pub use ledger::{Confirmed, Ledger};
pub use life::{Life, MailLife, Options};
pub use lmtp::deliver;
pub use loop_mount::{Format, LoopMount};
pub use need::{is_root, need, need_root, skipped};
pub use process::{Binary, Finished, Running};
pub use random::{Random, fresh_seed};
pub use rsh::Rsh;
pub use serde_json::Value;
pub use sshd::Sshd;
pub use unseen::Unseen;
pub use until::{until, until_equal};
