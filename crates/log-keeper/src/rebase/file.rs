//! The snapshot file of a rebase: what the readable log knows of the keys, and the rows and objects as they are now.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use freshjoin_core::change::Version;
use freshjoin_core::deadline::give_way;
use freshjoin_core::pipeline::Source;
use freshjoin_core::ports::{RawRow, Segment};
use freshjoin_core::reference::{KnownChange, ObjectLine, key_of, objects_now};
use freshjoin_core::snapshot::{BaseInfo, Entry, RowFields, SnapshotName, SnapshotWriter, TableSection, fold_without};
use futures_util::future::try_join_all;

use super::RebaseError;
use crate::LogKeeper;

/// A table is read in so many parts at once.
const SEGMENTS: u32 = 4;
/// So many entries are written at a stretch.
const EVERY: usize = 1_024;

/// A table's rows as they are, by primary key, each with its key.
type Rows = BTreeMap<Box<[u8]>, (RawRow, RawRow)>;

/// Makes it. The head that the name says was noted before.
pub(super) async fn make(
    keeper: &LogKeeper,
    name: SnapshotName,
    unreadable: &BTreeSet<Version>,
) -> Result<Bytes, RebaseError> {
    let known = fold_without(keeper.fold_sources(), name.version, unreadable).await?;
    let mut writer = SnapshotWriter::new(name)?;
    for section in known.tables() {
        if let Some(base) = section.base() {
            scanned(keeper, name.version, base, section, &mut writer).await?;
        } else {
            // Nobody has looked at it yet. What the log names of it is all that its first look needs.
            copied(section, &mut writer)?;
        }
    }
    if !known.named_objects().is_empty() {
        writer.named_objects(known.named_objects().to_vec());
    }
    for reference in known.object_references() {
        let before = known.objects(reference).unwrap_or_default();
        let Some(base) = known.base_of(reference) else { continue };
        let base = BaseInfo { scan_started: keeper.deps.clock.now(), ..base };
        let now = objects_now(keeper.sources(), &Source::Object(reference.into())).await?;
        writer.objects(reference, base, lines(reference, before, now));
    }
    Ok(writer.finish()?.into())
}

/// A table's section as it is.
pub(super) fn copied(section: TableSection<'_>, writer: &mut SnapshotWriter) -> Result<(), RebaseError> {
    writer.table(section.reference(), section.base())?;
    let mut entries = section.entries()?;
    while let Some(entry) = entries.next_entry()? {
        writer.push(&entry)?;
    }
    Ok(())
}

/// A table's section: every key that the log or the table has. One that only the log has, or an earlier scan, becomes a
/// tombstone.
async fn scanned(
    keeper: &LogKeeper,
    version: Version,
    base: BaseInfo,
    section: TableSection<'_>,
    writer: &mut SnapshotWriter,
) -> Result<(), RebaseError> {
    let table = section.reference();
    // There is nothing below the base still, and no more than that: shards behind the file are none of its business.
    let base = BaseInfo { scan_started: keeper.deps.clock.now(), ..base };
    let rows = rows(keeper, table).await?;
    writer.table(table, Some(base))?;
    let mut found = rows.iter().peekable();
    let mut entries = section.entries()?;
    let mut count = 0_usize;
    let fresh = KnownChange::scanned(version);
    loop {
        count += 1;
        if count.is_multiple_of(EVERY) {
            give_way().await;
        }
        let Some(Entry { primary, key, known, .. }) = entries.next_entry()? else { break };
        while let Some((primary, row)) = found.next_if(|(found, _)| ***found < *primary) {
            push(writer, table, primary, row, fresh)?;
        }
        let known = KnownChange { newest: known.newest, changed: version };
        match found.next_if(|(found, _)| ***found == *primary) {
            Some((primary, row)) => push(writer, table, primary, row, known)?,
            None => writer.push(&Entry { primary, key, known, row: None })?,
        }
    }
    for (primary, row) in found {
        push(writer, table, primary, row, fresh)?;
    }
    Ok(())
}

fn push(
    writer: &mut SnapshotWriter,
    table: &str,
    primary: &[u8],
    (key, row): &(RawRow, RawRow),
    known: KnownChange<'_>,
) -> Result<(), RebaseError> {
    let fields = RowFields::parse(row.get());
    let fields = fields.map_err(|source| RebaseError::Row { table: table.into(), row: row.get().into(), source })?;
    Ok(writer.push(&Entry { primary, key: key.get(), known, row: Some(fields) })?)
}

async fn rows(keeper: &LogKeeper, table: &str) -> Result<Rows, RebaseError> {
    let tables = &keeper.deps.tables;
    let attributes = tables.key_attributes(table).await?;
    let segments = (0..SEGMENTS).map(async |index| {
        let (mut rows, mut from) = (Rows::new(), None::<String>);
        loop {
            let page = tables.scan(table, Segment { index, of: SEGMENTS }, from.as_deref()).await?;
            for row in page.rows {
                let (key, primary) = key_of(&row, &attributes).map_err(|source| RebaseError::Row {
                    table: table.into(),
                    row: row.get().into(),
                    source,
                })?;
                rows.insert(primary, (key, row));
            }
            from = page.next;
            if from.is_none() {
                return Ok::<_, RebaseError>(rows);
            }
        }
    });
    let mut all = Rows::new();
    try_join_all(segments).await?.into_iter().for_each(|mut rows| all.append(&mut rows));
    Ok(all)
}

/// A reference's objects as they are now, each with the sequencer that the log knows. Where none is left, it stays as it was.
fn lines(reference: &str, before: &[ObjectLine], mut now: Vec<ObjectLine>) -> Vec<ObjectLine> {
    if now.is_empty() {
        tracing::error!(reference, "the reference's objects are gone; it stays as the log has it");
        return before.to_vec();
    }
    let mut known: BTreeMap<&str, &ObjectLine> = before.iter().map(|line| (line.object.as_str(), line)).collect();
    for line in &mut now {
        line.sequencer = known.remove(line.object.as_str()).and_then(|known| known.sequencer.clone());
    }
    let gone = known.into_values().filter(|line| line.sequencer.is_some());
    let gone = gone.map(|line| ObjectLine {
        object: line.object.clone(),
        sequencer: line.sequencer.clone(),
        ..ObjectLine::default()
    });
    now.extend(gone);
    now
}
