//! What the log knows of each key of a table at a version: a plain fold, key by key, with everything that later changes
//! are weighed against. Shares with the product only the formats of what it reads.

use std::collections::BTreeMap;

use freshjoin_core::change::{Change, RowChange, Version};
use freshjoin_core::time::Timestamp;
use serde_json::Value;

use crate::history::{History, Violation};
use crate::table::key_text;

/// Five minutes, as source clocks differ.
const GRACE_MILLIS: i64 = 300_000;

/// One key.
#[derive(Clone, Debug)]
pub struct Known {
    /// Label and sequence number of its newest change; none where only a scan or a comparison names it.
    pub newest: Option<(String, u64)>,
    /// The version at which a change last took effect.
    pub changed: Version,
    /// None: a tombstone.
    pub row: Option<Value>,
    /// The version of its first tombstone since a change with a number of its own: with a tombstone under the
    /// floor, what was known of its key is forgotten.
    pub deleted: Option<Version>,
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.newest == other.newest && self.changed == other.changed && self.row == other.row
    }
}

/// All keys.
pub type Keys = BTreeMap<String, Known>;

/// Where a fold begins.
#[derive(Clone, Debug)]
pub struct Start {
    pub version: Version,
    /// When the scan began that defines the table, if one does.
    pub scan_started: Option<Timestamp>,
    pub keys: Keys,
}

impl Start {
    /// At the very beginning of the log, without any scan.
    pub fn nothing() -> Self {
        Self { version: 0, scan_started: None, keys: Keys::new() }
    }

    /// A table's base, if there is one.
    pub fn base(history: &History, table: &str) -> Result<Option<Self>, Violation> {
        let Some(bytes) = history.fixed.get(&format!("snapshots/_base/{table}.jsonl")) else { return Ok(None) };
        let wrong = |what: &dyn std::fmt::Display| Violation(format!("the base of {table}: {what}"));
        let text = std::str::from_utf8(bytes).map_err(|error| wrong(&error))?;
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).map_err(|error| wrong(&error)));
        let header = lines.next().ok_or_else(|| wrong(&"empty"))??;
        let version = header["version"].as_u64().ok_or_else(|| wrong(&"no version"))?;
        let started = header["scan_started"].as_str().unwrap_or_default();
        let started: Timestamp = started.parse().map_err(|error| wrong(&error))?;
        let mut keys = Keys::new();
        for line in lines {
            let line = line?;
            let newest = line["seq"].as_str().map(|seq| order(line["label"].as_str().unwrap_or_default(), seq));
            let row = line.get("row").cloned();
            let deleted = row.is_none().then_some(version);
            let known = Known { newest, changed: version, row, deleted };
            keys.insert(key_text(table, &line["key"]), known);
        }
        Ok(Some(Self { version, scan_started: Some(started), keys }))
    }

    /// Follows the log; `each` is told what is known at every version from the start on.
    pub fn follow(
        mut self,
        history: &History,
        table: &str,
        through: Version,
        mut each: impl FnMut(Version, &Keys),
    ) -> Result<Keys, Violation> {
        each(self.version, &self.keys);
        for (version, (_, file)) in history.files.range(self.version + 1..) {
            if *version > through {
                break;
            }
            for change in &file.changes {
                if let Change::Row(change) = change
                    && change.table == table
                {
                    self.apply(*version, change)?;
                }
            }
            each(*version, &self.keys);
        }
        Ok(self.keys)
    }

    fn apply(&mut self, version: Version, change: &RowChange) -> Result<(), Violation> {
        let wrong = |error: serde_json::Error| Violation(format!("change file {version}: {error}"));
        let key: Value = serde_json::from_str(change.key.get()).map_err(wrong)?;
        let key = key_text(&change.table, &key);
        let own = order(&change.label, change.sequence.as_str());
        let known = self.keys.get(&key);
        let takes = match (known, change.unless_after) {
            (None, _) => true,
            (Some(known), Some(head)) => known.changed <= head,
            (Some(Known { newest: Some(newest), .. }), None) => own > *newest,
            (Some(_), None) => {
                self.scan_started.is_none_or(|started| change.at.millis() >= started.millis() - GRACE_MILLIS)
            }
        };
        if !takes {
            return Ok(());
        }
        let newest = match (change.unless_after, known) {
            (None, _) => Some(own),
            // What a comparison found has no number of its own.
            (Some(_), Some(known)) => known.newest.clone(),
            (Some(_), None) => Some(own).filter(|own| *own != (String::new(), 0)),
        };
        let row = change.row.as_ref().map(|row| serde_json::from_str(row.get())).transpose().map_err(wrong)?;
        let brought_back = change.unless_after.and(known).and_then(|known| known.deleted);
        let deleted = brought_back.or(row.is_none().then_some(version));
        self.keys.insert(key, Known { newest, changed: version, row, deleted });
        Ok(())
    }
}

/// What a change is ranked by.
pub fn order(label: &str, sequence: &str) -> (String, u64) {
    (label.to_owned(), sequence.parse().unwrap_or_default())
}
