//! Words of a subcommand: paths in order, and `--name value` pairs in between.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

/// What was typed behind the subcommand.
pub struct Arguments {
    words: Vec<OsString>,
}

impl Arguments {
    /// Takes the words as they stand.
    pub fn new(words: impl Iterator<Item = OsString>) -> Self {
        Self { words: words.collect() }
    }

    /// Removes `name` and the word behind it; `None` when it was not given.
    pub fn option<T: FromStr>(&mut self, name: &str) -> io::Result<Option<T>> {
        let Some(at) = self.words.iter().position(|word| word == name) else { return Ok(None) };
        self.words.remove(at);
        if at == self.words.len() {
            return Err(invalid(&format!("{name} needs a value")));
        }
        let value = self.words.remove(at);
        let parsed = value.to_str().and_then(|text| text.parse().ok());
        parsed.map(Some).ok_or_else(|| invalid(&format!("{name} {value:?}: not understood")))
    }

    /// Removes `name`; whether it was there.
    pub fn switch(&mut self, name: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|word| word != name);
        self.words.len() < before
    }

    /// What is left, which must be at least one path and no option.
    pub fn paths(self) -> io::Result<Vec<PathBuf>> {
        match self.words.iter().find(|word| word.as_encoded_bytes().starts_with(b"--")) {
            Some(option) => Err(invalid(&format!("{option:?}: no such option"))),
            None if self.words.is_empty() => Err(invalid("a path is missing")),
            None => Ok(self.words.into_iter().map(PathBuf::from).collect()),
        }
    }

    /// What is left, which must be two paths.
    pub fn pair(self) -> io::Result<(PathBuf, PathBuf)> {
        let [from, to] = <[PathBuf; 2]>::try_from(self.paths()?).map_err(|_| invalid("two paths are needed"))?;
        Ok((from, to))
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.to_owned())
}
