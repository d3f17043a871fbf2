//! A wire that counts: starts the far end, moves bytes both ways, and leaves their number in a file.
//!
//! Stands where `ssh` would. Between pipes the bytes are spliced, so it costs little beside the two ends.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::process::{Command, ExitCode, Stdio};
use std::thread;

/// `relay COUNTS PROGRAM ARGUMENT...`: ends as the program does; COUNTS has then the bytes towards it, and back.
pub fn run(words: Vec<OsString>) -> ExitCode {
    match relay(words) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: relay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn relay(words: Vec<OsString>) -> io::Result<u8> {
    let [counts, program, arguments @ ..] = words.as_slice() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file for the counts and a program are needed"));
    };
    let mut child = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    // Not the standard streams themselves: those buffer.
    let mut from_here = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut to_here = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut to_child = child.stdin.take().expect("it was asked for");
    let mut from_child = child.stdout.take().expect("it was asked for");
    let towards = thread::spawn(move || io::copy(&mut from_here, &mut to_child));
    let back = io::copy(&mut from_child, &mut to_here)?;
    let code = child.wait()?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    // Both ends are gone, or about to go; whoever does not close its side is not waited for.
    let towards = if towards.is_finished() || closed_soon(&towards) {
        towards.join().expect("the pump does not panic")?
    } else {
        return Err(io::Error::other("the near end has not closed its side"));
    };
    fs::write(counts, format!("{{\"towards\":{towards},\"back\":{back}}}\n"))?;
    Ok(code)
}

fn closed_soon<T>(pump: &thread::JoinHandle<T>) -> bool {
    (0..100).any(|_| {
        thread::sleep(std::time::Duration::from_millis(10));
        pump.is_finished()
    })
}
