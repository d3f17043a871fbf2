//! Both sides in one process: a frame is handed over, not copied.

use crate::link::{Link, Receiver, Source, lanes};
use tokio::time::Instant;

/// The two ends of a link within this process.
pub fn pair() -> (Link, Link) {
    let (to_there, from_here) = lanes();
    let (to_here, from_there) = lanes();
    let heard = Instant::now();
    let here = Link { sender: to_there, receiver: Receiver(Source::Memory { lanes: from_there, heard }) };
    let there = Link { sender: to_here, receiver: Receiver(Source::Memory { lanes: from_here, heard }) };
    (here, there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BULK_FRAMES, Lane};
    use fulmar_wire::FromPrimary;

    #[tokio::test]
    async fn an_urgent_frame_overtakes_waiting_bulk_frames() {
        let (here, mut there) = pair();
        for offset in 0..BULK_FRAMES as u64 {
            let chunk = FromPrimary::encode_chunk(1, offset, b"x").expect("a short frame");
            here.sender.send(Lane::Bulk, chunk).await.expect("room in the lane");
        }
        here.sender.send(Lane::Urgent, FromPrimary::Ping.encode().expect("a short frame")).await.expect("room");
        let first = there.receiver.receive().await.expect("a frame");
        assert_eq!(FromPrimary::decode(first.body()).expect("a message"), FromPrimary::Ping);
    }

    #[tokio::test]
    async fn a_link_ends_when_the_other_end_is_dropped() {
        let (here, mut there) = pair();
        drop(here);
        assert!(matches!(there.receiver.receive().await, Err(crate::Error::Closed)));
    }
}
