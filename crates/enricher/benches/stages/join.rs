//! `join`: a record's field becomes a key, and the key finds its row.

use std::cell::LazyCell;

use criterion::{Criterion, Throughput};
use freshjoin_core::encode::Form;

use crate::fixture::{self, PRODUCTS, PRODUCTS_PIPELINE, RECORDS, TABLES, product, scattered, sku};

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("join");
    group.throughput(Throughput::Elements(RECORDS));
    for (rows, size) in [(4, "4 rows")].into_iter().chain(TABLES) {
        let reference = LazyCell::new(|| fixture::joined(PRODUCTS_PIPELINE, PRODUCTS.1, (0..rows).map(product)).1);
        let fields: Vec<_> = (0..RECORDS).map(|number| format!(r#""{}""#, sku(scattered(number, rows)))).collect();
        group.bench_function(format!("lookup in {size}"), |bencher| {
            let reference = &*reference;
            let mut key = Vec::new();
            bencher.iter(|| {
                let found = fields.iter().filter(|field| {
                    key.clear();
                    Form::Key.append(field, &mut key).unwrap();
                    reference.rows(&key, 0).next().is_some()
                });
                assert_eq!(found.count(), fields.len());
            });
        });
    }
    group.finish();
}
