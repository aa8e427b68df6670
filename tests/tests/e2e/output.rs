//! What came out, read from the objects: rows with their partitions, and dead letters.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use freshjoin_core::ports::ObjectStore;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::world::World;

/// What stands for null in a partition.
pub(crate) const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// One row of an output object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    /// The object's key below the output.
    pub(crate) key: String,
    /// Partition columns, unescaped.
    pub(crate) partition: BTreeMap<String, String>,
    /// The other columns.
    pub(crate) cells: BTreeMap<String, String>,
}

impl Row {
    /// A column wherever it stands; `None` if there is no such column.
    pub(crate) fn get(&self, column: &str) -> Option<&str> {
        self.partition.get(column).or_else(|| self.cells.get(column)).map(String::as_str)
    }

    pub(crate) fn customer(&self) -> u64 {
        self.cells["customer_id"].parse().unwrap()
    }
}

/// One line of a dead letter object.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetter {
    pub(crate) shard: String,
    pub(crate) sequence: String,
    pub(crate) sub_sequence: u64,
    pub(crate) reason: String,
    pub(crate) data: Vec<u8>,
}

/// Every object of a store, by key.
pub(crate) async fn objects(store: &dyn ObjectStore, prefix: &str) -> BTreeMap<String, Bytes> {
    let mut objects = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list(prefix, after.as_deref()).await.unwrap();
        let Some(last) = page.last() else { return objects };
        after = Some(last.key.clone());
        for listed in page {
            let object = store.get(&listed.key).await.unwrap().expect("a listed object is there");
            objects.insert(listed.key, object.bytes);
        }
    }
}

impl World {
    /// The objects of the output, without the one that says whose it is.
    pub(crate) async fn output_objects(&self) -> BTreeMap<String, Bytes> {
        let mut objects = objects(&*self.open(&self.deployment.output), "").await;
        assert!(objects.remove("_freshjoin.json").is_some() || objects.is_empty(), "nobody owns this output");
        objects
    }

    /// Every row of the output.
    pub(crate) async fn rows(&self) -> Vec<Row> {
        let objects = self.output_objects().await;
        objects.into_iter().flat_map(|(key, body)| rows_of(&key, &body)).collect()
    }

    /// Every dead letter.
    pub(crate) async fn dead_letters(&self) -> Vec<DeadLetter> {
        let objects = objects(&*self.state, "dead-letters/").await;
        let mut letters = Vec::new();
        for (key, body) in objects {
            for line in std::str::from_utf8(&body).unwrap().lines() {
                let letter: Value = serde_json::from_str(line).unwrap();
                let text = |name: &str| letter[name].as_str().unwrap_or_else(|| panic!("{name} in {line}")).to_owned();
                let expected = format!("dead-letters/orders/{}/{}/", self.stream_name, text("shard"));
                assert!(key.starts_with(&expected), "{key} is not below {expected}");
                assert!(letter["arrival"].is_string(), "{line}");
                let data = STANDARD.decode(text("data")).unwrap();
                letters.push(DeadLetter {
                    shard: text("shard"),
                    sequence: text("sequence"),
                    sub_sequence: letter["sub_sequence"].as_u64().unwrap(),
                    reason: text("reason"),
                    data,
                });
            }
        }
        letters
    }
}

pub(crate) fn rows_of(key: &str, body: &[u8]) -> Vec<Row> {
    let (folders, file) = key.rsplit_once('/').unwrap_or(("", key));
    assert!(file.ends_with(".csv"), "{key}");
    let mut partition = BTreeMap::new();
    for folder in folders.split('/').filter(|folder| !folder.is_empty()) {
        let (column, value) = folder.split_once('=').unwrap_or_else(|| panic!("{folder} in {key} is no partition"));
        let value = percent_decode_str(value).decode_utf8().unwrap();
        assert!(partition.insert(column.into(), value.into_owned()).is_none(), "{key} names a column twice");
    }
    let mut reader = csv::ReaderBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_reader(body);
    let header = reader.headers().unwrap().clone();
    let cells = |record: csv::StringRecord| header.iter().map(Into::into).zip(record.iter().map(Into::into)).collect();
    let rows: Vec<Row> = reader
        .records()
        .map(|record| Row { key: key.into(), partition: partition.clone(), cells: cells(record.unwrap()) })
        .collect();
    assert!(!rows.is_empty(), "{key} holds no row");
    rows
}
