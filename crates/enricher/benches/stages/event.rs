//! `event`: an event's text becomes records, base64 decoded.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use freshjoin_enricher::KinesisEvent;

use crate::fixture::{self, RECORDS};

pub(crate) fn bench(criterion: &mut Criterion) {
    let event = fixture::event();
    let mut group = criterion.benchmark_group("event");
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("text to records", |bencher| {
        bencher.iter(|| KinesisEvent::parse(black_box(&event)).unwrap());
    });
    group.finish();
}
