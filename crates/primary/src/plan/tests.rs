//! A source on disk, a catalog in memory, and the steps that come out.

use super::*;
use crate::guard::{GuardState, LIMITS};
use fulmar_model::{Id, Xattrs};
use std::fs;

/// Word and path of every operation for these paths of a source, for the only replica there is.
fn operations(source: &tempfile::TempDir, catalog: &mut Catalog, asked: &[(&str, Have)]) -> Vec<String> {
    let asked = asked.iter().map(|(path, have)| (RelPath::parse(path.as_bytes()).expect("a path"), *have));
    planned(source, catalog, ONE, |plan| plan.paths(&mut asked.collect()))
}

const ONE: Mood = Mood::One { replica: ReplicaId(Id([1; 16])), shared: false };

fn planned(
    source: &tempfile::TempDir,
    catalog: &mut Catalog,
    mood: Mood,
    fill: impl FnOnce(&mut Plan<'_>) -> Result<()>,
) -> Vec<String> {
    let word = |step: Step| match step.action {
        Action::Operate { word, .. } => Some(format!("{word} {}", step.path)),
        Action::Gone => Some(format!("gone {}", step.path)),
        _ => None,
    };
    made(source, catalog, &Filter::default(), mood, fill).steps.into_iter().filter_map(word).collect()
}

fn made(
    source: &tempfile::TempDir,
    catalog: &mut Catalog,
    filter: &Filter,
    mood: Mood,
    fill: impl FnOnce(&mut Plan<'_>) -> Result<()>,
) -> Planned {
    made_knowing(&FurtherNames::channel().1, source, catalog, filter, mood, fill)
}

fn made_knowing(
    further: &FurtherNames,
    source: &tempfile::TempDir,
    catalog: &mut Catalog,
    filter: &Filter,
    mood: Mood,
    fill: impl FnOnce(&mut Plan<'_>) -> Result<()>,
) -> Planned {
    let tree = Tree::open(source.path()).expect("a directory");
    let mut guard = Guard::new(LIMITS, GuardState::Clear);
    let mut plan = Plan::new(&tree, (catalog, filter), (&mut guard, further), 0, mood);
    fill(&mut plan).expect("a plan");
    plan.finish().expect("a plan")
}

/// The paths that a plan gives a change of their own.
fn owed(
    source: &tempfile::TempDir,
    catalog: &mut Catalog,
    mood: Mood,
    fill: impl FnOnce(&mut Plan<'_>) -> Result<()>,
) -> Vec<String> {
    made(source, catalog, &Filter::default(), mood, fill).owed.iter().map(RelPath::to_string).collect()
}

fn asked(paths: &[&str]) -> VecDeque<(RelPath, Have)> {
    paths.iter().map(|path| (RelPath::parse(path.as_bytes()).expect("a path"), Have::Unknown)).collect()
}

const OF_SEVERAL: Mood = Mood::One { replica: ReplicaId(Id([1; 16])), shared: true };

/// A file with a name in the root and one in a directory, both recorded.
fn linked(content: &[u8]) -> (tempfile::TempDir, Catalog) {
    let source = tempfile::tempdir().expect("a directory");
    fs::create_dir(source.path().join("in")).expect("a directory");
    fs::write(source.path().join("one"), content).expect("a file");
    fs::hard_link(source.path().join("one"), source.path().join("in/other")).expect("a link");
    let mut catalog = Catalog::in_memory().expect("a catalog");
    for path in ["in", "in/other", "one"] {
        operations(&source, &mut catalog, &[(path, Have::Missing)]);
    }
    if content.len() > 256 * 1024 {
        for name in ["one", "in/other"] {
            planned(&source, &mut catalog, ONE, |plan| plan.shipped(&arrived(&source, name, 1)));
        }
    }
    (source, catalog)
}

/// A large file, as it has reached a replica.
fn arrived(source: &tempfile::TempDir, name: &str, stream: u64) -> Arrived {
    let path = RelPath::parse(name.as_bytes()).expect("a path");
    let (parent, file) = path.split().expect("not the root");
    let dir = Tree::open(source.path()).expect("a directory").dir(&parent).expect("a directory");
    let reader = dir.open_file(&file).expect("a file");
    let (stat, (hash, _)) = (*reader.stat(), reader.finish().expect("its content"));
    let (xattrs, target, began) = (Xattrs::default(), Box::default(), fulmar_tree::Clock::coarse_now());
    let content = Content { stat, xattrs, hash: Some(hash), segments: Vec::new(), target, began };
    Arrived { path, content: Box::new(content), stream, torn: false }
}

#[test]
fn a_directory_that_is_planned_again_for_everyone_sends_the_times_of_the_one_it_is_in() {
    let source = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(source.path().join("above/new")).expect("a directory");
    let mut catalog = Catalog::in_memory().expect("a catalog");
    let settled = |catalog: &Catalog| {
        let record = catalog.get(&RelPath::parse(b"above").expect("a path")).expect("the catalog");
        record.is_some_and(|record| record.settled)
    };
    while !settled(&catalog) {
        operations(&source, &mut catalog, &[("above", Have::Missing), ("above/new", Have::Missing)]);
    }
    let again = planned(&source, &mut catalog, Mood::Everyone, |plan| plan.paths(&mut asked(&["above/new"])));
    assert_eq!(again, ["times above/new", "times above"]);
}

#[test]
fn what_was_written_in_a_directory_that_had_another_name_for_a_while_shows_in_the_other_names() {
    for mood in [Mood::Everyone, ONE, OF_SEVERAL] {
        let (source, mut catalog) = linked(b"content");
        let at = |name: &str| source.path().join(name);
        fs::rename(at("in"), at("moved")).expect("a rename");
        fs::write(at("moved/other"), "written under a name that nobody looked at").expect("a file");
        fs::remove_dir_all(at("moved")).expect("gone");
        let found = owed(&source, &mut catalog, mood, |plan| plan.paths(&mut asked(&["moved", "in", "moved/other"])));
        assert_eq!(found, ["one"], "{mood:?}");
        let steps = planned(&source, &mut catalog, Mood::Everyone, |plan| plan.paths(&mut asked(&["one"])));
        assert!(steps.contains(&"put one".into()), "{mood:?}: {steps:?}");
    }
}

#[test]
fn a_removal_that_is_noted_already_does_not_look_for_other_names_again() {
    let (source, mut catalog) = linked(b"content");
    fs::remove_dir_all(source.path().join("in")).expect("gone");
    let gone = |mood, have, catalog: &mut Catalog| {
        owed(&source, catalog, mood, |plan| {
            plan.paths(&mut VecDeque::from([(RelPath::parse(b"in").expect("a path"), have)]))
        })
    };
    assert_eq!(gone(Mood::Everyone, Have::Unknown, &mut catalog), ["one"]);
    assert_eq!(gone(OF_SEVERAL, Have::Gone { approved: true }, &mut catalog), [""; 0]);
}

#[test]
fn other_names_that_were_found_for_one_replica_are_owed_to_the_others() {
    for mood in [ONE, OF_SEVERAL] {
        let (source, mut catalog) = linked(b"content");
        let at = |name: &str| source.path().join(name);
        fs::write(at("in/other"), "written through the other name").expect("a file");
        fs::write(at("beside"), "another file").expect("a file");
        fs::rename(at("beside"), at("in/other")).expect("a rename");
        let found = owed(&source, &mut catalog, mood, |plan| plan.paths(&mut asked(&["in/other"])));
        assert_eq!(found, ["one"], "{mood:?}");
        // Now it is recorded as the other file, and tells nobody any more.
        let found = owed(&source, &mut catalog, Mood::Everyone, |plan| plan.paths(&mut asked(&["in/other"])));
        assert_eq!(found, [""; 0], "{mood:?}");
    }
}

#[test]
fn names_that_are_gone_or_excluded_are_owed_nothing() {
    for mood in [Mood::Everyone, ONE, OF_SEVERAL] {
        let (source, mut catalog) = linked(b"content");
        fs::remove_file(source.path().join("one")).expect("gone");
        fs::remove_file(source.path().join("in/other")).expect("gone");
        for name in ["one", "in/other", "in"] {
            let found = owed(&source, &mut catalog, mood, |plan| plan.paths(&mut asked(&[name])));
            assert_eq!(found, [""; 0], "{mood:?}, {name}");
        }
    }
    let (source, mut catalog) = linked(b"content");
    let filter = Filter::new(fulmar_model::Profile::Plain, [&b"one"[..], &b"other"[..]]).expect("a filter");
    fs::hard_link(source.path().join("one"), source.path().join("third")).expect("a link");
    for name in ["one", "in/other"] {
        let ask = |plan: &mut Plan<'_>| plan.paths(&mut asked(&[name]));
        let Planned { steps, owed, .. } = made(&source, &mut catalog, &filter, Mood::Everyone, ask);
        assert!(owed.is_empty() && steps.iter().all(|step| step.path.is_root()), "{name}: {owed:?}");
    }
}

#[test]
fn other_names_of_a_large_file_are_owed_when_the_one_in_its_place_has_arrived() {
    let (source, mut catalog) = linked(&vec![b'x'; 300_000]);
    let at = |name: &str| source.path().join(name);
    fs::write(at("in/other"), vec![b'y'; 300_000]).expect("a file");
    fs::write(at("beside"), vec![b'z'; 300_000]).expect("a file");
    fs::rename(at("beside"), at("in/other")).expect("a rename");
    planned(&source, &mut catalog, Mood::Everyone, |plan| plan.paths(&mut asked(&["in/other"])));
    let there = arrived(&source, "in/other", 3);
    assert_eq!(owed(&source, &mut catalog, OF_SEVERAL, |plan| plan.shipped(&there)), ["one"]);
}

#[test]
fn what_was_written_through_a_name_that_an_excluded_directory_has_taken_shows_in_the_others() {
    let source = tempfile::tempdir().expect("a directory");
    let at = |name: &str| source.path().join(name);
    fs::write(at("one"), "content").expect("a file");
    fs::hard_link(at("one"), at("cache")).expect("a link");
    let mut catalog = Catalog::in_memory().expect("a catalog");
    operations(&source, &mut catalog, &[("one", Have::Missing), ("cache", Have::Missing)]);
    fs::write(at("cache"), "written through the other name").expect("a file");
    fs::remove_file(at("cache")).expect("no file");
    fs::create_dir(at("cache")).expect("a directory");
    let filter = Filter::new(fulmar_model::Profile::Plain, [&b"cache/"[..]]).expect("a filter");
    let ask = |plan: &mut Plan<'_>| plan.paths(&mut asked(&["cache"]));
    let steps = made(&source, &mut catalog, &filter, Mood::Everyone, ask).steps;
    assert!(steps.iter().any(|step| step.path.to_string() == "one"), "it is planned");
}

#[test]
fn names_of_one_inode_are_linked_however_each_is_asked_for() {
    let source = tempfile::tempdir().expect("a directory");
    fs::write(source.path().join("one"), "content").expect("a file");
    fs::hard_link(source.path().join("one"), source.path().join("other")).expect("a link");
    let mut catalog = Catalog::in_memory().expect("a catalog");
    let first = operations(&source, &mut catalog, &[("one", Have::Missing), ("other", Have::Missing)]);
    assert_eq!(first, ["put one", "link other", "times ."]);
    for (one, other) in
        [(Have::Nothing, Have::Nothing), (Have::Nothing, Have::NothingTorn), (Have::NothingTorn, Have::NothingTorn)]
    {
        let again = operations(&source, &mut catalog, &[("one", one), ("other", other)]);
        assert_eq!(again, ["put one", "link other", "times ."], "asked for as {one:?} and {other:?}");
    }
}

#[test]
fn names_of_one_large_inode_that_arrive_together_are_linked() {
    let source = tempfile::tempdir().expect("a directory");
    fs::write(source.path().join("one"), vec![b'x'; 300_000]).expect("a file");
    fs::hard_link(source.path().join("one"), source.path().join("other")).expect("a link");
    let mut catalog = Catalog::in_memory().expect("a catalog");
    let both = [arrived(&source, "one", 1), arrived(&source, "other", 4)];
    // The first alone tells the catalog of one name; then it knows both.
    for wanted in [&["put one", "put other", "link one", "times ."][..], &["put one", "link other", "times ."]] {
        let steps =
            planned(&source, &mut catalog, ONE, |plan| both.iter().try_for_each(|arrived| plan.shipped(arrived)));
        assert_eq!(steps, wanted);
    }
}

#[test]
fn what_one_replica_has_removed_already_is_removed_from_the_others() {
    let source = tempfile::tempdir().expect("a directory");
    fs::write(source.path().join("file"), "content").expect("a file");
    let mut catalog = Catalog::in_memory().expect("a catalog");
    let of_several = Mood::One { replica: ReplicaId(Id([1; 16])), shared: true };
    let path = || RelPath::parse(b"file").expect("a path");
    let mut plan = |mood, have| {
        let mut asked = VecDeque::from([(path(), have)]);
        let mut steps = planned(&source, &mut catalog, mood, |plan| plan.paths(&mut asked));
        steps.retain(|step| step != "times .");
        steps
    };
    assert_eq!(plan(Mood::Everyone, Have::Unknown), ["put file"]);
    fs::remove_file(source.path().join("file")).expect("it is there");
    // One replica was told by a retry, before the change was planned for everyone.
    assert_eq!(plan(of_several, Have::Gone { approved: true }), ["remove file"]);
    assert_eq!(plan(Mood::Everyone, Have::Unknown), ["gone file"]);
    assert_eq!(plan(of_several, Have::Gone { approved: true }), ["remove file"]);
    assert_eq!(plan(Mood::Everyone, Have::Unknown), [""; 0], "nothing is left to be told");
}

#[test]
fn a_name_that_another_file_takes_between_the_look_and_the_reading_sends_us_to_the_names_it_left() {
    let source = tempfile::tempdir().expect("a directory");
    let [one, other, beside] = ["one", "other", "beside"].map(|name| source.path().join(name));
    fs::write(&one, "content").expect("a file");
    fs::hard_link(&one, &other).expect("a link");
    let mut catalog = Catalog::in_memory().expect("a catalog");
    operations(&source, &mut catalog, &[("one", Have::Missing), ("other", Have::Missing)]);
    planned(&source, &mut catalog, Mood::Everyone, |plan| {
        let path = |text: &str| RelPath::parse(text.as_bytes()).expect("a path");
        fs::write(&other, "written through the other name").expect("a file");
        let stat = plan.look(&path("other"))?.expect("it is there");
        fs::write(&beside, "another file").expect("a file");
        fs::rename(&beside, &other).expect("a rename");
        plan.file(path("other"), stat, Have::Unknown)?;
        assert!(plan.siblings.contains(&path("one")));
        Ok(())
    });
}

#[test]
fn what_was_written_through_a_name_that_is_a_directory_now_shows_in_the_others() {
    let source = tempfile::tempdir().expect("a directory");
    let at = |name: &str| source.path().join(name);
    fs::write(at("one"), "content").expect("a file");
    fs::hard_link(at("one"), at("other")).expect("a link");
    let mut catalog = Catalog::in_memory().expect("a catalog");
    operations(&source, &mut catalog, &[("one", Have::Missing), ("other", Have::Missing)]);
    fs::write(at("other"), "written through the other name").expect("a file");
    fs::remove_file(at("other")).expect("no file");
    fs::create_dir(at("other")).expect("a directory");
    let mut asked = VecDeque::from([(RelPath::parse(b"other").expect("a path"), Have::Unknown)]);
    let steps = planned(&source, &mut catalog, Mood::Everyone, |plan| plan.paths(&mut asked));
    assert!(steps.contains(&"put one".into()) && steps.contains(&"put other".into()), "{steps:?}");
}

#[test]
fn a_name_that_was_on_its_way_when_the_others_were_shipped_is_not_taken_for_linked() {
    let source = tempfile::tempdir().expect("a directory");
    let at = |name: &str| source.path().join(name);
    fs::create_dir(at("before")).expect("a directory");
    fs::write(at("before/one"), "content").expect("a file");
    let mut catalog = Catalog::in_memory().expect("a catalog");
    let mut plan = |name: &str| {
        let mut asked = VecDeque::from([(RelPath::parse(name.as_bytes()).expect("a path"), Have::Unknown)]);
        let mut steps = planned(&source, &mut catalog, Mood::Everyone, |plan| plan.paths(&mut asked));
        steps.retain(|step| !step.starts_with("times"));
        steps
    };
    plan("before/one");
    fs::hard_link(at("before/one"), at("other")).expect("a link");
    fs::write(at("other"), "written through the other name").expect("a file");
    fs::rename(at("before"), at("after")).expect("a rename");
    assert_eq!(plan("other"), ["put other"]);
    assert_eq!(plan("after"), ["rename after"]);
    assert_eq!(plan("other"), ["metadata other"]);
    let one = RelPath::parse(b"after/one").expect("a path");
    let now = Tree::open(source.path()).expect("a directory").stat(&one).expect("a look").expect("it is there");
    let known = catalog.get(&one).expect("a catalog").expect("it moved along");
    assert!(!known.stat.same_version(&now), "a scan finds nothing to be told of it");
}

#[test]
fn what_is_linked_in_the_tick_in_which_it_is_looked_at_proves_nothing() {
    // Where times have ticks.
    let source = tempfile::tempdir_in("/dev/shm").expect("a directory");
    assert!(!Tree::open(source.path()).expect("a directory").multigrain());
    let at = |name: &str| source.path().join(name);
    let path = |name: &str| RelPath::parse(name.as_bytes()).expect("a path");
    fs::write(at("one"), "content").expect("a file");
    let written = Tree::open(source.path()).expect("a directory").stat(&path("one")).expect("a look").expect("a file");
    while Clock::coarse_now() <= written.ctime {
        std::thread::yield_now();
    }
    let mut catalog = Catalog::in_memory().expect("a catalog");
    planned(&source, &mut catalog, Mood::Everyone, |plan| plan.paths(&mut [(path("one"), Have::Unknown)].into()));
    assert!(catalog.get(&path("one")).expect("a catalog").expect("a record").settled);
    let steps = planned(&source, &mut catalog, Mood::Everyone, |plan| {
        fs::hard_link(at("one"), at("other")).expect("a link");
        plan.paths(&mut [(path("other"), Have::Unknown)].into())
    });
    assert!(steps.contains(&"link other".into()), "{steps:?}");
    for name in ["one", "other"] {
        assert!(!catalog.get(&path(name)).expect("a catalog").expect("a record").settled, "{name}");
    }
}

#[test]
fn a_directory_that_is_moved_away_before_its_attributes_are_read_proves_nothing() {
    for another in [false, true] {
        let source = tempfile::tempdir().expect("a directory");
        let at = |path: &str| source.path().join(path);
        fs::create_dir_all(at("above/directory")).expect("directories");
        let mut catalog = Catalog::in_memory().expect("a catalog");
        let path = RelPath::parse(b"above/directory").expect("a path");
        let mut looked = None;
        planned(&source, &mut catalog, Mood::Everyone, |plan| {
            looked = plan.look(&path)?;
            fs::rename(at("above"), at("elsewhere")).expect("a rename");
            if another {
                fs::create_dir_all(at("above/directory")).expect("directories");
            }
            plan.directory(path.clone(), looked.expect("a directory"))
        });
        let record = catalog.get(&path).expect("a catalog").expect("a record");
        assert!(!record.proves(&looked.expect("a directory")), "another one there: {another}");
    }
}

/// The file "one", which is recorded, and its further name "further", which is only known.
fn beside_one() -> (tempfile::TempDir, Catalog, FurtherNames) {
    let source = tempfile::tempdir().expect("a directory");
    fs::write(source.path().join("one"), "content").expect("a file");
    let mut catalog = Catalog::in_memory().expect("a catalog");
    operations(&source, &mut catalog, &[("one", Have::Missing)]);
    fs::hard_link(source.path().join("one"), source.path().join("further")).expect("a link");
    let path = RelPath::parse(b"further").expect("a path");
    let stat = Tree::open(source.path()).expect("a directory").stat(&path).expect("a look").expect("a file");
    let (sender, mut further) = FurtherNames::channel();
    sender.try_send((path, stat.inode)).expect("there is room");
    further.gather();
    (source, catalog, further)
}

/// What a plan for the further name makes of it: the paths of its steps and those that are given a change of their own, and
/// whether the name is done with.
fn with_further_name(mood: Mood, meanwhile: impl FnOnce(&std::path::Path, &std::path::Path)) -> (Vec<String>, bool) {
    let (source, mut catalog, further) = beside_one();
    meanwhile(&source.path().join("one"), &source.path().join("further"));
    let fill = |plan: &mut Plan<'_>| plan.paths(&mut asked(&["further"]));
    let planned = made_knowing(&further, &source, &mut catalog, &Filter::default(), mood, fill);
    let told = planned.steps.iter().map(|step| &step.path).chain(&planned.owed);
    let mut told: Vec<_> = told.map(RelPath::to_string).filter(|path| path != ".").collect();
    told.sort();
    told.dedup();
    (told, planned.dealt_with.iter().map(|(path, _)| path.to_string()).eq(["further"]))
}

#[test]
fn what_was_written_through_a_name_that_nobody_recorded_is_looked_for_under_the_others() {
    let write = |further: &std::path::Path| fs::write(further, "written through it").expect("a file");
    let everyone = |meanwhile: fn(&std::path::Path, &std::path::Path)| with_further_name(Mood::Everyone, meanwhile);
    let removed = |mood| {
        with_further_name(mood, |_, further| {
            write(further);
            fs::remove_file(further).expect("removed");
        })
    };
    assert_eq!(removed(Mood::Everyone), (vec!["one".into()], true));
    assert_eq!(removed(OF_SEVERAL), (vec!["further".into(), "one".into()], true), "the others are told as well");
    assert!(!removed(Mood::DryRun).1, "nobody was told");
    let replaced = everyone(|one, further| {
        fs::write(further, "written through it").expect("a file");
        fs::write(one.with_file_name("another"), "another").expect("a file");
        fs::rename(one.with_file_name("another"), further).expect("a rename");
    });
    assert_eq!(replaced, (vec!["further".into(), "one".into()], true));
    assert!(everyone(|_, _| ()).1, "recorded");
}

#[test]
fn a_further_name_that_is_not_recorded_yet_is_not_forgotten() {
    let large = |_: &std::path::Path, further: &std::path::Path| {
        fs::write(further, vec![7; 300 * 1024]).expect("a file");
    };
    assert_eq!(with_further_name(Mood::Everyone, large), (vec!["further".into()], false));
}

#[test]
fn what_is_written_while_a_plan_is_made_through_a_name_that_goes_is_seen_by_that_plan() {
    use std::os::unix::fs::PermissionsExt;
    let write = |path: &std::path::Path| fs::write(path, "written").expect("a file");
    let chmod = |path: &std::path::Path| fs::set_permissions(path, PermissionsExt::from_mode(0o600)).expect("a file");
    // The content goes with the plan, or only metadata.
    for change in [&write as &dyn Fn(&std::path::Path), &chmod] {
        let (source, mut catalog, further) = beside_one();
        let at = |name: &str| source.path().join(name);
        change(&at("one"));
        made_knowing(&further, &source, &mut catalog, &Filter::default(), Mood::Everyone, |plan| {
            plan.paths(&mut asked(&["one"]))?;
            fs::write(at("further"), "written once more").expect("a file");
            fs::remove_file(at("further")).expect("removed");
            plan.paths(&mut asked(&["further"]))
        });
        let one = RelPath::parse(b"one").expect("a path");
        let now = Tree::open(source.path()).expect("a directory").stat(&one).expect("a look").expect("a file");
        assert!(catalog.get(&one).expect("a catalog").expect("a record").stat.same_version(&now));
    }
}
