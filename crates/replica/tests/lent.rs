//! A replica that is lent its primary's source, by a primary that is played here: what it clones is what the primary has read, or
//! comes whole.

mod hello;

use fulmar_link::{Lane, Link, pair};
use fulmar_model::{Entry, Hash, Node, Outcome, RelPath, Timestamp, XattrDigest, Xattrs};
use fulmar_replica::serve_beside;
use fulmar_testkit::{Format, LoopMount};
use fulmar_tree::{Lender, Tree, hash_bytes};
use fulmar_wire::{Content, FromPrimary, FromReplica, Lend, Operation, chunk_cost};
use hello::{OPTIONS, hello};
use std::fs;
use std::path::Path;

const CONTENT: &[u8] = &[b'c'; 500_001];

/// A replica in `root`, which has been welcomed, and the source beside it, with `large` in it.
async fn beside(root: &Path, lends: bool) -> Link {
    let (source, replica) = (root.join("source"), root.join("replica"));
    fs::create_dir_all(&source).expect("a source");
    fs::write(source.join("large"), CONTENT).expect("a file");
    let lender = lends.then(|| Lender::new(Tree::open(&source).expect("a tree")));
    let (mut near, far) = pair();
    // The end of the link is how a visit ends.
    tokio::spawn(async move { drop(serve_beside(replica, far, OPTIONS, lender).await) });
    say(&mut near, FromPrimary::Hello(hello())).await;
    assert!(matches!(hear(&mut near).await, FromReplica::Welcome(_)));
    near
}

async fn say(link: &mut Link, what: FromPrimary) {
    link.sender.send(Lane::Urgent, what.encode().expect("it fits a frame")).await.expect("the replica listens");
}

async fn hear(link: &mut Link) -> FromReplica {
    let frame = link.receiver.receive().await.expect("the replica speaks");
    FromReplica::decode(frame.body()).expect("it can be understood")
}

async fn chunk(link: &mut Link, stream: u64, offset: u64, bytes: &[u8]) {
    say(link, FromPrimary::Chunk { stream, offset, bytes: bytes.to_vec().into() }).await;
}

/// The next that is said of a stream: whether it was asked for whole, before the credit for `chunks` of so many bytes, the last of
/// which ends it, came back.
async fn is_refused(link: &mut Link, stream: u64, chunks: &[usize]) -> bool {
    let (mut refused, mut back) = (false, 0);
    while back < chunks.iter().copied().map(chunk_cost).sum() {
        match hear(link).await {
            FromReplica::Basis(basis) => {
                assert_eq!((basis.stream, basis.hash, basis.more), (stream, None, false));
                refused = true;
            }
            FromReplica::Credit { bytes } => back += bytes,
            other => panic!("not of a stream: {other:?}"),
        }
    }
    refused
}

/// Puts what came in `stream`, content of `hash`, and gives what came of that.
async fn put(link: &mut Link, batch: u64, stream: u64, hash: Hash) -> Vec<(u32, Outcome)> {
    let node = Node::File { size: CONTENT.len() as u64, hash: Some(hash) };
    let mtime = Timestamp::new(1_700_000_000, 5);
    let entry = Entry { node, mode: 0o640, uid: 0, gid: 0, mtime, xattrs: XattrDigest::default(), group: None };
    let content = Content::Stream(stream);
    let path = path("large");
    say(link, FromPrimary::Operate(Operation::Put { path, entry, xattrs: Xattrs::default(), content })).await;
    say(link, FromPrimary::Commit { batch, position: None }).await;
    match hear(link).await {
        FromReplica::Committed { outcomes, .. } => outcomes,
        other => panic!("not an answer to a batch: {other:?}"),
    }
}

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).expect("a path")
}

fn lend(stream: u64) -> FromPrimary {
    FromPrimary::Lend(Lend { stream, path: path("large"), size: CONTENT.len() as u64 })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cloned_counts_only_as_what_the_primary_has_read() {
    let Some(mount) = LoopMount::of(Format::Btrfs, 128 << 20) else { return };
    let mut link = beside(&mount.path(), true).await;
    let (large, read) = (mount.path().join("replica/large"), hash_bytes(CONTENT));
    let refusals: [&[&[u8]]; 4] = [
        // The file was written to between the primary's reading and the clone.
        &[&hash_bytes(b"what was there before").0],
        &[],
        &[&read.0[..31]],
        &[&read.0, b"and more"],
    ];
    for (number, chunks) in (1..).zip(refusals) {
        let stream = number * 10;
        say(&mut link, lend(stream)).await;
        let mut at = 0;
        for bytes in chunks {
            chunk(&mut link, stream, at, bytes).await;
            at += bytes.len() as u64;
        }
        chunk(&mut link, stream, at, &[]).await;
        let sizes: Vec<_> = chunks.iter().map(|chunk| chunk.len()).chain([0]).collect();
        assert!(is_refused(&mut link, stream, &sizes).await, "{chunks:?}");
        assert_eq!(put(&mut link, number, stream, read).await, [(0, Outcome::NeedContent)], "{chunks:?}");
        assert!(!large.exists(), "{chunks:?}");
    }
    say(&mut link, lend(100)).await;
    // In two pieces, which is as good as one.
    chunk(&mut link, 100, 0, &read.0[..20]).await;
    chunk(&mut link, 100, 20, &read.0[20..]).await;
    chunk(&mut link, 100, 32, &[]).await;
    assert!(!is_refused(&mut link, 100, &[20, 12, 0]).await);
    assert_eq!(put(&mut link, 9, 100, read).await, []);
    assert!(fs::read(&large).expect("content") == CONTENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_cloned_comes_in_the_next_stream() {
    // The second: on a file system which may share, a source that nobody lends.
    let Some(mount) = LoopMount::of(Format::Btrfs, 128 << 20) else { return };
    let Some(plain) = LoopMount::of(Format::Ext4, 32 << 20) else { return };
    for (root, lends) in [(plain.path(), true), (mount.path(), false)] {
        let mut link = beside(&root, lends).await;
        say(&mut link, lend(1)).await;
        assert!(
            matches!(hear(&mut link).await, FromReplica::Basis(basis) if basis.stream == 1 && basis.hash.is_none())
        );
        say(&mut link, FromPrimary::Abandon { stream: 1 }).await;
        chunk(&mut link, 2, 0, CONTENT).await;
        chunk(&mut link, 2, CONTENT.len() as u64, &[]).await;
        assert!(!is_refused(&mut link, 2, &[CONTENT.len(), 0]).await);
        assert_eq!(put(&mut link, 1, 2, hash_bytes(CONTENT)).await, []);
        assert!(fs::read(root.join("replica/large")).expect("content") == CONTENT);
    }
}
