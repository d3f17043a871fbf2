//! Answers on the control socket of a running `follow`. Mode 0600: whoever may speak here may see names of files.

use crate::control::explain;
use crate::control::protocol::{Answer, Command, Held, Request, Status, Tree, VERSION};
use crate::control::verify;
use crate::exit::{Failure, Result};
use crate::state::shown;
use fulmar_primary::{Primary, WaitError};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};

/// The longest request.
const REQUEST_BYTES_MAX: u64 = 128 << 10;
/// The longest wait that is granted.
const PATIENCE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Binds the socket, in the place of one that a process left which is no more (the caller holds the tree's lock), and
/// answers until the runtime ends.
pub fn serve(socket: &Path, primary: Primary) -> Result<()> {
    let listener = bind(socket).map_err(|error| {
        Failure::failed(anyhow::Error::new(error).context(format!("listen on {}", shown(socket))))
            .hint("choose another place: --control /run/fulmar.sock")
    })?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let primary = primary.clone();
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, primary).await {
                            tracing::debug!(%error, "control connection");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "control socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(())
}

/// A socket's name may have 107 bytes, a path more: it is bound relative to its directory.
fn bind(socket: &Path) -> std::io::Result<UnixListener> {
    match std::fs::symlink_metadata(socket) {
        Ok(there) if there.file_type().is_socket() => std::fs::remove_file(socket)?,
        // Somebody else's.
        Ok(_) => return Err(std::io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    let (_directory, short) = short_name(socket)?;
    let listener = UnixListener::bind(short)?;
    // Nobody can have connected in between to anything of use: nothing is answered before this returns.
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// The socket's name through a handle of its directory, which must be held while the name is used.
pub(super) fn short_name(socket: &Path) -> std::io::Result<(std::fs::File, std::path::PathBuf)> {
    let parent = socket.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = std::fs::File::open(parent)?;
    let name = socket.file_name().ok_or(std::io::ErrorKind::InvalidInput)?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    Ok((directory, short))
}

async fn converse(stream: UnixStream, primary: Primary) -> std::io::Result<()> {
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::new(from);
    while let Some(line) = next_line(&mut from).await? {
        let answer = match line {
            Line::Whole(line) => match serde_json::from_slice::<Request>(&line) {
                Ok(Request { version: VERSION, command: Command::Verify(wanted) }) => {
                    verify::answer(wanted, &primary, &mut from, &mut to).await?
                }
                Ok(request) if request.version != VERSION => {
                    Answer::Error { message: format!("version {} is not spoken here, {VERSION} is", request.version) }
                }
                Ok(request) => answer(request.command, &primary).await,
                Err(error) => Answer::Error { message: format!("not understood: {error}") },
            },
            Line::TooLong => Answer::Error {
                message: format!("a request has at most {REQUEST_BYTES_MAX} bytes with its line break"),
            },
        };
        say(&mut to, &answer).await?;
    }
    Ok(())
}

/// One line.
pub(super) async fn say(to: &mut OwnedWriteHalf, answer: &Answer) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    to.write_all(&line).await
}

/// What a client says at once.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Whole(Vec<u8>),
    /// It was passed over, up to its end.
    TooLong,
}

/// The next line; `None` at the end.
async fn next_line(from: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut taken = (&mut *from).take(REQUEST_BYTES_MAX).read_until(b'\n', &mut line).await?;
    let whole = line.ends_with(b"\n") || (taken as u64) < REQUEST_BYTES_MAX;
    if whole {
        return Ok(Some(Line::Whole(line)).filter(|_| taken > 0));
    }
    while taken > 0 && !line.ends_with(b"\n") {
        line.clear();
        taken = (&mut *from).take(REQUEST_BYTES_MAX).read_until(b'\n', &mut line).await?;
    }
    Ok(Some(Line::TooLong))
}

async fn answer(command: Command, primary: &Primary) -> Answer {
    match command {
        Command::Status => match primary.status().await {
            Ok(status) => Answer::Status(Status { version: VERSION, trees: vec![Tree::from(&status)] }),
            Err(error) => Answer::Error { message: error.to_string() },
        },
        Command::Explain { path } => match explain::answer(&path, primary).await {
            Ok(explain) => Answer::Explained(Box::new(explain)),
            Err(message) => Answer::Error { message },
        },
        Command::Approve => match primary.approve().await {
            Ok(removals) => Answer::Approved { removals },
            Err(error) => Answer::Error { message: error.to_string() },
        },
        Command::Wait { timeout_ms } => match primary.wait(Duration::from_millis(timeout_ms).min(PATIENCE_MAX)).await {
            Ok(waited) => Answer::Durable { upto: waited.upto.0 },
            Err(WaitError::Held { replica, held }) => {
                Answer::Held { replica, paths: held.iter().map(Held::from).collect() }
            }
            Err(error @ WaitError::Timeout { .. }) => {
                let cause = match &error {
                    WaitError::Timeout { cause: Some(cause), .. } => format!(" ({cause})"),
                    _ => String::new(),
                };
                Answer::Timeout { message: format!("{error}{cause}") }
            }
            Err(error) => Answer::Error { message: error.to_string() },
        },
        // It has more than one answer.
        Command::Verify(_) => Answer::Error { message: "a verification has a way of its own".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_is_given_whole_or_not_at_all() {
        let whole = |text: &str| Line::Whole(text.as_bytes().to_vec());
        let most = REQUEST_BYTES_MAX as usize;
        let longest = "x".repeat(most - 1) + "\n";
        let table = [
            ("", vec![]),
            ("short\n\nlast", vec![whole("short\n"), whole("\n"), whole("last")]),
            (&longest.repeat(2), vec![whole(&longest), whole(&longest)]),
            (&format!("x{longest}short\n"), vec![Line::TooLong, whole("short\n")]),
            (&format!("{}short\n", "x".repeat(3 * most) + "\n"), vec![Line::TooLong, whole("short\n")]),
            (&"x".repeat(most), vec![Line::TooLong]),
            (&"x".repeat(3 * most + 5), vec![Line::TooLong]),
        ];
        for (said, expected) in table {
            let (mut from, mut lines) = (said.as_bytes(), Vec::new());
            while let Some(line) = next_line(&mut from).await.expect("memory can be read") {
                lines.push(line);
            }
            assert_eq!(lines, expected, "{} bytes", said.len());
        }
    }
}
