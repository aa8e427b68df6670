//! `record`: a record's bytes become sub-records, of which the fields that a pipeline names are found.

use std::hint::black_box;
use std::ops::ControlFlow;

use criterion::{Criterion, Throughput};
use freshjoin_core::record::{FieldNames, Fields, Records, decode};

use crate::fixture::{self, RECORDS, dish_order};

/// Sub-records in a record that holds several.
const TOGETHER: u64 = 100;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(RECORDS));
    let forms = [
        ("one JSON object a record", fixture::records(0, (0..RECORDS).map(dish_order))),
        ("100 JSON objects a record", fixture::records(0, batches().map(|orders| orders.concat()))),
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
        let flow = decode::<()>(
            &names,
            record.data,
            &mut fields,
            |fields, _, _| {
                whole += u64::from(slots.iter().all(|slot| fields.get(*slot).is_some()));
                ControlFlow::Continue(())
            },
            |why, number, _| unreachable!("sub-record {number}: {why}"),
        );
        assert!(flow.is_continue());
    }
    whole
}
