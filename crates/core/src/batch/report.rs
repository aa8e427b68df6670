//! What a consumer tells of its work: to logs, metrics, the demo.

use std::fmt::Debug;

use crate::change::Version;
use crate::join::Counts;
use crate::reference::Refreshed;
use crate::sequence::SequenceNumber;

/// One committed range.
#[derive(Clone, Debug)]
pub struct BatchReport {
    /// The shard.
    pub shard: String,
    /// Its first record.
    pub first: SequenceNumber,
    /// Its last record.
    pub last: SequenceNumber,
    /// What became of its records.
    pub counts: Counts,
    /// Output objects, dead letters aside.
    pub objects: usize,
    /// The version in force at its end.
    pub version: Version,
    /// Whether another attempt had left it pending.
    pub recovered: bool,
}

/// Why a flag was not honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnoredFlag {
    /// It cannot be read.
    Malformed,
    /// The log has no such version.
    Unknown,
    /// The log's change file of that version has another digest.
    OtherDigest,
}

/// Hears of what a consumer does. Called outside of any lock; must not block.
pub trait Observer: Send + Sync + Debug {
    /// A range was committed.
    fn committed(&self, report: &BatchReport);

    /// The reference was brought up to a version.
    fn refreshed(&self, head: Version, refreshed: Refreshed);

    /// A flag was ignored.
    fn ignored(&self, shard: &str, sequence: &str, why: IgnoredFlag);
}

/// Writes everything to the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogObserver;

impl Observer for LogObserver {
    fn committed(&self, report: &BatchReport) {
        let counts = report.counts;
        tracing::info!(
            shard = report.shard,
            first = report.first.as_str(),
            last = report.last.as_str(),
            records = counts.records(),
            enriched = counts.enriched,
            unmatched = counts.unmatched,
            dead_letters = counts.dead_letters,
            flags = counts.flags,
            rows = counts.rows,
            objects = report.objects,
            version = report.version,
            recovered = report.recovered,
            "committed"
        );
    }

    fn refreshed(&self, head: Version, refreshed: Refreshed) {
        tracing::info!(version = head, files = refreshed.files, changes = refreshed.changes, "refreshed");
    }

    fn ignored(&self, shard: &str, sequence: &str, why: IgnoredFlag) {
        tracing::warn!(shard, sequence, ?why, "ignored a change flag");
    }
}
