//! The shards of a stream in memory: ranges of hash keys that cover the space once, and numbers that rise.

use bytes::Bytes;

use crate::ports::Shard;
use crate::time::Timestamp;

/// A record as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) sequence: String,
    pub(super) arrival: Timestamp,
    pub(super) data: Bytes,
}

/// One shard with its records.
#[derive(Clone, Debug)]
pub(super) struct MemoryShard {
    number: u64,
    parents: Vec<String>,
    pub(super) first_hash: u128,
    pub(super) last_hash: u128,
    created: Timestamp,
    pub(super) closed: Option<Timestamp>,
    /// What is still held; `trimmed` came before.
    pub(super) records: Vec<Stored>,
    pub(super) trimmed: usize,
    taken: u64,
}

impl MemoryShard {
    pub(super) fn new(number: u64, parents: Vec<String>, hashes: (u128, u128), created: Timestamp) -> Self {
        Self {
            number,
            parents,
            first_hash: hashes.0,
            last_hash: hashes.1,
            created,
            closed: None,
            records: Vec::new(),
            trimmed: 0,
            taken: 0,
        }
    }

    pub(super) fn id(&self) -> String {
        format!("shardId-{:012}", self.number)
    }

    pub(super) fn describe(&self) -> Shard {
        Shard {
            id: self.id(),
            parents: self.parents.clone(),
            starting_hash_key: self.first_hash.to_string(),
            open: self.closed.is_none(),
        }
    }

    pub(super) fn takes(&self, hash: u128) -> bool {
        self.closed.is_none() && (self.first_hash..=self.last_hash).contains(&hash)
    }

    pub(super) fn push(&mut self, data: Bytes, arrival: Timestamp) {
        self.taken += 1;
        // 56 digits, as Kinesis: the shard's creation first, so that a child's numbers follow its parents', and the
        // shard last, so that no two shards share one.
        let sequence = format!("49{:014}{:030}{:010}", self.created.millis().max(0), self.taken, self.number);
        self.records.push(Stored { sequence, arrival, data });
    }

    /// Drops what arrived before; whether the shard itself is gone with its last record.
    pub(super) fn trim(&mut self, before: Timestamp) -> bool {
        let keep = self.records.iter().position(|record| record.arrival >= before).unwrap_or(self.records.len());
        self.records.drain(..keep);
        self.trimmed += keep;
        self.records.is_empty() && self.closed.is_some_and(|closed| closed < before)
    }
}

/// So many ranges of equal size that cover the hash keys.
pub(super) fn even_ranges(count: u32) -> Vec<(u128, u128)> {
    let count = u128::from(count.max(1));
    let size = u128::MAX / count;
    (0..count)
        .map(|index| (index * size, if index + 1 == count { u128::MAX } else { (index + 1) * size - 1 }))
        .collect()
}
