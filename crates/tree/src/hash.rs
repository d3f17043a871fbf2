//! Content hashes. A hole hashes as the zeros it reads as.

use fulmar_model::Hash;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The hash of bytes in memory: a small file, a symlink's target.
pub fn hash_bytes(bytes: &[u8]) -> Hash {
    Hash(*blake3::hash(bytes).as_bytes())
}

/// A hash over content that is seen from its beginning to its end.
#[derive(Debug, Default)]
pub(crate) struct ContentHasher(blake3::Hasher);

impl ContentHasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn zeros(&mut self, mut count: u64) {
        while count > 0 {
            let some = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len());
            self.0.update(ZEROS.get(..some).unwrap_or(&ZEROS));
            count -= some as u64;
        }
    }

    pub(crate) fn finish(&self) -> Hash {
        Hash(*self.0.finalize().as_bytes())
    }
}
