//! `fulmar sync`: compare, ship, stop.

use crate::cli::SyncArgs;
use crate::commands::replicas::{explain, settings};
use crate::control::Tree;
use crate::exit::{Exit, Failure, Result};
use crate::render::{self, HELD_SHOWN, Progress, Reader, say};
use fulmar_primary::{Error, GuardState, Mode, Primary, Would};
use std::collections::HashSet;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// See the head of this file.
pub async fn run(args: SyncArgs) -> Result {
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Sync };
    let mut settings = settings(&args.trees, &args.shared, mode, (Duration::ZERO, Duration::from_secs(5)))?;
    settings.approve_removals = args.approve_removals;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    // Full: who reads is slower than who compares, which waits.
    let (would, mut planned) = tokio::sync::mpsc::channel(1024);
    let would = args.dry_run.then_some(would);
    let (primary, mut sessions) = Primary::start(settings, would).await.map_err(|error| explain(None, error))?;
    let (json, several) = (args.json, args.trees.replica.len() > 1);
    let printer = tokio::spawn(async move {
        let mut count = 0u64;
        let mut reader = Ok(Reader::There);
        while let Some(Would { replica, operation, path }) = planned.recv().await {
            if matches!(reader, Ok(Reader::There)) {
                let line = serde_json::json!({ "would": operation, "path": path.to_string(), "replica": replica });
                reader = match (json, several) {
                    (true, _) => render::data(line),
                    (false, true) => render::data(format_args!("{operation:9} {replica}: {path}")),
                    (false, false) => render::data(format_args!("{operation:9} {path}")),
                };
            }
            count += 1;
        }
        reader.map(|_| count)
    });
    let progress = Progress::start(&primary, args.progress, args.shared.quiet || args.dry_run);
    let (mut failures, mut done) = (Vec::new(), HashSet::new());
    let interrupted = loop {
        tokio::select! {
            ended = sessions.next() => match ended {
                Some(finished) => match finished.error {
                    // The one that is refused says why.
                    Some(Error::Withheld) => {}
                    Some(error) => failures.push(explain(Some(&finished.name), error)),
                    None => drop(done.insert(finished.name)),
                },
                None => break false,
            },
            _ = interrupt.recv() => break true,
            _ = terminate.recv() => break true,
        }
    };
    if interrupted {
        primary.end();
    }
    drop(progress);
    let status = primary.status().await.map_err(|error| explain(None, error))?;
    let tree = Tree::from(&status);
    let held = status.replicas.iter().any(|replica| replica.held > 0);
    if args.json && !args.dry_run {
        render::data(serde_json::to_string(&tree).map_err(Failure::failed)?)?;
    }
    if args.dry_run {
        drop(primary);
        drop(sessions);
        let count = printer.await.map_err(Failure::failed)??;
        if interrupted {
            return Err(cut_short());
        }
        say(format_args!("{count} operations would be made"));
        return report(failures, if count > 0 { Exit::Differs } else { Exit::Done });
    }
    if !args.shared.quiet && !args.json {
        summary(&tree, &done);
    }
    // What it is good for is space, and the next run; nothing that was said above depends on it.
    let _ = primary.close().await;
    if let GuardState::Tripped(why) = status.guard {
        say(format_args!("error: removals were held back: {why}"));
        say("hint: if that is meant, add --approve-removals");
        return report(failures, Exit::Differs);
    }
    if interrupted {
        return Err(cut_short());
    }
    report(failures, if held { Exit::Differs } else { Exit::Done })
}

fn cut_short() -> Failure {
    Failure::failed(anyhow::anyhow!("interrupted")).hint("the same command goes on where this one stopped")
}

/// The worst failure decides; the others are printed on the way.
fn report(mut failures: Vec<Failure>, otherwise: Exit) -> Result {
    let Some(last) = failures.pop() else { return Ok(otherwise) };
    for failure in failures {
        render::failure(&failure);
    }
    Err(last)
}

fn summary(tree: &Tree, done: &HashSet<String>) {
    for replica in &tree.replicas {
        if replica.replica_id.is_none() {
            continue;
        }
        let good = replica.held == 0 && done.contains(&replica.name);
        let state = if good { "in sync" } else { "NOT in sync" };
        say(format_args!(
            "{}: {state}, {} entries, {} operations, {} sent",
            replica.name,
            replica.listed,
            replica.applied,
            render::bytes(replica.bytes)
        ));
        if replica.sockets > 0 {
            let plural = if replica.sockets == 1 { "" } else { "s" };
            say(format_args!("  {} socket{plural} skipped", replica.sockets));
        }
        for held in replica.held_paths.iter().take(HELD_SHOWN) {
            say(format_args!("  held: {}: {}", held.path, held.reason));
        }
        if replica.held > HELD_SHOWN as u64 {
            say(format_args!("  and {} more (--json lists the first hundred)", replica.held - HELD_SHOWN as u64));
        }
        if replica.drift > 0 {
            say(format_args!("  {} foreign versions are in {}/.fulmar/quarantine", replica.drift, replica.name));
        }
        if !replica.owners {
            say(format_args!("  owner and group are not kept: the replica does not run as root"));
        }
    }
}
