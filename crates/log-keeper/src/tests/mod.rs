//! The function over memory ports.

mod bootstrap;
mod floor;
mod look;
mod rebase;
mod rebroadcast;
mod reconcile;
mod semantics;
mod snapshot;

use std::sync::Arc;
use std::time::Duration;

use freshjoin_core::change::{Change, Flag, Origin, RowChange, Version};
use freshjoin_core::location::Location;
use freshjoin_core::log::ChangeLog;
use freshjoin_core::memory::{
    Faults, Gate, MemoryClock, MemoryStore, MemoryStores, MemoryStream, MemoryTables, Script,
};
use freshjoin_core::ports::{Clock, Stream};
use freshjoin_core::time::Timestamp;
use serde_json::value::RawValue;

use crate::{KeeperDeps, KeeperError, LogKeeper, Summary, handle};

pub(crate) const DEFINITION: &str = r#"
name = "orders"
[[reference]]
dynamodb = "T"
on = { dish = "item" }
[output]
columns = ["item", "priority"]
"#;

/// A state, a stream of two shards, a table, and time.
pub(crate) struct World {
    pub(crate) clock: MemoryClock,
    pub(crate) stores: MemoryStores,
    pub(crate) state: MemoryStore,
    pub(crate) stream: MemoryStream,
    pub(crate) tables: MemoryTables,
}

/// A keeper with its own faults.
pub(crate) struct Keeper {
    pub(crate) keeper: LogKeeper,
    pub(crate) gate: Gate,
    clock: MemoryClock,
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = MemoryClock::at(Timestamp::from_millis(1_790_000_000_000));
        let stores = MemoryStores::new(&clock);
        let state = stores.store(&Location::new("s3://state")).unwrap();
        let tables = MemoryTables::new(&clock);
        tables.create("T", &["item"]);
        Self { stream: MemoryStream::new("orders", 2, &clock), clock, stores, state, tables }
    }

    pub(crate) fn keeper(&self) -> Keeper {
        self.keeper_with(Arc::new(Script::default()))
    }

    pub(crate) fn keeper_with(&self, faults: Arc<dyn Faults>) -> Keeper {
        self.keeper_of(DEFINITION, faults)
    }

    /// A keeper of another pipeline.
    pub(crate) fn keeper_of(&self, definition: &str, faults: Arc<dyn Faults>) -> Keeper {
        let gate = Gate::new(faults);
        let deps = KeeperDeps {
            state: Arc::new(self.state.through(&gate)),
            stores: Arc::new(self.stores.through(&gate)),
            tables: Arc::new(self.tables.through(&gate)),
            stream: Arc::new(self.stream.through(&gate)),
            clock: Arc::new(self.clock.clone()),
            content_limit: 1 << 20,
        };
        Keeper { keeper: LogKeeper::new(definition, deps).unwrap(), gate, clock: self.clock.clone() }
    }

    /// Appends a put of this item, as change-capture does.
    pub(crate) async fn append(&self, item: &str, sequence: u32) -> Version {
        let log = ChangeLog::new(Arc::new(self.state.clone()), Arc::new(self.clock.clone()));
        let raw = |text: String| RawValue::from_string(text).unwrap();
        let change = RowChange {
            table: "T".into(),
            key: raw(format!(r#"{{"item":"{item}"}}"#)),
            row: Some(raw(format!(r#"{{"item":"{item}","priority":{sequence}}}"#))),
            label: "l".into(),
            sequence: sequence.to_string().as_str().into(),
            at: self.clock.now(),
            unless_after: None,
        };
        let origin = Origin { source: "T".into(), label: "l".into(), range: sequence.to_string() };
        log.append(origin, vec![Change::Row(change)]).await.unwrap().version
    }

    /// The versions of the flags in a shard, in order.
    pub(crate) fn flags(&self, shard: &str) -> Vec<Version> {
        self.stream.records(shard).iter().map(|record| Flag::decode(record.data).unwrap().version).collect()
    }

    pub(crate) async fn open(&self) -> Vec<String> {
        let shards = self.stream.shards().await.unwrap();
        shards.into_iter().filter(|shard| shard.open).map(|shard| shard.id).collect()
    }
}

impl Keeper {
    /// Runs an event to its end; it has a minute.
    pub(crate) async fn run(&self, event: &str) -> Result<Summary, KeeperError> {
        handle(event, &self.keeper, self.clock.now().plus_millis(60_000)).await
    }

    /// Runs an event to its end or its death.
    pub(crate) async fn run_or_die(&self, event: &str) -> Option<Result<Summary, KeeperError>> {
        self.gate.crash().guard(self.run(event)).await
    }
}

#[tokio::test]
async fn the_answer_comes_in_time_and_names_what_hung() {
    use freshjoin_core::memory::Fault;
    let world = World::new();
    world.append("a", 1).await;
    let script = Arc::new(Script::default());
    script.add("ListShards", [Fault::Hang]);
    let began = world.clock.now();
    let error = world.keeper_with(script).run("{}").await.unwrap_err().to_string();
    assert!(error.contains("rebroadcast: ") && error.contains("timeout"), "{error}");
    assert!(world.clock.now() < began.plus_millis(60_000));
    world.clock.advance(Duration::from_secs(1));
    assert!(world.keeper().run("{}").await.is_ok());
}
