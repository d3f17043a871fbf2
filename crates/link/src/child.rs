//! A link through a program: ssh, or what the user gave in its place, whose standard input and output are the far end.

use crate::link::Link;
use crate::stream::over;
use crate::{Error, Result};
use fulmar_model::escape;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio::time::timeout;

/// How much of what the program printed is kept for an error.
const STDERR_BYTES: usize = 2000;
/// A line that is longer counts as several: what the other host prints may have no end.
const LINE_BYTES_MAX: u64 = 4096;
/// How long the program is given to end by itself after it closed its output.
const ENDING: Duration = Duration::from_secs(2);

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// What to run.
    pub program: OsString,
    /// With what.
    pub arguments: Vec<OsString>,
    /// Bytes a second that are sent at most.
    pub rate: Option<std::num::NonZeroU64>,
}

impl Invocation {
    /// Starts the program and exchanges prefaces with what answers behind it.
    pub async fn connect(&self) -> Result<Link> {
        let program = escape(self.program.as_bytes()).to_string();
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // Ctrl-C in the terminal is for this program; it ends the child by closing the pipe.
            .process_group(0)
            .spawn()
            .map_err(|source| Error::Spawn { program: program.clone(), source })?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Error::Closed);
        };
        let (saying, said) = watch::channel(String::new());
        tokio::spawn(listen(stderr, saying));
        match over(stdout, stdin, self.rate).await {
            Ok(link) => Ok(link.behind(child)),
            Err(Error::Closed | Error::Read(_)) => {
                let (status, stderr) = ending(child, said).await;
                Err(Error::Exited { program, status, stderr })
            }
            Err(error) => Err(error),
        }
    }
}

/// The exit code of a program that closed its output, if it ends in time, and the last it said. Whoever it started may
/// keep its stderr open.
async fn ending(mut child: Child, mut said: watch::Receiver<String>) -> (Option<i32>, String) {
    let status = timeout(ENDING, child.wait()).await;
    // An error, of either kind, says that no more will come, or not in time.
    let _ = timeout(ENDING, said.wait_for(|_| false)).await;
    let last = said.borrow().clone();
    (status.ok().and_then(|ended| ended.ok()?.code()), last)
}

/// Logs what the program prints, and keeps the end of it.
async fn listen(stderr: ChildStderr, saying: watch::Sender<String>) {
    let (mut from, mut bytes) = (BufReader::new(stderr), Vec::new());
    while let Ok(1..) = (&mut from).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).await {
        let line = escape(bytes.trim_ascii_end()).to_string();
        tracing::debug!(%line, "the far end says");
        saying.send_modify(|said| keep(said, &line));
        bytes.clear();
    }
}

fn keep(said: &mut String, line: &str) {
    if !said.is_empty() {
        said.push_str("; ");
    }
    said.push_str(line);
    let surplus = said.len().saturating_sub(STDERR_BYTES);
    if let Some(cut) = (surplus..said.len()).find(|at| said.is_char_boundary(*at)).filter(|_| surplus > 0) {
        said.drain(..cut);
    }
}

/// Quotes a word for the shell of the other host, if it needs quoting at all.
pub fn shell_quote(word: &OsStr) -> OsString {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"_/.,:=@%+-".contains(b);
    let bytes = word.as_bytes();
    if !bytes.is_empty() && bytes.iter().all(plain) {
        return word.to_owned();
    }
    let mut quoted = vec![b'\''];
    for byte in bytes {
        if *byte == b'\'' {
            quoted.extend_from_slice(b"'\\''");
        } else {
            quoted.push(*byte);
        }
    }
    quoted.push(b'\'');
    OsString::from_vec(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Invocation {
        Invocation { program: "sh".into(), arguments: vec!["-c".into(), script.into()], rate: None }
    }

    #[test]
    fn quotes_only_what_a_shell_would_change() {
        assert_eq!(shell_quote("/srv/mail".as_ref()), "/srv/mail");
        assert_eq!(shell_quote("/srv/it's here".as_ref()), "'/srv/it'\\''s here'");
        assert_eq!(shell_quote("".as_ref()), "''");
    }

    #[tokio::test]
    async fn a_program_that_fails_is_quoted_with_its_exit_code() {
        let error = sh("echo no route to host >&2; exit 255").connect().await.expect_err("it fails");
        assert_eq!(error.to_string(), "sh ended before the other side spoke (exit code 255): no route to host");
    }

    #[tokio::test]
    async fn a_program_that_leaves_another_behind_is_quoted_all_the_same() {
        let script = "echo no such host >&2; sleep 5 </dev/null >/dev/null & exit 7";
        let error = sh(script).connect().await.expect_err("it fails");
        assert_eq!(error.to_string(), "sh ended before the other side spoke (exit code 7): no such host");
    }

    #[tokio::test]
    async fn what_is_said_without_end_is_not_waited_for() {
        let script = "head -c 100000 /dev/zero | tr '\\0' x >&2; sleep 5 </dev/null >/dev/null & exit 7";
        let error = sh(script).connect().await.expect_err("it fails");
        assert!(matches!(error, Error::Exited { stderr, .. } if stderr.len() == STDERR_BYTES));
    }

    #[tokio::test]
    async fn a_program_that_is_missing_is_named() {
        let missing = Invocation { program: "/no/such/rsh".into(), arguments: vec![], rate: None };
        assert!(matches!(missing.connect().await, Err(Error::Spawn { program, .. }) if program == "/no/such/rsh"));
    }

    #[tokio::test]
    async fn a_program_that_prints_is_not_fulmar() {
        assert!(matches!(sh("echo hello").connect().await, Err(Error::Banner { text }) if text == "hello\\n"));
    }
}
