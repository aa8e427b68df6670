//! A reference's rows by join key, each with the versions it is valid in.
//!
//! Always: at any version from the oldest kept to the newest applied, the rows seen are the fold of the change files up
//! to that version. Per primary key the newest change wins by (label of the source stream, sequence number), so that a
//! change appended twice, or late, does no harm; deletes stay as tombstones. Applying a change twice changes nothing.

use std::cmp::Ordering;
use std::collections::VecDeque;

use hashbrown::HashMap;

use super::row::{JoinKeys, Projection, Row, RowError, primary_key};
use crate::change::{RowChange, Version};
use crate::sequence;
use crate::time::Timestamp;

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is the newest of its key.
    Applied,
    /// A newer one was there already.
    Superseded,
}

/// How long before a scan a change may say it happened and still count as news to that scan's rows: source clocks differ.
const SCAN_GRACE_MILLIS: i64 = 5 * 60 * 1000;

const STILL_VALID: Version = Version::MAX;

#[derive(Clone, Debug)]
struct Entry {
    primary: Box<[u8]>,
    from: Version,
    to: Version,
    row: Row,
}

/// What is known of one primary key.
#[derive(Debug)]
struct Known {
    /// `None` while it is known from the base only.
    newest: Option<(Box<str>, Box<str>)>,
    /// Under which join keys its row is, if it has one.
    join: JoinKeys,
}

/// One reference, by join key.
#[derive(Debug)]
pub struct VersionedReference {
    projection: Projection,
    /// When the scan that the base was made of began.
    scan_started: Timestamp,
    known: HashMap<Box<[u8]>, Known>,
    by_join: ByJoin,
    /// Entries that ended, oldest end first, for pruning.
    ended: VecDeque<(Version, Box<[u8]>)>,
}

impl VersionedReference {
    /// No rows yet.
    #[must_use]
    pub fn new(projection: Projection, scan_started: Timestamp) -> Self {
        Self { projection, scan_started, known: HashMap::new(), by_join: HashMap::new(), ended: VecDeque::new() }
    }

    /// Room for so many rows.
    pub fn reserve(&mut self, rows: usize) {
        self.known.reserve(rows);
        self.by_join.reserve(rows);
    }

    /// Takes a row (or, where `row` is `None`, a tombstone) of the base. `newest` is the label and sequence number of the
    /// log's newest change to the key, where the log names it.
    ///
    /// # Errors
    /// [`RowError`] where the key or row cannot be read.
    pub fn load(&mut self, key: &str, row: Option<&str>, newest: Option<(&str, &str)>) -> Result<(), RowError> {
        let primary = primary_key(key)?;
        let mut join = JoinKeys::None;
        if let Some(raw) = row {
            let (keys, row) = self.projection.project(raw)?;
            insert(&mut self.by_join, &keys, Entry { primary: primary.clone(), from: 0, to: STILL_VALID, row });
            join = keys;
        }
        self.known.insert(primary, Known { newest: newest.map(|(label, number)| (label.into(), number.into())), join });
        Ok(())
    }

    /// Applies a change of version `version`. Versions come in rising order.
    ///
    /// # Errors
    /// [`RowError`] where the key or row cannot be read; nothing is changed then.
    pub fn apply(&mut self, version: Version, change: &RowChange) -> Result<Effect, RowError> {
        let primary = primary_key(change.key.get())?;
        let (label, number) = (change.label.as_str(), change.sequence.as_str());
        if let Some(known) = self.known.get(&primary) {
            let newer = match &known.newest {
                Some((known_label, known_number)) => {
                    label.cmp(known_label).then_with(|| sequence::compare(number, known_number)) == Ordering::Greater
                }
                None => change.at >= self.scan_started.plus_millis(-SCAN_GRACE_MILLIS),
            };
            if !newer {
                return Ok(Effect::Superseded);
            }
        }
        let projected = change.row.as_ref().map(|row| self.projection.project(row.get())).transpose()?;
        let (join, row) = projected.map_or((JoinKeys::None, None), |(join, row)| (join, Some(row)));
        let newest = Some((label.into(), number.into()));
        if let Some(before) = self.known.insert(primary.clone(), Known { newest, join: join.clone() }) {
            for key in before.join.iter() {
                self.end(version, key, &primary);
            }
        }
        if let Some(row) = row {
            insert(&mut self.by_join, &join, Entry { primary, from: version, to: STILL_VALID, row });
        }
        Ok(Effect::Applied)
    }

    fn end(&mut self, version: Version, join: &[u8], primary: &[u8]) {
        let entries = self.by_join.get_mut(join).into_iter().flatten();
        for entry in entries.filter(|entry| entry.to == STILL_VALID && *entry.primary == *primary) {
            entry.to = version;
        }
        self.ended.push_back((version, join.into()));
    }

    /// The rows of a join key at a version, in the order of their primary keys.
    pub fn rows<'s>(&'s self, join: &[u8], version: Version) -> impl Iterator<Item = &'s Row> + Clone + use<'s> {
        let entries = self.by_join.get(join).map(Vec::as_slice).unwrap_or_default();
        entries.iter().filter(move |entry| entry.from <= version && version < entry.to).map(|entry| &entry.row)
    }

    /// Forgets what only versions below `oldest` can see.
    pub fn prune(&mut self, oldest: Version) {
        while let Some((_, join)) = self.ended.pop_front_if(|(ended, _)| *ended <= oldest) {
            if let Some(entries) = self.by_join.get_mut(&join) {
                entries.retain(|entry| entry.to > oldest);
                if entries.is_empty() {
                    self.by_join.remove(&join);
                }
            }
        }
    }

    /// How many ended rows are kept for older versions.
    #[must_use]
    pub fn history(&self) -> usize {
        self.ended.len()
    }

    /// How many keys are known, tombstones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no key is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

type ByJoin = HashMap<Box<[u8]>, Vec<Entry>>;

fn insert(by_join: &mut ByJoin, keys: &JoinKeys, entry: Entry) {
    match keys {
        JoinKeys::None => {}
        JoinKeys::One(key) => insert_under(by_join, key, entry),
        JoinKeys::Several(keys) => keys.iter().for_each(|key| insert_under(by_join, key, entry.clone())),
    }
}

fn insert_under(by_join: &mut ByJoin, key: &[u8], entry: Entry) {
    // A vector of exactly one: nearly every key has one row, and there may be millions of keys.
    match by_join.get_mut(key) {
        Some(entries) => {
            let place = entries.partition_point(|other| (&other.primary, other.from) <= (&entry.primary, entry.from));
            entries.insert(place, entry);
        }
        None => {
            by_join.insert(key.into(), vec![entry]);
        }
    }
}

#[cfg(test)]
mod tests;
