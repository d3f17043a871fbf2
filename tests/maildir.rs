//! The story of a mail administrator: a real Dovecot takes mail over LMTP and is used over IMAP while `follow --profile
//! maildir` runs; then another Dovecot serves the replica, and no client can tell the difference.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fulmar_testkit::{Cluster, Dovecot, Imap, LoopMount, Mailbox, Random, Running, fresh_seed, need, oracle};

const USERS: &[&str] = &["ann", "bob", "cem"];

fn message(number: usize, random: &mut Random) -> Vec<u8> {
    let lines = *random.pick(&[1, 10, 100, 2000]);
    let body =
        (0..lines).map(|line| format!("line {line} of message {number} {:x}\r\n", random.bits())).collect::<String>();
    format!("From: a@test.invalid\r\nTo: b@test.invalid\r\nSubject: message {number}\r\nMessage-ID: <{number}@test.invalid>\r\n\r\n{body}").into_bytes()
}

/// What people do with their mail, once through.
fn use_mail(imap: &mut Imap, random: &mut Random, round: usize) {
    let (work, archive) = (format!("Work {round}"), format!("Archive/{round}"));
    imap.create(&work);
    imap.create(&archive);
    imap.subscribe(&work);
    imap.append(&work, "\\Seen $Label1", &message(90_000 + round, random));
    imap.append(&work, "\\Draft \\Flagged Junk", &message(91_000 + round, random));
    imap.select("INBOX");
    let uids = imap.uids();
    for uid in uids.iter().take(12) {
        let uid = uid.to_string();
        match random.below(7) {
            0 => imap.store(&uid, "+FLAGS (\\Seen)"),
            1 => imap.store(&uid, "FLAGS (\\Answered \\Flagged $Forwarded)"),
            2 => imap.copy(&uid, &work),
            3 => imap.copy(&uid, &archive),
            4 => imap.move_to(&uid, &archive),
            5 => imap.move_to(&uid, &work),
            _ => imap.expunge(&uid),
        }
    }
    imap.select(&work);
    let uids = imap.uids();
    imap.expunge(&uids[0].to_string());
    // A mailbox that is selected is not to be renamed or deleted under the session.
    imap.select("INBOX");
    if round % 3 == 1 {
        imap.rename(&work, &format!("Done/{round}"));
        imap.subscribe(&format!("Done/{round}"));
    }
    if round % 3 == 2 {
        imap.delete(&archive);
    }
}

/// Everything each user sees.
fn everything(server: &Dovecot) -> Vec<(Vec<Mailbox>, Vec<String>)> {
    USERS.iter().map(|user| server.login(user).read_everything()).collect()
}

#[track_caller]
fn assert_same_mail(have: &[(Vec<Mailbox>, Vec<String>)], wanted: &[(Vec<Mailbox>, Vec<String>)]) {
    for (user, ((have, have_subscribed), (wanted, wanted_subscribed))) in USERS.iter().zip(have.iter().zip(wanted)) {
        let names = |mailboxes: &[Mailbox]| mailboxes.iter().map(|mailbox| mailbox.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(have), names(wanted), "mailboxes of {user}");
        assert_eq!(have_subscribed, wanted_subscribed, "subscriptions of {user}");
        for (have, wanted) in have.iter().zip(wanted) {
            let uids = |mailbox: &Mailbox| {
                (mailbox.uid_validity, mailbox.messages.iter().map(|message| message.uid).collect::<Vec<_>>())
            };
            assert_eq!(uids(have), uids(wanted), "UIDVALIDITY and UIDs of {user}'s {}", wanted.name);
            for (have, wanted_message) in have.messages.iter().zip(&wanted.messages) {
                assert!(have == wanted_message, "{user}, {}:\n{have:?}\nwanted\n{wanted_message:?}", wanted.name);
            }
        }
    }
}

/// The files too, as far as the profile replicates them. Dovecot's own files move the times of directories unseen.
#[track_caller]
fn assert_same_files(source: &Path, replica: &Path) {
    let excluded = ["dovecot.index*", "*.lock", "dovecot-uidlist.tmp*"];
    let lines = oracle::differences_except(source, replica, &excluded);
    let lines = lines.into_iter().filter(|line| !line.starts_with(".d..t")).collect::<Vec<_>>();
    assert!(lines.is_empty(), "{lines:#?}");
}

fn live(server: &Dovecot, rounds: usize, first: usize, random: &mut Random) {
    std::thread::scope(|scope| {
        let seed = random.bits();
        // Mail keeps coming while people read: delivery runs beside everything else.
        scope.spawn(move || {
            let mut random = Random::new(seed);
            for number in 0..rounds * 12 {
                let users = if random.chance(30) { USERS } else { &USERS[number % 3..=number % 3] };
                server.deliver(users, &message(first * 1000 + number, &mut random));
            }
        });
        for user in USERS {
            let seed = random.bits();
            scope.spawn(move || {
                let (mut imap, mut random) = (server.login(user), Random::new(seed));
                for round in 0..rounds {
                    use_mail(&mut imap, &mut random, first + round);
                }
            });
        }
    });
}

fn follow(cluster: &Cluster) -> Running {
    cluster.follow(&["--profile", "maildir"])
}

#[test]
fn a_second_dovecot_serves_the_replica_and_no_client_can_tell() {
    if !need("rsync") {
        return;
    }
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    let mut random = Random::new(fresh_seed());
    let Some(first) = Dovecot::start(cluster.source()) else { return };
    live(&first, 3, 0, &mut random);
    let running = follow(&cluster);
    live(&first, 6, 10, &mut random);
    let before = everything(&first);
    first.stop();
    cluster.settle();
    running.stop();
    assert_same_files(cluster.source(), &cluster.replica(0));

    let second = Dovecot::start(&cluster.replica(0)).expect("the first one started");
    assert_same_mail(&everything(&second), &before);

    // Life goes on there: what arrives gets a UID that nobody had, in the same mailbox as before.
    second.deliver(USERS, &message(7, &mut random));
    for ((mailboxes, _), user) in before.iter().zip(USERS) {
        let inbox = mailboxes.iter().find(|mailbox| mailbox.name == "INBOX").expect("everybody has an INBOX");
        let later = second.login(user).read_all("INBOX");
        assert_eq!(later.uid_validity, inbox.uid_validity);
        let highest = inbox.messages.iter().map(|message| message.uid).max().unwrap_or(0);
        assert_eq!(later.messages.len(), inbox.messages.len() + 1, "{user}: no message is lost or there twice");
        assert!(later.messages.last().is_some_and(|message| message.uid > highest), "{user}");
    }
}

#[test]
fn mail_that_was_delivered_before_a_wait_is_on_the_replica_after_a_kill() {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    let mut random = Random::new(fresh_seed());
    let Some(server) = Dovecot::start(cluster.source()) else { return };
    server.deliver(USERS, &message(0, &mut random));
    let mut running = follow(&cluster);
    for round in 0..4 {
        live(&server, 1, round, &mut random);
        let marker = message(1000 + round, &mut random);
        server.deliver(&["ann"], &marker);
        cluster.settle();
        server.deliver(&["ann"], &message(2000 + round, &mut random));
        running.kill9();
        let ids = message_ids(&cluster.replica(0).join("ann"));
        assert!(ids.contains(&format!("<{}@test.invalid>", 1000 + round)), "round {round}: {ids:?}");
        running = follow(&cluster);
    }
    server.stop();
    cluster.settle();
    running.stop();
    assert_eq!(message_ids(&cluster.replica(0)), message_ids(cluster.source()));
}

fn message_ids(root: &Path) -> BTreeSet<String> {
    let walk = walkdir::WalkDir::new(root).into_iter().filter_map(Result::ok);
    let files = walk.filter(|entry| {
        entry.file_type().is_file() && !entry.path().components().any(|part| part.as_os_str() == ".fulmar")
    });
    let ids = files.filter_map(|entry| {
        let content = std::fs::read(entry.path()).ok()?;
        let text = String::from_utf8_lossy(&content);
        text.lines().find_map(|line| line.strip_prefix("Message-ID: ")).map(str::to_owned)
    });
    ids.collect()
}

#[test]
fn a_restart_looks_into_mail_folders_that_changed_and_into_no_others() {
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar"));
    let folder = |root: &Path, name: &str| root.join("user/Maildir").join(name);
    let (source, replica) = (cluster.source().to_owned(), cluster.replica(0));
    for (number, name) in ["cur", "new", ".A/cur", ".A/new", ".B/cur"].iter().enumerate() {
        fs::create_dir_all(folder(&source, name)).unwrap();
        fs::write(folder(&source, name).join(format!("{number}.M1P1.host:2,S")), "mail").unwrap();
    }
    fs::write(folder(&source, "dovecot-uidlist"), "3 V1 N1\n").unwrap();
    let session = |extra: &[&str]| {
        let follow = cluster.follow(&[&["--profile", "maildir"], extra].concat());
        cluster.settle();
        follow.stop();
    };
    // One records, one finds records that prove something, one notes that all is as recorded.
    (0..3).for_each(|_| session(&[]));
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let odd = |name: &str, file: &str| {
        fs::set_permissions(folder(&source, name).join(file), fs::Permissions::from_mode(0o604)).unwrap();
        folder(&replica, name).join(file)
    };
    // Nobody does that to mail: it tells where a scan has been.
    let unchanged = odd(".A/cur", "2.M1P1.host:2,S");
    let changed = odd("cur", "0.M1P1.host:2,S");
    fs::write(folder(&source, "cur/9.M1P1.host:2,"), "more").unwrap();
    fs::remove_file(folder(&source, "new/1.M1P1.host:2,S")).unwrap();
    fs::write(folder(&source, "dovecot-uidlist"), "3 V1 N2\n").unwrap();
    fs::rename(folder(&source, ".B"), folder(&source, ".C")).unwrap();
    session(&[]);
    assert_eq!((mode(&changed), mode(&unchanged)), (0o604, 0o644));
    assert_eq!(fs::read(folder(&replica, "cur/9.M1P1.host:2,")).unwrap(), b"more");
    assert!(!folder(&replica, "new/1.M1P1.host:2,S").exists());
    assert_eq!(fs::read(folder(&replica, "dovecot-uidlist")).unwrap(), b"3 V1 N2\n");
    assert!(folder(&replica, ".C/cur/4.M1P1.host:2,S").exists() && !folder(&replica, ".B").exists());
    // Other exclusions let nothing be taken for granted.
    session(&["--exclude", "*.bak"]);
    assert_eq!(mode(&unchanged), 0o604);
}

/// A mailbox may be called `new`, where mailboxes are directories in directories.
#[test]
fn a_restart_looks_into_a_mail_folder_that_holds_directories_whatever_its_number_of_links() {
    let Some(mut mount) = LoopMount::new(32 << 20) else { return };
    let source = mount.path().join("source");
    fs::create_dir_all(source.join("new/inner")).unwrap();
    fs::write(source.join("new/inner/dovecot-uidlist"), "3 V1 N1\n").unwrap();
    mount.hide_links("source/new");
    let cluster = Cluster::new(env!("CARGO_BIN_EXE_fulmar")).with_source(source.clone());
    let session = || {
        let follow = follow(&cluster);
        cluster.settle();
        follow.stop();
    };
    (0..3).for_each(|_| session());
    fs::write(source.join("new/inner/dovecot-uidlist"), "3 V1 N2\n").unwrap();
    session();
    assert_eq!(fs::read(cluster.replica(0).join("new/inner/dovecot-uidlist")).unwrap(), b"3 V1 N2\n");
    // Before what it is on.
    drop(cluster);
}
