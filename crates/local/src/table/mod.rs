//! Tables in memory with a change stream, as DynamoDB has them: rows under a primary key, and every change as a record of
//! DynamoDB Streams with its new and old image.
//!
//! What always holds: a row has every key attribute; the change stream has one record for every put that alters a row and
//! every delete of one, in order per key; rows that were [loaded](EmbeddedTable::load) are older than the stream.
//!
//! On failure nothing has changed: a row that is no object, or lacks a key attribute, is refused.

mod attribute;
mod file;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use freshjoin_core::ports::{Clock, RawRow, ScanPage, Segment, TableError, Tables};
use serde_json::value::{RawValue, to_raw_value};

use crate::stream::{EmbeddedStream, Placed, Refusal, hash_of};
use attribute::{Attributes, canonical, image};
pub use file::{FileError, ROW_KEY, Synced, read_rows, synchronize};

/// As many rows as a page of a scan holds.
const PAGE: usize = 1000;

/// A row that the table cannot take.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// Not JSON, or no object.
    #[error("a row is no JSON object: {0}")]
    Json(#[from] serde_json::Error),
    /// The primary key is incomplete.
    #[error("a row has no {0:?}, which the key of the table needs")]
    NoKey(String),
    /// The change stream is full.
    #[error(transparent)]
    Stream(#[from] Refusal),
    /// No such table.
    #[error("there is no table {0}")]
    NoTable(String),
}

/// One table.
#[derive(Debug)]
pub struct EmbeddedTable {
    name: String,
    key: Vec<String>,
    arn: String,
    clock: Arc<dyn Clock>,
    changes: Arc<EmbeddedStream>,
    /// By the key's canonical text.
    rows: Mutex<BTreeMap<String, Attributes>>,
}

impl EmbeddedTable {
    /// An empty table whose stream is enabled now.
    pub fn new(name: impl Into<String>, key: &[&str], clock: Arc<dyn Clock>) -> Self {
        let name = name.into();
        // The label of a stream is the time at which it was enabled, without a zone.
        let label = clock.now().to_string();
        Self {
            arn: format!("arn:aws:dynamodb:local:000000000000:table/{name}/stream/{}", label.trim_end_matches('Z')),
            key: key.iter().map(|&attribute| attribute.to_owned()).collect(),
            changes: Arc::new(EmbeddedStream::new(name.clone(), 1, clock.clone())),
            clock,
            name,
            rows: Mutex::default(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its change stream: the records of an [`EventShape::DynamoDb`](crate::EventShape) mapping.
    #[must_use]
    pub fn changes(&self) -> Arc<EmbeddedStream> {
        self.changes.clone()
    }

    /// Takes rows that were there before the stream was enabled: no change record is written.
    ///
    /// # Errors
    /// [`RowError`]; the rows before the refused one are in.
    pub fn load(&self, rows: impl IntoIterator<Item = RawRow>) -> Result<(), RowError> {
        let mut held = self.lock();
        for row in rows {
            let row = canonical(&row)?;
            held.insert(self.key_of(&row)?, row);
        }
        Ok(())
    }

    /// Creates or replaces a row. `None` if it was there already, just so: then there is no change.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn put(&self, row: &RawValue) -> Result<Option<Placed>, RowError> {
        let row = canonical(row)?;
        let key = self.key_of(&row)?;
        let mut rows = self.lock();
        let old = rows.get(&key);
        if old.is_some_and(|old| same(old, &row)) {
            return Ok(None);
        }
        let placed = self.record(&key, old, Some(&row))?;
        rows.insert(key, row);
        Ok(Some(placed))
    }

    /// Deletes the row of a key; `key` may hold more than the key's attributes. `None` if there was none.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn delete(&self, key: &RawValue) -> Result<Option<Placed>, RowError> {
        let key = self.key_of(&canonical(key)?)?;
        let mut rows = self.lock();
        let Some(old) = rows.get(&key) else { return Ok(None) };
        let placed = self.record(&key, Some(old), None)?;
        rows.remove(&key);
        Ok(Some(placed))
    }

    /// The key attributes of a row as canonical JSON text.
    fn key_of(&self, row: &Attributes) -> Result<String, RowError> {
        let mut key = BTreeMap::new();
        for attribute in &self.key {
            let value = row.get(attribute).filter(|value| value.get() != "null");
            key.insert(attribute, value.ok_or_else(|| RowError::NoKey(attribute.clone()))?);
        }
        Ok(serde_json::to_string(&key)?)
    }

    fn record(&self, key: &str, old: Option<&Attributes>, new: Option<&Attributes>) -> Result<Placed, RowError> {
        let name = match (old, new) {
            (None, _) => "INSERT",
            (Some(_), Some(_)) => "MODIFY",
            (Some(_), None) => "REMOVE",
        };
        let keys = image(&serde_json::from_str(key)?)?;
        let images = [("NewImage", new), ("OldImage", old)]
            .into_iter()
            .filter_map(|(name, row)| row.map(|row| image(row).map(|image| format!(r#","{name}":{image}"#))))
            .collect::<Result<String, _>>()?;
        let millis = self.clock.now().millis();
        let arn = serde_json::to_string(&self.arn)?;
        let placed = self.changes.append_with(hash_of(key), |sequence, buffer| {
            let seconds = format!("{}.{:03}", millis / 1000, millis.rem_euclid(1000));
            let size = images.len();
            buffer.extend_from_slice(
                format!(
                    r#"{{"eventID":"{sequence}","eventName":"{name}","eventVersion":"1.1","eventSource":"aws:dynamodb","awsRegion":"local","eventSourceARN":{arn},"dynamodb":{{"ApproximateCreationDateTime":{seconds},"Keys":{keys}{images},"SequenceNumber":"{sequence}","SizeBytes":{size},"StreamViewType":"NEW_AND_OLD_IMAGES"}}}}"#
                )
                .as_bytes(),
            );
        });
        Ok(placed?)
    }

    fn rows_of(&self, keys: &[RawRow]) -> Result<Vec<Option<RawRow>>, RowError> {
        let keys = keys.iter().map(|key| self.key_of(&canonical(key)?)).collect::<Result<Vec<_>, _>>()?;
        let rows = self.lock();
        keys.iter().map(|key| Ok(rows.get(key).map(to_raw_value).transpose()?)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Attributes>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn page(&self, segment: Segment, from: Option<&str>) -> Result<ScanPage, serde_json::Error> {
        use std::ops::Bound::{Excluded, Unbounded};
        let rows = self.lock();
        let parts = u128::from(segment.of.max(1));
        let start = from.map_or(Unbounded, |key| Excluded(key.to_owned()));
        let mine = rows.range((start, Unbounded)).filter(|(key, _)| hash_of(key) % parts == u128::from(segment.index));
        let (mut page, mut last, mut more) = (Vec::new(), None, false);
        for (key, row) in mine {
            if page.len() == PAGE {
                more = true;
                break;
            }
            page.push(to_raw_value(row)?);
            last = Some(key.clone());
        }
        Ok(ScanPage { rows: page, next: last.filter(|_| more) })
    }
}

fn same(left: &Attributes, right: &Attributes) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|((name, value), (other, found))| name == other && value.get() == found.get())
}

/// Several tables, by name.
#[derive(Clone, Debug, Default)]
pub struct EmbeddedTables {
    tables: BTreeMap<String, Arc<EmbeddedTable>>,
}

impl EmbeddedTables {
    /// These tables.
    pub fn new(tables: impl IntoIterator<Item = Arc<EmbeddedTable>>) -> Self {
        Self { tables: tables.into_iter().map(|table| (table.name.clone(), table)).collect() }
    }

    fn find(&self, operation: &'static str, table: &str) -> Result<&EmbeddedTable, TableError> {
        let missing = || TableError { operation, table: table.into(), source: RowError::NoTable(table.into()).into() };
        self.tables.get(table).map(Arc::as_ref).ok_or_else(missing)
    }
}

#[async_trait]
impl Tables for EmbeddedTables {
    async fn key_attributes(&self, table: &str) -> Result<Vec<String>, TableError> {
        Ok(self.find("DescribeTable", table)?.key.clone())
    }

    async fn scan(&self, table: &str, segment: Segment, from: Option<&str>) -> Result<ScanPage, TableError> {
        let page = self.find("Scan", table)?.page(segment, from);
        page.map_err(|error| TableError { operation: "Scan", table: table.into(), source: error.into() })
    }

    async fn rows(&self, table: &str, keys: &[RawRow]) -> Result<Vec<Option<RawRow>>, TableError> {
        const OPERATION: &str = "BatchGetItem";
        let found = self.find(OPERATION, table)?.rows_of(keys);
        found.map_err(|error| TableError { operation: OPERATION, table: table.into(), source: error.into() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use freshjoin_core::ports::{Position, Stream};
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::StillClock;

    fn raw(value: &str) -> RawRow {
        serde_json::from_str(value).unwrap()
    }

    #[tokio::test]
    async fn changes_become_typed_records_with_both_images() {
        let table = EmbeddedTable::new("P", &["item", "price"], Arc::new(StillClock::default()));
        table.load([raw(r#"{"item":"old","price":1}"#)]).unwrap();
        let row = raw(r#"{"price":100,"item":"burger","n":12345678901234567890.123,"l":[null,true,{"a":"\""}]}"#);
        assert!(table.put(&row).unwrap().is_some());
        assert!(table.put(&row).unwrap().is_none(), "an identical put is no change");
        assert!(table.put(&raw(r#"{"item":"burger","price":100}"#)).unwrap().is_some());
        let deleted = table.delete(&raw(r#"{"item":"burger","price":100}"#)).unwrap().unwrap();
        assert!(table.delete(&raw(r#"{"item":"burger","price":100}"#)).unwrap().is_none());
        assert!(
            matches!(table.put(&raw(r#"{"item":"x","price":null}"#)), Err(RowError::NoKey(name)) if name == "price")
        );
        let page = table.changes().read("shardId-000000000000", &Position::TrimHorizon).await.unwrap();
        let records: Vec<Value> =
            page.records.iter().map(|record| serde_json::from_slice(record.data).unwrap()).collect();
        let names: Vec<_> = records.iter().map(|record| record["eventName"].as_str().unwrap()).collect();
        assert_eq!(names, ["INSERT", "MODIFY", "REMOVE"]);
        let image = json!({"item": {"S": "burger"}, "price": {"N": "100"}, "n": {"N": "12345678901234567890.123"},
            "l": {"L": [{"NULL": true}, {"BOOL": true}, {"M": {"a": {"S": "\""}}}]}});
        assert_eq!(records[0]["dynamodb"]["NewImage"], image);
        assert_eq!(records[1]["dynamodb"]["OldImage"], image);
        assert_eq!(records[2]["dynamodb"]["Keys"], json!({"item": {"S": "burger"}, "price": {"N": "100"}}));
        assert!(records[2]["dynamodb"].get("NewImage").is_none());
        assert_eq!(records[2]["dynamodb"]["SequenceNumber"], deleted.sequence.as_str());
        assert_eq!(
            records[0]["eventSourceARN"],
            "arn:aws:dynamodb:local:000000000000:table/P/stream/2026-09-21T14:13:20.000"
        );
    }

    #[tokio::test]
    async fn segments_and_pages_are_the_whole_table() {
        let table = Arc::new(EmbeddedTable::new("P", &["id"], Arc::new(StillClock::default())));
        table.load((0..5000).map(|id| raw(&format!(r#"{{"id":{id}}}"#)))).unwrap();
        let tables = EmbeddedTables::new([table]);
        let mut all = BTreeSet::new();
        let mut count = 0;
        for index in 0..3 {
            let mut from = None;
            loop {
                let page = tables.scan("P", Segment { index, of: 3 }, from.as_deref()).await.unwrap();
                count += page.rows.len();
                all.extend(page.rows.iter().map(|row| row.get().to_owned()));
                from = page.next;
                if from.is_none() {
                    break;
                }
            }
        }
        assert_eq!((count, all.len()), (5000, 5000));
        assert_eq!(tables.key_attributes("P").await.unwrap(), ["id"]);
        assert!(tables.key_attributes("Q").await.is_err());
    }
}
