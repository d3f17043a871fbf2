//! How far an audit is, on a terminal; nothing elsewhere, unless it is asked for.

use crate::render::{bytes, say};
use fulmar_primary::{AuditPulse, Inspection, Verdict};
use fulmar_tree::audit::Meter;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often progress is drawn, and how often it is printed where nothing can be drawn.
const DRAW: Duration = Duration::from_millis(100);
const PRINT: Duration = Duration::from_secs(5);

/// How far it is.
pub struct Picture {
    /// Files and bytes of the source that were read.
    pub source: (u64, u64),
    /// Each replica, as it was named.
    pub replicas: Vec<(String, AuditPulse)>,
}

/// What is drawn, or printed.
pub struct Bars {
    bars: MultiProgress,
    lines: Vec<ProgressBar>,
    terminal: bool,
    printed: Option<Instant>,
}

impl Bars {
    /// If somebody is there to see them, or asked for them.
    pub fn new(wanted: bool, quiet: bool) -> Option<Self> {
        let terminal = std::io::stderr().is_terminal();
        if quiet || !(terminal || wanted) {
            return None;
        }
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bars = MultiProgress::with_draw_target(target);
        Some(Self { bars, lines: Vec::new(), terminal, printed: None })
    }

    /// Shows it, unless that was done a moment ago and cannot be drawn over.
    pub fn show(&mut self, picture: &Picture) {
        if !self.terminal && self.printed.is_some_and(|printed| printed.elapsed() < PRINT) {
            return;
        }
        self.printed = Some(Instant::now());
        let (files, read) = picture.source;
        let mut texts = vec![("source", format!("{files} files, {} read", bytes(read)))];
        for (name, pulse) in &picture.replicas {
            let doing = match pulse.compares {
                true => format!(", {} differences so far", pulse.differences),
                false => String::new(),
            };
            texts.push((name, format!("{} files, {} read{doing}", pulse.files, bytes(pulse.bytes))));
        }
        while self.lines.len() < texts.len() {
            let style = ProgressStyle::with_template("{spinner} {prefix}  {msg}").expect("a valid template");
            self.lines.push(self.bars.add(ProgressBar::new_spinner().with_style(style)));
        }
        for (line, (name, text)) in self.lines.iter().zip(texts) {
            if self.terminal {
                line.set_prefix(name.to_owned());
                line.set_message(text);
                line.tick();
            } else {
                say(format_args!("{name}  {text}"));
            }
        }
    }
}

/// What is under way, and what was done before it.
#[derive(Clone, Default)]
pub struct Stage {
    meter: Arc<Meter>,
    pulses: Vec<watch::Receiver<AuditPulse>>,
    source_before: (u64, u64),
    before: Vec<AuditPulse>,
}

impl Stage {
    /// `totals`: of the stages before, for each replica; empty: there was none.
    pub fn new(inspection: &Inspection, totals: &[Verdict]) -> Self {
        let tally = totals.first().map_or_else(Default::default, |total| total.source.tally);
        let before = |total: &Verdict| AuditPulse {
            files: total.replica.tally.files,
            bytes: total.replica.tally.bytes,
            compares: false,
            differences: total.difference_count(),
        };
        Self {
            meter: inspection.read(),
            pulses: inspection.pulses(),
            source_before: (tally.files, tally.bytes),
            before: totals.iter().map(before).collect(),
        }
    }

    fn picture(&self, names: &[String]) -> Picture {
        let (files, bytes) = self.meter.read();
        let one = |(at, (name, pulse)): (usize, (&String, &watch::Receiver<AuditPulse>))| {
            let (now, before) = (*pulse.borrow(), self.before.get(at).copied().unwrap_or_default());
            let pulse = AuditPulse {
                files: before.files.saturating_add(now.files),
                bytes: before.bytes.saturating_add(now.bytes),
                compares: now.compares,
                differences: before.differences.saturating_add(now.differences),
            };
            (name.clone(), pulse)
        };
        Picture {
            source: (self.source_before.0.saturating_add(files), self.source_before.1.saturating_add(bytes)),
            replicas: names.iter().zip(&self.pulses).enumerate().map(one).collect(),
        }
    }
}

/// Draws until dropped.
pub struct Progress(tokio::task::JoinHandle<()>);

impl Progress {
    /// Starts drawing, if somebody is there to see it or asked for it.
    pub fn start(stage: watch::Receiver<Stage>, replicas: &[String], wanted: bool, quiet: bool) -> Option<Self> {
        let mut bars = Bars::new(wanted, quiet)?;
        let names = replicas.to_vec();
        Some(Self(tokio::spawn(async move {
            let mut tick = tokio::time::interval(DRAW);
            loop {
                tick.tick().await;
                let now = stage.borrow().clone();
                bars.show(&now.picture(&names));
            }
        })))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.abort();
    }
}
