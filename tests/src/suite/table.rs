//! What the `Tables` port promises.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use freshjoin_core::ports::{Segment, Tables};
use serde_json::{Value, json};

use super::cases;

/// What a test may do to tables, beyond the port.
#[async_trait]
pub trait Filling: Send + Sync + std::fmt::Debug {
    /// Makes an empty table with a string partition key and a number sort key.
    async fn create(&self, table: &str, partition: &str, sort: &str);

    /// Puts rows, given as DynamoDB's typed JSON.
    async fn put(&self, table: &str, rows: Vec<Value>);
}

/// An adapter, and a way to fill tables that it reads.
#[derive(Clone, Debug)]
pub struct World {
    /// The adapter.
    pub tables: Arc<dyn Tables>,
    /// Makes tables; each case its own.
    pub filling: Arc<dyn Filling>,
}

cases!(World:
    key_attributes_come_partition_key_first,
    a_missing_table_is_a_fault,
    an_empty_table_has_no_rows,
    segments_are_disjoint_and_together_the_whole,
    pages_of_a_large_table_go_on_where_they_ended,
    every_attribute_type_has_its_json,
    numbers_keep_every_digit,
);

/// Every row of a table scanned in so many segments; a page that is asked for twice must answer the same.
async fn scan(tables: &dyn Tables, table: &str, of: u32) -> Vec<Vec<String>> {
    let mut segments = Vec::new();
    for index in 0..of {
        let (mut rows, mut from) = (Vec::new(), None::<String>);
        loop {
            let page = tables.scan(table, Segment { index, of }, from.as_deref()).await.unwrap();
            let again = tables.scan(table, Segment { index, of }, from.as_deref()).await.unwrap();
            let text = |page: &freshjoin_core::ports::ScanPage| -> Vec<String> {
                page.rows.iter().map(|row| row.get().to_owned()).collect()
            };
            assert_eq!(text(&page), text(&again), "the same page twice");
            rows.extend(text(&page));
            match page.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        segments.push(rows);
    }
    segments
}

fn row(item: &str, price: u32, note: &str) -> Value {
    json!({"item": {"S": item}, "price": {"N": price.to_string()}, "note": {"S": note}})
}

async fn key_attributes_come_partition_key_first(world: World) {
    world.filling.create("Keys", "zz", "aa").await;
    assert_eq!(world.tables.key_attributes("Keys").await.unwrap(), ["zz", "aa"]);
}

async fn a_missing_table_is_a_fault(world: World) {
    assert!(world.tables.key_attributes("NoSuchTable").await.is_err());
    assert!(world.tables.scan("NoSuchTable", Segment { index: 0, of: 1 }, None).await.is_err());
}

async fn an_empty_table_has_no_rows(world: World) {
    world.filling.create("Empty", "item", "price").await;
    assert_eq!(scan(&*world.tables, "Empty", 3).await.concat(), [""; 0]);
}

async fn segments_are_disjoint_and_together_the_whole(world: World) {
    world.filling.create("Parts", "item", "price").await;
    world.filling.put("Parts", (0..700).map(|n| row(&format!("item {}", n % 350), n / 350, "x")).collect()).await;
    let whole: BTreeSet<String> = scan(&*world.tables, "Parts", 1).await.concat().into_iter().collect();
    assert_eq!(whole.len(), 700);
    for of in [2, 7] {
        let parts = scan(&*world.tables, "Parts", of).await;
        assert_eq!(parts.concat().len(), 700, "{of} segments overlap or miss rows");
        assert_eq!(parts.concat().into_iter().collect::<BTreeSet<_>>(), whole);
    }
}

async fn pages_of_a_large_table_go_on_where_they_ended(world: World) {
    world.filling.create("Large", "item", "price").await;
    let note = "n".repeat(20_000);
    world.filling.put("Large", (0..150).map(|n| row("same", n, &note)).collect()).await;
    let rows = scan(&*world.tables, "Large", 1).await.concat();
    let prices: BTreeSet<u64> =
        rows.iter().map(|row| serde_json::from_str::<Value>(row).unwrap()["price"].as_u64().unwrap()).collect();
    assert_eq!((rows.len(), prices.len()), (150, 150), "a page overlaps or misses rows");
}

async fn every_attribute_type_has_its_json(world: World) {
    world.filling.create("Types", "item", "price").await;
    let typed = json!({
        "item": {"S": "quote \" slash \\ line\nend ü"}, "price": {"N": "1"}, "string": {"S": ""}, "true": {"BOOL": true},
        "null": {"NULL": true}, "binary": {"B": "/wD+"}, "list": {"L": [{"N": "1"}, {"S": "x"}, {"L": []}]},
        "map": {"M": {"z": {"N": "2"}, "a": {"M": {}}}}, "strings": {"SS": ["b", "a"]}, "numbers": {"NS": ["10", "9"]},
        "binaries": {"BS": ["AQ==", "AA=="]}
    });
    world.filling.put("Types", vec![typed]).await;
    let rows = scan(&*world.tables, "Types", 1).await.concat();
    assert_eq!(rows.len(), 1);
    let found: Value = serde_json::from_str(&rows[0]).unwrap();
    let mut sorted = found.clone();
    sorted["numbers"].as_array_mut().unwrap().sort_by_key(Value::as_u64);
    assert_eq!(
        sorted,
        json!({
            "item": "quote \" slash \\ line\nend ü", "price": 1, "string": "", "true": true, "null": null,
            "binary": "/wD+", "list": [1, "x", []], "map": {"a": {}, "z": 2}, "strings": ["a", "b"], "numbers": [9, 10],
            "binaries": ["AA==", "AQ=="]
        })
    );
    let names: BTreeMap<String, Value> = serde_json::from_str(&rows[0]).unwrap();
    assert!(
        rows[0].starts_with(&format!("{{{}:", Value::from(names.keys().next().unwrap().as_str()))),
        "keys in order"
    );
}

async fn numbers_keep_every_digit(world: World) {
    world.filling.create("Digits", "item", "price").await;
    let digits =
        ["12345678901234567890123456789012345678", "-0.12345678901234567890123456789012345678", "9007199254740993"];
    let rows = digits.iter().map(|digits| json!({"item": {"S": digits}, "price": {"N": "1"}, "value": {"N": digits}}));
    world.filling.put("Digits", rows.collect()).await;
    let rows = scan(&*world.tables, "Digits", 1).await.concat();
    for digits in digits {
        let member = format!("\"value\":{digits}");
        assert!(rows.iter().any(|row| row.contains(&member)), "{digits} in {rows:?}");
    }
}
