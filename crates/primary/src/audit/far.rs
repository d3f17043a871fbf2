//! The far side of an audit: questions go out, answers come in the order of the questions.

use super::inspection::Pulse;
use crate::{Error, Result};
use fulmar_link::{Lane, Link};
use fulmar_model::{Found, Look, Mailbox, Node, RelPath};
use fulmar_tree::Part;
use fulmar_wire::{Answer, FromPrimary, FromReplica, Linked, Question};
use std::time::Duration;
use tokio::sync::watch;

/// A replica that works says so every second; this much silence is none.
const SILENCE: Duration = Duration::from_secs(90);
/// Bytes of one part of a directory that are taken: more than 65 536 names of any length, with what belongs to them.
const LISTING_BYTES_MAX: usize = 64 << 20;
/// What an entry takes besides its name and a link target.
const ENTRY_BYTES: usize = 256;

/// The other side.
pub(super) struct Far {
    link: Link,
    question: u32,
    pulse: watch::Sender<Pulse>,
}

impl Far {
    pub(super) fn new(link: Link, pulse: watch::Sender<Pulse>) -> Self {
        Self { link, question: 0, pulse }
    }

    pub(super) async fn ask(&mut self, question: Question) -> Result<()> {
        Ok(self.link.sender.send(Lane::Urgent, FromPrimary::Audit(question).encode()?).await?)
    }

    /// The next answer; progress goes elsewhere.
    pub(super) async fn answer(&mut self) -> Result<Answer> {
        loop {
            let Some(frame) = self.link.receiver.hear(SILENCE).await? else {
                return Err(Error::ReplicaFailed { text: format!("no word for {} seconds", SILENCE.as_secs()) });
            };
            match FromReplica::decode(frame.body())? {
                FromReplica::Audit(Answer::Progress { files, bytes }) => {
                    self.pulse.send_modify(|pulse| (pulse.files, pulse.bytes) = (files, bytes));
                }
                FromReplica::Audit(answer) => return Ok(answer),
                FromReplica::Refused { reason, text } => return Err(Error::Refused { reason, text }),
                FromReplica::Failed { text } => return Err(Error::ReplicaFailed { text }),
                _ => return Err(Error::Protocol("something else than an answer in an audit")),
            }
        }
    }

    /// Asks what is in a directory; gives the number of the question.
    pub(super) async fn ask_list(&mut self, directory: &RelPath, part: Part) -> Result<u32> {
        self.question = self.question.wrapping_add(1);
        let (question, part) = (self.question, (part.index(), part.of()));
        self.ask(Question::List { question, directory: directory.clone(), part }).await?;
        Ok(question)
    }

    /// The answer to that, which must be the next. The error number when it cannot be listed.
    pub(super) async fn list(&mut self, asked: u32) -> Result<std::result::Result<Vec<Found>, i32>> {
        let (mut all, mut bytes): (Vec<Found>, usize) = (Vec::new(), 0);
        loop {
            match self.answer().await? {
                Answer::Entries { question, more, entries, errno } if question == asked => {
                    if let Some(errno) = errno {
                        return Ok(Err(errno));
                    }
                    for found in entries {
                        bytes += size(&found);
                        let sorted = all.last().is_none_or(|last| last.name < found.name);
                        if !sorted || bytes > LISTING_BYTES_MAX {
                            return Err(Error::Protocol("a listing out of order, or without end"));
                        }
                        all.push(found);
                    }
                    if !more {
                        return Ok(Ok(all));
                    }
                }
                _ => return Err(Error::Protocol("an answer to something else")),
            }
        }
    }

    pub(super) async fn ask_looks(&mut self, paths: Vec<(RelPath, bool)>) -> Result<u32> {
        self.question = self.question.wrapping_add(1);
        let question = self.question;
        self.ask(Question::Look { question, paths }).await?;
        Ok(question)
    }

    /// One of the answers to that.
    pub(super) async fn look(&mut self, asked: u32) -> Result<Look> {
        match self.answer().await? {
            Answer::Seen { question, look } if question == asked => Ok(look),
            _ => Err(Error::Protocol("an answer to something else")),
        }
    }

    /// The next mailboxes; false: none follow. What a peer says of them is sorted by the caller.
    pub(super) async fn mailboxes(&mut self) -> Result<(Vec<Mailbox>, bool)> {
        match self.answer().await? {
            Answer::Mailboxes { more, mailboxes } => Ok((mailboxes, more)),
            _ => Err(Error::Protocol("an answer to something else")),
        }
    }

    /// The names in a bucket, `max` of them at most; the others are left out.
    pub(super) async fn names(&mut self, wanted: u8, max: usize) -> Result<Vec<Linked>> {
        let mut all = Vec::new();
        loop {
            match self.answer().await? {
                Answer::Names { bucket, more, names } if bucket == wanted && !(more && names.is_empty()) => {
                    all.extend(names);
                    all.truncate(max);
                    if !more {
                        return Ok(all);
                    }
                }
                _ => return Err(Error::Protocol("an answer to something else")),
            }
        }
    }
}

fn size(found: &Found) -> usize {
    let target = match &found.entry.node {
        Node::Symlink { target } => target.len(),
        _ => 0,
    };
    found.name.as_bytes().len() + target + ENTRY_BYTES
}
