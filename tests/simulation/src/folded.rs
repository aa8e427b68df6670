//! What a reference on S3 should be: the plain fold of its base and the change files, over the copies in the state.
//!
//! Of two changes to an object the greater sequencer wins, of equal ones the later version; what was removed keeps its rows
//! until another object has some. Shares with the product only the formats of what it reads.

use std::collections::BTreeMap;

use freshjoin_core::change::{Change, ObjectOp, Version};
use freshjoin_core::reference::{ObjectLine, base_key};
use freshjoin_core::snapshot::SnapshotName;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::bucket::{Objects, belongs};
use crate::definitions::hex;
use crate::history::{History, Violation, holds};
use crate::model::{Reference, Rows};

/// A reference at every version, and what its objects hold in the end.
#[derive(Debug)]
pub struct Folded {
    pub reference: Reference,
    held: BTreeMap<String, Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Of its newest change; none where only the base names it.
    newest: Option<u128>,
    rows: Rows,
    /// It is gone; its rows stay while no other object has any.
    removed: bool,
}

impl Folded {
    /// From the base and the change files; `None` where there is no base.
    pub fn new(history: &History, objects: &Objects, reference: &str) -> Result<Option<Self>, Violation> {
        Self::through(history, objects, reference, Version::MAX)
    }

    /// The same up to a version, which is not below the base's.
    pub fn through(
        history: &History,
        objects: &Objects,
        reference: &str,
        through: Version,
    ) -> Result<Option<Self>, Violation> {
        let Some(bytes) = history.fixed.get(&base_key(reference)) else { return Ok(None) };
        let wrong = |what: &dyn std::fmt::Display| Violation(format!("the base of {reference}: {what}"));
        let text = std::str::from_utf8(bytes).map_err(|error| wrong(&error))?;
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).map_err(|error| wrong(&error)));
        let header = lines.next().ok_or_else(|| wrong(&"empty"))??;
        let base = header["version"].as_u64().ok_or_else(|| wrong(&"no version"))?;
        let mut named = history.named_objects(base);
        named.retain(|object, _| belongs(reference, object));
        let mut held: BTreeMap<String, Held> = BTreeMap::new();
        for line in lines {
            let line = line?;
            let object = line["object"].as_str().ok_or_else(|| wrong(&"no object"))?;
            let newest = line["sequencer"].as_str().map(rank);
            let (due, logged) = named.remove(object).unzip();
            holds!(newest == due, "the base of {reference}: {object} has sequencer {newest:?}, the log has {due:?}");
            // A scan sees what the log tells of or what came later; an emptied reference stays as the log had it.
            let sha256 = line["sha256"].as_str();
            let was = newest.is_none_or(|newest| objects.was(object, sha256, newest));
            let stays = sha256.is_some() && logged.flatten().as_deref() == sha256;
            holds!(was || stays, "the base of {reference}: {object} is older than the log says: {line}");
            let rows = line["sha256"].as_str().map(|sha256| content(history, object, sha256)).transpose()?;
            held.insert(
                object.into(),
                Held { newest, rows: rows.unwrap_or_default(), removed: line["removed"] == true },
            );
        }
        holds!(named.is_empty(), "the base of {reference} forgets what the log names: {named:?}");
        let mut versions = BTreeMap::from([(base, all(&held))]);
        for (version, (_, file)) in history.files.range(base + 1..).take_while(|(version, _)| **version <= through) {
            for change in &file.changes {
                let Change::Object(change) = change else { continue };
                let object = change.object.as_str();
                let order = rank(&change.sequencer);
                let known = held.get(object).and_then(|held| held.newest);
                if known.is_some_and(|known| order < known) || !belongs(reference, object) {
                    continue;
                }
                let removed = change.op == ObjectOp::Remove;
                let entry = held.entry(object.into()).or_default();
                if !removed {
                    entry.rows = content(history, object, &change.sha256)?;
                }
                (entry.newest, entry.removed) = (Some(order), removed);
            }
            if held.values().any(|held| !held.removed && !held.rows.is_empty()) {
                held.values_mut().filter(|held| held.removed).for_each(|held| held.rows.clear());
            }
            versions.insert(*version, all(&held));
        }
        Ok(Some(Self { reference: Reference { base, versions }, held }))
    }

    /// I9: the lines of a snapshot file say the same.
    pub fn same(&self, history: &History, name: SnapshotName, lines: &[ObjectLine]) -> Result<(), Violation> {
        let mut due: BTreeMap<&str, &Held> = self.held.iter().map(|(object, held)| (object.as_str(), held)).collect();
        for line in lines {
            let object = line.object.as_str();
            let held = due.remove(object);
            let held = held.ok_or_else(|| Violation(format!("I9: {name}: {object} is too many")))?;
            let found = line.sha256.as_deref().map(|sha256| content(history, object, sha256)).transpose()?;
            let removed = held.rows.is_empty() || line.removed == held.removed;
            let same = line.sequencer.as_deref().map(rank) == held.newest && found.unwrap_or_default() == held.rows;
            holds!(same && removed, "I9: {name}: {object} is {line:?}, due is {held:?}");
        }
        holds!(due.is_empty(), "I9: {name} lacks {due:?}");
        Ok(())
    }

    /// I5: in the end each object holds what its bucket does, and nothing else is left but what the last removals left.
    pub fn settled(&self, bucket: &BTreeMap<String, Vec<u8>>) -> Result<(), Violation> {
        for (object, bytes) in bucket {
            let found = self.held.get(object).map(|held| held.rows.clone()).unwrap_or_default();
            let due = rows(object, bytes)?;
            holds!(found == due, "I5: {object} is {due:?} and the log folds to {found:?}");
        }
        for (object, held) in &self.held {
            let gone = held.rows.is_empty() || held.removed || bucket.contains_key(object);
            holds!(gone, "I5: {object} is gone and the log folds to {held:?}");
        }
        Ok(())
    }
}

/// A sequencer as a number: zeros at its end mean nothing.
pub fn rank(sequencer: &str) -> u128 {
    u128::from_str_radix(&format!("{sequencer:0<24}"), 16).expect("it is hexadecimal")
}

fn all(held: &BTreeMap<String, Held>) -> Rows {
    held.values().flat_map(|held| held.rows.clone()).collect()
}

fn content(history: &History, object: &str, sha256: &str) -> Result<Rows, Violation> {
    let copy = history.fixed.get(&format!("objects/{sha256}"));
    rows(object, copy.ok_or_else(|| Violation(format!("I8: the copy {sha256} of {object} is not there")))?)
}

/// The rows of a content, JSON lines or CSV without quotes, by what tells them apart: object, text, and how often that
/// text came before.
fn rows(object: &str, bytes: &[u8]) -> Result<Rows, Violation> {
    let unsound = || Violation(format!("{object} is unsound: {}", String::from_utf8_lossy(bytes)));
    let text = std::str::from_utf8(bytes).map_err(|_| unsound())?;
    let mut lines = text.lines();
    let header = if object.ends_with(".csv") { lines.next() } else { None };
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut rows = Rows::new();
    for line in lines {
        let text = header.map_or_else(|| line.to_owned(), |header| csv_row(header, line));
        let digest = hex(&Sha256::digest(format!("{object}\0{text}"))[..16]);
        let occurrence = seen.entry(text.clone()).or_default();
        let row = serde_json::from_str(&text).map_err(|_| unsound())?;
        rows.insert(format!("{digest}{occurrence:08x}"), row);
        *occurrence += 1;
    }
    Ok(rows)
}

fn csv_row(header: &str, line: &str) -> String {
    let cells = header.split(',').zip(line.split(',')).filter(|(_, cell)| !cell.is_empty());
    let members: Vec<String> = cells.map(|(name, cell)| format!("{name:?}:{cell:?}")).collect();
    format!("{{{}}}", members.join(","))
}
