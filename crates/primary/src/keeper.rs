//! Threads: one that owns something that blocks, to which others send work; and one whose failure ends the primary.

use crate::{Error, Result};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Requests waiting for the owner; full: whoever asks next waits.
const REQUESTS: usize = 64;

type Request<T> = Box<dyn FnOnce(&mut T) + Send>;

/// A way to the thread that owns a `T`. The thread ends when the last way to it is dropped.
pub(crate) struct Keeper<T> {
    requests: mpsc::Sender<Request<T>>,
}

impl<T> Clone for Keeper<T> {
    fn clone(&self) -> Self {
        Self { requests: self.requests.clone() }
    }
}

impl<T: Send + 'static> Keeper<T> {
    /// Gives `owned` to a thread of its own.
    pub(crate) fn start(name: &str, mut owned: T) -> Result<Self> {
        let (requests, mut inbox) = mpsc::channel::<Request<T>>(REQUESTS);
        let body = move || {
            while let Some(request) = inbox.blocking_recv() {
                request(&mut owned);
            }
        };
        std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(|_| Error::Gone)?;
        Ok(Self { requests })
    }

    /// Has the owner do something and waits for the answer.
    pub(crate) async fn ask<R: Send + 'static>(&self, work: impl FnOnce(&mut T) -> R + Send + 'static) -> Result<R> {
        let (answer, wait) = oneshot::channel();
        let request = Box::new(move |owned: &mut T| {
            // Whoever asked may have gone meanwhile.
            let _ = answer.send(work(owned));
        });
        self.requests.send(request).await.map_err(|_| Error::Gone)?;
        wait.await.map_err(|_| Error::Gone)
    }

    /// The same for a thread outside the runtime.
    pub(crate) fn ask_blocking<R: Send + 'static>(&self, work: impl FnOnce(&mut T) -> R + Send + 'static) -> Result<R> {
        let (answer, wait) = oneshot::channel();
        let request = Box::new(move |owned: &mut T| {
            // Whoever asked may have gone meanwhile.
            let _ = answer.send(work(owned));
        });
        self.requests.blocking_send(request).map_err(|_| Error::Gone)?;
        wait.blocking_recv().map_err(|_| Error::Gone)
    }
}

/// Starts a thread whose failure ends the primary.
pub(crate) fn background(
    name: &str,
    end: CancellationToken,
    run: impl FnOnce() -> Result<()> + Send + 'static,
) -> Result<()> {
    let body = move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or(Err(Error::Gone));
        match result {
            // The owners it asked are gone: the primary is ending.
            Ok(()) | Err(Error::Gone) => {}
            Err(error) => {
                tracing::error!(error = %crate::error::chain(&error), "a part of the primary failed");
                end.cancel();
            }
        }
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map(drop).map_err(|_| Error::Gone)
}
