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

/// Rows at once: the planner is kept for some 10 ms, by a directory of 65 536 names for some 100.
const ROWS: u64 = 8192;
/// Then others have their turn.
const PAUSE: Duration = Duration::from_millis(100);
/// How long at the end of a process.
const AT_END_MAX: Duration = Duration::from_secs(2);

/// Beside everything else, until `end`.
pub(crate) async fn keep_house(planner: Keeper<Planner>, end: CancellationToken) {
    let seal = move || {
        let planner = planner.clone();
        async move { seal(&planner).await }
    };
    tokio::select! { () = end.cancelled() => {}, () = again_and_again(seal) => {} }
}

/// `seal` does a slice, and says whether there is more to do.
async fn again_and_again<F: Future<Output = Result<bool>>>(seal: impl Fn() -> F) {
    let mut pause = FIRST;
    loop {
        sleep(pause).await;
        pause = match seal().await {
            Ok(true) => PAUSE,
            Ok(false) => EVERY,
            Err(Error::Gone) => return,
            Err(error) => {
                told(&error);
                EVERY
            }
        };
    }
}

/// At the end of a process, when somebody waits for it.
pub(crate) async fn seal_at_end(planner: &Keeper<Planner>) {
    let began = Instant::now();
    loop {
        match seal(planner).await {
            Ok(true) if began.elapsed() < AT_END_MAX => {}
            Ok(_) => return,
            Err(error) => return told(&error),
        }
    }
}

async fn seal(planner: &Keeper<Planner>) -> Result<bool> {
    Ok(planner.ask(|planner| planner.catalog.seal(ROWS, Sealing::default)).await??)
}

fn told(error: &Error) {
    tracing::debug!(error = %crate::error::chain(error), "directories cannot be sealed");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[tokio::test(start_paused = true)]
    async fn sealing_begins_after_a_minute_goes_on_in_slices_and_rests_when_there_is_no_more() {
        let (began, at) = (Instant::now(), RefCell::new(Vec::new()));
        let answers = RefCell::new(vec![Err(Error::Gone), Ok(false), Err(Error::SourceGone), Ok(false), Ok(true)]);
        again_and_again(|| {
            at.borrow_mut().push(began.elapsed());
            std::future::ready(answers.borrow_mut().pop().expect("an answer"))
        })
        .await;
        let expected =
            [FIRST, FIRST + PAUSE, FIRST + PAUSE + EVERY, FIRST + PAUSE + 2 * EVERY, FIRST + PAUSE + 3 * EVERY];
        assert_eq!(at.into_inner(), expected);
    }
}
