//! Content hashes. A hole hashes as the zeros it reads as.

use fulmar_model::Hash;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The hash of bytes in memory: a small file, a symlink's target.
pub fn hash_bytes(bytes: &[u8]) -> Hash {
    Hash(*blake3::hash(bytes).as_bytes())
}

/// What a hole of `count` bytes reads as, slice by slice.
pub fn zeros(mut count: u64) -> impl Iterator<Item = &'static [u8]> {
    std::iter::from_fn(move || {
        let some = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROS.len());
        count -= some as u64;
        ZEROS.get(..some).filter(|bytes| !bytes.is_empty())
    })
}

/// A hash over content that is seen from its beginning to its end.
#[derive(Debug, Default)]
pub(crate) struct ContentHasher(blake3::Hasher);

impl ContentHasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn zeros(&mut self, count: u64) {
        for bytes in zeros(count) {
            self.0.update(bytes);
        }
    }

    pub(crate) fn finish(&self) -> Hash {
        Hash(*self.0.finalize().as_bytes())
    }
}
