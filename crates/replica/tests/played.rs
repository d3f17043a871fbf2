//! A replica at work for a primary that is played here, at the near end of a link in memory.

mod hello;

use fulmar_link::{Lane, Link, pair};
use fulmar_model::{Entry, Hash, LinkGroup, Node, Outcome, Record, RelPath, Stat, Timestamp, XattrDigest, Xattrs};
use fulmar_replica::serve;
use fulmar_store::{Intent, ReplicaStore};
use fulmar_wire::{Content, DOUBTS_MAX, FromPrimary, FromReplica, Offer, Operation};
use hello::{OPTIONS, hello};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::JoinHandle;

/// Says hello to a replica at `root`.
async fn visit(root: &Path) -> (Link, JoinHandle<()>) {
    let (mut near, far) = pair();
    let root = root.to_owned();
    let replica = tokio::spawn(async move {
        // The end of the link is how a visit ends.
        let _ = serve(root, far, OPTIONS).await;
    });
    say(&mut near, FromPrimary::Hello(hello())).await;
    assert!(matches!(hear(&mut near).await, FromReplica::Welcome(_)));
    (near, replica)
}

async fn say(link: &mut Link, what: FromPrimary) {
    link.sender.send(Lane::Urgent, what.encode().expect("it fits a frame")).await.expect("the replica listens");
}

async fn hear(link: &mut Link) -> FromReplica {
    let frame = link.receiver.receive().await.expect("the replica speaks");
    FromReplica::decode(frame.body()).expect("it can be understood")
}

/// Has one batch carried out; gives what did not go well.
async fn batch(link: &mut Link, number: u64, operations: Vec<Operation>) -> Vec<(u32, Outcome)> {
    committed(link, number, operations).await.0
}

/// The same, and the number of versions in quarantine.
async fn committed(link: &mut Link, number: u64, operations: Vec<Operation>) -> (Vec<(u32, Outcome)>, u64) {
    for operation in operations {
        say(link, FromPrimary::Operate(operation)).await;
    }
    say(link, FromPrimary::Commit { batch: number, position: None }).await;
    match hear(link).await {
        FromReplica::Committed { batch, outcomes, quarantined } if batch == number => (outcomes, quarantined),
        other => panic!("not an answer to batch {number}: {other:?}"),
    }
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

fn entry(node: Node, group: Option<u64>) -> Entry {
    let mtime = Timestamp::new(1_700_000_000, 5);
    Entry { node, mode: 0o755, uid: 0, gid: 0, mtime, xattrs: XattrDigest::default(), group: group.map(LinkGroup) }
}

/// A directory which is `inode` on the primary.
fn directory(at: &str, inode: u64) -> Operation {
    let entry = entry(Node::Directory, Some(inode));
    Operation::Put { path: path(at), entry, xattrs: Xattrs::default(), content: Content::None }
}

fn fifo(at: &str) -> Operation {
    Operation::Put { path: path(at), entry: entry(Node::Fifo, None), xattrs: Xattrs::default(), content: Content::None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_stands_for_another_one_is_compared() {
    let place = tempfile::tempdir().expect("a directory");
    let (mut link, _) = visit(&place.path().join("replica")).await;
    let first = vec![directory("a", 10), directory("a/d", 11), fifo("a/d/stale")];
    assert_eq!(batch(&mut link, 1, first).await, []);
    assert_eq!(batch(&mut link, 2, vec![directory("a/d", 11)]).await, [], "the same directory again");
    let another = batch(&mut link, 3, vec![directory("a/d", 12)]).await;
    assert_eq!(another, [(0, Outcome::NeedCompare { depth: 2 })], "what is in it is the other's");
    assert_eq!(batch(&mut link, 4, vec![directory("a/d", 12)]).await, [], "it is known by its number from then on");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_batch_intended_and_did_not_do_leaves_the_records_alone() {
    let place = tempfile::tempdir().expect("a directory");
    let root = place.path().join("replica");
    let (mut link, replica) = visit(&root).await;
    assert_eq!(batch(&mut link, 1, vec![directory("a", 10), fifo("a/b")]).await, []);
    drop(link);
    replica.await.expect("it ends with its link");

    // As a process leaves it that is killed right before it makes a directory of `a/b`, with something in it.
    let (mut store, _) = ReplicaStore::open(&root.join(".fulmar/store.db")).expect("a store");
    let record = store.catalog().get(&path("a/b")).expect("a look").expect("it was recorded");
    let other = Record { stat: Stat { inode: record.stat.inode + 1000, ..record.stat }, ..record };
    store.intend(&[Intent { path: path("a/b/c"), record: other, from: None }]).expect("written down");
    drop(store);

    let (mut link, _) = visit(&root).await;
    let done = committed(&mut link, 1, vec![directory("a/b", 11), fifo("a/b/c")]).await;
    assert_eq!(done, (vec![], 0), "it is ours, and goes without quarantine");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_directory_appears_with_all_that_its_batch_has_for_it() {
    let place = tempfile::tempdir().expect("a directory");
    let root = place.path().join("replica");
    let (mut link, _) = visit(&root).await;
    let leaf = root.join("above/leaf");
    // Looks until there is something to be seen.
    let first_sight = std::thread::spawn(move || {
        let began = std::time::Instant::now();
        while began.elapsed().as_secs() < 60 {
            if let Ok(names) = leaf.read_dir() {
                return names.count();
            }
        }
        0
    });
    let names: Vec<_> = (0..400).map(|name| format!("above/leaf/{name}")).collect();
    let operations = [directory("above", 10), directory("above/leaf", 11)].into_iter();
    let operations = operations.chain(names.iter().map(|name| fifo(name))).collect();
    assert_eq!(committed(&mut link, 1, operations).await, (vec![], 0));
    assert_eq!(first_sight.join().expect("a look"), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_built_and_needed_no_more_gives_its_entries_away() {
    let place = tempfile::tempdir().expect("a directory");
    let root = place.path().join("replica");
    let (mut link, _) = visit(&root).await;
    let twice = vec![directory("a", 10), directory("a/d", 11), directory("a", 10), fifo("a/x"), fifo("a/d/y")];
    assert_eq!(committed(&mut link, 1, twice).await, (vec![], 0));
    assert!(root.join("a/x").exists() && root.join("a/d/y").exists());
    assert_eq!(root.join(".fulmar/stage").read_dir().expect("a stage").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_built_and_has_no_place_to_go_leaves_nothing_behind() {
    let place = tempfile::tempdir().expect("a directory");
    let root = place.path().join("replica");
    let (mut link, _) = visit(&root).await;
    let below = vec![directory("none/a", 10), directory("none/a/d", 11), fifo("none/a/x"), fifo("none/a/d/y")];
    let outcomes = batch(&mut link, 1, below).await;
    assert_eq!(outcomes.len(), 4, "{outcomes:?}");
    assert_eq!(root.join(".fulmar/stage").read_dir().expect("a stage").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_at_a_path_and_replaced_in_one_batch_is_nobody_elses() {
    let place = tempfile::tempdir().expect("a directory");
    let root = place.path().join("replica");
    let (mut link, _) = visit(&root).await;
    let symlink = |target: &str, group| entry(Node::Symlink { target: target.as_bytes().into() }, group);
    let put =
        |at: &str, entry| Operation::Put { path: path(at), entry, xattrs: Xattrs::default(), content: Content::None };
    let linked = Operation::Link {
        path: path("a/two"),
        target: path("a/one"),
        entry: symlink("old", Some(5)),
        xattrs: Xattrs::default(),
    };
    let operations = vec![
        directory("a", 10),
        put("a/one", symlink("old", Some(5))),
        linked,
        put("a/two", symlink("new", None)),
        put("a/two", symlink("newer", None)),
    ];
    assert_eq!(committed(&mut link, 1, operations).await, (vec![], 0));
    let target = |name: &str| std::fs::read_link(root.join("a").join(name)).expect("a symlink");
    assert_eq!((target("one"), target("two")), ("old".into(), "newer".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_what_is_still_in_another_group_asks_for_content() {
    let place = tempfile::tempdir().expect("a directory");
    let (mut link, _) = visit(&place.path().join("replica")).await;
    let linked = |at: &str, target: &str, inode| Operation::Link {
        path: path(at),
        target: path(target),
        entry: entry(Node::Fifo, Some(inode)),
        xattrs: Xattrs::default(),
    };
    let put = |at: &str, inode| Operation::Put {
        path: path(at),
        entry: entry(Node::Fifo, Some(inode)),
        xattrs: Xattrs::default(),
        content: Content::None,
    };
    assert_eq!(batch(&mut link, 1, vec![put("a", 5), linked("b", "a", 5)]).await, []);
    // On the primary `b` is another inode by now, and has a second name.
    assert_eq!(batch(&mut link, 2, vec![linked("c", "b", 6)]).await, [(0, Outcome::NeedContent)]);
    assert_eq!(batch(&mut link, 3, vec![put("c", 6), linked("b", "c", 6)]).await, []);
    let inode = |name: &str| {
        std::os::unix::fs::MetadataExt::ino(&place.path().join("replica").join(name).symlink_metadata().unwrap())
    };
    assert_eq!(inode("b"), inode("c"));
    assert_ne!(inode("a"), inode("b"));
}

#[tokio::test]
async fn no_more_is_doubted_at_once_than_was_agreed_on() {
    let folder = tempfile::tempdir().expect("a directory");
    let (mut link, replica) = visit(&folder.path().join("replica")).await;
    let doubt = |count| FromPrimary::Doubt { paths: vec![path("file"); count] };
    say(&mut link, doubt(DOUBTS_MAX)).await;
    say(&mut link, FromPrimary::Ping).await;
    assert!(matches!(hear(&mut link).await, FromReplica::Pong));
    say(&mut link, doubt(DOUBTS_MAX + 1)).await;
    say(&mut link, FromPrimary::Ping).await;
    assert!(matches!(hear(&mut link).await, FromReplica::Failed { .. }));
    drop(link);
    replica.await.expect("it does not panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrived_of_several_files_whose_patches_were_refused_is_found_by_their_paths() {
    let place = tempfile::tempdir().expect("a directory");
    let root = place.path().join("replica");
    let (mut link, replica) = visit(&root).await;
    let offer = |stream, at, basis| FromPrimary::Offer(Offer { stream, path: path(at), size: 7, basis });
    // Both patches have been sent when the first is refused.
    for (stream, at) in [(1, "a"), (4, "b")] {
        say(&mut link, offer(stream, at, Some(Hash([9; 32])))).await;
        link.sender
            .send(Lane::Urgent, FromPrimary::encode_chunk(stream, 0, b"a patch").expect("it fits"))
            .await
            .unwrap();
    }
    let (first, second) = (b"content of a", b"content of b");
    for (stream, bytes) in [(2, first), (5, second)] {
        link.sender.send(Lane::Urgent, FromPrimary::encode_chunk(stream, 0, bytes).expect("it fits")).await.unwrap();
    }
    // Credit for all of it comes with the end of one.
    say(&mut link, FromPrimary::Chunk { stream: 7, offset: 0, bytes: Default::default() }).await;
    while !matches!(hear(&mut link).await, FromReplica::Credit { .. }) {}
    drop(link);
    replica.await.expect("it ends with its link");

    let (mut link, _) = visit(&root).await;
    for (stream, at, bytes) in [(1, "a", first), (2, "b", second)] {
        say(&mut link, offer(stream, at, None)).await;
        let FromReplica::Basis(basis) = hear(&mut link).await else { panic!("not an answer to an offer") };
        assert_eq!(basis.hash, Some(fulmar_tree::hash_bytes(bytes)), "{at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_costs_no_credit_is_waited_for_and_so_is_a_chunk_behind_it() {
    // More than there is room for, while answers are not read and nothing gets on.
    const OFFERS: u64 = 1000;
    const ROOM: usize = 1040;
    let place = tempfile::tempdir().expect("a directory");
    let (mut link, _) = visit(&place.path().join("replica")).await;
    let (sender, sent) = (link.sender.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        let offers = (0..OFFERS).flat_map(|stream| {
            let offer = FromPrimary::Offer(Offer { stream, path: path("large"), size: 7, basis: None });
            [offer, FromPrimary::Abandon { stream }]
        });
        for message in offers {
            sender.send(Lane::Bulk, message.encode().expect("it fits a frame")).await.expect("the replica listens");
            counted.fetch_add(1, Ordering::Relaxed);
        }
        // The end of a file, and so all the credit there is.
        let chunk = FromPrimary::encode_chunk(OFFERS, 0, &[]).expect("it fits a frame");
        sender.send(Lane::Bulk, chunk).await.expect("the replica listens");
    });
    while sent.load(Ordering::Relaxed) < ROOM && !sending.is_finished() {
        tokio::task::yield_now().await;
    }
    let mut answers = 0;
    loop {
        match hear(&mut link).await {
            FromReplica::Basis(_) => answers += 1,
            FromReplica::Credit { .. } => break,
            FromReplica::Pong => {}
            other => panic!("not an answer to an offer: {other:?}"),
        }
    }
    assert_eq!(answers, OFFERS);
    sending.await.expect("everything was sent");
}
