//! A real OpenSSH server with a configuration, keys and a port of its own, and what a client needs to reach it.
//!
//! Runs in the foreground as a child and is ended by its pid. It lets in whoever runs the test, with the one key it knows.
//! Behind the login is this machine, with a home directory of the server's own and a `PATH` in which there is nothing but
//! `fulmar`: no profile script of a developer takes part.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{children, descendants, need, until};

/// What a server that runs as root insists on: an empty directory for its unprivileged part (as Debian builds it).
const EMPTY: &str = "/run/sshd";

/// A running server. Stopped when dropped.
pub struct Sshd {
    child: Child,
    directory: tempfile::TempDir,
    port: u16,
}

impl Sshd {
    /// A server on 127.0.0.1 on whose side `binary` is installed as `fulmar`. `None`, said so, where that is not possible (see
    /// [`crate::need`]).
    pub fn start(binary: &Path) -> Option<Self> {
        if !(need("sshd") && need("ssh") && need("ssh-keygen")) {
            return None;
        }
        // Between finding a free port and using it somebody else may take it: then there are others.
        let server = (0..5).find_map(|_| Self::try_start(binary)).expect("sshd starts");
        server.lets_in().then_some(server)
    }

    /// The value for `--rsh`: ssh with a configuration in which every host is this server's, and only `far` has its port.
    pub fn rsh(&self) -> String {
        format!("ssh -F {}", self.file("ssh_config"))
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every login begins with `text` on stdout, as with a careless profile script: one write a line.
    pub fn greet(&self, text: &str) {
        fs::write(self.directory.path().join("greeting"), text).expect("a greeting");
        let script = "while IFS= read -r line; do echo \\\"$line\\\"; done";
        self.admit(&format!("command=\"{script} < {}; eval \\\"$SSH_ORIGINAL_COMMAND\\\"\" ", self.file("greeting")));
    }

    /// The key is good for `command` and nothing else, whatever the client asks for.
    pub fn restrict(&self, command: &str) {
        self.admit(&format!("command=\"{command}\",restrict "));
    }

    /// The key opens nothing any more.
    pub fn lock_out(&self) {
        fs::write(self.directory.path().join("authorized_keys"), "").expect("authorized keys");
    }

    /// Whoever connects is shown `text` before the login, on stderr of the client.
    pub fn notice(&self, text: &str) {
        fs::write(self.directory.path().join("notice"), text).expect("a notice");
    }

    /// `binary` is `fulmar` on the server's side.
    pub fn install(&self, binary: &Path) {
        let program = binary.canonicalize().expect("the program is there");
        symlink(program, self.directory.path().join("bin/fulmar")).expect("no other one is installed");
    }

    /// The program is no longer to be found on the server's side.
    pub fn uninstall(&self) {
        fs::remove_file(self.directory.path().join("bin/fulmar")).expect("it was installed");
    }

    /// The server's process of each connection.
    pub fn sessions(&self) -> Vec<u32> {
        children(self.child.id())
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn try_start(binary: &Path) -> Option<Self> {
        let directory = tempfile::Builder::new().prefix("sshd-").tempdir().expect("a temporary directory");
        let here = directory.path();
        for name in ["bin", "home"] {
            fs::create_dir(here.join(name)).expect("a directory");
        }
        if crate::is_root() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(EMPTY).expect("a directory for sshd");
        }
        generate(&here.join("host_key"));
        generate(&here.join("key"));
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|free| free.local_addr()).expect("a free port").port();
        fs::write(here.join("sshd_config"), configure_server(here, port)).expect("a configuration");
        fs::write(here.join("ssh_config"), configure_client(here, port)).expect("a configuration");
        fs::write(here.join("known_hosts"), format!("server {}", public(&here.join("host_key")))).expect("known hosts");
        // By its full path, without which it does not run.
        let child = Command::new(crate::need::find("sshd").expect("it was found before"))
            .args([OsStr::new("-D"), OsStr::new("-e"), OsStr::new("-f"), here.join("sshd_config").as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(here.join("log")).expect("a file"))
            .spawn()
            .expect("sshd can be run");
        let mut server = Self { child, directory, port };
        server.admit("");
        server.install(binary);
        let up = until(Duration::from_secs(60), "sshd listens", || {
            if server.child.try_wait().expect("a child can be waited for").is_some() {
                return Ok(false);
            }
            let log = server.log();
            if log.contains("Server listening on") { Ok(true) } else { Err(log) }
        });
        if !up {
            eprintln!("sshd ended at once: {}", server.log());
        }
        up.then_some(server)
    }

    /// A first login: a server that cannot let anybody in is found here, and not in the middle of a test.
    fn lets_in(&self) -> bool {
        let output = Command::new("ssh").arg("-F").arg(self.file("ssh_config")).args(["far", "exit 7"]).output();
        let output = output.expect("ssh can be run");
        if output.status.code() == Some(7) {
            until(Duration::from_secs(30), "the first login is over", || match &*self.sessions() {
                [] => Ok(()),
                left => Err(format!("{left:?} are still there\n{}", self.log())),
            });
            return true;
        }
        let log = self.log();
        assert!(log.contains("account is locked"), "no login: {output:?}\n{log}");
        crate::need::skipped("sshd does not let in a user whose password is locked")
    }

    /// `options`: what stands in front of the key, with a space at the end.
    fn admit(&self, options: &str) {
        let line = format!("{options}{}", public(&self.directory.path().join("key")));
        fs::write(self.directory.path().join("authorized_keys"), line).expect("authorized keys");
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // A server that ends leaves its connections, and what they run, to themselves.
        let left = descendants(self.child.id());
        if matches!(self.child.try_wait(), Ok(None)) {
            let pid = Pid::from_raw(self.child.id().try_into().expect("a pid fits")).expect("a pid is not zero");
            // It may end by itself at the same moment.
            let _ = kill_process(pid, Signal::TERM);
        }
        drop(self.child.wait());
        for process in left.into_iter().filter_map(|pid| Pid::from_raw(pid.try_into().ok()?)) {
            let _ = kill_process(process, Signal::KILL);
        }
        if std::thread::panicking() {
            eprintln!("--- log of sshd\n{}", self.log());
        }
    }
}

/// A pair of keys, the public one in `at.pub`.
fn generate(at: &Path) {
    let mut command = Command::new("ssh-keygen");
    let output = command.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(at).output();
    let output = output.expect("ssh-keygen can be run");
    assert!(output.status.success(), "{output:?}");
}

fn public(key: &Path) -> String {
    fs::read_to_string(key.with_extension("pub")).expect("a public key")
}

fn configure_server(here: &Path, port: u16) -> String {
    format!(
        "ListenAddress 127.0.0.1:{port}
PidFile {here}/pid
HostKey {here}/host_key
AuthorizedKeysFile {here}/authorized_keys
Banner {here}/notice
SetEnv PATH={here}/bin HOME={here}/home
StrictModes no
UsePAM no
UseDNS no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
PrintLastLog no
MaxStartups 100
LogLevel VERBOSE
",
        here = here.display(),
    )
}

/// The key of the host is known by the name `server`, whatever the host is called.
fn configure_client(here: &Path, port: u16) -> String {
    format!(
        "Host far
  Port {port}
Host *
  HostName 127.0.0.1
  HostKeyAlias server
  UserKnownHostsFile {here}/known_hosts
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  IdentityFile {here}/key
  IdentitiesOnly yes
  IdentityAgent none
",
        here = here.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh(server: &Sshd, command: &str) -> std::process::Output {
        let rsh = server.rsh();
        let mut words = rsh.split(' ');
        Command::new(words.next().unwrap()).args(words).args(["far", command]).output().unwrap()
    }

    #[test]
    fn a_login_finds_the_program_and_nothing_else_until_it_is_uninstalled() {
        let Some(server) = Sshd::start(Path::new("/bin/echo")) else { return };
        assert_eq!(ssh(&server, "fulmar 'a  b'").stdout, b"a  b\n");
        assert_eq!(ssh(&server, "ls").status.code(), Some(127));
        server.greet("Welcome\n\nto \"us\"\n");
        assert_eq!(ssh(&server, "fulmar 'a  b'").stdout, b"Welcome\n\nto \"us\"\na  b\n");
        server.restrict("fulmar only this");
        assert_eq!(ssh(&server, "fulmar something else").stdout, b"only this\n");
        server.uninstall();
        assert_eq!(ssh(&server, "fulmar").status.code(), Some(127));
        server.notice("No trespassing.\n");
        server.lock_out();
        let output = ssh(&server, "fulmar");
        assert_eq!((output.status.code(), &*output.stdout), (Some(255), &b""[..]));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("No trespassing.") && said.contains("Permission denied"), "{said}");
    }

    #[test]
    fn a_connection_is_a_session_that_can_be_killed() {
        let Some(server) = Sshd::start(Path::new("/bin/cat")) else { return };
        let rsh = server.rsh();
        let mut words = rsh.split(' ');
        let mut client = Command::new(words.next().unwrap())
            .args(words)
            .args(["far", "fulmar"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let session = until(Duration::from_secs(30), "one session", || match *server.sessions() {
            [session] => Ok(session),
            ref others => Err(format!("{others:?}\n{}", server.log())),
        });
        crate::kill(session);
        assert_eq!(client.wait().unwrap().code(), Some(255));
        assert!(server.sessions().is_empty());
    }
}
