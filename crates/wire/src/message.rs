//! What the two sides say to each other. Message numbers are never given a second meaning; see docs/protocol.md.

use crate::audit::{Answer, Question};
use crate::field::{DecodeError, Decoder, Field, Fields, Sink, record, sure};
use crate::{Frame, FrameError, Operation};
use bytes::Bytes;
use fulmar_model::{
    DeletePolicy, Device, Durability, Entry, Hash, Id, Name, Outcome, Profile, QueueId, RelPath, ReplicaId, Seq, Term,
    TreeId,
};

/// The most entries of a directory that one page lists.
pub const PAGE_ENTRIES_MAX: usize = 512;

/// The most paths in one [`FromPrimary::Doubt`]: of any length they fit into a frame.
pub const DOUBTS_MAX: usize = 32;

/// First byte of a message body.
const CONTROL: u8 = 1;
const CHUNK: u8 = 2;

/// What a chunk has in front of its bytes: kind, stream, offset.
const CHUNK_HEAD_BYTES: usize = 1 + 8 + 8;

/// Room that is made for a message without content; longer ones make their own.
const SHORT_BYTES: usize = 240;

/// A directory on the way from "/" to the primary's root, the root itself included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Device of its file system.
    pub device: Device,
    /// Its inode number.
    pub inode: u64,
}

/// What a primary says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The tree.
    pub tree: TreeId,
    /// The primary's term.
    pub term: Term,
    /// The queue that positions refer to.
    pub queue: QueueId,
    /// The kernel's boot id: equal ids mean one machine, and then devices and inodes can be compared.
    pub boot: Id,
    /// The primary's root first, then its parents up to "/".
    pub ancestors: Vec<Ancestor>,
    /// Where the tree is on the primary, for messages to people.
    pub source: Box<[u8]>,
    /// Whether a directory with foreign content may become a replica.
    pub adopt: bool,
    /// Whether nothing may be written.
    pub dry_run: bool,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// What happens to paths that are gone from the primary.
    pub delete: DeletePolicy,
}

/// What a replica answers to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Which replica this is.
    pub replica: ReplicaId,
    /// Every change up to here is durable; `None` before the first complete comparison.
    pub position: Option<(QueueId, Seq)>,
    /// Whether owners are kept (false: the replica is not privileged, and leaves owner and group alone).
    pub owners: bool,
    /// Bytes of chunks that the primary may send before the first [`FromReplica::Credit`].
    pub credit: u32,
    /// Foreign versions in quarantine.
    pub quarantined: u64,
}

/// Why a replica will not serve this primary. The text beside it says what and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The directory has content and was never a replica.
    NotEmpty,
    /// It is a replica of another tree.
    OtherTree,
    /// It has followed a later primary.
    OldTerm,
    /// Source and replica are nested in each other, or the same.
    Nested,
    /// Another process is serving it.
    Busy,
    /// It cannot be created or written.
    Unusable,
}

impl Refusal {
    const ALL: [(Self, u8); 6] = [
        (Self::NotEmpty, 1),
        (Self::OtherTree, 2),
        (Self::OldTerm, 3),
        (Self::Nested, 4),
        (Self::Busy, 5),
        (Self::Unusable, 6),
    ];
}

/// One page of a directory's listing. Pages of one directory and part follow each other; directories come parents first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Number of the page within the session, to be named in the answer.
    pub page: u32,
    /// The directory.
    pub directory: RelPath,
    /// Which part of the directory (by hash of the name), of how many: a directory too large for memory comes in parts.
    pub part: (u32, u32),
    /// Whether further pages of this directory and part follow.
    pub more: bool,
    /// Names in increasing order, none before those of the page before.
    pub entries: Vec<(Name, Entry)>,
}

/// How the content of a large file will come: as a patch against what the replica has, or after asking what that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Number of the stream.
    pub stream: u64,
    /// Whose content.
    pub path: RelPath,
    /// Its size.
    pub size: u64,
    /// Hash of the content the patch in the stream starts from. `None`: a question.
    pub basis: Option<Hash>,
}

/// Has a replica in the primary's process take the content of a large file from the source itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lend {
    /// Number of the stream, in which nothing comes but the hash of the content.
    pub stream: u64,
    /// Where the content is, below the root of the source.
    pub path: RelPath,
    /// Its size.
    pub size: u64,
}

/// A part of the signature of what the replica has in the place of an offered file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basis {
    /// Number of the stream.
    pub stream: u64,
    /// Hash of what is signed. `None`: there is nothing of use, send the whole.
    pub hash: Option<Hash>,
    /// The next bytes of the signature.
    pub signature: Box<[u8]>,
    /// Whether more of it follows.
    pub more: bool,
}

/// The least a chunk counts against the credit: bounds their number by the credit.
pub const CHUNK_COST_MIN: u32 = 4096;

/// What a chunk with this many bytes counts against the credit, on both sides.
pub fn chunk_cost(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX).max(CHUNK_COST_MIN)
}

/// The most bytes of a signature in one [`Basis`].
pub const BASIS_PART_BYTES_MAX: usize = 256 * 1024;

/// What a directory, or a part of it, holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Print {
    /// The directory.
    pub directory: RelPath,
    /// Which part of it, of how many; see [`Page`].
    pub part: (u32, u32),
    /// The fingerprint of its entries; `None` when something there is not known.
    pub fingerprint: Option<Hash>,
}

/// An entry of a page that is not so on the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Its index in the page.
    pub index: u32,
    /// Hash of what the replica has there, where it is a file of the right size.
    pub have: Option<Hash>,
}

/// From the primary to the replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromPrimary {
    /// First.
    Hello(Hello),
    /// Part of a listing to be compared.
    Page(Page),
    /// The listing is complete.
    Listed,
    /// Asks for paths that the listing did not have, behind the one given.
    Extras {
        /// The last path of the answer before; `None` to begin.
        after: Option<RelPath>,
    },
    /// One operation of the batch under way.
    Operate(Operation),
    /// The batch is complete: make it durable and answer.
    Commit {
        /// Number of the batch.
        batch: u64,
        /// What the replica's position is after it; `None`: as before.
        position: Option<Seq>,
    },
    /// Bytes of a file too large to travel inside its operation.
    Chunk {
        /// Number of the stream.
        stream: u64,
        /// Where they belong.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// The stream will not be completed.
    Abandon {
        /// Number of the stream.
        stream: u64,
    },
    /// Are you there?
    Ping,
    /// The content of a large file is about to come in a stream.
    Offer(Offer),
    /// The content of a large file is in the source, which the replica can reach.
    Lend(Lend),
    /// Asks what everything below a directory comes to.
    Survey {
        /// The directory.
        subtree: RelPath,
    },
    /// Some of the directories that were surveyed, at most [`PAGE_ENTRIES_MAX`].
    Prints {
        /// Number of the page within the session, to be named in the answer.
        page: u32,
        /// In the order of a survey (docs/protocol.md).
        prints: Vec<Print>,
    },
    /// Of an audit; the first of them takes the place of `Hello`.
    Audit(Question),
    /// What the replica has recorded of these paths proves nothing: what is there is not what it put there. At most
    /// [`DOUBTS_MAX`].
    Doubt {
        /// Where.
        paths: Vec<RelPath>,
    },
}

/// From the replica to the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromReplica {
    /// Answer to `Hello`.
    Welcome(Welcome),
    /// Answer to `Hello`; nothing follows.
    Refused {
        /// Why.
        reason: Refusal,
        /// For a person.
        text: String,
    },
    /// Answer to one `Page`.
    Wanted {
        /// The page.
        page: u32,
        /// What differs.
        wants: Vec<Want>,
    },
    /// Answer to `Listed`.
    Compared {
        /// Number of paths that the listing did not have.
        extras: u64,
    },
    /// Answer to `Extras`.
    Extras {
        /// In order; empty when there are no more.
        paths: Vec<RelPath>,
    },
    /// Answer to `Commit`.
    Committed {
        /// The batch.
        batch: u64,
        /// Outcomes other than done, by index of the operation in the batch.
        outcomes: Vec<(u32, Outcome)>,
        /// Foreign versions in quarantine by now.
        quarantined: u64,
    },
    /// The primary may send this many more bytes of chunks.
    Credit {
        /// Bytes.
        bytes: u32,
    },
    /// The replica cannot go on; nothing follows.
    Failed {
        /// For a person.
        text: String,
    },
    /// Answer to `Ping`.
    Pong,
    /// Answer to an `Offer` that asks, or to one whose basis is not there or did not lead to the content, or to a `Lend` of which
    /// nothing came: then the stream is of no use any more.
    Basis(Basis),
    /// Answer to `Survey`.
    Surveyed {
        /// One fingerprint for everything below; `None` when something there is not known, or there is too much.
        fingerprint: Option<Hash>,
    },
    /// Answer to `Prints`.
    Differing {
        /// The page.
        page: u32,
        /// Index of every directory that is not so on the replica, increasing.
        prints: Vec<u32>,
    },
    /// Of an audit.
    Audit(Answer),
}

record!(Ancestor { device, inode });
record!(Hello { tree, term, queue, boot, ancestors, source, adopt, dry_run, durability, delete });
record!(Welcome { replica, position, owners, credit, quarantined });
record!(Page { page, directory, part, more, entries });
record!(Print { directory, part, fingerprint });
record!(Want { index, have });
record!(Offer { stream, path, size, basis });
record!(Lend { stream, path, size });
record!(Basis { stream, hash, signature, more });

macro_rules! coded {
    ($type:ident, $what:literal) => {
        impl Field for $type {
            fn put(&self, to: &mut Sink<'_>) {
                self.code().put(to);
            }
            fn get(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                let code: u8 = Field::get(from)?;
                Self::from_code(code).ok_or(DecodeError::Unknown { what: $what, code: code.into() })
            }
        }
    };
}
coded!(Durability, "durability");
coded!(DeletePolicy, "deletion policy");
coded!(Profile, "profile");

impl Field for Refusal {
    fn put(&self, to: &mut Sink<'_>) {
        Self::ALL.iter().find(|row| row.0 == *self).map_or(0, |row| row.1).put(to);
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let code: u8 = Field::get(from)?;
        Ok(Self::ALL.iter().find(|row| row.1 == code).map_or(Self::Unusable, |row| row.0))
    }
}

/// `[number, value...]`, behind the byte that says "control".
fn control(number: u8, count: u64, write: impl FnOnce(&mut Sink<'_>)) -> Result<Frame, FrameError> {
    sized(SHORT_BYTES, number, count, write)
}

/// One of about `expected` bytes.
fn sized(expected: usize, number: u8, count: u64, write: impl FnOnce(&mut Sink<'_>)) -> Result<Frame, FrameError> {
    Frame::build(expected, |bytes| {
        bytes.push(CONTROL);
        let mut to = Sink::new(bytes);
        sure(to.array(count + 1));
        number.put(&mut to);
        write(&mut to);
    })
}

impl FromPrimary {
    /// As a frame; an error when it is too long for one.
    pub fn encode(&self) -> Result<Frame, FrameError> {
        match self {
            Self::Hello(hello) => control(1, 1, |to| hello.put(to)),
            Self::Page(page) => control(2, 1, |to| page.put(to)),
            Self::Listed => control(3, 0, |_| ()),
            Self::Extras { after } => control(4, 1, |to| after.put(to)),
            Self::Operate(operation) => Self::encode_operation(operation),
            Self::Commit { batch, position } => control(6, 2, |to| {
                batch.put(to);
                position.put(to);
            }),
            Self::Chunk { stream, offset, bytes } => Self::encode_chunk(*stream, *offset, bytes),
            Self::Abandon { stream } => control(7, 1, |to| stream.put(to)),
            Self::Ping => control(8, 0, |_| ()),
            Self::Offer(offer) => control(9, 1, |to| offer.put(to)),
            Self::Survey { subtree } => control(10, 1, |to| subtree.put(to)),
            Self::Prints { page, prints } => control(11, 2, |to| {
                page.put(to);
                prints.put(to);
            }),
            Self::Audit(question) => control(12, 1, |to| question.put(to)),
            Self::Doubt { paths } => control(13, 1, |to| paths.put(to)),
            Self::Lend(lend) => control(14, 1, |to| lend.put(to)),
        }
    }

    /// The frame of `Operate`, without taking the operation.
    pub fn encode_operation(operation: &Operation) -> Result<Frame, FrameError> {
        sized(SHORT_BYTES + operation.inline_bytes(), 5, 1, |to| operation.put(to))
    }

    /// The frame of `Chunk`, without taking the bytes: kind (1), stream (8), offset (8), bytes.
    pub fn encode_chunk(stream: u64, offset: u64, bytes: &[u8]) -> Result<Frame, FrameError> {
        Frame::build(CHUNK_HEAD_BYTES + bytes.len(), |to| {
            to.push(CHUNK);
            to.extend_from_slice(&stream.to_be_bytes());
            to.extend_from_slice(&offset.to_be_bytes());
            to.extend_from_slice(bytes);
        })
    }

    /// From the body of a frame.
    pub fn decode(body: impl Into<Bytes>) -> Result<Self, DecodeError> {
        let body = body.into();
        if let Some((&CHUNK, rest)) = body.split_first() {
            let (stream, rest) = rest.split_first_chunk().ok_or_else(short)?;
            let (offset, bytes) = rest.split_first_chunk().ok_or_else(short)?;
            return Ok(Self::Chunk {
                stream: u64::from_be_bytes(*stream),
                offset: u64::from_be_bytes(*offset),
                bytes: body.slice_ref(bytes),
            });
        }
        decode_control(&body, |number, fields| {
            Ok(match number {
                1 => Self::Hello(fields.next()?),
                2 => Self::Page(fields.next()?),
                3 => Self::Listed,
                4 => Self::Extras { after: fields.next()? },
                5 => Self::Operate(fields.next()?),
                6 => Self::Commit { batch: fields.next()?, position: fields.next()? },
                7 => Self::Abandon { stream: fields.next()? },
                8 => Self::Ping,
                9 => Self::Offer(fields.next()?),
                10 => Self::Survey { subtree: fields.next()? },
                11 => Self::Prints { page: fields.next()?, prints: fields.next()? },
                12 => Self::Audit(fields.next()?),
                13 => Self::Doubt { paths: fields.next()? },
                14 => Self::Lend(fields.next()?),
                code => return Err(DecodeError::Unknown { what: "message", code: code.into() }),
            })
        })
    }
}

impl FromReplica {
    /// As a frame; an error when it is too long for one.
    pub fn encode(&self) -> Result<Frame, FrameError> {
        match self {
            Self::Welcome(welcome) => control(1, 1, |to| welcome.put(to)),
            Self::Refused { reason, text } => control(2, 2, |to| {
                reason.put(to);
                text.put(to);
            }),
            Self::Wanted { page, wants } => control(3, 2, |to| {
                page.put(to);
                wants.put(to);
            }),
            Self::Compared { extras } => control(4, 1, |to| extras.put(to)),
            Self::Extras { paths } => control(5, 1, |to| paths.put(to)),
            Self::Committed { batch, outcomes, quarantined } => control(6, 3, |to| {
                batch.put(to);
                outcomes.put(to);
                quarantined.put(to);
            }),
            Self::Credit { bytes } => control(7, 1, |to| bytes.put(to)),
            Self::Failed { text } => control(8, 1, |to| text.put(to)),
            Self::Pong => control(9, 0, |_| ()),
            Self::Basis(basis) => control(10, 1, |to| basis.put(to)),
            Self::Surveyed { fingerprint } => control(11, 1, |to| fingerprint.put(to)),
            Self::Differing { page, prints } => control(12, 2, |to| {
                page.put(to);
                prints.put(to);
            }),
            Self::Audit(answer) => control(13, 1, |to| answer.put(to)),
        }
    }

    /// From the body of a frame.
    pub fn decode(body: impl Into<Bytes>) -> Result<Self, DecodeError> {
        decode_control(&body.into(), |number, fields| {
            Ok(match number {
                1 => Self::Welcome(fields.next()?),
                2 => Self::Refused { reason: fields.next()?, text: fields.next()? },
                3 => Self::Wanted { page: fields.next()?, wants: fields.next()? },
                4 => Self::Compared { extras: fields.next()? },
                5 => Self::Extras { paths: fields.next()? },
                6 => Self::Committed { batch: fields.next()?, outcomes: fields.next()?, quarantined: fields.next()? },
                7 => Self::Credit { bytes: fields.next()? },
                8 => Self::Failed { text: fields.next()? },
                9 => Self::Pong,
                10 => Self::Basis(fields.next()?),
                11 => Self::Surveyed { fingerprint: fields.next()? },
                12 => Self::Differing { page: fields.next()?, prints: fields.next()? },
                13 => Self::Audit(fields.next()?),
                code => return Err(DecodeError::Unknown { what: "message", code: code.into() }),
            })
        })
    }
}

fn short() -> DecodeError {
    minicbor::decode::Error::end_of_input().into()
}

fn decode_control<T>(
    body: &Bytes,
    read: impl FnOnce(u8, &mut Fields<'_, '_>) -> Result<T, DecodeError>,
) -> Result<T, DecodeError> {
    let Some((&CONTROL, rest)) = body.split_first() else {
        let code = body.first().copied().unwrap_or(0);
        return Err(DecodeError::Unknown { what: "kind of message", code: code.into() });
    };
    let mut decoder = Decoder::new(body, rest);
    let mut fields = Fields::open(&mut decoder)?;
    let number = fields.next()?;
    let message = read(number, &mut fields)?;
    fields.close()?;
    Ok(message)
}
