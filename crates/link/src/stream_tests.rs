//! Frames over byte streams: cut anywhere, compressed or not, hostile, and in the right order.

use super::*;
use crate::{BULK_FRAMES, Lane};
use fulmar_wire::FromPrimary;
use proptest::prelude::*;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::io::DuplexStream;
use tokio::time::Instant;

/// What one side writes, counted.
struct Counted<W>(W, Arc<AtomicU64>);

impl<W: AsyncWrite + Unpin> AsyncWrite for Counted<W> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = written {
            self.1.fetch_add(count as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(count)) = written {
            self.1.fetch_add(count as u64, Ordering::Relaxed);
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Two sides with `pipe_bytes` of pipe between them, and the number of bytes that the first has written.
async fn linked(pipe_bytes: usize, rate: Option<NonZeroU64>) -> (Link, Link, Arc<AtomicU64>) {
    let (near, far) = tokio::io::duplex(pipe_bytes);
    let (near_read, near_write) = tokio::io::split(near);
    let (far_read, far_write) = tokio::io::split(far);
    let count = Arc::new(AtomicU64::new(0));
    let near = over(near_read, Counted(near_write, count.clone()), rate);
    let (here, there) = tokio::join!(near, over(far_read, far_write, None));
    (here.expect("linked"), there.expect("linked"), count)
}

/// A side that says of itself that it has `features`, and the bytes of the other one.
async fn linked_by_hand(features: u64) -> (Link, DuplexStream) {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    far.write_all(&Preface { features, ..Preface::OURS }.encode()).await.expect("room");
    let (read, write) = tokio::io::split(near);
    let link = over(read, write, None).await.expect("linked");
    let mut preface = [0; PREFACE_BYTES];
    far.read_exact(&mut preface).await.expect("a preface");
    assert_eq!(preface, Preface::OURS.encode());
    (link, far)
}

fn chunk(bytes: &[u8]) -> Frame {
    FromPrimary::encode_chunk(1, 0, bytes).expect("a short frame")
}

fn ping() -> Frame {
    FromPrimary::Ping.encode().expect("a short frame")
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

/// About 2 KiB, with what mails have in common and what they have not.
fn mail(number: u64) -> Vec<u8> {
    let words =
        ["the", "minutes", "of", "our", "meeting", "are", "attached", "please", "answer", "until", "Friday", "is"];
    let random = noise(300, number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let id = random.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
    let body = random.iter().map(|byte| words[usize::from(*byte) % words.len()]).collect::<Vec<_>>().join(" ");
    format!(
        "Return-Path: <user{number}@example.com>\r\nReceived: from mx.example.com (mx.example.com [192.0.2.7])\r\n\
         \tby mail.example.org with ESMTPS id {id}\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Message-ID: <{id}@example.com>\r\nSubject: number {number}\r\n\r\n{body}\r\n"
    )
    .into_bytes()
}

/// Sends frames and takes them at the other side, one after the other.
async fn carry(here: &Link, there: &mut Link, frames: impl IntoIterator<Item = Frame>) -> u64 {
    let mut sent = 0;
    for frame in frames {
        sent += frame.as_bytes().len() as u64;
        here.sender.send(Lane::Bulk, frame.clone()).await.expect("room");
        assert!(there.receiver.receive().await.expect("a frame") == frame);
    }
    sent
}

#[tokio::test]
async fn frames_arrive_whole_however_the_bytes_are_cut() {
    let (here, mut there, _) = linked(7, None).await;
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
    let (mut link, mut far) = linked_by_hand(0).await;
    far.write_all(&u32::MAX.to_be_bytes()).await.expect("room");
    assert!(matches!(link.receiver.receive().await, Err(Error::Frame(_))));
}

#[tokio::test]
async fn mails_shrink_to_a_third_although_each_is_sent_alone() {
    let (here, mut there, count) = linked(1 << 20, None).await;
    let sent = carry(&here, &mut there, (0..1000).map(|number| chunk(&mail(number)))).await;
    let written = count.load(Ordering::Relaxed);
    assert!(written * 3 < sent, "{written} bytes written for {sent}");
}

#[tokio::test]
async fn what_does_not_shrink_grows_by_less_than_a_hundredth() {
    let (here, mut there, count) = linked(1 << 20, None).await;
    let sent = carry(&here, &mut there, (0..100).map(|seed| chunk(&noise(100_000, seed)))).await;
    let written = count.load(Ordering::Relaxed);
    assert!(written * 100 < sent * 101, "{written} bytes written for {sent}");
    // Text shrinks again afterwards, though not at once.
    let sent = carry(&here, &mut there, (0..20_000).map(|number| chunk(&mail(number)))).await;
    let written = count.load(Ordering::Relaxed) - written;
    assert!(written * 2 < sent, "{written} bytes written for {sent}");
}

#[tokio::test]
async fn a_side_without_compression_is_sent_plain_bytes_and_may_send_them() {
    let (mut link, mut far) = linked_by_hand(0).await;
    for _ in 0..3 {
        link.sender.send(Lane::Urgent, ping()).await.expect("room");
        let mut bytes = vec![0; ping().as_bytes().len()];
        far.read_exact(&mut bytes).await.expect("a frame");
        assert_eq!(bytes, ping().as_bytes());
        far.write_all(ping().as_bytes()).await.expect("room");
        assert_eq!(link.receiver.receive().await.expect("a frame"), ping());
    }
}

#[tokio::test]
async fn what_is_not_compressed_as_agreed_ends_the_link() {
    let (mut link, mut far) = linked_by_hand(COMPRESSION).await;
    far.write_all(ping().as_bytes()).await.expect("room");
    let error = link.receiver.receive().await.expect_err("that is no zstd");
    assert!(matches!(error, Error::Unpack(_)) && !error.is_final(), "{error:?}");
    assert_eq!(error.to_string(), "decompress what the other side sent");
}

#[tokio::test]
async fn a_compressed_stream_that_is_cut_short_ends_the_link() {
    let (mut link, mut far) = linked_by_hand(COMPRESSION).await;
    let packed = zstd::encode_all(ping().as_bytes(), 1).expect("memory");
    far.write_all(&packed[..packed.len() - 4]).await.expect("room");
    drop(far);
    assert!(matches!(link.receiver.receive().await, Err(Error::Closed)));
}

#[tokio::test]
async fn what_comes_along_with_the_preface_is_read() {
    for features in [0, COMPRESSION] {
        let (near, mut far) = tokio::io::duplex(1000);
        let frame = ping();
        let packed = zstd::encode_all(frame.as_bytes(), 1).expect("memory");
        let behind = if features == 0 { frame.as_bytes() } else { &packed };
        let preface = Preface { features, ..Preface::OURS }.encode();
        far.write_all(&[&preface, behind].concat()).await.expect("room");
        let (read, write) = tokio::io::split(near);
        let mut link = over(read, write, None).await.expect("linked");
        assert_eq!(link.receiver.receive().await.expect("a frame"), frame);
    }
}

#[tokio::test]
async fn a_bomb_is_read_frame_by_frame_in_bounded_memory() {
    let (mut link, mut far) = linked_by_hand(COMPRESSION).await;
    let frame = chunk(&vec![0; 1_000_000]);
    let packed = zstd::encode_all(&*frame.as_bytes().repeat(60), 1).expect("memory");
    assert!(packed.len() < 20_000, "{} bytes", packed.len());
    far.write_all(&packed).await.expect("room");
    for _ in 0..60 {
        assert!(link.receiver.receive().await.expect("a frame") == frame);
        let Source::Stream { stream, .. } = &link.receiver.0 else { unreachable!("it is a stream") };
        assert!(stream.buffer.capacity() < 5 << 20, "{}", stream.buffer.capacity());
    }
    // An impossible length is refused behind any expansion.
    far.write_all(&zstd::encode_all(&[0xff; 1 << 20][..], 1).expect("memory")).await.expect("room");
    assert!(matches!(link.receiver.receive().await, Err(Error::Frame(_))));
}

#[tokio::test]
async fn a_chunk_takes_the_memory_it_came_in_whatever_came_before() {
    let (here, mut there, _) = linked(1 << 20, None).await;
    let large = chunk(&noise(256 * 1024, 9));
    for round in 0..3 {
        // More than is read at once, so that a part of one is left over.
        for number in 0..7000 {
            here.sender.send(Lane::Bulk, chunk(&noise(80, number))).await.expect("room");
        }
        for _ in 0..7000 {
            there.receiver.receive().await.expect("a frame");
        }
        carry(&here, &mut there, std::iter::repeat_n(large.clone(), 3)).await;
        let Source::Stream { stream, .. } = &there.receiver.0 else { panic!("no stream") };
        // It went with the last chunk, and nothing has come since.
        assert_eq!((stream.buffer.capacity(), stream.consumed), (0, 0), "{round}");
    }
}

#[tokio::test]
async fn urgent_frames_overtake_bulk_frames_that_wait_for_a_slow_link() {
    let (here, mut there, _) = linked(100, None).await;
    let bulk = (0..=BULK_FRAMES as u64).map(|seed| chunk(&noise(200_000, seed))).collect::<Vec<_>>();
    // The first is taken by the writer, which finds no room for it on the link; the others fill the lane.
    for frame in &bulk {
        here.sender.send(Lane::Bulk, frame.clone()).await.expect("room in the lane");
        tokio::task::yield_now().await;
    }
    for _ in 0..2 {
        here.sender.send(Lane::Urgent, ping()).await.expect("room");
    }
    assert!(there.receiver.receive().await.expect("a frame") == bulk[0]);
    for _ in 0..2 {
        assert_eq!(there.receiver.receive().await.expect("a frame"), ping());
    }
    for frame in &bulk[1..] {
        assert!(there.receiver.receive().await.expect("a frame") == *frame);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_bounds_what_is_written_and_not_what_is_sent() {
    let rate = 50_000;
    let (here, mut there, count) = linked(1 << 20, NonZeroU64::new(rate)).await;
    let began = Instant::now();
    let sent = carry(&here, &mut there, (0..1000).map(|number| chunk(&mail(number)))).await;
    drop(here);
    // The link ends when the last pause does.
    assert!(matches!(there.receiver.receive().await, Err(Error::Closed)));
    let (written, took) = (count.load(Ordering::Relaxed), began.elapsed().as_secs_f64());
    assert!(written * 3 < sent, "{written} bytes written for {sent}");
    let expected = written as f64 / rate as f64;
    assert!(took > expected * 0.99 && took < expected * 1.1 + 2.0, "{took} s for {written} bytes");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_frames_arrive_in_order_over_any_pipe(
        bodies in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 1..500),
                (any::<u64>(), 1..300_000usize).prop_map(|(seed, length)| noise(length, seed)),
                (any::<u8>(), 1..900_000usize).prop_map(|(byte, length)| vec![byte; length]),
            ],
            1..8,
        ),
        pipe_bytes in prop_oneof![1..50usize, 50..300_000usize],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (here, mut there, _) = linked(pipe_bytes, None).await;
            let frames = bodies.iter().map(|body| chunk(body)).collect::<Vec<_>>();
            let sending = async {
                for frame in &frames {
                    here.sender.send(Lane::Bulk, frame.clone()).await.expect("room");
                }
            };
            let receiving = async {
                for frame in &frames {
                    assert!(there.receiver.receive().await.expect("a frame") == *frame);
                }
            };
            tokio::join!(sending, receiving);
        });
    }
}
