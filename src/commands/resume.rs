//! `fulmar sync --verify --resume FILE`: an audit that goes on where it was interrupted. What was found, and what was compared, is
//! in the checkpoint; the report is made of that, once, at the end.

use crate::checkpoint::{Checkpoint, Root, Subject};
use crate::cli::{Format, SyncArgs};
use crate::commands::audit::{header, print};
use crate::commands::replicas::{audit_settings, explain, local};
use crate::commands::sitting::{SLICE, Sitting};
use crate::exit::{Exit, Failure, Result};
use crate::render::{self, Reader, bytes, say};
use crate::report::{Audit, Gathered, Header, Progress, Stage, counted, json};
use crate::state::{self, pasted, shown};
use fulmar_model::escape;
use fulmar_primary::{AuditSettings, Verdict};
use fulmar_tree::Tree;
use std::path::{Path, PathBuf};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// See the head of this file.
pub async fn run(args: &SyncArgs, file: &Path) -> Result {
    let settings = audit_settings(&args.trees, &args.audit)?;
    let file = std::path::absolute(file).map_err(Failure::failed)?;
    refuse_inside(&file, &settings.source, &local(&args.trees)?)?;
    let tree = Tree::open(&settings.source).map_err(|error| explain(None, error.into()))?;
    let header = header(args, &settings);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    let mut checkpoint = Checkpoint::open(&file, subject(&header, &settings, &tree), header.began.clone())?;
    let names: Vec<String> = settings.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
    let (stage, stages) = watch::channel(Stage::default());
    let progress = Progress::start(stages, &names, args.progress, args.shared.quiet);
    let sitting = Sitting { tree, settings, slice: SLICE, stage };
    let ended = tokio::select! {
        ended = sitting.go_on(&mut checkpoint) => ended,
        _ = interrupt.recv() => Err(Failure::failed(anyhow::anyhow!("interrupted"))),
        _ = terminate.recv() => Err(Failure::failed(anyhow::anyhow!("interrupted"))),
    };
    drop(progress);
    ended.map_err(|failure| kept(failure, &checkpoint, &file))?;
    let header = Header { began: checkpoint.began().to_owned(), sittings: Some(checkpoint.sittings()), ..header };
    let (exit, reader) = report(&header, args.audit.format, args.shared.quiet, names, &mut checkpoint)?;
    match reader {
        Reader::There => checkpoint.remove(),
        Reader::Gone => say(format_args!(
            "hint: the report was not read to its end; the same command prints it again, from {}",
            shown(&file)
        )),
    }
    Ok(exit)
}

/// What it is an audit of.
fn subject(header: &Header, settings: &AuditSettings, tree: &Tree) -> Subject {
    let root = tree.id();
    Subject {
        host: header.host.clone(),
        source: header.source.clone(),
        root: Root::of(&root),
        replicas: settings.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect(),
        profile: settings.profile.to_string(),
        exclude: settings.patterns.iter().map(|pattern| escape(pattern).to_string()).collect(),
    }
}

/// A file that is a part of what is compared would differ from itself.
fn refuse_inside(file: &Path, source: &Path, replicas: &[PathBuf]) -> Result<()> {
    let place = file.parent().unwrap_or(file);
    match state::holder(place, source, replicas.iter().map(PathBuf::as_path))? {
        Some(holder) => Err(Failure::usage(format!("the checkpoint {} is inside the {holder}", shown(file)))
            .hint("put it elsewhere: --resume ~/audit.checkpoint")),
        None => Ok(()),
    }
}

/// A failure, with how far it is.
fn kept(failure: Failure, checkpoint: &Checkpoint, file: &Path) -> Failure {
    // What was typed wrongly is not cured by typing it again.
    if failure.exit == Exit::Usage {
        return failure;
    }
    let tally = checkpoint.totals().first().map_or_else(Default::default, |total| total.source.tally);
    let far = match checkpoint.totals() {
        [] => "nothing was changed, and no part is finished yet: the same command begins from the start".to_owned(),
        _ => format!(
            "nothing was changed; {} with {} are compared, {}, which is kept in {}: the same command goes on",
            counted(tally.files, "file"),
            bytes(tally.bytes),
            checkpoint.position(),
            pasted(&shown(file)),
        ),
    };
    let hint = match &failure.hint {
        Some(hint) => format!("{hint}; {far}"),
        None => far,
    };
    failure.hint(hint)
}

/// Prints everything that was found in all sittings.
fn report(
    header: &Header,
    format: Format,
    quiet: bool,
    names: Vec<String>,
    checkpoint: &mut Checkpoint,
) -> Result<(Exit, Reader)> {
    let mut all: Vec<Gathered> = names.iter().map(|_| Gathered::new(header.limit)).collect();
    let mut reader = Reader::There;
    checkpoint.findings(|replica, finding| {
        match (format, names.get(replica), all.get_mut(replica)) {
            (Format::Json, Some(name), _) if reader == Reader::There => {
                reader = render::data(json::finding(name, &finding))?;
            }
            (Format::Table | Format::Html, _, Some(gathered)) => gathered.add(finding),
            _ => {}
        }
        Ok(())
    })?;
    let verdicts = checkpoint.totals().to_vec();
    let exit = if verdicts.iter().all(Verdict::is_equal) { Exit::Done } else { Exit::Differs };
    let audit = |((replica, verdict), gathered)| Audit { replica, verdict: Ok(verdict), gathered };
    let audits: Vec<Audit> = names.into_iter().zip(verdicts).zip(all).map(audit).collect();
    let reader = match (format, reader) {
        (_, Reader::Gone) => Reader::Gone,
        (Format::Json, Reader::There) => render::data(json::summary(header, &audits))?,
        (Format::Table | Format::Html, Reader::There) => print(header, format, quiet, &audits)?,
    };
    Ok((exit, reader))
}
