//! A point in time as file systems keep it.

/// Seconds and nanoseconds since 1970, UTC. Wider than 64-bit nanoseconds, because ext4 stores times to the year 2446.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// 0..1_000_000_000, counted forward from `seconds`.
    pub nanos: u32,
}

impl Timestamp {
    /// A time from its parts; nanoseconds out of range are clamped (a peer or a file system may send anything).
    pub fn new(seconds: i64, nanos: u32) -> Self {
        Self { seconds, nanos: nanos.min(999_999_999) }
    }

    /// Milliseconds since 1970, saturating.
    pub fn as_millis(self) -> i64 {
        self.seconds.saturating_mul(1000).saturating_add(i64::from(self.nanos / 1_000_000))
    }
}
