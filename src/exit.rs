//! Exit codes, and failures on their way to one.

use std::fmt;
use std::process::ExitCode;

/// What the exit code tells a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, and in sync.
    Done,
    /// Differences were found, or items are held.
    Differs,
    /// What was asked for makes no sense.
    Usage,
    /// It failed.
    Failed,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Differs => 1,
            Exit::Usage => 2,
            Exit::Failed => 3,
        })
    }
}

/// Why a command ends early, and what to do about it.
#[derive(Debug)]
pub struct Failure {
    /// With which code.
    pub exit: Exit,
    /// What failed on what, with its causes.
    pub error: anyhow::Error,
    /// A command to paste, or what to look at.
    pub hint: Option<String>,
}

impl Failure {
    /// Bad input.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { exit: Exit::Usage, error: anyhow::anyhow!("{message}"), hint: None }
    }

    /// Something did not work.
    pub fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Failed, error: error.into(), hint: None }
    }

    /// Adds a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What a command gives.
pub type Result<T = Exit> = std::result::Result<T, Failure>;
