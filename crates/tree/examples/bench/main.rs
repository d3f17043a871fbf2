//! The other side of `benches/compare.py`: what must not be slower than the programs it measures.
//!
//! In reading order: floors no replicator can beat (`copy`, `walk`, `mirror`), the load and the eye that waits for it
//! (`deliver`, `arrivals`), and a wire that counts (`relay`). Each subcommand prints one JSON object. Knows nothing of Fulmar
//! but the name of its private directory, which does not count as part of a copy.

mod arguments;
mod arrivals;
mod copy;
mod deliver;
mod mirror;
mod pool;
mod relay;
mod walk;

use std::io;
use std::process::ExitCode;

use arguments::Arguments;

const USAGE: &str = "bench copy FROM TO [--threads N]
bench walk [--read | --hash] [--threads N] TREE...
bench mirror FROM TO
bench deliver FROM TO [--rate N --seconds N [--flagged PERCENT] [--until NAME]] [--calm FILES] [--drain SECONDS]
bench relay COUNTS PROGRAM ARGUMENT...";

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let command = words.next().unwrap_or_default();
    let result = match command.to_str() {
        Some("copy") => copy::run(Arguments::new(words)),
        Some("walk") => walk::run(Arguments::new(words)),
        Some("mirror") => mirror::run(Arguments::new(words)),
        Some("deliver") => deliver::run(Arguments::new(words)),
        Some("relay") => return relay::run(&words.collect::<Vec<_>>()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, USAGE)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
