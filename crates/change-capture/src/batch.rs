//! From the records of an event to one batch of changes for each stream they came from: per key, the newest change.

use std::collections::{BTreeMap, HashMap};
use std::vec::IntoIter;

use freshjoin_core::change::Origin;
use freshjoin_core::sequence::SequenceNumber;

use crate::event::Captured;

/// What becomes one change file; several, where its rows have to be read and are too much for one.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The table's name.
    pub(crate) table: String,
    pub(crate) origin: Origin,
    /// One a key, in the order in which they happened; those that are in the log are taken off.
    pub(crate) left: IntoIter<Captured>,
    /// Of all records, in the order in which they came.
    sequences: Vec<SequenceNumber>,
    /// How many changes there were.
    count: usize,
}

/// An event source mapping brings one stream at a time; should there be several, each becomes a batch of its own.
pub(crate) fn batches(records: Vec<Captured>) -> Vec<Batch> {
    let mut by_source: BTreeMap<String, Vec<Captured>> = BTreeMap::new();
    for record in records {
        by_source.entry(record.source.clone()).or_default().push(record);
    }
    by_source.into_iter().filter_map(|(source, records)| batch(source, records)).collect()
}

fn batch(source: String, records: Vec<Captured>) -> Option<Batch> {
    let sequences: Vec<_> = records.iter().map(|record| record.change.sequence.clone()).collect();
    let range = format!("{}-{}", sequences.iter().min()?, sequences.iter().max()?);
    let (table, label) = records.first().map(|first| (first.change.table.clone(), first.change.label.clone()))?;
    let mut newest: HashMap<String, Captured> = HashMap::new();
    for record in records {
        let key = record.change.key.get();
        if newest.get(key).is_none_or(|known| known.change.sequence <= record.change.sequence) {
            newest.insert(key.to_owned(), record);
        }
    }
    let mut changes: Vec<Captured> = newest.into_values().collect();
    // The same batch must give the same file, whatever the map's order.
    changes.sort_by(|a, b| {
        a.change.sequence.cmp(&b.change.sequence).then_with(|| a.change.key.get().cmp(b.change.key.get()))
    });
    let count = changes.len();
    let origin = Origin { source, label, range };
    Some(Batch { table, origin, left: changes.into_iter(), sequences, count })
}

impl Batch {
    /// Where the mapping has to go on should what is left come to nothing: the first change that is left, or the very
    /// beginning while none is in the log. An older record of a key goes with its key's newest.
    pub(crate) fn resume(&self) -> Option<SequenceNumber> {
        if self.left.len() < self.count {
            self.left.as_slice().first().map(|first| first.change.sequence.clone())
        } else {
            self.sequences.iter().min().cloned()
        }
    }

    /// The records from a place on.
    pub(crate) fn from(self, place: &SequenceNumber) -> impl Iterator<Item = String> {
        self.sequences.into_iter().filter(move |sequence| sequence >= place).map(|sequence| sequence.to_string())
    }
}
