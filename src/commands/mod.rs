//! One file a command.

mod approve;
mod audit;
mod explain;
mod follow;
mod replicas;
mod resume;
mod rsh;
mod serve;
mod sitting;
mod status;
mod sync;
mod verify;
mod wait;

use crate::cli::Command;
use crate::exit::{Failure, Result};
use std::future::Future;

/// Runs what was typed.
pub fn run(command: Command) -> Result {
    match command {
        Command::Sync(args) if args.verify => on_runtime(audit::run(args)),
        Command::Sync(args) => on_runtime(sync::run(args)),
        Command::Follow(args) => on_runtime(follow::run(args)),
        Command::Serve(args) => on_runtime(serve::run(args)),
        Command::Status(args) => status::run(&args),
        Command::Wait(args) => wait::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Approve(args) => approve::run(&args),
        Command::Verify(args) => on_runtime(verify::run(args)),
    }
}

/// Sockets, timers and sessions need a runtime; what blocks has threads of its own.
fn on_runtime(command: impl Future<Output = Result>) -> Result {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(Failure::failed)?;
    let result = runtime.block_on(command);
    // What still runs (a thread in the middle of a sync) is safe to be cut off at any point.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    result
}
