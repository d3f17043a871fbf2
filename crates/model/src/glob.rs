//! One gitignore pattern, matched against bytes.
//!
//! Syntax of gitignore(5): `*` and `?` do not cross a slash, `[...]` is a set, in which `[:digit:]` and its like are classes of
//! ASCII bytes, `**` spans directories, a backslash takes the next byte literally. What only half is one of these means what the
//! manual says, not what git makes of it: `a**/b` is `a*/b`, and a range that ends before it begins is empty. Matching is bounded by pattern length times text length (no exponential back-tracking: only
//! the last `*` of a segment is ever retried).

/// Why a pattern cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A `[` without its `]`.
    Unclosed,
    /// A backslash at the end, with nothing to take literally.
    Backslash,
    /// Nothing is left of it without its slashes.
    Empty,
    /// A class that does not exist, by name.
    Class(Vec<u8>),
}

/// The classes of POSIX, as they are in its own locale.
pub(crate) const CLASSES: [(&str, &[(u8, u8)]); 12] = [
    ("alnum", &[(b'0', b'9'), (b'A', b'Z'), (b'a', b'z')]),
    ("alpha", &[(b'A', b'Z'), (b'a', b'z')]),
    ("blank", &[(b'\t', b'\t'), (b' ', b' ')]),
    ("cntrl", &[(0, 0x1f), (0x7f, 0x7f)]),
    ("digit", &[(b'0', b'9')]),
    ("graph", &[(b'!', b'~')]),
    ("lower", &[(b'a', b'z')]),
    ("print", &[(b' ', b'~')]),
    ("punct", &[(b'!', b'/'), (b':', b'@'), (b'[', b'`'), (b'{', b'~')]),
    ("space", &[(b'\t', b'\r'), (b' ', b' ')]),
    ("upper", &[(b'A', b'Z')]),
    ("xdigit", &[(b'0', b'9'), (b'A', b'F'), (b'a', b'f')]),
];

/// A compiled pattern: segments between slashes.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    segments: Vec<Segment>,
    /// Where the last `**` is; meaningless where there is none.
    last_any: usize,
    /// What is told of whatever matches without looking at all of it.
    tail: Tail,
}

/// What the last component of every match begins and ends with, and what it is in, where the pattern tells. Most paths are
/// told apart by that.
#[derive(Clone, Debug, Default)]
struct Tail {
    beginning: Option<u8>,
    ending: Vec<u8>,
    above: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Segment {
    /// `**`: any number of whole components, none included.
    Any,
    /// Matches one component.
    One(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Byte(u8),
    AnyByte,
    AnyRun,
    Set { negated: bool, ranges: Vec<(u8, u8)> },
}

impl Glob {
    /// Compiles the pattern. Git lets one with a flaw match nothing, which hides a typing error; the caller reports it.
    pub(crate) fn compile(pattern: &[u8]) -> Result<Self, Flaw> {
        let mut segments = Vec::new();
        for part in pattern.split(|b| *b == b'/') {
            let segment = if part == b"**" { Segment::Any } else { Segment::One(tokens(part)?) };
            if !(segment == Segment::Any && segments.last() == Some(&Segment::Any)) {
                segments.push(segment);
            }
        }
        if segments.last() == Some(&Segment::Any) {
            // At the end it stands for what is inside, not for the directory itself.
            segments.insert(segments.len() - 1, Segment::One(vec![Token::AnyRun]));
        }
        let last_any = segments.iter().rposition(|segment| *segment == Segment::Any).unwrap_or_default();
        let tail = Tail::of(&segments);
        Ok(Self { segments, last_any, tail })
    }

    /// False: the path of the name in the directory does not match, for certain.
    pub(crate) fn may_match(&self, directory: &[u8], name: &[u8]) -> bool {
        let Tail { beginning, above, .. } = &self.tail;
        beginning.is_none_or(|byte| name.first() == Some(&byte))
            && self.tail.ends(name)
            && above.as_ref().is_none_or(|above| directory.ends_with(above))
    }

    /// Whether the whole path matches. Allocates nothing: every path of a tree is asked about, for every pattern.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        if !self.tail.ends(path) {
            return false;
        }
        // `None`: behind the last component.
        let (mut at, mut rest) = (0, Some(path));
        // The last `**` met: what follows it, and the components it has not taken yet.
        let mut retry = None;
        loop {
            match (self.segments.get(at), rest) {
                (Some(Segment::Any), _) => {
                    at += 1;
                    if at > self.last_any {
                        // What follows stands for as many components as it has segments: the last ones.
                        let Some(last) = last_components(rest, self.segments.len() - at) else { return false };
                        (rest, retry) = (last, None);
                    } else {
                        retry = Some((at, rest));
                    }
                    continue;
                }
                (Some(Segment::One(tokens)), Some(text)) => {
                    let (part, behind) = split(text);
                    if one_matches(tokens, part) {
                        (at, rest) = (at + 1, behind);
                        continue;
                    }
                }
                (None, None) => return true,
                _ => {}
            }
            let Some((behind, Some(text))) = retry else { return false };
            (at, rest) = (behind, split(text).1);
            retry = Some((at, rest));
        }
    }
}

/// The first component, and what is behind its slash.
fn split(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], Some(&path[slash + 1..])),
        None => (path, None),
    }
}

/// The last `count` components of what is left of a path. Nothing when there are not as many.
fn last_components(rest: Option<&[u8]>, count: usize) -> Option<Option<&[u8]>> {
    let Some(behind) = count.checked_sub(1) else { return Some(None) };
    let path = rest?;
    let mut slashes = path.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1);
    match slashes.nth(behind) {
        Some(start) => Some(path.get(start..)),
        None => (path.iter().filter(|byte| **byte == b'/').count() == behind).then_some(Some(path)),
    }
}

impl Tail {
    fn of(segments: &[Segment]) -> Self {
        let [rest @ .., Segment::One(tokens)] = segments else { return Self::default() };
        let byte = |token: &Token| if let Token::Byte(byte) = token { Some(*byte) } else { None };
        let mut ending: Vec<u8> = tokens.iter().rev().map_while(byte).collect();
        ending.reverse();
        let above = match rest {
            [.., Segment::One(tokens)] => tokens.iter().map(byte).collect(),
            _ => None,
        };
        Self { beginning: tokens.first().and_then(byte), ending, above }
    }

    /// The last byte is looked at first: that is enough for most.
    fn ends(&self, text: &[u8]) -> bool {
        self.ending.last().is_none_or(|last| text.last() == Some(last)) && text.ends_with(&self.ending)
    }
}

fn tokens(part: &[u8]) -> Result<Vec<Token>, Flaw> {
    let mut tokens = Vec::new();
    let mut rest = part;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        tokens.push(match byte {
            b'*' => {
                if tokens.last() == Some(&Token::AnyRun) {
                    continue;
                }
                Token::AnyRun
            }
            b'?' => Token::AnyByte,
            b'\\' => {
                let (&literal, tail) = rest.split_first().ok_or(Flaw::Backslash)?;
                rest = tail;
                Token::Byte(literal)
            }
            b'[' => {
                let (set, tail) = set(rest)?;
                rest = tail;
                set
            }
            byte => Token::Byte(byte),
        });
    }
    Ok(tokens)
}

/// Parses behind the `[`; gives the set and what follows the `]`.
fn set(text: &[u8]) -> Result<(Token, &[u8]), Flaw> {
    let negated = matches!(text.first(), Some(b'!' | b'^'));
    let mut rest = if negated { &text[1..] } else { text };
    let mut ranges = Vec::new();
    let mut first = true;
    loop {
        let (&byte, tail) = rest.split_first().ok_or(Flaw::Unclosed)?;
        if byte == b']' && !first {
            return Ok((Token::Set { negated, ranges }, tail));
        }
        first = false;
        if let Some((name, tail)) = class(rest)? {
            let known = CLASSES.iter().find(|(word, _)| word.as_bytes() == name);
            ranges.extend_from_slice(known.ok_or_else(|| Flaw::Class(name.to_vec()))?.1);
            rest = tail;
            continue;
        }
        let (low, tail) = literal(rest)?;
        rest = tail;
        match rest {
            [b'-', after @ ..] if after.first().is_some_and(|b| *b != b']') => {
                let (high, tail) = literal(after)?;
                rest = tail;
                ranges.push((low, high));
            }
            _ => ranges.push((low, low)),
        }
    }
}

/// What is at the front, and what follows.
type Front<'a> = (&'a [u8], &'a [u8]);

/// The name in a `[:name:]` at the front, and what follows. As git reads it: what is not closed by `:]` is no class, but bytes
/// like others.
fn class(text: &[u8]) -> Result<Option<Front<'_>>, Flaw> {
    let Some(inner) = text.strip_prefix(b"[:") else { return Ok(None) };
    let end = inner.iter().position(|byte| *byte == b']').ok_or(Flaw::Unclosed)?;
    let (name, tail) = inner.split_at(end);
    Ok(name.strip_suffix(b":").map(|name| (name, &tail[1..])))
}

fn literal(text: &[u8]) -> Result<(u8, &[u8]), Flaw> {
    match text {
        [b'\\', byte, tail @ ..] => Ok((*byte, tail)),
        [b'\\'] | [] => Err(Flaw::Unclosed),
        [byte, tail @ ..] => Ok((*byte, tail)),
    }
}

fn one_matches(tokens: &[Token], text: &[u8]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match tokens.get(token) {
            Some(Token::AnyRun) => {
                retry = Some((token + 1, at));
                token += 1;
                continue;
            }
            Some(single) if at < text.len() && byte_matches(single, text[at]) => {
                token += 1;
                at += 1;
                continue;
            }
            None if at == text.len() => return true,
            _ => {}
        }
        match retry {
            Some((behind, consumed)) if consumed < text.len() => {
                retry = Some((behind, consumed + 1));
                token = behind;
                at = consumed + 1;
            }
            _ => return false,
        }
    }
}

fn byte_matches(token: &Token, byte: u8) -> bool {
    match token {
        Token::Byte(expected) => *expected == byte,
        Token::AnyByte => true,
        Token::AnyRun => false,
        Token::Set { negated, ranges } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&byte)) != *negated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By a table of which components the segments so far can have taken.
    fn by_table(glob: &Glob, path: &str) -> bool {
        let components: Vec<&str> = path.split('/').collect();
        let mut reachable = vec![false; components.len() + 1];
        reachable[0] = true;
        for segment in &glob.segments {
            let mut next = vec![false; components.len() + 1];
            for from in (0..=components.len()).filter(|from| reachable[*from]) {
                match segment {
                    Segment::Any => next[from..].fill(true),
                    Segment::One(tokens) => {
                        if components.get(from).is_some_and(|part| one_matches(tokens, part.as_bytes())) {
                            next[from + 1] = true;
                        }
                    }
                }
            }
            reachable = next;
        }
        reachable[components.len()]
    }

    /// All sequences of up to four parts, joined.
    fn all(parts: &[&str]) -> Vec<String> {
        let (mut all, mut last) = (Vec::new(), vec![String::new()]);
        for _ in 0..4 {
            let longer = last.iter().flat_map(|path| parts.iter().map(move |part| format!("{path}/{part}")));
            last = longer.collect();
            all.extend(last.iter().map(|path| path[1..].to_owned()));
        }
        all
    }

    #[test]
    fn every_short_pattern_matches_what_a_table_says() {
        let paths = all(&["a", "b", "ab"]);
        for pattern in all(&["**", "*", "a", "ab", "a*", "*b", "[ab]"]) {
            let glob = Glob::compile(pattern.as_bytes()).expect("a pattern");
            for path in &paths {
                let matches = by_table(&glob, path);
                assert_eq!(glob.matches(path.as_bytes()), matches, "{pattern} {path}");
                let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
                assert!(glob.may_match(directory.as_bytes(), name.as_bytes()) || !matches, "{pattern} {path}");
            }
        }
    }

    #[test]
    fn two_stars_at_the_end_stand_for_what_is_inside() {
        let matches =
            |pattern: &str, path: &str| Glob::compile(pattern.as_bytes()).expect("a pattern").matches(path.as_bytes());
        assert!(matches("a/**", "a/b") && matches("a/**", "a/b/c") && matches("**", "a") && matches("a/**/b", "a/b"));
        assert!(!matches("a/**", "a") && !matches("a/**", "b/a") && !matches("a/**/b", "a"));
    }
}
