//! Answers on the control socket of a running `follow`. Mode 0600: whoever may speak here may see names of files.

use crate::control::protocol::{Answer, Command, Held, Request, Status, Tree, VERSION};
use crate::exit::{Failure, Result};
use crate::state::shown;
use fulmar_primary::{Primary, WaitError};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// The longest request.
const REQUEST_BYTES_MAX: u64 = 4096;
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
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
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
    loop {
        let mut line = String::new();
        if (&mut from).take(REQUEST_BYTES_MAX).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let answer = match serde_json::from_str::<Request>(&line) {
            Ok(request) if request.version != VERSION => {
                Answer::Error { message: format!("version {} is not spoken here, {VERSION} is", request.version) }
            }
            Ok(request) => answer(request.command, &primary).await,
            Err(error) => Answer::Error { message: format!("not understood: {error}") },
        };
        let mut line = serde_json::to_vec(&answer)?;
        line.push(b'\n');
        to.write_all(&line).await?;
    }
}

async fn answer(command: Command, primary: &Primary) -> Answer {
    match command {
        Command::Status => match primary.status().await {
            Ok(status) => Answer::Status(Status { version: VERSION, trees: vec![Tree::from(&status)] }),
            Err(error) => Answer::Error { message: error.to_string() },
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
    }
}
