//! Asks a running `follow`.

use crate::control::protocol::{Answer, Command, Request, VERSION};
use crate::control::server::short_name;
use crate::exit::{Failure, Result};
use crate::state::{SAME_USER, shown};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

/// Whether somebody listens on the socket; `None` when that cannot be told.
pub fn listens(socket: &Path) -> Option<bool> {
    match connect(socket).map_err(|error| error.kind()) {
        Ok(_) => Some(true),
        // None was made, or one was left behind by a process that was killed.
        Err(ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Some(false),
        Err(_) => None,
    }
}

fn connect(socket: &Path) -> std::io::Result<UnixStream> {
    let (_directory, short) = short_name(socket)?;
    UnixStream::connect(short)
}

fn reach(socket: &Path) -> Result<UnixStream> {
    connect(socket).map_err(|error| {
        let denied = error.kind() == ErrorKind::PermissionDenied;
        Failure::failed(anyhow::Error::new(error).context(format!("no fulmar follow answers on {}", shown(socket))))
            .hint(if denied { SAME_USER } else { "start one: fulmar follow SOURCE REPLICA" })
    })
}

/// One question, one answer.
pub fn ask(socket: &Path, command: Command) -> Result<Answer> {
    let stream = reach(socket)?;
    let converse = || -> anyhow::Result<Answer> {
        let mut line = serde_json::to_vec(&Request { version: VERSION, command })?;
        line.push(b'\n');
        (&stream).write_all(&line)?;
        let mut answer = String::new();
        if BufReader::new(&stream).read_line(&mut answer)? == 0 {
            anyhow::bail!(ENDED);
        }
        Ok(serde_json::from_str(&answer)?)
    };
    match converse().map_err(Failure::failed)? {
        Answer::Error { message } => Err(Failure::failed(anyhow::anyhow!(message))),
        answer => Ok(answer),
    }
}

const ENDED: &str = "fulmar follow ended before it answered";

/// One question with many answers. Dropping it takes the question back.
pub struct Listening(tokio::io::Lines<tokio::io::BufReader<tokio::net::UnixStream>>);

impl Listening {
    /// Asks; needs a runtime.
    pub async fn ask(socket: &Path, command: Command) -> Result<Self> {
        let stream = reach(socket)?;
        let ask = async || -> anyhow::Result<Self> {
            stream.set_nonblocking(true)?;
            let mut stream = tokio::net::UnixStream::from_std(stream)?;
            let mut line = serde_json::to_vec(&Request { version: VERSION, command })?;
            line.push(b'\n');
            stream.write_all(&line).await?;
            Ok(Self(tokio::io::BufReader::new(stream).lines()))
        };
        ask().await.map_err(Failure::failed)
    }

    /// The next answer. Cancel-safe.
    pub async fn next(&mut self) -> Result<Answer> {
        let line = self.0.next_line().await.map_err(Failure::failed)?;
        let line = line.ok_or_else(|| Failure::failed(anyhow::anyhow!(ENDED)))?;
        match serde_json::from_str(&line).map_err(Failure::failed)? {
            Answer::Error { message } => Err(Failure::failed(anyhow::anyhow!(message))),
            answer => Ok(answer),
        }
    }
}
