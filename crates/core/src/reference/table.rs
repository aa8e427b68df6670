//! A table's rows on their way into its base: each with its primary key, and with what the log knows of that key.
//!
//! Always: keys that the log names up to the base's version keep the label and sequence number of their newest change, and
//! those that the scan did not find become tombstones; so an old change that is appended again does no harm.

use hashbrown::HashMap;
use serde_json::value::RawValue;

use super::base::BaseWriter;
use super::bootstrap::Sources;
use super::error::LoadError;
use super::newest::NEVER;
use super::restore::restore;
use super::row::{RowError, primary_key};
use crate::bug::{Bug, planted};
use crate::change::{Change, RowChange, Version};
use crate::ports::RawRow;
use crate::record::{FieldNames, Fields, parse_object};
use crate::sequence::SequenceNumber;
use crate::snapshot::{SnapshotError, TableSection};
use crate::time::Timestamp;

/// The newest change that the log names for a key.
#[derive(Debug)]
pub(super) struct Named {
    key: RawRow,
    label: String,
    sequence: SequenceNumber,
    scanned: bool,
}

/// By primary key.
pub(super) type NamedKeys = HashMap<Box<[u8]>, Named>;

/// The keys of a reference that the log names up to a version, each with its newest change.
pub(super) async fn named_keys(sources: Sources<'_>, reference: &str, head: Version) -> Result<NamedKeys, LoadError> {
    let mut named = NamedKeys::new();
    let file = restore(sources, head).await?.file;
    if let Some((file, section)) = file.as_ref().and_then(|file| Some((file, file.table(reference)?))) {
        from_section(section, &mut named).map_err(|source| LoadError::Snapshot { key: file.name().key(), source })?;
    }
    let after = file.map_or(0, |file| file.version());
    for (file, _) in sources.log.read_range(after, head).await? {
        for change in file.changes {
            let Change::Row(RowChange { table, key, label, sequence, .. }) = change else { continue };
            // What a comparison found of a key without a change names none.
            if table != reference || (label.as_str(), sequence.as_str()) == NEVER {
                continue;
            }
            let primary = primary_key(key.get()).map_err(|source| LoadError::Change {
                version: file.version,
                reference: reference.into(),
                source,
            })?;
            let newer = named
                .get(&primary)
                .is_none_or(|known| (label.as_str(), &sequence) > (known.label.as_str(), &known.sequence));
            if newer {
                named.insert(primary, Named { key, label, sequence, scanned: false });
            }
        }
    }
    Ok(named)
}

/// What a snapshot file says the log names.
fn from_section(section: TableSection<'_>, named: &mut NamedKeys) -> Result<(), SnapshotError> {
    let mut entries = section.entries()?;
    while let Some(entry) = entries.next_entry()? {
        let Some((label, sequence)) = entry.known.newest else { continue };
        let key = serde_json::from_str(entry.key).map_err(|_| SnapshotError::Malformed { part: "key" })?;
        let named_key = Named { key, label: label.into(), sequence: sequence.into(), scanned: false };
        named.insert(entry.primary.into(), named_key);
    }
    Ok(())
}

/// A base in the making.
#[derive(Debug)]
pub(super) struct TableBase<'a> {
    reference: &'a str,
    attributes: Vec<String>,
    named: NamedKeys,
    writer: BaseWriter,
}

impl<'a> TableBase<'a> {
    /// Of a table with these key attributes.
    pub(super) fn new(reference: &'a str, attributes: Vec<String>, named: NamedKeys) -> Self {
        Self { reference, attributes, named, writer: BaseWriter::new() }
    }

    /// Takes a row that the scan found. Each key comes once.
    ///
    /// # Errors
    /// [`LoadError::Row`] for a row that cannot be held.
    pub(super) fn push(&mut self, row: &RawValue) -> Result<(), LoadError> {
        let (key, primary) = key_of(row, &self.attributes).map_err(|source| self.bad(row.get(), source))?;
        let newest = self.named.get_mut(&primary).map(|named| {
            named.scanned = true;
            (named.label.as_str(), named.sequence.as_str())
        });
        let pushed = self.writer.push(primary, &key, Some(row), newest);
        pushed.map_err(|source| self.bad(row.get(), source.into()))
    }

    /// The base's bytes.
    ///
    /// # Errors
    /// As [`push`](Self::push), for a key that the log names.
    pub(super) fn finish(mut self, version: Version, scan_started: Timestamp) -> Result<Vec<u8>, LoadError> {
        let kept = |named: &Named| !named.scanned && !planted(Bug::BaseWithoutTombstones);
        for (primary, gone) in std::mem::take(&mut self.named).into_iter().filter(|(_, named)| kept(named)) {
            let newest = Some((gone.label.as_str(), gone.sequence.as_str()));
            let pushed = self.writer.push(primary, &gone.key, None, newest);
            pushed.map_err(|source| self.bad(gone.key.get(), source.into()))?;
        }
        Ok(self.writer.finish(self.reference, version, scan_started)?)
    }

    fn bad(&self, row: &str, source: RowError) -> LoadError {
        LoadError::Row { reference: self.reference.into(), row: row.into(), source }
    }
}

/// The primary key of a row, as the change files write it, and what it is compared by.
///
/// # Errors
/// [`RowError`] for a row that is no object, or a key that cannot be decoded.
pub fn key_of(row: &RawValue, attributes: &[String]) -> Result<(RawRow, Box<[u8]>), RowError> {
    let mut names = FieldNames::default();
    let slots: Vec<_> = attributes.iter().map(|name| (name, names.slot(name))).collect();
    let mut fields = Fields::of(&names);
    parse_object(&names, row.get(), &mut fields)?;
    let members: Vec<String> = slots
        .iter()
        .map(|(name, slot)| {
            format!("{}:{}", serde_json::Value::from(name.as_str()), fields.get(*slot).unwrap_or("null"))
        })
        .collect();
    let key: RawRow = serde_json::from_str(&format!("{{{}}}", members.join(",")))?;
    let primary = primary_key(key.get())?;
    Ok((key, primary))
}
