//! Waiting for a condition with a deadline, the only way in which tests wait.

use std::fmt::Debug;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(10);

/// Asks `condition` until it gives a value, and returns that. `Err` describes the state as it is: it is printed when
/// `patience` runs out.
pub fn until<T>(patience: Duration, what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    // Nobody ever sends: waiting on the channel is waiting for the tick.
    let (_open, never) = mpsc::channel::<()>();
    loop {
        match condition() {
            Ok(value) => return value,
            Err(state) if started.elapsed() >= patience => {
                panic!("not within {} s: {what}\nstate: {state}", patience.as_secs_f32())
            }
            Err(_) => drop(never.recv_timeout(TICK)),
        }
    }
}

/// Waits until `value` gives `wanted`; prints the last value when it does not.
pub fn until_equal<T: PartialEq + Debug>(patience: Duration, what: &str, wanted: &T, mut value: impl FnMut() -> T) {
    until(patience, what, || {
        let have = value();
        if have == *wanted { Ok(()) } else { Err(format!("{have:?}, wanted {wanted:?}")) }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_the_value_of_the_first_success() {
        let mut asked = 0;
        let value = until(Duration::from_secs(5), "three", || {
            asked += 1;
            if asked == 3 { Ok(asked) } else { Err(asked.to_string()) }
        });
        assert_eq!(value, 3);
    }

    #[test]
    #[should_panic(expected = "state: still 7")]
    fn a_passed_deadline_prints_the_state() {
        until(Duration::from_millis(1), "never", || Err::<(), _>("still 7".to_owned()));
    }
}
