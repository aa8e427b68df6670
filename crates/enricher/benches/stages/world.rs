//! Everything that an enricher needs, in memory: a table, a state, an output, a stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use freshjoin_core::batch::{BatchReport, ConsumerDeps, IgnoredFlag, Observer, Progress};
use freshjoin_core::change::Version;
use freshjoin_core::location::Location;
use freshjoin_core::log::ChangeLog;
use freshjoin_core::memory::{Gate, MemoryClock, MemoryStore, MemoryStores, MemoryStream, MemoryTables};
use freshjoin_core::record::Records;
use freshjoin_core::reference::{Refreshed, base_key};
use freshjoin_core::settings::{self, EnricherSettings};
use freshjoin_core::snapshot::{FoldSources, fold};
use freshjoin_enricher::Enricher;
use tokio::runtime::Runtime;

use crate::fixture::{NOW, PRODUCTS, PRODUCTS_PIPELINE, SHARD, STREAM, product, product_order, records};

/// Counts what was committed and refreshed.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    records: AtomicU64,
    changes: AtomicU64,
}

impl Tally {
    pub(crate) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }
}

impl Observer for Tally {
    fn committed(&self, report: &BatchReport) {
        self.records.fetch_add(report.counts.records(), Ordering::Relaxed);
    }
    fn refreshed(&self, _: Version, refreshed: Refreshed) {
        self.changes.fetch_add(refreshed.changes, Ordering::Relaxed);
    }
    fn ignored(&self, _: &str, sequence: &str, why: IgnoredFlag) {
        unreachable!("flag {sequence} was ignored: {why:?}");
    }
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) tally: Arc<Tally>,
    pipeline: String,
    clock: MemoryClock,
    stores: MemoryStores,
    tables: MemoryTables,
}

impl World {
    /// With a table and its rows.
    pub(crate) fn new(pipeline: &str, (table, key): (&str, &str), rows: impl Iterator<Item = String>) -> Self {
        let clock = MemoryClock::at(NOW);
        let tables = MemoryTables::new(&clock);
        tables.create(table, &[key]);
        for row in rows {
            tables.put(table, &row).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let stores = MemoryStores::new(&clock);
        Self { runtime, tally: Arc::default(), pipeline: pipeline.into(), clock, stores, tables }
    }

    /// With so many products, their table scanned, and nothing in the state but the base that was made of it.
    pub(crate) fn of_products(rows: u64) -> Self {
        let world = Self::new(PRODUCTS_PIPELINE, PRODUCTS, (0..rows).map(product));
        world.process(&world.environment(&Gate::default()), &records(0, [product_order(0, rows)]));
        let key = base_key(PRODUCTS.0);
        let base = world.state().objects().remove(&key).unwrap();
        let world = Self { stores: MemoryStores::new(&world.clock), tally: Arc::default(), ..world };
        world.state().insert(&key, base);
        world
    }

    /// The same with nothing in the state but the snapshot file of that base.
    pub(crate) fn of_snapshot(rows: u64) -> Self {
        let world = Self::of_products(rows);
        let (state, log) = (world.state(), world.log());
        let sources = FoldSources { state: &state, log: &log, limit: u64::MAX };
        let file = world.runtime.block_on(fold(sources, 0)).unwrap();
        let world = Self { stores: MemoryStores::new(&world.clock), ..world };
        world.state().insert(&file.name().key(), file.bytes().clone());
        world
    }

    pub(crate) fn state(&self) -> MemoryStore {
        self.stores.store(&Location::new("s3://state")).unwrap()
    }

    pub(crate) fn log(&self) -> ChangeLog {
        ChangeLog::new(Arc::new(self.state()), Arc::new(self.clock.clone()))
    }

    /// An execution environment that has made no call yet.
    pub(crate) fn environment(&self, gate: &Gate) -> Enricher {
        let deps = ConsumerDeps {
            state: Arc::new(self.state().through(gate)),
            stores: Arc::new(self.stores.through(gate)),
            tables: Arc::new(self.tables.through(gate)),
            stream: Arc::new(MemoryStream::new(STREAM, 1, &self.clock).through(gate)),
            clock: Arc::new(self.clock.clone()),
            observer: Arc::clone(&self.tally) as Arc<dyn Observer>,
        };
        let variables = |name: &str| match name {
            settings::PIPELINE => Some(self.pipeline.clone()),
            settings::STATE => Some("s3://state".into()),
            settings::OUTPUT => Some("s3://out/data".into()),
            settings::STREAM => Some(STREAM.into()),
            _ => None,
        };
        let settings = EnricherSettings::read(&variables).unwrap();
        Enricher::new(&self.pipeline, &settings, deps).unwrap()
    }

    /// How long a batch takes, from its records to its commit.
    pub(crate) fn process(&self, enricher: &Enricher, records: &Records) -> Duration {
        let progress = Progress::default();
        let begun = Instant::now();
        self.runtime.block_on(enricher.consumer.process(SHARD, records, &progress)).unwrap();
        begun.elapsed()
    }
}
