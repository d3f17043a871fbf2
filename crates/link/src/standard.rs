//! A link over this program's own standard input and output.

use crate::Result;
use crate::link::Link;
use crate::stream::over;
use std::io;
use std::os::fd::AsFd;
use tokio::io::AsyncRead;
use tokio::net::unix::pipe;

/// Bytes that standard input is to hold: as much as the kernel grants to anybody (`/proc/sys/fs/pipe-max-size`). Nothing
/// waits behind them for long, as whoever writes there is slower than this program. In a pipe that leads to a slow link they
/// would stand in the way of what is urgent.
const PIPE_BYTES: usize = 1 << 20;

/// Exchanges prefaces with whoever started this program, and reads and writes through its standard streams from then on.
pub async fn standard() -> Result<Link> {
    over(input(), tokio::io::stdout(), None).await
}

/// A pipe is waited for like any other; anything else is read by a thread of its own, which costs two turns for each read.
fn input() -> Box<dyn AsyncRead + Send + Unpin> {
    let pipe = io::stdin().as_fd().try_clone_to_owned().and_then(pipe::Receiver::from_owned_fd);
    match pipe {
        Ok(pipe) => {
            if let Err(errno) = rustix::pipe::fcntl_setpipe_size(&pipe, PIPE_BYTES) {
                tracing::debug!(%errno, "standard input stays as large as it is");
            }
            Box::new(pipe)
        }
        Err(error) => {
            tracing::debug!(%error, "standard input is no pipe");
            Box::new(tokio::io::stdin())
        }
    }
}
