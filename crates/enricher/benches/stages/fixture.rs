//! What the stages are measured on: the demo's orders with its table of four rows, and orders of products out of a table
//! of any size. The same number always gives the same record and the same row.

use std::fmt::Write as _;

use base64_simd::STANDARD;
use freshjoin_core::join::Plan;
use freshjoin_core::pipeline::Definition;
use freshjoin_core::record::Records;
use freshjoin_core::reference::VersionedReference;
use freshjoin_core::time::Timestamp;

/// How many records a batch has.
pub(crate) const RECORDS: u64 = 10_000;
/// Sizes of tables that the same work is measured on.
pub(crate) const TABLES: [(u64, &str); 2] = [(100_000, "100,000 rows"), (1_000_000, "1,000,000 rows")];
pub(crate) const STREAM: &str = "orders";
pub(crate) const SHARD: &str = "shardId-000000000000";
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_764_000_000_000);

/// The demo's table, its key and its rows.
pub(crate) const DISHES: (&str, &str) = ("ProductPriority", "item");
/// A larger table and its key.
pub(crate) const PRODUCTS: (&str, &str) = ("Products", "sku");

/// The demo's pipeline with another output format.
pub(crate) fn dishes_pipeline(format: &str) -> String {
    format!(
        r#"
name = "orders"
[[reference]]
dynamodb = "ProductPriority"
on = {{ dish = "item" }}
[output]
columns = ["cost", "price", "priority", "customer_id", "item"]
partition_by = ["item", "priority"]
format = "{format}"
[output.types] # of Parquet
cost = "int64"
price = "int64"
customer_id = "int64"
"#
    )
}

/// The pipeline of products.
pub(crate) const PRODUCTS_PIPELINE: &str = r#"
name = "orders"
[[reference]]
dynamodb = "Products"
on = { product = "sku" }
[output]
columns = ["quantity", "price", "tier", "customer_id", "product"]
partition_by = ["tier"]
"#;

/// The rows of the demo's table.
pub(crate) fn dishes() -> impl Iterator<Item = String> {
    let rows = [("salad", "high"), ("pizza", "low"), ("burger", "medium"), ("ice-cream", "very very high")];
    rows.into_iter().map(|(item, priority)| format!(r#"{{"item":"{item}","price":100,"priority":"{priority}"}}"#))
}

/// An order of the demo's, of which one in five is in no row.
pub(crate) fn dish_order(number: u64) -> String {
    let dish = match number % 5 {
        0 => "pizza",
        1 => "burger",
        2 => "salad",
        3 => "donut",
        _ => "ice-cream",
    };
    format!(r#"{{"dish": "{dish}", "cost": {}, "customer_id": {}}}"#, 10 + number * 31 % 140, 100_000 + number)
}

/// The sku of a product.
pub(crate) fn sku(number: u64) -> String {
    format!("sku-{number:07}")
}

/// A row of the table of products.
pub(crate) fn product(number: u64) -> String {
    format!(r#"{{"sku":"{}","price":{},"tier":"tier-{}"}}"#, sku(number), 100 + number % 900, number % 5)
}

/// Neighbours in a batch are far apart in the table.
pub(crate) fn scattered(number: u64, rows: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % rows
}

/// An order of a product that is in the table.
pub(crate) fn product_order(number: u64, rows: u64) -> String {
    let sku = sku(scattered(number, rows));
    format!(r#"{{"product":"{sku}","quantity":{},"customer_id":{number}}}"#, number % 9)
}

/// A sequence number of Kinesis's length.
pub(crate) fn sequence(number: u64) -> String {
    format!("4959033827149025660855969253836157109592{number:016}")
}

/// Records of these bytes, numbered from `first` on.
pub(crate) fn records(first: u64, data: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Records {
    let mut records = Records::default();
    for (number, data) in (first..).zip(data) {
        records.push(&sequence(number), NOW, data.as_ref()).unwrap();
    }
    records
}

/// The demo's orders as an event's text, as Lambda sends it.
pub(crate) fn event() -> String {
    let mut text = String::from(r#"{"Records":["#);
    for number in 0..RECORDS {
        let (separator, sequence) = (if number == 0 { "" } else { "," }, sequence(number));
        let data = STANDARD.encode_to_string(dish_order(number));
        write!(
            text,
            concat!(
                r#"{}{{"kinesis":{{"kinesisSchemaVersion":"1.0","partitionKey":"{}","sequenceNumber":"{}","data":"{}","#,
                r#""approximateArrivalTimestamp":1763999990.987}},"eventSource":"aws:kinesis","eventVersion":"1.0","#,
                r#""eventID":"{}:{}","eventName":"aws:kinesis:record","#,
                r#""invokeIdentityArn":"arn:aws:iam::123456789012:role/lambda-role","awsRegion":"us-east-2","#,
                r#""eventSourceARN":"arn:aws:kinesis:us-east-2:123456789012:stream/{}"}}"#
            ),
            separator, number, sequence, data, SHARD, sequence, STREAM
        )
        .unwrap();
    }
    text.push_str("]}");
    text
}

/// A definition compiled, with its reference of these rows.
pub(crate) fn joined(pipeline: &str, key: &str, rows: impl Iterator<Item = String>) -> (Plan, VersionedReference) {
    let plan = Plan::new(&Definition::parse(pipeline).unwrap());
    let projection = plan.projections().first().unwrap().clone();
    let mut reference = VersionedReference::new(projection, NOW);
    reference.reserve(rows.size_hint().0);
    for row in rows {
        let fields: serde_json::Value = serde_json::from_str(&row).unwrap();
        let key = serde_json::json!({ key: fields.get(key) }).to_string();
        reference.load(&key, Some(&row), freshjoin_core::reference::KnownChange::scanned(0)).unwrap();
    }
    (plan, reference)
}
