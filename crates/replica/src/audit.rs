//! The far side of an audit: reads all of the tree, tells what it comes to, and answers what is asked of what differs.
//!
//! Nothing is locked, made or written (records are read beside their writer), so a replica may be followed at the same time, and a directory that was never a replica
//! may be audited. One thread works; the session hands questions to it and says that somebody is alive.

use crate::identity::Identity;
use crate::open::{STORE, open_to_read};
use crate::session::Options;
use crate::{Error, Result};
use fulmar_link::{Lane, Link, Sender};
use fulmar_model::{Depth, Filter, Found, Mailbox, Node, Recall, RelPath, TreeId};
use fulmar_store::CatalogReader;
use fulmar_tree::audit::{Audited, Auditing, Looker, Meter, Records, Scope, audit, mailbox_at, mailboxes, readers};
use fulmar_tree::{Part, Tree};
use fulmar_wire::{
    Answer, Begin, Begun, Digest, FRAME_BYTES_MAX, FromPrimary, FromReplica, LOOKS_MAX, Linked, PAGE_ENTRIES_MAX,
    Question,
};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TrySendError, sync_channel};
use std::time::Duration;

/// Questions that wait; a primary has no more than half of that unanswered.
const QUESTIONS: usize = 16;
/// How often the primary is told how far it is.
const PROGRESS: Duration = Duration::from_secs(1);
/// What an entry or a name takes in a frame besides name, link target and path.
const ENTRY_BYTES: usize = 256;

/// Answers until the primary leaves.
pub(crate) async fn answer(root: PathBuf, begin: Begin, link: &mut Link, options: Options) -> Result<()> {
    let patterns = begin.patterns.iter().map(|pattern| &**pattern);
    let filter = Filter::new(begin.profile, patterns).map_err(|_| Error::Protocol("a pattern that is none"))?;
    let trust = begin.trust;
    let records = trust.and_then(|trust| records(&root, trust.tree));
    let recalls = trust.is_some().then_some(records.is_some());
    let depth = trust.map_or(Depth::Deep, |trust| trust.depth);
    let scope = Scope::between(begin.after.clone(), begin.upto.clone());
    let how = Auditing {
        filter,
        scope: scope.ok_or(Error::Protocol("a range that ends before it begins"))?,
        trusted: begin.privileged && options.privileged,
        threads: readers(depth, begin.idle),
        rate: begin.rate.and_then(std::num::NonZeroU64::new),
        idle: begin.idle,
        records,
        depth,
        links_only: begin.links_only == Some(true),
    };
    let (to_open, asked) = (root.clone(), begin);
    let opened = tokio::task::spawn_blocking(move || open_to_read(&to_open, &asked, &options)).await;
    let tree = opened.map_err(|_| Error::Panicked)??;
    let root = root.as_os_str().as_bytes().into();
    let begun = Begun { host: (options.host)().into(), root, privileged: options.privileged, recalls };
    say(&link.sender, Answer::Begun(begun)).await?;
    let meter = Arc::new(Meter::default());
    let (asking, asked) = sync_channel(QUESTIONS);
    let reader = Reader { tree, how, meter: Arc::clone(&meter), questions: asked, answers: link.sender.clone() };
    let mut work = tokio::task::spawn_blocking(move || reader.run());
    let mut tick = tokio::time::interval(PROGRESS);
    let result = loop {
        tokio::select! {
            frame = link.receiver.receive() => {
                let question = match frame.map(|frame| FromPrimary::decode(frame.body())) {
                    Ok(Ok(FromPrimary::Audit(question))) => question,
                    Ok(Ok(_)) => break Err(Error::Protocol("something else than a question in an audit")),
                    Ok(Err(error)) => break Err(error.into()),
                    Err(error) => break Err(error.into()),
                };
                match asking.try_send(question) {
                    Ok(()) => {}
                    Err(TrySendError::Full(_)) => break Err(Error::Protocol("more was asked than was agreed on")),
                    // It has failed, and says why below.
                    Err(TrySendError::Disconnected(_)) => break Ok(()),
                }
            }
            ended = &mut work => return ended.map_err(|_| Error::Panicked)?,
            _ = tick.tick() => {
                let (files, bytes) = meter.read();
                if let Err(error) = say(&link.sender, Answer::Progress { files, bytes }).await {
                    break Err(error);
                }
            }
        }
    };
    meter.stop();
    // It ends with the questions, and does not wait for a link that nobody reads: its receiver is dropped with the session.
    drop(asking);
    result
}

/// What was recorded of the replica at `root`, where it is one of `tree` and its store can be read beside its writer.
fn records(root: &Path, tree: TreeId) -> Option<Records> {
    if Identity::read(root)?.tree != tree {
        return None;
    }
    let path = root.join(STORE);
    let open = move || match CatalogReader::open_replica(&path) {
        Ok(reader) => Some(Box::new(reader) as Box<dyn Recall>),
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "the records cannot be read");
            None
        }
    };
    // Once to see whether there are any.
    open().map(|_| Records::new(open))
}

async fn say(to: &Sender, answer: Answer) -> Result<()> {
    Ok(to.send(Lane::Urgent, FromReplica::Audit(answer).encode()?).await?)
}

/// The thread that works.
struct Reader {
    tree: Tree,
    how: Auditing,
    meter: Arc<Meter>,
    questions: Receiver<Question>,
    answers: Sender,
}

impl Reader {
    fn run(self) -> Result<()> {
        let audited = audit(&self.tree, &RelPath::root(), &self.how, &self.meter)?;
        self.say(Answer::Digest(Digest {
            entry: audited.entry().clone(),
            below: audited.below(),
            links: audited.links().map(|links| links.digest()),
            unread: audited.counts().unread,
            mounts: audited.counts().mounts,
            read: Some(self.meter.read().1),
        }))?;
        while let Ok(question) = self.questions.recv() {
            match question {
                Question::Begin(_) => return Err(Error::Protocol("a second beginning of an audit")),
                Question::List { question, directory, part } => self.list(&audited, question, &directory, part)?,
                Question::Look { question, paths } => self.look(question, &paths)?,
                Question::Buckets => {
                    let digests = audited.links().map(|links| links.bucket_digests()).unwrap_or_default();
                    self.say(Answer::Buckets { digests })?;
                }
                Question::Names { bucket } => self.names(&audited, bucket)?,
                Question::Mailboxes { paths } => self.mailboxes(&paths)?,
                Question::Unread => {
                    let all = audited.unread().to_vec();
                    self.pages(
                        all,
                        |unread| unread.path.as_bytes().len(),
                        |paths, more| Answer::Unread { more, paths },
                    )?;
                }
            }
        }
        Ok(())
    }

    fn say(&self, answer: Answer) -> Result<()> {
        Ok(self.answers.send_blocking(Lane::Urgent, FromReplica::Audit(answer).encode()?)?)
    }

    /// As many messages as it takes, one at least.
    fn pages<T>(&self, all: Vec<T>, size: impl Fn(&T) -> usize, page: impl Fn(Vec<T>, bool) -> Answer) -> Result<()> {
        let (mut some, mut bytes) = (Vec::new(), 0);
        for item in all {
            let size = size(&item) + ENTRY_BYTES;
            bytes += size;
            if some.len() == PAGE_ENTRIES_MAX || bytes > FRAME_BYTES_MAX / 2 {
                self.say(page(std::mem::take(&mut some), true))?;
                bytes = size;
            }
            some.push(item);
        }
        self.say(page(some, false))
    }

    fn list(&self, audited: &Audited, question: u32, directory: &RelPath, part: (u32, u32)) -> Result<()> {
        let part = Part::new(part.0, part.1).ok_or(Error::Protocol("an impossible part of a directory"))?;
        if directory.is_private() {
            return Err(Error::Protocol("a listing of the private directory"));
        }
        match audited.list(directory, part, &self.meter) {
            Ok(entries) => {
                let page = |entries, more| Answer::Entries { question, more, entries, errno: None };
                self.pages(entries, size, page)
            }
            Err(fulmar_tree::Error::Stopped) => Err(fulmar_tree::Error::Stopped.into()),
            Err(error) => {
                let errno = Some(error.errno());
                self.say(Answer::Entries { question, more: false, entries: Vec::new(), errno })
            }
        }
    }

    fn look(&self, question: u32, paths: &[(RelPath, bool)]) -> Result<()> {
        if paths.len() > LOOKS_MAX || paths.iter().any(|(path, _)| path.is_private()) {
            return Err(Error::Protocol("a look at too much, or at the private directory"));
        }
        let mut looker = Looker::new(&self.tree, &self.how, &self.meter);
        for (path, content) in paths {
            let look = looker.look(path, *content);
            self.say(Answer::Seen { question, look })?;
        }
        Ok(())
    }

    fn mailboxes(&self, paths: &[RelPath]) -> Result<()> {
        if paths.len() > LOOKS_MAX || paths.iter().any(RelPath::is_private) {
            return Err(Error::Protocol("a look at too much, or at the private directory"));
        }
        let all = match paths {
            [] => mailboxes(&self.tree, &self.how, &self.meter)?,
            paths => paths.iter().filter_map(|path| mailbox_at(&self.tree, path, &self.meter)).collect(),
        };
        // A path, and a few names.
        let size = |mailbox: &Mailbox| {
            let names = mailbox.absent.iter().chain(&mailbox.cut).map(|name| name.as_bytes().len());
            mailbox.path.as_bytes().len() + names.sum::<usize>()
        };
        self.pages(all, size, |mailboxes, more| Answer::Mailboxes { more, mailboxes })
    }

    fn names(&self, audited: &Audited, bucket: u8) -> Result<()> {
        let linked = |(path, mark): (&RelPath, u128)| Linked { path: path.clone(), mark: mark.to_be_bytes() };
        let all = audited.links().map(|links| links.bucket(bucket).map(linked).collect()).unwrap_or_default();
        let page = |names, more| Answer::Names { bucket, more, names };
        self.pages(all, |linked: &Linked| linked.path.as_bytes().len(), page)
    }
}

fn size(found: &Found) -> usize {
    let target = match &found.entry.node {
        Node::Symlink { target } => target.len(),
        _ => 0,
    };
    found.name.as_bytes().len() + target
}
