//! I9: a snapshot file is the fold of the log to its version, key by key: rows, newest changes, and when each took effect.
//!
//! It is read by the product's reader, and compared with the model's own fold. Only a tombstone under the floor may lack.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use freshjoin_core::change::{Change, ObjectOp, Version};
use freshjoin_core::ports::Object;
use freshjoin_core::snapshot::{BaseInfo, SnapshotFile, SnapshotName, TableSection};
use freshjoin_core::time::Timestamp;
use serde_json::Value;

use crate::bucket::Objects;
use crate::folded::{Folded, rank};
use crate::history::{History, Violation, holds};
use crate::known::{Keys, Known, Start};
use crate::table::key_text;

impl History {
    /// Takes note of a snapshot file, which is compared where it is new.
    pub fn snapshot(
        &mut self,
        name: SnapshotName,
        object: &Object,
        objects: &Objects,
        now: Timestamp,
    ) -> Result<(), Violation> {
        if let Some((known, _)) = self.kept.snapshots.get(&name) {
            holds!(*known == object.bytes, "I9: {name} was altered");
            return Ok(());
        }
        let file = decode(name, &object.bytes)?;
        holds!(name.version <= self.head(), "I9: {name} is beyond the head");
        if name.from.is_none() {
            self.is_fold(&file, objects)?;
        }
        self.kept.gone.remove(&name.key());
        if self.kept.snapshots.keys().next_back().is_some_and(|newest| *newest > name) {
            self.kept.late.insert(name);
        }
        self.kept.snapshots.insert(name, (object.bytes.clone(), now));
        self.fixed.insert(name.key(), object.bytes.clone());
        Ok(())
    }

    fn is_fold(&self, file: &SnapshotFile, objects: &Objects) -> Result<(), Violation> {
        let (name, version) = (file.name(), file.version());
        let mut there = BTreeSet::new();
        for section in file.tables() {
            let table = section.reference();
            there.insert(table.to_owned());
            let start = self.start(name, table, section.base())?;
            let due = start.follow(self, table, version, |_, _| {})?;
            self.same(name, table, due, entries(section)?)?;
        }
        for table in self.named_tables(version) {
            if !there.contains(&table) {
                let due = Start::nothing().follow(self, &table, version, |_, _| {})?;
                self.same(name, &table, due, Keys::new())?;
            }
        }
        for reference in file.object_references() {
            let lines = file.objects(reference).unwrap_or_default();
            let base = file.base_of(reference);
            let folded = Folded::through(self, objects, reference, version)?;
            let folded = folded.ok_or_else(|| Violation(format!("I9: {name} has {reference}, which has no base")))?;
            let due = base.map(|base| base.version) == Some(folded.reference.base);
            holds!(due, "I9: {name}: {reference} begins at {base:?}, due is {}", folded.reference.base);
            folded.same(self, name, lines)?;
        }
        let named: BTreeMap<String, (u128, Option<String>)> = file
            .named_objects()
            .iter()
            .map(|line| {
                let newest = line.sequencer.as_deref().map_or(0, rank);
                (line.object.clone(), (newest, line.sha256.clone()))
            })
            .collect();
        let due = self.named_objects(version);
        holds!(named == due, "I9: {name} names the objects {named:?}, due are {due:?}");
        Ok(())
    }

    /// Where a table of a snapshot file begins.
    fn start(&self, name: SnapshotName, table: &str, base: Option<BaseInfo>) -> Result<Start, Violation> {
        let Some(base) = base else { return Ok(Start::nothing()) };
        let start = Start::base(self, table)?
            .filter(|start| start.version == base.version && start.scan_started == Some(base.scan_started));
        start.ok_or_else(|| Violation(format!("I9: {name}: {table} begins with {base:?}, and no such base is there")))
    }

    fn same(&self, name: SnapshotName, table: &str, mut due: Keys, found: Keys) -> Result<(), Violation> {
        let floor = self.kept.floor.version;
        let dropped =
            |key: &String, known: &Known| known.row.is_none() && known.changed <= floor && !found.contains_key(key);
        due.retain(|key, known| !dropped(key, known));
        // With a tombstone its number goes, if only a comparison brought the key back.
        for (key, known) in &mut due {
            let forgotten = found.get(key).is_some_and(|found| found.newest.is_none());
            if forgotten && known.deleted.is_some_and(|version| version <= floor) {
                known.newest = None;
            }
        }
        let differing = crate::model::difference(&due, &found);
        let show = || {
            differing
                .iter()
                .filter_map(|what| what.split(" is ").next().or_else(|| what.rsplit_once(' ').map(|(key, _)| key)))
        };
        holds!(
            differing.is_empty(),
            "I9: {name}: {table}: {differing:?}, due {:?}, found {:?}",
            show().map(|key| due.get(key.trim_end_matches(" differs"))).collect::<Vec<_>>(),
            show().map(|key| found.get(key.trim_end_matches(" differs"))).collect::<Vec<_>>()
        );
        Ok(())
    }

    fn named_tables(&self, through: Version) -> BTreeSet<String> {
        let files = self.files.range(..=through).flat_map(|(_, (_, file))| &file.changes);
        files
            .filter_map(|change| if let Change::Row(change) = change { Some(change.table.clone()) } else { None })
            .collect()
    }

    /// Every object that the log names, with its newest sequencer and what it held last.
    pub fn named_objects(&self, through: Version) -> BTreeMap<String, (u128, Option<String>)> {
        let mut named: BTreeMap<String, (u128, Option<String>)> = BTreeMap::new();
        for change in self.files.range(..=through).flat_map(|(_, (_, file))| &file.changes) {
            let Change::Object(change) = change else { continue };
            let (newest, content) = named.entry(change.object.clone()).or_default();
            let order = rank(&change.sequencer);
            if order >= *newest {
                *newest = order;
                if change.op == ObjectOp::Replace {
                    *content = Some(change.sha256.clone());
                }
            }
        }
        named
    }
}

fn decode(name: SnapshotName, bytes: &Bytes) -> Result<SnapshotFile, Violation> {
    SnapshotFile::decode(name, bytes.clone()).map_err(|error| Violation(format!("I9: {name}: {error}")))
}

/// What a section holds.
pub fn entries(section: TableSection<'_>) -> Result<Keys, Violation> {
    let table = section.reference();
    let wrong = |what: &dyn std::fmt::Display| Violation(format!("I9: {table}: {what}"));
    let mut keys = Keys::new();
    let mut entries = section.entries().map_err(|error| wrong(&error))?;
    while let Some(entry) = entries.next_entry().map_err(|error| wrong(&error))? {
        let key: Value = serde_json::from_str(entry.key).map_err(|error| wrong(&error))?;
        let newest = entry.known.newest.map(|(label, seq)| (label.to_owned(), seq.parse().unwrap_or_default()));
        let row = entry.row.as_ref().map(|row| serde_json::from_str(&row.json())).transpose();
        let row = row.map_err(|error| wrong(&error))?;
        let known = Known { newest, changed: entry.known.changed, row, deleted: None };
        holds!(keys.insert(key_text(table, &key), known).is_none(), "I9: {table}: {key} comes twice");
    }
    Ok(keys)
}
