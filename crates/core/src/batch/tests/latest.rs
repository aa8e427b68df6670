//! `as_of = "latest"`: the head of the log at the start of the batch, decided once.

use super::world::{World, order, row};
use crate::memory::Fault;
use crate::settings::AsOf;

fn world() -> World {
    World { as_of: AsOf::Latest, ..World::new() }
}

#[tokio::test]
async fn a_batch_is_joined_with_the_head_without_any_flag() {
    let world = world();
    world.orders(0..3).await;
    world.wait(10);
    world.bump();
    let env = world.env();
    env.done(&world.cut(..1)).await;
    for _ in 0..9 {
        world.bump();
    }
    env.done(&world.cut(1..2)).await;
    world.env().done(&world.cut(2..)).await;
    assert_eq!(world.rows(), [row(0, "v1", 1), row(1, "v10", 10), row(2, "v10", 10)]);
}

#[tokio::test]
async fn flags_below_the_head_change_nothing() {
    let world = world();
    let first = world.bump();
    world.bump();
    world.send([order(0, "a"), world.flag(first), order(1, "a"), world.flag(2), order(2, "a")]).await;
    let env = world.env();
    env.done(&world.cut(..)).await;
    assert_eq!(world.rows(), [row(0, "v2", 2), row(1, "v2", 2), row(2, "v2", 2)]);
    assert_eq!((env.heard.counts().flags, env.heard.ignored().len()), (2, 0));
}

#[tokio::test]
async fn a_range_that_is_decided_keeps_its_version() {
    let world = world();
    world.orders(0..4).await;
    world.bump();
    let env = world.env();
    env.done(&world.cut(..1)).await;
    env.script("PUT", 0, Fault::CrashAfter);
    assert!(env.batch(&world.cut(1..3)).await.is_none());
    world.bump();
    world.env().done(&world.cut(1..)).await;
    assert_eq!(world.rows(), [row(0, "v1", 1), row(1, "v1", 1), row(2, "v1", 1), row(3, "v2", 2)]);
}

#[tokio::test]
async fn a_failed_look_at_the_head_is_an_error() {
    let world = world();
    world.orders(0..4).await;
    let env = world.warm(&world.cut(..2)).await;
    world.bump();
    env.script("GET", 1, Fault::Fail);
    env.fails(&world.cut(2..)).await;
    assert_eq!(world.rows().len(), 2);
    env.done(&world.cut(2..)).await;
    assert_eq!(world.rows()[3], row(3, "v1", 1));
}
