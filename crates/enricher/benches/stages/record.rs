//! `record`: a record's bytes are unwrapped and become sub-records, of which the fields that a pipeline names are found.

use std::hint::black_box;
use std::io::Write as _;
use std::ops::ControlFlow;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use flate2::write::GzEncoder;
use freshjoin_core::record::{FieldNames, Fields, Records, decode, pack};

use crate::fixture::{self, RECORDS, dish_order};

/// Sub-records in a record that holds several.
const TOGETHER: u64 = 100;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(RECORDS));
    let together = |wrap: fn(Vec<String>) -> Bytes| fixture::records(0, batches().map(wrap));
    let forms = [
        ("one JSON object a record", fixture::records(0, (0..RECORDS).map(dish_order))),
        ("100 JSON objects a record", together(|orders| orders.concat().into())),
        ("100 records a KPL aggregate", together(|orders| pack("key", orders.into_iter().map(Bytes::from)))),
        ("100 JSON objects a gzip record", together(|orders| gzip(&orders.concat()))),
        ("100 JSON objects a zstd record", together(|orders| zstd(&orders.concat()))),
    ];
    for (name, records) in forms {
        group.bench_function(name, |bencher| {
            bencher.iter(|| assert_eq!(sub_records(black_box(&records)), RECORDS));
        });
    }
    group.finish();
}

/// The orders of a record each.
fn batches() -> impl Iterator<Item = Vec<String>> {
    (0..RECORDS / TOGETHER).map(|batch| (batch * TOGETHER..(batch + 1) * TOGETHER).map(dish_order).collect())
}

fn gzip(text: &str) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap().into()
}

fn zstd(text: &str) -> Bytes {
    zstd::encode_all(text.as_bytes(), zstd::DEFAULT_COMPRESSION_LEVEL).unwrap().into()
}

/// How many there are with all the fields that orders have.
fn sub_records(records: &Records) -> u64 {
    let mut names = FieldNames::default();
    // As the demo's pipeline reads them: any of the columns may be the stream's.
    let slots = ["dish", "cost", "customer_id"].map(|name| names.slot(name));
    for name in ["item", "price", "priority"] {
        names.slot(name);
    }
    let mut whole = 0;
    let mut fields = Fields::of(&names);
    for record in records.iter() {
        let flow = decode::<()>(&names, record.data, &mut fields, |fields, _, _| {
            whole += u64::from(fields.is_ok_and(|fields| slots.iter().all(|slot| fields.get(*slot).is_some())));
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue());
    }
    whole
}
