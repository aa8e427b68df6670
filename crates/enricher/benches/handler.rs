//! What a record costs: the whole handler over an event of 10,000 records with the demo's pipeline, into memory.
//!
//! Criterion's throughput line gives records a second; a microsecond a record is 1 Melem/s. The event is parsed, every
//! record joined, partitioned and encoded, the cursor read, swapped and swapped again, the objects stored.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot set up has nothing to say")]
#![allow(missing_docs, reason = "criterion's macros make the items")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64_simd::STANDARD;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use freshjoin_core::batch::{BatchReport, ConsumerDeps, IgnoredFlag, Observer, cursor_key};
use freshjoin_core::change::Version;
use freshjoin_core::location::Location;
use freshjoin_core::memory::{MemoryClock, MemoryStores, MemoryStream, MemoryTables};
use freshjoin_core::reference::Refreshed;
use freshjoin_core::settings::{AsOf, DEFAULT_CONTENT_LIMIT, EnricherSettings, StreamName};
use freshjoin_core::time::Timestamp;
use freshjoin_enricher::{Enricher, KinesisEvent, handle};

const RECORDS: u64 = 10_000;
const STREAM: &str = "orders";
const SHARD: &str = "shardId-000000000000";
const DEFINITION: &str = r#"
name = "orders"
[[reference]]
dynamodb = "ProductPriority"
on = { dish = "item" }
[output]
columns = ["cost", "price", "priority", "customer_id", "item"]
partition_by = ["item", "priority"]
"#;

#[derive(Debug)]
struct Silent;

impl Observer for Silent {
    fn committed(&self, report: &BatchReport) {
        assert_eq!(report.counts.records(), RECORDS);
    }
    fn refreshed(&self, _: Version, _: Refreshed) {}
    fn ignored(&self, _: &str, _: &str, _: IgnoredFlag) {}
}

/// An event as Lambda sends it.
fn event() -> String {
    let dishes = ["pizza", "burger", "salad", "donut", "ice-cream"];
    let mut text = String::from(r#"{"Records":["#);
    for (number, dish) in (0..RECORDS).zip(dishes.into_iter().cycle()) {
        let cost = 10 + number * 31 % 140;
        let order = format!(r#"{{"dish": "{dish}", "cost": {cost}, "customer_id": {}}}"#, 100_000 + number);
        let sequence = format!("49590338271490256608559692538361571095921575989136{:06}", 588_898 + number);
        let separator = if number == 0 { "" } else { "," };
        write!(
            text,
            concat!(
                r#"{}{{"kinesis":{{"kinesisSchemaVersion":"1.0","partitionKey":"{}","sequenceNumber":"{}","data":"{}","#,
                r#""approximateArrivalTimestamp":1545084650.987}},"eventSource":"aws:kinesis","eventVersion":"1.0","#,
                r#""eventID":"{}:{}","eventName":"aws:kinesis:record","#,
                r#""invokeIdentityArn":"arn:aws:iam::123456789012:role/lambda-role","awsRegion":"us-east-2","#,
                r#""eventSourceARN":"arn:aws:kinesis:us-east-2:123456789012:stream/{}"}}"#
            ),
            separator,
            number,
            sequence,
            STANDARD.encode_to_string(order),
            SHARD,
            sequence,
            STREAM
        )
        .unwrap();
    }
    text.push_str("]}");
    text
}

fn handler(criterion: &mut Criterion) {
    let clock = MemoryClock::at(Timestamp::from_millis(1_545_084_700_000));
    let stores = MemoryStores::new(&clock);
    let tables = MemoryTables::new(&clock);
    tables.create("ProductPriority", &["item", "price"]);
    for (item, priority) in [("salad", "high"), ("pizza", "low"), ("burger", "medium"), ("ice-cream", "very very high")]
    {
        tables.put("ProductPriority", &format!(r#"{{"item":"{item}","price":100,"priority":"{priority}"}}"#)).unwrap();
    }
    let state = stores.store(&Location::new("s3://state")).unwrap();
    let deps = ConsumerDeps {
        state: Arc::new(state.clone()),
        stores: Arc::new(stores),
        tables: Arc::new(tables),
        stream: Arc::new(MemoryStream::new(STREAM, 1, &clock)),
        clock: Arc::new(clock),
        observer: Arc::new(Silent),
    };
    let settings = EnricherSettings {
        pipeline: DEFINITION.into(),
        state: Location::new("s3://state"),
        output: Location::new("s3://out/data"),
        stream: StreamName { name: STREAM.into(), arn: None },
        as_of: AsOf::Flag,
        content_limit: DEFAULT_CONTENT_LIMIT,
    };
    let enricher = Enricher::new(DEFINITION, &settings, deps).unwrap();
    let event = event();
    let deadline = Timestamp::from_millis(1_545_084_800_000);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let key = cursor_key("orders", STREAM, SHARD);

    let mut group = criterion.benchmark_group("event of 10,000 records");
    group.throughput(Throughput::Elements(RECORDS)).measurement_time(Duration::from_secs(10));
    group.bench_function("handler", |bencher| {
        bencher.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            for _ in 0..iterations {
                state.remove(&key);
                let begun = Instant::now();
                let response = runtime.block_on(handle(&event, &enricher, deadline)).unwrap();
                spent += begun.elapsed();
                assert!(response.is_success());
            }
            spent
        });
    });
    group.bench_function("event only", |bencher| bencher.iter(|| KinesisEvent::parse(black_box(&event)).unwrap()));
    group.finish();
}

criterion_group!(benches, handler);
criterion_main!(benches);
