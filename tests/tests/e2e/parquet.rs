//! Parquet output, as DuckDB and pyarrow read it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use freshjoin_core::ports::{ObjectStore, Position, Precondition, PutOutcome};
use freshjoin_core::record::Record;
use freshjoin_tests::fixture::{repository, tool};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::trials;
use crate::world::{DISHES, ROWS, Servers, World, built, kinesis_event};

trials!("parquet":
    both_readers_read_what_a_run_wrote,
    an_enricher_writes_the_same_bytes_again,
);

const SHARD: &str = "shardId-000000000000";

/// What both readers see below a folder.
async fn read(folder: &Path, partition: &str) -> Value {
    let python = tool(".venv/bin/python").unwrap_or_else(|missing| panic!("{missing}"));
    let script = repository().join("tests/python/read_parquet.py");
    let output = Command::new(python).arg(script).arg(folder).arg(partition).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The rows of each partition, which both readers must see alike; a file a partition.
fn rows(read: &Value) -> Vec<(String, Value)> {
    let files = read["files"].as_object().unwrap().iter();
    let rows = files.map(|(path, readers)| {
        assert_eq!(readers["duckdb"]["rows"], readers["pyarrow"]["rows"], "{path}");
        (path.rsplit_once('/').unwrap().0.to_owned(), readers["duckdb"]["rows"].clone())
    });
    rows.collect()
}

const TYPED: &str = r#"
name = "typed"
[[reference]]
dynamodb = "Rates"
on = { dish = "item" }
[output]
columns = ["id", "ratio", "cost", "wide", "open", "note", "at", "rate", "since", "item"]
partition_by = ["item"]
format = "parquet"
[output.types]
id = "int64"
ratio = "float64"
cost = "decimal(10,2)"
wide = "decimal(38,4)"
open = "bool"
at = "timestamp"
rate = "decimal(6,3)"
since = "timestamp"
"#;

const RATES: &str = "item,rate,since\nburger,1.250,2024-02-29 12:00:00+02:00\npizza,,\nbad,fast,2024-01-01T00:00:00Z\n";

const INPUT: &str = r#"{"dish":"burger","id":-9223372036854775808,"ratio":0.1,"cost":12.3,"wide":-9999999999999999999999999999999999.9999,"open":true,"note":"","at":"2018-12-17T22:10:50.123456Z"}
{"dish":"burger"}
{"dish":"pizza","id":"7","ratio":"1e308","cost":null,"wide":1.0,"open":"false","note":{"a": [1, null]},"at":"9999-12-31 23:59:59"}
{"dish":"donut","id":1e2,"note":"\u00e9\n\"","cost":-0.01}
{"dish":"bad"}
{"dish":"pizza","id":1.5}
{"dish":"pizza","wide":1e34}
"#;

async fn both_readers_read_what_a_run_wrote(_: Arc<Servers>) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, text) in [("p.toml", TYPED), ("rates.csv", RATES), ("in.jsonl", INPUT)] {
        fs::write(path(name), text).unwrap();
    }
    let output = Command::new(built("freshjoin"))
        .current_dir(folder.path())
        .args(["run", "--pipeline", "p.toml", "--reference", "Rates=rates.csv"])
        .args(["--input", "in.jsonl", "--output", "out", "--json"])
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (count, expected) in [("records", 7), ("enriched", 3), ("unmatched", 1), ("dead_letters", 3), ("rows", 4)] {
        assert_eq!(summary[count], expected, "{count}");
    }
    let read = read(&path("out"), "item").await;
    let (full, nulls) = (1_709_200_800_000_000_i64, Value::Null);
    let expected = [
        (
            "item=burger",
            json!([
                [
                    i64::MIN,
                    0.1,
                    "12.30",
                    "-9999999999999999999999999999999999.9999",
                    true,
                    "",
                    1_545_084_650_123_456_i64,
                    "1.250",
                    full
                ],
                [nulls, nulls, nulls, nulls, nulls, nulls, nulls, "1.250", full],
            ]),
        ),
        ("item=donut", json!([[100, nulls, "-0.01", nulls, nulls, "é\n\"", nulls, nulls, nulls]])),
        (
            "item=pizza",
            json!([[
                7,
                1e308,
                nulls,
                "1.0000",
                false,
                "{\"a\": [1, null]}",
                253_402_300_799_000_000_i64,
                nulls,
                nulls
            ]]),
        ),
    ];
    assert_eq!(rows(&read), expected.map(|(partition, rows)| (partition.to_owned(), rows)));

    let names = ["id", "ratio", "cost", "wide", "open", "note", "at", "rate", "since"];
    let (instant, utc) = ("TIMESTAMP WITH TIME ZONE", "timestamp[us, tz=UTC]");
    let duckdb =
        ["BIGINT", "DOUBLE", "DECIMAL(10,2)", "DECIMAL(38,4)", "BOOLEAN", "VARCHAR", instant, "DECIMAL(6,3)", instant];
    let pyarrow =
        ["int64", "double", "decimal128(10, 2)", "decimal128(38, 4)", "bool", "string", utc, "decimal128(6, 3)", utc];
    for file in read["files"].as_object().unwrap().values() {
        assert_eq!(file["duckdb"]["columns"], json!(names.iter().zip(duckdb).collect::<Vec<_>>()));
        assert_eq!(file["pyarrow"]["columns"], json!(names.iter().zip(pyarrow).collect::<Vec<_>>()));
    }
    for reader in ["duckdb", "pyarrow"] {
        assert_eq!(read["partitions"][reader], json!([["burger", 2], ["donut", 1], ["pizza", 1]]), "{reader}");
    }
    let letters = path("out/_dead-letters/typed/run").join(SHARD);
    let letters = fs::read_to_string(fs::read_dir(letters).unwrap().next().unwrap().unwrap().path()).unwrap();
    let reasons: Vec<Value> =
        letters.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["reason"].clone()).collect();
    let expected = [
        r#"column "rate": "fast" does not fit decimal(6,3)"#,
        r#"column "id": 1.5 does not fit int64"#,
        r#"column "wide": 1e34 does not fit decimal(38,4)"#,
    ];
    assert_eq!(reasons, expected);
}

/// A world of one shard whose orders come out as Parquet; the donut's row has a stock that is no number.
async fn world(servers: &Servers) -> World {
    let mut world = World::empty(servers, 1).await;
    let text = |text: &str| AttributeValue::S(text.into());
    let number = |digits: &str| AttributeValue::N(digits.into());
    for (item, priority) in ROWS {
        world.table.put(item, 100, priority).await;
    }
    world.table.put_item([("item", text("burger")), ("price", number("100")), ("stock", number("12.0"))]).await;
    world.table.put_item([("item", text("donut")), ("price", number("100")), ("stock", text("lots"))]).await;
    world.table.skip().await;
    world.deployment.pipeline = format!(
        r#"
        name = "orders"
        [[reference]]
        dynamodb = "{}"
        on = {{ dish = "item" }}
        [output]
        columns = ["customer_id", "cost", "price", "stock", "item"]
        partition_by = ["item"]
        format = "parquet"
        types = {{ customer_id = "int64", cost = "decimal(9,2)", price = "int64", stock = "int64" }}
        "#,
        world.table.name()
    );
    world
}

/// Hands the records from a place on to an environment of its own, as one event.
async fn deliver(world: &World, from: usize) {
    let page = world.stream.read(SHARD, &Position::TrimHorizon).await.unwrap();
    let records: Vec<Record<'_>> = page.records.iter().skip(from).collect();
    let event = kinesis_event(&world.stream_name, SHARD, &records);
    let answer = world.invoke(&*world.function("enricher").await, &event).await.unwrap();
    assert_eq!(answer["batchItemFailures"], json!([]));
}

async fn an_enricher_writes_the_same_bytes_again(servers: Arc<Servers>) {
    let world = world(&servers).await;
    world.order(1, &["salad"]).await;
    deliver(&world, 0).await;
    let cursor_key = format!("cursors/orders/{}/{SHARD}.json", world.stream_name);
    let cursor = world.state.get(&cursor_key).await.unwrap().unwrap().bytes;
    let first = world.output_objects().await;

    world.order(20, &DISHES).await;
    let odd = [r#"{"dish":"pizza","cost":"much"}"#, r#"{"dish":"pizza","cost":0.005}"#];
    world.send(odd.map(|order| Bytes::from_static(order.as_bytes())).into()).await;
    deliver(&world, 1).await;
    let objects = world.output_objects().await;
    let folder = tempfile::tempdir().unwrap();
    for (key, bytes) in &objects {
        let path = folder.path().join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let read = read(folder.path(), "item").await;
    let mut customers = Vec::new();
    for (partition, rows) in rows(&read) {
        for row in rows.as_array().unwrap() {
            let [customer, cost, price, stock] = row.as_array().unwrap().as_slice() else { panic!("{row}") };
            let customer = customer.as_u64().unwrap();
            // The first order's customer and cost begin where those of the others do.
            let cost_of = |customer: u64| if customer == 1 { 10 } else { 10 + customer - 2 };
            assert_eq!(*cost, format!("{}.00", cost_of(customer)), "{row}");
            assert_eq!(*price, 100, "{row}");
            assert_eq!(*stock, if partition == "item=burger" { json!(12) } else { Value::Null }, "{row}");
            customers.push(customer);
        }
    }
    customers.sort_unstable();
    let expected: Vec<u64> = (1..=21).filter(|customer| *customer == 1 || (customer - 2) % 5 != 3).collect();
    assert_eq!(customers, expected, "all but the donuts");
    let mut reasons: Vec<String> = world.dead_letters().await.into_iter().map(|letter| letter.reason).collect();
    reasons.sort_unstable();
    let mut expected =
        vec![r#"column "cost": "much" does not fit decimal(9,2)"#, r#"column "cost": 0.005 does not fit decimal(9,2)"#];
    expected.extend([r#"column "stock": "lots" does not fit int64"#; 4]);
    assert_eq!(reasons, expected);

    // As if all but the commit had happened and been lost: the cursor is where it was, the objects are something else.
    let output = world.open(&world.deployment.output);
    for key in objects.keys().filter(|key| !first.contains_key(*key)) {
        put(&*output, key, Bytes::from_static(b"lost")).await;
    }
    put(&*world.state, &cursor_key, cursor).await;
    deliver(&world, 1).await;
    assert!(world.output_objects().await == objects, "a redelivery wrote other keys or bytes");
}

async fn put(store: &dyn ObjectStore, key: &str, bytes: Bytes) {
    let outcome = store.put(key, bytes, Precondition::None).await.unwrap();
    assert!(matches!(outcome, PutOutcome::Written(_)), "{key}");
}
