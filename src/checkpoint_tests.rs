//! What is kept of an audit, and what becomes of files that are damaged, strange, or of another one.

use super::*;
use fulmar_model::{Aspect, Difference};
use std::os::unix::fs::PermissionsExt;

/// Makes it another one.
type Change = fn(&mut Subject);

const BEGAN: &str = "2026-11-22T10:00:00Z";

fn subject() -> Subject {
    let root = Root { device: [8, 1], inode: 2, born: Some((5, 6)) };
    Subject {
        host: "here".to_owned(),
        source: "/source".to_owned(),
        root,
        replicas: vec!["one".to_owned(), "two".to_owned()],
        profile: "plain".to_owned(),
        exclude: vec!["*.\\xff".to_owned()],
    }
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

fn finding(at: &str) -> Finding {
    let (source, replica) = (Told::Size(1), Told::Size(2));
    Finding::Difference(Difference { path: path(at), aspect: Aspect::Size, source, replica }, None)
}

fn verdict(busy: u64) -> Verdict {
    Verdict { host: b"far\n".to_vec(), root: b"/replica".to_vec(), busy, trusted: true, ..Verdict::default() }
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a directory") }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("checkpoint")
    }

    fn open(&self) -> Result<Checkpoint> {
        Checkpoint::open(&self.file(), subject(), BEGAN.to_owned())
    }

    /// Two slices with a finding each, and the rest; what is in the file.
    fn filled(&self) -> Vec<u8> {
        let mut checkpoint = self.open().expect("it is made");
        for (number, next) in [Position::Behind(Some(path("a\nb"))), Position::Rest, Position::Over].iter().enumerate()
        {
            checkpoint.note("two", &finding(&format!("a\nb/{number}"))).expect("written");
            checkpoint.mark(next.clone(), vec![verdict(1), verdict(10)]).expect("written");
        }
        std::fs::read(self.file()).expect("it is there")
    }
}

fn found(checkpoint: &mut Checkpoint) -> Vec<(usize, Finding)> {
    let mut all = Vec::new();
    checkpoint
        .findings(|replica, finding| {
            all.push((replica, finding));
            Ok(())
        })
        .expect("read");
    all
}

fn read_all(bytes: &[u8]) -> std::result::Result<Option<(String, Reached)>, Wrong> {
    read(&mut &*bytes, &subject())
}

#[test]
fn what_is_marked_is_there_in_the_next_sitting_and_what_is_not_is_dropped() {
    let place = Place::new();
    let mut first = place.open().expect("it is made");
    assert_eq!(place.file().metadata().expect("there").permissions().mode() & 0o7777, 0o600);
    first.note("two", &finding("a/1")).expect("written");
    first.mark(Position::Behind(Some(path("a"))), vec![verdict(1), verdict(10)]).expect("written");
    first.note("one", &finding("lost")).expect("written");
    drop(first);
    let mut second = Checkpoint::open(&place.file(), subject(), "later".to_owned()).expect("it goes on");
    assert_eq!((second.began(), second.sittings(), second.position()), (BEGAN, 1, &Position::Behind(Some(path("a")))));
    assert_eq!(found(&mut second), [(1, finding("a/1"))]);
    second.note("one", &finding("b")).expect("written");
    second.mark(Position::Rest, vec![verdict(2), verdict(20)]).expect("written");
    assert_eq!(second.totals().iter().map(|total| total.busy).collect::<Vec<_>>(), [3, 30]);
    // What comes last is about everything.
    second.mark(Position::Over, vec![verdict(4), verdict(30)]).expect("written");
    drop(second);
    let mut third = place.open().expect("it goes on");
    assert_eq!((third.sittings(), third.position()), (2, &Position::Over));
    assert_eq!(third.totals().iter().map(|total| total.busy).collect::<Vec<_>>(), [4, 30]);
    assert_eq!(third.totals()[0].host, b"far\n");
    assert_eq!(found(&mut third), [(1, finding("a/1")), (0, finding("b"))]);
    third.remove();
    assert!(!place.file().exists());
}

#[test]
fn a_file_that_was_cut_anywhere_goes_on_behind_its_last_whole_mark() {
    let whole = Place::new().filled();
    let marks: Vec<usize> = [b"\"type\":\"slice\"".as_slice(), b"\"type\":\"rest\""]
        .iter()
        .flat_map(|mark| whole.windows(mark.len()).enumerate().filter(move |(_, at)| at == mark).map(|(at, _)| at))
        .map(|at| at + whole[at..].iter().position(|byte| *byte == b'\n').expect("an end") + 1)
        .collect();
    assert_eq!(marks.len(), 3);
    for len in 0..=whole.len() {
        let kept = read_all(&whole[..len]).expect("ours").map(|(_, reached)| reached.kept);
        assert_eq!(kept, marks.iter().rev().find(|mark| **mark <= len).map(|mark| *mark as u64), "cut at {len}");
    }
}

#[test]
fn bytes_that_are_not_as_they_were_are_refused_or_harmless() {
    let whole = Place::new().filled();
    for at in 0..whole.len() {
        for byte in [0, b'9', b'"', b'\n', 0xff] {
            let mut odd = whole.clone();
            odd[at] = byte;
            // Whatever it says: no panic, and no more than is there.
            if let Ok(Some((_, reached))) = read_all(&odd) {
                assert!(reached.kept <= whole.len() as u64);
            }
        }
    }
    let middle = whole.len() / 2;
    let torn = [&whole[..middle], b"\0\0\n", &whole[middle..]].concat();
    assert!(matches!(read_all(&torn), Err(Wrong::Damaged { .. })), "a later mark stands behind it");
    let zeros = [&whole[..], &[0; 4096]].concat();
    assert!(matches!(read_all(&zeros), Ok(Some(_))), "nothing stands behind it");
    let text = String::from_utf8(whole).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    for order in [&[0, 1, 2, 1, 2][..], &[0, 3, 4, 1, 2], &[0, 1, 2, 5, 6], &[0, 2], &[0, 1, 1, 2]] {
        let odd: String = order.iter().flat_map(|line| [lines[*line], "\n"]).collect();
        assert!(matches!(read_all(odd.as_bytes()), Err(Wrong::Damaged { .. })), "{order:?}");
    }
}

#[test]
fn a_file_that_is_something_else_is_refused_and_left_as_it_is() {
    let place = Place::new();
    for content in ["mail", "\n", "{}\n", "{\"type\":\"slice\"}\n", "{\"type\":\"checkpoint\",\"version\":2}\n"] {
        std::fs::write(place.file(), content).expect("written");
        let failure = place.open().err().expect("refused");
        assert_eq!((failure.exit, failure.hint.is_some()), (crate::exit::Exit::Usage, true), "{content}");
        assert_eq!(std::fs::read_to_string(place.file()).expect("there"), content);
    }
    let elsewhere = place.folder.path().join("elsewhere");
    for there in [true, false] {
        std::fs::remove_file(place.file()).expect("removed");
        std::os::unix::fs::symlink(&elsewhere, place.file()).expect("linked");
        assert!(place.open().is_err());
        assert_eq!(elsewhere.exists(), !there, "nothing is made or written behind a symlink");
        std::fs::write(&elsewhere, "").expect("written");
    }
    assert!(Checkpoint::open(place.folder.path(), subject(), BEGAN.to_owned()).is_err(), "a directory");
}

#[test]
fn an_audit_of_something_else_is_refused_unless_nothing_is_kept() {
    let place = Place::new();
    let others: [(&str, Change); 6] = [
        ("host", |other| other.host.push('2')),
        ("source", |other| other.source.push('2')),
        ("source", |other| other.root.inode = 3),
        ("set of replicas", |other| other.replicas.reverse()),
        ("profile", |other| other.profile = "maildir".to_owned()),
        ("set of patterns", |other| other.exclude.clear()),
    ];
    place.filled();
    let before = std::fs::read(place.file()).expect("there");
    for (what, change) in others {
        let mut other = subject();
        change(&mut other);
        let failure = Checkpoint::open(&place.file(), other, BEGAN.to_owned()).err().expect("refused");
        assert!(failure.error.to_string().contains(what), "{}", failure.error);
        assert_eq!(std::fs::read(place.file()).expect("there"), before);
    }
    // Numbered anew at a boot: the same directory.
    let mut rebooted = subject();
    rebooted.root.device = [9, 9];
    assert!(Checkpoint::open(&place.file(), rebooted, BEGAN.to_owned()).is_ok());
    std::fs::remove_file(place.file()).expect("removed");
    drop(place.open().expect("it is made"));
    let (_, change) = others[0];
    let mut other = subject();
    change(&mut other);
    assert!(Checkpoint::open(&place.file(), other, BEGAN.to_owned()).is_ok());
}

#[test]
fn a_replica_that_is_another_one_is_refused_and_two_audits_do_not_share_a_file() {
    let place = Place::new();
    let mut checkpoint = place.open().expect("it is made");
    let failure = place.open().err().expect("refused");
    assert!(failure.error.to_string().contains("another fulmar"), "{}", failure.error);
    checkpoint.mark(Position::Behind(Some(path("a"))), vec![verdict(1), verdict(1)]).expect("written");
    let moved = Verdict { root: b"/elsewhere".to_vec(), ..verdict(1) };
    let failure = checkpoint.mark(Position::Rest, vec![verdict(1), moved]).expect_err("refused");
    assert!(failure.error.to_string().contains("far\\n:/elsewhere"), "{}", failure.error);
    assert_eq!(checkpoint.position(), &Position::Behind(Some(path("a"))));
}
