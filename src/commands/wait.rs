//! `fulmar wait`: returns when all that happened before this call is durable on every replica.

use crate::cli::WaitArgs;
use crate::control::{Answer, Command, ask};
use crate::exit::{Exit, Failure, Result};
use crate::render::{self, say};
use crate::state;
use fulmar_primary::HELD_LISTED;

/// Exit code 0: it is so; 1: paths are held (named on stderr); 3: the time was not enough, or nobody follows.
pub fn run(args: &WaitArgs) -> Result {
    let socket = state::control(&args.shared, args.tree.as_deref(), "wait")?;
    let timeout_ms = u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX);
    let answer = ask(&socket, Command::Wait { timeout_ms })?;
    let question = |words: &str| match &args.tree {
        Some(tree) => format!("{words} {}", state::pasted(&state::shown(tree))),
        None => words.to_owned(),
    };
    if args.json {
        render::data(serde_json::to_string(&answer).map_err(Failure::failed)?)?;
    }
    match answer {
        Answer::Durable { upto } => {
            if args.shared.verbose > 0 {
                say(format_args!("everything up to change {upto} is durable on every replica"));
            }
            Ok(Exit::Done)
        }
        Answer::Held { replica, paths } => {
            match paths.len() {
                1 => say(format_args!("error: 1 path is held on {replica}")),
                HELD_LISTED.. => say(format_args!("error: {HELD_LISTED} paths or more are held on {replica}")),
                many => say(format_args!("error: {many} paths are held on {replica}")),
            }
            for held in paths {
                say(format_args!("  {}: {}", held.path, held.reason));
            }
            say(format_args!(
                "hint: what is held, and what to do: {}",
                state::command(&args.shared, &question("status"))
            ));
            Ok(Exit::Differs)
        }
        Answer::Timeout { message } => Err(Failure::failed(anyhow::anyhow!(message)).hint(format!(
            "look at what is behind: {}; or wait longer: {}",
            state::command(&args.shared, &question("status")),
            state::command(&args.shared, &question("wait --timeout 5m"))
        ))),
        _ => Err(Failure::failed(anyhow::anyhow!("fulmar follow answered something else"))),
    }
}
