//! The log put right after a gap: whatever a change stream lost, or a restore changed behind its back.
//!
//! Each reference is read as it is, consistently, and compared with the fold of the log; what differs is appended, and all
//! that again until nothing does. Always: what is appended takes effect only where nothing has happened to its key since the
//! head that was noted *before* the table was read, so a change that is still on its way is never undone; and a
//! reconcile that dies anywhere, or two at once, append nothing that the next one would not.
//!
//! Guard: where more than half of a reference's rows would be deleted, nothing is appended, unless it is forced: an emptied
//! or mistaken table is likelier than such a gap.

mod error;
mod objects;
mod rows;

use std::sync::{Mutex, PoisonError};

use freshjoin_core::change::{Change, Origin, Version};
use freshjoin_core::deadline::{OutOfTime, within};
use freshjoin_core::pipeline::Source;
use freshjoin_core::ports::Segment;
use freshjoin_core::snapshot::{SnapshotFile, fold};
use freshjoin_core::time::Timestamp;
use futures_util::future::try_join_all;
use serde::Serialize;

use crate::LogKeeper;
use crate::notes::Notes;
use crate::rebroadcast;

pub use error::ReconcileError;
use rows::{Comparison, Seen};

/// A table is read in so many parts at once.
const SEGMENTS: u32 = 4;
/// So often a reference is compared. One that changes all the time never stays equal to its log.
pub(crate) const ROUNDS: u32 = 5;
/// A change file takes so many changes at most, as many as change-capture's batches bring.
const MOST_CHANGES: usize = 1_000;
/// And so many bytes of rows.
const MOST_BYTES: usize = 4 << 20;
/// So long before the end comparing ends, so that the flag gets out.
const FLAG_MS: i64 = 5_000;
const SOURCE: &str = "log-keeper reconcile";

/// What was done for one reference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    /// The table's name or the object's URL.
    pub reference: String,
    /// How often it was compared.
    pub rounds: u32,
    /// Puts and replaces that were appended.
    pub puts: u64,
    /// Deletes and removals that were appended.
    pub deletes: u64,
    /// Whether the last comparison found no difference. Else there was no time for another, or the reference changes faster
    /// than it is compared.
    pub settled: bool,
    /// Whether there is something to compare with: a reference without a base is left to bootstrap.
    pub has_base: bool,
    /// The last change file that was appended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
}

/// Reconciles every reference of the definition, or the one that is named. Each is tried, whatever becomes of the others.
pub(crate) async fn reconcile(
    keeper: &LogKeeper,
    notes: &mut Notes,
    named: Option<&str>,
    force: bool,
    end: Timestamp,
) -> (Vec<Reconciled>, Vec<ReconcileError>) {
    let (mut done, mut errors) = (Vec::new(), Vec::new());
    let references = keeper.definition.references.iter().map(|reference| &reference.source);
    let mut wanted: Vec<&Source> = references.filter(|source| named.is_none_or(|named| named == source.id())).collect();
    wanted.dedup_by_key(|source| source.id());
    if let (Some(named), true) = (named, wanted.is_empty()) {
        errors.push(ReconcileError::Unknown { reference: named.into(), definition: keeper.definition.name.clone() });
    }
    for source in wanted {
        let mut report = Reconciled { reference: source.id().into(), ..Reconciled::default() };
        let work = rounds(keeper, source, force, &mut report);
        match within(&*keeper.deps.clock, end.plus_millis(-FLAG_MS), work).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => errors.push(error),
            Err(OutOfTime(_)) if report.rounds > 0 => {
                tracing::warn!(reference = report.reference, "no time to compare the reference once more");
            }
            Err(source) => errors.push(ReconcileError::OutOfTime { reference: report.reference.clone(), source }),
        }
        done.push(report);
    }
    // The flag of the head announces all of it; also what an earlier run appended that died before it said so.
    let flagged = if done.iter().any(|report| report.version.is_some()) {
        within(&*keeper.deps.clock, end, rebroadcast::always(keeper, notes, end)).await
    } else {
        within(&*keeper.deps.clock, end, rebroadcast::if_news(keeper, notes, end)).await
    };
    match flagged {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => errors.push(error.into()),
        Err(source) => errors.push(ReconcileError::NotFlagged(source)),
    }
    (done, errors)
}

async fn rounds(
    keeper: &LogKeeper,
    source: &Source,
    force: bool,
    report: &mut Reconciled,
) -> Result<(), ReconcileError> {
    let mut allowed: Option<Guard> = None;
    for _ in 0..ROUNDS {
        // Whatever is in the log up to here was in the reference before it is read.
        let head = keeper.log.whole_head(0).await?;
        let file = fold(keeper.fold_sources(), head).await?;
        let Some(found) = compare(keeper, source, &file, head).await? else {
            tracing::info!(
                reference = report.reference,
                "the reference has no base yet: there is nothing to compare with"
            );
            report.settled = true;
            return Ok(());
        };
        (report.has_base, report.rounds) = (true, report.rounds + 1);
        if found.changes.is_empty() {
            report.settled = true;
            return Ok(());
        }
        let guard = allowed.get_or_insert(Guard { rows: found.rows, deleted: 0, force });
        guard.allow(&report.reference, found.deleted_rows)?;
        append(keeper, head, found, report).await?;
    }
    tracing::warn!(reference = report.reference, "the reference changes faster than it is compared");
    Ok(())
}

/// What differs between a reference and the log.
struct Found {
    changes: Vec<Change>,
    deletes: u64,
    /// Rows that the log's side has, and how many of them would go.
    rows: u64,
    deleted_rows: u64,
}

/// `None` where the log does not have the whole reference.
async fn compare(
    keeper: &LogKeeper,
    source: &Source,
    file: &SnapshotFile,
    head: Version,
) -> Result<Option<Found>, ReconcileError> {
    match source {
        Source::Table(table) => compare_table(keeper, table, file, head).await,
        Source::Object(_) => objects::compare(keeper, source, file).await,
    }
}

async fn compare_table(
    keeper: &LogKeeper,
    table: &str,
    file: &SnapshotFile,
    head: Version,
) -> Result<Option<Found>, ReconcileError> {
    let Some(section) = file.table(table).filter(|section| section.base().is_some()) else { return Ok(None) };
    let seen = Seen { head, at: keeper.deps.clock.now() };
    let tables = &keeper.deps.tables;
    let attributes = tables.key_attributes(table).await?;
    let comparison = Mutex::new(Comparison::of(section).await?);
    let segments = (0..SEGMENTS).map(|index| {
        let (comparison, attributes) = (&comparison, &attributes);
        async move {
            let mut from: Option<String> = None;
            loop {
                let page = tables.scan(table, Segment { index, of: SEGMENTS }, from.as_deref()).await?;
                for row in page.rows {
                    let text = row.get().to_owned();
                    let taken = comparison.lock().unwrap_or_else(PoisonError::into_inner).take(row, attributes);
                    taken.map_err(|source| ReconcileError::Row { table: table.into(), row: text, source })?;
                }
                from = page.next;
                if from.is_none() {
                    return Ok::<_, ReconcileError>(());
                }
            }
        }
    });
    try_join_all(segments).await?;
    let comparison = comparison.into_inner().unwrap_or_else(PoisonError::into_inner);
    let difference = comparison.finish(table, seen).await?;
    let (rows, deletes) = (difference.rows, difference.deletes);
    let changes = difference.changes.into_iter().map(Change::Row).collect();
    Ok(Some(Found { changes, deletes, rows, deleted_rows: deletes }))
}

/// How many rows may go, over all rounds together.
struct Guard {
    rows: u64,
    deleted: u64,
    force: bool,
}

impl Guard {
    fn allow(&mut self, reference: &str, deletes: u64) -> Result<(), ReconcileError> {
        self.deleted = self.deleted.saturating_add(deletes);
        if self.force || self.deleted.saturating_mul(2) <= self.rows {
            return Ok(());
        }
        let (deletes, rows) = (self.deleted, self.rows);
        Err(ReconcileError::Guard { reference: reference.into(), deletes, rows })
    }
}

/// Appends what was found, in as many change files as it takes.
async fn append(
    keeper: &LogKeeper,
    head: Version,
    found: Found,
    report: &mut Reconciled,
) -> Result<(), ReconcileError> {
    let all = found.changes.len() as u64;
    for changes in chunks(found.changes) {
        let origin = Origin { source: SOURCE.into(), label: String::new(), range: head.to_string() };
        let count = changes.len();
        let appended = keeper.log.append(origin, changes).await?;
        report.version = report.version.max(Some(appended.version));
        tracing::info!(reference = report.reference, version = appended.version, changes = count, "reconciled");
    }
    report.puts += all.saturating_sub(found.deletes);
    report.deletes += found.deletes;
    Ok(())
}

fn chunks(changes: Vec<Change>) -> Vec<Vec<Change>> {
    let mut out: Vec<Vec<Change>> = Vec::new();
    let mut bytes = 0;
    for change in changes {
        let size = match &change {
            Change::Row(row) => row.key.get().len() + row.row.as_ref().map_or(0, |row| row.get().len()),
            Change::Object(_) => 0,
        };
        bytes += size;
        match out.last_mut().filter(|chunk| chunk.len() < MOST_CHANGES && bytes <= MOST_BYTES) {
            Some(chunk) => chunk.push(change),
            None => {
                out.push(vec![change]);
                bytes = size;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_may_go_and_more_only_by_force() {
        let guard = |rows, force| Guard { rows, deleted: 0, force };
        assert!(guard(10, false).allow("T", 5).is_ok() && guard(0, false).allow("T", 0).is_ok());
        assert!(guard(10, true).allow("T", 10).is_ok());
        let refused = guard(11, false).allow("T", 6).unwrap_err();
        assert!(matches!(refused, ReconcileError::Guard { deletes: 6, rows: 11, .. }));
        let mut twice = guard(10, false);
        assert!(twice.allow("T", 3).is_ok() && twice.allow("T", 3).is_err(), "all rounds count");
    }
}
