//! Keeps the watch on the source: answers flushes, and when the source is gone stops removals and looks for it.

use crate::capture::{Capture, EVENTS, Notice};
use crate::further::FurtherName;
use crate::guard::decode_root;
use crate::keeper::{Keeper, background};
use crate::planner::Planner;
use crate::primary::Settings;
use crate::rescan::Rescans;
use crate::settle::Pauses;
use crate::waiting::Flushing;
use crate::{Error, Result};
use fulmar_model::{RelPath, Seq};
use fulmar_store::Queue;
use fulmar_tree::{Tree, identify};
use fulmar_watch::{Event, Meter, RootGone, Watcher};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// How often a source that is gone is looked for.
const LOOK_FOR_SOURCE: Duration = Duration::from_secs(1);

/// Keeps the source watched: owns the watcher, notices when the source goes, and looks for it until it is back.
pub(crate) struct Supervisor {
    pub(crate) settings: Settings,
    pub(crate) queue: Keeper<Queue>,
    pub(crate) planner: Keeper<Planner>,
    pub(crate) rescans: Rescans,
    /// Bumped when the source is back: sessions begin anew with the new handle.
    pub(crate) restarts: watch::Sender<u64>,
    pub(crate) end: CancellationToken,
    pub(crate) meter: Arc<Meter>,
}

impl Supervisor {
    /// Starts capture and the watch; returns when everything that happens from then on is seen.
    pub(crate) async fn start(
        self,
        last: watch::Sender<Seq>,
        further: mpsc::Sender<FurtherName>,
        flushes: mpsc::Receiver<Flushing>,
        found: mpsc::Receiver<RelPath>,
    ) -> Result<()> {
        let (events, events_out) = sync_channel(EVENTS);
        let (notices, notices_out) = mpsc::channel(64);
        let capture = Capture {
            events: events_out,
            queue: self.queue.clone(),
            log: self.queue.ask(|queue| queue.log()).await?,
            planner: self.planner.clone(),
            rescans: self.rescans.clone(),
            further,
            notices,
            last,
            pauses: Pauses { quiet: self.settings.settle.0, most: self.settings.settle.1 },
            clock: self.settings.clock,
        };
        background("fulmar-capture", self.end.clone(), move || capture.run())?;
        let watcher = self.watch(events.clone()).await?;
        tokio::spawn(self.run(watcher, events, (notices_out, flushes, found)));
        Ok(())
    }

    async fn watch(&self, events: SyncSender<Event>) -> Result<Watcher> {
        let (source, filter) = (self.settings.source.clone(), self.settings.filter.clone());
        let options = fulmar_watch::Options { meter: Arc::clone(&self.meter), ..Default::default() };
        let start = move || Watcher::start(&source, filter, options, events);
        Ok(tokio::task::spawn_blocking(start).await.map_err(|_| Error::Gone)??)
    }

    async fn run(
        mut self,
        watcher: Watcher,
        events: SyncSender<Event>,
        (mut notices, mut flushes, mut found): (
            mpsc::Receiver<Notice>,
            mpsc::Receiver<Flushing>,
            mpsc::Receiver<RelPath>,
        ),
    ) {
        let mut watcher = Some(watcher);
        let mut waiting: HashMap<u64, oneshot::Sender<Seq>> = HashMap::new();
        let mut turn = 0;
        let end = self.end.clone();
        loop {
            let look = async {
                match watcher {
                    Some(_) => std::future::pending().await,
                    None => tokio::time::sleep(LOOK_FOR_SOURCE).await,
                }
            };
            tokio::select! {
                () = end.cancelled() => break,
                () = look => match self.look_for_source(&events).await {
                    Ok(found) => watcher = found,
                    Err(error) => tracing::warn!(error = %crate::error::chain(&error), "the source cannot be watched yet"),
                },
                notice = notices.recv() => match notice {
                    Some(Notice::Flushed { token, last }) => {
                        // Whoever asked may have stopped waiting.
                        let _ = waiting.remove(&token).map(|answer| answer.send(last));
                    }
                    Some(Notice::RootGone(reason)) => {
                        waiting.clear();
                        watcher = None;
                        if self.source_is_gone(reason).await.is_err() {
                            break;
                        }
                    }
                    None => break,
                },
                Some(path) = found.recv() => {
                    // A watcher that has ended says so itself.
                    let _ = watcher.as_ref().map(|watcher| watcher.look(path));
                }
                flush = flushes.recv() => {
                    let Some((flush, answer)) = flush else { break };
                    turn += 1;
                    let token = flush.token(turn);
                    // Without a watcher the answer is dropped, which tells that the source is gone.
                    if watcher.as_ref().is_some_and(|watcher| watcher.flush(token).is_ok()) {
                        waiting.insert(token, answer);
                    }
                }
            }
        }
        // Stopping joins the watcher's thread, which may be waiting for capture.
        let _ = tokio::task::spawn_blocking(move || drop(watcher)).await;
    }

    async fn source_is_gone(&self, reason: RootGone) -> Result<()> {
        tracing::warn!(?reason, source = %self.settings.source.display(), "the source is gone");
        self.planner.ask(Planner::source_is_gone).await?
    }

    async fn look_for_source(&mut self, events: &SyncSender<Event>) -> Result<Option<Watcher>> {
        let Some(root) = identify(&self.settings.source)? else { return Ok(None) };
        let tree = Tree::open(&self.settings.source)?;
        let watcher = self.watch(events.clone()).await?;
        // Not the one that was here last: that may have been another in its place, which nobody approved.
        let known = self.queue.ask(|queue| queue.meta_get("root")).await??.and_then(|bytes| decode_root(&bytes));
        let same = known.is_some_and(|known| root.is_same(&known) && tree.id().is_same(&known));
        tracing::info!(same, "the source is back");
        self.planner.ask(move |planner| planner.source_is_back(tree, same)).await??;
        self.rescans.request(RelPath::root());
        self.restarts.send_modify(|count| *count += 1);
        Ok(Some(watcher))
    }
}
