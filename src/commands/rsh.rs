//! What reaches other hosts: ssh, or what `--rsh` names, taken apart as rsync does it.

use crate::exit::{Failure, Result};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// The program and its first arguments. An error: a quote that is not closed.
pub fn shell(rsh: Option<&OsStr>) -> Result<(OsString, Vec<OsString>)> {
    let mut words = words(rsh.unwrap_or_default().as_bytes()).map_err(|Unclosed(quote)| {
        Failure::usage(format!("--rsh {}: a {} is not closed", shown(rsh), char::from(quote)))
            .hint("quotes go around what has spaces; doubled between others of its kind, a quote is itself: --rsh \"sh -c 'it''s'\"")
    })?;
    let mut words = words.drain(..);
    let program = words.next().unwrap_or_else(|| "ssh".into());
    let mut arguments: Vec<_> = words.collect();
    if is_ssh(&program) {
        // In a process group of its own it could not read an answer from the terminal: the kernel would stop it, and
        // nobody would hear of the question. What was typed comes first and has precedence (ssh_config(5)).
        arguments.extend(["-o".into(), "BatchMode=yes".into()]);
    }
    Ok((program, arguments))
}

/// Whether a program is ssh, wherever it is.
pub fn is_ssh(program: impl AsRef<OsStr>) -> bool {
    Path::new(&program).file_name() == Some(OsStr::new("ssh"))
}

fn shown(rsh: Option<&OsStr>) -> String {
    fulmar_model::escape(rsh.unwrap_or_default().as_bytes()).to_string()
}

/// A quote, single or double, without another one behind it.
#[derive(Debug, PartialEq, Eq)]
struct Unclosed(u8);

/// Words between spaces. A quote begins or ends anywhere in a word; between two of a kind everything stands for itself, and two
/// more of it for one. A backslash is a byte like others.
fn words(text: &[u8]) -> std::result::Result<Vec<OsString>, Unclosed> {
    let (mut words, mut word) = (Vec::new(), None::<Vec<u8>>);
    let mut quote = None;
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (None, b' ') => words.extend(word.take().map(OsString::from_vec)),
            (None, b'\'' | b'"') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (Some(open), _) if open == byte => match bytes.next_if_eq(&byte) {
                Some(_) => word.get_or_insert_default().push(byte),
                None => quote = None,
            },
            _ => word.get_or_insert_default().push(byte),
        }
    }
    match quote {
        Some(quote) => Err(Unclosed(quote)),
        None => {
            words.extend(word.map(OsString::from_vec));
            Ok(words)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_never_asks_and_other_programs_get_what_was_typed() {
        for (rsh, program, arguments) in [
            (None, "ssh", &["-o", "BatchMode=yes"][..]),
            (Some(""), "ssh", &["-o", "BatchMode=yes"]),
            (Some("/usr/bin/ssh  -F file"), "/usr/bin/ssh", &["-F", "file", "-o", "BatchMode=yes"]),
            (Some("'/opt/my tools/ssh' -F 'a file'"), "/opt/my tools/ssh", &["-F", "a file", "-o", "BatchMode=yes"]),
            (Some("jail exec ssh"), "jail", &["exec", "ssh"]),
        ] {
            let arguments = arguments.iter().map(OsString::from).collect();
            assert_eq!(shell(rsh.map(OsStr::new)).expect("words"), (program.into(), arguments), "{rsh:?}");
        }
    }

    #[test]
    fn words_are_quoted_as_for_rsync() {
        for (text, expected) in [
            ("  a  b ", &["a", "b"][..]),
            ("sh -c 'exec  ssh \"$@\"' sh", &["sh", "-c", "exec  ssh \"$@\"", "sh"]),
            ("a'b c'd", &["ab cd"]),
            ("'it''s' \"a \"\"b\"\"\"", &["it's", "a \"b\""]),
            ("'' a \"\"", &["", "a", ""]),
            ("\"it's\"", &["it's"]),
            ("a\\ b", &["a\\", "b"]),
            ("a\tb", &["a\tb"]),
        ] {
            let expected: Vec<OsString> = expected.iter().map(OsString::from).collect();
            assert_eq!(words(text.as_bytes()).as_deref(), Ok(&expected[..]), "{text}");
        }
        for (text, quote) in [("sh -c 'a", b'\''), ("\"a''", b'"'), ("a '''", b'\''), ("'\"", b'\'')] {
            assert_eq!(words(text.as_bytes()), Err(Unclosed(quote)), "{text}");
        }
    }

    #[test]
    fn a_quote_that_is_not_closed_is_refused() {
        let error = shell(Some(OsStr::new("sh -c 'a"))).expect_err("it is not closed");
        assert_eq!(error.error.to_string(), "--rsh sh -c 'a: a ' is not closed");
    }
}
