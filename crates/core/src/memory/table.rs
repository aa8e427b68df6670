//! Tables in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};

use super::fault::{Call, Fault, Gate};
use super::{MemoryClock, lock};
use crate::ports::{BoxError, RawRow, ScanPage, Segment, TableError, Tables};

const PAGE: usize = 100;

/// All tables by name. Clones, and handles through other gates, share them.
#[derive(Clone, Debug)]
pub struct MemoryTables {
    clock: MemoryClock,
    gate: Gate,
    tables: Arc<Mutex<BTreeMap<String, Table>>>,
}

#[derive(Debug)]
struct Table {
    key: Vec<String>,
    /// By the text of the key.
    rows: BTreeMap<String, RawRow>,
}

impl Table {
    fn key_of(&self, row: &str) -> Result<String, BoxError> {
        let mut members: BTreeMap<String, &RawValue> = serde_json::from_str(row)?;
        members.retain(|name, _| self.key.contains(name));
        if members.len() < self.key.len() {
            return Err(format!("ValidationException: one of {} is missing", self.key.join(", ")).into());
        }
        Ok(serde_json::to_string(&members)?)
    }
}

impl MemoryTables {
    /// No tables yet.
    #[must_use]
    pub fn new(clock: &MemoryClock) -> Self {
        Self { clock: clock.clone(), gate: Gate::default(), tables: Arc::default() }
    }

    /// The same tables as another environment sees them.
    #[must_use]
    pub fn through(&self, gate: &Gate) -> Self {
        Self { gate: gate.clone(), ..self.clone() }
    }

    /// Makes an empty table, in place of one that had the name.
    pub fn create(&self, table: &str, key: &[&str]) {
        let key = key.iter().map(|name| (*name).to_owned()).collect();
        lock(&self.tables).insert(table.into(), Table { key, rows: BTreeMap::new() });
    }

    /// Puts a row, given as the text of a JSON object.
    ///
    /// # Errors
    /// [`TableError`] if there is no such table or the text is no object with the table's key.
    pub fn put(&self, table: &str, row: &str) -> Result<(), TableError> {
        self.with("PutItem", table, |found| {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(row)?;
            let key = found.key_of(row)?;
            found.rows.insert(key, to_raw_value(&members)?);
            Ok(())
        })
    }

    /// Deletes the row with this key (a JSON object that holds it); whether there was one.
    ///
    /// # Errors
    /// [`TableError`] if there is no such table or the text is no object with the table's key.
    pub fn delete(&self, table: &str, key: &str) -> Result<bool, TableError> {
        self.with("DeleteItem", table, |found| Ok(found.rows.remove(&found.key_of(key)?).is_some()))
    }

    /// All rows in the order of their keys' texts, without a call being counted or failing.
    ///
    /// # Errors
    /// [`TableError`] if there is no such table.
    pub fn rows(&self, table: &str) -> Result<Vec<RawRow>, TableError> {
        self.with("Scan", table, |found| Ok(found.rows.values().cloned().collect()))
    }

    fn with<T>(
        &self,
        operation: &'static str,
        table: &str,
        effect: impl FnOnce(&mut Table) -> Result<T, BoxError>,
    ) -> Result<T, TableError> {
        let mut tables = lock(&self.tables);
        let found = tables.get_mut(table).ok_or_else(|| format!("ResourceNotFoundException: no table {table}").into());
        found.and_then(effect).map_err(|source| TableError { operation, table: table.into(), source })
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        table: &str,
        effect: impl FnOnce(&mut Table, &Fault) -> Result<T, BoxError>,
    ) -> Result<T, TableError> {
        let fail = |source| TableError { operation, table: table.into(), source };
        let call = Call { operation, key: table, entries: 1 };
        let fault = self.gate.enter(&self.clock, call).await.map_err(|e| fail(Box::new(e)))?;
        let answer = self.with(operation, table, |found| effect(found, &fault));
        self.gate.leave(&self.clock, &fault).await.map_err(|e| fail(Box::new(e)))?;
        answer
    }
}

/// Which segment a key belongs to.
fn belongs(key: &str, segment: Segment) -> bool {
    let hash = Sha256::digest(key.as_bytes()).iter().take(4).fold(0, |hash: u32, byte| (hash << 8) | u32::from(*byte));
    hash % segment.of.max(1) == segment.index
}

#[async_trait]
impl Tables for MemoryTables {
    async fn key_attributes(&self, table: &str) -> Result<Vec<String>, TableError> {
        self.call("DescribeTable", table, |found, _| Ok(found.key.clone())).await
    }

    async fn scan(&self, table: &str, segment: Segment, from: Option<&str>) -> Result<ScanPage, TableError> {
        self.call("Scan", table, |found, fault| {
            let start = from.map_or(Bound::Unbounded, Bound::Excluded);
            let page = if let Fault::Short(most) = fault { (*most).min(PAGE) } else { PAGE };
            let mut following =
                found.rows.range::<str, _>((start, Bound::Unbounded)).filter(|(key, _)| belongs(key, segment));
            let mut rows = Vec::new();
            let mut last = from;
            for (key, row) in following.by_ref().take(page) {
                rows.push(row.clone());
                last = Some(key);
            }
            let more = following.next().is_some();
            Ok(ScanPage { rows, next: more.then(|| last.unwrap_or_default().to_owned()) })
        })
        .await
    }

    async fn rows(&self, table: &str, keys: &[RawRow]) -> Result<Vec<Option<RawRow>>, TableError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.call("BatchGetItem", table, |found, fault| {
            let most = if let Fault::Short(most) = fault { (*most).max(1) } else { usize::MAX };
            keys.iter().take(most).map(|key| Ok(found.rows.get(&found.key_of(key.get())?).cloned())).collect()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Script;

    #[tokio::test]
    async fn segments_are_the_whole_table_once() {
        let script = Arc::new(Script::default());
        let tables = MemoryTables::new(&MemoryClock::default()).through(&Gate::new(script.clone()));
        tables.create("T", &["item", "price"]);
        for n in 0..250 {
            tables.put("T", &format!(r#"{{"price":{n},"n":1.50,"item":"x"}}"#)).unwrap();
        }
        tables.put("T", r#"{"item":"x","n":2,"price":7}"#).unwrap();
        assert!(tables.delete("T", r#"{"price":8,"item":"x"}"#).unwrap());
        assert!(tables.put("T", r#"{"item":"x"}"#).is_err() && tables.put("U", "{}").is_err());
        assert_eq!(tables.key_attributes("T").await.unwrap(), ["item", "price"]);
        script.add("Scan", [Fault::Short(0), Fault::Short(3)]);
        let mut found = Vec::new();
        for index in 0..3 {
            let mut from = None;
            loop {
                let page = tables.scan("T", Segment { index, of: 3 }, from.as_deref()).await.unwrap();
                found.extend(page.rows.iter().map(|row| row.get().to_owned()));
                let Some(next) = page.next else { break };
                from = Some(next);
            }
        }
        found.sort();
        let mut all: Vec<_> = tables.rows("T").unwrap().iter().map(|row| row.get().to_owned()).collect();
        all.sort();
        assert_eq!((found.len(), &found), (249, &all));
        assert!(found.contains(&r#"{"item":"x","n":2,"price":7}"#.to_owned()));
    }
}
