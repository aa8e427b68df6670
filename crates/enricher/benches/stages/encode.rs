//! `encode`: from a record's bytes to its row in the object of its partition. Reading the record and joining it are part
//! of it, as they are one pass.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use freshjoin_core::join::{Encoder, Limits, Taken};
use freshjoin_core::ports::KeyLimits;

use crate::fixture::{self, DISHES, RECORDS, SHARD, dish_order, dishes, dishes_pipeline};

const KEYS: KeyLimits = KeyLimits { key: 1_024, component: 1_024, prefix: 5 };
/// As many as the demo has partitions.
const OBJECTS: usize = 5;

pub(crate) fn bench(criterion: &mut Criterion) {
    let records = fixture::records(0, (0..RECORDS).map(dish_order));
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(RECORDS));
    for format in ["csv", "jsonl", "parquet"] {
        let (plan, reference) = fixture::joined(&dishes_pipeline(format), DISHES.1, dishes());
        let references = [reference];
        group.bench_function(format!("record to row, {format}"), |bencher| {
            bencher.iter(|| {
                let mut encoder = Encoder::new(&plan, SHARD, KEYS, Limits::NONE);
                for record in black_box(&records).iter() {
                    assert_eq!(encoder.take(record, &references, 0), Taken::Yes);
                }
                let encoded = encoder.finish().unwrap();
                assert_eq!((encoded.counts.rows, encoded.objects.len()), (RECORDS, OBJECTS));
                encoded
            });
        });
    }
    group.finish();
}
