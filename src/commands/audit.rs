//! `fulmar sync --verify`: compare every byte and all metadata, change nothing, report.

use crate::cli::{Format, SyncArgs};
use crate::commands::replicas::{audit_settings, explain};
use crate::commands::resume;
use crate::exit::{Exit, Failure, Result};
use crate::render::{self, Reader};
use crate::report::{Audit, Gathered, Header, Progress, Stage, began, html, json, table};
use crate::{identity, state};
use fulmar_model::escape;
use fulmar_primary::{AuditSettings, Finding, Inspection, Verdict};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// Findings that wait to be printed or kept; full: the comparison waits.
const FINDINGS: usize = 1024;

/// See the head of this file.
pub async fn run(args: SyncArgs) -> Result {
    if let Some(file) = &args.audit.resume {
        return resume::run(&args, file).await;
    }
    let settings = audit_settings(&args.trees, &args.audit)?;
    let names: Vec<String> = settings.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
    let header = header(&args, &settings);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    let (findings, found) = mpsc::channel(FINDINGS);
    let mut inspection = Inspection::start(settings, findings).await.map_err(|error| explain(None, error))?;
    let (_stage, stage) = watch::channel(Stage::new(&inspection, &[]));
    let progress = Progress::start(stage, &names, args.progress, args.shared.quiet);
    let gatherer = tokio::spawn(gather(found, names.clone(), args.audit.format, header.limit));
    let mut verdicts: Vec<std::result::Result<Verdict, Failure>> = names
        .iter()
        .map(|_| Err(Failure::failed(anyhow::anyhow!("a part of fulmar has ended unexpectedly"))))
        .collect();
    let interrupted = loop {
        tokio::select! {
            ended = inspection.next() => match ended {
                Some(inspected) => {
                    let name = names.get(inspected.replica).map(String::as_str);
                    if let Some(verdict) = verdicts.get_mut(inspected.replica) {
                        *verdict = inspected.result.map_err(|error| explain(name, error));
                    }
                }
                None => break false,
            },
            _ = interrupt.recv() => break true,
            _ = terminate.recv() => break true,
        }
    };
    inspection.end();
    drop((progress, inspection));
    if interrupted {
        return Err(Failure::failed(anyhow::anyhow!("interrupted")).hint(
            "nothing was changed; the same command begins from the start, and with --resume FILE it could go on",
        ));
    }
    let gathered = gatherer.await.map_err(Failure::failed)??;
    report(&header, args.audit.format, args.shared.quiet, names, verdicts, gathered)
}

/// What every form of a report begins with.
pub fn header(args: &SyncArgs, settings: &AuditSettings) -> Header {
    Header {
        host: escape(&identity::host()).to_string(),
        source: state::shown(&settings.source),
        began: began(),
        limit: if args.audit.limit == 0 { usize::MAX } else { args.audit.limit },
        beside: None,
        sittings: None,
    }
}

/// Keeps what will be shown; as JSON, prints it at once.
async fn gather(
    mut found: mpsc::Receiver<(usize, Finding)>,
    names: Vec<String>,
    format: Format,
    limit: usize,
) -> Result<Vec<Gathered>> {
    let mut all: Vec<Gathered> = names.iter().map(|_| Gathered::new(limit)).collect();
    let mut reader = Reader::There;
    while let Some((replica, finding)) = found.recv().await {
        match (format, names.get(replica), all.get_mut(replica)) {
            (Format::Json, Some(name), _) if reader == Reader::There => {
                reader = render::data(json::finding(name, &finding))?;
            }
            (Format::Table | Format::Html, _, Some(gathered)) => gathered.add(finding),
            _ => {}
        }
    }
    Ok(all)
}

/// The forms that are made at the end.
pub fn print(header: &Header, format: Format, quiet: bool, audits: &[Audit]) -> Result<Reader> {
    let mut reader = Reader::There;
    match format {
        Format::Json => {}
        Format::Html => reader = render::data(html::page(header, audits).trim_end())?,
        Format::Table => {
            for audit in audits {
                match &audit.verdict {
                    // It is told on stderr.
                    Err(_) => {}
                    Ok(verdict) if quiet && verdict.is_equal() => {}
                    Ok(_) => reader = render::data(table::table(header, audit).trim_end())?,
                }
            }
        }
    }
    Ok(reader)
}

/// Prints it; the worst replica decides.
fn report(
    header: &Header,
    format: Format,
    quiet: bool,
    names: Vec<String>,
    verdicts: Vec<std::result::Result<Verdict, Failure>>,
    gathered: Vec<Gathered>,
) -> Result {
    let (mut exit, mut failures, mut audits) = (Exit::Done, Vec::new(), Vec::new());
    for ((replica, verdict), gathered) in names.into_iter().zip(verdicts).zip(gathered) {
        let verdict = match verdict {
            Ok(verdict) => {
                exit = if verdict.is_equal() { exit } else { Exit::Differs };
                Ok(verdict)
            }
            Err(failure) => {
                let text = failure.error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
                failures.push(failure);
                Err(text)
            }
        };
        audits.push(Audit { replica, verdict, gathered });
    }
    if format == Format::Json {
        render::data(json::summary(header, &audits))?;
    }
    print(header, format, quiet, &audits)?;
    // A failure says more than a refusal, and is told last.
    failures.sort_by_key(|failure| failure.exit == Exit::Failed);
    let Some(last) = failures.pop() else { return Ok(exit) };
    failures.iter().for_each(render::failure);
    Err(last)
}
