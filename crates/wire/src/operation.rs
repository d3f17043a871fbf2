//! What a replica must do at one path.
//!
//! Every operation states the result, not the way there, so that applying it twice, or finding it applied already, is the
//! same as applying it once. `Rename`, `Link` and `Metadata` are shortcuts: the replica checks that the content they
//! speak of is there (by hash), and otherwise asks for it.

use crate::field::{DecodeError, Decoder, Field, Fields, Sink, sure};
use bytes::Bytes;
use fulmar_model::{Entry, RelPath, Xattrs};

/// Most operations in one batch: bounds what a primary can make a replica remember.
pub const BATCH_OPERATIONS_MAX: usize = 8192;

/// Content up to this many bytes travels inside its operation; larger content flows beside, in chunks.
pub const INLINE_BYTES_MAX: u64 = 256 * 1024;

/// Attributes up to this many bytes (names and values) of one path can be transported.
pub const XATTR_BYTES_MAX: usize = 256 * 1024;

/// Bytes at a place; what lies between segments is a hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where, from the start of the file.
    pub offset: u64,
    /// What.
    pub bytes: Bytes,
}

/// Where a put file's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Not a regular file: the entry says it all.
    None,
    /// Here, in increasing order of offset.
    Inline(Vec<Segment>),
    /// In the chunks that came before under this stream number.
    Stream(u64),
}

/// What must be so at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The path is this entry with this content; a directory keeps what is in it.
    Put {
        /// Where.
        path: RelPath,
        /// What; the hash of a file is always set.
        entry: Entry,
        /// Its attributes.
        xattrs: Xattrs,
        /// Its bytes.
        content: Content,
    },
    /// The path has the content it should have already (the entry's hash), and gets this metadata.
    Metadata {
        /// Where.
        path: RelPath,
        /// What; the hash of a file is always set.
        entry: Entry,
        /// Its attributes.
        xattrs: Xattrs,
    },
    /// What was at `from` is at `to`. A directory takes everything in it along.
    Rename {
        /// The name it had.
        from: RelPath,
        /// The name it has.
        to: RelPath,
        /// What it is; of a directory the link group names the primary's inode.
        entry: Entry,
        /// Its attributes.
        xattrs: Xattrs,
    },
    /// `path` is another name of the file at `target`.
    Link {
        /// The other name.
        path: RelPath,
        /// The name that is there.
        target: RelPath,
        /// What both are.
        entry: Entry,
        /// Attributes of both.
        xattrs: Xattrs,
    },
    /// Nothing is there.
    Remove {
        /// Where; a directory goes with everything below it.
        path: RelPath,
    },
}

impl Operation {
    /// The path whose state it sets.
    pub fn path(&self) -> &RelPath {
        match self {
            Self::Put { path, .. } | Self::Metadata { path, .. } | Self::Link { path, .. } | Self::Remove { path } => {
                path
            }
            Self::Rename { to, .. } => to,
        }
    }

    /// What is to be there; `None` when nothing is.
    pub fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Put { entry, .. }
            | Self::Metadata { entry, .. }
            | Self::Rename { entry, .. }
            | Self::Link { entry, .. } => Some(entry),
            Self::Remove { .. } => None,
        }
    }

    /// The word for logs and `--dry-run`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Put { .. } => "put",
            Self::Metadata { .. } => "metadata",
            Self::Rename { .. } => "rename",
            Self::Link { .. } => "link",
            Self::Remove { .. } => "remove",
        }
    }

    /// Bytes of inline content.
    pub fn inline_bytes(&self) -> usize {
        match self {
            Self::Put { content: Content::Inline(segments), .. } => segments.iter().map(|s| s.bytes.len()).sum(),
            _ => 0,
        }
    }
}

crate::field::record!(Segment { offset, bytes });

impl Field for Content {
    fn put(&self, to: &mut Sink<'_>) {
        match self {
            Self::None => sure(to.null()),
            Self::Inline(segments) => segments.put(to),
            Self::Stream(stream) => stream.put(to),
        }
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        use minicbor::data::Type;
        Ok(match from.datatype()? {
            Type::Null => {
                from.null()?;
                Self::None
            }
            Type::Array => Self::Inline(Field::get(from)?),
            _ => Self::Stream(Field::get(from)?),
        })
    }
}

impl Field for Operation {
    fn put(&self, to: &mut Sink<'_>) {
        match self {
            Self::Put { path, entry, xattrs, content } => {
                sure(to.array(5));
                1u8.put(to);
                path.put(to);
                entry.put(to);
                xattrs.put(to);
                content.put(to);
            }
            Self::Metadata { path, entry, xattrs } => {
                sure(to.array(4));
                2u8.put(to);
                path.put(to);
                entry.put(to);
                xattrs.put(to);
            }
            Self::Rename { from, to: target, entry, xattrs } => {
                sure(to.array(5));
                3u8.put(to);
                from.put(to);
                target.put(to);
                entry.put(to);
                xattrs.put(to);
            }
            Self::Link { path, target, entry, xattrs } => {
                sure(to.array(5));
                4u8.put(to);
                path.put(to);
                target.put(to);
                entry.put(to);
                xattrs.put(to);
            }
            Self::Remove { path } => (5u8, path.clone()).put(to),
        }
    }

    fn get(from: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let mut fields = Fields::open(from)?;
        let operation = match fields.next::<u8>()? {
            1 => Self::Put {
                path: fields.next()?,
                entry: fields.next()?,
                xattrs: fields.next()?,
                content: fields.next()?,
            },
            2 => Self::Metadata { path: fields.next()?, entry: fields.next()?, xattrs: fields.next()? },
            3 => {
                Self::Rename { from: fields.next()?, to: fields.next()?, entry: fields.next()?, xattrs: fields.next()? }
            }
            4 => Self::Link {
                path: fields.next()?,
                target: fields.next()?,
                entry: fields.next()?,
                xattrs: fields.next()?,
            },
            5 => Self::Remove { path: fields.next()? },
            code => return Err(DecodeError::Unknown { what: "operation", code: code.into() }),
        };
        fields.close()?;
        Ok(operation)
    }
}
