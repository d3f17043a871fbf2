//! What stands between two hosts in tests: a script that takes the place of ssh.
//!
//! As ssh does, it joins the words of the command and lets a shell read them, so what is not quoted falls apart here too.
//! It can refuse the connection, greet with a banner, be slow to nothing, and every far end it starts can be killed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// A directory with the script and what it has started.
pub struct Rsh {
    directory: PathBuf,
}

impl Rsh {
    /// A script in `directory` (created) that runs `binary` wherever the command says `fulmar`, whatever the host.
    pub fn new(directory: &Path, binary: &Path) -> Self {
        let rsh = Self { directory: directory.to_path_buf() };
        fs::create_dir_all(directory.join("pids")).expect("a directory");
        rsh.write(&format!(
            "#!/bin/sh\n\
             # HOST COMMAND...: what ssh does, on this machine.\n\
             if [ -e '{here}/refuse' ]; then echo 'connect to host '\"$1\"' port 22: Connection refused' >&2; exit 255; fi\n\
             if [ -e '{here}/banner' ]; then cat '{here}/banner'; fi\n\
             shift\n\
             eval \"set -- $*\"\n\
             [ \"$1\" = fulmar ] || {{ echo \"not the command of a far end: $*\" >&2; exit 127; }}\n\
             shift\n\
             : > '{here}/pids/'$$\n\
             exec '{binary}' \"$@\"\n",
            here = directory.display(),
            binary = binary.display(),
        ));
        rsh
    }

    /// A script of the caller's own.
    pub fn script(directory: &Path, body: &str) -> Self {
        let rsh = Self { directory: directory.to_path_buf() };
        fs::create_dir_all(directory.join("pids")).expect("a directory");
        rsh.write(&format!("#!/bin/sh\n{body}\n"));
        rsh
    }

    /// The value for `--rsh`.
    pub fn command(&self) -> PathBuf {
        self.directory.join("rsh")
    }

    /// Connections fail from here on; those that are open stay.
    pub fn refuse(&self) {
        fs::write(self.directory.join("refuse"), "").expect("a switch");
    }

    /// Connections work again.
    pub fn allow(&self) {
        // It may never have been refused.
        drop(fs::remove_file(self.directory.join("refuse")));
    }

    /// The far host says `text` on stdout before anything else, as a careless profile script does.
    pub fn banner(&self, text: &str) {
        fs::write(self.directory.join("banner"), text).expect("a banner");
    }

    /// The pids of far ends that are running, oldest first.
    pub fn far_ends(&self) -> Vec<u32> {
        let entries = fs::read_dir(self.directory.join("pids")).into_iter().flatten().filter_map(Result::ok);
        let mut started = entries
            .filter_map(|entry| {
                Some((entry.metadata().ok()?.modified().ok()?, entry.file_name().to_str()?.parse().ok()?))
            })
            .collect::<Vec<_>>();
        started.sort();
        started.into_iter().map(|(_, pid)| pid).filter(|pid| is_serving(*pid)).collect()
    }

    /// Kills every running far end (SIGKILL) and waits until they are gone. How many there were.
    pub fn kill_far_ends(&self) -> usize {
        let pids = self.far_ends();
        for pid in &pids {
            let process = Pid::from_raw(i32::try_from(*pid).expect("a pid fits")).expect("a pid is not zero");
            // It may end by itself at the same moment.
            let _ = kill_process(process, Signal::KILL);
        }
        crate::until(Duration::from_secs(20), "killed far ends are gone", || {
            let left = pids.iter().filter(|pid| is_serving(**pid)).collect::<Vec<_>>();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?} are still there")) }
        });
        pids.len()
    }

    fn write(&self, text: &str) {
        // Written under another name first: nobody can be running a script that is still open for writing.
        let (script, beside) = (self.command(), self.directory.join("rsh.new"));
        fs::write(&beside, text).expect("a script");
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).expect("an executable script");
        fs::rename(beside, script).expect("a script in place");
    }
}

impl Drop for Rsh {
    fn drop(&mut self) {
        for pid in self.far_ends() {
            if let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // Gone is as good as killed.
                let _ = kill_process(process, Signal::KILL);
            }
        }
    }
}

/// Whether `pid` is a far end: alive, not a zombie, and told to serve. A pid that was given to somebody else is not.
fn is_serving(pid: u32) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.split(|byte| *byte == 0).any(|word| word == b"serve")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn the_script_hands_words_on_as_ssh_does() {
        let dir = tempfile::tempdir().unwrap();
        let rsh = Rsh::new(dir.path(), Path::new("/bin/echo"));
        let output =
            Command::new(rsh.command()).args(["host", "fulmar", "serve", "--stdio", "'/a b'"]).output().unwrap();
        assert_eq!(output.stdout, b"serve --stdio /a b\n");
        rsh.refuse();
        let output = Command::new(rsh.command()).args(["host", "fulmar", "serve"]).output().unwrap();
        assert_eq!(output.status.code(), Some(255));
        rsh.allow();
        rsh.banner("Welcome\n");
        let output = Command::new(rsh.command()).args(["host", "fulmar", "serve"]).output().unwrap();
        assert_eq!(output.stdout, b"Welcome\nserve\n");
    }

    #[test]
    fn a_far_end_is_found_and_killed() {
        let dir = tempfile::tempdir().unwrap();
        let (up, far) = (dir.path().join("up"), dir.path().join("far"));
        fs::write(&far, format!("#!/bin/sh\n: > '{}'\nread never\n", up.display())).unwrap();
        fs::set_permissions(&far, fs::Permissions::from_mode(0o755)).unwrap();
        let rsh = Rsh::new(&dir.path().join("rsh"), &far);
        let mut child =
            Command::new(rsh.command()).args(["h", "fulmar", "serve"]).stdin(Stdio::piped()).spawn().unwrap();
        // Not before it runs: a process that is being replaced by another program has no command line for a moment.
        crate::until_equal(Duration::from_secs(10), "the far end runs", &true, || up.exists());
        assert_eq!(rsh.far_ends(), [child.id()]);
        assert_eq!(rsh.kill_far_ends(), 1);
        assert!(!child.wait().unwrap().success());
        assert_eq!(rsh.kill_far_ends(), 0);
    }
}
