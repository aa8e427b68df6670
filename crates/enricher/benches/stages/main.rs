//! What each stage of a record's way costs, as criterion groups: `event`, `record`, `join`, `encode`, the whole `handler`,
//! `refresh` and `load`. Throughput is in elements, so that times divide into times per record, change or row.
//!
//! `cargo bench -p freshjoin-enricher --no-default-features --bench stages -- [FILTER]` measures some or all of them.
//! What a run asserts is what was done, never how long it took; a stage that did something else has no figure.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has no figure")]

mod encode;
mod event;
mod fixture;
mod handler;
mod join;
mod load;
mod memory;
mod record;
mod refresh;
mod world;

use std::time::Duration;

use criterion::Criterion;

/// As in the function that ships, which brings its own.
#[cfg(not(feature = "aws"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    if std::env::args().any(|argument| argument == memory::ARGUMENT) {
        return memory::print();
    }
    let criterion = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    let mut criterion = criterion.configure_from_args();
    for stage in [event::bench, record::bench, join::bench, encode::bench, handler::bench, refresh::bench, load::bench]
    {
        stage(&mut criterion);
    }
    criterion.final_summary();
}
