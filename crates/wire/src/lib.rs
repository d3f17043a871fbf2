//! Messages between primary and replica, as bytes. Sans-IO: nothing here reads or writes a socket.
//!
//! Reading order: `preface` (the first bytes each side sends: are you fulmar, which versions), `frame` (length-checked
//! envelopes), `message` (what is said), `operation` (what a replica must do), `audit` (what
//! two sides say that only compare), `field` (how values become CBOR).
//!
//! Every byte may come from a hostile peer: decoding never panics, never allocates by an unchecked length, and yields
//! values whose invariants (`RelPath`, `Name`) hold. The format is described in docs/protocol.md.

mod audit;
mod field;
mod frame;
mod message;
mod operation;
mod preface;

pub use audit::{Answer, Begin, Begun, Digest, LOOKS_MAX, Linked, Question, Trust};
pub use field::DecodeError;
pub use frame::{FRAME_BYTES_MAX, Frame, FrameError, LENGTH_BYTES};
pub use message::{
    Ancestor, BASIS_PART_BYTES_MAX, Basis, CHUNK_COST_MIN, DOUBTS_MAX, FromPrimary, FromReplica, Hello, Lend, Offer,
    PAGE_ENTRIES_MAX, Page, Print, Refusal, Want, Welcome, chunk_cost,
};
pub use operation::{BATCH_OPERATIONS_MAX, Content, INLINE_BYTES_MAX, Operation, Segment, XATTR_BYTES_MAX};
pub use preface::{COMPRESSION, PREFACE_BYTES, Preface, PrefaceError, VERSION, VERSION_MIN};
