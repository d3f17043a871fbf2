//! Files that know what they are, and a list of what was promised about them.
//!
//! Every file of a ledger names itself, its version and its length, and carries a checksum. It is published as careful
//! programs do: written beside its name and renamed over it. So whoever finds such a file can tell whether it is whole and
//! which version it is, and a reader at any moment, or after any crash, may see an old version or a recent one and
//! nothing else. Renames keep the identity, removals end it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::Random;

/// The directory below the root of a tree in which a ledger keeps its files.
const DIRECTORY: &str = "ledger";

#[derive(Clone, Debug)]
struct Page {
    path: PathBuf,
    version: u64,
}

/// The files as the source has them.
pub struct Ledger {
    root: PathBuf,
    random: Random,
    pages: BTreeMap<u64, Page>,
    next: u64,
    removed: BTreeSet<u64>,
}

/// What stood in the ledger at one moment: by number, the lowest version that must be there from then on.
#[derive(Clone, Debug, Default)]
pub struct Confirmed(BTreeMap<u64, u64>);

impl Ledger {
    /// A ledger of no files in the tree at `root`.
    pub fn new(root: &Path, seed: u64) -> Self {
        fs::create_dir_all(root.join(DIRECTORY)).expect("the ledger's directory");
        Self {
            root: root.to_path_buf(),
            random: Random::new(seed),
            pages: BTreeMap::new(),
            next: 0,
            removed: BTreeSet::new(),
        }
    }

    /// `steps` random steps: new files, new versions, renames, now and then a removal.
    pub fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            let known = self.pages.len();
            let chosen = self.pages.keys().nth(self.random.below(known)).copied();
            match (chosen, self.random.below(100)) {
                (None, _) | (_, 0..40) => self.create(),
                (Some(number), 40..80) => self.rewrite(number),
                (Some(number), 80..95) => self.rename(number),
                (Some(number), _) => self.remove(number),
            }
        }
    }

    /// Everything as it is now, for a caller who is about to be told that it is durable elsewhere.
    pub fn snapshot(&self) -> Confirmed {
        Confirmed(self.pages.iter().map(|(number, page)| (*number, page.version)).collect())
    }

    /// What is wrong in the tree at `replica`: files that are torn, and files of `confirmed` that are missing or older
    /// than they were then. Files that the source removed later may be there or not.
    pub fn faults(&self, replica: &Path, confirmed: &Confirmed) -> Vec<String> {
        let mut found = BTreeMap::<u64, u64>::new();
        let mut faults = Vec::new();
        for entry in
            walkdir::WalkDir::new(replica.join(DIRECTORY)).sort_by_file_name().into_iter().filter_map(Result::ok)
        {
            // A name that begins with a dot is a version under way, never a final name.
            if !entry.file_type().is_file() || entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let content = fs::read(entry.path()).unwrap_or_default();
            match parse(&content) {
                Some((number, version)) => {
                    let best = found.entry(number).or_default();
                    *best = version.max(*best);
                }
                None => faults.push(format!("torn: {:?}, {} bytes", entry.path(), content.len())),
            }
        }
        for (number, version) in confirmed.0.iter().filter(|(number, _)| !self.removed.contains(number)) {
            match found.get(number) {
                None => faults.push(format!("confirmed, but gone: file {number} version {version}")),
                Some(have) if have < version => {
                    faults.push(format!("confirmed version {version} of file {number}, there is {have}"))
                }
                Some(_) => {}
            }
        }
        faults
    }

    /// Panics when there are [`Self::faults`].
    #[track_caller]
    pub fn assert_kept(&self, replica: &Path, confirmed: &Confirmed, when: &str) {
        let faults = self.faults(replica, confirmed);
        assert!(faults.is_empty(), "{when}, in {replica:?}: {} faults\n  {}", faults.len(), faults.join("\n  "));
    }

    fn create(&mut self) {
        self.next += 1;
        let path = self.fresh_path(self.next);
        self.publish(self.next, 1, &path);
        self.pages.insert(self.next, Page { path, version: 1 });
    }

    fn rewrite(&mut self, number: u64) {
        let Page { path, version } = self.pages[&number].clone();
        self.publish(number, version + 1, &path);
        self.pages.insert(number, Page { path, version: version + 1 });
    }

    fn rename(&mut self, number: u64) {
        let Page { path, version } = self.pages[&number].clone();
        let to = self.fresh_path(number);
        fs::create_dir_all(to.parent().expect("a parent")).expect("a directory");
        fs::rename(&path, &to).expect("a ledger owns its files");
        self.pages.insert(number, Page { path: to, version });
    }

    fn remove(&mut self, number: u64) {
        let page = self.pages.remove(&number).expect("a known file");
        fs::remove_file(page.path).expect("a ledger owns its files");
        self.removed.insert(number);
    }

    /// A path that only this number can have, in one of a few directories.
    fn fresh_path(&mut self, number: u64) -> PathBuf {
        let (directory, turn) = (self.random.below(7), self.random.below(5));
        self.root.join(DIRECTORY).join(format!("d{directory}")).join(format!("{number}-{turn}"))
    }

    fn publish(&mut self, number: u64, version: u64, path: &Path) {
        let len = *self.random.pick(&[0, 10, 1000, 5000, 40_000, 200_000]);
        let body = self.random.bytes(len);
        let mut content = format!("{number} {version} {len} {:016x}\n", checksum(number, version, &body)).into_bytes();
        content.extend_from_slice(&body);
        let directory = path.parent().expect("a parent");
        let beside = directory.join(format!(".{number}.tmp"));
        fs::create_dir_all(directory).expect("a directory");
        fs::write(&beside, content).expect("the source has room");
        fs::rename(&beside, path).expect("the ledger owns its files");
    }
}

/// Number and version of a whole file; `None` for anything else.
fn parse(content: &[u8]) -> Option<(u64, u64)> {
    let end = content.iter().take(80).position(|byte| *byte == b'\n')?;
    let (line, body) = (std::str::from_utf8(&content[..end]).ok()?, &content[end + 1..]);
    let mut words = line.split(' ');
    let (number, version) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let len = words.next()?.parse::<usize>().ok()?;
    let sum = u64::from_str_radix(words.next()?, 16).ok()?;
    (body.len() == len && checksum(number, version, body) == sum).then_some((number, version))
}

/// FNV-1a over number, version and body.
fn checksum(number: u64, version: u64, body: &[u8]) -> u64 {
    let head = number.to_le_bytes().into_iter().chain(version.to_le_bytes());
    head.chain(body.iter().copied())
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_untouched_copy_has_no_faults() {
        let (dir, mut ledger) = kept(40);
        let confirmed = ledger.snapshot();
        assert_eq!(ledger.faults(dir.path(), &confirmed), Vec::<String>::new());
        ledger.run(40);
        assert_eq!(
            ledger.faults(dir.path(), &confirmed),
            Vec::<String>::new(),
            "later versions, names and removals are fine"
        );
    }

    #[test]
    fn a_torn_a_lost_and_a_stale_file_are_faults() {
        let (dir, mut ledger) = kept(40);
        let (number, page) = ledger.pages.iter().next().map(|(number, page)| (*number, page.clone())).unwrap();
        let old = fs::read(&page.path).unwrap();
        ledger.rewrite(number);
        let confirmed = ledger.snapshot();
        fs::write(&page.path, &old).unwrap();
        assert_eq!(ledger.faults(dir.path(), &confirmed).len(), 1, "stale");
        fs::write(&page.path, &old[..old.len() - 1]).unwrap();
        assert!(ledger.faults(dir.path(), &confirmed)[0].starts_with("torn"));
        fs::remove_file(&page.path).unwrap();
        assert!(ledger.faults(dir.path(), &confirmed)[0].starts_with("confirmed, but gone"));
    }

    fn kept(steps: usize) -> (tempfile::TempDir, Ledger) {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::new(dir.path(), 5);
        ledger.run(steps);
        (dir, ledger)
    }
}
