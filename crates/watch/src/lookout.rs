//! The state behind a watcher, owned by one thread. Which directories are watched, what is on its way, what is polled.
//! `apply` changes it by events, `walk` by listing, `heal` by time.

use crate::coverage::{Coverage, Meter};
use crate::degrade::{Overflow, Polled};
use crate::kernel::{Kernel, Wd};
use crate::look::open_below;
use crate::outbox::Outbox;
use crate::pairing::{Pairing, Place};
use crate::root::Root;
use crate::tree::{NodeId, Tree};
use crate::walk::Job;
use crate::{Options, RescanReason};
use fulmar_model::{Filter, RelPath};
use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

pub(crate) struct Lookout {
    pub kernel: Arc<Kernel>,
    pub tree: Tree,
    pub root: Root,
    pub filter: Filter,
    pub outbox: Outbox,
    pub pairing: Pairing,
    pub overflow: Overflow,
    pub polled: Polled,
    /// The whole tree is polled as well, because other machines can change it.
    pub remote: bool,
    /// Listings that could not be made because the directory was not at its path, with the attempts so far.
    pub revisit: Vec<(Job, u32)>,
    /// Places to be looked at again when the queue is empty.
    pub doubtful: Vec<Place>,
    /// Places that hold another file system. Its unmounting is no event, so they are looked at periodically.
    pub foreign: HashSet<Place>,
    /// Watches that were ended; events may still be queued under these numbers until the kernel says `IGNORED`.
    pub retired: HashSet<Wd>,
    /// Number of the last listing; see `Tree::mark`.
    pub listing: u32,
    pub list_buffer: Vec<u8>,
    meter: Arc<Meter>,
    overflows: u64,
    /// Open only while events are handled.
    root_handle: Option<Arc<OwnedFd>>,
    path: Vec<u8>,
}

impl Lookout {
    pub(crate) fn new(
        kernel: Kernel,
        root: Root,
        filter: Filter,
        options: &Options,
        outbox: Outbox,
        now: Instant,
    ) -> Self {
        let (min, max) = (options.rescan_backoff_min, options.rescan_backoff_max);
        Self {
            kernel: Arc::new(kernel),
            tree: Tree::new(),
            root,
            filter,
            outbox,
            pairing: Pairing::default(),
            overflow: Overflow::new(min, max),
            polled: Polled::new(options.poll_interval, min, max, now),
            remote: false,
            revisit: Vec::new(),
            doubtful: Vec::new(),
            foreign: HashSet::new(),
            retired: HashSet::new(),
            listing: 0,
            list_buffer: Vec::with_capacity(crate::walk::LIST_BYTES),
            meter: Arc::clone(&options.meter),
            overflows: 0,
            root_handle: None,
            path: Vec::new(),
        }
    }

    /// Makes the counters readable for others.
    pub(crate) fn publish(&self) {
        self.meter.set(Coverage {
            known: self.tree.len() as u64,
            watched: self.tree.watched() as u64,
            polled: self.polled.len() as u64 + u64::from(self.remote),
            overflows: self.overflows,
            limit_reached: self.polled.limit_reached(),
        });
    }

    pub(crate) fn note_overflow(&mut self, now: Instant) {
        self.overflows += 1;
        self.overflow.note(now);
    }

    /// `None` when the root's path does not lead to it; the periodic check says why.
    pub(crate) fn root_handle(&mut self) -> Option<Arc<OwnedFd>> {
        if self.root_handle.is_none() {
            self.root_handle = self.root.open().map(Arc::new);
        }
        self.root_handle.clone()
    }

    /// To be called before waiting: see `root` for why no handle is kept.
    pub(crate) fn release_root(&mut self) {
        self.root_handle = None;
    }

    /// The path of `name` in the directory (the directory's own path for the empty name); `None` when the directory is
    /// detached or the path is too long to be written down.
    pub(crate) fn path_of(&mut self, directory: NodeId, name: &[u8]) -> Option<RelPath> {
        if !self.tree.path(directory, &mut self.path) {
            return None;
        }
        if !name.is_empty() {
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name);
        }
        match RelPath::parse(&self.path) {
            Ok(path) => Some(path),
            Err(error) => {
                tracing::warn!(path = %fulmar_model::escape(&self.path), %error, "path cannot be replicated");
                None
            }
        }
    }

    /// Opens a known directory by its path for listing, and makes sure by its watch that it is the one that is meant.
    /// `None`: another one stands there or none, and events on their way will tell.
    pub(crate) fn open(&mut self, directory: NodeId) -> Option<OwnedFd> {
        let root = self.root_handle()?;
        if !self.tree.path(directory, &mut self.path) {
            return None;
        }
        let handle = open_below(&root, &self.path).ok()?;
        let wd = self.kernel.watch(&handle).ok()?;
        match (self.tree.by_wd(wd), self.tree.wd(directory)) {
            (Some(owner), _) if owner == directory => Some(handle),
            (None, None) => {
                self.own(directory, wd);
                Some(handle)
            }
            (Some(_), _) => None,
            (None, Some(_)) => {
                // A stranger, watched only by this call.
                self.retire(wd);
                None
            }
        }
    }

    /// The watch belongs to this directory from here on.
    pub(crate) fn own(&mut self, directory: NodeId, wd: Wd) {
        // The number can only be known as retired when the kernel has used it again: what is queued is the new one's.
        self.retired.remove(&wd);
        if let Some(before) = self.tree.set_wd(directory, Some(wd)).filter(|before| *before != wd) {
            self.retire(before);
        }
    }

    fn retire(&mut self, wd: Wd) {
        if self.kernel.unwatch(wd).is_ok() {
            self.retired.insert(wd);
        }
    }

    /// Forgets a directory and all below, and ends their watches.
    pub(crate) fn remove(&mut self, directory: NodeId) {
        self.outbox.forget();
        let Self { tree, kernel, retired, polled, .. } = self;
        tree.remove(directory, |id, wd| {
            polled.remove(id);
            if let Some(wd) = wd.filter(|wd| kernel.unwatch(*wd).is_ok()) {
                retired.insert(wd);
            }
        });
    }

    /// Looks for a directory that somebody else has found, where it is not known here.
    pub(crate) fn expect(&mut self, path: &RelPath) {
        let mut at = self.tree.root();
        for name in path.names() {
            let child = self.tree.child(at, name.as_bytes());
            match child.filter(|child| self.tree.wd(*child).is_some() || self.polled.reason(*child).is_some()) {
                Some(child) => at = child,
                None => {
                    tracing::debug!(%path, "no event has told of a directory; looking for it");
                    self.revisit.push((Job::newcomers(at), 0));
                    return;
                }
            }
        }
    }

    /// Polls the subtree from here on; it is announced at the end of the window.
    pub(crate) fn poll(&mut self, directory: NodeId, reason: RescanReason) {
        if self.polled.reason(directory) != Some(reason) {
            tracing::debug!(path = ?self.path_of(directory, b""), ?reason, "subtree is polled");
            self.polled.insert(directory, reason, Instant::now());
        }
        // What was below is covered by the poll and would be wrong as soon as it changes.
        for child in self.tree.children(directory) {
            self.remove(child);
        }
    }

    /// Lets go of everything; the lookout is of no further use.
    pub(crate) fn abandon(&mut self) {
        self.tree = Tree::new();
        self.pairing = Pairing::default();
        self.revisit.clear();
        self.doubtful.clear();
        self.foreign.clear();
        self.polled.clear();
        self.root_handle = None;
        // A fresh instance replaces the one with the watches, which goes with its last user.
        if let Ok(kernel) = Kernel::open() {
            self.kernel = Arc::new(kernel);
        }
        self.publish();
    }
}
