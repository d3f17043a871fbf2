//! Asks a running `follow`.

use crate::control::protocol::{Answer, Command, Request, VERSION};
use crate::control::server::short_name;
use crate::exit::{Failure, Result};
use crate::state::shown;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Whether somebody listens on the socket.
pub fn answers(socket: &Path) -> bool {
    connect(socket).is_ok()
}

fn connect(socket: &Path) -> std::io::Result<UnixStream> {
    let (_directory, short) = short_name(socket)?;
    UnixStream::connect(short)
}

/// One question, one answer.
pub fn ask(socket: &Path, command: Command) -> Result<Answer> {
    let stream = connect(socket).map_err(|error| {
        Failure::failed(anyhow::Error::new(error).context(format!("no fulmar follow answers on {}", shown(socket))))
            .hint("start one: fulmar follow SOURCE REPLICA")
    })?;
    let converse = || -> anyhow::Result<Answer> {
        let mut line = serde_json::to_vec(&Request { version: VERSION, command })?;
        line.push(b'\n');
        (&stream).write_all(&line)?;
        let mut answer = String::new();
        if BufReader::new(&stream).read_line(&mut answer)? == 0 {
            anyhow::bail!("fulmar follow ended before it answered");
        }
        Ok(serde_json::from_str(&answer)?)
    };
    match converse().map_err(Failure::failed)? {
        Answer::Error { message } => Err(Failure::failed(anyhow::anyhow!(message))),
        answer => Ok(answer),
    }
}
