//! Signatures of large contents that were shipped, by their hash: a patch against one of them needs no question first.
//!
//! One file each in the state directory, the hash of its bytes in front of them. Nothing depends on them: what is missing
//! or damaged costs a question. The least recently used go first.

use crate::clock::Clock;
use fulmar_delta::Signature;
use fulmar_model::Hash;
use fulmar_tree::hash_bytes;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

/// What they may take together.
const BYTES_MAX: u64 = 256 << 20;
/// And one of them: the signature of a file of about 100 GiB. Larger ones go whole.
pub(crate) const SIGNATURE_BYTES_MAX: usize = 16 << 20;

/// A way to the folder; several may use it at once.
#[derive(Clone, Debug)]
pub(crate) struct Signatures {
    folder: PathBuf,
    clock: Clock,
}

impl Signatures {
    /// In `folder`, which is made when it is needed.
    pub(crate) fn new(folder: PathBuf, clock: Clock) -> Self {
        Self { folder, clock }
    }

    /// That of the content with this hash.
    pub(crate) fn get(&self, content: Hash) -> Option<Signature> {
        let path = self.path(content);
        let bytes = fs::read(&path).ok()?;
        let signature = bytes.split_first_chunk().and_then(|(hash, signature)| {
            let sound = hash_bytes(signature) == Hash(*hash);
            sound.then(|| Signature::from_bytes(signature).ok()).flatten()
        });
        // The time of use; where it cannot be set, the file is forgotten a little early.
        let now = UNIX_EPOCH + Duration::from_millis(u64::try_from((self.clock)()).unwrap_or(0));
        let _ = fs::File::open(&path).and_then(|file| file.set_modified(now));
        signature
    }

    /// Keeps it, as long as there is room.
    pub(crate) fn put(&self, content: Hash, signature: &Signature) {
        if let Err(error) = self.try_put(content, &signature.to_bytes()) {
            tracing::debug!(%error, "a signature is not kept; the next patch begins with a question");
        }
    }

    fn try_put(&self, content: Hash, signature: &[u8]) -> io::Result<()> {
        if signature.len() > SIGNATURE_BYTES_MAX {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        self.make_room(signature.len() as u64)?;
        let path = self.path(content);
        // A name of its own: two sessions may keep the same signature at once.
        let new = path.with_extension(format!("{:?}.new", std::thread::current().id()));
        fs::write(&new, [&hash_bytes(signature).0[..], signature].concat())?;
        fs::rename(new, path)
    }

    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // One that went meanwhile takes no room.
            if let Ok(stat) = entry.metadata() {
                kept.push((stat.modified()?, stat.len(), entry.path()));
            }
        }
        kept.sort();
        let mut total: u64 = kept.iter().map(|(_, length, _)| length).sum();
        for (_, length, path) in kept {
            if total + bytes <= BYTES_MAX {
                break;
            }
            fs::remove_file(path)?;
            total -= length;
        }
        Ok(())
    }

    fn path(&self, content: Hash) -> PathBuf {
        self.folder.join(content.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulmar_delta::{BlockLen, Signer};

    fn signature(content: &[u8]) -> Signature {
        let mut signer = Signer::new(BlockLen::for_file(content.len() as u64));
        signer.update(content);
        signer.finish()
    }

    #[test]
    fn a_signature_is_found_by_the_hash_of_its_content_and_only_whole() {
        let place = tempfile::tempdir().expect("a directory");
        let signatures = Signatures::new(place.path().join("signatures"), || 5_000);
        let content = Hash([7; 32]);
        assert!(signatures.get(content).is_none());
        signatures.put(content, &signature(&[1; 100_000]));
        let kept = signatures.get(content).expect("it was kept");
        assert_eq!(kept.to_bytes(), signature(&[1; 100_000]).to_bytes());
        let mut bytes = fs::read(signatures.path(content)).expect("a file");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(signatures.path(content), bytes).expect("written");
        assert!(signatures.get(content).is_none(), "damaged");
    }

    #[test]
    fn the_least_recently_used_go_first() {
        let place = tempfile::tempdir().expect("a directory");
        let signatures = Signatures::new(place.path().to_owned(), || 5_000);
        let third = BYTES_MAX / 3 + 1;
        for (name, second) in [("old", 2), ("older", 1)] {
            let file = fs::File::create(place.path().join(name)).expect("a file");
            file.set_len(third).expect("a sparse file");
            file.set_modified(UNIX_EPOCH + Duration::from_secs(second)).expect("a time");
        }
        signatures.make_room(third).expect("room");
        let left: Vec<_> =
            fs::read_dir(place.path()).expect("a folder").map(|e| e.expect("an entry").file_name()).collect();
        assert_eq!(left, ["old"]);
    }
}
