//! What can be typed. One definition gives parsing, `-h` and `--help`.

use crate::exit::Exit;
use clap::{Args, Parser, Subcommand};
use fulmar_model::{DeletePolicy, Durability, Profile};
use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Keeps copies of directory trees on other machines, seconds behind the original, and can prove it.
#[derive(Debug, Parser)]
#[command(name = "fulmar", version, disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring replicas up to date once, then exit
    Sync(SyncArgs),
    /// Bring replicas up to date, then keep following changes until interrupted
    Follow(FollowArgs),
    /// The far end of an ssh replica (started by ssh, not by hand)
    Serve(ServeArgs),
    /// One line per replica: state, lag, backlog, held paths, quarantine
    Status(StatusArgs),
    /// Return when all that happened before this call is durable on every replica
    Wait(WaitArgs),
    /// Let removals go ahead that were held back
    Approve(ApproveArgs),
}

/// `fulmar sync`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct SyncArgs {
    #[command(flatten)]
    pub trees: Trees,
    #[command(flatten)]
    pub shared: Shared,
    /// Tell what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Remove what is gone from the source even where it is most of the tree
    #[arg(long)]
    pub approve_removals: bool,
    /// Print a summary as one JSON object
    #[arg(long)]
    pub json: bool,
    /// Show progress though stderr is no terminal
    #[arg(long)]
    pub progress: bool,
}

/// `fulmar follow`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct FollowArgs {
    #[command(flatten)]
    pub trees: Trees,
    #[command(flatten)]
    pub shared: Shared,
    /// Remove what is gone from the source even where it is most of the tree
    #[arg(long)]
    pub approve_removals: bool,
    /// How long a file that is being written may go without a further write before it is shipped
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration, hide_short_help = true)]
    pub settle: Duration,
    /// How long a file that never stops changing waits at most
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration, hide_short_help = true)]
    pub settle_max: Duration,
    /// Show progress though stderr is no terminal
    #[arg(long)]
    pub progress: bool,
}

/// Source and replicas.
#[derive(Debug, Args)]
pub struct Trees {
    /// The directory that is authoritative
    pub source: PathBuf,
    /// Where copies are kept: /path, [user@]host:/path, or ssh://[user@]host[:port]/path
    #[arg(required = true)]
    pub replica: Vec<OsString>,
    /// A replica may be a directory with other content: what differs goes to its quarantine
    #[arg(long)]
    pub adopt: bool,
    /// Leave out what matches (gitignore syntax; may be given again)
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<OsString>,
    /// Kind of tree: maildir, webroot or plain
    #[arg(long, default_value = "plain")]
    pub profile: Profile,
    /// What happens to paths that are gone from the source: quarantine, remove or keep
    #[arg(
        long,
        default_value = "quarantine",
        long_help = "What happens on a replica to paths that are gone from the source:\n  \
            quarantine  what fulmar put there is removed, what it did not goes to .fulmar/quarantine\n  \
            remove      removed, whoever put it there\n  keep        stays"
    )]
    pub delete: DeletePolicy,
    /// When a change counts as done: batch, each or none
    #[arg(
        long,
        default_value = "batch",
        long_help = "When a change counts as done on a replica:\n  \
            batch  on disk, one round of syncs for many changes\n  each   on disk, every file synced by itself\n  \
            none   visible; a power cut may lose the last seconds"
    )]
    pub durability: Durability,
    /// Run CMD in place of ssh
    #[arg(long, value_name = "CMD")]
    pub rsh: Option<OsString>,
    /// Bytes a second sent to each remote replica at most, such as 500k or 10M
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub bwlimit: Option<NonZeroU64>,
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct Shared {
    /// Where fulmar keeps its own state [default: /var/lib/fulmar, or $XDG_STATE_HOME/fulmar]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// The socket on which status, wait and approve find a running follow [default: in the state directory]
    #[arg(long, value_name = "SOCKET", hide_short_help = true)]
    pub control: Option<PathBuf>,
    /// Say more; twice: every operation
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
}

/// `fulmar serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Speak on standard input and output
    #[arg(long, required = true)]
    pub stdio: bool,
    /// The replica
    pub root: PathBuf,
    #[command(flatten)]
    pub shared: Shared,
}

/// `fulmar status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The source whose replicas are asked for, where more than one is followed
    pub tree: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Print again every second until interrupted
    #[arg(long)]
    pub watch: bool,
    #[command(flatten)]
    pub shared: Shared,
}

/// `fulmar wait`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub struct WaitArgs {
    /// The source, where more than one is followed
    pub tree: Option<PathBuf>,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub shared: Shared,
}

/// `fulmar approve`.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The source, where more than one is followed
    pub tree: Option<PathBuf>,
    #[command(flatten)]
    pub shared: Shared,
}

const EXIT_CODES: &str = "Exit codes: 0 done and in sync, 1 differences found or paths held, 2 usage error, 3 failed.";

/// "30s", "1m 30s", "250ms".
fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|_| "expected a time such as 30s or 5m".to_owned())?;
    Duration::try_from(span).map_err(|_| "a time cannot be negative".to_owned())
}

/// "500k", "10M", "1.5GiB": bytes a second, in powers of 1024.
fn rate(text: &str) -> Result<NonZeroU64, String> {
    let bad = || "expected bytes a second such as 500k or 10M".to_owned();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| bad())?;
    let shift = match unit.trim_end_matches("iB").trim_end_matches(['B', 'b']) {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        _ => return Err(bad()),
    };
    let bytes = number * f64::from(1u32 << shift);
    if !(1.0..1e15).contains(&bytes) {
        return Err(bad());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked just before")]
    NonZeroU64::new(bytes as u64).ok_or_else(bad)
}

/// Prints what clap has to say, in the shape of every other message.
pub fn explain(error: &clap::Error) -> ExitCode {
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
    // A closed pipe (`fulmar -h | head`) is no failure.
    let _ = error.print();
    exit.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent_and_help_fits_a_screen() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        for sub in command.get_subcommands_mut() {
            let lines = sub.render_help().to_string().lines().count();
            assert!(lines <= 40, "-h of {} has {lines} lines", sub.get_name());
        }
    }

    #[test]
    fn rates_and_times_are_read_or_refused() {
        assert_eq!(rate("500k").map(NonZeroU64::get), Ok(512_000));
        assert_eq!(rate("1.5MiB").map(NonZeroU64::get), Ok(1_572_864));
        for bad in ["", "0", "-1", "10x", "M", "1e99G"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(duration("soon").is_err() && duration("-3s").is_err());
    }
}
