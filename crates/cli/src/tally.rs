//! What a consumer did, added up.

use std::sync::{Mutex, MutexGuard, PoisonError};

use freshjoin_core::batch::{BatchReport, IgnoredFlag, LogObserver, Observer};
use freshjoin_core::change::Version;
use freshjoin_core::join::Counts;
use freshjoin_core::reference::Refreshed;

/// Sums over every committed range, and what is worth a log line is logged too.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<Totals>);

/// The sums.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) counts: Counts,
    pub(crate) objects: u64,
    pub(crate) refreshes: u64,
    pub(crate) version: Version,
}

impl Tally {
    pub(crate) fn totals(&self) -> Totals {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Totals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Tally {
    fn committed(&self, report: &BatchReport) {
        {
            let mut totals = self.lock();
            totals.counts += report.counts;
            totals.objects += report.objects as u64;
            totals.version = totals.version.max(report.version);
        }
        LogObserver.committed(report);
    }

    fn refreshed(&self, head: Version, refreshed: Refreshed) {
        self.lock().refreshes += 1;
        LogObserver.refreshed(head, refreshed);
    }

    fn ignored(&self, shard: &str, sequence: &str, why: IgnoredFlag) {
        LogObserver.ignored(shard, sequence, why);
    }
}
