//! `fulmar verify`: has a running `follow` compare its source with the replicas, with whose doing it is where they differ, and
//! repair them if that is wanted.

use crate::cli::{Format, IoPriority, VerifyArgs};
use crate::commands::audit::print;
use crate::control::{Answer, Command, Listening, Progress, Verify};
use crate::exit::{Exit, Failure, Result};
use crate::render::{self, Reader};
use crate::report::{Audit, Bars, Beside, Gathered, Header, Picture, Reported, began, finding, reported};
use crate::state;
use fulmar_model::Depth;
use fulmar_primary::AuditPulse;
use serde_json::Value;
use std::collections::HashMap;
use tokio::signal::unix::{SignalKind, signal};

/// See the head of this file.
pub async fn run(args: VerifyArgs) -> Result {
    let socket = state::control(&args.shared, args.tree.as_deref(), "verify")?;
    let format = if args.json { Format::Json } else { args.format };
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    let idle = args.io_priority == IoPriority::Idle;
    let wanted = Verify { deep: args.deep, repair: args.repair, rate: args.rate, idle };
    let (began, mut answers) = (began(), Listening::ask(&socket, Command::Verify(wanted)).await?);
    let mut bars = Bars::new(args.progress, args.shared.quiet);
    let mut heard = Heard { format, limit, gathered: HashMap::new(), reader: Reader::There };
    let summary = loop {
        let answer = tokio::select! {
            answer = answers.next() => answer?,
            _ = interrupt.recv() => return Err(interrupted(args.repair)),
            _ = terminate.recv() => return Err(interrupted(args.repair)),
        };
        match answer {
            Answer::Finding { finding } => heard.add(&finding)?,
            Answer::Progress { source, replicas } => {
                if let Some(bars) = &mut bars {
                    bars.show(&picture(&source, replicas));
                }
            }
            Answer::Verified { summary } => break summary,
            _ => return Err(strange()),
        }
    };
    drop(bars);
    report(&args, &heard.format, began, &summary, heard.gathered, limit)
}

fn interrupted(repair: bool) -> Failure {
    let hint = match repair {
        true => "what was found so far is being repaired; the same command begins from the start",
        false => "nothing was changed; the same command begins from the start",
    };
    Failure::failed(anyhow::anyhow!("interrupted")).hint(hint)
}

fn strange() -> Failure {
    Failure::failed(anyhow::anyhow!("fulmar follow answered something else"))
}

/// What was found so far, by replica.
struct Heard {
    format: Format,
    limit: usize,
    gathered: HashMap<String, Gathered>,
    reader: Reader,
}

impl Heard {
    fn add(&mut self, line: &Value) -> Result<()> {
        match self.format {
            Format::Json if self.reader == Reader::There => self.reader = render::data(line)?,
            Format::Json => {}
            Format::Table | Format::Html => {
                if let Some((replica, found)) = finding(line) {
                    self.gathered.entry(replica).or_insert_with(|| Gathered::new(self.limit)).add(found);
                }
            }
        }
        Ok(())
    }
}

fn picture(source: &Progress, replicas: Vec<Progress>) -> Picture {
    let one = |progress: Progress| {
        let Progress { name, files, bytes, compares, differences } = progress;
        (name.unwrap_or_default(), AuditPulse { files, bytes, compares, differences })
    };
    Picture { source: (source.files, source.bytes), replicas: replicas.into_iter().map(one).collect() }
}

/// Prints it; the worst replica decides.
fn report(
    args: &VerifyArgs,
    format: &Format,
    began: String,
    summary: &Value,
    mut gathered: HashMap<String, Gathered>,
    limit: usize,
) -> Result {
    let replicas = reported(summary).ok_or_else(strange)?;
    let text = |field: &str| summary[field].as_str().unwrap_or_default().to_owned();
    let depth = if args.deep { Depth::Deep } else { Depth::Quick };
    let beside = Some(Beside { depth, repair: args.repair });
    let header = Header { host: text("host"), source: text("source"), began, limit, beside, sittings: None };
    if *format == Format::Json {
        render::data(summary)?;
    }
    let audit = |Reported { replica, verdict }| {
        let gathered = gathered.remove(&replica).unwrap_or_default();
        Audit { replica, verdict, gathered }
    };
    let audits: Vec<Audit> = replicas.into_iter().map(audit).collect();
    print(&header, *format, args.shared.quiet, &audits)?;
    let mut failures: Vec<Failure> = audits
        .iter()
        .filter_map(|audit| Some((audit, audit.verdict.as_ref().err()?)))
        .map(|(audit, error)| {
            Failure::failed(anyhow::anyhow!(error.clone()).context(format!("replica {}", audit.replica)))
        })
        .collect();
    if let Some(last) = failures.pop() {
        failures.iter().for_each(render::failure);
        return Err(last);
    }
    let equal = audits.iter().all(|audit| audit.verdict.as_ref().is_ok_and(fulmar_primary::Verdict::is_equal));
    Ok(if equal { Exit::Done } else { Exit::Differs })
}
