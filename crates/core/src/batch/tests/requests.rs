//! What a batch costs in calls.

use std::collections::BTreeMap;

use super::world::{World, order};
use crate::settings::AsOf;

#[tokio::test]
async fn a_warm_batch_costs_a_get_and_two_puts_beside_its_objects() {
    let world = World::new();
    world.orders(0..10).await;
    world.send([order(10, "a"), order(11, "b"), order(12, "c")]).await;
    let env = world.warm(&world.cut(..2)).await;
    env.done(&world.cut(2..10)).await;
    assert_eq!(env.gate.counts(), BTreeMap::from([("GET", 1), ("PUT", 2 + 1)]));
    env.gate.reset();
    env.done(&world.cut(10..)).await;
    assert_eq!(env.gate.counts(), BTreeMap::from([("GET", 1), ("PUT", 2 + 3)]), "an object for each partition");
    env.gate.reset();
    env.done(&world.cut(..)).await;
    assert_eq!(env.gate.counts(), BTreeMap::from([("GET", 1)]), "a batch that is committed writes nothing");
}

#[tokio::test]
async fn a_changed_row_costs_a_get_of_its_change_file() {
    let world = World::new();
    world.orders(0..2).await;
    let env = world.warm(&world.cut(..)).await;
    let version = world.bump();
    world.send([world.flag(version), order(2, "a"), world.flag(version), order(3, "a")]).await;
    env.done(&world.cut(2..)).await;
    assert_eq!(env.gate.counts(), BTreeMap::from([("GET", 1 + 1), ("PUT", 2 + 1)]));
    let refreshed = env.heard.refreshed();
    assert_eq!((refreshed.len(), refreshed[0].files, refreshed[0].changes), (1, 1, 1));
}

#[tokio::test]
async fn the_latest_version_costs_one_get_more() {
    let world = World { as_of: AsOf::Latest, ..World::new() };
    world.orders(0..10).await;
    let env = world.warm(&world.cut(..2)).await;
    env.done(&world.cut(2..)).await;
    assert_eq!(env.gate.counts(), BTreeMap::from([("GET", 2), ("PUT", 2 + 1)]));
}

#[tokio::test]
async fn an_empty_batch_costs_nothing() {
    let world = World::new();
    let env = world.env();
    env.done(&world.cut(..)).await;
    assert_eq!(env.gate.counts(), BTreeMap::new());
}
