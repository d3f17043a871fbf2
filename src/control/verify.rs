//! `verify` on the control socket: as many lines as there are findings, one each second that says how far it is, and one at the
//! end. It stops when the client leaves.

use crate::control::protocol::{Answer, Progress, Verify};
use crate::control::server::say;
use crate::report::{Audit, Beside, Gathered, Header, json};
use crate::{identity, state};
use fulmar_model::{Depth, escape};
use fulmar_primary::{AuditPulse, Primary, Told, Verification};
use tokio::io::{AsyncBufRead, AsyncBufReadExt};
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Lines that wait for the client; full: the comparison waits.
const LINES: usize = 64;

/// Verifies, and gives the last answer. An error: the client has left.
pub async fn answer(
    wanted: Verify,
    primary: &Primary,
    from: &mut (impl AsyncBufRead + Unpin),
    to: &mut OwnedWriteHalf,
) -> std::io::Result<Answer> {
    let stop = CancellationToken::new();
    // Whoever waits for a verdict says nothing more: what comes is the end.
    let _stopper = stop.clone().drop_guard();
    let status = match primary.status().await {
        Ok(status) => status,
        Err(error) => return Ok(Answer::Error { message: error.to_string() }),
    };
    let names: Vec<String> = status.replicas.iter().map(|replica| replica.name.clone()).collect();
    let depth = if wanted.deep { Depth::Deep } else { Depth::Quick };
    let header = Header {
        host: escape(&identity::host()).to_string(),
        source: state::shown(&status.source),
        began: crate::report::began(),
        limit: 0,
        beside: Some(Beside { depth, repair: wanted.repair }),
        sittings: None,
    };
    let verification = Verification { depth, repair: wanted.repair, rate: wanted.rate, idle: wanted.idle };
    let (telling, mut told) = mpsc::channel(LINES);
    let work = primary.verify(verification, telling, stop);
    tokio::pin!(work);
    let mut leaving = false;
    let verdicts = loop {
        let line = tokio::select! {
            ended = &mut work => break ended,
            Some(line) = told.recv() => line,
            said = from.fill_buf(), if !leaving => match said {
                Ok([]) => return Err(std::io::ErrorKind::ConnectionAborted.into()),
                // The next request, which waits; that the client has left shows when it is told something.
                Ok(_) => { leaving = true; continue; }
                Err(error) => return Err(error),
            },
        };
        say(to, &line_of(line, &names)).await?;
    };
    while let Ok(line) = told.try_recv() {
        say(to, &line_of(line, &names)).await?;
    }
    let verdicts = match verdicts {
        Ok(verdicts) => verdicts,
        Err(error) => return Ok(Answer::Error { message: chain(&error) }),
    };
    let audit = |(replica, verdict): (String, fulmar_primary::Result<_>)| {
        let verdict = verdict.map_err(|error| chain(&error));
        Audit { replica, verdict, gathered: Gathered::new(0) }
    };
    let audits: Vec<Audit> = verdicts.into_iter().map(audit).collect();
    Ok(Answer::Verified { summary: json::summary(&header, &audits) })
}

fn line_of(told: Told, names: &[String]) -> Answer {
    match told {
        Told::Found { replica, finding } => {
            let name = names.get(replica).map_or("", String::as_str);
            Answer::Finding { finding: json::finding(name, &finding) }
        }
        Told::Progress { source: (files, bytes), replicas } => {
            let one = |(name, pulse): (&String, AuditPulse)| {
                let AuditPulse { files, bytes, compares, differences } = pulse;
                Progress { name: Some(name.clone()), files, bytes, compares, differences }
            };
            let source = Progress { name: None, files, bytes, compares: false, differences: 0 };
            Answer::Progress { source, replicas: names.iter().zip(replicas).map(one).collect() }
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
