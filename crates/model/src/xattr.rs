//! Extended attributes, POSIX ACLs and file capabilities among them (the kernel keeps both as attributes).

/// Name and value of one attribute.
pub type Xattr = (Box<[u8]>, Box<[u8]>);

/// All attributes of one inode that are replicated, sorted by name, each name once.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Xattrs(Vec<Xattr>);

impl Xattrs {
    /// Sorts by name; of two values under one name the first wins.
    pub fn new(mut pairs: Vec<Xattr>) -> Self {
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|a, b| a.0 == b.0);
        Self(pairs)
    }

    /// Name and value, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value under `name`.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let at = self.0.binary_search_by(|(have, _)| (**have).cmp(name)).ok()?;
        self.0.get(at).map(|(_, value)| &**value)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of all names and values.
    pub fn bytes(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// The first 16 bytes of a BLAKE3 over a set of attributes; all zero for the empty set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct XattrDigest(pub [u8; 16]);

impl XattrDigest {
    /// Whether it stands for no attribute at all.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 16]
    }
}
