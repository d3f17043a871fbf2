//! What the rows of a directory come to, so that whoever finds it as recorded need not read them.

use crate::{Hash, Name, Record};

/// What a catalog remembers of all rows of one directory together. Whatever is written to one of them breaks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Names and stat data of what is no directory: who finds these finds everything as recorded.
    pub key: Hash,
    /// Their fingerprint, owners included.
    pub leaves: Hash,
    /// How many directories there are beside them. The seal says no more of these.
    pub directories: u64,
}

/// Puts a seal together.
pub trait Sealer {
    /// Takes the next row, in increasing order of names; gives whether it wants another one. If not, there will be no seal.
    fn row(&mut self, name: &Name, record: &Record) -> bool;

    /// `None` when a row vouches for less than all that a seal says.
    fn seal(self) -> Option<Seal>;
}
