//! The load: mails delivered at a rate as Dovecot does (write into `tmp`, rename into `new`), some flagged a second later
//! (rename into `cur`), and how long each took to be visible at the destination.
//!
//! Publishing never waits for the destination, except with `--calm`, where each mail is published after the one before has
//! been seen. A load that could not be kept up shows in `late_ms`.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::arrivals::{Messages, State};

const MAIL_BYTES: usize = 8 << 10;
/// Between delivery and flag: a reader takes a moment.
const FLAG_AFTER: Duration = Duration::from_secs(1);
const CALM_PAUSE: Duration = Duration::from_millis(50);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Between looks at the disk for names that no event has told, once events were lost.
const LOOK_UP_EVERY: Duration = Duration::from_millis(200);
const CALM_MAX: Duration = Duration::from_secs(60);

/// `deliver FROM TO ...`; see `USAGE`.
pub fn run(mut arguments: Arguments) -> io::Result<()> {
    let rate = arguments.option::<f64>("--rate")?.unwrap_or(100.0);
    let seconds = arguments.option::<f64>("--seconds")?.unwrap_or(30.0);
    let flagged = arguments.option::<usize>("--flagged")?.unwrap_or(0);
    let drain = Duration::from_secs_f64(arguments.option("--drain")?.unwrap_or(60.0));
    let until = arguments.option::<String>("--until")?;
    let calm = arguments.option::<usize>("--calm")?;
    let (from, to) = arguments.pair()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of messages")]
    let count = calm.unwrap_or((rate * seconds) as usize);
    let messages = Messages::new(&from, count)?;
    let ready = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Ends with the process only; without eyes there is nothing to measure.
            if let Err(error) = messages.watch(&to, || {
                ready.wait();
            }) {
                eprintln!("error: {}: {error}", to.display());
                std::process::exit(1);
            }
        });
        ready.wait();
        let begun = Instant::now();
        let load = Load { messages: &messages, from: &from, content: content() };
        let late = match calm {
            Some(_) => load.calm(count)?,
            None => load.steady(rate, flagged, || until.as_ref().is_some_and(|name| to.join(name).exists()))?,
        };
        let published = begun.elapsed();
        await_drain(&messages, &to, drain);
        report(&messages, published, late);
        // The watching thread waits for events that never come.
        std::process::exit(0);
    })
}

struct Load<'a> {
    messages: &'a Messages,
    from: &'a Path,
    content: Vec<u8>,
}

impl Load<'_> {
    /// The largest delay of a publication against its plan.
    fn steady(&self, rate: f64, flagged_percent: usize, stop: impl Fn() -> bool) -> io::Result<Duration> {
        let began = Instant::now();
        let mut late = Duration::ZERO;
        let mut to_flag = VecDeque::new();
        let mut next_look = began;
        for number in 0..self.messages.capacity() {
            let due = began + Duration::from_secs_f64(number as f64 / rate);
            self.flag_what_is_due(&mut to_flag, due)?;
            sleep_until(due);
            late = late.max(due.elapsed());
            self.deliver(number)?;
            // Spread evenly: 37 and 100 have no common divisor.
            if number * 37 % 100 < flagged_percent {
                to_flag.push_back((Instant::now() + FLAG_AFTER, number));
            }
            if Instant::now() > next_look {
                if stop() {
                    break;
                }
                next_look = Instant::now() + LOOK_EVERY;
            }
        }
        self.flag_what_is_due(&mut to_flag, Instant::now() + FLAG_AFTER)?;
        Ok(late)
    }

    fn calm(&self, count: usize) -> io::Result<Duration> {
        for number in 0..count {
            thread::sleep(CALM_PAUSE);
            self.deliver(number)?;
            let deadline = Instant::now() + CALM_MAX;
            while !self.messages.is_seen(number, State::Delivered) {
                if Instant::now() > deadline {
                    return Err(io::Error::other(format!("message {number} has not arrived within {CALM_MAX:?}")));
                }
                thread::sleep(Duration::from_micros(200));
            }
        }
        Ok(Duration::ZERO)
    }

    /// Flags, in time, all whose moment is before `limit`.
    fn flag_what_is_due(&self, to_flag: &mut VecDeque<(Instant, usize)>, limit: Instant) -> io::Result<()> {
        while let Some(&(due, number)) = to_flag.front()
            && due <= limit
        {
            to_flag.pop_front();
            sleep_until(due);
            self.messages.publish(number, State::Flagged);
            let path = |state| self.from.join(self.messages.path(number, state));
            fs::rename(path(State::Delivered), path(State::Flagged))?;
        }
        Ok(())
    }

    fn deliver(&self, number: usize) -> io::Result<()> {
        let path = self.from.join(self.messages.path(number, State::Delivered));
        let mailbox = path.parent().and_then(Path::parent).expect("a mailbox holds it");
        let beside = mailbox.join("tmp").join(path.file_name().expect("it has a name"));
        // No two mails are equal.
        let start = number % (self.content.len() - MAIL_BYTES);
        let mut mail = number.to_string().into_bytes();
        mail.extend_from_slice(&self.content[start..start + MAIL_BYTES]);
        fs::write(&beside, mail)?;
        self.messages.publish(number, State::Delivered);
        fs::rename(beside, path)
    }
}

fn await_drain(messages: &Messages, to: &Path, limit: Duration) {
    let deadline = Instant::now() + limit;
    let mut next_look_up = Instant::now();
    while !messages.missing().is_empty() && Instant::now() < deadline {
        if messages.has_overflowed() && Instant::now() > next_look_up {
            messages.look_up(to);
            next_look_up = Instant::now() + LOOK_UP_EVERY;
        }
        thread::sleep(LOOK_EVERY);
    }
    // What is there counts, whether or not an event told it.
    messages.look_up(to);
}

fn report(messages: &Messages, published: Duration, late: Duration) {
    let mut latencies = messages.latencies(State::Delivered);
    let deliveries = latencies.len();
    latencies.extend(messages.latencies(State::Flagged));
    let flags = latencies.len() - deliveries;
    latencies.sort_unstable();
    let at = |percent: usize| match latencies.len() {
        0 => 0.0,
        count => latencies[(count * percent).div_ceil(100).max(1) - 1] as f64 / 1e6,
    };
    println!(
        "{{\"deliveries\":{deliveries},\"flags\":{flags},\"missed\":{},\"p50_ms\":{:.3},\"p99_ms\":{:.3},\"max_ms\":{:.3},\
         \"drain_s\":{:.3},\"published_s\":{:.3},\"late_ms\":{:.3},\"overflowed\":{}}}",
        messages.missing().len(),
        at(50),
        at(99),
        at(100),
        messages.drain_ns() as f64 / 1e9,
        published.as_secs_f64(),
        late.as_secs_f64() * 1e3,
        messages.has_overflowed(),
    );
}

/// Words and line breaks, about as compressible as mail.
fn content() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let step = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b"etaoinshrdlucmfwypvbgkqjxz ,.\n  \n"[(state >> 33) as usize % 33]
    };
    std::iter::repeat_with(step).take(MAIL_BYTES + 4096).collect()
}

fn sleep_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(Instant::now()));
}
