//! Tables: memory, embedded, DynamoDB on moto.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, PutRequest, ScalarAttributeType, WriteRequest,
};
use freshjoin_attribute::item_to_json;
use freshjoin_aws::DynamoTables;
use freshjoin_clock::SystemClock;
use freshjoin_core::memory::{MemoryClock, MemoryTables};
use freshjoin_local::table::{EmbeddedTable, EmbeddedTables};
use freshjoin_tests::fixture::sdk_config;
use freshjoin_tests::harness;
use freshjoin_tests::suite::table::{Filling, Kind, World, cases};
use libtest_mimic::Trial;
use serde_dynamo::Item;
use serde_json::Value;

use crate::Servers;

pub(crate) fn trials(servers: &Arc<Servers>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for case in cases() {
        trials.push(harness::case(format!("table::memory::{}", case.name), move || {
            let tables = Arc::new(MemoryTables::new(&MemoryClock::default()));
            (case.run)(World { filling: Arc::new(Memory(Arc::clone(&tables))), tables })
        }));
    }
    for case in cases() {
        trials.push(harness::case(format!("table::embedded::{}", case.name), move || {
            let filling = Arc::new(Embedded::default());
            let tables = Arc::new(EmbeddedTables::new(filling.0.values().cloned()));
            (case.run)(World { tables, filling })
        }));
    }
    for case in cases() {
        let servers = Arc::clone(servers);
        trials.push(harness::case(format!("table::dynamodb::{}", case.name), move || async move {
            let config = sdk_config(&servers.moto().url()).await;
            let filling = Arc::new(OfDynamo(Client::new(&config)));
            (case.run)(World { tables: Arc::new(DynamoTables::new(&config, Arc::new(SystemClock))), filling }).await;
        }));
    }
    trials
}

fn item(row: Value) -> Item {
    serde_json::from_value(row).unwrap()
}

#[derive(Debug)]
struct Memory(Arc<MemoryTables>);

#[async_trait]
impl Filling for Memory {
    async fn create(&self, table: &str, key: &[(&str, Kind)]) {
        self.0.create(table, &key.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }

    async fn put(&self, table: &str, rows: Vec<Value>) {
        for row in rows {
            self.0.put(table, item_to_json(&item(row)).unwrap().get()).unwrap();
        }
    }
}

/// The embedded stack is told its tables once: those that the cases will ask for.
#[derive(Debug)]
struct Embedded(BTreeMap<&'static str, Arc<EmbeddedTable>>);

impl Default for Embedded {
    fn default() -> Self {
        let key = |name| match name {
            "Keys" => vec!["zz", "aa"],
            "Numbers" => vec!["n"],
            "Binaries" => vec!["id", "item"],
            _ => vec!["item", "price"],
        };
        let table = |name| (name, Arc::new(EmbeddedTable::new(name, &key(name), Arc::new(SystemClock))));
        let names =
            ["Keys", "Empty", "Parts", "Large", "Types", "Digits", "Rows", "Both", "Numbers", "Binaries", "Faulty"];
        Self(names.map(table).into())
    }
}

#[async_trait]
impl Filling for Embedded {
    async fn create(&self, table: &str, _: &[(&str, Kind)]) {
        assert!(self.0.contains_key(table), "give the embedded stack table {table} too");
    }

    async fn put(&self, table: &str, rows: Vec<Value>) {
        for row in rows {
            self.0[table].put(&item_to_json(&item(row)).unwrap()).unwrap();
        }
    }
}

#[derive(Debug)]
struct OfDynamo(Client);

#[async_trait]
impl Filling for OfDynamo {
    async fn create(&self, table: &str, key: &[(&str, Kind)]) {
        let mut request = self.0.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
        for ((name, kind), role) in key.iter().zip([KeyType::Hash, KeyType::Range]) {
            let kind = match kind {
                Kind::S => ScalarAttributeType::S,
                Kind::N => ScalarAttributeType::N,
                Kind::B => ScalarAttributeType::B,
            };
            request = request
                .attribute_definitions(
                    AttributeDefinition::builder().attribute_name(*name).attribute_type(kind).build().unwrap(),
                )
                .key_schema(KeySchemaElement::builder().attribute_name(*name).key_type(role).build().unwrap());
        }
        request.send().await.unwrap();
    }

    async fn put(&self, table: &str, rows: Vec<Value>) {
        for chunk in rows.chunks(25) {
            let writes = chunk.iter().map(|row| {
                let put = PutRequest::builder().set_item(Some(item(row.clone()).into())).build().unwrap();
                WriteRequest::builder().put_request(put).build()
            });
            self.0.batch_write_item().request_items(table, writes.collect()).send().await.unwrap();
        }
    }
}
