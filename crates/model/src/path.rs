//! Paths inside a tree, as bytes.
//!
//! Invariants: a `Name` is 1..=255 bytes without `/` and NUL and is neither `.` nor `..`; a `RelPath` is zero or more
//! names joined by single slashes (zero names: the root of the tree). Whoever holds one need not check again.

use std::fmt;

/// The longest name Linux file systems store, in bytes (`NAME_MAX`).
pub const NAME_BYTES_MAX: usize = 255;

/// The longest path accepted, in bytes. Deeper than `PATH_MAX` (4096) because no system call is ever given a whole path.
pub const PATH_BYTES_MAX: usize = 16 * 1024;

/// Name of the directory in a replica's root that is never replicated, never watched, never served.
pub const PRIVATE_DIRECTORY: &[u8] = b".fulmar";

/// Why bytes are not a name or a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// Empty, `.`, `..`, or holding a slash or a NUL.
    NotAName,
    /// A name over [`NAME_BYTES_MAX`] or a path over [`PATH_BYTES_MAX`].
    TooLong,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAName => "not a file name (empty, \".\", \"..\", or with a slash or a zero byte)",
            Self::TooLong => "file name or path too long",
        })
    }
}

impl std::error::Error for PathError {}

/// One component of a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Accepts any bytes that the kernel would accept as one component.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        check_name(bytes)?;
        Ok(Self(bytes.into()))
    }

    /// The bytes as the kernel gave them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For calls of the standard library.
    pub fn as_os_str(&self) -> &std::ffi::OsStr {
        use std::os::unix::ffi::OsStrExt;
        std::ffi::OsStr::from_bytes(&self.0)
    }
}

fn check_name(bytes: &[u8]) -> Result<(), PathError> {
    if bytes.len() > NAME_BYTES_MAX {
        return Err(PathError::TooLong);
    }
    let bad = bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.iter().any(|b| matches!(b, b'/' | 0));
    if bad { Err(PathError::NotAName) } else { Ok(()) }
}

/// A path relative to the root of a tree. Ordered by bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelPath(Box<[u8]>);

impl RelPath {
    /// The root of the tree itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Accepts the form that [`RelPath::as_bytes`] yields, and nothing else: no leading, trailing or double slash.
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        if !bytes.is_empty() {
            bytes.split(|b| *b == b'/').try_for_each(check_name)?;
        }
        Ok(Self(bytes.into()))
    }

    /// Whether this is the root of the tree.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path of `name` in this directory.
    pub fn join(&self, name: &Name) -> Self {
        if self.is_root() {
            return Self(name.0.clone());
        }
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.0.len());
        bytes.extend_from_slice(&self.0);
        bytes.push(b'/');
        bytes.extend_from_slice(&name.0);
        Self(bytes.into())
    }

    /// This path below `base` (`a` joined to `b/c` is `b/c/a` with `base` = `b/c`).
    pub fn under(&self, base: &Self) -> Self {
        match (base.is_root(), self.is_root()) {
            (true, _) => self.clone(),
            (_, true) => base.clone(),
            _ => Self([&base.0, &b"/"[..], &self.0].concat().into()),
        }
    }

    /// What remains of this path when `base` is taken off its front; `None` when it is not below `base`.
    pub fn strip(&self, base: &Self) -> Option<Self> {
        if !self.starts_with(base) {
            return None;
        }
        let cut = if base.is_root() || self.0.len() == base.0.len() { base.0.len() } else { base.0.len() + 1 };
        Some(Self(self.0.get(cut..)?.into()))
    }

    /// The directory this path is in and its name there; `None` for the root.
    pub fn split(&self) -> Option<(Self, Name)> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.iter().rposition(|b| *b == b'/') {
            Some(slash) => (Self(self.0[..slash].into()), Name(self.0[slash + 1..].into())),
            None => (Self::root(), Name(self.0.clone())),
        })
    }

    /// The directory this path is in; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        self.split().map(|(parent, _)| parent)
    }

    /// The names from the root down.
    pub fn names(&self) -> impl Iterator<Item = Name> + '_ {
        self.0.split(|b| *b == b'/').filter(|part| !part.is_empty()).map(|part| Name(part.into()))
    }

    /// Every directory above this path, the root first, the path itself not included.
    pub fn ancestors(&self) -> Vec<Self> {
        let mut all = Vec::new();
        if !self.is_root() {
            all.push(Self::root());
            let slashes = self.0.iter().enumerate().filter(|(_, b)| **b == b'/');
            all.extend(slashes.map(|(at, _)| Self(self.0[..at].into())));
        }
        all
    }

    /// The first `depth` names of this path (the whole path if it has fewer).
    pub fn prefix(&self, depth: usize) -> Self {
        self.names().take(depth).fold(Self::root(), |at, name| at.join(&name))
    }

    /// Number of names.
    pub fn depth(&self) -> usize {
        if self.is_root() { 0 } else { 1 + self.0.iter().filter(|b| **b == b'/').count() }
    }

    /// Whether this path is `base` or below it.
    pub fn starts_with(&self, base: &Self) -> bool {
        base.is_root() || (self.0.starts_with(&base.0) && matches!(self.0.get(base.0.len()), None | Some(b'/')))
    }

    /// Whether this path is the replica's private directory or below it.
    pub fn is_private(&self) -> bool {
        self.0.split(|b| *b == b'/').next() == Some(PRIVATE_DIRECTORY)
    }

    /// The order in which a walk meets paths: each directory before what is in it, siblings by the bytes of their names. Not
    /// the order of bytes, in which `a-` comes before `a/b`.
    pub fn walk_cmp(&self, other: &Self) -> std::cmp::Ordering {
        // No name has a zero byte, so a slash ends a name below every longer one.
        let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
        self.0.iter().map(rank).cmp(other.0.iter().map(rank))
    }

    /// The bytes, names joined by single slashes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes of a name made harmless for a terminal, a log line or a JSON string; see [`escape`].
#[derive(Clone, Copy)]
pub struct Escaped<'a>(&'a [u8]);

/// Shows bytes as text: printable characters stay, a backslash is doubled, everything else (control characters,
/// invalid UTF-8, the invisible and direction-changing characters of Unicode) becomes `\n`, `\t`, `\r` or `\xNN`. The
/// result holds no line break and no escape sequence, and distinct bytes give distinct texts.
pub fn escape(bytes: &[u8]) -> Escaped<'_> {
    Escaped(bytes)
}

/// The reverse of [`escape`]; `None` for what that never gives.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'x' => {
                    let mut digit = || u8::try_from(char::from(rest.next()?).to_digit(16)?).ok();
                    digit()? << 4 | digit()?
                }
                _ => return None,
            },
            plain => plain,
        });
    }
    Some(bytes)
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    '\n' => f.write_str("\\n")?,
                    '\t' => f.write_str("\\t")?,
                    '\r' => f.write_str("\\r")?,
                    c if c.is_control() || is_deceptive(c) => {
                        let mut buffer = [0; 4];
                        for byte in c.encode_utf8(&mut buffer).bytes() {
                            write!(f, "\\x{byte:02x}")?;
                        }
                    }
                    c => fmt::Write::write_char(f, c)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Characters that print as nothing or reorder their neighbours (zero-width, line separators, bidirectional controls,
/// byte order mark): a name must not be able to look like another.
fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(&self.0).fmt(f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str(".") } else { escape(&self.0).fmt(f) }
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a valid path")
    }

    #[test]
    fn refuses_what_could_leave_the_tree() {
        for bad in ["/a", "a/", "a//b", "..", "a/../b", ".", "a/./b", "a\0b", "/"] {
            assert!(RelPath::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert_eq!(RelPath::parse(&[b'x'; 256]), Err(PathError::TooLong));
        assert!(RelPath::parse(&[b'x'; 255]).is_ok());
    }

    #[test]
    fn splits_and_joins() {
        let (parent, name) = path("a/b/c").split().expect("not the root");
        assert_eq!((parent.clone(), parent.join(&name)), (path("a/b"), path("a/b/c")));
        assert_eq!(path("a/b/c").ancestors(), [path(""), path("a"), path("a/b")]);
        assert_eq!(path("a/b/c").strip(&path("a")), Some(path("b/c")));
        assert_eq!(path("ab").strip(&path("a")), None);
        assert_eq!(path("a").strip(&path("a")), Some(path("")));
        assert_eq!(path("b/c").under(&path("a")), path("a/b/c"));
    }

    #[test]
    fn escapes_what_a_terminal_would_obey_and_keeps_names_apart() {
        assert_eq!(escape(b"a\n\x1b[31m\xff\\n").to_string(), "a\\n\\x1b[31m\\xff\\\\n");
        assert_eq!(escape("é\u{202e}x".as_bytes()).to_string(), "é\\xe2\\x80\\xaex");
    }

    #[test]
    fn what_was_never_escaped_is_not_read_back() {
        for text in ["\\", "\\x", "\\x1", "\\xgg", "\\q"] {
            assert_eq!(unescape(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_escaped_is_read_back(bytes in proptest::collection::vec(0u8..=255, 0..40)) {
            proptest::prop_assert_eq!(unescape(&escape(&bytes).to_string()), Some(bytes));
        }

        #[test]
        fn whatever_parses_prints_back(bytes in proptest::collection::vec(0u8..=255, 0..40)) {
            if let Ok(parsed) = RelPath::parse(&bytes) {
                proptest::prop_assert_eq!(parsed.as_bytes(), &bytes[..]);
                let joined = parsed.names().fold(RelPath::root(), |at, name| at.join(&name));
                proptest::prop_assert_eq!(joined, parsed);
            }
        }

        #[test]
        fn a_walk_goes_by_names(one in "([ab/.-]|b/a)*", other in "([ab/.-]|b/a)*") {
            let (one, other) = (RelPath::parse(one.as_bytes()), RelPath::parse(other.as_bytes()));
            if let (Ok(one), Ok(other)) = (one, other) {
                let names = |path: &RelPath| path.names().collect::<Vec<_>>();
                proptest::prop_assert_eq!(one.walk_cmp(&other), names(&one).cmp(&names(&other)));
            }
        }
    }
}
