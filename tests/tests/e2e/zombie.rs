//! An environment that was taken for dead and was not: it stands still at each of its calls to the store in turn, while
//! another one is given the same records, cut otherwise, and then it goes on as if nothing had happened.

use std::sync::Arc;
use std::time::Duration;

use freshjoin_core::ports::Position;
use freshjoin_core::record::Record;
use freshjoin_local::function::InvokeError;
use freshjoin_local::runtime_api::Environment;
use freshjoin_tests::fixture::{Mode, Proxy};
use serde_json::Value;

use crate::trials;
use crate::world::{DISHES, ROWS, Servers, World, kinesis_event};

trials!("zombie":
    an_enricher_that_wakes_up_at_any_call_changes_nothing,
    environments_with_other_cuts_at_once_write_once,
);

const SHARD: &str = "shardId-000000000000";

/// A world of one shard.
async fn world(servers: &Servers) -> World {
    let world = World::empty(servers, 1).await;
    for (item, priority) in ROWS {
        world.table.put(item, 100, priority).await;
    }
    world.table.skip().await;
    world
}

/// The records of a page from a place on, cut at its end.
fn cut(world: &World, records: &[Record<'_>], from: usize, to: usize) -> Value {
    kinesis_event(&world.stream_name, SHARD, &records[from..to.min(records.len())])
}

fn clean(answer: &Result<Value, InvokeError>) -> bool {
    answer.as_ref().is_ok_and(|answer| answer["batchItemFailures"].as_array().is_some_and(Vec::is_empty))
}

/// Hands an event over until it is done with.
async fn deliver(world: &World, environment: &Environment, event: &Value) {
    while !clean(&world.invoke(environment, event).await) {}
}

async fn an_enricher_that_wakes_up_at_any_call_changes_nothing(servers: Arc<Servers>) {
    let mut world = world(&servers).await;
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    let healthy = world.function("enricher").await;
    let proxy = Proxy::start(&servers.s3()).await;
    world.deployment.s3 = proxy.url();
    let zombie = world.function("enricher").await;
    let world = Arc::new(world);
    // The shard's first version is settled before the first change.
    world.order(1, &DISHES).await;
    let first = world.stream.read(SHARD, &Position::TrimHorizon).await.unwrap();
    deliver(&world, &healthy, &cut(&world, &first.records.iter().collect::<Vec<_>>(), 0, 1)).await;
    let (mut start, mut points) = (1, 0);
    for calls in 0.. {
        world.order(10, &DISHES).await;
        world.table.put("burger", 100, &format!("priority {calls}")).await;
        world.capture(&capture).await;
        world.announce(&injector).await;
        world.order(10, &DISHES).await;
        let page = world.stream.read(SHARD, &Position::TrimHorizon).await.unwrap();
        let records: Vec<_> = page.records.iter().collect();
        let hits = proxy.hits();
        proxy.set(Mode::HoldAfter(calls));
        let held = tokio::spawn({
            let (world, zombie, event) =
                (Arc::clone(&world), Arc::clone(&zombie), cut(&world, &records, start, records.len()));
            async move { world.invoke(&zombie, &event).await }
        });
        while proxy.hits() == hits && !held.is_finished() {
            tokio::time::timeout(Duration::from_millis(2), std::future::pending::<()>()).await.unwrap_err();
        }
        let woke = proxy.hits() > hits;
        deliver(&world, &healthy, &cut(&world, &records, start, start + 7)).await;
        deliver(&world, &healthy, &cut(&world, &records, start + 7, start + 13)).await;
        proxy.set(Mode::Pass);
        drop(held.await.unwrap());
        deliver(&world, &healthy, &cut(&world, &records, start, records.len())).await;
        start = records.len();
        if !woke {
            break;
        }
        points += 1;
    }
    assert!(points >= 5, "it stood still at {points} points only");
    world.verify().await;
}

async fn environments_with_other_cuts_at_once_write_once(servers: Arc<Servers>) {
    let world = world(&servers).await;
    let environments =
        [world.function("enricher").await, world.function("enricher").await, world.function("enricher").await];
    let mut start = 0;
    for round in 0..15 {
        world.order(30, &DISHES).await;
        let page = world.stream.read(SHARD, &Position::TrimHorizon).await.unwrap();
        let records: Vec<_> = page.records.iter().collect();
        let ends = [start + 7 + round, start + 30, start + 16];
        let events = ends.map(|end| cut(&world, &records, start, end));
        let all = environments.iter().zip(&events).map(|(environment, event)| world.invoke(environment, event));
        futures_util::future::join_all(all).await;
        deliver(&world, &environments[0], &cut(&world, &records, start, records.len())).await;
        start = records.len();
    }
    world.verify().await;
}
