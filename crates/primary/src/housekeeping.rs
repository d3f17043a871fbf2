//! What is put in order when there is time: directories are sealed, so that the next scan, comparison or quick verification
//! need not read their records. Whoever does none of it loses only time.

use crate::keeper::Keeper;
use crate::planner::Planner;
use crate::{Error, Result};
use fulmar_tree::Sealing;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// After the start, and after each time. A directory in which something happens all the time is read as often in vain.
const FIRST: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_secs(15 * 60);

/// Rows at once: the planner is kept for some 10 ms.
const ROWS: u64 = 8192;
/// Then others have their turn.
const PAUSE: Duration = Duration::from_millis(100);
/// How long at the end of a process.
const AT_END_MAX: Duration = Duration::from_millis(500);

/// Beside everything else, until `end`.
pub(crate) async fn keep_house(planner: Keeper<Planner>, end: CancellationToken) {
    let work = async {
        let mut pause = FIRST;
        loop {
            sleep(pause).await;
            pause = match seal(&planner).await {
                Ok(true) => PAUSE,
                Ok(false) => EVERY,
                Err(Error::Gone) => return,
                Err(error) => {
                    tracing::debug!(error = %crate::error::chain(&error), "directories cannot be sealed");
                    EVERY
                }
            };
        }
    };
    tokio::select! { () = end.cancelled() => {}, () = work => {} }
}

/// At the end of a process, when somebody waits for it.
pub(crate) async fn seal_at_end(planner: &Keeper<Planner>) -> Result<()> {
    let began = Instant::now();
    while seal(planner).await? && began.elapsed() < AT_END_MAX {}
    Ok(())
}

/// Whether there is more to do.
async fn seal(planner: &Keeper<Planner>) -> Result<bool> {
    Ok(planner.ask(|planner| planner.catalog.seal(ROWS, Sealing::default)).await??)
}
