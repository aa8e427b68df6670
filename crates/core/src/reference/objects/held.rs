//! Objects in a versioned reference: what each holds, and how a change to one becomes changes to rows.

use std::cmp::Ordering;

use hashbrown::HashMap;

use super::compare_sequencers;
use super::rows::{ObjectRows, RowId};
use crate::change::{ObjectChange, ObjectOp, Version};
use crate::reference::row::JoinKeys;
use crate::reference::versioned::VersionedReference;

/// What is known of one object.
#[derive(Debug, Default)]
pub(in crate::reference) struct HeldObject {
    /// The newest change's sequencer; `None` while it is known from the base only.
    newest: Option<Box<str>>,
    /// Its rows, and under which join keys each is found.
    rows: HashMap<RowId, JoinKeys>,
    /// What they take in memory.
    bytes: u64,
}

/// What a change to an object did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::reference) enum ObjectEffect {
    /// It is the newest of its object.
    Applied,
    /// A newer one was there already.
    Superseded,
    /// It would have taken the reference's last rows: they stay.
    Kept,
}

impl VersionedReference {
    /// Takes an object of the base. `sequencer` is that of the log's newest change to it, where the log names it.
    pub(in crate::reference) fn load_object(&mut self, object: &str, sequencer: Option<&str>, rows: ObjectRows) {
        self.set_rows(0, object, rows);
        if let (Some(held), Some(sequencer)) = (self.objects.get_mut(object), sequencer) {
            held.newest = Some(sequencer.into());
        }
    }

    /// Whether a change to an object would take effect: nothing has to be read for one that would not.
    pub(in crate::reference) fn is_news(&self, change: &ObjectChange) -> bool {
        match self.objects.get(change.object.as_str()) {
            Some(HeldObject { newest: Some(known), .. }) => {
                compare_sequencers(&change.sequencer, known) != Ordering::Less
            }
            // As with a table's rows: known from the scan alone, which saw what had happened before it.
            Some(HeldObject { newest: None, .. }) => self.may_follow_scan(change.at),
            None => true,
        }
    }

    /// Whether it would, or could once changes have been applied that come before it: of an object that the base alone
    /// names, its age stops counting then.
    pub(in crate::reference) fn may_be_news(&self, change: &ObjectChange) -> bool {
        let followed = self.objects.get(change.object.as_str()).is_some_and(|held| held.newest.is_some());
        !followed || self.is_news(change)
    }

    /// Applies a change of version `version` to an object; `rows` is what a replaced object holds now. Versions come in
    /// rising order.
    pub(in crate::reference) fn apply_object(
        &mut self,
        version: Version,
        change: &ObjectChange,
        rows: ObjectRows,
    ) -> ObjectEffect {
        if !self.is_news(change) {
            return ObjectEffect::Superseded;
        }
        if change.op == ObjectOp::Remove && !self.has_rows_beside(&change.object) {
            return ObjectEffect::Kept;
        }
        self.set_rows(version, &change.object, rows);
        if let Some(held) = self.objects.get_mut(change.object.as_str()) {
            held.newest = Some(change.sequencer.as_str().into());
        }
        ObjectEffect::Applied
    }

    /// What the rows of all objects take in memory, in bytes, roughly.
    pub(in crate::reference) fn object_bytes(&self) -> u64 {
        self.objects.values().map(|held| held.bytes).sum()
    }

    /// The same, were an object to hold these rows instead.
    pub(in crate::reference) fn object_bytes_with(&self, object: &str, rows: &ObjectRows) -> u64 {
        let before = self.objects.get(object).map_or(0, |held| held.bytes);
        self.object_bytes() - before + rows.bytes
    }

    /// How many rows the objects have in all.
    pub(in crate::reference) fn object_rows(&self) -> usize {
        self.objects.values().map(|held| held.rows.len()).sum()
    }

    fn has_rows_beside(&self, object: &str) -> bool {
        self.objects.iter().any(|(other, held)| **other != *object && !held.rows.is_empty())
    }

    /// Ends the rows that the object no longer has, and begins those that are new.
    fn set_rows(&mut self, version: Version, object: &str, rows: ObjectRows) {
        let mut held = self.objects.remove(object).unwrap_or_default();
        let mut before = std::mem::take(&mut held.rows);
        held.rows.reserve(rows.rows.len());
        held.bytes = rows.bytes;
        for (id, join, row) in rows.rows {
            if before.remove(&id).is_none() {
                self.begin(version, &join, &id, row);
            }
            held.rows.insert(id, join);
        }
        for (id, join) in before {
            for key in join.iter() {
                self.end(version, key, &id);
            }
        }
        self.objects.insert(object.into(), held);
    }
}
