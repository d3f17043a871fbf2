//! `fulmar verify`: what differs beside a running `follow` is found, blamed on the right side, repaired where that is wanted, and
//! nothing else is told or touched.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fulmar_testkit::{
    Cluster, Finished, Life, LoopMount, Options, Random, Running, Unseen, Value, fixture, fresh_seed, need, oracle,
    until,
};

fn cluster() -> Cluster {
    Cluster::new(env!("CARGO_BIN_EXE_fulmar"))
}

/// `fulmar verify SOURCE EXTRA...`, to its end.
fn verify(cluster: &Cluster, extra: &[&str]) -> Finished {
    let words = [OsStr::new("verify"), cluster.source().as_os_str()];
    cluster.run(words.into_iter().chain(extra.iter().map(OsStr::new)))
}

fn start_verify(cluster: &Cluster, extra: &[&str]) -> Running {
    let mut words = vec![OsStr::new("verify").to_owned(), cluster.source().into(), "--state-dir".into()];
    words.push(cluster.state().into());
    words.extend(extra.iter().map(|word| (*word).into()));
    cluster.binary().start(&cluster.path().join("logs"), words)
}

/// "kind path blame" of each difference, "type path" of everything else, sorted; with "repaired" or "not repaired".
#[track_caller]
fn found(finished: &Finished) -> Vec<String> {
    let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    let word = |line: &Value| match line["repaired"].as_bool() {
        Some(true) => " repaired",
        Some(false) => " not repaired",
        None => "",
    };
    let tell = |line: &Value| match text(line, "type").as_str() {
        "difference" => {
            format!("{} {} {}{}", text(line, "kind"), text(line, "path"), text(line, "blame"), word(line))
        }
        other => format!("{other}! {}", text(line, "path")),
    };
    let mut all: Vec<String> = finished.report().0.iter().map(tell).collect();
    all.sort();
    all
}

/// Times of a directory are put back: what is done in it is told by itself.
fn quietly(directory: &Path, act: impl FnOnce()) {
    let before = directory.symlink_metadata().unwrap();
    act();
    fixture::set_mtime(directory, before.mtime(), before.mtime_nsec() as u32);
}

/// Every foreign file in the quarantine of a replica, by the name it had.
fn quarantined(replica: &Path) -> Vec<(String, Vec<u8>)> {
    let paths = oracle::quarantined(replica).into_iter().map(|path| replica.join(".fulmar/quarantine").join(path));
    let files = paths.filter(|path| path.symlink_metadata().unwrap().is_file());
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut all: Vec<_> = files.map(|path| (name(&path), fs::read(&path).unwrap())).collect();
    all.sort();
    all
}

#[test]
fn a_replica_that_has_everything_is_equal_and_a_quick_look_opens_no_file() {
    let cluster = cluster();
    fixture::everything(cluster.source());
    let follow = cluster.follow(&[]);
    cluster.settle();
    let quick = verify(&cluster, &["--json"]);
    quick.expect(0);
    let (findings, summary) = quick.report();
    assert!(findings.is_empty() && summary["equal"] == true, "{quick}");
    let replica = &summary["replicas"][0];
    assert_eq!(replica["on_source"]["bytes_read"], 0, "{quick}");
    assert_eq!(replica["on_replica"]["bytes_read"], 0, "{quick}");
    assert_eq!((&summary["depth"], &replica["replica_records"]), (&"quick".into(), &true.into()), "{quick}");
    let deep = verify(&cluster, &["--deep", "--json"]);
    deep.expect(0);
    let (_, summary) = deep.report();
    assert!(summary["replicas"][0]["on_replica"]["bytes_read"].as_u64() > Some(0), "{deep}");
    for form in ["table", "html"] {
        let told = verify(&cluster, &["--format", form]);
        told.expect(0);
        assert!(told.stdout.contains("EQUAL: ") || told.stdout.contains(">equal<"), "{told}");
    }
    follow.stop();
}

/// What is done to the replica of [`fixture::everything`], and what must be told of it.
type Damage = (fn(&Path), &'static str);

const DAMAGES: &[Damage] = &[
    (|r| fs::write(r.join("small"), "SMALL content\n").unwrap(), "content small drift"),
    (|r| fs::write(r.join("empty"), "not").unwrap(), "size empty drift"),
    (|r| quietly(r, || fs::remove_file(r.join("-rf")).unwrap()), "missing -rf drift"),
    (|r| quietly(&r.join("a"), || fs::remove_dir_all(r.join("a/.fulmar")).unwrap()), "missing a/.fulmar drift"),
    (|r| quietly(&r.join("a/b"), || fs::write(r.join("a/b/extra"), "mine").unwrap()), "extra a/b/extra drift"),
    (|r| quietly(r, || fs::create_dir_all(r.join("x/y/z")).unwrap()), "extra x drift"),
    (
        |r| {
            quietly(r, || {
                fs::remove_dir(r.join("empty directory")).unwrap();
                fs::write(r.join("empty directory"), "in its place").unwrap();
            });
        },
        "kind empty directory drift",
    ),
    (|r| fs::set_permissions(r.join("setuid"), fs::Permissions::from_mode(0o755)).unwrap(), "mode setuid drift"),
    (
        |r| {
            let before = r.join("dangling").symlink_metadata().unwrap();
            quietly(r, || {
                fs::remove_file(r.join("dangling")).unwrap();
                symlink("/nowhere/at ALL", r.join("dangling")).unwrap();
            });
            fixture::set_mtime(&r.join("dangling"), before.mtime(), before.mtime_nsec() as u32);
        },
        "link-target dangling drift",
    ),
    (
        |r| {
            let (name, beside) = (r.join("third name"), r.join("third name.new"));
            quietly(r, || {
                fixture::copy(&name, &beside);
                fs::rename(beside, name).unwrap();
            });
        },
        "hard-links a/b/c/d/deep drift",
    ),
];

#[test]
fn what_somebody_did_on_the_replica_is_drift_and_repaired_and_kept_in_the_quarantine() {
    let cluster = cluster();
    fixture::everything(cluster.source());
    let follow = cluster.follow(&[]);
    cluster.settle();
    let replica = cluster.replica(0);
    for (damage, _) in DAMAGES {
        damage(&replica);
    }
    let mut expected: Vec<String> = DAMAGES.iter().map(|(_, told)| (*told).to_owned()).collect();
    // It was written a moment ago.
    expected.push("mtime small drift".to_owned());
    expected.push("mtime empty drift".to_owned());
    expected.sort();
    let told = verify(&cluster, &["--json"]);
    assert_eq!(found(&told), expected, "{told}");
    told.expect(1);
    let html = verify(&cluster, &["--format", "html", "--limit", "0"]);
    assert!(html.stdout.contains("<td>drift</td>"), "{html}");
    let repaired = verify(&cluster, &["--repair", "--json"]);
    let expected: Vec<String> = expected.iter().map(|told| format!("{told} repaired")).collect();
    assert_eq!(found(&repaired), expected, "{repaired}");
    repaired.expect(0);
    let kept = quarantined(&replica);
    for (name, content) in
        [("small", "SMALL content\n"), ("empty", "not"), ("extra", "mine"), ("empty directory", "in its place")]
    {
        assert!(kept.contains(&(name.to_owned(), content.into())), "{name}: {kept:?}");
    }
    oracle::assert_equal(cluster.source(), &replica);
    verify(&cluster, &["--deep"]).expect(0);
    follow.stop();
}

#[test]
fn what_no_event_told_of_is_missed_and_repaired_on_every_replica() {
    let cluster = cluster();
    fs::write(cluster.source().join("mapped"), "written by nobody").unwrap();
    fs::write(cluster.source().join("other"), "other").unwrap();
    let replicas = [cluster.replica(0), cluster.replica(1)];
    let follow = cluster.follow_to(&[replicas[0].as_os_str(), replicas[1].as_os_str()], &[]);
    cluster.settle();
    let _unseen = Unseen::flip(&cluster.source().join("mapped"));
    let told = verify(&cluster, &["--json"]);
    let both = ["content mapped missed", "content mapped missed", "mtime mapped missed", "mtime mapped missed"];
    assert_eq!(found(&told), both, "{told}");
    let repaired = verify(&cluster, &["--repair", "--json"]);
    // It is a change for everybody: a replica that is compared a moment later may have it by then.
    let told = found(&repaired);
    let twice = both.map(|told| format!("{told} repaired"));
    let once = [twice[0].clone(), twice[2].clone()];
    assert!(told == twice || told == once, "{repaired}");
    repaired.expect(0);
    for replica in &replicas {
        oracle::assert_equal(cluster.source(), replica);
        assert!(quarantined(replica).is_empty(), "it was fulmar's own");
    }
    follow.stop();
}

#[test]
fn rot_on_a_replica_is_found_by_a_deep_look_only_and_repaired_from_the_source() {
    let Some(mut mount) = LoopMount::new(64 << 20) else { return };
    let (cluster, replica) = (cluster(), mount.path().join("replica"));
    let content = |size: usize| vec![b'r'; size];
    fs::create_dir(&replica).unwrap();
    // What is there already stays as it is, and as old.
    for root in [cluster.source(), &replica] {
        for (name, size) in [("small", 5000), ("large", 3 << 20)] {
            fs::write(root.join(name), content(size)).unwrap();
            fixture::set_mtime(&root.join(name), 1_700_000_000, 5);
        }
    }
    for name in ["small", "large"] {
        mount.age(&format!("replica/{name}"));
    }
    fs::write(cluster.source().join("sound"), "sound").unwrap();
    let follow = cluster.follow_to(&[replica.as_os_str()], &["--adopt"]);
    cluster.settle();
    for name in ["small", "large"] {
        mount.rot(&replica.join(name));
    }
    verify(&cluster, &["--json"]).expect(0);
    let told = verify(&cluster, &["--deep", "--json"]);
    assert_eq!(found(&told), ["content large corrupt-replica", "content small corrupt-replica"], "{told}");
    let repaired = verify(&cluster, &["--deep", "--repair", "--json"]);
    let expected = ["content large corrupt-replica repaired", "content small corrupt-replica repaired"];
    assert_eq!(found(&repaired), expected, "{repaired}");
    repaired.expect(0);
    assert_eq!(fs::read(replica.join("small")).unwrap(), content(5000));
    assert_eq!(fs::read(replica.join("large")).unwrap(), content(3 << 20));
    let kept: Vec<_> = quarantined(&replica).into_iter().map(|(name, content)| (name, content[0])).collect();
    assert_eq!(kept, [("large".to_owned(), !b'r'), ("small".to_owned(), !b'r')], "what has rotted is kept");
    follow.stop();
}

/// A source in which two files have rested for an hour, followed, with a replica that has everything.
fn rested() -> Option<(Cluster, LoopMount, Running)> {
    let mut mount = LoopMount::new(64 << 20)?;
    let source = mount.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("small"), vec![b'g'; 5000]).unwrap();
    fs::write(source.join("large"), vec![b'g'; 3 << 20]).unwrap();
    fs::write(source.join("sound"), "sound").unwrap();
    for file in ["small", "large"] {
        mount.age(&format!("source/{file}"));
    }
    let cluster = cluster().with_source(source);
    let follow = cluster.follow(&[]);
    cluster.settle();
    Some((cluster, mount, follow))
}

#[test]
fn rot_on_the_source_is_told_with_who_has_the_good_copy_and_never_shipped() {
    let Some((cluster, mount, follow)) = rested() else { return };
    let (source, replica) = (cluster.source().to_path_buf(), cluster.replica(0));
    for name in ["small", "large"] {
        mount.rot(&source.join(name));
    }
    verify(&cluster, &["--json"]).expect(0);
    let corrupt = ["content large corrupt-source", "content small corrupt-source"];
    for repair in [&["--deep", "--json"][..], &["--deep", "--repair", "--json"]] {
        let told = verify(&cluster, repair);
        assert_eq!(found(&told), corrupt, "{told}");
        assert!(told.report().0.iter().all(|line| line["good_copy"] == true), "{told}");
        told.expect(1);
    }
    let table = verify(&cluster, &["--deep"]);
    assert!(table.stdout.contains("corrupt-source, the replica has the good copy"), "{table}");
    assert_eq!(fs::read(replica.join("small")).unwrap(), vec![b'g'; 5000]);

    // A replica that has lost its copy is not given the rotten one.
    for name in ["small", "large"] {
        quietly(&replica, || fs::remove_file(replica.join(name)).unwrap());
    }
    let told = verify(&cluster, &["--repair", "--json"]);
    assert_eq!(found(&told), ["missing large drift not repaired", "missing small drift not repaired"], "{told}");
    told.expect(1);
    let status = cluster.until_status(0, "both are held", |status| status["held"] == 2);
    let held = status["held_paths"].to_string();
    assert!(held.contains("corrupt on the primary") && held.contains("touch it"), "{status:#}");
    assert!(!replica.join("small").exists() && !replica.join("large").exists());
    let told = verify(&cluster, &["--json"]);
    assert_eq!(found(&told), ["arriving! large", "arriving! small"], "{told}");
    assert!(told.report().0.iter().all(|line| line["held"].to_string().contains("corrupt")), "{told}");
    told.expect(1);

    // Touched, it is right; written again, too.
    fixture::set_mtime(&source.join("small"), 1_700_000_000, 1);
    fs::write(source.join("large"), vec![b'n'; 3 << 20]).unwrap();
    until(Duration::from_secs(60), "both arrive", || match cluster.wait("5s") {
        finished if finished.code == 0 => Ok(()),
        finished => Err(finished.to_string()),
    });
    assert_eq!(fs::read(replica.join("small")).unwrap()[0], !b'g');
    verify(&cluster, &["--deep"]).expect(0);
    follow.stop();
    drop(cluster);
}

#[test]
fn what_rotted_and_was_shipped_all_the_same_is_told_though_no_replica_differs() {
    let Some((cluster, mount, follow)) = rested() else { return };
    let (source, replica) = (cluster.source().join("small"), cluster.replica(0).join("small"));
    mount.rot(&source);
    // Somebody copies it by hand.
    let before = source.metadata().unwrap();
    fs::write(&replica, fs::read(&source).unwrap()).unwrap();
    fixture::set_mtime(&replica, before.mtime(), before.mtime_nsec() as u32);
    let told = verify(&cluster, &["--deep", "--json"]);
    assert_eq!(found(&told), ["corrupt! small"], "{told}");
    told.expect(1);
    follow.stop();
}

/// A tree that takes a while at 20 kB a second.
fn slow() -> (Cluster, Running) {
    let cluster = cluster();
    for number in 0..20 {
        fs::write(cluster.source().join(number.to_string()), vec![number; 100_000]).unwrap();
    }
    let follow = cluster.follow(&[]);
    cluster.settle();
    (cluster, follow)
}

const SLOWLY: [&str; 5] = ["--deep", "--rate", "20k", "--progress", "--json"];

#[track_caller]
fn until_it_reads(running: &mut Running) {
    until(Duration::from_secs(30), "it is under way", || match running.log() {
        log if log.contains("source  ") => Ok(()),
        log => Err(log),
    });
}

#[test]
fn one_at_a_time_and_replication_goes_on_meanwhile() {
    let (cluster, follow) = slow();
    let mut first = start_verify(&cluster, &SLOWLY);
    until_it_reads(&mut first);
    let second = verify(&cluster, &[]);
    second.expect(3).expect_error("a verification of this tree is under way");
    fs::write(cluster.source().join("later"), "later").unwrap();
    cluster.settle();
    assert_eq!(fs::read(cluster.replica(0).join("later")).unwrap(), b"later");
    assert_eq!(first.ended(), None);

    // Who leaves takes the question back.
    first.interrupt();
    let finished = first.finish(Duration::from_secs(10));
    finished.expect(3).expect_error("interrupted");
    until(Duration::from_secs(30), "the next one is let in", || match verify(&cluster, &[]) {
        finished if finished.code == 0 => Ok(()),
        finished => Err(finished.to_string()),
    });
    follow.stop();
}

#[test]
fn a_follow_that_ends_does_not_wait_for_a_verification() {
    let (cluster, follow) = slow();
    let mut running = start_verify(&cluster, &SLOWLY);
    until_it_reads(&mut running);
    follow.stop();
    running.finish(Duration::from_secs(30)).expect(3);
}

#[test]
fn what_is_still_on_its_way_is_arriving_and_no_difference() {
    let cluster = cluster();
    let rsh = cluster.rsh("rsh");
    let command = rsh.command();
    let mut far = std::ffi::OsString::from("host:");
    far.push(cluster.replica(0));
    fs::write(cluster.source().join("there"), "there").unwrap();
    let follow = cluster.follow_to(&[&far], &["--rsh", command.to_str().unwrap(), "--bwlimit", "40k"]);
    cluster.settle();
    // Incompressible, with this seed.
    let noise = Random::new(6).bytes(4 << 20);
    quietly(cluster.source(), || fs::write(cluster.source().join("large"), &noise).unwrap());
    cluster.until_status(0, "it is on its way", |status| status["large"] == 1);
    let told = verify(&cluster, &["--json"]);
    let found = found(&told);
    assert!(found.contains(&"arriving! large".to_owned()), "{told}");
    assert!(found.iter().all(|told| told.starts_with("arriving!")), "{told}");
    told.expect(1);
    follow.kill9();
}

#[test]
fn nobody_is_blamed_for_what_is_being_replicated() {
    let cluster = cluster();
    let mut life = Life::with(cluster.source(), fresh_seed(), Options { large_files: false, ..Options::default() });
    life.run(300);
    let follow = cluster.follow(&["--approve-removals"]);
    cluster.settle();
    let over = AtomicBool::new(false);
    let all = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                life.run(40);
                cluster.settle();
            }
        });
        let forms: [&[&str]; 3] = [&["--json"], &["--deep", "--json"], &["--deep", "--repair", "--json"]];
        let all = forms.map(|form| verify(&cluster, form));
        over.store(true, Ordering::Relaxed);
        all
    });
    for finished in all {
        let wrong: Vec<_> = finished
            .report()
            .0
            .into_iter()
            .filter(|line| line["type"] != "busy" && line["type"] != "arriving")
            .collect();
        assert!(wrong.is_empty() && finished.code <= 1, "{finished}");
    }
    cluster.settle();
    verify(&cluster, &["--deep"]).expect(0);
    follow.stop();
}

#[test]
fn nobody_who_follows_is_an_error_that_says_what_to_do() {
    let cluster = cluster();
    verify(&cluster, &[]).expect(3).expect_error("is not followed");
}

#[test]
fn a_quick_look_opens_nothing_but_directories_and_what_has_changed() {
    if !need("strace") {
        return;
    }
    let cluster = cluster();
    for number in 0..50 {
        fs::write(cluster.source().join(format!("unchanged {number}")), "content").unwrap();
    }
    let follow = cluster.follow(&[]);
    cluster.settle();
    fs::write(cluster.replica(0).join("unchanged 7"), "CONTENT").unwrap();
    let trace = cluster.path().join("trace");
    let mut strace = std::process::Command::new("strace")
        .args(["-f", "-e", "trace=open,openat,openat2", "-o"])
        .arg(&trace)
        .args(["-p", &follow.pid().to_string()])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let traced = || {
        fs::read_dir(format!("/proc/{}/task", follow.pid())).unwrap().filter_map(Result::ok).all(|task| {
            fs::read_to_string(task.path().join("status")).is_ok_and(|status| !status.contains("TracerPid:\t0"))
        })
    };
    until(Duration::from_secs(20), "every thread is traced", || if traced() { Ok(()) } else { Err(String::new()) });
    verify(&cluster, &[]).expect(1);
    let stopped = std::process::Command::new("kill").args(["-INT", &strace.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    strace.wait().unwrap();
    let opened = fs::read_to_string(&trace).unwrap();
    let files: Vec<&str> = opened.lines().filter(|line| line.contains("\"unchanged ")).collect();
    assert!(!files.is_empty() && files.iter().all(|line| line.contains("\"unchanged 7\"")), "{files:#?}");
    follow.stop();
}
