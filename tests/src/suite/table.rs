//! What the `Tables` port promises.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use freshjoin_core::ports::{RawRow, Segment, Tables};
use serde_json::{Value, json};

use super::cases;

/// What a key attribute may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    S,
    /// A number.
    N,
    /// Binary.
    B,
}

/// The key of most tables here.
pub const KEY: [(&str, Kind); 2] = [("item", Kind::S), ("price", Kind::N)];

/// What a test may do to tables, beyond the port.
#[async_trait]
pub trait Filling: Send + Sync + std::fmt::Debug {
    /// Makes an empty table with this key, partition key first.
    async fn create(&self, table: &str, key: &[(&str, Kind)]);

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
    rows_come_in_the_order_of_their_keys,
    a_row_by_key_is_as_a_scan_gives_it,
    numeric_and_binary_keys_find_their_rows,
    a_key_that_is_none_is_a_fault,
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
    world.filling.create("Keys", &[("zz", Kind::S), ("aa", Kind::N)]).await;
    assert_eq!(world.tables.key_attributes("Keys").await.unwrap(), ["zz", "aa"]);
}

async fn a_missing_table_is_a_fault(world: World) {
    assert!(world.tables.key_attributes("NoSuchTable").await.is_err());
    assert!(world.tables.scan("NoSuchTable", Segment { index: 0, of: 1 }, None).await.is_err());
    assert!(world.tables.rows("NoSuchTable", &[raw(json!({"item": "x", "price": 1}))]).await.is_err());
}

async fn an_empty_table_has_no_rows(world: World) {
    world.filling.create("Empty", &KEY).await;
    assert_eq!(scan(&*world.tables, "Empty", 3).await.concat(), [""; 0]);
}

async fn segments_are_disjoint_and_together_the_whole(world: World) {
    world.filling.create("Parts", &KEY).await;
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
    world.filling.create("Large", &KEY).await;
    let note = "n".repeat(20_000);
    world.filling.put("Large", (0..150).map(|n| row("same", n, &note)).collect()).await;
    let rows = scan(&*world.tables, "Large", 1).await.concat();
    let prices: BTreeSet<u64> =
        rows.iter().map(|row| serde_json::from_str::<Value>(row).unwrap()["price"].as_u64().unwrap()).collect();
    assert_eq!((rows.len(), prices.len()), (150, 150), "a page overlaps or misses rows");
}

async fn every_attribute_type_has_its_json(world: World) {
    world.filling.create("Types", &KEY).await;
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
    world.filling.create("Digits", &KEY).await;
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

fn raw(value: Value) -> RawRow {
    serde_json::value::to_raw_value(&value).unwrap()
}

/// The rows of all keys, asked for until every one is answered.
async fn rows(tables: &dyn Tables, table: &str, keys: &[RawRow]) -> Vec<Option<String>> {
    let mut all = Vec::new();
    while all.len() < keys.len() {
        let some = tables.rows(table, &keys[all.len()..]).await.unwrap();
        assert!(!some.is_empty(), "no key was answered for");
        all.extend(some.into_iter().map(|row| row.map(|row| row.get().to_owned())));
    }
    assert_eq!(all.len(), keys.len(), "more answers than keys");
    all
}

async fn rows_come_in_the_order_of_their_keys(world: World) {
    world.filling.create("Rows", &KEY).await;
    let price = |n: u32| n * 7 % 250;
    world
        .filling
        .put("Rows", (0..250).filter(|n| price(*n) % 10 != 3).map(|n| row("x", price(n), "y")).collect())
        .await;
    // Every tenth is missing, the last ones come twice, and more than a call of DynamoDB takes.
    let mut keys: Vec<RawRow> = (0..250).map(|n| raw(json!({"item": "x", "price": price(n)}))).collect();
    keys.extend((240..250).map(|n| raw(json!({"price": price(n), "item": "x"}))));
    let found = rows(&*world.tables, "Rows", &keys).await;
    for (key, row) in keys.iter().zip(&found) {
        let key: Value = serde_json::from_str(key.get()).unwrap();
        let row = row.as_deref().map(|row| serde_json::from_str::<Value>(row).unwrap());
        let expected = json!({"item": "x", "price": key["price"], "note": "y"});
        assert_eq!(row, (key["price"].as_u64().unwrap() % 10 != 3).then_some(expected), "{key}");
    }
    assert_eq!(found.iter().flatten().count(), 234);
    assert!(world.tables.rows("Rows", &[]).await.unwrap().is_empty());
}

async fn a_row_by_key_is_as_a_scan_gives_it(world: World) {
    world.filling.create("Both", &KEY).await;
    let typed = json!({
        "item": {"S": "quote \" slash \\ line\nend ü"}, "price": {"N": "-0.12345678901234567890123456789012345678"},
        "empty": {"S": ""}, "no": {"BOOL": false}, "null": {"NULL": true}, "binary": {"B": "/wD+"},
        "list": {"L": [{"L": [{"M": {"z": {"NULL": true}}}]}, {"N": "1.50"}]}, "map": {"M": {"z": {"M": {}}, "a": {"L": []}}},
        "strings": {"SS": ["b", "a"]}, "numbers": {"NS": ["10", "9"]}, "binaries": {"BS": ["AQ==", "AA=="]}
    });
    world.filling.put("Both", vec![typed]).await;
    let scanned = scan(&*world.tables, "Both", 1).await.concat();
    let members: BTreeMap<String, &serde_json::value::RawValue> = serde_json::from_str(&scanned[0]).unwrap();
    let key = format!(r#"{{"item":{},"price":{}}}"#, members["item"], members["price"]);
    let found = rows(&*world.tables, "Both", &[serde_json::from_str(&key).unwrap()]).await;
    assert_eq!(found[0].as_ref(), Some(&scanned[0]));
}

async fn numeric_and_binary_keys_find_their_rows(world: World) {
    world.filling.create("Numbers", &[("n", Kind::N)]).await;
    let digits = ["12345678901234567890123456789012345678", "12345678901234567890123456789012345679", "-1.5"];
    world.filling.put("Numbers", digits.iter().map(|n| json!({"n": {"N": n}, "as": {"S": n}})).collect()).await;
    let keys: Vec<RawRow> = digits.iter().map(|n| serde_json::from_str(&format!(r#"{{"n":{n}}}"#)).unwrap()).collect();
    for (n, row) in digits.iter().zip(rows(&*world.tables, "Numbers", &keys).await) {
        assert!(row.unwrap().contains(&format!(r#""as":"{n}""#)), "{n}");
    }
    world.filling.create("Binaries", &[("id", Kind::B), ("item", Kind::S)]).await;
    // The same text as a string is no binary value.
    let ids = ["/wD+", "AA==", "AAA="];
    let typed = |id: &&str| json!({"id": {"B": id}, "item": {"S": id}, "note": {"S": format!("of {id}")}});
    world.filling.put("Binaries", ids.iter().map(typed).collect()).await;
    let mut keys: Vec<RawRow> = ids.iter().map(|id| raw(json!({"id": id, "item": id}))).collect();
    keys.push(raw(json!({"id": "AQ==", "item": "AQ=="})));
    let found = rows(&*world.tables, "Binaries", &keys).await;
    for (id, row) in ids.iter().zip(&found) {
        assert!(row.as_ref().unwrap().contains(&format!("of {id}")), "{id}: {row:?}");
    }
    assert_eq!(found[3], None);
}

async fn a_key_that_is_none_is_a_fault(world: World) {
    world.filling.create("Faulty", &KEY).await;
    for key in [json!({"item": "x"}), json!({"id": 1}), json!([1])] {
        let good = raw(json!({"item": "x", "price": 1}));
        assert!(world.tables.rows("Faulty", &[good, raw(key.clone())]).await.is_err(), "{key}");
    }
}
