//! How a tree is audited, and how far that is.

use super::scope::Scope;
use fulmar_model::{Depth, Filter, Recall};
use rustix::time::{ClockId, clock_gettime};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The longest a thread sleeps at a time to keep to a rate: so long it may go on after it was told to stop.
const NAP: Duration = Duration::from_millis(200);

/// Threads that wait for a disk at the same time, where there are fewer processors: what is not in memory comes sooner when
/// more of it is asked for at once, and who waits costs nothing.
const READERS_MIN: usize = 8;

/// How many threads read a side. `idle`: beside others who come first.
pub fn readers(depth: Depth, idle: bool) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    match depth {
        Depth::Deep if !idle => processors.max(READERS_MIN),
        Depth::Deep | Depth::Quick => processors,
    }
}

/// How a tree is audited.
#[derive(Clone, Debug)]
pub struct Auditing {
    /// What takes no part.
    pub filter: Filter,
    /// How much of the tree.
    pub scope: Scope,
    /// Whether `trusted.*` attributes count: both sides must be privileged to see them.
    pub trusted: bool,
    /// Threads that read, at least one.
    pub threads: usize,
    /// Bytes that are read a second, by all threads together.
    pub rate: Option<NonZeroU64>,
    /// Whether the disk is used only when nobody else wants it.
    pub idle: bool,
    /// What was recorded of the tree, where that counts.
    pub records: Option<Records>,
    /// Whether records stand for what they vouch for; without them everything is read.
    pub depth: Depth,
    /// Whether nothing is found out but which names are one file: neither content nor attributes are read then, and digests say
    /// nothing.
    pub links_only: bool,
}

/// A way to what was recorded of a tree, for each thread that reads; `None` where it cannot be opened.
#[derive(Clone)]
pub struct Records(Arc<dyn Fn() -> Option<Box<dyn Recall>> + Send + Sync>);

impl Records {
    /// `open` is called once for each thread.
    pub fn new(open: impl Fn() -> Option<Box<dyn Recall>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(open))
    }

    pub(super) fn open(&self) -> Option<Box<dyn Recall>> {
        (self.0)()
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Records")
    }
}

/// Shared by those who read and those who watch.
#[derive(Debug, Default)]
pub struct Meter {
    files: AtomicU64,
    bytes: AtomicU64,
    stopped: AtomicBool,
    /// When the next byte may be read, in nanoseconds of the monotonic clock.
    free_at: AtomicU64,
}

impl Meter {
    /// Files and bytes read so far.
    pub fn read(&self) -> (u64, u64) {
        (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// Ends the work soon.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether it is to end.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub(super) fn file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes that were read, and waits as long as the rate demands.
    pub(super) fn bytes(&self, count: usize, rate: Option<NonZeroU64>) {
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        let Some(rate) = rate else { return };
        let cost = u64::try_from(u128::from(count as u64) * 1_000_000_000 / u128::from(rate.get())).unwrap_or(u64::MAX);
        let now = monotonic_ns();
        // What was not used is not saved up.
        let advance = |free: u64| Some(free.max(now).saturating_add(cost));
        let before = self.free_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, advance).unwrap_or(now);
        let until = before.max(now).saturating_add(cost);
        while !self.is_stopped() {
            let left = Duration::from_nanos(until.saturating_sub(monotonic_ns()));
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(NAP));
        }
    }
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000) + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Puts this thread behind everybody else who uses the disk (ioprio_set(2)). A scheduler that knows no priorities ignores it.
pub(super) fn read_when_idle() {
    const WHO_THREAD: libc::c_int = 1;
    const CLASS_IDLE: libc::c_int = 3 << 13;
    // SAFETY: takes three integers and touches no memory; 0 is the calling thread.
    #[expect(unsafe_code, reason = "rustix does not carry this call")]
    let done = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_THREAD, 0, CLASS_IDLE) };
    // Only a kindness to others: without it the result is the same.
    let _ = done;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_rate_is_kept_by_all_threads_together_and_ends_when_told() {
        let (meter, rate) = (Meter::default(), NonZeroU64::new(1_000_000));
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| meter.bytes(25_000, rate));
            }
        });
        assert!(began.elapsed() >= Duration::from_millis(95), "{:?}", began.elapsed());
        meter.stop();
        let began = Instant::now();
        meter.bytes(usize::MAX / 2, rate);
        assert!(began.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_disk_is_kept_busy_only_where_every_byte_is_read_and_nobody_comes_first() {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(readers(Depth::Deep, false), processors.max(8));
        for (depth, idle) in [(Depth::Deep, true), (Depth::Quick, false), (Depth::Quick, true)] {
            assert_eq!(readers(depth, idle), processors, "{depth:?} {idle}");
        }
    }

    #[test]
    fn a_thread_can_ask_for_the_idle_class() {
        std::thread::spawn(|| {
            read_when_idle();
            #[expect(unsafe_code, reason = "rustix does not carry this call")]
            // SAFETY: takes two integers and touches no memory.
            let class = unsafe { libc::syscall(libc::SYS_ioprio_get, 1, 0) };
            assert_eq!(class >> 13, 3);
        })
        .join()
        .expect("the thread ends well");
    }
}
