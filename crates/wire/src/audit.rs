//! What is asked and answered in an audit: both sides read all of their trees, and the primary asks for what differs.
//!
//! One message each way carries it; what it says is told by a number in front, as of an operation.

use crate::Ancestor;
use crate::field::{DecodeError, Decoder, Field, Fields, Sink, record, sure};
use fulmar_model::{
    Below, Depth, Entry, Found, Hash, Id, Look, Mailbox, Profile, Recorded, RelPath, Sighting, Standing, Tally, TreeId,
    Uids, Unread,
};

/// The most paths that one question looks at.
pub const LOOKS_MAX: usize = 256;

/// What a primary says first when it wants to compare and not to replicate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// The kernel's boot id: equal ids mean one machine.
    pub boot: Id,
    /// The primary's root first, then its parents up to "/".
    pub ancestors: Vec<Ancestor>,
    /// Where the tree is on the primary, for messages to people.
    pub source: Box<[u8]>,
    /// Exclusions that belong to the kind of tree.
    pub profile: Profile,
    /// Further exclusions, in the syntax of gitignore.
    pub patterns: Vec<Box<[u8]>>,
    /// Whether the primary sees `trusted.*` attributes.
    pub privileged: bool,
    /// Whether disks are used only when nobody else wants them.
    pub idle: bool,
    /// Bytes that are read a second.
    pub rate: Option<u64>,
    /// Only directories behind this one, in the order of a walk ([`RelPath::walk_cmp`]).
    pub after: Option<RelPath>,
    /// Only directories up to and with this one.
    pub upto: Option<RelPath>,
    /// Whether records are asked, and for what; `None`: only the tree itself counts.
    pub trust: Option<Trust>,
    /// Whether nothing is found out but which names are one file; `None`: everything is read.
    pub links_only: Option<bool>,
}

/// What records are asked for in an audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Whose records: those of another tree are of no use.
    pub tree: TreeId,
    /// Whether they stand for what they vouch for ([`Depth::Quick`]), or only beside what was read.
    pub depth: Depth,
}

/// What a replica answers to [`Begin`] at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// What its machine calls itself.
    pub host: Box<[u8]>,
    /// Where the tree is there.
    pub root: Box<[u8]>,
    /// Whether the replica sees `trusted.*` attributes. Where one side does not they are not compared.
    pub privileged: bool,
    /// Whether it has records of the tree; `None`: it was not asked.
    pub recalls: Option<bool>,
}

/// What a replica has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The root itself.
    pub entry: Entry,
    /// What is in it.
    pub below: Below,
    /// Which names are one file; `None`: there are too many to tell.
    pub links: Option<Hash>,
    /// How many paths could not be read.
    pub unread: u64,
    /// How many directories were not entered because something is mounted there.
    pub mounts: u64,
    /// Bytes that were read; `None`: not told.
    pub read: Option<u64>,
}

/// A name of a file with several, and the mark of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linked {
    /// The name.
    pub path: RelPath,
    /// Equal for all names of one file.
    pub mark: [u8; 16],
}

/// Of the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// First: read everything. Answered by `Begun`, and by `Digest` when it is read.
    Begin(Begin),
    /// What is in a directory. Answered by `Entries`.
    List {
        /// Number of the question.
        question: u32,
        /// Which.
        directory: RelPath,
        /// Which part of its names, of how many.
        part: (u32, u32),
    },
    /// What is at these paths, at most [`LOOKS_MAX`]. Answered by one `Seen` each, in order.
    Look {
        /// Number of the question.
        question: u32,
        /// Where, and whether files are read.
        paths: Vec<(RelPath, bool)>,
    },
    /// What the buckets of link groups come to. Answered by `Buckets`.
    Buckets,
    /// The names in one of them. Answered by `Names`.
    Names {
        /// Which.
        bucket: u8,
    },
    /// What could not be read. Answered by `Unread`.
    Unread,
    /// Mailboxes: those of the whole tree, or those at these paths, in order and at most [`LOOKS_MAX`]. Answered by `Mailboxes`.
    Mailboxes {
        /// Which; none: all.
        paths: Vec<RelPath>,
    },
}

/// Of the replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To `Begin`, at once.
    Begun(Begun),
    /// Every now and then: files and bytes read so far.
    Progress {
        /// Files.
        files: u64,
        /// Bytes.
        bytes: u64,
    },
    /// To `Begin`, when everything is read.
    Digest(Digest),
    /// To `List`.
    Entries {
        /// Which question.
        question: u32,
        /// Whether more follow.
        more: bool,
        /// In order of names.
        entries: Vec<Found>,
        /// Instead of entries: the error of a directory that cannot be listed, or is not there.
        errno: Option<i32>,
    },
    /// To `Look`.
    Seen {
        /// Which question.
        question: u32,
        /// What is there.
        look: Look,
    },
    /// To `Buckets`.
    Buckets {
        /// One each.
        digests: Vec<Hash>,
    },
    /// To `Names`.
    Names {
        /// Which bucket.
        bucket: u8,
        /// Whether more follow.
        more: bool,
        /// In no order that matters.
        names: Vec<Linked>,
    },
    /// To `Unread`.
    Unread {
        /// Whether more follow.
        more: bool,
        /// As far as they were remembered.
        paths: Vec<Unread>,
    },
    /// To `Mailboxes`; what is no mailbox is left out.
    Mailboxes {
        /// Whether more follow.
        more: bool,
        /// In order of paths.
        mailboxes: Vec<Mailbox>,
    },
}

record!(Begin { boot, ancestors, source, profile, patterns, privileged, idle, rate, after, upto, trust, links_only });
record!(Trust { tree, depth });
record!(Begun { host, root, privileged, recalls });
record!(Digest { entry, below, links, unread, mounts, read });
record!(Linked { path, mark });
record!(Tally { entries, files, bytes });
record!(Below { digest, names, tally });
record!(Found { name, entry, below });
record!(Look { what, steady, version, age_ms, recorded });
record!(Recorded { standing, hash });
record!(Unread { path, errno });
record!(Uids { validity, next });
record!(Mailbox { path, uids, messages, listed, absent, absent_count, cut, cut_count, steady, age_ms });

impl Field for Depth {
    fn put(&self, to: &mut Sink<'_>) {
        u8::from(*self == Self::Deep).put(to);
    }

    fn get(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match u8::get(from)? {
            0 => Ok(Self::Quick),
            // A later version that knows more than this one is given the safe answer.
            _ => Ok(Self::Deep),
        }
    }
}

impl Field for Standing {
    fn put(&self, to: &mut Sink<'_>) {
        self.code().put(to);
    }

    fn get(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let code = u8::get(from)?;
        Self::from_code(code).ok_or(DecodeError::Unknown { what: "standing", code: code.into() })
    }
}

impl Field for Sighting {
    fn put(&self, to: &mut Sink<'_>) {
        match self {
            Self::Absent => numbered(to, 1, &[]),
            Self::Unreadable { errno } => numbered(to, 2, &[errno]),
            Self::There { entry, xattrs } => numbered(to, 3, &[entry, xattrs]),
        }
    }

    fn get(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        open(from, "sighting", |number, fields| {
            Ok(Some(match number {
                1 => Self::Absent,
                2 => Self::Unreadable { errno: fields.next()? },
                3 => Self::There { entry: fields.next()?, xattrs: fields.next()? },
                _ => return Ok(None),
            }))
        })
    }
}

impl Field for Question {
    fn put(&self, to: &mut Sink<'_>) {
        match self {
            Self::Begin(begin) => numbered(to, 1, &[begin]),
            Self::List { question, directory, part } => numbered(to, 2, &[question, directory, part]),
            Self::Look { question, paths } => numbered(to, 3, &[question, paths]),
            Self::Buckets => numbered(to, 4, &[]),
            Self::Names { bucket } => numbered(to, 5, &[bucket]),
            Self::Unread => numbered(to, 6, &[]),
            Self::Mailboxes { paths } => numbered(to, 7, &[paths]),
        }
    }

    fn get(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        open(from, "question", |number, fields| {
            Ok(Some(match number {
                1 => Self::Begin(fields.next()?),
                2 => Self::List { question: fields.next()?, directory: fields.next()?, part: fields.next()? },
                3 => Self::Look { question: fields.next()?, paths: fields.next()? },
                4 => Self::Buckets,
                5 => Self::Names { bucket: fields.next()? },
                6 => Self::Unread,
                7 => Self::Mailboxes { paths: fields.next()? },
                _ => return Ok(None),
            }))
        })
    }
}

impl Field for Answer {
    fn put(&self, to: &mut Sink<'_>) {
        match self {
            Self::Begun(begun) => numbered(to, 1, &[begun]),
            Self::Progress { files, bytes } => numbered(to, 2, &[files, bytes]),
            Self::Digest(digest) => numbered(to, 3, &[digest]),
            Self::Entries { question, more, entries, errno } => numbered(to, 4, &[question, more, entries, errno]),
            Self::Seen { question, look } => numbered(to, 5, &[question, look]),
            Self::Buckets { digests } => numbered(to, 6, &[digests]),
            Self::Names { bucket, more, names } => numbered(to, 7, &[bucket, more, names]),
            Self::Unread { more, paths } => numbered(to, 8, &[more, paths]),
            Self::Mailboxes { more, mailboxes } => numbered(to, 9, &[more, mailboxes]),
        }
    }

    fn get(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        open(from, "answer", |number, fields| {
            Ok(Some(match number {
                1 => Self::Begun(fields.next()?),
                2 => Self::Progress { files: fields.next()?, bytes: fields.next()? },
                3 => Self::Digest(fields.next()?),
                4 => Self::Entries {
                    question: fields.next()?,
                    more: fields.next()?,
                    entries: fields.next()?,
                    errno: fields.next()?,
                },
                5 => Self::Seen { question: fields.next()?, look: fields.next()? },
                6 => Self::Buckets { digests: fields.next()? },
                7 => Self::Names { bucket: fields.next()?, more: fields.next()?, names: fields.next()? },
                8 => Self::Unread { more: fields.next()?, paths: fields.next()? },
                9 => Self::Mailboxes { more: fields.next()?, mailboxes: fields.next()? },
                _ => return Ok(None),
            }))
        })
    }
}

/// The part of [`Field`] that a list of fields of several types needs.
trait Put {
    fn put_to(&self, to: &mut Sink<'_>);
}

impl<T: Field> Put for T {
    fn put_to(&self, to: &mut Sink<'_>) {
        self.put(to);
    }
}

/// `[number, field...]`.
fn numbered(to: &mut Sink<'_>, number: u8, fields: &[&dyn Put]) {
    sure(to.array(fields.len() as u64 + 1));
    number.put(to);
    fields.iter().for_each(|field| field.put_to(to));
}

/// Reads what [`numbered`] writes; `read` gives `None` for a number it does not know.
fn open<T>(
    from: &mut Decoder<'_>,
    what: &'static str,
    read: impl FnOnce(u8, &mut Fields<'_, '_>) -> Result<Option<T>, DecodeError>,
) -> Result<T, DecodeError> {
    let mut fields = Fields::open(from)?;
    let number = fields.next()?;
    let value = read(number, &mut fields)?.ok_or(DecodeError::Unknown { what, code: number.into() })?;
    fields.close()?;
    Ok(value)
}
