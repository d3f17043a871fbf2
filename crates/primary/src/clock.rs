//! Time as a parameter.

/// Milliseconds since 1970.
pub type Clock = fn() -> i64;
