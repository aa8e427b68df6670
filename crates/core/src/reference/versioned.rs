//! A reference's rows by join key, each with the versions it is valid in.
//!
//! Always: at any version from the oldest kept to the newest applied, the rows seen are the fold of the change files up
//! to that version. Per primary key the [newest](super::newest) change wins, so that a change appended twice, or late, does
//! no harm; deletes stay as tombstones. Applying a change twice changes nothing.

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashMap;

use super::newest::{KnownChange, newest_after, takes_effect};
use super::objects::HeldObject;
use super::row::{JoinKeys, Projection, Row, RowError, primary_key};
use crate::change::{RowChange, Version};
use crate::record::Fields;
use crate::time::Timestamp;

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is the newest of its key.
    Applied,
    /// A newer one was there already.
    Superseded,
}

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
    /// `None` while it is known from scans only.
    newest: Option<(Box<str>, Box<str>)>,
    /// When the last change took effect.
    changed: Version,
    /// Under which join keys its row is, if it has one.
    join: JoinKeys,
}

impl Known {
    fn new(newest: Option<(&str, &str)>, changed: Version, join: JoinKeys) -> Self {
        Self { newest: newest.map(|(label, number)| (label.into(), number.into())), changed, join }
    }

    fn as_ref(&self) -> KnownChange<'_> {
        KnownChange { newest: self.newest.as_ref().map(|(label, number)| (&**label, &**number)), changed: self.changed }
    }
}

/// One reference, by join key.
#[derive(Debug)]
pub struct VersionedReference {
    projection: Projection,
    /// When the scan that the base was made of began.
    scan_started: Timestamp,
    known: HashMap<Box<[u8]>, Known>,
    /// Where the reference is made of objects: these instead of `known`.
    pub(super) objects: BTreeMap<Box<str>, HeldObject>,
    by_join: ByJoin,
    /// Entries that ended, oldest end first, for pruning.
    ended: VecDeque<(Version, Box<[u8]>)>,
}

impl VersionedReference {
    /// No rows yet.
    #[must_use]
    pub fn new(projection: Projection, scan_started: Timestamp) -> Self {
        Self {
            projection,
            scan_started,
            known: HashMap::new(),
            objects: BTreeMap::new(),
            by_join: HashMap::new(),
            ended: VecDeque::new(),
        }
    }

    /// Room for so many rows.
    pub fn reserve(&mut self, rows: usize) {
        self.known.reserve(rows);
        self.by_join.reserve(rows);
    }

    /// Takes a row (or, where `row` is `None`, a tombstone) of a base or a snapshot file, with what is known of its key.
    ///
    /// # Errors
    /// [`RowError`] where the key or row cannot be read.
    pub fn load(&mut self, key: &str, row: Option<&str>, known: KnownChange<'_>) -> Result<(), RowError> {
        let primary = primary_key(key)?;
        let mut join = JoinKeys::None;
        if let Some(raw) = row {
            let (keys, row) = self.projection.project(raw)?;
            self.begin(0, &keys, &primary, row);
            join = keys;
        }
        self.known.insert(primary, Known::new(known.newest, known.changed, join));
        Ok(())
    }

    /// As [`load`](Self::load), of a table's row in a snapshot file.
    ///
    /// # Errors
    /// [`RowError`] for a string that cannot be decoded.
    pub(crate) fn load_fields(
        &mut self,
        primary: &[u8],
        row: Option<&Fields<'_>>,
        known: KnownChange<'_>,
    ) -> Result<(), RowError> {
        let mut join = JoinKeys::None;
        if let Some(fields) = row {
            let (keys, row) = self.projection.project_fields(fields)?;
            self.begin(0, &keys, primary, row);
            join = keys;
        }
        self.known.insert(primary.into(), Known::new(known.newest, known.changed, join));
        Ok(())
    }

    /// Applies a change of version `version`. Versions come in rising order.
    ///
    /// # Errors
    /// [`RowError`] where the key or row cannot be read; nothing is changed then.
    pub fn apply(&mut self, version: Version, change: &RowChange) -> Result<Effect, RowError> {
        let primary = primary_key(change.key.get())?;
        let known = self.known.get(&primary).map(Known::as_ref);
        if !takes_effect(known, change, Some(self.scan_started)) {
            return Ok(Effect::Superseded);
        }
        let newest = newest_after(known, change);
        let projected = change.row.as_ref().map(|row| self.projection.project(row.get())).transpose()?;
        let (join, row) = projected.map_or((JoinKeys::None, None), |(join, row)| (join, Some(row)));
        let now = Known::new(newest, version, join.clone());
        if let Some(before) = self.known.insert(primary.clone(), now) {
            for key in before.join.iter() {
                self.end(version, key, &primary);
            }
        }
        if let Some(row) = row {
            self.begin(version, &join, &primary, row);
        }
        Ok(Effect::Applied)
    }

    /// What a pipeline uses of its rows.
    pub(super) fn projection(&self) -> &Projection {
        &self.projection
    }

    /// A row that is valid from a version on.
    pub(super) fn begin(&mut self, version: Version, join: &JoinKeys, primary: &[u8], row: Row) {
        insert(&mut self.by_join, join, Entry { primary: primary.into(), from: version, to: STILL_VALID, row });
    }

    /// Ends the row of a join key and a primary key.
    pub(super) fn end(&mut self, version: Version, join: &[u8], primary: &[u8]) {
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

    /// The version below which all but the newest `keep` ended rows ended; 0 where no more are kept.
    pub(super) fn ended_before(&self, keep: usize) -> Version {
        let surplus = self.ended.len().checked_sub(keep + 1);
        surplus.and_then(|last| self.ended.get(last)).map_or(0, |(ended, _)| *ended)
    }

    /// How many ended rows are kept for older versions.
    #[must_use]
    pub fn history(&self) -> usize {
        self.ended.len()
    }

    /// How many keys are known, tombstones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len() + self.object_rows()
    }

    /// Whether no key is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
