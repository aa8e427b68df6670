//! A reference's rows by join key, each with the versions it is valid in.
//!
//! Always: at any version from the oldest kept to the newest applied, the rows seen are the fold of the change files up
//! to that version. Per primary key the [newest](super::newest) change wins, so that a change appended twice, or late, does
//! no harm; deletes stay as tombstones. Applying a change twice changes nothing.

use std::collections::BTreeMap;

use super::by_join::ByJoin;
use super::keys::Keys;
use super::known::KnownKeys;
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

/// One reference, by join key.
#[derive(Debug)]
pub struct VersionedReference {
    projection: Projection,
    /// When the scan that the base was made of began.
    scan_started: Timestamp,
    known: KnownKeys,
    /// Where the reference is made of objects: these instead of `known`.
    pub(super) objects: BTreeMap<Box<str>, HeldObject>,
    by_join: ByJoin,
    /// For putting keys together.
    room: Vec<u8>,
}

impl VersionedReference {
    /// No rows yet.
    #[must_use]
    pub fn new(projection: Projection, scan_started: Timestamp) -> Self {
        Self {
            projection,
            scan_started,
            known: KnownKeys::default(),
            objects: BTreeMap::new(),
            by_join: ByJoin::default(),
            room: Vec::new(),
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
        let row = row.map(|raw| self.projection.project(raw)).transpose()?;
        self.take(&primary, row, known);
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
        let row = row.map(|fields| self.projection.project_fields(fields)).transpose()?;
        self.take(primary, row, known);
        Ok(())
    }

    fn take(&mut self, primary: &[u8], row: Option<(JoinKeys, Row)>, known: KnownChange<'_>) {
        let (join, row) = row.unzip();
        let (label, number) = known.newest.unzip();
        let keys = Keys::new(primary, &join.unwrap_or_default(), number.unwrap_or_default(), &mut self.room);
        if let Some(row) = row {
            self.by_join.begin(0, &keys, row);
        }
        self.known.set(keys, label, known.changed);
    }

    /// Applies a change of version `version`. Versions come in rising order.
    ///
    /// # Errors
    /// [`RowError`] where the key or row cannot be read; nothing is changed then.
    pub fn apply(&mut self, version: Version, change: &RowChange) -> Result<Effect, RowError> {
        let primary = primary_key(change.key.get())?;
        let known = self.known.get(&primary);
        if !takes_effect(known, change, Some(self.scan_started)) {
            #[cfg(feature = "seeded-bugs")]
            if crate::bug::planted(crate::bug::Bug::AnyChangeCounts) {
                self.known.touch(&primary, version);
            }
            return Ok(Effect::Superseded);
        }
        let (label, number) = newest_after(known, change).unzip();
        let projected = change.row.as_ref().map(|row| self.projection.project(row.get())).transpose()?;
        let (join, row) = projected.unzip();
        let keys = Keys::new(&primary, &join.unwrap_or_default(), number.unwrap_or_default(), &mut self.room);
        let label = label.map(str::to_owned);
        if let Some(before) = self.known.set(keys.clone(), label.as_deref(), version) {
            for join in 0..before.joins() {
                self.by_join.end(version, before.join(join), &primary);
            }
        }
        if let Some(row) = row {
            self.by_join.begin(version, &keys, row);
        }
        Ok(Effect::Applied)
    }

    /// What a pipeline uses of its rows.
    pub(super) fn projection(&self) -> &Projection {
        &self.projection
    }

    /// A row that is valid from a version on.
    pub(super) fn begin(&mut self, version: Version, join: &JoinKeys, primary: &[u8], row: Row) {
        self.by_join.begin(version, &Keys::new(primary, join, "", &mut self.room), row);
    }

    /// Ends the row of a join key and a primary key.
    pub(super) fn end(&mut self, version: Version, join: &[u8], primary: &[u8]) {
        self.by_join.end(version, join, primary);
    }

    /// The rows of a join key at a version, in the order of their primary keys.
    pub fn rows<'s>(&'s self, join: &[u8], version: Version) -> impl Iterator<Item = &'s Row> + Clone + use<'s> {
        self.by_join.rows(join, version)
    }

    /// Forgets what only versions below `oldest` can see.
    pub fn prune(&mut self, oldest: Version) {
        self.by_join.prune(oldest);
    }

    /// The version below which all but the newest `keep` ended rows ended; 0 where no more are kept.
    pub(super) fn ended_before(&self, keep: usize) -> Version {
        self.by_join.ended_before(keep)
    }

    /// How many ended rows are kept for older versions.
    #[must_use]
    pub fn history(&self) -> usize {
        self.by_join.history()
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

#[cfg(test)]
mod tests;
