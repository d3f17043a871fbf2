//! How long it takes; prints, because absolute times are not stable. Runs when FULMAR_SPEED is set: `FULMAR_SPEED=1 cargo test -p fulmar-watch --test speed -- --nocapture`.

mod watched;

use fulmar_model::Filter;
use std::fs;
use std::time::Instant;
use watched::{options, watched_with};

#[test]
fn many_directories_and_many_events() {
    // Takes a minute and most of the machine's watches.
    if std::env::var_os("FULMAR_SPEED").is_none() {
        println!("skipped: FULMAR_SPEED is not set");
        return;
    }
    let mut begin = Instant::now();
    let mut tree = watched_with(Filter::default(), options(), 1 << 16, |root| {
        for n in 0..30_000 {
            for sub in ["cur", "new", "tmp", ".Sent"] {
                fs::create_dir_all(root.join(format!("{}/{n}/{sub}", n % 100))).expect("directories");
            }
        }
        begin = Instant::now();
    });
    println!("{:?} in {:?}", tree.watcher.coverage(), begin.elapsed());
    let at = tree.at("0/0/new");
    for round in 0..3 {
        let begin = Instant::now();
        let writer = std::thread::spawn({
            let at = at.clone();
            move || (0..50_000).for_each(|n| fs::write(at.join(n.to_string()), b"x").expect("a file"))
        });
        let mut events = 0;
        while !writer.is_finished() {
            events += tree.flush().len();
        }
        events += tree.flush().len();
        writer.join().expect("a writer");
        let overflows = tree.watcher.coverage().overflows;
        println!("round {round}: {events} events of 50000 files in {:?}, {overflows} overflows", begin.elapsed());
    }
}
