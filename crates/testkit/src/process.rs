//! The program under test as a process: started with its output in files, waited for with a deadline, ended by its pid.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use rustix::time::Timespec;
use serde_json::Value;

/// How long a command may take that is not meant to run for ever.
const COMMAND_PATIENCE: Duration = Duration::from_secs(180);

/// The program under test.
#[derive(Clone, Debug)]
pub struct Binary(PathBuf);

impl Binary {
    /// The program at `path`, usually `env!("CARGO_BIN_EXE_fulmar")`; `FULMAR_BINARY` puts another one in its place (a
    /// release build, a package, a container's).
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(std::env::var_os("FULMAR_BINARY").map_or_else(|| path.into(), PathBuf::from))
    }

    /// The program at `path`, whatever the environment says.
    pub(crate) fn exactly(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Runs it to its end. Output goes to files in `logs`.
    pub fn run<A: AsRef<OsStr>>(&self, logs: &Path, arguments: impl IntoIterator<Item = A>) -> Finished {
        let running = self.start(logs, arguments);
        running.finish(COMMAND_PATIENCE)
    }

    /// Starts it. Output goes to files in `logs`.
    pub fn start<A: AsRef<OsStr>>(&self, logs: &Path, arguments: impl IntoIterator<Item = A>) -> Running {
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_os_string()).collect::<Vec<_>>();
        fs::create_dir_all(logs).expect("a directory for logs");
        let (out, err) = (
            tempfile::Builder::new().prefix("stdout").tempfile_in(logs),
            tempfile::Builder::new().prefix("stderr").tempfile_in(logs),
        );
        let ((out, stdout), (err, stderr)) = (
            out.and_then(|file| Ok(file.keep()?)).expect("a file"),
            err.and_then(|file| Ok(file.keep()?)).expect("a file"),
        );
        let child = Command::new(&self.0)
            .args(&arguments)
            .env_remove("FULMAR_STATE_DIR")
            .env("NO_COLOR", "1")
            .env("XDG_STATE_HOME", logs.join("xdg-state"))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {:?}: {error}", self.0));
        Running { child, arguments, stdout, stderr, ended: None }
    }
}

/// A process that was started here. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    arguments: Vec<OsString>,
    stdout: PathBuf,
    stderr: PathBuf,
    ended: Option<i32>,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to stderr so far.
    pub fn log(&self) -> String {
        read(&self.stderr)
    }

    /// What it wrote to stdout so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// The exit code, when it has ended: 128 and the number for an end by signal.
    pub fn ended(&mut self) -> Option<i32> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for").map(code);
        }
        self.ended
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Sends SIGTERM, as a service manager does.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGSTOP and waits until every thread stands still: the kernel goes on queueing for it.
    #[track_caller]
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        crate::until(Duration::from_secs(20), "every thread stands still", || {
            let states = self.thread_states();
            if !states.is_empty() && states.iter().all(|state| *state == 'T') {
                Ok(())
            } else {
                Err(format!("{states:?}"))
            }
        });
    }

    /// Sends SIGCONT: the end of a [`Self::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill9(mut self) {
        self.end();
    }

    /// SIGINT, and the clean end within 60 s that it must lead to.
    #[track_caller]
    pub fn stop(self) -> Finished {
        self.interrupt();
        let finished = self.finish(Duration::from_secs(60));
        finished.expect(0);
        finished
    }

    /// Waits for its end; panics, with the log, when it takes longer than `patience`.
    #[track_caller]
    pub fn finish(mut self, patience: Duration) -> Finished {
        if !self.wait(patience) {
            self.end();
            panic!("{:?} has not ended within {patience:?}\n{}", self.arguments, self.finished());
        }
        self.finished()
    }

    /// Waits for its end; whether it came within `patience`.
    pub fn wait(&mut self, patience: Duration) -> bool {
        if self.ended().is_some() {
            return true;
        }
        let handle =
            pidfd_open(self.process(), PidfdFlags::empty()).expect("a child has a pidfd until it is waited for");
        let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
        loop {
            match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(0) => return false,
                Ok(_) => {
                    self.ended = Some(code(self.child.wait().expect("a child can be waited for")));
                    return true;
                }
                Err(error) => panic!("cannot wait for {}: {error}", self.pid()),
            }
        }
    }

    fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            // It may have ended already; as long as nobody waited for it the pid is its own.
            let _ = kill_process(self.process(), signal);
        }
    }

    /// Whether its thread of this name waits for the kernel and for nothing else: a disk, or a lock.
    pub fn is_stuck(&self, name: &str) -> bool {
        let named =
            |thread: &PathBuf| fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.trim_end() == name);
        self.threads().filter(named).any(|thread| state(&thread) == Some('D'))
    }

    fn thread_states(&self) -> Vec<char> {
        self.threads().filter_map(|thread| state(&thread)).collect()
    }

    /// Their places in `/proc`.
    fn threads(&self) -> impl Iterator<Item = PathBuf> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid())).into_iter().flatten();
        threads.filter_map(|thread| Some(thread.ok()?.path()))
    }

    fn process(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().expect("a pid fits")).expect("a pid is not zero")
    }

    fn end(&mut self) {
        if self.ended().is_none() {
            drop(self.child.kill());
            self.ended = Some(code(self.child.wait().expect("a child can be waited for")));
        }
    }

    fn finished(&self) -> Finished {
        Finished {
            code: self.ended.expect("it has ended"),
            stdout: self.stdout(),
            stderr: self.log(),
            arguments: self.arguments.clone(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.lines().rev().take(60).collect::<Vec<_>>();
            eprintln!(
                "--- log of {:?}, last lines\n{}",
                self.arguments,
                tail.into_iter().rev().map(|line| format!("{line}\n")).collect::<String>()
            );
        }
    }
}

/// A process that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Exit code; 128 and the number for an end by signal.
    pub code: i32,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
    arguments: Vec<OsString>,
}

impl Finished {
    /// Panics, with everything it said, unless it ended with `code`.
    #[track_caller]
    pub fn expect(&self, code: i32) -> &Self {
        assert!(self.code == code, "wanted exit code {code}\n{self}");
        self
    }

    /// The report in JSON Lines that was printed: the findings, and the summary.
    #[track_caller]
    pub fn report(&self) -> (Vec<Value>, Value) {
        let parse = |line: &str| line.parse().unwrap_or_else(|_| panic!("{line}\n{self}"));
        let mut lines: Vec<Value> = self.stdout.lines().map(parse).collect();
        let summary = lines.pop().unwrap_or_else(|| panic!("nothing was printed\n{self}"));
        assert_eq!(summary["type"], "summary", "{self}");
        (lines, summary)
    }

    /// Panics unless stderr has `text`.
    #[track_caller]
    pub fn expect_error(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "no {text:?} on stderr\n{self}");
        self
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, stdout, stderr, arguments } = self;
        write!(f, "fulmar {arguments:?} ended with {code}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// The letter of a thread's state (see proc_pid_stat(5)), by its place in `/proc`; `None` when it has ended.
pub(crate) fn state(thread: &Path) -> Option<char> {
    let stat = fs::read_to_string(thread.join("stat")).ok()?;
    // It follows the name, which is in brackets and may hold any character.
    stat.rsplit_once(") ")?.1.chars().next()
}

fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    // A log that is not there yet, or not there any more, is an empty one.
    drop(File::open(path).and_then(|mut file| std::io::Read::read_to_end(&mut file, &mut bytes)));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_code_and_output_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let finished = Binary("/bin/sh".into()).run(dir.path(), ["-c", "echo out; echo err >&2; exit 3"]);
        assert_eq!((finished.code, &*finished.stdout, &*finished.stderr), (3, "out\n", "err\n"));
    }

    #[test]
    fn a_process_is_interrupted_and_another_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let sh = Binary("/bin/sh".into());
        let script = ["-c", "trap 'exit 0' INT; echo ready; while :; do sleep 0.05; done"];
        let polite = sh.start(dir.path(), script);
        crate::until(Duration::from_secs(10), "it is ready", || {
            if polite.stdout().is_empty() { Err(polite.log()) } else { Ok(()) }
        });
        polite.stop();
        let mut stubborn = sh.start(dir.path(), script);
        assert!(!stubborn.wait(Duration::from_millis(1)));
        let pid = stubborn.pid();
        stubborn.kill9();
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
