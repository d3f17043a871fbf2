//! What can be typed. One definition gives parsing, `-h` and `--help`.

use crate::exit::Exit;
use crate::render::say;
use clap::{Args, CommandFactory, Parser, Subcommand};
use fulmar_model::{DeletePolicy, Durability, Profile};
use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Keeps copies of directory trees on other machines, seconds behind the original
#[derive(Debug, Parser)]
#[command(name = "fulmar", version, disable_help_subcommand = true, max_term_width = 100)]
#[command(after_help = "fulmar COMMAND -h lists the options of a command, --help explains them.")]
#[command(after_long_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring replicas up to date once, then exit
    ///
    /// Each replica is compared with the source from end to end. What differs is shipped; what somebody else changed on
    /// the replica is moved to .fulmar/quarantine there before the source's version takes its place.
    Sync(SyncArgs),
    /// Bring replicas up to date, then follow changes until interrupted
    ///
    /// A replica that is away is tried again until it is back; the others do not wait for it. Ends on SIGINT (Ctrl-C) and
    /// SIGTERM. The next start goes on where this one stopped.
    Follow(FollowArgs),
    /// The far end of an ssh replica (started by ssh, not by hand)
    #[command(mut_arg("state_dir", unused), mut_arg("control", unused))]
    Serve(ServeArgs),
    /// One line per replica: state, lag, backlog, held paths, quarantine
    ///
    /// STATE is connecting, comparing, live or away; LAG the age of the oldest change the replica has not on disk, BACKLOG
    /// the number of such changes; HELD counts paths that cannot be brought up to date now, and DRIFT what is in the
    /// replica's quarantine.
    Status(StatusArgs),
    /// Return when all that happened before is durable on every replica
    ///
    /// Fails at once, and names the paths, when one of them is held: waiting longer would not help.
    Wait(WaitArgs),
    /// Let removals go ahead that were held back
    ///
    /// Removals are held back when the source is empty or another directory than before, or when more than half of the tree
    /// and more than 1000 paths would go at once. fulmar status says so.
    Approve(ApproveArgs),
    /// Compare source and replicas of a running follow, say who is to blame, and repair
    ///
    /// Replication goes on meanwhile. What stat data and a record of either side vouch for is not read, unless --deep is given.
    /// For each difference it is told whose doing it is: docs/audit.md explains the words.
    Verify(VerifyArgs),
    /// Tell what is known of one path, and why it is (not) on each replica
    Explain(ExplainArgs),
}

/// `fulmar sync`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES, after_long_help = EXIT_CODES_LONG)]
pub struct SyncArgs {
    #[command(flatten)]
    pub trees: Trees,
    /// Tell what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Compare every byte and all metadata, report, and change nothing
    ///
    /// Needs no earlier run of fulmar on either side, and takes no lock. docs/audit.md explains what is reported.
    #[arg(long, conflicts_with_all = NOT_WITH_VERIFY)]
    pub verify: bool,
    #[command(flatten)]
    pub audit: AuditArgs,
    /// Remove what is gone even where it is most of the tree
    ///
    /// Without it such removals are held back, and the exit code is 1.
    #[arg(long)]
    pub approve_removals: bool,
    /// Print a summary as one JSON object
    ///
    /// With --dry-run: one object for each operation that would be made.
    #[arg(long)]
    pub json: bool,
    /// Show progress though stderr is no terminal
    #[arg(long)]
    pub progress: bool,
    #[command(flatten)]
    pub shared: Shared,
}

/// What `--verify` takes.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// With --verify: table (default), json, html
    #[arg(
        long,
        value_name = "FORM",
        default_value = "table",
        hide_default_value = true,
        hide_possible_values = true,
        requires = "verify",
        long_help = "With --verify, the form of the report:\n  table  for a terminal, grouped by directory (default)\n  \
            json   one object a difference, the last is the summary\n  html   one page to hand on"
    )]
    pub format: Format,
    /// With --verify: how many directories, and paths of each, a report shows; 0: all
    #[arg(long, value_name = "N", default_value_t = 20, requires = "verify", hide_short_help = true)]
    pub limit: usize,
    /// With --verify: normal (default), or idle: read only when nobody else uses the disk
    #[arg(
        long,
        value_name = "CLASS",
        default_value = "normal",
        hide_default_value = true,
        hide_possible_values = true,
        requires = "verify",
        hide_short_help = true
    )]
    pub io_priority: IoPriority,
    /// With --verify: bytes read a second on each side, such as 10M
    #[arg(long, value_name = "RATE", value_parser = rate, requires = "verify", hide_short_help = true)]
    pub rate: Option<NonZeroU64>,
    /// With --verify: keep in FILE how far it is; the same command goes on there
    #[arg(long, value_name = "FILE", requires = "verify", hide_short_help = true)]
    pub resume: Option<PathBuf>,
}

/// Forms of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Table,
    Json,
    Html,
}

/// How disks are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum IoPriority {
    Normal,
    Idle,
}

/// What has no meaning where nothing is changed.
const NOT_WITH_VERIFY: [&str; 7] = ["dry_run", "approve_removals", "json", "adopt", "delete", "durability", "control"];

/// `fulmar follow`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES, after_long_help = EXIT_CODES_LONG)]
pub struct FollowArgs {
    #[command(flatten)]
    pub trees: Trees,
    /// Remove what is gone even where it is most of the tree
    ///
    /// Without it such removals are held back until fulmar approve. With it there is no limit as long as the command runs.
    #[arg(long)]
    pub approve_removals: bool,
    /// How long a file that is being written may go without a further write before it is shipped
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration, hide_short_help = true)]
    pub settle: Duration,
    /// How long a file that never stops changing waits at most
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration, hide_short_help = true)]
    pub settle_max: Duration,
    /// How often replicas are compared with the source as far as stat data tell; never: not at all
    ///
    /// It finds what somebody else did on a replica, and what events have missed; that is repaired, and fulmar status says so. One
    /// that takes more than a minute is not repeated before nine times as long has passed.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = every, hide_short_help = true)]
    pub verify_quick_every: Every,
    /// In which time every byte of source and replicas is compared once, such as 7d; never: not at all
    ///
    /// In small parts, spread over that time, at no more than 20 MB a second on each side unless the tree is so large that it takes
    /// more. A restart goes on where it was.
    #[arg(long, value_name = "TIME", default_value = "never", value_parser = every, hide_short_help = true)]
    pub verify_deep_every: Every,
    /// Show progress though stderr is no terminal
    #[arg(long)]
    pub progress: bool,
    #[command(flatten)]
    pub shared: Shared,
}

/// How often something is done; `None`: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Every(pub Option<Duration>);

/// Source and replicas.
#[derive(Debug, Args)]
pub struct Trees {
    /// The directory that is authoritative
    ///
    /// It is only read.
    pub source: PathBuf,
    /// Copies: /path, [user@]host:/path, ssh://[user@]host[:port]/path
    ///
    /// A host is reached with ssh, by a key and without questions; fulmar must be in the PATH there.
    #[arg(required = true)]
    pub replica: Vec<OsString>,
    /// Let a directory with other content become a replica
    ///
    /// What is equal stays as it is; what differs, and what the source does not have, goes to .fulmar/quarantine there.
    #[arg(long)]
    pub adopt: bool,
    /// Leave out what matches; may be given again
    ///
    /// The syntax is that of gitignore(5), read as if from a file in the root of the source: '*.tmp' at any depth, '/cache/'
    /// a directory in the root, '!keep.tmp' takes back what an earlier pattern left out. What is excluded later stays on the
    /// replicas as it is.
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<OsString>,
    /// Kind of tree: plain (default), webroot, maildir
    #[arg(
        long,
        value_name = "KIND",
        default_value = "plain",
        hide_default_value = true,
        long_help = "Kind of tree:\n  plain    everything is replicated (default)\n  webroot  the same\n  \
            maildir  without what Dovecot rebuilds or holds only while it runs"
    )]
    pub profile: Profile,
    /// What is gone: quarantine (default), remove, keep
    #[arg(
        long,
        value_name = "HOW",
        default_value = "quarantine",
        hide_default_value = true,
        long_help = "What happens on a replica to paths that are gone from the source:\n  \
            quarantine  fulmar's own are removed, others kept aside (default)\n  \
            remove      they are removed, whoever put them there\n  keep        they stay\n\
            The quarantine is .fulmar/quarantine in the replica's root."
    )]
    pub delete: DeletePolicy,
    /// When a change is done: batch (default), each, none
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "batch",
        hide_default_value = true,
        long_help = "When a change counts as done on a replica:\n  \
            batch  on disk, one round of syncs for many changes (default)\n  \
            each   on disk, every file synced by itself\n  \
            none   visible; a power cut may lose the last seconds"
    )]
    pub durability: Durability,
    /// Run CMD in place of ssh
    ///
    /// CMD is taken apart at spaces; quotes, single or double, go around what has some, and one that is doubled between others
    /// of its kind is itself. It is given the host and what is to be run there, as ssh is.
    #[arg(long, value_name = "CMD")]
    pub rsh: Option<OsString>,
    /// Bytes a second at most, such as 500k or 10M
    ///
    /// Counted for each remote replica by itself, in powers of 1024.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub bwlimit: Option<NonZeroU64>,
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct Shared {
    /// Where fulmar keeps its own state
    ///
    /// By default /var/lib/fulmar for root, else $XDG_STATE_HOME/fulmar or ~/.local/state/fulmar.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// The socket on which status, wait, approve and verify find a running follow
    ///
    /// By default in the state directory, one for each source.
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
    /// The root of the replica
    ///
    /// All its state is below: in .fulmar.
    pub root: PathBuf,
    #[command(flatten)]
    pub shared: Shared,
}

/// `fulmar status`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES, after_long_help = EXIT_CODES_LONG)]
pub struct StatusArgs {
    /// A source; all that are followed when none is named
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
#[command(after_help = EXIT_CODES, after_long_help = EXIT_CODES_LONG)]
pub struct WaitArgs {
    /// The source; may be left out where only one is followed
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
#[command(after_help = EXIT_CODES, after_long_help = EXIT_CODES_LONG)]
pub struct ApproveArgs {
    /// The source; may be left out where only one is followed
    pub tree: Option<PathBuf>,
    #[command(flatten)]
    pub shared: Shared,
}

/// `fulmar explain`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES, after_long_help = EXIT_CODES_LONG)]
pub struct ExplainArgs {
    /// A file or directory in a source that is followed; it may be gone
    pub path: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub shared: Shared,
}

/// `fulmar verify`.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES, after_long_help = EXIT_CODES_LONG)]
pub struct VerifyArgs {
    /// The source; may be left out where only one is followed
    pub tree: Option<PathBuf>,
    /// Read every byte on both sides, and find what has rotted
    #[arg(long)]
    pub deep: bool,
    /// Repair what differs, and look again
    ///
    /// What somebody else changed on a replica goes to its quarantine first. What has rotted on the source is never shipped:
    /// restore it, or touch it to say that it is right.
    #[arg(long)]
    pub repair: bool,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// table (default), json, html
    #[arg(long, value_name = "FORM", default_value = "table", hide_default_value = true, hide_possible_values = true)]
    pub format: Format,
    /// How many directories, and paths of each, a report shows; 0: all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// normal (default), or idle: read only when nobody else uses the disk
    #[arg(
        long,
        value_name = "CLASS",
        default_value = "normal",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub io_priority: IoPriority,
    /// Bytes read a second on each side, such as 10M
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub rate: Option<NonZeroU64>,
    /// Show progress though stderr is no terminal
    #[arg(long)]
    pub progress: bool,
    #[command(flatten)]
    pub shared: Shared,
}

const EXIT_CODES: &str = "Exit codes: 0 done and in sync, 1 differences or held paths, 2 usage, 3 failed";

const EXIT_CODES_LONG: &str = "\
Exit codes:
  0  done, and in sync; a follow that was told to end
  1  paths are held, removals wait for approval, or a dry run has found work
  2  usage: bad arguments, or a source or replica that is refused
  3  failed: unreachable, interrupted, timed out, nothing is followed";

const EXAMPLES: &str = "\
Examples:
  fulmar sync --dry-run /srv/www web2:/srv/www   what would be done
  fulmar sync /srv/www web2:/srv/www /mnt/copy   two replicas, once
  fulmar follow --profile maildir /var/vmail mail2:/var/vmail
  fulmar status                                  how it stands
  fulmar wait --timeout 5m                       until all is durable everywhere

fulmar COMMAND -h lists the options of a command, --help explains them.";

/// What `serve` takes and does not use.
fn unused(arg: clap::Arg) -> clap::Arg {
    let why = "Without effect; accepted so that one set of options works everywhere";
    arg.hide_short_help(true).help(why).long_help(why)
}

/// "30s", "1m 30s", "250ms".
fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|_| "expected a time such as 30s or 5m".to_owned())?;
    Duration::try_from(span).map_err(|_| "a time cannot be negative".to_owned())
}

/// "1h", "7d", and "never" or "0".
fn every(text: &str) -> Result<Every, String> {
    let bad = || "expected a time such as 1h or 7d, or never".to_owned();
    if text == "never" || text == "0" {
        return Ok(Every(None));
    }
    let span: jiff::Span = text.parse().map_err(|_| bad())?;
    let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| bad())?;
    let length = Duration::try_from(length).map_err(|_| "a time cannot be negative".to_owned())?;
    match length {
        Duration::ZERO => Ok(Every(None)),
        short if short < Duration::from_secs(1) => Err("a second at least".to_owned()),
        length => Ok(Every(Some(length))),
    }
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

/// Prints what clap has to say; an error in the shape of every other one.
pub fn explain(error: &clap::Error) -> ExitCode {
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
    let text = error.render().to_string();
    match text.trim_end().strip_suffix("For more information, try '--help'.") {
        Some(text) => {
            say(text.trim_end().replace("\n  tip: ", "\nhint: "));
            let fulmar = Cli::command();
            let command = std::env::args().nth(1).and_then(|typed| fulmar.find_subcommand(typed));
            say(format_args!(
                "hint: fulmar {}--help",
                command.map_or(String::new(), |sub| format!("{} ", sub.get_name()))
            ));
        }
        // Help and version. A closed pipe (`fulmar -h | head`) is no failure.
        None => drop(error.print()),
    }
    exit.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text of `fulmar -h` and of each `fulmar COMMAND -h`, or of `--help`, on a terminal of 80 columns.
    fn helps(render: fn(&mut clap::Command) -> clap::builder::StyledStr) -> Vec<(String, String)> {
        let mut fulmar = Cli::command().term_width(80);
        fulmar.build();
        fulmar.clone().debug_assert();
        let main = ("fulmar".to_owned(), render(&mut fulmar).to_string());
        let commands = fulmar.get_subcommands_mut();
        std::iter::once(main).chain(commands.map(|sub| (sub.get_name().to_owned(), render(sub).to_string()))).collect()
    }

    #[test]
    fn the_definition_is_consistent_and_help_fits_a_screen() {
        for (name, text) in helps(clap::Command::render_help) {
            let (lines, columns) = (text.lines().count(), text.lines().map(str::len).max());
            assert!(lines <= 30 && columns <= Some(80), "-h of {name}: {lines} lines, {columns:?} columns\n{text}");
        }
    }

    #[test]
    fn what_is_explained_fits_the_columns_of_a_screen_as_it_is() {
        for (name, text) in helps(clap::Command::render_long_help) {
            assert!(text.lines().all(|line| line.len() <= 80), "--help of {name}\n{text}");
        }
        let mut fulmar = Cli::command();
        fulmar.build();
        let lists =
            fulmar.get_subcommands().flat_map(clap::Command::get_arguments).filter_map(clap::Arg::get_long_help);
        for list in lists.map(ToString::to_string).filter(|list| list.contains("\n  ")) {
            // Behind an indentation of ten columns; a longer line would be broken a second time.
            assert!(list.lines().all(|line| line.len() <= 70), "{list}");
        }
    }

    #[test]
    fn serve_says_which_options_it_does_not_use() {
        let (_, text) =
            helps(clap::Command::render_long_help).into_iter().find(|(name, _)| name == "serve").expect("serve");
        assert_eq!(text.matches("Without effect").count(), 2, "{text}");
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
        let hours = |hours: u64| Ok(Every(Some(Duration::from_secs(hours * 3600))));
        assert_eq!([every("1h"), every("7d"), every("1d 12h"), every("2 weeks")], [1, 168, 36, 336].map(hours));
        assert_eq!([every("never"), every("0"), every("0s")], [(); 3].map(|()| Ok(Every(None))));
        for bad in ["", "often", "-1h", "10ms", "1 month", "5"] {
            assert!(every(bad).is_err(), "{bad}: {:?}", every(bad));
        }
    }
}
