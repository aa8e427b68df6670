//! One table's entries, as an earlier snapshot file or its base has them, merged with the changes since: both in the order
//! of their primary keys, so that an entry at a time is in memory.

use super::changes::{KeyChanges, TableChanges};
use super::entry::{Entry, RowFields};
use super::fold::FoldError;
use super::table::Entries;
use super::write::SnapshotWriter;
use crate::bug::{Bug, planted};
use crate::change::Version;
use crate::deadline::give_way;
use crate::reference::{BaseLine, KnownChange, newest_after, takes_effect};
use crate::time::Timestamp;

/// So many entries are merged at a stretch.
const EVERY: u64 = 4_096;

/// Where a table's earlier entries come from.
pub(super) enum Earlier<'f> {
    /// The table is new.
    None,
    Snapshot(Box<Entries<'f>>),
    /// In the order of their primary keys, each key once. With the base's version.
    Base(std::vec::IntoIter<BaseLine<'f>>, Version),
}

/// A table to be merged.
pub(super) struct Merge<'m> {
    pub(super) reference: &'m str,
    /// Changes up to here are in the earlier entries.
    pub(super) start: Version,
    /// When the scan began that its base was made of, if it has one.
    pub(super) scan_started: Option<Timestamp>,
    /// Tombstones up to here are let go of.
    pub(super) tombstones_above: Version,
}

impl Merge<'_> {
    /// Writes the merged entries into the section that was begun.
    pub(super) async fn run(
        &self,
        mut earlier: Earlier<'_>,
        changes: &TableChanges,
        writer: &mut SnapshotWriter,
    ) -> Result<(), FoldError> {
        let mut changes = changes.iter().peekable();
        let mut line = None;
        for count in 1_u64.. {
            if count.is_multiple_of(EVERY) {
                give_way().await;
            }
            let Some(entry) = earlier.next(self.reference, &mut line)? else { break };
            while let Some((primary, of_key)) = changes.next_if(|(primary, _)| ***primary < *entry.primary) {
                self.push(None, primary, of_key, writer)?;
            }
            match changes.next_if(|(primary, _)| ***primary == *entry.primary) {
                Some((primary, of_key)) => self.push(Some(entry), primary, of_key, writer)?,
                None => self.keep(&entry, writer)?,
            }
        }
        for (primary, of_key) in changes {
            self.push(None, primary, of_key, writer)?;
        }
        Ok(())
    }

    /// Writes what becomes of a key by its changes.
    fn push<'e>(
        &self,
        mut entry: Option<Entry<'e>>,
        primary: &'e [u8],
        changes: &'e KeyChanges,
        writer: &mut SnapshotWriter,
    ) -> Result<(), FoldError> {
        for (version, change) in changes.iter().filter(|(version, _)| *version > self.start) {
            let known = entry.as_ref().map(|entry| entry.known);
            if !takes_effect(known, change, self.scan_started) {
                continue;
            }
            let known = KnownChange { newest: newest_after(known, change), changed: *version };
            let bad = |source| FoldError::Change { version: *version, reference: self.reference.into(), source };
            let row = change.row.as_ref().map(|row| RowFields::parse(row.get()).map_err(bad)).transpose()?;
            entry = Some(Entry { primary, key: change.key.get(), known, row });
        }
        entry.map_or(Ok(()), |entry| self.keep(&entry, writer))
    }

    fn keep(&self, entry: &Entry<'_>, writer: &mut SnapshotWriter) -> Result<(), FoldError> {
        if entry.row.is_none()
            && (entry.known.changed <= self.tombstones_above || planted(Bug::SnapshotWithoutTombstones))
        {
            return Ok(());
        }
        Ok(writer.push(entry)?)
    }
}

impl<'f> Earlier<'f> {
    /// The next entry; `line` holds what it is made of, where that is a base's line.
    fn next<'e>(
        &'e mut self,
        reference: &str,
        line: &'e mut Option<BaseLine<'f>>,
    ) -> Result<Option<Entry<'e>>, FoldError> {
        let (lines, changed) = match self {
            Self::None => return Ok(None),
            Self::Snapshot(entries) => return Ok(entries.next_entry()?),
            Self::Base(lines, changed) => (lines, *changed),
        };
        *line = lines.next();
        let Some(line) = line else { return Ok(None) };
        let bad = |source| FoldError::BaseRow { reference: reference.into(), key: line.key.get().into(), source };
        let row = line.row.map(|row| RowFields::parse(row.get()).map_err(bad)).transpose()?;
        let newest = line.label.as_deref().zip(line.number.as_deref());
        let known = KnownChange { newest, changed };
        Ok(Some(Entry { primary: &line.primary, key: line.key.get(), known, row }))
    }
}
