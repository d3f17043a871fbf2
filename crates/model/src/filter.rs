//! Which paths of a tree are not replicated.
//!
//! Patterns have the syntax and the meaning of gitignore(5), read as if from one file in the root of the tree: the last
//! pattern that matches decides, `!` takes a path back in, and nothing below an excluded directory can be taken back.
//! The replica's private directory is always excluded.

use crate::glob::{CLASSES, Flaw, Glob};
use crate::{Name, PRIVATE_DIRECTORY, Profile, RelPath};
use std::fmt;

/// A pattern that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// The pattern as given.
    pub pattern: String,
    /// What is wrong with it.
    pub flaw: Flaw,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pattern = crate::escape(self.pattern.as_bytes());
        write!(f, "pattern \"{pattern}\" is not valid gitignore syntax: ")?;
        match &self.flaw {
            Flaw::Unclosed => write!(f, "a [ is not closed (\\[ stands for the character)"),
            Flaw::Backslash => write!(f, "it ends with a backslash (\\\\ stands for the character)"),
            Flaw::Empty => write!(f, "it has no name in it"),
            Flaw::Class(name) => {
                let known: Vec<_> = CLASSES.iter().map(|(word, _)| *word).collect();
                write!(f, "there is no class [:{}:], only {}", crate::escape(name), known.join(", "))
            }
        }
    }
}

impl std::error::Error for FilterError {}

#[derive(Clone, Debug)]
struct Rule {
    glob: Glob,
    include: bool,
    only: Only,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Only {
    Everything,
    Directories,
    NotDirectories,
}

/// An ordered list of patterns.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    rules: Vec<Rule>,
    profile: Profile,
    text: Vec<u8>,
}

/// What Dovecot rebuilds by itself or holds only while it runs. Deliveries under way are the plain files in `tmp`
/// (directories there stay: with `LAYOUT=fs` a mailbox may be called `tmp`, and its own files start with `dovecot`).
const MAILDIR: &[(&str, Only)] = &[
    ("dovecot.index*", Only::NotDirectories),
    ("dovecot-uidlist.lock", Only::NotDirectories),
    ("dovecot-uidlist.tmp*", Only::NotDirectories),
    ("dovecot.lock", Only::NotDirectories),
    ("*.lock", Only::NotDirectories),
    ("**/tmp/*", Only::NotDirectories),
    ("!**/tmp/dovecot-*", Only::NotDirectories),
    ("!**/tmp/subscriptions", Only::NotDirectories),
    ("!**/tmp/maildirfolder", Only::NotDirectories),
    ("dovecot-uidlist.lock", Only::NotDirectories),
];

impl Filter {
    /// The profile's exclusions first, then the user's patterns, which may take some of them back.
    pub fn new<'a>(profile: Profile, patterns: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, FilterError> {
        let (mut rules, mut text) = (Vec::new(), vec![u8::from(profile == Profile::Maildir)]);
        let mut note = |pattern: &[u8]| {
            text.extend_from_slice(&(pattern.len() as u64).to_le_bytes());
            text.extend_from_slice(pattern);
        };
        if profile == Profile::Maildir {
            for (pattern, only) in MAILDIR {
                note(pattern.as_bytes());
                rules.extend(rule(pattern.as_bytes())?.map(|rule| Rule { only: *only, ..rule }));
            }
        }
        for pattern in patterns {
            note(pattern);
            rules.extend(rule(pattern)?);
        }
        Ok(Self { rules, profile, text })
    }

    /// Equal for filters that exclude the same and know the same of what they do not.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// Whether all that ever happens to a file in this directory shows in the names there: a message in `cur` or `new` of a
    /// Maildir is written elsewhere, and never again.
    pub fn is_mail(&self, directory: &RelPath) -> bool {
        let name = directory.split().map(|(_, name)| name);
        self.profile == Profile::Maildir && name.is_some_and(|name| matches!(name.as_bytes(), b"cur" | b"new"))
    }

    /// Whether `path` itself is excluded, its ancestors aside: enough for a walk, which does not enter what is excluded.
    pub fn excludes_here(&self, path: &RelPath, directory: bool) -> bool {
        path.is_private() || (!path.is_root() && self.decide(path.as_bytes(), directory))
    }

    /// The same of a name in a directory. Nothing is allocated where no pattern can mean it, as with most.
    /// Bytes that are no name are not excluded.
    pub fn excludes_in(&self, directory: &RelPath, name: &[u8], is_directory: bool) -> bool {
        let may_match = |rule: &Rule| rule.glob.may_match(directory.as_bytes(), name);
        let may = (directory.is_root() && name == PRIVATE_DIRECTORY) || self.rules.iter().any(may_match);
        may && Name::parse(name).is_ok_and(|name| self.excludes_here(&directory.join(&name), is_directory))
    }

    /// Whether `path` or a directory above it is excluded.
    pub fn excludes(&self, path: &RelPath, directory: bool) -> bool {
        let slashes = path.as_bytes().iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let mut above = slashes.filter_map(|(slash, _)| path.as_bytes().get(..slash));
        self.excludes_here(path, directory) || (!self.rules.is_empty() && above.any(|above| self.decide(above, true)))
    }

    fn decide(&self, path: &[u8], directory: bool) -> bool {
        let last = self.rules.iter().rev().find(|rule| {
            let kind_fits = match rule.only {
                Only::Everything => true,
                Only::Directories => directory,
                Only::NotDirectories => !directory,
            };
            kind_fits && rule.glob.matches(path)
        });
        last.is_some_and(|rule| !rule.include)
    }
}

/// Parses a line; `None` for a comment or a blank line.
fn rule(line: &[u8]) -> Result<Option<Rule>, FilterError> {
    let error = |flaw| FilterError { pattern: String::from_utf8_lossy(line).into_owned(), flaw };
    let mut text = line;
    while let [head @ .., b' '] = text {
        if head.last() == Some(&b'\\') {
            break;
        }
        text = head;
    }
    if text.is_empty() || text.starts_with(b"#") {
        return Ok(None);
    }
    let include = text.starts_with(b"!");
    if include {
        text = &text[1..];
    }
    let mut only = Only::Everything;
    if let [head @ .., b'/'] = text {
        only = Only::Directories;
        text = head;
    }
    let anchored = text.contains(&b'/');
    let text = text.strip_prefix(b"/").unwrap_or(text);
    if text.is_empty() {
        return Err(error(Flaw::Empty));
    }
    let pattern = if anchored { text.to_vec() } else { [b"**/", text].concat() };
    let glob = Glob::compile(&pattern).map_err(error)?;
    Ok(Some(Rule { glob, include, only }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(patterns: &[&str], path: &str, directory: bool) -> bool {
        let filter = Filter::new(Profile::Plain, patterns.iter().map(|p| p.as_bytes())).expect("valid patterns");
        let path = RelPath::parse(path.as_bytes()).expect("a path");
        let (parent, name) = path.split().expect("not the root");
        let here = filter.excludes_here(&path, directory);
        assert_eq!(filter.excludes_in(&parent, name.as_bytes(), directory), here, "{patterns:?} on {path}");
        filter.excludes(&path, directory)
    }

    #[test]
    fn follows_gitignore() {
        for (patterns, path, directory, expected) in [
            (&["*.tmp"][..], "a/b.tmp", false, true),
            (&["/a"], "a", false, true),
            (&["/a"], "b/a", false, false),
            (&["a/b"], "x/a/b", false, false),
            (&["**/b"], "x/a/b", false, true),
            (&["a/**"], "a/x/y", false, true),
            (&["a/**"], "a", true, false),
            (&["a/**/z"], "a/z", false, true),
            (&["cache/"], "cache", false, false),
            (&["cache/"], "x/cache/y", false, true),
            (&["cache/", "!cache/keep"], "cache/keep", false, true),
            (&["*.log", "!keep.log"], "keep.log", false, false),
            (&["[a-c]x"], "bx", false, true),
            (&["[!a-c]x"], "bx", false, false),
            (&["\\!x"], "!x", false, true),
            (&["a*b*c"], "aXbXbc", false, true),
            (&["*"], "anything", true, true),
        ] {
            assert_eq!(excluded(patterns, path, directory), expected, "{patterns:?} on {path}");
        }
    }

    #[test]
    fn follows_gitignore_in_sets() {
        for (pattern, matching, other) in [
            ("x[[:digit:]]", &["x7"][..], &["xa", "x", "x:", "x["][..]),
            ("x[![:digit:]]", &["xa", "x:"], &["x7"]),
            ("x[[:upper:][:digit:]_-]", &["xA", "x7", "x_", "x-"], &["xa", "x."]),
            ("x[[:xdigit:]-z]", &["xf", "xF", "x-", "xz"], &["xg", "xy"]),
            ("x[[:space:]]", &["x ", "x\t"], &["xs"]),
            ("x[[:punct:]]", &["x[", "x~", "x!"], &["x ", "xa", "x\u{7f}"]),
            ("x[[:alpha:]]", &["xZ"], &["x\u{e4}", "x1"]),
            // What is not closed as a class is none.
            ("x[[:a]", &["x[", "x:", "xa"], &["xb"]),
            ("x[[:]]", &["x[]", "x:]"], &["x["]),
            ("x[[a:]", &["x[", "xa", "x:"], &["xb"]),
            ("x[]a]", &["x]", "xa"], &["x["]),
            ("x[a-]", &["xa", "x-"], &["xb"]),
            ("x[--0]", &["x-", "x.", "x0"], &["x1"]),
            // As the manual has it, and not as git does.
            ("x[b-a]", &[], &["xa", "xb", "x-"]),
            ("x**/b", &["x/b", "xa/b"], &["xb", "x/a/b", "xa/a/b"]),
        ] {
            for path in matching {
                assert!(excluded(&[pattern], path, false), "{pattern} on {path}");
            }
            for path in other {
                assert!(!excluded(&[pattern], path, false), "{pattern} on {path}");
            }
        }
    }

    #[test]
    fn a_pattern_with_a_flaw_is_refused_with_what_is_wrong() {
        for (pattern, what) in [
            ("[a", "a [ is not closed (\\[ stands for the character)"),
            ("[[:digit:]", "a [ is not closed (\\[ stands for the character)"),
            ("[[:digit", "a [ is not closed (\\[ stands for the character)"),
            ("[a\\", "a [ is not closed (\\[ stands for the character)"),
            ("a\\", "it ends with a backslash (\\\\ stands for the character)"),
            ("//", "it has no name in it"),
            (
                "[[:dgit:]]",
                "there is no class [:dgit:], only alnum, alpha, blank, cntrl, digit, graph, lower, print, punct, space, upper, \
                 xdigit",
            ),
        ] {
            let error = Filter::new(Profile::Plain, [pattern.as_bytes()]).expect_err(pattern);
            assert!(error.to_string().ends_with(&format!("is not valid gitignore syntax: {what}")), "{error}");
        }
    }

    #[test]
    fn filters_of_other_patterns_have_other_bytes() {
        let bytes = |profile, patterns: &[&'static str]| {
            let patterns = patterns.iter().map(|pattern| pattern.as_bytes());
            Filter::new(profile, patterns).expect("valid patterns").as_bytes().to_vec()
        };
        let table = [&[][..], &["ab"], &["a", "b"], &["b", "a"], &["a\nb"], &["a", "", "b"]];
        let mut all: Vec<_> = table.iter().map(|patterns| bytes(Profile::Plain, patterns)).collect();
        all.push(bytes(Profile::Maildir, &[]));
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn maildir_profile_keeps_messages_and_leaves_indexes_and_deliveries() {
        let filter = Filter::new(Profile::Maildir, []).expect("built-in patterns");
        let path = |path: &str| RelPath::parse(path.as_bytes()).expect("a path");
        assert!(filter.is_mail(&path("u/Maildir/new")) && !filter.is_mail(&path("u/Maildir/tmp")));
        assert!(!Filter::new(Profile::Plain, []).expect("no patterns").is_mail(&path("u/Maildir/new")));
        let excludes = |of: &str| filter.excludes(&path(of), false);
        let excludes_in = |of: &str| {
            let (parent, name) = path(of).split().expect("not the root");
            filter.excludes_in(&parent, name.as_bytes(), false)
        };
        for kept in [
            "u/Maildir/dovecot-uidlist",
            "u/Maildir/cur/1.M2P3.host,S=5:2,S",
            "u/subscriptions",
            "u/tmp/cur/1.x",
            "u/tmp/dovecot-uidlist",
            "u/dovecot-keywords",
        ] {
            assert!(!excludes(kept) && !excludes_in(kept), "{kept}");
        }
        for left in [
            "u/Maildir/dovecot.index.log",
            "u/Maildir/tmp/1.M2P3.host",
            "u/dovecot-uidlist.lock",
            "u/tmp/dovecot-uidlist.lock",
        ] {
            assert!(excludes(left) && excludes_in(left), "{left}");
        }
        assert!(excludes(".fulmar/store.db") && excludes_in(".fulmar"));
    }
}
