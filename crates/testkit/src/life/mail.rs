//! The life of Maildirs: what Dovecot and delivery agents do, and nothing else. Delivery into `tmp` and a rename to `new`,
//! `new` to `cur` with flags, flag changes by rename, copies by hard link, expunges, folders that come, change their name
//! and go, and the uidlist that is rewritten behind a lock file.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::Random;

const USERS: usize = 4;
const FLAGS: &[&str] = &["", "S", "RS", "FS", "ST", "FRS", "DS", "Sa", "PSab"];

/// One life of a few users' mail in one tree.
pub struct MailLife {
    root: PathBuf,
    seed: u64,
    random: Random,
    counter: u64,
}

impl MailLife {
    /// A mail life in the tree at `root`: `u0/Maildir`, `u1/Maildir` …
    pub fn new(root: &Path, seed: u64) -> Self {
        let mut life = Self { root: root.to_path_buf(), seed, random: Random::new(seed), counter: 0 };
        eprintln!("mail life in {root:?}: seed {seed}");
        for user in 0..USERS {
            life.make_folder(&root.join(format!("u{user}/Maildir")));
        }
        life
    }

    /// `steps` steps.
    pub fn run(&mut self, steps: usize) {
        for step in 0..steps {
            let folder = self.some_folder();
            let done = match self.random.below(100) {
                0..35 => self.deliver(&folder),
                35..50 => self.take_in(&folder),
                50..68 => self.flag(&folder),
                68..80 => self.copy(&folder),
                80..88 => self.expunge(&folder),
                88..93 => self.rename_folder(&folder),
                93..97 => self.new_folder(&folder),
                _ => self.delete_folder(&folder),
            };
            done.unwrap_or_else(|error| {
                panic!("mail life with seed {} cannot go on at step {step}: {error}", self.seed)
            });
        }
    }

    fn deliver(&mut self, folder: &Path) -> std::io::Result<()> {
        self.counter += 1;
        let name = format!("17000{:05}.M{}P7.host,S=1", self.counter, self.random.below(1_000_000));
        let len = *self.random.pick(&[300, 2000, 9000, 60_000]);
        let body = self.random.bytes(len);
        let temporary = folder.join("tmp").join(&name);
        fs::write(&temporary, body)?;
        fs::rename(temporary, folder.join("new").join(&name))?;
        let mut list = OpenOptions::new().append(true).create(true).open(folder.join("dovecot-uidlist"))?;
        writeln!(list, "{} :{name}", self.counter)
    }

    fn take_in(&mut self, folder: &Path) -> std::io::Result<()> {
        let Some(message) = self.message(folder, "new") else { return Ok(()) };
        fs::rename(folder.join("new").join(&message), folder.join("cur").join(format!("{message}:2,")))
    }

    fn flag(&mut self, folder: &Path) -> std::io::Result<()> {
        let Some(message) = self.message(folder, "cur") else { return Ok(()) };
        let base = message.split(":2,").next().unwrap_or(&message);
        let flagged = format!("{base}:2,{}", self.random.pick(FLAGS));
        fs::rename(folder.join("cur").join(&message), folder.join("cur").join(flagged))
    }

    fn copy(&mut self, folder: &Path) -> std::io::Result<()> {
        let Some(message) = self.message(folder, "cur") else { return Ok(()) };
        let to = self.folder_of_same_user(folder);
        self.counter += 1;
        let temporary = to.join("tmp").join(format!("copy{}", self.counter));
        fs::hard_link(folder.join("cur").join(&message), &temporary)?;
        fs::rename(temporary, to.join("cur").join(format!("17000{:05}.copy:2,S", self.counter)))
    }

    fn expunge(&mut self, folder: &Path) -> std::io::Result<()> {
        if let Some(message) = self.message(folder, "cur") {
            fs::remove_file(folder.join("cur").join(message))?;
        }
        // The uidlist without what is gone, as Dovecot does it: locked, written beside, renamed.
        let (lock, list) = (folder.join("dovecot-uidlist.lock"), folder.join("dovecot-uidlist"));
        let kept = fs::read(&list).unwrap_or_default();
        fs::write(&lock, &kept[..kept.len().min(4000)])?;
        fs::rename(lock, list)
    }

    fn new_folder(&mut self, beside: &Path) -> std::io::Result<()> {
        let folder = self.folder_name(beside);
        if !folder.exists() {
            self.make_folder(&folder);
        }
        Ok(())
    }

    fn rename_folder(&mut self, folder: &Path) -> std::io::Result<()> {
        let to = self.folder_name(folder);
        if is_inbox(folder) || to.exists() { Ok(()) } else { fs::rename(folder, to) }
    }

    fn delete_folder(&mut self, folder: &Path) -> std::io::Result<()> {
        // A folder that holds much of all mail stays: this life never looks like a disaster.
        let messages = fs::read_dir(folder.join("cur"))?.count() + fs::read_dir(folder.join("new"))?.count();
        if is_inbox(folder) || messages > 6 {
            return Ok(());
        }
        let away = folder.with_file_name("..DOVECOT-TRASHED");
        fs::rename(folder, &away)?;
        fs::remove_dir_all(away)
    }

    fn make_folder(&mut self, folder: &Path) {
        for part in ["tmp", "new", "cur"] {
            fs::create_dir_all(folder.join(part)).expect("a folder");
        }
        if !is_inbox(folder) {
            fs::write(folder.join("maildirfolder"), "").expect("a marker");
        }
    }

    fn folder_name(&mut self, folder: &Path) -> PathBuf {
        let home = if is_inbox(folder) { folder } else { folder.parent().unwrap_or(folder) };
        home.join(format!(".Folder{}.Sub {}", self.random.below(4), self.random.below(6)))
    }

    fn some_folder(&mut self) -> PathBuf {
        let user = self.random.below(USERS);
        self.folder_of(&self.root.join(format!("u{user}/Maildir")))
    }

    fn folder_of_same_user(&mut self, folder: &Path) -> PathBuf {
        let inbox = if is_inbox(folder) { folder } else { folder.parent().unwrap_or(folder) };
        self.folder_of(inbox)
    }

    fn folder_of(&mut self, inbox: &Path) -> PathBuf {
        let mut folders = names(inbox)
            .into_iter()
            .filter(|name| name.starts_with('.'))
            .map(|name| inbox.join(name))
            .collect::<Vec<_>>();
        folders.push(inbox.to_path_buf());
        self.random.pick(&folders).clone()
    }

    fn message(&mut self, folder: &Path, part: &str) -> Option<String> {
        let messages = names(&folder.join(part));
        messages.get(self.random.below(messages.len())).cloned()
    }
}

fn is_inbox(folder: &Path) -> bool {
    folder.ends_with("Maildir")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_life_makes_folders_copies_and_flags() {
        let dir = tempfile::tempdir().unwrap();
        MailLife::new(dir.path(), 3).run(1000);
        let paths = crate::oracle::paths(dir.path());
        assert!(paths.iter().any(|path| path.to_string_lossy().ends_with(":2,FRS")));
        assert!(!crate::oracle::link_groups(dir.path()).is_empty());
        assert!(paths.iter().any(|path| path.to_string_lossy().contains(".Folder")));
    }
}
