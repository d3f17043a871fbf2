//! Identities. Random ones are made in the binary; here they are only carried, printed and parsed.

use crate::{Device, Timestamp};
use std::fmt;

/// 128 bits, printed as a UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub [u8; 16]);

/// The text is not 32 hexadecimal digits with optional dashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdError;

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an identity of 32 hexadecimal digits")
    }
}

impl std::error::Error for IdError {}

impl Id {
    /// Reads what [`fmt::Display`] prints; dashes are ignored.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
        if digits.len() != 32 {
            return Err(IdError);
        }
        let mut id = [0; 16];
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| IdError)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| IdError)?;
        }
        Ok(Self(id))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Id);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A replicated tree, the same on the primary and every replica.
    TreeId
);
id!(
    /// One replica of a tree.
    ReplicaId
);
id!(
    /// One life of a primary's queue; a rebuilt queue has another, and cursors into the old one mean nothing.
    QueueId
);

/// The fencing number of a tree's primary; grows at every change of primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Term(pub u64);

/// Which directory a root is, independent of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootId {
    /// Device of its file system. May be numbered anew at every boot.
    pub device: Device,
    /// Its inode number.
    pub inode: u64,
    /// When the inode was created, where the file system tells: with the inode number it marks the directory
    /// across reboots without writing anything into it.
    pub born: Option<Timestamp>,
}

impl RootId {
    /// Whether both are the same directory. The birth time decides where it is known, else the device.
    pub fn is_same(&self, other: &Self) -> bool {
        self.inode == other.inode
            && match (self.born, other.born) {
                (Some(here), Some(there)) => here == there,
                _ => self.device == other.device,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_prints_and_parses_back() {
        let id = Id([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(id.to_string(), "00010203-0405-0607-0809-0a0b0c0d0eff");
        assert_eq!(Id::parse(&id.to_string()), Ok(id));
        assert_eq!(Id::parse("xyz"), Err(IdError));
        assert_eq!(Id::parse(&"é".repeat(16)), Err(IdError));
    }
}
