//! Frames over byte streams: cut anywhere, hostile, behind a banner.

use super::*;
use crate::Lane;
use fulmar_wire::FromPrimary;

#[tokio::test]
async fn frames_arrive_whole_however_the_bytes_are_cut() {
    let (near, far) = tokio::io::duplex(7);
    let (near_read, near_write) = tokio::io::split(near);
    let (far_read, far_write) = tokio::io::split(far);
    let (here, there) = tokio::join!(over(near_read, near_write, None), over(far_read, far_write, None));
    let (here, mut there) = (here.expect("linked"), there.expect("linked"));
    let sent: Vec<_> = (0..20u64).map(|n| FromPrimary::Commit { batch: n, position: None }).collect();
    for message in &sent {
        here.sender.send(Lane::Urgent, message.encode().expect("short")).await.expect("room");
        let got = there.receiver.receive().await.expect("a frame");
        assert_eq!(&FromPrimary::decode(got.body()).expect("a message"), message);
    }
}

#[tokio::test]
async fn a_banner_is_quoted_and_final() {
    let (near, mut far) = tokio::io::duplex(1000);
    far.write_all(b"Welcome to mail1\x1b[2J\n").await.expect("room");
    let (read, write) = tokio::io::split(near);
    let error = over(read, write, None).await.expect_err("a banner is no preface");
    assert!(error.is_final());
    assert!(error.to_string().contains("Welcome to mail1\\x1b[2J\\n"), "{error}");
}

#[tokio::test]
async fn a_banner_is_quoted_to_its_end_however_it_comes() {
    let preface = Preface::OURS.encode();
    let long = [b'x'; 3 * BANNER_BYTES];
    let table: [(&[&[u8]], String); 4] = [
        (&[b"\n", b"Welcome\n", &preface], "\\nWelcome\\n".to_owned()),
        (&[b"W", b"elcome\n\0ful", b"mar\n"], "Welcome\\n".to_owned()),
        (&[b"\0fulmar\r\n"], "\\x00fulmar\\r\\n".to_owned()),
        (&[&long], "x".repeat(BANNER_BYTES)),
    ];
    for (pieces, quoted) in table {
        let (near, far) = tokio::io::duplex(1);
        let (read, write) = tokio::io::split(near);
        let (mut far_read, mut far_write) = tokio::io::split(far);
        let speak = async move {
            for piece in pieces {
                far_write.write_all(piece).await.expect("room");
            }
            // Neither says more nor ends.
            std::future::pending::<()>().await;
        };
        let hear = tokio::spawn(async move { tokio::io::copy(&mut far_read, &mut tokio::io::sink()).await });
        let error = tokio::select! {
            linked = over(read, write, None) => linked.expect_err("a banner is no preface"),
            () = speak => unreachable!("it is never silent for good"),
        };
        hear.abort();
        assert!(matches!(&error, Error::Banner { text } if *text == quoted), "{error}, wanted {quoted}");
    }
}

#[tokio::test]
async fn an_impossible_length_is_refused_before_memory_is_taken() {
    let (near, mut far) = tokio::io::duplex(1000);
    far.write_all(&Preface::OURS.encode()).await.expect("room");
    far.write_all(&u32::MAX.to_be_bytes()).await.expect("room");
    let (read, write) = tokio::io::split(near);
    let mut link = over(read, write, None).await.expect("linked");
    assert!(matches!(link.receiver.receive().await, Err(Error::Frame(_))));
}
