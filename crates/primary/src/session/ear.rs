//! What is heard of a replica, read beside the session: so the replica can always get rid of its answers, and a replica that is
//! gone is given up whatever the session waits for, be it room on the link. Nothing else decides that a replica is gone.
//!
//! Life is that bytes arrive from it. One that reads and has nothing to answer says so every few seconds, and while nothing is
//! under way it is asked. So a slow link is waited for as long as anything moves on it, and one that reads and says nothing is not.
//! A replica that speaks all the time is asked now and then all the same: it ends when it hears of nobody.

use crate::{Error, Result};
use fulmar_link::{Lane, Receiver, Sender};
use fulmar_wire::{FromPrimary, FromReplica};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Answers read ahead: more than the windows of a session can cause.
const INBOX: usize = 2048;
/// Silence after which the replica is asked whether it is there, and after which it is given up.
const SILENCE_ASK: Duration = Duration::from_secs(20);
const SILENCE_END: Duration = Duration::from_secs(90);
/// The longest that a replica which speaks is not asked.
const GREET: Duration = Duration::from_secs(60);
/// How long a session may take to get to the end of a link that has ended.
const END: Duration = Duration::from_secs(20);

/// Ways to a session: closed when dropped.
type Answers = mpsc::Sender<Result<FromReplica>>;

/// The task that listens; it ends with why nothing more is to be heard. With it come its ends of link and session: whoever finds
/// one of those closed would say so in the place of why.
pub(super) struct Ear(AbortOnDropHandle<(Error, Receiver, Answers)>);

/// Begins to listen. What was heard comes in order; an error is the last.
pub(super) fn open(mut receiver: Receiver, sender: Sender) -> (mpsc::Receiver<Result<FromReplica>>, Ear) {
    let (answers, inbox) = mpsc::channel(INBOX);
    let listening = async move {
        let error = listen(&mut receiver, &sender, &answers).await;
        (error, receiver, answers)
    };
    (inbox, Ear(AbortOnDropHandle::new(tokio::spawn(listening))))
}

impl Ear {
    /// Does `work` until it is done or the replica is given up.
    pub(super) async fn beside(self, work: impl Future<Output = Result<()>>) -> Result<()> {
        tokio::select! {
            biased;
            ended = work => ended,
            gone = self.0 => Err(gone.map_or(Error::Gone, |(error, ..)| error)),
        }
    }
}

async fn listen(receiver: &mut Receiver, sender: &Sender, answers: &Answers) -> Error {
    let mut greeted = Instant::now();
    let error = loop {
        let frame = match hear(receiver, sender).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Error::ReplicaFailed { text: format!("no word for {} seconds", SILENCE_END.as_secs()) },
            Err(error) => break error.into(),
        };
        if greeted.elapsed() >= GREET {
            greeted = Instant::now();
            // An error is met by whoever sends, or hears, next.
            let _ = ask(sender);
        }
        match FromReplica::decode(frame.body()) {
            // It has served its purpose.
            Ok(FromReplica::Pong) => {}
            Ok(answer) => {
                if answers.send(Ok(answer)).await.is_err() {
                    return Error::Gone;
                }
            }
            Err(error) => break error.into(),
        }
    };
    // Behind what came before it, which counts. A session that waits for room on a link that has ended never gets there.
    if answers.send(Err(error)).await.is_ok() {
        tokio::time::sleep(END).await;
    }
    Error::Link(fulmar_link::Error::Closed)
}

/// The next frame; `None`: there is nobody.
async fn hear(receiver: &mut Receiver, sender: &Sender) -> fulmar_link::Result<Option<fulmar_wire::Frame>> {
    if let Some(frame) = receiver.hear(SILENCE_ASK).await? {
        return Ok(Some(frame));
    }
    ask(sender)?;
    receiver.hear(SILENCE_END - SILENCE_ASK).await
}

/// Where there is no room, enough is under way to be answered, or nobody reads.
fn ask(sender: &Sender) -> fulmar_link::Result<()> {
    match FromPrimary::Ping.encode() {
        Ok(ping) => sender.try_send(Lane::Urgent, ping).map(drop),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fulmar_link::pair;
    use tokio::time::interval;

    fn ping() -> fulmar_wire::Frame {
        FromPrimary::Ping.encode().expect("a short frame")
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_stops_reading_is_given_up_while_the_session_waits_for_room() {
        let (here, _there) = pair();
        let (_inbox, ear) = open(here.receiver, here.sender.clone());
        let began = Instant::now();
        let fill = async {
            loop {
                here.sender.send(Lane::Urgent, ping()).await?;
            }
        };
        let ended = tokio::time::timeout(2 * SILENCE_END, ear.beside(fill)).await.expect("it is given up");
        assert!(matches!(ended, Err(Error::ReplicaFailed { text }) if text == "no word for 90 seconds"));
        assert_eq!(began.elapsed().as_secs(), SILENCE_END.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_speaks_all_the_time_is_asked_all_the_same() {
        let (here, mut there) = pair();
        let (_inbox, _ear) = open(here.receiver, here.sender);
        let (mut pace, mut asked) = (interval(Duration::from_secs(5)), 0);
        for _ in 0..100 {
            tokio::select! {
                _ = pace.tick() => {
                    let pong = FromReplica::Pong.encode().expect("a short frame");
                    there.sender.send(Lane::Urgent, pong).await.expect("room");
                }
                frame = there.receiver.receive() => {
                    frame.expect("a ping");
                    asked += 1;
                }
            }
        }
        assert!((5..20).contains(&asked), "{asked} times in 500 s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_listens_is_told_that_nobody_speaks() {
        let (here, _there) = pair();
        let (mut inbox, ear) = open(here.receiver, here.sender);
        let listening = async {
            loop {
                inbox.recv().await.unwrap_or(Err(Error::Link(fulmar_link::Error::Closed)))?;
            }
        };
        let ended = tokio::time::timeout(2 * SILENCE_END, ear.beside(listening)).await.expect("it is given up");
        assert!(matches!(ended, Err(Error::ReplicaFailed { .. })), "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_reads_and_says_nothing_is_given_up() {
        let (here, mut there) = pair();
        let (_inbox, ear) = open(here.receiver, here.sender.clone());
        let mut second = interval(Duration::from_secs(1));
        let reading = async {
            loop {
                here.sender.send(Lane::Urgent, ping()).await?;
                there.receiver.receive().await?;
                second.tick().await;
            }
        };
        let ended = tokio::time::timeout(2 * SILENCE_END, ear.beside(reading)).await.expect("it is given up");
        assert!(matches!(ended, Err(Error::ReplicaFailed { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_answers_when_it_is_asked_is_kept() {
        let (here, mut there) = pair();
        let (_inbox, ear) = open(here.receiver, here.sender);
        let answering = async {
            loop {
                there.receiver.receive().await?;
                there.sender.send(Lane::Urgent, FromReplica::Pong.encode()?).await?;
            }
        };
        assert!(tokio::time::timeout(20 * SILENCE_END, ear.beside(answering)).await.is_err(), "it was given up");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_takes_long_to_arrive_is_waited_for() {
        use tokio::io::AsyncWriteExt;
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let (from, to) = tokio::io::split(near);
        // Without the bit of compression.
        let preface = fulmar_wire::Preface { features: 0, ..fulmar_wire::Preface::OURS };
        far.write_all(&preface.encode()).await.expect("a preface");
        let link = fulmar_link::over(from, to, None).await.expect("a link");
        let (mut inbox, ear) = open(link.receiver, link.sender);
        let text = "x".repeat(100);
        let frame = FromReplica::Failed { text: text.clone() }.encode().expect("a short frame");
        let mut minute = interval(Duration::from_secs(60));
        let slowly = async {
            for byte in frame.as_bytes() {
                minute.tick().await;
                far.write_all(&[*byte]).await.expect("room");
            }
            let heard = inbox.recv().await.expect("an answer")?;
            assert_eq!(heard, FromReplica::Failed { text });
            Ok(())
        };
        ear.beside(slowly).await.expect("it is not given up");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_link_is_heard_by_a_session_that_waits_for_room() {
        let (here, there) = pair();
        let fulmar_link::Link { sender, receiver } = there;
        drop(sender);
        let (_inbox, ear) = open(here.receiver, here.sender);
        let ended = tokio::time::timeout(2 * END, ear.beside(std::future::pending())).await;
        assert!(matches!(ended, Ok(Err(Error::Link(fulmar_link::Error::Closed)))));
        drop(receiver);
    }
}
