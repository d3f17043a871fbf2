//! Random life at full speed: before, during and after the first sync, with one replica beside the source and one behind
//! a remote shell. `FULMAR_SEEDS`, `FULMAR_OPS` and `FULMAR_SEED` make it longer, or the same again.

use std::ffi::OsString;
use std::path::PathBuf;

use fulmar_testkit::{Cluster, Life, MailLife, Options, fresh_seed, need, oracle};

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// One life of `steps` steps followed from its middle on, judged three times. A scan must find what inotify cannot tell.
fn live(seed: u64, steps: usize, options: Options, extra: &[&str]) {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    let rsh = cluster.rsh("rsh");
    let mut far = OsString::from("host:");
    far.push(cluster.replica(1));
    let mut life = Life::with(cluster.source(), seed, options);
    life.run(steps / 3);
    let command = rsh.command();
    let arguments = [&["--rsh", command.to_str().unwrap()], extra].concat();
    let start = || cluster.start_follow(&[cluster.replica(0).as_os_str(), &far], &arguments);
    let mut follow = start();
    life.run(steps / 3);
    for part in ["after the first sync", "live", "live, later"] {
        if part != "after the first sync" {
            life.run(steps / 6);
        }
        cluster.until_up(&mut follow);
        if judge(&cluster, &life, part) == Verdict::Unseen {
            follow.stop();
            follow = start();
            cluster.until_up(&mut follow);
            assert_eq!(judge(&cluster, &life, "after a scan"), Verdict::Equal, "seed {seed}, {part}");
        }
    }
    follow.stop();
    for replica in 0..2 {
        let kept = oracle::quarantined(&cluster.replica(replica));
        assert_eq!(kept, Vec::<PathBuf>::new(), "seed {seed}: nobody else touched replica {replica}");
    }
}

/// What the oracle says.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Equal,
    /// Files differ that were written through a name which was made and removed before the watcher came to it: inotify tells of
    /// that name, and nobody can ask any more whose it was.
    Unseen,
}

/// The oracle, and for each path that differs what life did to it.
fn judge(cluster: &Cluster, life: &Life, when: &str) -> Verdict {
    cluster.settle();
    let mut verdict = Verdict::Equal;
    for replica in 0..2 {
        let mut lines = oracle::differences(cluster.source(), &cluster.replica(replica));
        let all = lines.len();
        lines.retain(|line| !oracle::file_of(line).is_some_and(|path| life.lost_a_name(&path)));
        if lines.len() < all {
            println!("seed {}, {when}: {} files left to a scan", life.seed(), all - lines.len());
            verdict = Verdict::Unseen;
        }
        if lines.is_empty() {
            continue;
        }
        let mut report = String::new();
        for line in lines.iter().take(15) {
            report.push_str(&format!("\n{line}"));
            let name = line
                .rsplit('/')
                .find(|part| !part.is_empty())
                .and_then(|part| part.split_whitespace().last())
                .unwrap_or(line);
            for step in life.history_of(name).iter().rev().take(6) {
                report.push_str(&format!("\n      {step}"));
            }
        }
        panic!(
            "seed {}, {when}, replica {replica}: {} differences (steps that name the path below each, newest first){report}",
            life.seed(),
            lines.len()
        );
    }
    verdict
}

#[test]
fn replicas_equal_the_source_after_any_life() {
    if !need("rsync") {
        return;
    }
    let base = fresh_seed();
    for seed in 0..number("FULMAR_SEEDS", 3) as u64 {
        live(base + seed, number("FULMAR_OPS", 600), Options::default(), &["--approve-removals"]);
    }
}

#[test]
fn a_life_that_only_adds_never_meets_the_guard() {
    if !need("rsync") {
        return;
    }
    live(fresh_seed() + 1000, number("FULMAR_OPS", 600) / 2, Options { removals: false, ..Options::default() }, &[]);
}

#[test]
fn replicas_equal_the_source_after_any_life_of_mail() {
    if !need("rsync") {
        return;
    }
    let base = fresh_seed() + 2000;
    for seed in 0..number("FULMAR_SEEDS", 3) as u64 {
        let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
        let mut life = MailLife::new(cluster.source(), base + seed);
        life.run(200);
        let follow = cluster.follow(&["--profile", "maildir"]);
        for _ in 0..4 {
            life.run(number("FULMAR_OPS", 600) / 2);
            cluster.settle();
            oracle::assert_equal_except(cluster.source(), &cluster.replica(0), &["*.lock", "tmp/"]);
        }
        follow.stop();
        assert_eq!(oracle::quarantined(&cluster.replica(0)), Vec::<PathBuf>::new(), "seed {}", base + seed);
    }
}
