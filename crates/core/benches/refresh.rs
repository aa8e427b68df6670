//! What one changed row costs in a table of a million: a batch with the change's flag against the same batch without.
//!
//! The flag must cost exactly one more GET and no other call, which is asserted in every iteration; its time is the
//! difference of the two batches. Beside it: what a cold start's load costs in time and memory, and a lookup.

#![allow(clippy::print_stderr, reason = "a figure that criterion cannot print")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has no figure")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, SamplingMode, Throughput, criterion_group};
use freshjoin_core::batch::{BatchReport, Consumer, ConsumerDeps, ConsumerSettings, IgnoredFlag, Observer, Progress};
use freshjoin_core::change::{Change, Origin, RowChange, Version};
use freshjoin_core::encode::Form;
use freshjoin_core::location::Location;
use freshjoin_core::log::ChangeLog;
use freshjoin_core::memory::{Gate, MemoryClock, MemoryStore, MemoryStores, MemoryStream, MemoryTables};
use freshjoin_core::pipeline::Definition;
use freshjoin_core::ports::Clock;
use freshjoin_core::record::Records;
use freshjoin_core::reference::{Projection, Refreshed, VersionedReference, base_key, read_base};
use freshjoin_core::settings::AsOf;
use freshjoin_core::time::Timestamp;
use serde_json::value::RawValue;
use tokio::runtime::Runtime;

const ROWS: u64 = 1_000_000;
const ORDERS: u64 = 1_000;
const TABLE: &str = "Products";
const SHARD: &str = "shardId-000000000000";
const NOW: Timestamp = Timestamp::from_millis(1_764_000_000_000);
const DEFINITION: &str = r#"
name = "orders"
[[reference]]
dynamodb = "Products"
on = { product = "sku" }
[output]
columns = ["quantity", "price", "tier", "customer_id", "product"]
partition_by = ["tier"]
"#;

/// Neighbours in a batch are far apart in the table.
fn scattered(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % ROWS
}

fn product(number: u64) -> String {
    format!(r#"{{"sku":"sku-{number:07}","price":{},"tier":"tier-{}"}}"#, 100 + number % 900, number % 5)
}

#[derive(Debug, Default)]
struct Tally {
    records: AtomicU64,
    changes: AtomicU64,
}

impl Observer for Tally {
    fn committed(&self, report: &BatchReport) {
        self.records.fetch_add(report.counts.enriched, Ordering::Relaxed);
    }
    fn refreshed(&self, _: Version, refreshed: Refreshed) {
        self.changes.fetch_add(refreshed.changes, Ordering::Relaxed);
    }
    fn ignored(&self, _: &str, sequence: &str, why: IgnoredFlag) {
        unreachable!("flag {sequence} was ignored: {why:?}");
    }
}

/// A table, a log, a stream; and sequence numbers that only rise.
struct World {
    runtime: Runtime,
    clock: MemoryClock,
    stores: MemoryStores,
    tables: MemoryTables,
    log: ChangeLog,
    tally: Arc<Tally>,
    next: u64,
}

impl World {
    fn new() -> Self {
        let clock = MemoryClock::at(NOW);
        let stores = MemoryStores::new(&clock);
        let tables = MemoryTables::new(&clock);
        tables.create(TABLE, &["sku"]);
        for number in 0..ROWS {
            tables.put(TABLE, &product(number)).unwrap();
        }
        let state = stores.store(&Location::new("s3://state")).unwrap();
        let log = ChangeLog::new(Arc::new(state), Arc::new(clock.clone()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self { runtime, clock, stores, tables, log, tally: Arc::default(), next: 1 }
    }

    fn state(&self) -> MemoryStore {
        self.stores.store(&Location::new("s3://state")).unwrap()
    }

    /// The same table, with nothing in the state but a base: what a cold start would read of the log besides belongs to
    /// other measurements.
    fn with_only(self, base: &Bytes) -> Self {
        let stores = MemoryStores::new(&self.clock);
        let state = stores.store(&Location::new("s3://state")).unwrap();
        state.insert(&base_key(TABLE), base.clone());
        let log = ChangeLog::new(Arc::new(state), Arc::new(self.clock.clone()));
        Self { stores, log, ..self }
    }

    /// An environment that has made no call yet.
    fn consumer(&self, gate: &Gate) -> Consumer {
        let deps = ConsumerDeps {
            state: Arc::new(self.state().through(gate)),
            stores: Arc::new(self.stores.through(gate)),
            tables: Arc::new(self.tables.through(gate)),
            stream: Arc::new(MemoryStream::new("orders", 1, &self.clock).through(gate)),
            clock: Arc::new(self.clock.clone()),
            observer: Arc::clone(&self.tally) as Arc<dyn Observer>,
        };
        let settings = ConsumerSettings::new(Location::new("s3://out/data"), AsOf::Flag);
        Consumer::new(Definition::parse(DEFINITION).unwrap(), deps, settings)
    }

    /// A change file of one row, in the log; its flag.
    fn change_one_row(&mut self) -> Vec<u8> {
        let number = scattered(self.next);
        let raw = |text: String| RawValue::from_string(text).unwrap();
        let change = Change::Row(RowChange {
            table: TABLE.into(),
            key: raw(format!(r#"{{"sku":"sku-{number:07}"}}"#)),
            row: Some(raw(product(number).replace(r#""price":"#, r#""price":9"#))),
            label: "2026-01-01".into(),
            sequence: self.next.to_string().as_str().into(),
            at: self.clock.now(),
        });
        let origin = Origin { source: "bench".into(), label: "2026-01-01".into(), range: self.next.to_string() };
        let appended = self.runtime.block_on(self.log.append(origin, vec![change])).unwrap();
        appended.flag().encode().unwrap()
    }

    /// The next batch, which a flag may lead.
    fn batch(&mut self, flag: Option<&[u8]>) -> Records {
        let mut records = Records::default();
        let first = self.next;
        self.next += ORDERS + 1;
        let mut push = |number: u64, data: &[u8]| {
            let sequence = format!("4959033827149025660855969253836157109592{number:016}");
            records.push(&sequence, NOW, data).unwrap();
        };
        if let Some(flag) = flag {
            push(first, flag);
        }
        for number in first + 1..=first + ORDERS {
            let sku = scattered(number);
            let order = format!(r#"{{"product":"sku-{sku:07}","quantity":{},"customer_id":{number}}}"#, number % 9);
            push(number, order.as_bytes());
        }
        records
    }

    fn process(&self, consumer: &Consumer, records: &Records) -> Duration {
        let progress = Progress::default();
        let begun = Instant::now();
        self.runtime.block_on(consumer.process(SHARD, records, &progress)).unwrap();
        begun.elapsed()
    }
}

fn refresh(criterion: &mut Criterion) {
    let mut world = World::new();
    let gate = Gate::default();
    let consumer = world.consumer(&gate);
    let bootstrap = world.batch(None);
    // Scans the table and writes the base, as the first environment ever does; the others below load it.
    world.process(&consumer, &bootstrap);
    let base = world.state().objects().remove(&base_key(TABLE)).unwrap();

    let mut group = criterion.benchmark_group(format!("table of {ROWS} rows"));
    group.sampling_mode(SamplingMode::Flat).sample_size(50).measurement_time(Duration::from_secs(5));
    let plain = std::cell::RefCell::new(BTreeMap::new());
    group.bench_function("batch of 1000 orders, no flag", |bencher| {
        bencher.iter_custom(|iterations| {
            (0..iterations)
                .map(|_| {
                    let records = world.batch(None);
                    gate.reset();
                    let spent = world.process(&consumer, &records);
                    *plain.borrow_mut() = gate.counts();
                    spent
                })
                .sum()
        });
    });
    group.bench_function("batch of 1000 orders after one changed row's flag", |bencher| {
        bencher.iter_custom(|iterations| {
            (0..iterations)
                .map(|_| {
                    let flag = world.change_one_row();
                    let records = world.batch(Some(&flag));
                    let changes = world.tally.changes.load(Ordering::Relaxed);
                    gate.reset();
                    let spent = world.process(&consumer, &records);
                    let mut expected = plain.borrow().clone();
                    *expected.entry("GET").or_default() += 1;
                    assert_eq!(gate.counts(), expected, "one more GET and no other call");
                    assert_eq!(world.tally.changes.load(Ordering::Relaxed), changes + 1, "the row is changed");
                    spent
                })
                .sum()
        });
    });
    assert_eq!(world.tally.records.load(Ordering::Relaxed) % ORDERS, 0, "every order is enriched");
    drop(consumer);

    group.sample_size(10);
    let mut world = world.with_only(&base);
    group.bench_function("cold start: base loaded, first order joined", |bencher| {
        bencher.iter_custom(|iterations| {
            (0..iterations)
                .map(|_| {
                    let gate = Gate::default();
                    let consumer = world.consumer(&gate);
                    let records = world.batch(None);
                    let spent = world.process(&consumer, &records);
                    assert_eq!(gate.count("Scan"), 0, "no table is read where there is a base");
                    spent
                })
                .sum()
        });
    });

    let reference = load(&base);
    let keys: Vec<_> = (0..100_000)
        .map(|number| {
            let mut key = Vec::new();
            Form::Key.append(&format!(r#""sku-{:07}""#, scattered(number)), &mut key).unwrap();
            key
        })
        .collect();
    group.sampling_mode(SamplingMode::Auto).sample_size(50).throughput(Throughput::Elements(keys.len() as u64));
    group.bench_function("100000 lookups of scattered keys", |bencher| {
        bencher.iter(|| {
            let found = keys.iter().filter(|key| reference.rows(black_box(key), 0).next().is_some()).count();
            assert_eq!(found, keys.len());
        });
    });
    group.finish();
    memory_per_row(&base);
}

fn projection() -> Projection {
    let mut projection = Projection::new(&["sku"], false);
    projection.cell("price", Form::Csv);
    projection.cell("tier", Form::Partition);
    projection
}

fn load(base: &[u8]) -> VersionedReference {
    read_base(TABLE, base, |started| VersionedReference::new(projection(), started)).unwrap().1
}

const MEASURE_MEMORY: &str = "--measure-memory-of-base-on-stdin";

/// Measured in a process of its own: this one has memory to give back and to use again.
fn memory_per_row(base: &[u8]) {
    let mut child =
        Command::new(std::env::current_exe().unwrap()).arg(MEASURE_MEMORY).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(base).unwrap();
    assert!(child.wait().unwrap().success());
}

fn measure_memory() {
    let mut base = Vec::new();
    std::io::stdin().read_to_end(&mut base).unwrap();
    let before = resident();
    let reference = load(&base);
    if let Some((before, after)) = before.zip(resident()) {
        let rows = reference.len() as u64;
        eprintln!("memory of the loaded table: {} bytes a row of {} rows", after.saturating_sub(before) / rows, rows);
    }
}

/// Resident bytes of this process; `None` where the system does not say.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

criterion_group!(benches, refresh);

fn main() {
    if std::env::args().any(|argument| argument == MEASURE_MEMORY) {
        return measure_memory();
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
