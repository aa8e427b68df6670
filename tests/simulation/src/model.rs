//! What should come out, computed the plain way: the reference as a fold over the change files, the join row by row, the
//! objects byte by byte. Shares with the product only the formats of what it reads.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freshjoin_core::change::Version;
use freshjoin_core::join::Counts;
use freshjoin_core::record::Record;
use serde_json::Value;

use crate::definitions::{Definition, Place};
use crate::history::{History, Violation};
use crate::known::{Keys, Start};
use crate::orders::Sub;

/// A reference's rows by what tells them apart, in the order in which a join gives them.
pub type Rows = BTreeMap<String, Value>;

/// A reference at every version from its base on.
#[derive(Debug)]
pub struct Reference {
    pub base: Version,
    pub versions: BTreeMap<Version, Rows>,
}

impl Reference {
    /// A table from its base and the change files; `None` where there is no base.
    pub fn fold(history: &History, table: &str) -> Result<Option<Self>, Violation> {
        let Some(start) = Start::base(history, table)? else { return Ok(None) };
        let (base, mut versions) = (start.version, BTreeMap::new());
        start.follow(history, table, Version::MAX, |version, keys| {
            versions.insert(version, rows(keys));
        })?;
        Ok(Some(Self { base, versions }))
    }
}

fn rows(keys: &Keys) -> Rows {
    keys.iter().filter_map(|(key, known)| Some((key.clone(), known.row.clone()?))).collect()
}

/// What a range comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Partition part of the key, and content.
    pub objects: BTreeMap<String, Vec<u8>>,
    /// Sequence number, sub-record number and bytes of each dead letter, in order.
    pub dead_letters: Vec<(String, u64, String)>,
    pub enriched: u64,
    pub unmatched: u64,
    pub flags: u64,
    pub rows: u64,
}

impl Outcome {
    /// How many of what.
    pub fn counts(&self) -> Counts {
        Counts {
            enriched: self.enriched,
            unmatched: self.unmatched,
            dead_letters: self.dead_letters.len() as u64,
            flags: self.flags,
            rows: self.rows,
        }
    }

    /// Adds a record that is a flag.
    pub fn flag(&mut self) {
        self.flags += 1;
    }

    /// Adds a record's sub-records, joined with the references at a version.
    pub fn record(
        &mut self,
        definition: &Definition,
        shard: &str,
        record: Record<'_>,
        subs: &[Sub],
        references: &[&Rows],
        version: Version,
    ) {
        for (number, sub) in (0u64..).zip(subs) {
            let dead = |bytes: &[u8]| (record.sequence.to_owned(), number, STANDARD.encode(bytes));
            match sub {
                Sub::Bad(bytes) => self.dead_letters.push(dead(bytes)),
                Sub::Order(order, bytes) => {
                    let (rows, missed) = join(definition, order, references);
                    let partitions: Vec<String> = rows.iter().map(|row| partition(definition, order, row)).collect();
                    if partitions.iter().any(|partition| partition.len() > 800) {
                        self.dead_letters.push(dead(bytes));
                        continue;
                    }
                    *(if missed { &mut self.unmatched } else { &mut self.enriched }) += 1;
                    for (row, partition) in rows.iter().zip(partitions) {
                        let line = line(definition, order, row, shard, record, number, version);
                        let object = self.objects.entry(partition).or_insert_with(|| header(definition));
                        object.extend_from_slice(line.as_bytes());
                        self.rows += 1;
                    }
                }
            }
        }
    }
}

/// The combinations of rows that an order joins with, and whether any reference was missed.
fn join<'r>(definition: &Definition, order: &Value, references: &[&'r Rows]) -> (Vec<Vec<Option<&'r Value>>>, bool) {
    let mut combinations: Vec<Vec<Option<&Value>>> = vec![Vec::new()];
    let mut missed = false;
    for (join, rows) in definition.joins.iter().zip(references) {
        let mut next = Vec::new();
        for combination in combinations {
            let wanted = order.get(join.stream).filter(|value| !value.is_null());
            let found: Vec<&Value> =
                rows.values().filter(|row| wanted.is_some() && row.get(join.field) == wanted).collect();
            missed |= found.is_empty();
            if found.is_empty() && !join.inner {
                next.push([combination, vec![None]].concat());
            } else {
                next.extend(found.into_iter().map(|row| [combination.clone(), vec![Some(row)]].concat()));
            }
        }
        combinations = next;
    }
    (combinations, missed)
}

fn value<'v>(from: Place, order: &'v Value, row: &[Option<&'v Value>]) -> &'v Value {
    let found = match from {
        Place::Stream(field) => order.get(field),
        Place::Reference(index, field) => row[index].and_then(|row| row.get(field)),
    };
    found.unwrap_or(&Value::Null)
}

fn partition(definition: &Definition, order: &Value, row: &[Option<&Value>]) -> String {
    let mut path = String::new();
    for name in &definition.partition_by {
        let (_, from) = definition.columns.iter().find(|(column, _)| column == name).expect("it is a column");
        let text = match value(*from, order, row) {
            Value::Null => "__HIVE_DEFAULT_PARTITION__".to_owned(),
            // The only special characters of the tables and orders.
            other => text(other).replace('=', "%3D").replace('/', "%2F"),
        };
        path.push_str(&format!("{name}={text}/"));
    }
    path
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

const PROVENANCE: [&str; 5] = ["_ref_version", "_shard_id", "_sequence_number", "_sub_sequence", "_arrival"];

fn header(definition: &Definition) -> Vec<u8> {
    if !definition.csv {
        return Vec::new();
    }
    let inside =
        definition.columns.iter().map(|(name, _)| *name).filter(|name| !definition.partition_by.contains(name));
    let names: Vec<&str> = inside.chain(PROVENANCE).collect();
    format!("{}\n", names.join(",")).into_bytes()
}

fn line(
    definition: &Definition,
    order: &Value,
    row: &[Option<&Value>],
    shard: &str,
    record: Record<'_>,
    number: u64,
    version: Version,
) -> String {
    let inside = definition.columns.iter().filter(|(name, _)| !definition.partition_by.contains(name));
    let mut members: Vec<(&str, Value)> =
        inside.map(|(name, from)| (*name, value(*from, order, row).clone())).collect();
    let provenance: [Value; 5] =
        [version.into(), shard.into(), record.sequence.into(), number.into(), record.arrival.to_string().into()];
    members.extend(PROVENANCE.into_iter().zip(provenance));
    if definition.csv {
        // No value here needs quotes.
        let cells: Vec<String> =
            members.iter().map(|(_, value)| if value.is_null() { String::new() } else { text(value) }).collect();
        format!("{}\n", cells.join(","))
    } else {
        let members: Vec<String> = members.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
        format!("{{{}}}\n", members.join(","))
    }
}

/// The versions whose flags a stream carries as the log has them.
pub fn honoured(history: &History, data: &[u8]) -> Option<Version> {
    let flag: Value = serde_json::from_slice(data).ok()?;
    let version = flag["version"].as_u64().filter(|_| flag["freshjoin"] == "change-flag/1")?;
    let (bytes, _) = history.files.get(&version)?;
    (flag["digest"] == freshjoin_core::change::digest(bytes)).then_some(version)
}

/// Keys that one of two maps has and the other has not, or not the same.
pub fn difference<V: PartialEq>(expected: &BTreeMap<String, V>, found: &BTreeMap<String, V>) -> Vec<String> {
    let keys: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    keys.into_iter()
        .filter_map(|key| match (expected.get(key), found.get(key)) {
            (Some(expected), Some(found)) if expected == found => None,
            (Some(_), Some(_)) => Some(format!("{key} differs")),
            (Some(_), None) => Some(format!("{key} is missing")),
            (None, _) => Some(format!("{key} is too many")),
        })
        .collect()
}
