//! One source, its replicas and the state of the primary, in a temporary directory, with the program between them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::{Binary, Finished, Life, Rsh, Running, oracle, until};

/// How long `wait` may take before a test has failed: generous, since tests share a small machine.
const WAIT: &str = "240s";
/// How long a follow may take until `status` finds it.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// A user without any powers.
pub const NOBODY: u32 = 65534;

/// The scene of a test.
pub struct Cluster {
    directory: tempfile::TempDir,
    binary: Binary,
    source: PathBuf,
}

impl Cluster {
    /// An empty source, no replica yet. `binary` is `env!("CARGO_BIN_EXE_fulmar")`.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        let directory = tempfile::Builder::new().prefix("fulmar-").tempdir().expect("a temporary directory");
        let source = directory.path().join("source");
        fs::create_dir(&source).expect("a source");
        Self { directory, binary: Binary::new(binary), source }
    }

    /// The same, with the source somewhere else.
    pub fn with_source(mut self, source: PathBuf) -> Self {
        self.source = source;
        self
    }

    /// The same, with the program run by a user who owns everything but the source; as root only. The program is copied to
    /// where that user finds it.
    pub fn as_nobody(mut self) -> Self {
        let (program, script) = (self.path().join("fulmar"), self.path().join("as-nobody"));
        fs::copy(self.binary.path(), &program).expect("a copy of the program");
        let line = format!("exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups {program:?} \"$@\"");
        fs::write(&script, format!("#!/bin/sh\n{line}\n")).expect("a script");
        for path in [self.path(), &program, &script] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        chown(self.path(), Some(NOBODY), Some(NOBODY)).expect("an owner");
        self.binary = Binary::exactly(script);
        self
    }

    /// The temporary directory, for whatever else a test needs.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The root of the source.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// The root of replica `number`, which may not exist.
    pub fn replica(&self, number: usize) -> PathBuf {
        self.path().join(format!("replica{number}"))
    }

    /// The primary's state directory.
    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// The program.
    pub fn binary(&self) -> &Binary {
        &self.binary
    }

    /// A script in the place of ssh that starts this program as the far end.
    pub fn rsh(&self, name: &str) -> Rsh {
        Rsh::new(&self.path().join(name), self.binary.path())
    }

    /// `fulmar ARGUMENTS... --state-dir STATE`, to its end.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Finished {
        self.binary.run(&self.logs(), self.with_state(arguments))
    }

    /// `fulmar sync SOURCE REPLICA0 EXTRA...`, to its end.
    pub fn sync(&self, extra: &[&str]) -> Finished {
        self.sync_to(&[self.replica(0).as_os_str()], extra)
    }

    /// `fulmar sync SOURCE REPLICAS... EXTRA...`, to its end.
    pub fn sync_to(&self, replicas: &[&OsStr], extra: &[&str]) -> Finished {
        self.run(self.command("sync", replicas, extra))
    }

    /// Starts `fulmar follow SOURCE REPLICA0 EXTRA...`; returns when `status` finds it.
    #[track_caller]
    pub fn follow(&self, extra: &[&str]) -> Running {
        self.follow_to(&[self.replica(0).as_os_str()], extra)
    }

    /// Starts `fulmar follow SOURCE REPLICAS... EXTRA...`; returns when `status` finds it.
    #[track_caller]
    pub fn follow_to(&self, replicas: &[&OsStr], extra: &[&str]) -> Running {
        let mut running = self.start_follow(replicas, extra);
        self.until_up(&mut running);
        running
    }

    /// Waits until `status` finds `running`, a follow of this cluster's source; panics when that ends instead.
    #[track_caller]
    pub fn until_up(&self, running: &mut Running) {
        until(START_PATIENCE, "the follow answers", || {
            if let Some(code) = running.ended() {
                panic!("the follow has ended with {code}:\n{}", running.log());
            }
            self.answer()
        });
    }

    /// Whether a follow of the source answers at this moment.
    pub fn is_up(&self) -> bool {
        self.answer().is_ok()
    }

    /// As [`Self::follow_to`], without waiting for anything.
    pub fn start_follow(&self, replicas: &[&OsStr], extra: &[&str]) -> Running {
        self.binary.start(&self.logs(), self.with_state(self.command("follow", replicas, extra)))
    }

    /// `fulmar wait SOURCE`: must say that everything up to now is durable on every replica.
    #[track_caller]
    pub fn settle(&self) {
        let finished = self.wait(WAIT);
        let state = if finished.code == 0 { String::new() } else { self.status_text().stdout };
        assert!(finished.code == 0, "wait did not succeed\n{finished}\n--- status\n{state}");
    }

    /// `fulmar wait SOURCE --timeout TIMEOUT`, to its end.
    pub fn wait(&self, timeout: &str) -> Finished {
        self.run([OsStr::new("wait"), self.source().as_os_str(), OsStr::new("--timeout"), OsStr::new(timeout)])
    }

    /// As [`Self::wait`], without waiting for its end.
    pub fn start_wait(&self, timeout: &str) -> Running {
        let words = [OsStr::new("wait"), self.source().as_os_str(), OsStr::new("--timeout"), OsStr::new(timeout)];
        self.binary.start(&self.logs(), self.with_state(words))
    }

    /// `settle`, then the oracle on replicas `0..replicas`.
    #[track_caller]
    pub fn assert_in_sync(&self, replicas: usize) {
        self.settle();
        for number in 0..replicas {
            oracle::assert_equal(self.source(), &self.replica(number));
        }
    }

    /// As [`Self::assert_in_sync`], but for what only a scan finds: see [`Life::lost_a_name`].
    #[track_caller]
    pub fn assert_follows(&self, life: &Life, replicas: usize) {
        self.settle();
        for number in 0..replicas {
            let mut lines = oracle::differences(self.source(), &self.replica(number));
            lines.retain(|line| !oracle::file_of(line).is_some_and(|path| life.lost_a_name(&path)));
            assert!(lines.is_empty(), "seed {}, replica {number}: {lines:#?}", life.seed());
        }
    }

    /// What `status --json` says of the one tree.
    #[track_caller]
    pub fn status(&self) -> Value {
        let finished = self.status_text();
        // 1: something is held.
        assert!(finished.code <= 1, "{finished}");
        let value =
            serde_json::from_str::<Value>(&finished.stdout).unwrap_or_else(|error| panic!("{error}\n{finished}"));
        assert_eq!(value["version"], 1, "{value:#}");
        assert_eq!(value["trees"].as_array().map(Vec::len), Some(1), "{value:#}");
        value["trees"][0].clone()
    }

    /// What `status --json` says of replica `number`, in the order of the command line.
    #[track_caller]
    pub fn status_of(&self, number: usize) -> Value {
        let tree = self.status();
        let replica = &tree["replicas"][number];
        assert!(replica.is_object(), "no replica {number} in {tree:#}");
        replica.clone()
    }

    /// Waits until `field` of replica `number` satisfies `wanted`.
    #[track_caller]
    pub fn until_status(&self, number: usize, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(Duration::from_secs(90), what, || {
            let status = self.status_of(number);
            if wanted(&status) { Ok(status) } else { Err(format!("{status:#}")) }
        })
    }

    /// A follow that was killed may have left a socket: an answer counts when it names a replica.
    fn answer(&self) -> Result<(), String> {
        let answer = self.status_text();
        let value = serde_json::from_str::<Value>(&answer.stdout).unwrap_or_default();
        let replicas = value["trees"][0]["replicas"].as_array().map_or(0, Vec::len);
        if answer.code <= 1 && replicas > 0 { Ok(()) } else { Err(answer.to_string()) }
    }

    fn status_text(&self) -> Finished {
        self.run([OsStr::new("status"), self.source().as_os_str(), OsStr::new("--json")])
    }

    fn command(&self, verb: &str, replicas: &[&OsStr], extra: &[&str]) -> Vec<OsString> {
        let mut words = vec![OsString::from(verb), self.source().into()];
        words.extend(replicas.iter().map(OsString::from));
        words.extend(extra.iter().map(OsString::from));
        words
    }

    fn with_state<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Vec<OsString> {
        let mut words = arguments.into_iter().map(|word| word.as_ref().to_os_string()).collect::<Vec<_>>();
        words.extend([OsString::from("--state-dir"), self.state().into()]);
        words
    }

    fn logs(&self) -> PathBuf {
        self.path().join("logs")
    }
}
