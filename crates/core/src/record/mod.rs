//! Records as they come: bytes with a sequence number and an arrival, kept in one arena so that a batch of thousands
//! costs a handful of allocations.

mod aggregate;
mod order;
mod unwrap;

pub use aggregate::{NotAggregate, PACKED_RECORD_OVERHEAD, pack};
pub use order::{FieldNames, Fields, FlagFinder, Malformed, parse_object};
pub use unwrap::{Content, MAX_LAYERS, MAX_UNPACKED, Unreadable, decode};

use crate::sequence::SequenceNumber;
use crate::time::Timestamp;

/// Records of one shard in the order of their sequence numbers.
#[derive(Clone, Debug, Default)]
pub struct Records {
    sequences: String,
    arena: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    sequence_end: u32,
    end: u32,
    arrival: Timestamp,
}

/// One record, borrowed from its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Decimal text; see [`crate::sequence`].
    pub sequence: &'a str,
    /// When the stream took it.
    pub arrival: Timestamp,
    /// As the producer wrote it.
    pub data: &'a [u8],
}

/// The arena's 4 GiB are full; no event or page comes near.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a batch of more than 4 GiB; give the event source mapping a smaller batch size")]
pub struct BatchTooLarge;

impl Records {
    /// Room for so many records of so many bytes in all.
    #[must_use]
    pub fn with_capacity(records: usize, bytes: usize) -> Self {
        Self {
            sequences: String::with_capacity(records * 56),
            arena: Vec::with_capacity(bytes),
            entries: Vec::with_capacity(records),
        }
    }

    /// Appends a record whose bytes `fill` writes to the end of the buffer it is given.
    ///
    /// # Errors
    /// What `fill` fails with, or [`BatchTooLarge`]; nothing is appended then.
    pub fn push_with<E: From<BatchTooLarge>>(
        &mut self,
        sequence: &str,
        arrival: Timestamp,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.arena.len();
        let filled = fill(&mut self.arena).and_then(|()| {
            let offset = |at: usize| u32::try_from(at).map_err(|_| BatchTooLarge);
            let sequence_end = offset(self.sequences.len() + sequence.len())?;
            Ok(Entry { sequence_end, end: offset(self.arena.len())?, arrival })
        });
        match filled {
            Ok(entry) => {
                self.sequences.push_str(sequence);
                self.entries.push(entry);
                Ok(())
            }
            Err(error) => {
                self.arena.truncate(start);
                Err(error)
            }
        }
    }

    /// Appends a record.
    ///
    /// # Errors
    /// [`BatchTooLarge`]; nothing is appended then.
    pub fn push(&mut self, sequence: &str, arrival: Timestamp, data: &[u8]) -> Result<(), BatchTooLarge> {
        self.push_with(sequence, arrival, |buffer| {
            buffer.extend_from_slice(data);
            Ok(())
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The record at a place.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Record<'_>> {
        let entry = self.entries.get(index)?;
        let (sequence_start, start) = match index.checked_sub(1).and_then(|before| self.entries.get(before)) {
            Some(before) => (before.sequence_end, before.end),
            None => (0, 0),
        };
        Some(Record {
            sequence: self.sequences.get(sequence_start as usize..entry.sequence_end as usize)?,
            arrival: entry.arrival,
            data: self.arena.get(start as usize..entry.end as usize)?,
        })
    }

    /// All records in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Record<'_>> + ExactSizeIterator {
        (0..self.entries.len())
            .map(|index| self.get(index).unwrap_or(Record { sequence: "", arrival: Timestamp::default(), data: b"" }))
    }

    /// The last record's sequence number.
    #[must_use]
    pub fn last_sequence(&self) -> Option<SequenceNumber> {
        self.iter().next_back().map(|record| record.sequence.into())
    }

    /// The same records in rising order, each once.
    #[must_use]
    pub fn sorted(&self) -> Self {
        let mut records: Vec<_> = self.iter().collect();
        records.sort_by(|a, b| crate::sequence::compare(a.sequence, b.sequence));
        records.dedup_by(|a, b| a.sequence == b.sequence);
        let mut out = Self::with_capacity(records.len(), self.arena.len());
        for record in records {
            // What fitted in one arena fits in another.
            if out.push(record.sequence, record.arrival, record.data).is_err() {
                break;
            }
        }
        out
    }

    /// Whether the records are in strictly rising order, as every shard gives them.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        use std::cmp::Ordering::Less;
        self.iter().zip(self.iter().skip(1)).all(|(a, b)| crate::sequence::compare(a.sequence, b.sequence) == Less)
    }
}
