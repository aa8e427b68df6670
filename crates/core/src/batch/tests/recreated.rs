//! What tells one stream, one output and one delivery from another.

use super::world::{DEFINITION, World, row};
use crate::batch::{BatchReport, ProcessError};
use crate::memory::Fault;
use crate::ports::Stream as _;
use crate::settings::AsOf;

/// A world with two orders of a stream that is deleted and made anew, with four orders again.
async fn recreated() -> (World, super::world::Environment) {
    let world = World::new();
    world.orders(0..2).await;
    let env = world.warm(&world.cut(..)).await;
    let version = world.bump();
    world.send([world.flag(version)]).await;
    env.done(&world.cut(..)).await;
    world.wait(1);
    world.stream.recreate(1);
    world.orders(2..6).await;
    (world, env)
}

#[tokio::test]
async fn another_stream_of_the_same_name_starts_afresh() {
    let (world, _) = recreated().await;
    world.env().done(&world.cut(..)).await;
    assert_eq!(world.rows().len(), 6);
    assert_eq!(world.cursor().unwrap().stream_created, world.stream.describe().await.unwrap().created);
}

#[tokio::test]
async fn a_pending_range_of_the_earlier_stream_is_not_waited_for() {
    let world = World::new();
    world.orders(0..2).await;
    let env = world.env();
    // Definition, claim, pin, intent.
    env.script("PUT", 3, Fault::CrashAfter);
    assert!(env.batch(&world.cut(..)).await.is_none());
    world.wait(1);
    world.stream.recreate(1);
    world.orders(2..4).await;
    world.env().done(&world.cut(..)).await;
    assert_eq!(world.rows(), [row(2, "base", 0), row(3, "base", 0)]);
}

#[tokio::test]
async fn an_environment_that_remembers_the_earlier_stream_asks_before_it_starts_afresh() {
    let (world, old) = recreated().await;
    world.env().done(&world.cut(..2)).await;
    old.done(&world.cut(..)).await;
    let numbers: Vec<_> = world.rows().iter().map(|(n, ..)| *n).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5], "every row once");
    assert_eq!(world.cursor().unwrap().stream_created, world.stream.describe().await.unwrap().created);
}

#[tokio::test]
async fn an_environment_asks_which_stream_it_is_once_a_minute() {
    let world = World::new();
    world.orders(0..4).await;
    let env = world.warm(&world.cut(..1)).await;
    world.wait(58);
    env.done(&world.cut(1..2)).await;
    assert_eq!(env.gate.count("DescribeStream"), 0);
    world.wait(2);
    env.done(&world.cut(2..3)).await;
    assert_eq!(env.gate.count("DescribeStream"), 1);
    env.done(&world.cut(3..)).await;
    assert_eq!(env.gate.count("DescribeStream"), 1);
}

#[tokio::test]
async fn the_first_batch_of_a_shard_asks_which_stream_it_is() {
    let (world, old) = recreated().await;
    // As after a retirement by hand: no cursor to compare with.
    world.state.remove(&crate::batch::cursor_key("p", "s", super::world::SHARD));
    old.done(&world.cut(..2)).await;
    world.env().done(&world.cut(..)).await;
    assert_eq!(world.rows().len(), 6, "every row once");
}

#[tokio::test]
async fn an_output_prefix_of_another_pipeline_or_stream_is_refused() {
    let mut world = World::new();
    world.orders(0..2).await;
    world.env().done(&world.cut(..1)).await;
    let before = world.everything();
    world.definition = DEFINITION.replace("\"p\"", "\"other\"");
    let env = world.env();
    let error = env.fails(&world.cut(..)).await;
    assert!(matches!(&error, ProcessError::OutputTaken { owner, .. } if owner.contains("\"p\"")), "{error}");
    assert!(error.to_string().contains(world.output.as_str()));
    env.fails(&world.cut(..)).await;
    world.definition = DEFINITION.into();
    world.stream = crate::memory::MemoryStream::new("other", 1, &world.clock);
    assert!(matches!(world.env().fails(&before_cut(&world).await).await, ProcessError::OutputTaken { .. }));
    world.stores.store(&world.output).unwrap().insert("_freshjoin.json", "not ours");
    world.stream = crate::memory::MemoryStream::new("s", 1, &world.clock);
    assert!(matches!(world.env().fails(&before_cut(&world).await).await, ProcessError::OutputTaken { .. }));
    assert_eq!(world.everything(), before);
}

async fn before_cut(world: &World) -> crate::record::Records {
    world.orders(7..9).await;
    world.cut(..)
}

#[tokio::test]
async fn at_least_once_writes_without_a_cursor() {
    let mut world = World { as_of: AsOf::Latest, ..World::new() };
    world.definition = DEFINITION.replace("[output]", "[output]\ndelivery = \"at-least-once\"");
    world.limits.records = 3;
    world.bump();
    world.orders(0..4).await;
    let version = world.bump();
    world.send([world.flag(version)]).await;
    world.orders(4..6).await;
    let env = world.env();
    env.done(&world.cut(..)).await;
    let all: Vec<_> = (0..6).map(|n| row(n, "v2", 2)).collect();
    assert_eq!(world.rows(), all);
    assert!(!world.state.objects().keys().any(|key| key.starts_with("cursors/")));
    let counted: u64 = env.heard.reports().iter().map(|BatchReport { counts, .. }| counts.records()).sum();
    assert_eq!((counted, env.heard.counts().flags), (6, 1));
    env.gate.reset();
    env.done(&world.cut(..)).await;
    assert_eq!(world.rows(), all, "the same cut gives the same keys");
    assert_eq!((env.gate.count("GET"), env.gate.count("LIST")), (1, 0), "however many versions there are");
    env.script("PUT", 1, Fault::Fail);
    world.orders(6..10).await;
    env.fails(&world.cut(7..)).await;
    env.done(&world.cut(7..)).await;
    let numbers: std::collections::BTreeSet<_> = world.rows().iter().map(|(n, ..)| *n).collect();
    assert_eq!(numbers.len(), 10, "all of them, perhaps twice");
}
