//! Everything that is printed: data, and for people errors, logs, tables, progress.
//!
//! Nothing that cannot be printed is a panic: what is said is lost when nobody is there to read it, and the work goes on.

use crate::cli::{Command, Shared};
use crate::control::{Status, Tree};
use crate::exit::{Failure, Result};
use crate::identity::now_ms;
use crate::state::{command, pasted};
use crate::verified::words;
use fulmar_primary::{Primary, ReplicaState};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;
use tracing::level_filters::LevelFilter;

/// Held paths of one replica that are named to people.
pub const HELD_SHOWN: usize = 10;
/// How often progress is drawn.
const DRAW: Duration = Duration::from_millis(100);

/// Logs go to stderr, as much as was asked for.
pub fn start_log(options: &Command) {
    let shared = match options {
        Command::Sync(args) => &args.shared,
        Command::Follow(args) => &args.shared,
        Command::Serve(args) => &args.shared,
        Command::Status(args) => &args.shared,
        Command::Wait(args) => &args.shared,
        Command::Explain(args) => &args.shared,
        Command::Approve(args) => &args.shared,
        Command::Verify(args) => &args.shared,
    };
    let level = match (shared.quiet, shared.verbose) {
        (true, _) => LevelFilter::ERROR,
        (_, 0) => LevelFilter::WARN,
        (_, 1) => LevelFilter::INFO,
        (_, 2) => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        // It would be told on the same stderr, with a panic where that fails again.
        .log_internal_errors(false)
        .with_ansi(colour)
        .init();
}

/// One line for people.
pub fn say(line: impl Display) {
    // A follow outlives the terminal, the pipe or the journal it was started with.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Whether somebody still reads what is printed as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    There,
    /// It has what it wanted (`| head`): no failure, and no reason to print more.
    Gone,
}

/// One line of data.
pub fn data(line: impl Display) -> Result<Reader> {
    read(writeln!(std::io::stdout().lock(), "{line}"))
}

fn read(written: std::io::Result<()>) -> Result<Reader> {
    match written {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Failure::failed(anyhow::Error::new(error).context("write to standard output"))),
    }
}

/// `error:`, `caused by:`, `hint:`.
pub fn failure(failure: &Failure) {
    say(format_args!("error: {}", failure.error));
    for cause in failure.error.chain().skip(1) {
        say(format_args!("caused by: {cause}"));
    }
    if let Some(hint) = &failure.hint {
        say(format_args!("hint: {hint}"));
    }
}

/// One line a replica, and what needs attention below it.
pub fn status(status: &Status, shared: &Shared) -> Result<Reader> {
    let mut out = std::io::stdout().lock();
    read(status.trees.iter().try_for_each(|tree| table(&mut out, tree, shared)))
}

fn table(out: &mut impl Write, tree: &Tree, shared: &Shared) -> std::io::Result<()> {
    let watched = match &tree.watch {
        Some(watch) => format!(", {} of {} directories watched", watch.watched, watch.directories),
        None => String::new(),
    };
    writeln!(out, "{} ({}{watched})", tree.source, tree.phase)?;
    if let Some(watch) = &tree.watch {
        if watch.limit_reached {
            let wanted = watch.directories.saturating_mul(2).max(524_288);
            writeln!(out, "  {} subtrees are polled: the limit of watches is reached", watch.polled)?;
            writeln!(out, "  hint: sysctl -w fs.inotify.max_user_watches={wanted}")?;
        } else if watch.polled > 0 {
            writeln!(out, "  {} subtrees are polled because they cannot be watched", watch.polled)?;
        }
    }
    if let Some(reason) = &tree.guard.reason {
        writeln!(out, "  REMOVALS ARE HELD BACK: {reason}")?;
        let approve = command(shared, &format!("approve {}", pasted(&tree.source)));
        match tree.guard.cause.as_deref() {
            Some("source_gone") => {
                writeln!(out, "  hint: put it back in its place, or mount it: that needs no approval")?
            }
            _ => writeln!(out, "  hint: if that is meant: {approve}")?,
        }
    }
    let width = tree.replicas.iter().map(|replica| replica.name.chars().count()).max().unwrap_or(0).max(7);
    writeln!(out, "  {:width$}  {:10} {:>8} {:>8} {:>6} {:>6}", "REPLICA", "STATE", "LAG", "BACKLOG", "HELD", "DRIFT")?;
    for replica in &tree.replicas {
        let lag = replica.lag_ms.map_or_else(|| "-".to_owned(), lag);
        writeln!(
            out,
            "  {:width$}  {:10} {lag:>8} {:>8} {:>6} {:>6}",
            replica.name, replica.state, replica.backlog, replica.held, replica.drift
        )?;
        if let Some(error) = &replica.error {
            writeln!(out, "    {error}")?;
        }
        if let Some(hint) = &replica.hint {
            writeln!(out, "    hint: {hint}")?;
        }
        for held in replica.held_paths.iter().take(HELD_SHOWN) {
            writeln!(out, "    held: {}: {}", held.path, held.reason)?;
        }
        if replica.held > HELD_SHOWN as u64 {
            writeln!(
                out,
                "    and {} more (fulmar status --json lists the first hundred)",
                replica.held - HELD_SHOWN as u64
            )?;
        }
        if let Some(words) = tree.verify.as_ref().and_then(|verify| words(verify, &replica.verified, now_ms())) {
            writeln!(out, "    {words}")?;
        }
        if !replica.owners && replica.replica_id.is_some() {
            writeln!(out, "    owner and group are not kept: the replica does not run as root")?;
        }
    }
    Ok(())
}

/// A duration in one unit.
pub fn lag(ms: i64) -> String {
    match ms {
        ..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

/// What a number of an error means.
pub fn shown_error(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// Bytes in one unit.
pub fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut scaled, mut unit, mut tenth) = (count, 0, 0);
    while scaled >= 1024 && unit + 1 < units.len() {
        tenth = scaled % 1024 * 10 / 1024;
        scaled /= 1024;
        unit += 1;
    }
    if unit == 0 { format!("{scaled} B") } else { format!("{scaled}.{tenth} {}", units[unit]) }
}

/// Draws progress of a first sync until dropped. Where stderr is no terminal, one line when it begins and none after.
pub struct Progress(tokio::task::JoinHandle<()>);

impl Progress {
    /// Starts drawing, if somebody is there to see it or asked for it.
    pub fn start(primary: &Primary, wanted: bool, quiet: bool) -> Option<Self> {
        let terminal = std::io::stderr().is_terminal();
        if quiet || !(terminal || wanted) {
            return None;
        }
        Some(Self(tokio::spawn(draw(primary.clone(), terminal))))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn draw(primary: Primary, terminal: bool) {
    let bars = MultiProgress::with_draw_target(if terminal {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    });
    let mut drawn: Vec<ProgressBar> = Vec::new();
    let mut lines = 0u64;
    loop {
        let Ok(status) = primary.status().await else { return };
        for (index, replica) in status.replicas.iter().enumerate() {
            if drawn.len() <= index {
                let style = ProgressStyle::with_template("{spinner} {prefix}  {msg}").expect("a valid template");
                drawn.push(bars.add(ProgressBar::new_spinner().with_style(style).with_prefix(replica.name.clone())));
            }
            let (listed, whole) = replica.listed;
            let (wanted, done, sent) = replica.counts;
            let more = if whole { "" } else { "+" };
            let text = format!(
                "{}: {listed}{more} entries compared, {wanted} differ, {done} operations done, {} sent, {} large files",
                replica.state.word(),
                bytes(sent),
                replica.large
            );
            if terminal {
                drawn[index].set_message(text);
                drawn[index].tick();
                if replica.state == ReplicaState::Live && replica.backlog == 0 {
                    drawn[index].finish_and_clear();
                }
            } else if lines.is_multiple_of(50) && replica.state != ReplicaState::Live {
                say(format_args!("{}  {text}", replica.name));
            }
        }
        lines += 1;
        tokio::time::sleep(DRAW).await;
    }
}
