//! Random file-system life from a seed: what people, mail servers, editors and package managers do to a tree, at full
//! speed and in any order.
//!
//! The choices depend on the seed alone. A step that the file system refuses for a reason life knows (something is there,
//! or is not there any more) counts as a step and changes nothing. Anything else panics with the seed and the steps so far.
//! One life owns its tree: nobody else writes there. What leaves the tree goes to a sibling directory, on the same file
//! system; nothing in there is ever written through, because no watcher of the tree could know.

mod content;
mod mail;
mod metadata;
mod moves;
mod names;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::Random;
pub use mail::MailLife;

/// What a life may do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Owners, devices, `trusted.*`, capabilities, mode 000 directories. Default: whether this is root.
    pub powers: bool,
    /// Names of any bytes. Default: yes.
    pub hostile_names: bool,
    /// Now and then a file of 3 MB. Default: yes.
    pub large_files: bool,
    /// Removing trees and moving them away. Default: yes.
    pub removals: bool,
    /// Above this many paths more is removed than made. Default: 1500.
    pub paths_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { powers: crate::is_root(), hostile_names: true, large_files: true, removals: true, paths_max: 1500 }
    }
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
    Symlink,
    Special,
    /// Keeps its name, which ends in `.sock`: the oracle leaves those names out.
    Socket,
}

/// Bounds on where new names are made, so that every path stays usable for every tool.
const DEPTH_MAX: usize = 9;
const PATH_BYTES_MAX: usize = 1500;
/// Steps after which the list of paths is read again.
const WALK_EVERY: usize = 20;

/// One life in one tree.
pub struct Life {
    root: PathBuf,
    outside: PathBuf,
    seed: u64,
    random: Random,
    options: Options,
    paths: Vec<(PathBuf, Kind)>,
    since_walk: usize,
    counter: u64,
    history: Vec<String>,
    /// Inodes that were given a further name, and the most names each had.
    linked: BTreeMap<u64, u64>,
}

type Act = fn(&mut Life) -> io::Result<String>;

/// Every act with its weight, and whether it is root's alone.
const ACTS: &[(Act, u32, bool)] = &[
    (content::publish, 14, false),
    (content::create, 8, false),
    (content::overwrite, 6, false),
    (content::append, 8, false),
    (content::truncate, 4, false),
    (content::write_keeping_time, 4, false),
    (content::write_after_rename, 3, false),
    (content::sparse, 3, false),
    (content::punch_hole, 2, false),
    (content::unnamed_then_linked, 3, false),
    (content::through_mapping, 3, false),
    (content::large, 1, false),
    (moves::rename_file, 8, false),
    (moves::rename_over, 6, false),
    (moves::rename_directory, 4, false),
    (moves::exchange, 3, false),
    (moves::chain, 3, false),
    (moves::swap_kind, 4, false),
    (moves::make_tree, 6, false),
    (moves::remove, 6, false),
    (moves::remove_tree, 3, false),
    (moves::leave, 2, false),
    (moves::come_back, 2, false),
    (moves::link, 6, false),
    (moves::break_link, 3, false),
    (moves::symlink, 5, false),
    (moves::fifo, 2, false),
    (moves::socket, 1, false),
    (moves::device, 1, true),
    (metadata::mode, 6, false),
    (metadata::times, 5, false),
    (metadata::attribute, 4, false),
    (metadata::drop_attribute, 2, false),
    (metadata::acl, 3, false),
    (metadata::owner, 4, true),
    (metadata::trusted, 1, true),
    (metadata::capability, 2, true),
];

impl Life {
    /// A life in the tree at `root`, with everything allowed that this user may do.
    pub fn new(root: &Path, seed: u64) -> Self {
        Self::with(root, seed, Options::default())
    }

    /// A life within `options`.
    pub fn with(root: &Path, seed: u64, options: Options) -> Self {
        std::fs::create_dir_all(root).expect("the root can be created");
        let mut outside = root.as_os_str().to_os_string();
        outside.push(".outside");
        std::fs::create_dir_all(&outside).expect("a sibling directory");
        eprintln!("life in {root:?}: seed {seed}");
        Self {
            root: root.to_path_buf(),
            outside: outside.into(),
            seed,
            random: Random::new(seed),
            options,
            paths: Vec::new(),
            since_walk: WALK_EVERY,
            counter: 0,
            history: Vec::new(),
            linked: BTreeMap::new(),
        }
    }

    /// `steps` steps.
    pub fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
        }
    }

    /// The seed, for messages.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Every step that changed something, in words, oldest first.
    pub fn history(&self) -> &[String] {
        &self.history
    }

    /// The steps whose words contain `text`: what happened to one name.
    pub fn history_of(&self, text: &str) -> Vec<&String> {
        self.history.iter().filter(|line| line.contains(text)).collect()
    }

    /// Whether the inode at `path` had a name that is gone. What was written through a name that was made and removed before
    /// the watcher came to it is told of that name only, and nobody can know any more which other names it concerned.
    pub fn lost_a_name(&self, path: &Path) -> bool {
        let Ok(stat) = self.at(path).symlink_metadata() else { return false };
        let walk = walkdir::WalkDir::new(&self.root).into_iter().filter_map(Result::ok);
        let names = walk.filter(|entry| entry.metadata().is_ok_and(|other| other.ino() == stat.ino())).count();
        self.linked.get(&stat.ino()).is_some_and(|most| *most > names as u64)
    }

    fn step(&mut self) {
        if self.since_walk >= WALK_EVERY {
            self.walk();
        }
        self.since_walk += 1;
        self.counter += 1;
        let act = self.choose();
        match act(self) {
            Ok(words) => self.history.push(format!("{} {words}", self.counter)),
            Err(error) if expected(&error) => {}
            Err(error) => {
                let last = self.history.iter().rev().take(10).map(|line| format!("\n  {line}")).collect::<String>();
                panic!(
                    "life with seed {} cannot go on after step {}: {error}; last steps, newest first:{last}",
                    self.seed, self.counter
                );
            }
        }
    }

    fn choose(&mut self) -> Act {
        if self.paths.len() > self.options.paths_max && self.options.removals && self.random.chance(60) {
            return if self.random.chance(50) { moves::remove_tree } else { moves::remove };
        }
        let powers = self.options.powers;
        let allowed = || ACTS.iter().filter(move |(_, _, root)| powers || !root);
        let total = allowed().map(|(_, weight, _)| *weight as usize).sum();
        let mut at = self.random.below(total);
        for (act, weight, _) in allowed() {
            match at.checked_sub(*weight as usize) {
                Some(rest) => at = rest,
                None => return *act,
            }
        }
        unreachable!("a number below the sum of the weights falls on one of them")
    }

    /// Reads the list of paths again, in an order that does not depend on the file system.
    fn walk(&mut self) {
        self.since_walk = 0;
        let walk = walkdir::WalkDir::new(&self.root).sort_by_file_name().min_depth(1);
        self.paths = walk
            .into_iter()
            .filter_map(Result::ok)
            .map(|entry| {
                let kind = match entry.file_type() {
                    kind if kind.is_dir() => Kind::Directory,
                    kind if kind.is_file() => Kind::File,
                    kind if kind.is_symlink() => Kind::Symlink,
                    kind if kind.is_socket() => Kind::Socket,
                    _ => Kind::Special,
                };
                (entry.path().strip_prefix(&self.root).expect("below the root").to_path_buf(), kind)
            })
            .collect();
    }

    /// The absolute path of `path`.
    fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }

    /// The file at `path`, for reading and writing; never through a link, and never waiting for the other end of a FIFO,
    /// whatever stands there by now.
    fn open(&self, path: &Path) -> io::Result<File> {
        let mut options = File::options();
        let file =
            options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(self.at(path))?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// As [`Self::open`], at the end of what is there.
    fn open_at_end(&self, path: &Path) -> io::Result<File> {
        let mut file = self.open(path)?;
        file.seek(io::SeekFrom::End(0))?;
        Ok(file)
    }

    /// One of the paths of these kinds.
    fn some(&mut self, kinds: &[Kind]) -> io::Result<PathBuf> {
        let matching = self.paths.iter().filter(|(_, kind)| kinds.contains(kind)).count();
        let nth = self.random.below(matching);
        let found = self.paths.iter().filter(|(_, kind)| kinds.contains(kind)).nth(nth);
        found.map(|(path, _)| path.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn some_file(&mut self) -> io::Result<PathBuf> {
        self.some(&[Kind::File])
    }

    /// A directory that is not too deep for more; often the root.
    fn some_parent(&mut self) -> PathBuf {
        let chosen = if self.random.chance(15) { None } else { self.some(&[Kind::Directory]).ok() };
        chosen
            .filter(|path| path.components().count() < DEPTH_MAX && path.as_os_str().len() < PATH_BYTES_MAX)
            .unwrap_or_default()
    }

    /// A path for something, which may be taken.
    fn fresh(&mut self) -> PathBuf {
        let parent = self.some_parent();
        let name = names::name(&mut self.random, self.options.hostile_names);
        if parent.as_os_str().is_empty() && name == crate::oracle::PRIVATE {
            return PathBuf::from("not private");
        }
        parent.join(name)
    }

    /// Whether `path` is small enough to be taken away: a life never looks like a disaster.
    fn may_go(&self, path: &Path) -> bool {
        let below = self.paths.iter().filter(|(other, _)| other.starts_with(path)).count();
        self.options.removals && below <= (self.paths.len() / 12).max(4)
    }

    /// Random content; sizes as files have them.
    fn content(&mut self) -> Vec<u8> {
        let len = match self.random.below(100) {
            0..8 => 0,
            8..50 => self.random.below(4096),
            50..85 => self.random.below(64 << 10),
            _ => self.random.below(300_000),
        };
        self.random.bytes(len)
    }

    fn know(&mut self, path: &Path, kind: Kind) {
        self.forget(path);
        self.paths.push((path.to_path_buf(), kind));
    }

    fn forget(&mut self, path: &Path) {
        self.paths.retain(|(other, _)| other != path);
    }
}

/// A path in words: as the bytes it has, escaped.
fn words(path: &Path) -> String {
    format!("'{}'", path.as_os_str().as_bytes().escape_ascii())
}

/// Refusals that are part of life.
fn expected(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::NotFound
            | Kind::AlreadyExists
            | Kind::NotADirectory
            | Kind::IsADirectory
            | Kind::DirectoryNotEmpty
            | Kind::PermissionDenied
    ) || matches!(
        error.raw_os_error(),
        Some(
            libc::EINVAL
                | libc::ENAMETOOLONG
                | libc::EMLINK
                | libc::EPERM
                | libc::ENODATA
                | libc::ELOOP
                | libc::ENXIO
                | libc::EOPNOTSUPP
        )
    )
}

/// `name` beside `path`.
fn beside(path: &Path, name: impl AsRef<OsStr>) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).join(name.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_lives_the_same_life() {
        let dir = tempfile::tempdir().unwrap();
        let lives = ["a", "b"].map(|name| {
            let mut life = Life::new(&dir.path().join(name), 42);
            life.run(500);
            life.history
        });
        assert_eq!(lives[0], lives[1]);
        assert!(lives[0].len() > 300, "most steps do something: {}", lives[0].len());
    }

    #[test]
    fn rsync_can_follow_a_life() {
        if !crate::need("rsync") {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (source, replica) = (dir.path().join("source"), dir.path().join("replica"));
        // Chosen ones: rsync leaves names linked that are no longer, when their content happens to be equal.
        let seed = 16_000;
        let mut life = Life::new(&source, seed);
        for round in 0..3 {
            life.run(400);
            let copy = || {
                std::process::Command::new("rsync")
                    .args([
                        "-aHAX",
                        "--checksum",
                        "--delete",
                        "--numeric-ids",
                        "--modify-window=-1",
                        "--exclude=*.sock",
                    ])
                    .arg(source.join("."))
                    .arg(&replica)
                    .output()
                    .unwrap()
            };
            // rsync asks for the default ACL of a file that is about to become a directory, and needs a second run then.
            let output = Some(copy()).filter(|output| output.status.success()).unwrap_or_else(copy);
            assert!(output.status.success(), "seed {seed} round {round}: {}", String::from_utf8_lossy(&output.stderr));
            crate::oracle::assert_equal(&source, &replica);
        }
    }

    #[test]
    fn every_act_happens() {
        let dir = tempfile::tempdir().unwrap();
        let mut life = Life::new(&dir.path().join("tree"), 1);
        life.run(1500);
        let verbs =
            life.history.iter().map(|line| line.split(' ').nth(1).unwrap()).collect::<std::collections::BTreeSet<_>>();
        let possible = ACTS.iter().filter(|(_, _, root)| life.options.powers || !root).count();
        assert!(verbs.len() >= possible, "{} of {possible}: {verbs:?}", verbs.len());
    }
}
