//! `fulmar follow`: sync, then keep following changes until interrupted.

use crate::cli::FollowArgs;
use crate::commands::replicas::{explain, settings};
use crate::control;
use crate::exit::{Exit, Failure, Result};
use crate::identity::random_number;
use crate::render::{Progress, say};
use crate::state::{command, pasted, shown};
use fulmar_primary::{Error, Mode, Periodic, Primary};
use tokio::signal::unix::{SignalKind, signal};

/// See the head of this file.
pub async fn run(args: FollowArgs) -> Result {
    loop {
        match follow(&args).await {
            // Its queue or catalog broke while it ran: the next start sets it aside and compares.
            Err((failure, true)) => {
                tracing::warn!(error = %failure.error, "state was damaged; starting again");
            }
            Err((failure, false)) => return Err(failure),
            Ok(exit) => return Ok(exit),
        }
    }
}

/// The failure, and whether another start would help.
type Ended = (Failure, bool);

async fn follow(args: &FollowArgs) -> std::result::Result<Exit, Ended> {
    let lasting = |failure: Failure| (failure, false);
    let mut settings =
        settings(&args.trees, &args.shared, Mode::Follow, (args.settle, args.settle_max)).map_err(lasting)?;
    settings.approve_removals = args.approve_removals;
    let (quick, deep) = (args.verify_quick_every.0, args.verify_deep_every.0);
    settings.periodic = Periodic { quick, deep, random: random_number(), ..settings.periodic };
    let socket = args.shared.control.clone().unwrap_or_else(|| settings.state.join("control.sock"));
    let source = shown(&settings.source);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| lasting(Failure::failed(error)))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| lasting(Failure::failed(error)))?;
    let (primary, mut sessions) =
        Primary::start(settings, None).await.map_err(|error| (explain(None, error), false))?;
    control::serve(&socket, primary.clone()).map_err(lasting)?;
    if !args.shared.quiet {
        let look = command(&args.shared, &format!("status {}", pasted(&source)));
        say(format_args!("following {source}; stop with Ctrl-C, look with: {look}"));
    }
    let progress = Progress::start(&primary, args.progress, args.shared.quiet);
    let mut failure = None;
    loop {
        tokio::select! {
            ended = sessions.next() => match ended {
                Some(finished) => {
                    // The one that is refused says why.
                    if let Some(error) = finished.error.filter(|error| !matches!(error, Error::Withheld)) {
                        let damaged = error.damaged();
                        failure.get_or_insert((explain(Some(&finished.name), error), damaged));
                        primary.end();
                    }
                }
                None => break,
            },
            _ = interrupt.recv() => primary.end(),
            _ = terminate.recv() => primary.end(),
        }
    }
    drop(progress);
    // What it is good for is space, and the next start.
    let _ = primary.close().await;
    // Left behind it would only be removed by the next start.
    let _ = std::fs::remove_file(&socket);
    match failure {
        Some(ended) => Err(ended),
        None => Ok(Exit::Done),
    }
}
