//! How values become CBOR and come back.
//!
//! A record is an array of its fields in order. A reader skips fields behind those it knows, and a writer may leave out
//! trailing fields that are `None`: that is how a later version adds fields without a new protocol version.

use bytes::Bytes;
use fulmar_model::{
    Device, Entry, Hash, HeldReason, Id, LinkGroup, Name, Node, Outcome, QueueId, RelPath, ReplicaId, Seq, Term,
    Timestamp, TreeId, XattrDigest, Xattrs,
};
use minicbor::Encoder;
use std::ops::{Deref, DerefMut};
use thiserror::Error;

/// Bytes from the peer that are not a message.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// Not CBOR, or not of the shape expected.
    #[error("malformed message from the other side")]
    Shape(#[source] minicbor::decode::Error),
    /// A path or a name that could not exist.
    #[error("impossible path from the other side")]
    Path(#[source] fulmar_model::PathError),
    /// A number outside the set this version knows.
    #[error("unknown {what} {code} from the other side")]
    Unknown {
        /// What the number stands for.
        what: &'static str,
        /// The number.
        code: u64,
    },
}

impl From<minicbor::decode::Error> for DecodeError {
    fn from(error: minicbor::decode::Error) -> Self {
        Self::Shape(error)
    }
}

pub(crate) type Sink<'a> = Encoder<&'a mut Vec<u8>>;

/// Reads a message, and can give out parts of it that share its memory.
pub(crate) struct Decoder<'b> {
    cbor: minicbor::Decoder<'b>,
    message: &'b Bytes,
}

impl<'b> Decoder<'b> {
    /// `rest`: what is still to be read of `message`.
    pub(crate) fn new(message: &'b Bytes, rest: &'b [u8]) -> Self {
        Self { cbor: minicbor::Decoder::new(rest), message }
    }
}

impl<'b> Deref for Decoder<'b> {
    type Target = minicbor::Decoder<'b>;

    fn deref(&self) -> &Self::Target {
        &self.cbor
    }
}

impl DerefMut for Decoder<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.cbor
    }
}

type Result<T> = std::result::Result<T, DecodeError>;

/// A value that has a CBOR form. Encoding into memory cannot fail.
pub(crate) trait Field: Sized {
    fn put(&self, to: &mut Sink<'_>);
    fn get(from: &mut Decoder<'_>) -> Result<Self>;
    /// The value of a field that the sender did not know of.
    fn absent() -> Option<Self> {
        None
    }
}

/// What `Encoder` returns for a `Vec` sink, whose error type has no value.
pub(crate) fn sure<T>(result: std::result::Result<T, minicbor::encode::Error<std::convert::Infallible>>) {
    result.map(|_| ()).expect("writing into memory cannot fail");
}

/// Reads an array field by field; missing trailing fields become their `absent` value, surplus ones are skipped.
pub(crate) struct Fields<'a, 'b> {
    from: &'a mut Decoder<'b>,
    left: u64,
}

impl<'a, 'b> Fields<'a, 'b> {
    pub(crate) fn open(from: &'a mut Decoder<'b>) -> Result<Self> {
        let left = from.array()?.ok_or_else(|| minicbor::decode::Error::message("array of unknown length"))?;
        Ok(Self { from, left })
    }

    pub(crate) fn next<T: Field>(&mut self) -> Result<T> {
        if self.left == 0 {
            return T::absent().ok_or_else(|| minicbor::decode::Error::message("a field is missing").into());
        }
        self.left -= 1;
        T::get(self.from)
    }

    pub(crate) fn close(self) -> Result<()> {
        for _ in 0..self.left {
            self.from.skip()?;
        }
        Ok(())
    }
}

/// Gives a struct a `Field` implementation: an array of the fields in the order listed.
macro_rules! record {
    ($type:ident { $($field:ident),+ }) => {
        impl $crate::field::Field for $type {
            fn put(&self, to: &mut $crate::field::Sink<'_>) {
                $crate::field::sure(to.array([$(stringify!($field)),+].len() as u64));
                $($crate::field::Field::put(&self.$field, to);)+
            }

            fn get(from: &mut $crate::field::Decoder<'_>) -> std::result::Result<Self, $crate::field::DecodeError> {
                let mut fields = $crate::field::Fields::open(from)?;
                let value = Self { $($field: fields.next()?),+ };
                fields.close()?;
                Ok(value)
            }
        }
    };
}
pub(crate) use record;

impl Field for bool {
    fn put(&self, to: &mut Sink<'_>) {
        sure(to.bool(*self));
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self> {
        Ok(from.bool()?)
    }
}

macro_rules! number {
    ($($type:ident),+) => {$(
        impl Field for $type {
            fn put(&self, to: &mut Sink<'_>) {
                sure(to.$type(*self));
            }
            fn get(from: &mut Decoder<'_>) -> Result<Self> {
                Ok(from.$type()?)
            }
        }
    )+};
}
number!(u8, u16, u32, u64, i32, i64);

macro_rules! wrapped {
    ($($type:ident),+) => {$(
        impl Field for $type {
            fn put(&self, to: &mut Sink<'_>) {
                self.0.put(to);
            }
            fn get(from: &mut Decoder<'_>) -> Result<Self> {
                Ok(Self(Field::get(from)?))
            }
        }
    )+};
}
wrapped!(Seq, Term, LinkGroup, Id, TreeId, ReplicaId, QueueId, Hash, XattrDigest);

impl<const N: usize> Field for [u8; N] {
    fn put(&self, to: &mut Sink<'_>) {
        sure(to.bytes(self));
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self> {
        let bytes = from.bytes()?;
        bytes.try_into().map_err(|_| minicbor::decode::Error::message("wrong number of bytes").into())
    }
}

/// Bytes as one CBOR byte string (a plain `Vec<u8>` would be an array of numbers).
impl Field for Box<[u8]> {
    fn put(&self, to: &mut Sink<'_>) {
        sure(to.bytes(self));
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self> {
        Ok(from.bytes()?.into())
    }
}

/// Content: the message stays in memory as long as any part of it.
impl Field for Bytes {
    fn put(&self, to: &mut Sink<'_>) {
        sure(to.bytes(self));
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self> {
        let part = from.bytes()?;
        Ok(from.message.slice_ref(part))
    }
}

impl Field for String {
    fn put(&self, to: &mut Sink<'_>) {
        sure(to.str(self));
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self> {
        Ok(from.str()?.to_owned())
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, to: &mut Sink<'_>) {
        match self {
            Some(value) => value.put(to),
            None => sure(to.null()),
        }
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self> {
        if from.datatype()? == minicbor::data::Type::Null {
            from.null()?;
            return Ok(None);
        }
        T::get(from).map(Some)
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, to: &mut Sink<'_>) {
        sure(to.array(self.len() as u64));
        self.iter().for_each(|item| item.put(to));
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self> {
        let count = from.array()?.ok_or_else(|| minicbor::decode::Error::message("array of unknown length"))?;
        // Grown item by item: each takes at least a byte of the frame, so a lying count ends in an error, not in memory.
        let mut items = Self::new();
        for _ in 0..count {
            items.push(T::get(from)?);
        }
        Ok(items)
    }
}

impl<A: Field, B: Field> Field for (A, B) {
    fn put(&self, to: &mut Sink<'_>) {
        sure(to.array(2));
        self.0.put(to);
        self.1.put(to);
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self> {
        let mut fields = Fields::open(from)?;
        let pair = (fields.next()?, fields.next()?);
        fields.close()?;
        Ok(pair)
    }
}

impl Field for RelPath {
    fn put(&self, to: &mut Sink<'_>) {
        sure(to.bytes(self.as_bytes()));
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self> {
        Self::parse(from.bytes()?).map_err(DecodeError::Path)
    }
}

impl Field for Name {
    fn put(&self, to: &mut Sink<'_>) {
        sure(to.bytes(self.as_bytes()));
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self> {
        Self::parse(from.bytes()?).map_err(DecodeError::Path)
    }
}

impl Field for Timestamp {
    fn put(&self, to: &mut Sink<'_>) {
        (self.seconds, self.nanos).put(to);
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self> {
        let (seconds, nanos) = Field::get(from)?;
        Ok(Self::new(seconds, nanos))
    }
}

record!(Device { major, minor });
record!(Entry { node, mode, uid, gid, mtime, xattrs, group });

impl Field for Node {
    fn put(&self, to: &mut Sink<'_>) {
        let kind = self.kind().code();
        match self {
            Self::File { size, hash } => {
                sure(to.array(3));
                kind.put(to);
                size.put(to);
                hash.put(to);
            }
            Self::Symlink { target } => (kind, target.clone()).put(to),
            Self::CharDevice(device) | Self::BlockDevice(device) => (kind, *device).put(to),
            Self::Directory | Self::Fifo => {
                sure(to.array(1));
                kind.put(to);
            }
        }
    }

    fn get(from: &mut Decoder<'_>) -> Result<Self> {
        use fulmar_model::Kind;
        let mut fields = Fields::open(from)?;
        let code: u8 = fields.next()?;
        let node = match Kind::from_code(code) {
            Some(Kind::File) => Self::File { size: fields.next()?, hash: fields.next()? },
            Some(Kind::Directory) => Self::Directory,
            Some(Kind::Symlink) => Self::Symlink { target: link_target(fields.next()?)? },
            Some(Kind::Fifo) => Self::Fifo,
            Some(Kind::CharDevice) => Self::CharDevice(fields.next()?),
            Some(Kind::BlockDevice) => Self::BlockDevice(fields.next()?),
            Some(Kind::Socket) | None => return Err(DecodeError::Unknown { what: "kind", code: code.into() }),
        };
        fields.close()?;
        Ok(node)
    }
}

/// Linux stores targets of 1 to 4095 bytes without NUL.
fn link_target(target: Box<[u8]>) -> Result<Box<[u8]>> {
    if target.is_empty() || target.len() > 4095 || target.contains(&0) {
        return Err(minicbor::decode::Error::message("impossible link target").into());
    }
    Ok(target)
}

impl Field for Xattrs {
    fn put(&self, to: &mut Sink<'_>) {
        sure(to.array(self.iter().count() as u64));
        for (name, value) in self.iter() {
            sure(to.array(2));
            sure(to.bytes(name));
            sure(to.bytes(value));
        }
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self> {
        let pairs: Vec<fulmar_model::Xattr> = Field::get(from)?;
        if pairs.iter().any(|(name, _)| name.is_empty() || name.len() > 255 || name.contains(&0)) {
            return Err(minicbor::decode::Error::message("impossible attribute name").into());
        }
        Ok(Self::new(pairs))
    }
}

impl Field for Outcome {
    fn put(&self, to: &mut Sink<'_>) {
        let (code, a, b): (u8, u16, i32) = match self {
            Self::Done => (0, 0, 0),
            Self::NeedContent => (1, 0, 0),
            Self::NeedCompare { depth } => (2, *depth, 0),
            Self::Held { reason, errno } => (3, reason.code().into(), *errno),
        };
        (code, (a, b)).put(to);
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self> {
        let (code, (a, errno)): (u8, (u16, i32)) = Field::get(from)?;
        match code {
            0 => Ok(Self::Done),
            1 => Ok(Self::NeedContent),
            2 => Ok(Self::NeedCompare { depth: a }),
            3 => Ok(Self::Held { reason: HeldReason::from_code(u8::try_from(a).unwrap_or(0)), errno }),
            _ => Err(DecodeError::Unknown { what: "outcome", code: code.into() }),
        }
    }
}
