//! `fulmar`: what was typed becomes a command, what comes of it an exit code.
//!
//! This package is the only place for option parsing, configuration, signals, exit codes and printing.

// They panic when nobody reads; `render` has what does not.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod checkpoint;
mod cli;
mod commands;
mod control;
mod exit;
mod identity;
mod render;
mod report;
mod state;
mod verified;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = match cli::Cli::try_parse() {
        Ok(options) => options,
        Err(error) => return cli::explain(&error),
    };
    render::start_log(&options.command);
    state::raise_file_limit();
    match commands::run(options.command) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            render::failure(&failure);
            failure.exit.into()
        }
    }
}
