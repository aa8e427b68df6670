//! The first scan of a table that is too big for one invocation: page by page into the state, then into the base.
//!
//! Always: the head of the log is noted before the scan begins, and stays that of the scan, however many invocations it
//! takes; every segment's [parts](part) are one chain. So the base is what one long scan would have made. It may be given up
//! anywhere: whoever goes on finds what is written. Two who are at it at the same time do work twice and nothing wrong; a
//! [lease](progress) keeps that rare. A part that is missing or damaged makes the scan begin anew.

mod part;
mod progress;
mod run;
mod worker;

#[cfg(test)]
mod tests;

use super::error::LoadError;
use crate::ports::{Clock, ObjectStore};

pub use progress::{SCANS, progress_key};
pub use run::{scan_on, tidy};

/// A scan that came on within so many milliseconds is waited for, by whoever else needs its base.
const YOUNG_MILLIS: i64 = 10 * 60 * 1000;

/// How a scan stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// The base is there, this scan's or another's.
    Done {
        /// In the base, tombstones included; 0 where it is another's.
        rows: u64,
    },
    /// There is more to do in another invocation.
    UnderWay {
        /// Scanned up to now.
        rows: u64,
        /// Somebody else is at it.
        elsewhere: bool,
    },
}

/// How many rows a scan has found that is still coming on; `None` where nobody scans the reference.
pub(super) async fn under_way(
    state: &dyn ObjectStore,
    clock: &dyn Clock,
    reference: &str,
) -> Result<Option<u64>, LoadError> {
    let progress = progress::find(state, reference).await?.and_then(|found| found.progress);
    let young = |age: i64| (-YOUNG_MILLIS..YOUNG_MILLIS).contains(&age);
    let waits = |progress: &progress::Progress| {
        !progress.done && young(clock.now().millis().saturating_sub(progress.updated.millis()))
    };
    Ok(progress.filter(waits).map(|progress| progress.rows))
}
