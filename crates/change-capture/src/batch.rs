//! From the records of an event to one change file for each stream they came from: per key, the newest change.

use std::collections::{BTreeMap, HashMap};

use freshjoin_core::change::{Change, Origin, RowChange};

use crate::event::Captured;

/// What becomes one change file.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The table's name.
    pub(crate) table: String,
    pub(crate) origin: Origin,
    /// One a key, in the order in which they happened.
    pub(crate) changes: Vec<Change>,
    /// Of all records, in the order in which they came.
    pub(crate) sequences: Vec<String>,
}

/// An event source mapping brings one stream at a time; should there be several, each becomes a file of its own.
pub(crate) fn batches(records: Vec<Captured>) -> Vec<Batch> {
    let mut by_source: BTreeMap<String, Vec<RowChange>> = BTreeMap::new();
    for Captured { source, change } in records {
        by_source.entry(source).or_default().push(change);
    }
    by_source.into_iter().filter_map(|(source, changes)| batch(source, changes)).collect()
}

fn batch(source: String, records: Vec<RowChange>) -> Option<Batch> {
    let first = records.iter().map(|record| &record.sequence).min()?.clone();
    let last = records.iter().map(|record| &record.sequence).max()?.clone();
    let (table, label) = records.first().map(|record| (record.table.clone(), record.label.clone()))?;
    let sequences = records.iter().map(|record| record.sequence.to_string()).collect();
    let mut newest: HashMap<String, RowChange> = HashMap::new();
    for record in records {
        let key = record.key.get();
        if newest.get(key).is_none_or(|known| known.sequence <= record.sequence) {
            newest.insert(key.to_owned(), record);
        }
    }
    let mut changes: Vec<RowChange> = newest.into_values().collect();
    // The same batch must give the same file, whatever the map's order.
    changes.sort_by(|a, b| a.sequence.cmp(&b.sequence).then_with(|| a.key.get().cmp(b.key.get())));
    let origin = Origin { source, label, range: format!("{first}-{last}") };
    Some(Batch { table, origin, changes: changes.into_iter().map(Change::Row).collect(), sequences })
}
