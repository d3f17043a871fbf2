//! The strong sum: what makes a block the same block.

/// Bytes of a strong sum.
pub(crate) const STRONG_BYTES: usize = 16;

/// The first 16 bytes of a block's BLAKE3. Two blocks that share it by accident are not met in practice; two that share it
/// on purpose cost 2⁶⁴ hashes and are found out by the hash of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Strong(pub(crate) [u8; STRONG_BYTES]);

impl Strong {
    /// The sum of a block.
    pub(crate) fn of(block: &[u8]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = *blake3::hash(block).as_bytes();
        Self([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    }
}
