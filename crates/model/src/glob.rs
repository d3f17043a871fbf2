//! One gitignore pattern, matched against bytes.
//!
//! Syntax of gitignore(5): `*` and `?` do not cross a slash, `[...]` is a set, `**` spans directories, a backslash takes
//! the next byte literally. Matching is bounded by pattern length times text length (no exponential back-tracking: only
//! the last `*` of a segment is ever retried).

/// A compiled pattern: segments between slashes.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    segments: Vec<Segment>,
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
    /// Compiles the pattern; an unclosed `[` gives `None` (git lets such a pattern match nothing, which hides a typing
    /// error; the caller reports it).
    pub(crate) fn compile(pattern: &[u8]) -> Option<Self> {
        let mut segments = Vec::new();
        for part in pattern.split(|b| *b == b'/') {
            let segment = if part == b"**" { Segment::Any } else { Segment::One(tokens(part)?) };
            if !(segment == Segment::Any && segments.last() == Some(&Segment::Any)) {
                segments.push(segment);
            }
        }
        Some(Self { segments })
    }

    /// Whether the whole path matches.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        let components: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
        // reachable[i]: the segments so far can have consumed exactly the first i components.
        let mut reachable = vec![false; components.len() + 1];
        reachable[0] = true;
        for (at, segment) in self.segments.iter().enumerate() {
            let last = at + 1 == self.segments.len();
            let mut next = vec![false; components.len() + 1];
            for from in (0..=components.len()).filter(|from| reachable[*from]) {
                match segment {
                    // A trailing `**` stands for what is inside, not for the directory itself.
                    Segment::Any if last => next[(from + 1).min(components.len() + 1)..].fill(true),
                    Segment::Any => next[from..].fill(true),
                    Segment::One(tokens) => {
                        if components.get(from).is_some_and(|part| one_matches(tokens, part)) {
                            next[from + 1] = true;
                        }
                    }
                }
            }
            reachable = next;
        }
        reachable[components.len()]
    }
}

fn tokens(part: &[u8]) -> Option<Vec<Token>> {
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
                let (&literal, tail) = rest.split_first()?;
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
    Some(tokens)
}

/// Parses behind the `[`; gives the set and what follows the `]`.
fn set(text: &[u8]) -> Option<(Token, &[u8])> {
    let negated = matches!(text.first(), Some(b'!' | b'^'));
    let mut rest = if negated { &text[1..] } else { text };
    let mut ranges = Vec::new();
    let mut first = true;
    loop {
        let (&byte, tail) = rest.split_first()?;
        if byte == b']' && !first {
            return Some((Token::Set { negated, ranges }, tail));
        }
        first = false;
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

fn literal(text: &[u8]) -> Option<(u8, &[u8])> {
    match text {
        [b'\\', byte, tail @ ..] => Some((*byte, tail)),
        [byte, tail @ ..] => Some((*byte, tail)),
        [] => None,
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
