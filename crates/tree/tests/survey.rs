//! However many threads share a survey, it finds the same in the same order, and no more than it may.

mod support;

use fulmar_model::{Hash, RelPath};
use fulmar_tree::{Part, Printed, Step, SurveyBounds, Surveyor, Walk, survey};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;
use support::{Fixture, rel};

/// Threads that have found something, and a way to wait for the others: nobody is so fast that nothing is left for them.
#[derive(Default)]
struct Started(Mutex<usize>, Condvar);

struct Namer<'a> {
    started: &'a Started,
    threads: usize,
    found: usize,
    useless: Option<&'a RelPath>,
}

impl Surveyor for Namer<'_> {
    type Error = &'static str;

    fn another(&self) -> Result<Self, &'static str> {
        Ok(Self { found: 0, ..*self })
    }

    fn step(&mut self, _: &mut Walk, step: Step) -> Result<Option<Printed>, &'static str> {
        let Step::Listing(listing) = step else { return Err("unreadable") };
        let mut started = self.started.0.lock().expect("no panic");
        *started += usize::from(self.found == 0);
        self.started.1.notify_all();
        let wait = Duration::from_millis(50);
        drop(self.started.1.wait_timeout_while(started, wait, |started| *started < self.threads));
        self.found += 1;
        if self.useless == Some(&listing.path) {
            return Ok(None);
        }
        let fingerprint = Some(Hash([0; 32]));
        Ok(Some(Printed { directory: listing.path, part: listing.part, fingerprint }))
    }

    fn join(&mut self, other: Self) {
        self.found += other.found;
    }
}

/// How many were found, and which, and by how many threads.
fn surveyed(
    fixture: &Fixture,
    bounds: SurveyBounds,
    useless: Option<&RelPath>,
) -> Result<(usize, Option<Vec<Printed>>, usize), &'static str> {
    let (started, threads) = (Started::default(), bounds.threads);
    let first = Namer { started: &started, threads, found: 0, useless };
    let (namer, prints) = survey(Walk::new(&fixture.tree, &RelPath::root()), bounds, first)?;
    let started = *started.0.lock().expect("no panic");
    Ok((namer.found, prints, started))
}

fn bounds(threads: usize) -> SurveyBounds {
    SurveyBounds { threads, alone: 0, ..SurveyBounds::default() }
}

/// The root, seven directories, and five in each.
fn tree() -> Fixture {
    let fixture = Fixture::in_memory();
    for number in 0..35 {
        fixture.mkdir(&format!("{}/{number}", number % 7));
    }
    fixture
}

#[test]
fn several_threads_find_what_one_finds_in_the_same_order() {
    let fixture = tree();
    fixture.mkdir("3-").mkdir("3/20.").file("3/file", "");
    let walked: Vec<_> = Walk::new(&fixture.tree, &RelPath::root())
        .map(|step| match step {
            Step::Listing(listing) => listing.path,
            Step::Unreadable { path, error } => panic!("{path}: {error}"),
        })
        .collect();
    for threads in 1..=4 {
        let (found, prints, started) = surveyed(&fixture, bounds(threads), None).expect("no error");
        let prints = prints.expect("prints");
        assert_eq!(prints.iter().map(|printed| printed.directory.clone()).collect::<Vec<_>>(), walked, "{threads}");
        assert_eq!((found, started > 1), (prints.len(), threads > 1));
    }
}

#[test]
fn parts_of_a_directory_come_behind_each_other_and_before_what_is_in_any_of_them() {
    let printed = |path: &str, index, of| Printed {
        directory: rel(path),
        part: Part::new(index, of).expect("a part"),
        fingerprint: None,
    };
    let ordered = [
        printed("", 0, 1),
        printed("a", 0, 1),
        printed("a", 0, 3),
        printed("a", 1, 3),
        printed("a", 2, 3),
        printed("a/b", 0, 2),
        printed("a/b", 1, 2),
        printed("a/b/c", 0, 1),
        printed("a/b-", 0, 1),
        printed("a-", 0, 1),
    ];
    let mut sorted = ordered.clone();
    sorted.reverse();
    sorted.sort_by(Printed::survey_cmp);
    assert_eq!(sorted, ordered);
}

#[test]
fn directories_are_counted_over_all_threads_together() {
    let fixture = tree();
    for threads in [1, 4] {
        let surveyed = |directories| {
            let bounds = SurveyBounds { directories, ..bounds(threads) };
            let (found, prints, _) = surveyed(&fixture, bounds, None).expect("no error");
            (found, prints.map(|prints| prints.len()))
        };
        assert_eq!(surveyed(43), (43, Some(43)));
        assert_eq!(surveyed(42), (43, None));
        // Who is in the middle of a directory when there are too many ends it.
        let (found, prints) = surveyed(20);
        assert!((21..21 + threads).contains(&found) && prints.is_none(), "{found}");
    }
}

#[test]
fn a_survey_of_no_use_is_cut_short_and_an_error_is_told() {
    let fixture = tree();
    for threads in [1, 4] {
        let (found, prints, _) = surveyed(&fixture, bounds(threads), Some(&RelPath::root())).expect("no error");
        assert_eq!((found, prints), (1, None));
        let (_, prints, _) = surveyed(&fixture, bounds(threads), Some(&rel("6/34"))).expect("no error");
        assert_eq!(prints, None);
    }
    let gone = fixture.outside().join("root");
    std::fs::remove_dir_all(gone).expect("removed");
    assert_eq!(surveyed(&fixture, bounds(4), None), Err("unreadable"));
}

#[test]
fn a_small_tree_is_left_to_one_thread() {
    let fixture = tree();
    /// Counts how often another one was asked for, in vain.
    struct Alone<'a>(&'a AtomicUsize);
    impl Surveyor for Alone<'_> {
        type Error = &'static str;

        fn another(&self) -> Result<Self, &'static str> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Err("another thread")
        }

        fn step(&mut self, _: &mut Walk, step: Step) -> Result<Option<Printed>, &'static str> {
            let Step::Listing(listing) = step else { return Err("unreadable") };
            Ok(Some(Printed { directory: listing.path, part: listing.part, fingerprint: None }))
        }

        fn join(&mut self, _: Self) {}
    }
    let survey = |alone| {
        let bounds = SurveyBounds { alone, ..bounds(4) };
        let asked = AtomicUsize::new(0);
        let found = survey(Walk::new(&fixture.tree, &RelPath::root()), bounds, Alone(&asked));
        (found.map(|(_, prints)| prints.map(|all| all.len())), asked.into_inner())
    };
    assert_eq!(survey(SurveyBounds::default().alone), (Ok(Some(43)), 0));
    // And a large one is, where there is no other.
    assert_eq!(survey(10), (Ok(Some(43)), 1));
}
