//! `handler`: a whole warm invocation into memory. The event is parsed, every record joined, partitioned and encoded, the
//! cursor read, swapped and swapped again, the objects stored.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use freshjoin_core::batch::cursor_key;
use freshjoin_core::memory::Gate;
use freshjoin_enricher::handle;

use crate::fixture::{self, DISHES, NOW, RECORDS, SHARD, STREAM, dishes, dishes_pipeline};
use crate::world::World;

pub(crate) fn bench(criterion: &mut Criterion) {
    let world = World::new(&dishes_pipeline("csv"), DISHES, dishes());
    let enricher = world.environment(&Gate::default());
    let (event, state) = (fixture::event(), world.state());
    let (cursor, deadline) = (cursor_key("orders", STREAM, SHARD), NOW.plus_millis(60_000));

    let mut group = criterion.benchmark_group("handler");
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("event to objects", |bencher| {
        bencher.iter_custom(|iterations| {
            let before = world.tally.records();
            let mut spent = Duration::ZERO;
            for _ in 0..iterations {
                // The same records again, as if for the first time.
                state.remove(&cursor);
                let begun = Instant::now();
                let response = world.runtime.block_on(handle(&event, &enricher, deadline)).unwrap();
                spent += begun.elapsed();
                assert!(response.is_success());
            }
            assert_eq!(world.tally.records() - before, iterations * RECORDS, "every record is committed");
            spent
        });
    });
    group.finish();
}
