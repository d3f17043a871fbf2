//! `fulmar status`: what a running `follow` says of its replicas.

use crate::cli::StatusArgs;
use crate::control::{Answer, Command, Status, VERSION, ask};
use crate::exit::{Exit, Failure, Result};
use crate::render::{self, Reader};
use crate::state;
use std::path::PathBuf;
use std::time::Duration;

/// Prints a table or JSON; exit code 1 when something is held or removals wait for approval.
pub fn run(args: &StatusArgs) -> Result {
    loop {
        let status = gather(args)?;
        let reader = match args.json {
            true => render::data(serde_json::to_string(&status).map_err(Failure::failed)?)?,
            false => render::status(&status, &args.shared)?,
        };
        if !args.watch || reader == Reader::Gone {
            let held = |tree: &crate::control::Tree| tree.replicas.iter().any(|replica| replica.held > 0);
            let bad = status.trees.iter().any(|tree| held(tree) || tree.guard.reason.is_some());
            return Ok(if bad { Exit::Differs } else { Exit::Done });
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Of one tree, or of all that are followed.
fn gather(args: &StatusArgs) -> Result<Status> {
    let one = args.tree.is_some() || args.shared.control.is_some();
    let sockets: Vec<PathBuf> = if one {
        vec![state::control(&args.shared, args.tree.as_deref(), "status")?]
    } else {
        let running = state::running(&state::base(&args.shared)?)?;
        match running.is_empty() {
            // The error that says where was looked.
            true => vec![state::control(&args.shared, None, "status")?],
            false => running.into_iter().map(|(_, socket)| socket).collect(),
        }
    };
    let mut all = Status { version: VERSION, trees: Vec::new() };
    for socket in sockets {
        if let Answer::Status(status) = ask(&socket, Command::Status)? {
            all.trees.extend(status.trees);
        }
    }
    Ok(all)
}
