//! A real Dovecot 2.3 with a configuration, a run directory and ports of its own: LMTP in, IMAP out, any password will do.
//!
//! Runs in the foreground as a child, and is ended by its pid. Needs root, as its login processes give up root's rights.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Imap, until};

/// The user and group that owns all mail (`mail` on Debian).
const MAIL_ID: u32 = 8;

/// A running server. Stopped when dropped.
pub struct Dovecot {
    child: Child,
    directory: tempfile::TempDir,
    imap_port: u16,
    lmtp_port: u16,
}

/// Where Dovecot keeps what it can rebuild.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indexes {
    /// In the Maildir, as by default.
    InMaildir,
    /// In a directory of the server's own.
    Elsewhere,
}

impl Dovecot {
    /// Serves `mail`: user `x` has `mail/x/Maildir`. `None`, said so, where that is not possible (see [`crate::need`]).
    pub fn start(mail: &Path) -> Option<Self> {
        Self::start_with(mail, Indexes::InMaildir)
    }

    /// As [`Self::start`], with the indexes outside the mail.
    pub fn start_with_indexes_elsewhere(mail: &Path) -> Option<Self> {
        Self::start_with(mail, Indexes::Elsewhere)
    }

    /// Delivers `message` to `users` over LMTP.
    pub fn deliver(&self, users: &[&str], message: &[u8]) {
        crate::deliver(self.lmtp_port, users, message);
    }

    /// An IMAP session of `user`.
    pub fn login(&self, user: &str) -> Imap {
        Imap::login(self.imap_port, user)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Stops it, as a service manager does, and waits until it and its processes are gone.
    pub fn stop(mut self) {
        self.end();
    }

    fn start_with(mail: &Path, indexes: Indexes) -> Option<Self> {
        if !(crate::need("dovecot") && crate::need("/usr/lib/dovecot/lmtp") && crate::need_root("dovecot")) {
            return None;
        }
        // Between finding a free port and using it somebody else may take it: then there are others.
        for _ in 0..5 {
            if let Some(server) = Self::try_start(mail, indexes) {
                return Some(server);
            }
        }
        panic!("dovecot does not start");
    }

    fn try_start(mail: &Path, indexes: Indexes) -> Option<Self> {
        let directory = tempfile::Builder::new().prefix("dovecot-").tempdir().expect("a temporary directory");
        reachable(directory.path(), 0o755);
        fs::create_dir_all(mail).expect("a directory for mail");
        chown(mail, Some(MAIL_ID), Some(MAIL_ID)).expect("mail belongs to its user");
        mail.ancestors()
            .take_while(|path| path.starts_with(std::env::temp_dir()) && *path != std::env::temp_dir())
            .for_each(|path| {
                let mode = path.metadata().expect("an ancestor").permissions().mode();
                reachable(path, mode | 0o755);
            });
        let index_directory = directory.path().join("indexes");
        fs::create_dir(&index_directory).expect("a directory");
        chown(&index_directory, Some(MAIL_ID), Some(MAIL_ID)).expect("indexes belong to the mail user");
        let (imap_port, lmtp_port) = (free_port(), free_port());
        let location = match indexes {
            Indexes::InMaildir => format!("maildir:{}/%u/Maildir", mail.display()),
            Indexes::Elsewhere => {
                format!("maildir:{}/%u/Maildir:INDEX={}/%u", mail.display(), index_directory.display())
            }
        };
        let configuration = directory.path().join("dovecot.conf");
        fs::write(&configuration, configure(directory.path(), mail, &location, imap_port, lmtp_port))
            .expect("a configuration");
        let child = Command::new("dovecot")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .args(["-F", "-c"])
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.path().join("stderr")).expect("a file"))
            .spawn()
            .expect("dovecot can be run");
        let mut server = Self { child, directory, imap_port, lmtp_port };
        let up = until(Duration::from_secs(60), "dovecot listens", || {
            if server.child.try_wait().expect("a child can be waited for").is_some() {
                return Ok(false);
            }
            let open = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
            if open(imap_port) && open(lmtp_port) { Ok(true) } else { Err(server.log()) }
        });
        if !up {
            let said = fs::read_to_string(server.directory.path().join("stderr")).unwrap_or_default();
            eprintln!("dovecot ended at once: {said}{}", server.log());
        }
        up.then_some(server)
    }

    fn end(&mut self) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a pid fits")).expect("a pid is not zero");
        if matches!(self.child.try_wait(), Ok(None)) {
            // The master takes its processes with it. It may end by itself at the same moment.
            let _ = kill_process(pid, Signal::TERM);
        }
        drop(self.child.wait());
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            eprintln!("--- log of dovecot\n{}", self.log());
        }
    }
}

fn reachable(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777)).expect("a directory of this test");
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a free port").port()
}

fn configure(directory: &Path, mail: &Path, location: &str, imap_port: u16, lmtp_port: u16) -> String {
    let (here, mail): (PathBuf, PathBuf) = (directory.into(), mail.into());
    format!(
        "protocols = imap lmtp
base_dir = {here}/run
state_dir = {here}/state
log_path = {here}/log
ssl = no
listen = 127.0.0.1
disable_plaintext_auth = no
auth_mechanisms = plain
default_internal_user = dovecot
default_login_user = dovenull
first_valid_uid = {MAIL_ID}
mail_location = {location}
mail_max_userip_connections = 100
postmaster_address = postmaster@test.invalid
hostname = test.invalid
namespace inbox {{
  inbox = yes
  separator = /
}}
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid={MAIL_ID} gid={MAIL_ID} home={mail}/%u allow_all_users=yes
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap_port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp_port}
  }}
}}
",
        here = here.display(),
        mail = mail.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"Subject: test\r\n\r\n.a leading dot\r\nand a line\r\n";

    #[test]
    fn mail_that_is_delivered_and_used_reads_the_same_from_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let mail = dir.path().join("mail");
        let Some(server) = Dovecot::start(&mail) else { return };
        server.deliver(&["ann", "bob"], MESSAGE);
        server.deliver(&["ann"], MESSAGE);
        let mut imap = server.login("ann");
        imap.create("Work");
        imap.create("Work/In \"quotes\"");
        imap.subscribe("Work");
        imap.append("Work", "\\Seen $Label1", MESSAGE);
        imap.select("INBOX");
        let uids = imap.uids();
        assert_eq!(uids.len(), 2);
        imap.copy("1", "Work");
        imap.store("1", "+FLAGS (\\Flagged)");
        imap.move_to("2", "Work");
        imap.rename("Work", "Done");
        let (mailboxes, subscribed) = imap.read_everything();
        assert_eq!(mailboxes.iter().map(|mailbox| mailbox.messages.len()).sum::<usize>(), 4, "{mailboxes:?}");
        assert!(mailboxes.iter().any(|mailbox| {
            mailbox.messages.iter().any(|message| message.body.ends_with(b"\r\n.a leading dot\r\nand a line\r\n"))
        }));
        assert_eq!(subscribed, ["Work"]);
        server.stop();
        let copy = dir.path().join("copy");
        crate::fixture::copy(&mail, &copy);
        let second = Dovecot::start_with_indexes_elsewhere(&copy).expect("the first one started");
        assert_eq!(second.login("ann").read_everything(), (mailboxes, subscribed));
        assert_eq!(second.login("bob").read_all("INBOX").messages.len(), 1);
    }
}
