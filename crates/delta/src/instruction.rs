//! What a patch consists of.

/// The longest literal in one piece; longer ones come as several.
pub const LITERAL_BYTES_MAX: usize = 256 * 1024;

/// The next bytes of the new content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction<'a> {
    /// They are in the basis.
    Copy {
        /// Where, from the start of the basis.
        from: u64,
        /// How many bytes; never 0.
        len: u64,
    },
    /// They are these: at least one, at most [`LITERAL_BYTES_MAX`].
    Literal(&'a [u8]),
}
