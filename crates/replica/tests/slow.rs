//! A replica at the far end of a link on which bytes take their time.

mod hello;

use fulmar_link::over;
use fulmar_replica::serve;
use fulmar_wire::{FromPrimary, FromReplica, PREFACE_BYTES, Preface};
use hello::{OPTIONS, hello};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, interval, timeout};

/// Well within the silence after which a primary gives up.
const SOON: Duration = Duration::from_secs(25);

async fn hear(link: &mut DuplexStream) -> FromReplica {
    let length = link.read_u32().await.expect("a frame");
    let mut body = vec![0; length.try_into().expect("a length")];
    link.read_exact(&mut body).await.expect("a body");
    FromReplica::decode(body).expect("a message")
}

#[tokio::test(start_paused = true)]
async fn a_replica_says_that_it_lives_while_a_frame_arrives_and_ends_when_nothing_does() {
    let place = tempfile::tempdir().expect("a directory");
    let root = place.path().join("replica");
    let (mut near, far) = tokio::io::duplex(1 << 20);
    let (from, to) = tokio::io::split(far);
    let replica = tokio::spawn(async move {
        let link = over(from, to, None).await.expect("a link");
        // The end of the link is how a visit ends.
        let _ = serve(root, link, OPTIONS).await;
    });
    // Without the bit of compression.
    near.write_all(&Preface { features: 0, ..Preface::OURS }.encode()).await.expect("room");
    near.read_exact(&mut [0; PREFACE_BYTES]).await.expect("a preface");
    near.write_all(FromPrimary::Hello(hello()).encode().expect("a frame").as_bytes()).await.expect("room");
    assert!(matches!(hear(&mut near).await, FromReplica::Welcome(_)));

    // A byte now and then, of a frame that does not get complete.
    near.write_all(&1000u32.to_be_bytes()).await.expect("room");
    let mut heard = Instant::now();
    let mut pace = interval(Duration::from_secs(5));
    for _ in 0..200 {
        pace.tick().await;
        near.write_all(&[1]).await.expect("room");
        if let Ok(answer) = timeout(Duration::from_millis(1), hear(&mut near)).await {
            assert_eq!(answer, FromReplica::Pong);
            heard = Instant::now();
        }
        assert!(heard.elapsed() < SOON, "no word for {:?}", heard.elapsed());
    }
    // The last bytes may not have been spoken of.
    let _ = timeout(SOON, hear(&mut near)).await;
    assert!(timeout(10 * SOON, hear(&mut near)).await.is_err(), "nothing arrives, and it speaks");
    timeout(4 * SOON, replica).await.expect("it ends where nobody is").expect("without a fault");
    drop(near);
}
