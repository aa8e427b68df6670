//! `load`: a cold start. An environment that knows nothing loads a table, from its base or from a snapshot file, and joins
//! its first order.

use std::cell::{Cell, LazyCell};

use criterion::{Criterion, SamplingMode, Throughput};
use freshjoin_core::memory::Gate;

use crate::fixture::{TABLES, product_order, records};
use crate::world::World;

/// Makes a world with a table of so many rows.
type Make = fn(u64) -> World;

/// What a table is loaded from.
const FROM: [(&str, Make); 2] = [("base", World::of_products), ("snapshot file", World::of_snapshot)];

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    for (from, world) in FROM {
        for (rows, size) in TABLES {
            let world = LazyCell::new(|| world(rows));
            let next = Cell::new(1);
            group.throughput(Throughput::Elements(rows));
            group.bench_function(format!("{from} of {size}"), |bencher| {
                let world = &*world;
                bencher.iter_custom(|iterations| {
                    let once = || {
                        let number = next.replace(next.get() + 1);
                        let gate = Gate::default();
                        let environment = world.environment(&gate);
                        let spent = world.process(&environment, &records(number, [product_order(number, rows)]));
                        assert_eq!(gate.count("Scan"), 0, "no table is read where there is a {from}");
                        spent
                    };
                    (0..iterations).map(|_| once()).sum()
                });
            });
        }
    }
    group.finish();
}
