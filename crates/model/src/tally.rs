//! How much there is.

/// Number and size of what is in a directory and below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tally {
    /// Entries of any kind, the directory itself not among them.
    pub entries: u64,
    /// Regular files among them.
    pub files: u64,
    /// Bytes of those files, holes included.
    pub bytes: u64,
}

impl Tally {
    /// Adds what another directory holds.
    pub fn add(&mut self, other: Self) {
        self.entries = self.entries.saturating_add(other.entries);
        self.files = self.files.saturating_add(other.files);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}
