//! Why a watcher could not be started, or does not answer. All of them are fatal for the tree; what happens to single
//! directories is not an error but a `Rescan`.

use std::io;
use std::path::PathBuf;

/// What failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No inotify instance or eventfd: `fs.inotify.max_user_instances` or the limit of open files is reached.
    #[error("cannot create an inotify instance")]
    Instance(#[source] io::Error),
    /// The root cannot be resolved or opened.
    #[error("cannot open the root {}", fulmar_model::escape(path.as_os_str().as_encoded_bytes()))]
    OpenRoot {
        /// As given.
        path: PathBuf,
        /// From the kernel.
        #[source]
        source: io::Error,
    },
    /// The root cannot be watched for a reason other than the watch limit (no `/proc` mounted, for one).
    #[error("cannot watch the root {}", fulmar_model::escape(path.as_os_str().as_encoded_bytes()))]
    WatchRoot {
        /// As given.
        path: PathBuf,
        /// From the kernel.
        #[source]
        source: io::Error,
    },
    /// The operating system refused a thread.
    #[error("cannot start the watching thread")]
    Thread(#[source] io::Error),
    /// The thread has ended, because nobody receives its events any more.
    #[error("the watching thread has ended")]
    Ended,
    /// The thread panicked: a defect of this crate.
    #[error("the watching thread panicked")]
    Panicked,
}
