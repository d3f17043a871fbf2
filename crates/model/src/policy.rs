//! What the user decided, as far as both sides must know it.

use std::fmt;
use std::str::FromStr;

/// What "acknowledged" promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// Acknowledged means on disk; one round of syncs for a batch of operations.
    #[default]
    Batch,
    /// As `batch`, with every file synced by itself.
    Each,
    /// Acknowledged means visible; a power cut may lose the last seconds, silently.
    None,
}

/// What happens on a replica to a path that is gone from the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeletePolicy {
    /// What fulmar put there is removed, what it did not is moved to quarantine.
    #[default]
    Quarantine,
    /// Removed, whoever put it there.
    Remove,
    /// Stays.
    Keep,
}

/// How closely two sides are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Depth {
    /// What stat data and a record vouch for is not read.
    Quick,
    /// Every byte is read.
    #[default]
    Deep,
}

impl Depth {
    /// The word for the command line and reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Deep => "deep",
        }
    }
}

/// What kind of tree it is: sets default exclusions and the order of application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Profile {
    /// Nothing special.
    #[default]
    Plain,
    /// Dovecot Maildirs: indexes, locks and deliveries under way stay at home.
    Maildir,
    /// Web roots and CGI chroots.
    Webroot,
}

/// The word is not one of those offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// What was given.
    pub given: String,
    /// What would do.
    pub offered: &'static str,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is not one of {}", crate::escape(self.given.as_bytes()), self.offered)
    }
}

impl std::error::Error for PolicyError {}

macro_rules! words {
    ($name:ident, $offered:literal, $($variant:ident = $word:literal = $code:literal),+) => {
        impl FromStr for $name {
            type Err = PolicyError;
            fn from_str(text: &str) -> Result<Self, PolicyError> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(PolicyError { given: text.to_owned(), offered: $offered }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word,)+ })
            }
        }

        impl $name {
            /// The number sent on the wire.
            pub fn code(self) -> u8 {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The reverse of `code`; `None` for a number this version does not know.
            pub fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

words!(Durability, "batch, each, none", Batch = "batch" = 1, Each = "each" = 2, None = "none" = 3);
words!(
    DeletePolicy,
    "quarantine, remove, keep",
    Quarantine = "quarantine" = 1,
    Remove = "remove" = 2,
    Keep = "keep" = 3
);
words!(Profile, "plain, maildir, webroot", Plain = "plain" = 1, Maildir = "maildir" = 2, Webroot = "webroot" = 3);
