//! `refresh`: what one changed row costs, by the size of its table. A batch of one order after the flag of a change, and
//! the same batch without: the difference is the change's. It must be one GET and no other call, in every iteration.

use std::cell::{Cell, LazyCell};
use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput};
use freshjoin_core::change::{Change, Origin, RowChange};
use freshjoin_core::log::ChangeLog;
use freshjoin_core::memory::Gate;
use freshjoin_enricher::Enricher;
use serde_json::value::RawValue;

use crate::fixture::{NOW, PRODUCTS, TABLES, product, product_order, records, scattered, sku};
use crate::world::World;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("refresh");
    group.throughput(Throughput::Elements(1)).sampling_mode(SamplingMode::Flat);
    for (rows, size) in TABLES {
        let warm = LazyCell::new(|| Warm::new(rows));
        group.bench_function(format!("batch without a change, {size}"), |bencher| {
            let warm = &*warm;
            bencher.iter_custom(|iterations| (0..iterations).map(|_| warm.batch(None)).sum());
        });
        group.bench_function(format!("batch with one change, {size}"), |bencher| {
            let warm = &*warm;
            bencher.iter_custom(|iterations| {
                let before = warm.world.tally.changes();
                let spent = (0..iterations).map(|_| warm.batch(Some(warm.change()))).sum();
                assert_eq!(warm.world.tally.changes() - before, iterations, "each change takes effect");
                spent
            });
        });
    }
    group.finish();
}

/// An environment that has loaded its table.
struct Warm {
    world: World,
    gate: Gate,
    enricher: Enricher,
    log: ChangeLog,
    rows: u64,
    next: Cell<u64>,
}

impl Warm {
    fn new(rows: u64) -> Self {
        let world = World::of_products(rows);
        let gate = Gate::default();
        let (enricher, log) = (world.environment(&gate), world.log());
        let warm = Self { world, gate, enricher, log, rows, next: Cell::new(1) };
        // Loads the base, and has the log's head found.
        warm.world.process(&warm.enricher, &records(warm.number(), [product_order(0, rows)]));
        warm.batch(Some(warm.change()));
        warm
    }

    fn number(&self) -> u64 {
        self.next.replace(self.next.get() + 2)
    }

    /// Appends a change of one row to the log; its flag.
    fn change(&self) -> Vec<u8> {
        let (time, number) = (self.next.get(), scattered(self.next.get(), self.rows));
        let raw = |text: String| RawValue::from_string(text).unwrap();
        let change = Change::Row(RowChange {
            table: PRODUCTS.0.into(),
            key: raw(format!(r#"{{"sku":"{}"}}"#, sku(number))),
            row: Some(raw(product(number).replace(r#""price":"#, r#""price":9"#))),
            label: "2026-01-01".into(),
            sequence: time.to_string().as_str().into(),
            at: NOW,
            unless_after: None,
        });
        let origin = Origin { source: "bench".into(), label: "2026-01-01".into(), range: time.to_string() };
        let appended = self.world.runtime.block_on(self.log.append(origin, vec![change])).unwrap();
        appended.flag().encode().unwrap()
    }

    /// A batch of one order, which a flag may lead.
    fn batch(&self, flag: Option<Vec<u8>>) -> Duration {
        let changed = u64::from(flag.is_some());
        let number = self.number();
        let order = product_order(number, self.rows).into_bytes();
        let records = records(number, flag.into_iter().chain([order]));
        self.gate.reset();
        let spent = self.world.process(&self.enricher, &records);
        assert_eq!(self.gate.count("GET"), 1 + changed, "the cursor, and the change's file");
        // The pending range, its one object, and the commit.
        assert_eq!((self.gate.count("PUT"), self.gate.counts().values().sum()), (3, 4 + changed), "and no other call");
        spent
    }
}
