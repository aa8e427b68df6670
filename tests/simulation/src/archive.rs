//! Every record that the order stream ever took, also after it has left the stream or the stream itself is gone.

use std::collections::{BTreeMap, BTreeSet};

use freshjoin_core::change::Version;
use freshjoin_core::memory::MemoryStream;
use freshjoin_core::ports::Shard;
use freshjoin_core::record::Record;
use freshjoin_core::time::Timestamp;

use crate::history::History;

/// A shard of one of the streams that had the name one after the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShardKey {
    /// When its stream was created.
    pub stream: Timestamp,
    pub id: String,
}

/// A record as it was taken.
#[derive(Clone, Debug)]
pub struct Kept {
    pub sequence: String,
    pub arrival: Timestamp,
    pub data: Vec<u8>,
}

impl Kept {
    pub fn record(&self) -> Record<'_> {
        Record { sequence: &self.sequence, arrival: self.arrival, data: &self.data }
    }
}

/// One shard's records.
#[derive(Debug)]
pub struct Shelf {
    pub parents: Vec<String>,
    pub open: bool,
    pub records: Vec<Kept>,
    /// So many have left the stream.
    pub trimmed: usize,
    /// The places of those that left it, or were given up, before they were known to be committed.
    pub lost: BTreeSet<usize>,
}

/// All of them.
#[derive(Debug)]
pub struct Archive {
    pub shelves: BTreeMap<ShardKey, Shelf>,
    /// When the stream of now was created.
    pub stream: Timestamp,
}

impl Archive {
    pub fn new(stream: Timestamp) -> Self {
        Self { shelves: BTreeMap::new(), stream }
    }

    pub fn key(&self, id: &str) -> ShardKey {
        ShardKey { stream: self.stream, id: id.to_owned() }
    }

    pub fn shelf(&self, key: &ShardKey) -> &Shelf {
        self.shelves.get(key).unwrap_or_else(|| panic!("{key:?} was never listed"))
    }

    /// Takes note of the shards as they are listed.
    pub fn list(&mut self, shards: &[Shard]) {
        for shard in shards {
            let key = self.key(&shard.id);
            let parents = shard.parents.clone();
            let shelf = self.shelves.entry(key).or_insert_with(|| Shelf {
                parents,
                open: true,
                records: Vec::new(),
                trimmed: 0,
                lost: BTreeSet::new(),
            });
            shelf.open = shard.open;
        }
    }

    /// Takes note of what was put since.
    pub fn refresh(&mut self, stream: &MemoryStream) {
        for (key, shelf) in self.shelves.iter_mut().filter(|(key, _)| key.stream == self.stream) {
            let (fresh, _) = stream.records_after(&key.id, shelf.records.len());
            shelf.records.extend(fresh.iter().map(|record| Kept {
                sequence: record.sequence.to_owned(),
                arrival: record.arrival,
                data: record.data.to_vec(),
            }));
        }
    }

    /// What arrived before a time has left the stream.
    pub fn trim(&mut self, before: Timestamp) {
        for (_, shelf) in self.shelves.iter_mut().filter(|(key, _)| key.stream == self.stream) {
            shelf.trimmed = shelf.records.partition_point(|record| record.arrival < before).max(shelf.trimmed);
        }
    }

    /// The stream is gone, and another one has its name.
    pub fn recreate(&mut self, created: Timestamp) {
        for (_, shelf) in self.shelves.iter_mut().filter(|(key, _)| key.stream == self.stream) {
            shelf.trimmed = shelf.records.len();
        }
        self.stream = created;
    }

    /// What a shard's parents have used; their parents, where one has no cursor.
    pub fn used_by_parents(&self, history: &History, key: &ShardKey) -> Version {
        let (mut waiting, mut highest) = (vec![key.clone()], 0);
        while let Some(key) = waiting.pop() {
            for parent in self.shelves.get(&key).map(|shelf| shelf.parents.as_slice()).unwrap_or_default() {
                let parent = ShardKey { stream: key.stream, id: parent.clone() };
                match history.shards.get(&parent) {
                    Some(known) => highest = highest.max(known.cursor.highest_version()),
                    None => waiting.push(parent),
                }
            }
        }
        highest
    }

    /// The shards that a shard descends from.
    pub fn ancestors(&self, key: &ShardKey) -> BTreeSet<ShardKey> {
        let mut found = BTreeSet::new();
        let mut waiting = vec![key.clone()];
        while let Some(key) = waiting.pop() {
            for parent in self.shelves.get(&key).map(|shelf| shelf.parents.as_slice()).unwrap_or_default() {
                let parent = ShardKey { stream: key.stream, id: parent.clone() };
                if found.insert(parent.clone()) {
                    waiting.push(parent);
                }
            }
        }
        found
    }
}
