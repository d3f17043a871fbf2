//! `fulmar approve`: lets removals go ahead that the guard held back.

use crate::cli::ApproveArgs;
use crate::control::{Answer, Command, ask};
use crate::exit::{Exit, Failure, Result};
use crate::render::say;
use crate::state;

/// Asks the running `follow`.
pub fn run(args: &ApproveArgs) -> Result {
    let socket = state::control(&args.shared, args.tree.as_deref(), "approve")?;
    match ask(&socket, Command::Approve)? {
        Answer::Approved { removals } => {
            if !args.shared.quiet {
                match removals {
                    0 => say("no removals were held back"),
                    1 => say("1 removal goes ahead"),
                    many => say(format_args!("{many} removals go ahead")),
                }
            }
            Ok(Exit::Done)
        }
        _ => Err(Failure::failed(anyhow::anyhow!("fulmar follow answered something else"))),
    }
}
