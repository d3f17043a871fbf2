//! What a watcher says: this path may differ now, or everything below here may.

use fulmar_model::RelPath;

/// A fact about the tree, or the answer to a request. Facts may come twice and are never a promise about content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The path may differ now. For a rename the appearance is sent first, the disappearance right behind it; of a
    /// directory renamed inside the tree nothing below is sent.
    Changed {
        /// Where to look.
        path: RelPath,
        /// Whether somebody is probably still writing.
        pace: Pace,
    },
    /// A name appeared at the path, settled, and its inode has others. What is written through one name is told of that one
    /// alone: once this one is gone, only this event says in which others it is to be found.
    Linked {
        /// Where to look.
        path: RelPath,
        /// As `stat` gives it.
        inode: u64,
    },
    /// Everything below may differ: look at the whole subtree.
    Rescan {
        /// Its uppermost directory; the root for the whole tree.
        subtree: RelPath,
        /// Why events alone do not tell.
        reason: RescanReason,
    },
    /// Everything that happened before `Watcher::flush(token)` was called has been sent before this.
    Flushed {
        /// As given to `flush`.
        token: u64,
    },
    /// Nothing more can be seen through the root. It is the last fact; flushes are still answered.
    RootGone {
        /// What became of it.
        reason: RootGone,
    },
}

/// Whether a change is likely to be the last for the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pace {
    /// Settled: a directory was renamed to this path. What happened below it may have been sent under another name.
    Moved,
    /// Moved here, closed after writing, linked, metadata set, or created and not a regular file. Also the old name of
    /// something that has another name in the tree now.
    Settled,
    /// Removed, or moved out of the tree.
    Gone,
    /// Written to, or a regular file created, with no sign that the writer has finished. A file that comes by `link`
    /// from a nameless file never gives such a sign, so the receiver waits a short quiet period and no longer.
    Writing,
}

/// Why a whole subtree has to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RescanReason {
    /// The kernel's queue was full: it says neither how many events were lost nor where.
    Overflow,
    /// No watch is left (`fs.inotify.max_user_watches`): the subtree is polled until there is one.
    WatchLimit,
    /// The directory cannot be opened or listed: the subtree is polled until it can.
    Unreadable,
    /// The file system is shared with other machines, whose changes inotify does not show: the tree is polled, too.
    Remote,
    /// The same directory stands at two places (a bind mount) and a watch knows only one of them: this one is polled.
    MountedTwice,
    /// The time has come to look at a polled subtree again, or at one that holds several.
    Poll,
    /// A polled subtree is watched from here on; what happened up to then is unknown.
    Healed,
    /// A directory was moved while events in it were on their way.
    Moved,
}

/// What became of the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RootGone {
    /// Removed, or no path leads to it any more.
    Deleted,
    /// Renamed.
    Moved,
    /// Its file system was unmounted, or another one was mounted over it.
    Unmounted,
    /// Another directory stands at its path.
    Replaced,
}
