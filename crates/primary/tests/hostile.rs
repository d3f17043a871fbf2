//! A replica that breaks the rules, or away in the worst moment, costs its own session and nothing else: it is played here,
//! at the far end of a link in memory.

mod played;

use fulmar_link::{Lane, Link};
use fulmar_model::{Id, ReplicaId};
use fulmar_primary::{Error, Primary};
use fulmar_wire::{FromPrimary, FromReplica, Want, Welcome};
use played::settings;
use std::pin::Pin;
use std::time::Duration;

/// What the real replica grants.
const CREDIT_BYTES: u32 = 4 << 20;
/// More than the primary may keep in memory of what a replica says; few enough for a test to be quick.
const FLOOD: u32 = 50_000;

type Played = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A source with one large file.
fn source() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for name in ["source", "state"] {
        std::fs::create_dir(directory.path().join(name)).expect("a directory");
    }
    std::fs::write(directory.path().join("source/large"), vec![b'x'; 16 << 20]).expect("a file");
    directory
}

/// How a sync with the replica that `play` plays ends.
async fn sync_with(play: fn(Link) -> Played) -> Option<Error> {
    let directory = source();
    let settings = settings(directory.path(), move |link| drop(tokio::spawn(play(link))));
    let (_primary, mut sessions) = Primary::start(settings, None).await.expect("it starts");
    let ended = tokio::time::timeout(Duration::from_secs(20), sessions.next()).await;
    ended.expect("the session ends").expect("there is a session").error
}

async fn say(link: &mut Link, what: FromReplica) {
    // The primary may have had enough.
    let _ = link.sender.send(Lane::Urgent, what.encode().expect("it fits a frame")).await;
}

async fn hear(link: &mut Link) -> FromPrimary {
    let frame = link.receiver.receive().await.expect("the primary speaks");
    FromPrimary::decode(frame.body()).expect("it can be understood")
}

async fn welcome(link: &mut Link) {
    assert!(matches!(hear(link).await, FromPrimary::Hello(_)));
    let replica = ReplicaId(Id([4; 16]));
    let welcome = Welcome { replica, position: None, owners: true, credit: CREDIT_BYTES, quarantined: 0 };
    say(link, FromReplica::Welcome(welcome)).await;
}

/// Lacks everything, and takes it, until the first chunk of a large file comes.
async fn until_a_chunk_comes(link: &mut Link) {
    loop {
        match hear(link).await {
            FromPrimary::Survey { .. } => say(link, FromReplica::Surveyed { fingerprint: None }).await,
            FromPrimary::Page(page) => {
                let wants = (0..).zip(&page.entries).map(|(index, _)| Want { index, have: None }).collect();
                say(link, FromReplica::Wanted { page: page.page, wants }).await;
            }
            FromPrimary::Commit { batch, .. } => {
                say(link, FromReplica::Committed { batch, outcomes: Vec::new(), quarantined: 0 }).await;
            }
            FromPrimary::Chunk { .. } => return,
            _ => {}
        }
    }
}

#[tokio::test]
async fn credit_that_was_not_used_is_refused() {
    let error = sync_with(|mut link| {
        Box::pin(async move {
            welcome(&mut link).await;
            say(&mut link, FromReplica::Credit { bytes: 1 }).await;
            std::future::pending::<()>().await;
        })
    })
    .await;
    assert!(matches!(error, Some(Error::Protocol("more credit than was used"))), "{error:?}");
}

#[tokio::test]
async fn a_flood_of_credit_is_not_kept_in_memory() {
    let error = sync_with(|mut link| {
        Box::pin(async move {
            welcome(&mut link).await;
            until_a_chunk_comes(&mut link).await;
            // Nothing is read any more, so that the shipper waits for the link and takes no credit.
            for _ in 0..FLOOD {
                say(&mut link, FromReplica::Credit { bytes: 1 }).await;
            }
            std::future::pending::<()>().await;
        })
    })
    .await;
    assert!(matches!(error, Some(Error::Protocol("more credit than was used"))), "{error:?}");
}

#[tokio::test]
async fn a_link_that_ends_under_a_large_file_is_a_link_that_ended() {
    let error = sync_with(|mut link| {
        Box::pin(async move {
            welcome(&mut link).await;
            until_a_chunk_comes(&mut link).await;
            let Link { sender, receiver } = link;
            // The shipper notices at once, the session only when there is nothing more to hear.
            drop(receiver);
            for _ in 0..FLOOD {
                let _ = sender.send(Lane::Urgent, FromReplica::Pong.encode().expect("it fits a frame")).await;
            }
        })
    })
    .await;
    assert!(matches!(error, Some(Error::Link(fulmar_link::Error::Closed))), "{error:?}");
}
