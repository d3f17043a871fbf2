//! A wire that counts: starts the far end, moves bytes both ways, and keeps their number in a file.
//!
//! Stands where `ssh` would. Between pipes the bytes are spliced, so it costs little beside the two ends. The file is right at
//! every moment: whoever started the relay may kill it when it needs the far end no more.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::thread;

use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, splice};

const SPLICE_BYTES: usize = 1 << 20;
/// What the pipe to the near end holds, as much as anybody is granted: with the 64 KiB that are usual both would wait for each other
/// again and again, which the sockets of a loopback do not make a peer do.
const PIPE_BYTES: usize = 1 << 20;
/// Room for one number, so that each stays in its place.
const NUMBER_BYTES: u64 = 21;

/// `relay COUNTS PROGRAM ARGUMENT...`: ends as the program does; COUNTS has two lines, bytes towards it, and back.
pub fn run(words: &[OsString]) -> ExitCode {
    match relay(words) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: relay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn relay(words: &[OsString]) -> io::Result<u8> {
    let [counts, program, arguments @ ..] = words else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file for the counts and a program are needed"));
    };
    let counts = Arc::new(File::create(counts)?);
    let mut child = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let to_child = OwnedFd::from(child.stdin.take().expect("it was asked for"));
    let from_child = OwnedFd::from(child.stdout.take().expect("it was asked for"));
    let (from_here, to_here) = (io::stdin().as_fd().try_clone_to_owned()?, io::stdout().as_fd().try_clone_to_owned()?);
    fcntl_setpipe_size(&from_here, PIPE_BYTES)?;
    let towards = Arc::clone(&counts);
    // Not waited for: the near end may keep its side open until it has the exit code.
    thread::spawn(move || pump(from_here, to_child, &towards, 0));
    pump(from_child, to_here, &counts, 1)?;
    Ok(child.wait()?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// Moves everything, and closes both ends.
fn pump(from: OwnedFd, to: OwnedFd, counts: &File, line: u64) -> io::Result<()> {
    let mut total = 0;
    loop {
        counts.write_all_at(format!("{total:20}\n").as_bytes(), line * NUMBER_BYTES)?;
        match splice(&from, None, &to, None, SPLICE_BYTES, SpliceFlags::empty())? {
            0 => return Ok(()),
            moved => total += moved,
        }
    }
}
