//! How far an audit is, on a terminal; nothing elsewhere, unless it is asked for.

use crate::render::{bytes, say};
use fulmar_primary::{AuditPulse, Inspection};
use fulmar_tree::audit::Meter;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch::Receiver;

/// How often progress is drawn, and how often it is printed where nothing can be drawn.
const DRAW: Duration = Duration::from_millis(100);
const PRINT: Duration = Duration::from_secs(5);

/// Draws until dropped.
pub struct Progress(tokio::task::JoinHandle<()>);

impl Progress {
    /// Starts drawing, if somebody is there to see it or asked for it.
    pub fn start(inspection: &Inspection, replicas: &[String], wanted: bool, quiet: bool) -> Option<Self> {
        let terminal = std::io::stderr().is_terminal();
        if quiet || !(terminal || wanted) {
            return None;
        }
        let pulses = replicas.iter().cloned().zip(inspection.pulses()).collect();
        Some(Self(tokio::spawn(draw(inspection.read(), pulses, terminal))))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn draw(source: Arc<Meter>, pulses: Vec<(String, Receiver<AuditPulse>)>, terminal: bool) {
    let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bars = MultiProgress::with_draw_target(target);
    let style = ProgressStyle::with_template("{spinner} {prefix}  {msg}").expect("a valid template");
    let bar = |name: &str| bars.add(ProgressBar::new_spinner().with_style(style.clone()).with_prefix(name.to_owned()));
    let mut lines = vec![bar("source")];
    lines.extend(pulses.iter().map(|(name, _)| bar(name)));
    let mut tick = tokio::time::interval(if terminal { DRAW } else { PRINT });
    loop {
        tick.tick().await;
        let (files, read) = source.read();
        let mut texts = vec![("source", format!("{files} files, {} read", bytes(read)))];
        for (name, pulse) in &pulses {
            let pulse = *pulse.borrow();
            let doing = match pulse.compares {
                true => format!(", {} differences so far", pulse.differences),
                false => String::new(),
            };
            texts.push((name, format!("{} files, {} read{doing}", pulse.files, bytes(pulse.bytes))));
        }
        for (line, (name, text)) in lines.iter().zip(texts) {
            if terminal {
                line.set_message(text);
                line.tick();
            } else {
                say(format_args!("{name}  {text}"));
            }
        }
    }
}
