//! A large file that is prepared once for several replicas: who leads reads it, and tells how far it has come and what came of
//! it; who follows sends what is there.
//!
//! Nobody waits for a follower. A follower waits for its leader for a moment, and then prepares the file itself.

use crate::spool::{Piece, Spool};
use fulmar_model::{Hash, Stat, Timestamp, Xattrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch;

/// Chunks that are prepared for a follower who asks: so much that he need not ask for each.
const AHEAD: usize = 16;

/// Something that was prepared, and held still meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) stat: Stat,
    pub(crate) xattrs: Xattrs,
    pub(crate) hash: Hash,
    /// The coarse clock when reading began.
    pub(crate) began: Timestamp,
    /// Offset of the chunk that ends the stream.
    pub(crate) end: u64,
}

/// Why nobody sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It changed while it was read.
    Moving,
    /// What was read is not what was recorded.
    Rotten,
}

/// How a preparation ended.
#[derive(Clone, Debug)]
enum End {
    Prepared(Arc<Prepared>),
    Flawed(Flaw),
    /// There was no room: everyone for himself.
    Alone,
}

/// How far a preparation has come.
#[derive(Debug)]
pub(crate) struct Progress {
    spool: Spool,
    end: Option<End>,
}

/// Of who prepares. Dropped without an end: another one has to begin anew.
#[derive(Debug)]
pub(crate) struct Lead {
    progress: watch::Sender<Progress>,
    /// How much more a follower has asked for.
    asked: Arc<AtomicUsize>,
}

/// Of who sends what another one prepares.
#[derive(Debug)]
pub(crate) struct Follow {
    progress: watch::Receiver<Progress>,
    asked: Arc<AtomicUsize>,
}

/// What a follower has to do.
#[derive(Debug)]
pub(crate) enum Next {
    /// To send this.
    Piece(Piece),
    /// To end with this, as everything was sent.
    End(Arc<Prepared>),
    /// To end without it.
    Flawed(Flaw),
    /// To wait; the leader has read on since the last time.
    Soon,
    /// To wait.
    Nothing,
    /// To prepare it itself.
    Left,
}

/// The two ends of a preparation, of which the second may be cloned.
pub(crate) fn preparation(spool: Spool) -> (Lead, Follow) {
    let (progress, seen) = watch::channel(Progress { spool, end: None });
    let asked = Arc::<AtomicUsize>::default();
    (Lead { progress, asked: Arc::clone(&asked) }, Follow { progress: seen, asked })
}

impl Lead {
    /// Where the next that is prepared begins, or lies behind.
    pub(crate) fn end(&self) -> u64 {
        self.progress.borrow().spool.end()
    }

    /// Tells of what is at `offset`. False: there is no room for it, and nobody follows from here on.
    pub(crate) fn publish(&self, offset: u64, bytes: &[u8]) -> bool {
        let mut added = false;
        self.progress.send_modify(|progress| {
            added = progress.spool.add(offset, bytes);
            progress.end = (!added).then_some(End::Alone);
        });
        added
    }

    /// Tells that more of the file was read, whatever came of it.
    pub(crate) fn beat(&self) {
        self.progress.send_modify(|_| {});
    }

    pub(crate) fn prepared(&self, prepared: Arc<Prepared>) {
        self.progress.send_modify(|progress| progress.end = Some(End::Prepared(prepared)));
    }

    pub(crate) fn flawed(&self, flaw: Flaw) {
        self.progress.send_modify(|progress| progress.end = Some(End::Flawed(flaw)));
    }

    /// What is there at `at` or follows it.
    pub(crate) fn piece(&self, at: u64, max: usize) -> Option<Piece> {
        self.progress.borrow().spool.piece(at, max)
    }

    /// Whether anybody sends what is prepared here. One way is kept for those who come later.
    pub(crate) fn is_followed(&self) -> bool {
        self.progress.receiver_count() > 1
    }

    /// Whether a follower has asked for more, and has not got [`AHEAD`] since: each call counts.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |asked| asked.checked_sub(1)).is_ok()
    }
}

impl Follow {
    /// For one more.
    pub(crate) fn another(&self) -> Self {
        Self { progress: self.progress.clone(), asked: Arc::clone(&self.asked) }
    }

    /// What comes behind `at`, at most `max` bytes of it.
    pub(crate) fn next(&mut self, at: u64, max: usize) -> Next {
        // Before the look: its last word is never taken for its death.
        let left = self.progress.has_changed().is_err();
        let progress = self.progress.borrow_and_update();
        let beaten = progress.has_changed();
        match (progress.spool.piece(at, max), &progress.end) {
            (_, Some(End::Alone)) => Next::Left,
            (_, Some(End::Flawed(flaw))) => Next::Flawed(*flaw),
            (Some(piece), _) => Next::Piece(piece),
            (None, Some(End::Prepared(prepared))) => Next::End(Arc::clone(prepared)),
            (None, None) if left => Next::Left,
            (None, None) if beaten => Next::Soon,
            (None, None) => Next::Nothing,
        }
    }

    /// Has the leader go on, though its own replica may not be ready for more.
    pub(crate) fn ask(&self) {
        self.asked.store(AHEAD, Ordering::Relaxed);
    }

    /// Whether it came to nothing, which another one need not.
    pub(crate) fn is_lost(&self) -> bool {
        let over = self.is_over();
        match self.progress.borrow().end {
            None => over,
            Some(End::Flawed(_)) => true,
            Some(End::Prepared(_) | End::Alone) => false,
        }
    }

    /// Whether nothing more comes.
    pub(crate) fn is_over(&self) -> bool {
        self.progress.has_changed().is_err()
    }

    /// Whether it is for nobody else.
    pub(crate) fn is_alone(&self) -> bool {
        matches!(self.progress.borrow().end, Some(End::Alone))
    }
}
