//! A replica that is asked by a primary which breaks the rules of an audit, played here at the near end of a link in memory.

use fulmar_link::{Lane, Link, pair};
use fulmar_model::{Depth, Id, Profile, RelPath, ReplicaId, TreeId};
use fulmar_replica::{Options, serve};
use fulmar_wire::{Answer, Begin, FromPrimary, FromReplica, LOOKS_MAX, Question, Trust};
use std::path::Path;

const OPTIONS: Options = Options {
    fresh: ReplicaId(Id([7; 16])),
    boot: Id([8; 16]),
    clock: || 0,
    privileged: true,
    host: || b"far".to_vec(),
};

async fn say(link: &mut Link, question: Question) {
    let frame = FromPrimary::Audit(question).encode().expect("it fits a frame");
    // The replica may have had enough.
    let _ = link.sender.send(Lane::Urgent, frame).await;
}

/// What comes next, progress aside; `None` when the replica has ended.
async fn hear(link: &mut Link) -> Option<FromReplica> {
    loop {
        let frame = link.receiver.receive().await.ok()?;
        match FromReplica::decode(frame.body()).expect("it can be understood") {
            FromReplica::Audit(Answer::Progress { .. }) => {}
            other => return Some(other),
        }
    }
}

fn begin() -> Question {
    begin_with(None, None)
}

/// For a range of directories.
fn begin_with(after: Option<&str>, upto: Option<&str>) -> Question {
    Question::Begin(Begin {
        boot: Id([3; 16]),
        ancestors: Vec::new(),
        source: Box::from(*b"/source"),
        profile: Profile::Plain,
        patterns: Vec::new(),
        privileged: true,
        idle: false,
        rate: None,
        after: after.map(path),
        upto: upto.map(path),
        trust: None,
        links_only: None,
    })
}

/// A replica at `root` that has read everything.
async fn audited(root: &Path) -> Link {
    let mut near = begun(root, begin()).await;
    let first = hear(&mut near).await;
    assert!(matches!(&first, Some(FromReplica::Audit(Answer::Begun(begun))) if *begun.host == *b"far"), "{first:?}");
    assert!(matches!(hear(&mut near).await, Some(FromReplica::Audit(Answer::Digest(_)))));
    near
}

/// A replica at `root` that was told to begin.
async fn begun(root: &Path, begin: Question) -> Link {
    let (mut near, far) = pair();
    let root = root.to_owned();
    tokio::spawn(async move {
        // The end of the link is how it ends.
        let _ = serve(root, far, OPTIONS).await;
    });
    say(&mut near, begin).await;
    near
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

#[tokio::test]
async fn what_no_primary_may_ask_ends_the_audit() {
    let root = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(root.path().join(".fulmar")).expect("a private directory");
    let list = |directory: &str, part| Question::List { question: 1, directory: path(directory), part };
    let look = |paths: Vec<&str>| Question::Look {
        question: 1,
        paths: paths.into_iter().map(|at| (path(at), true)).collect(),
    };
    for question in [
        begin(),
        list("", (1, 1)),
        list("", (0, 0)),
        list(".fulmar", (0, 1)),
        look(vec![".fulmar/identity"]),
        look(vec!["a"; LOOKS_MAX + 1]),
    ] {
        let mut link = audited(root.path()).await;
        say(&mut link, question.clone()).await;
        let last = hear(&mut link).await;
        assert!(matches!(last, Some(FromReplica::Failed { .. })), "{question:?}: {last:?}");
        assert!(hear(&mut link).await.is_none());
    }
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_an_answer_and_no_path_leads_out() {
    let root = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(root.path().join("tree")).expect("a directory");
    std::fs::write(root.path().join("secret"), "1").expect("a file");
    std::os::unix::fs::symlink("..", root.path().join("tree/up")).expect("a symlink");
    let mut link = audited(&root.path().join("tree")).await;
    for at in ["none", "up"] {
        say(&mut link, Question::List { question: 5, directory: path(at), part: (0, 1) }).await;
        let answer = hear(&mut link).await;
        let Some(FromReplica::Audit(Answer::Entries { question: 5, entries, errno, .. })) = answer else {
            panic!("{answer:?}")
        };
        assert!(entries.is_empty() && errno.is_some());
    }
    say(&mut link, Question::Look { question: 6, paths: vec![(path("up/secret"), true)] }).await;
    let answer = hear(&mut link).await;
    let Some(FromReplica::Audit(Answer::Seen { question: 6, look })) = answer else { panic!("{answer:?}") };
    assert_eq!(look.what, fulmar_model::Sighting::Absent);
}

#[tokio::test]
async fn records_of_another_tree_are_not_asked_and_where_there_are_none_the_tree_is_read() {
    let (tree, other) = (TreeId(Id([1; 16])), TreeId(Id([2; 16])));
    for (identity, store, expected) in
        [(None, false, false), (Some(other), true, false), (Some(tree), false, false), (Some(tree), true, true)]
    {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(root.path().join(".fulmar")).expect("a private directory");
        std::fs::write(root.path().join("file"), "content").expect("a file");
        if let Some(tree) = identity {
            let text = format!("tree {tree}\nreplica {}\nterm 1\n", Id([3; 16]));
            std::fs::write(root.path().join(".fulmar/identity"), text).expect("an identity");
        }
        if store {
            fulmar_store::ReplicaStore::open(&root.path().join(".fulmar/store.db")).expect("a store");
        }
        let (mut near, far) = pair();
        let at = root.path().to_owned();
        tokio::spawn(async move {
            // The end of the link is how it ends.
            let _ = serve(at, far, OPTIONS).await;
        });
        let Question::Begin(begin) = begin() else { panic!("a beginning") };
        say(&mut near, Question::Begin(Begin { trust: Some(Trust { tree, depth: Depth::Quick }), ..begin })).await;
        let begun = hear(&mut near).await;
        let Some(FromReplica::Audit(Answer::Begun(begun))) = begun else { panic!("{begun:?}") };
        assert_eq!(begun.recalls, Some(expected), "{identity:?} {store}");
        let digest = hear(&mut near).await;
        let Some(FromReplica::Audit(Answer::Digest(digest))) = digest else { panic!("{digest:?}") };
        assert_eq!(digest.read, Some(7), "nothing is recorded of the file");
    }
}

#[tokio::test]
async fn a_range_that_ends_before_it_begins_is_refused_and_what_no_range_reaches_is_not_told() {
    let root = tempfile::tempdir().expect("a directory");
    for at in ["a", "b", "c"] {
        std::fs::create_dir(root.path().join(at)).expect("a directory");
        std::fs::write(root.path().join(at).join("file"), "1").expect("a file");
    }
    for (after, upto) in [("b", "a"), ("a", "a"), ("a-", "a/b")] {
        let mut link = begun(root.path(), begin_with(Some(after), Some(upto))).await;
        let last = hear(&mut link).await;
        assert!(matches!(last, Some(FromReplica::Failed { .. })), "{after} to {upto}: {last:?}");
    }
    let mut link = begun(root.path(), begin_with(Some("a"), Some("b"))).await;
    assert!(matches!(hear(&mut link).await, Some(FromReplica::Audit(Answer::Begun(_)))));
    let digest = hear(&mut link).await;
    let Some(FromReplica::Audit(Answer::Digest(digest))) = digest else { panic!("{digest:?}") };
    assert_eq!((digest.below.tally.entries, digest.below.tally.files), (1, 1));
    // Something behind `a` could be in it.
    for (directory, told) in [("", vec!["a", "b"]), ("a", vec![]), ("b", vec!["file"]), ("c", vec![])] {
        say(&mut link, Question::List { question: 5, directory: path(directory), part: (0, 1) }).await;
        let answer = hear(&mut link).await;
        let Some(FromReplica::Audit(Answer::Entries { entries, errno: None, .. })) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(entries.iter().map(|found| found.name.to_string()).collect::<Vec<_>>(), told, "{directory}");
    }
}
