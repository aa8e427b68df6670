//! Where a shard without a cursor starts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::world::{SHARD, START, World, row};
use crate::change::{Version, change_key};
use crate::memory::{Call, Fault};
use crate::ports::Clock as _;
use crate::record::Records;

const OTHER: &str = "shardId-000000000009";

/// Writes a change file again, so that it counts as written now.
fn rewrite(world: &World, version: Version) {
    let bytes = world.state.objects()[&change_key(version)].clone();
    world.state.insert(&change_key(version), bytes);
}

/// Processes a shard's records so that its cursor stands at a version.
async fn move_to(world: &World, shard: &str, version: Version) {
    let mut records = Records::default();
    records.push("1", START, &world.flag(version)).unwrap();
    world.env().done_of(shard, &records).await;
    assert_eq!(world.cursor_of(shard).unwrap().version, version);
}

#[tokio::test]
async fn at_the_newest_version_written_by_the_arrival_of_its_first_record() {
    let world = World::new();
    world.bump();
    world.wait(10);
    world.bump();
    world.orders([0]).await;
    world.wait(10);
    world.bump();
    world.orders([1]).await;
    world.env().done(&world.cut(..)).await;
    assert_eq!(world.rows(), [row(0, "v2", 2), row(1, "v2", 2)], "history stays history");
}

#[tokio::test]
async fn the_same_under_a_new_name_and_years_later() {
    let mut world = World::new();
    world.orders([0]).await;
    world.wait(10);
    let version = world.bump();
    world.send([world.flag(version)]).await;
    world.orders([1]).await;
    world.env().done(&world.cut(..)).await;
    let rows = world.rows();
    assert_eq!(rows, [row(0, "base", 0), row(1, "v1", 1)]);
    world.wait(1_000_000);
    world.bump();
    world.definition = world.definition.replace("\"p\"", "\"replay\"");
    world.output = crate::location::Location::new("s3://out/replay");
    world.env().done(&world.cut(..)).await;
    assert_eq!(world.rows(), rows);
}

#[tokio::test]
async fn never_below_the_base() {
    let world = World::unscanned();
    world.orders([0]).await;
    world.wait(10);
    world.bump();
    world.bump();
    world.put_base(2);
    world.env().done(&world.cut(..)).await;
    assert_eq!(world.rows(), [row(0, "base", 2)]);
}

/// Two children of the first shard: orders of one of them, older than the only change file that the log shows.
async fn split(world: &World) -> (String, String) {
    let children = world.stream.split(SHARD).unwrap();
    world.orders([0]).await;
    world.wait(10);
    world.bump();
    world.bump();
    world.bump();
    children
}

#[tokio::test]
async fn never_below_the_parent_of_a_split() {
    let world = World::new();
    let (left, _) = split(&world).await;
    move_to(&world, SHARD, 2).await;
    world.env().done_of(&left, &world.cut_of(&left, ..)).await;
    assert_eq!(world.rows(), [row(0, "v2", 2)]);
}

#[tokio::test]
async fn never_below_what_a_parent_is_about_to_use() {
    let world = World::new();
    let (left, _) = split(&world).await;
    let mut records = Records::default();
    records.push("1", START, &world.flag(2)).unwrap();
    let env = world.env();
    env.script("PUT", 3, Fault::CrashAfter);
    assert!(env.batch(&records).await.is_none());
    let parent = world.cursor().unwrap();
    assert_eq!(parent.pending.map(|intent| intent.last_version()), Some(2));
    world.env().done_of(&left, &world.cut_of(&left, ..)).await;
    assert_eq!(world.rows(), [row(0, "v2", 2)]);
}

#[tokio::test]
async fn never_below_either_parent_of_a_merge() {
    for (lower, upper) in [(1, 3), (3, 1), (2, 2)] {
        let world = World::new();
        let (left, right) = world.stream.split(SHARD).unwrap();
        let child = world.stream.merge(&left, &right).unwrap();
        world.orders([0]).await;
        world.wait(10);
        for _ in 0..3 {
            world.bump();
        }
        move_to(&world, &left, lower).await;
        move_to(&world, &right, upper).await;
        world.env().done_of(&child, &world.cut_of(&child, ..)).await;
        let version = lower.max(upper);
        assert_eq!(world.rows(), [row(0, &format!("v{version}"), version)]);
    }
}

#[tokio::test]
async fn where_a_parent_has_no_cursor_its_parents_count() {
    let world = World::new();
    let (left, _) = world.stream.split(SHARD).unwrap();
    let (grandchild, _) = world.stream.split(&left).unwrap();
    world.orders([0]).await;
    world.wait(10);
    world.bump();
    world.bump();
    move_to(&world, SHARD, 2).await;
    world.env().done_of(&grandchild, &world.cut_of(&grandchild, ..)).await;
    assert_eq!(world.rows(), [row(0, "v2", 2)]);
}

#[tokio::test]
async fn a_parent_of_an_earlier_stream_of_the_name_does_not_count() {
    let world = World::new();
    world.bump();
    world.bump();
    move_to(&world, SHARD, 2).await;
    world.wait(1);
    world.stream.recreate(1);
    let (left, _) = world.stream.split(SHARD).unwrap();
    world.orders([0]).await;
    world.wait(10);
    rewrite(&world, 1);
    rewrite(&world, 2);
    world.env().done_of(&left, &world.cut_of(&left, ..)).await;
    assert_eq!(world.rows(), [row(0, "base", 0)]);
}

#[tokio::test]
async fn a_parent_s_cursor_that_cannot_be_read_is_no_missing_one() {
    let world = World::new();
    let (left, _) = split(&world).await;
    let key = crate::batch::cursor_key("p", "s", SHARD);
    world.state.insert(&key, "{");
    let error = world.env().batch_of(&left, &world.cut_of(&left, ..)).await.unwrap().unwrap_err();
    assert!(error.to_string().contains(&key), "{error}");
    assert!(world.rows().is_empty() && world.cursor_of(&left).is_none());
}

#[tokio::test]
async fn a_shard_that_the_stream_does_not_know_is_refused() {
    let world = World::new();
    world.orders([0]).await;
    let error = world.env().batch_of(OTHER, &world.cut(..)).await.unwrap().unwrap_err();
    assert!(error.to_string().contains(OTHER), "{error}");
    assert!(world.cursor_of(OTHER).is_none());
}

/// An environment that has version 3 in memory, in a world whose first shard's order is older than all change files.
async fn ahead(world: &World, env: &super::world::Environment) {
    let (left, _) = split(world).await;
    let mut records = Records::default();
    records.push("1", START, &world.flag(3)).unwrap();
    env.done(&records).await;
    // Nothing but the floor can raise the shard that is to start.
    world.state.remove(&crate::batch::cursor_key("p", "s", SHARD));
    assert!(world.cursor_of(&left).is_none());
}

#[tokio::test]
async fn never_below_the_floor() {
    let world = World::new();
    let env = world.env();
    ahead(&world, &env).await;
    world.set_floor(2);
    let left = "shardId-000000000001";
    env.gate.reset();
    env.done_of(left, &world.cut_of(left, ..)).await;
    assert_eq!(world.rows(), [row(0, "v2", 2)]);
    assert_eq!(env.gate.count("PUT"), 4, "it was above the floor from the start");
}

#[tokio::test]
async fn a_floor_that_rises_past_a_pin_moves_it() {
    let world = Arc::new(World::new());
    let armed = Arc::new(AtomicBool::new(false));
    let env = world.env_with({
        let (world, armed) = (Arc::clone(&world), Arc::clone(&armed));
        Arc::new(move |call: &Call<'_>| {
            let pin = call.operation == "PUT" && call.key.contains("cursors/");
            if pin && armed.swap(false, Ordering::Relaxed) {
                world.set_floor(2);
            }
            Fault::None
        })
    });
    ahead(&world, &env).await;
    armed.store(true, Ordering::Relaxed);
    let left = "shardId-000000000001";
    env.done_of(left, &world.cut_of(left, ..)).await;
    assert!(!armed.load(Ordering::Relaxed));
    assert_eq!(world.rows(), [row(0, "v2", 2)]);
    assert_eq!(world.cursor_of(left).unwrap().version, 2);
}

#[tokio::test]
async fn a_floor_above_what_can_be_loaded_is_an_error() {
    let world = World::new();
    world.orders([0]).await;
    for _ in 0..3 {
        world.bump();
    }
    world.set_floor(2);
    for version in 1..=2 {
        rewrite(&world, version);
    }
    let error = world.env().fails(&world.cut(..)).await;
    assert!(error.to_string().contains("expired"), "{error}");
    world.set_floor(u64::MAX);
    world.state.insert("floor.json", "x");
    let error = world.env().fails(&world.cut(..)).await;
    assert!(crate::chain::Chain(&error).to_string().contains("floor.json"), "{error}");
    assert!(world.rows().is_empty() && world.cursor().is_none_or(|cursor| cursor.pending.is_none()));
}

#[tokio::test]
async fn a_pin_that_somebody_left_counts_only_above_the_announced_floor() {
    for (version, rising, expected) in [(0, 2, 2), (2, 2, 2), (3, 2, 3)] {
        let world = World::new();
        let env = world.env();
        ahead(&world, &env).await;
        let left = "shardId-000000000001";
        let dying = world.env();
        dying.script("PUT", 0, Fault::CrashAfter);
        assert!(dying.batch_of(left, &world.cut_of(left, ..)).await.is_none());
        let pin = world.cursor_of(left).unwrap();
        assert_eq!((pin.version, pin.pending.is_none()), (0, true));
        let raised = pin.raised(version).encode().unwrap();
        world.state.insert(&crate::batch::cursor_key("p", "s", left), raised);
        let floor = format!(r#"{{"freshjoin":"floor/1","version":0,"rising":{rising}}}"#);
        world.state.insert("floor.json", floor);
        env.done_of(left, &world.cut_of(left, ..)).await;
        let value = if expected == 0 { "base".into() } else { format!("v{expected}") };
        assert_eq!(world.rows(), [row(0, &value, expected)], "{version} {rising}");
    }
}

#[tokio::test]
async fn a_shard_starts_once_the_second_of_its_first_record_is_over() {
    let world = World::new();
    world.clock.advance(std::time::Duration::from_millis(300));
    world.orders([0]).await;
    let (env, arrival) = (world.env(), world.clock.now());
    env.done(&world.cut(..)).await;
    assert_eq!(world.clock.now().millis(), arrival.millis() + 700 + 250);
    // What is written within that second counts in the first reading as in every later one.
    let world = Arc::new(World::new());
    world.orders([0]).await;
    let written = Arc::new(AtomicBool::new(false));
    let env = world.env_with({
        let (world, written) = (Arc::clone(&world), Arc::clone(&written));
        Arc::new(move |call: &Call<'_>| {
            if call.operation == "GET" && call.key.contains("cursors/") && !written.swap(true, Ordering::Relaxed) {
                world.clock.advance(std::time::Duration::from_millis(900));
                world.bump();
            }
            Fault::None
        })
    });
    env.done(&world.cut(..)).await;
    let first = world.rows();
    assert_eq!(first, [row(0, "v1", 1)]);
    let mut records = Records::default();
    records.push("1", START.plus_millis(10_000_000), world.cut(..).get(0).unwrap().data).unwrap();
    let future = World::new();
    future.env().done(&records).await;
    assert_eq!(future.clock.now(), START.plus_millis(2_000), "the future is not waited for");
}
