//! Objects in a versioned reference: what each holds, and how a change to one becomes changes to rows.

use std::cmp::Ordering;

use hashbrown::HashMap;

use super::compare_sequencers;
use super::rows::{ObjectRows, RowId};
use crate::bug::{Bug, planted};
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
    /// It is gone. Its rows stay for as long as no other object of the reference has any.
    removed: bool,
}

impl VersionedReference {
    /// Takes an object of the base. `sequencer` is that of the log's newest change to it, where the log names it.
    pub(in crate::reference) fn load_object(
        &mut self,
        object: &str,
        sequencer: Option<&str>,
        removed: bool,
        rows: ObjectRows,
    ) {
        self.set_rows(0, object, rows);
        if let Some(held) = self.objects.get_mut(object) {
            held.newest = sequencer.map(Into::into);
            held.removed = removed;
        }
    }

    /// Whether a change to an object would take effect: nothing has to be read for one that would not.
    pub(in crate::reference) fn is_news(&self, change: &ObjectChange) -> bool {
        let known = self.objects.get(change.object.as_str()).and_then(|held| held.newest.as_deref());
        known.is_none_or(|known| compare_sequencers(&change.sequencer, known) != Ordering::Less)
    }

    /// Applies a change of version `version` to an object, which must be [news](Self::is_news); `rows` is what a replaced
    /// object holds now. Versions come in rising order, and after a version's last change comes
    /// [`settle_objects`](Self::settle_objects).
    pub(in crate::reference) fn apply_object(&mut self, version: Version, change: &ObjectChange, rows: ObjectRows) {
        if change.op == ObjectOp::Replace {
            self.set_rows(version, &change.object, rows);
        }
        let held = self.objects.entry(change.object.as_str().into()).or_default();
        held.newest = Some(change.sequencer.as_str().into());
        held.removed = change.op == ObjectOp::Remove;
    }

    /// Lets go of what removed objects held, unless nothing else is left: then their names, for an alarm.
    pub(in crate::reference) fn settle_objects(&mut self, version: Version) -> Vec<String> {
        let gone = self.objects.iter().filter(|(_, held)| held.removed && !held.rows.is_empty());
        let gone: Vec<String> = gone.map(|(object, _)| object.to_string()).collect();
        let last = !self.objects.values().any(|held| !held.removed && !held.rows.is_empty());
        if last && !planted(Bug::LastObjectGoes) {
            return gone;
        }
        for object in gone {
            self.set_rows(version, &object, ObjectRows::default());
        }
        Vec::new()
    }

    /// What the rows of all objects take in memory, in bytes, roughly.
    pub(in crate::reference) fn object_bytes(&self) -> u64 {
        self.objects.values().map(|held| held.bytes).sum()
    }

    /// What the rows of one object take of that.
    pub(in crate::reference) fn bytes_of(&self, object: &str) -> u64 {
        self.objects.get(object).map_or(0, |held| held.bytes)
    }

    /// How many rows the objects have in all.
    pub(in crate::reference) fn object_rows(&self) -> usize {
        self.objects.values().map(|held| held.rows.len()).sum()
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
