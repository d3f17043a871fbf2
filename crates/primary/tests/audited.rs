//! A replica that breaks the rules of an audit costs its own verdict and nothing else: it is played here, at the far end of a
//! link in memory.

use fulmar_link::{Lane, Link};
use fulmar_model::{Below, Entry, Filter, Found, Hash, Id, Name, Node, Profile, Tally, Timestamp, XattrDigest};
use fulmar_primary::{AuditSettings, Endpoint, Error, Inspection, Target, Verdict};
use fulmar_tree::audit::Scope;
use fulmar_wire::{Answer, Begun, Digest, FromPrimary, FromReplica, Question};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

type Played = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How an audit with the replica that `play` plays ends.
async fn audit_with(play: fn(Link) -> Played) -> Result<Verdict, Error> {
    let source = tempfile::tempdir().expect("a directory");
    std::fs::write(source.path().join("a"), "1").expect("a file");
    let serve = move |link, _| drop(tokio::spawn(play(link)));
    let settings = AuditSettings {
        source: source.path().to_path_buf(),
        endpoints: vec![Endpoint { name: "played".to_owned(), target: Target::Here(Arc::new(serve)) }],
        profile: Profile::Plain,
        patterns: Vec::new(),
        filter: Filter::default(),
        scope: Scope::default(),
        threads: 1,
        rate: None,
        idle: false,
        boot: Id([3; 16]),
        privileged: false,
    };
    let (findings, mut found) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move { while found.recv().await.is_some() {} });
    let mut inspection = Inspection::start(settings, findings).await.expect("it starts");
    let ended = tokio::time::timeout(Duration::from_secs(30), inspection.next()).await;
    ended.expect("the audit ends").expect("there is a replica").result
}

async fn say(link: &mut Link, answer: Answer) {
    let frame = FromReplica::Audit(answer).encode().expect("it fits a frame");
    // The primary may have had enough.
    let _ = link.sender.send(Lane::Urgent, frame).await;
}

/// The next question; `None` when the primary has left.
async fn hear(link: &mut Link) -> Option<Question> {
    match FromPrimary::decode(link.receiver.receive().await.ok()?.body()).expect("it can be understood") {
        FromPrimary::Audit(question) => Some(question),
        other => panic!("no question: {other:?}"),
    }
}

fn directory() -> Entry {
    let mtime = Timestamp::new(1, 1);
    Entry { node: Node::Directory, mode: 0o755, uid: 0, gid: 0, mtime, xattrs: XattrDigest::default(), group: None }
}

/// Says that it has read everything, that nothing is the same, and that the root has so many names.
async fn read(link: &mut Link, names: u64) {
    assert!(matches!(hear(link).await, Some(Question::Begin(_))));
    say(link, Answer::Begun(Begun { host: Box::default(), root: Box::default(), privileged: false, recalls: None }))
        .await;
    let below =
        Below { digest: Hash([9; 32]), names, tally: Tally { entries: u64::MAX, files: u64::MAX, bytes: u64::MAX } };
    let digest = Digest { entry: directory(), below, links: Some(Hash([9; 32])), unread: 0, mounts: 0, read: None };
    say(link, Answer::Digest(digest)).await;
}

fn unsorted(mut link: Link) -> Played {
    Box::pin(async move {
        read(&mut link, 1).await;
        let Some(Question::List { question, .. }) = hear(&mut link).await else { panic!("no question for the root") };
        let name = |text: &[u8]| Name::parse(text).expect("a name");
        let entries = [&b"b"[..], b"a"].map(|text| Found { name: name(text), entry: directory(), below: None });
        say(&mut link, Answer::Entries { question, more: true, entries: entries.into(), errno: None }).await;
        while hear(&mut link).await.is_some() {}
    })
}

fn unasked(mut link: Link) -> Played {
    Box::pin(async move {
        read(&mut link, 1).await;
        say(&mut link, Answer::Buckets { digests: Vec::new() }).await;
        while hear(&mut link).await.is_some() {}
    })
}

/// More parts than there is memory for, if they were all made at once; then it ends.
fn vast(mut link: Link) -> Played {
    Box::pin(async move {
        read(&mut link, u64::MAX).await;
        let Some(Question::List { part, .. }) = hear(&mut link).await else { panic!("no question for the root") };
        assert!(part.0 == 0 && part.1 <= 65_536, "{part:?}");
    })
}

/// Without end: nothing but progress between a listing's pages that are never the last.
fn endless(mut link: Link) -> Played {
    Box::pin(async move {
        read(&mut link, 1).await;
        let Some(Question::List { question, .. }) = hear(&mut link).await else { panic!("no question for the root") };
        for page in 0..2000u32 {
            let entry = Entry { node: Node::Symlink { target: vec![b'x'; 4095].into() }, ..directory() };
            let name = |at: u32| Name::parse(format!("{page:05}{at:05}").as_bytes()).expect("a name");
            let entries = (0..100).map(|at| Found { name: name(at), entry: entry.clone(), below: None }).collect();
            say(&mut link, Answer::Entries { question, more: true, entries, errno: None }).await;
        }
        while hear(&mut link).await.is_some() {}
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_out_of_order_or_without_end_ends_the_audit_of_that_replica() {
    for play in [unsorted as fn(Link) -> Played, endless] {
        let ended = audit_with(play).await;
        assert!(matches!(ended, Err(Error::Protocol("a listing out of order, or without end"))), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_to_nothing_ends_the_audit_of_that_replica() {
    let ended = audit_with(unasked).await;
    assert!(matches!(ended, Err(Error::Protocol("an answer to something else"))), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_claims_to_be_vast_is_asked_part_by_part() {
    let ended = audit_with(vast).await;
    assert!(matches!(ended, Err(Error::Link(_))), "{ended:?}");
}
