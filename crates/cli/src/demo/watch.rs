//! What the enricher did and when: the totals, the time of each commit, and news for the story.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use freshjoin_core::batch::{BatchReport, IgnoredFlag, Observer};
use freshjoin_core::change::Version;
use freshjoin_core::ports::Clock;
use freshjoin_core::reference::Refreshed;
use freshjoin_core::time::Timestamp;
use tokio::sync::mpsc;

use super::orders::{CHANGING, NEW_PRIORITY};
use crate::tally::{Tally, Totals};

/// Something worth a line.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// A shard took its first flag.
    Flag { shard: String, at: Timestamp },
    /// A shard's first order that was joined with the new row is in the output, in this object.
    Joined { shard: String, key: String, at: Timestamp },
}

/// Watches all environments of the enricher.
#[derive(Debug)]
pub(super) struct Watch {
    tally: Tally,
    clock: Arc<dyn Clock>,
    output: PathBuf,
    news: mpsc::UnboundedSender<News>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// By shard and first sequence number, which an object's name tells.
    commits: HashMap<(String, String), i64>,
    joined: HashSet<String>,
}

impl Watch {
    pub(super) fn new(clock: Arc<dyn Clock>, output: PathBuf, news: mpsc::UnboundedSender<News>) -> Self {
        Self { tally: Tally::default(), clock, output, news, seen: Mutex::default() }
    }

    pub(super) fn totals(&self) -> Totals {
        self.tally.totals()
    }

    /// When the range that starts so was committed, in milliseconds since the epoch.
    pub(super) fn committed_at(&self, shard: &str, first: &str) -> Option<i64> {
        self.lock().commits.get(&(shard.to_owned(), first.to_owned())).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watch {
    fn committed(&self, report: &BatchReport) {
        let at = self.clock.now();
        self.tally.committed(report);
        let mut seen = self.lock();
        seen.commits.insert((report.shard.clone(), report.first.to_string()), at.millis());
        if report.version == 0 || seen.joined.contains(&report.shard) {
            return;
        }
        let name = format!("{}-{}-{}.csv", report.shard, report.first, report.last);
        let key = format!("item={CHANGING}/priority={NEW_PRIORITY}/{name}");
        if self.output.join(&key).exists() {
            seen.joined.insert(report.shard.clone());
            // Nobody listens any more: then nobody is to be told.
            drop(self.news.send(News::Joined { shard: report.shard.clone(), key, at }));
        }
    }

    fn refreshed(&self, head: Version, refreshed: Refreshed) {
        self.tally.refreshed(head, refreshed);
    }

    fn ignored(&self, shard: &str, sequence: &str, why: IgnoredFlag) {
        self.tally.ignored(shard, sequence, why);
    }
}
