//! Which version a record is joined with: the newest flag before it in its shard, everywhere and always.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::world::{DEFINITION, World, order, row};
use crate::change::change_key;
use crate::join::Limits;
use crate::memory::{Call, Fault};
use crate::reference::RING;

/// Orders between the flags of versions 1 to 3, version 2 coming late and twice.
async fn world() -> World {
    let world = World::new();
    for _ in 0..3 {
        world.bump();
    }
    world.send([order(0, "a"), world.flag(1), order(1, "a"), world.flag(3), order(2, "a")]).await;
    world.send([world.flag(2), order(3, "a"), world.flag(3), world.flag(1), order(4, "a")]).await;
    pin_at_zero(&world);
    world
}

/// Starts the first shard at version 0, as if it had been there before the changes: it would start at version 3.
fn pin_at_zero(world: &World) {
    let cursor = format!(
        r#"{{"freshjoin":"cursor/1","stream":"s","stream_created":"{}","committed_through":"1","version":0,
            "output":"{}","pending":null}}"#,
        super::world::START,
        world.output
    );
    world.state.insert(&crate::batch::cursor_key("p", "s", super::world::SHARD), cursor);
}

fn expected() -> Vec<super::world::Row> {
    vec![row(0, "base", 0), row(1, "v1", 1), row(2, "v3", 3), row(3, "v3", 3), row(4, "v3", 3)]
}

#[tokio::test]
async fn a_flag_splits_a_batch_and_the_greatest_version_seen_is_in_force() {
    let world = world().await;
    let env = world.env();
    env.done(&world.cut(..)).await;
    assert_eq!(world.rows(), expected());
    assert_eq!(env.heard.ignored(), [], "old and repeated flags are no complaint");
    assert_eq!((env.heard.reports().len(), env.heard.counts().flags), (1, 5));
    assert_eq!(world.cursor().unwrap().version, 3);
}

#[tokio::test]
async fn the_version_in_force_is_the_same_however_a_batch_is_cut() {
    for records in 1..10 {
        let world = world().await;
        let world = World { limits: Limits { records, ..world.limits }, ..world };
        world.env().done(&world.cut(..)).await;
        assert_eq!(world.rows(), expected(), "ranges of {records}");
    }
    for size in 1..10 {
        let world = world().await;
        for start in (0..10).step_by(size) {
            // Every batch in an environment that knows the versions from the cursor alone.
            world.env().done(&world.cut(start..(start + size).min(10))).await;
        }
        assert_eq!(world.rows(), expected(), "batches of {size}");
    }
}

#[tokio::test]
async fn shards_of_one_environment_are_at_their_own_versions() {
    let world = world().await;
    let env = world.env();
    // The cut leaves the order before the first flag to the second round.
    env.done(&world.cut(1..4)).await;
    assert_eq!(world.cursor().unwrap().version, 3);
    pin_at_zero(&world);
    env.done(&world.cut(..1)).await;
    assert_eq!(world.rows(), [row(0, "base", 0), row(1, "v1", 1)], "what one shard has loaded leaks into no other");
}

#[tokio::test]
async fn a_delete_takes_the_row_from_its_flag_on_and_a_put_brings_it_back() {
    let world = World::new();
    pin_at_zero(&world);
    let deleted = world.change(&[("a", None), ("b", Some("beta"))]);
    let back = world.change(&[("a", Some("back"))]);
    let orders = |n| [order(n, "a"), order(n + 1, "b")];
    world.send(orders(0)).await;
    world.send([world.flag(deleted)]).await;
    world.send(orders(2)).await;
    world.send([world.flag(back)]).await;
    world.send(orders(4)).await;
    let env = world.env();
    env.done(&world.cut(..)).await;
    let expected =
        [row(0, "base", 0), row(1, "", 0), row(2, "", 1), row(3, "beta", 1), row(4, "back", 2), row(5, "beta", 2)];
    assert_eq!(world.rows(), expected);
    assert_eq!((env.heard.counts().enriched, env.heard.counts().unmatched), (4, 2));
}

#[tokio::test]
async fn a_definition_with_another_reference_moves_to_that_reference_s_base() {
    let mut world = World::new();
    world.orders(0..4).await;
    world.env().done(&world.cut(..2)).await;
    assert_eq!(world.cursor().unwrap().version, 0);
    world.bump();
    world.bump();
    world.tables.create("U", &["id"]);
    world.definition = DEFINITION.replace("[output]", "[[reference]]\ndynamodb = \"U\"\non = { n = \"id\" }\n[output]");
    world.env().done(&world.cut(2..3)).await;
    world.env().done(&world.cut(3..)).await;
    let expected = [row(0, "base", 0), row(1, "base", 0), row(2, "v2", 2), row(3, "v2", 2)];
    assert_eq!(world.rows(), expected, "never below a base, and no row of the other definition");
}

/// More versions than are remembered once they are many, each with a change.
async fn long(flags: &[u64]) -> World {
    let world = World::new();
    pin_at_zero(&world);
    for _ in 0..60 {
        world.bump();
    }
    world.send([order(0, "a")]).await;
    for version in flags {
        world.send([world.flag(*version), order(*version, "a")]).await;
    }
    world
}

#[tokio::test]
async fn a_batch_may_span_more_versions_than_are_remembered() {
    let flags = [1, 2, 20, 27, 29, 58, 60];
    let expected: Vec<_> = std::iter::once(row(0, "base", 0))
        .chain(flags.map(|version| row(version, &format!("v{version}"), version)))
        .collect();
    let world = long(&flags).await;
    world.env().done(&world.cut(..)).await;
    assert_eq!(world.rows(), expected);
    for place in 0..12 {
        let world = long(&flags).await;
        let env = world.env();
        env.script("PUT", place, crate::memory::Fault::CrashAfter);
        env.batch(&world.cut(..)).await;
        world.env().done(&world.cut(..)).await;
        assert_eq!(world.rows(), expected, "after a crash at write {place}");
    }
}

#[tokio::test]
async fn a_flag_that_starts_a_batch_starts_its_span() {
    let world = long(&[20, 27]).await;
    let env = world.env();
    env.done(&world.cut(1..)).await;
    assert_eq!(world.rows(), [row(20, "v20", 20), row(27, "v27", 27)]);
    assert_eq!(env.heard.reports().len(), 1, "nothing is joined with the version before it");
}

#[tokio::test]
async fn what_one_environment_decided_another_can_finish() {
    let other = "shardId-000000000007";
    let world = long(&[60]).await;
    let env = world.env();
    env.done(&world.cut(..)).await;
    let behind = long(&[58]).await;
    let key = |shard: &str| crate::batch::cursor_key("p", "s", shard);
    world.state.insert(&key(other), behind.state.objects()[&key(super::world::SHARD)].clone());
    // This environment has both ends of the jump in memory; a cold one could not hold both.
    env.script("PUT", 0, crate::memory::Fault::CrashAfter);
    assert!(env.batch_of(other, &behind.cut(..)).await.is_none());
    world.env().done_of(other, &behind.cut(..)).await;
    assert!(world.rows().contains(&row(58, "v58", 58)));
}

#[tokio::test]
async fn shards_far_behind_one_another_share_an_environment() {
    let world = long(&[60]).await;
    let env = world.env();
    env.done(&world.cut(..)).await;
    for (shard, version) in [("shardId-000000000007", 30), ("shardId-000000000008", 3), ("shardId-000000000009", 33)] {
        let behind = long(&[version]).await;
        let key = |shard: &str| crate::batch::cursor_key("p", "s", shard);
        let cursor = behind.state.objects()[&key(super::world::SHARD)].clone();
        world.state.insert(&key(shard), cursor);
        env.done_of(shard, &behind.cut(..)).await;
        assert!(world.rows().contains(&row(version, &format!("v{version}"), version)), "{shard}");
        assert!(env.consumer.engine.libraries().await.len() <= 2, "each may fill a quarter of the memory");
    }
}

#[tokio::test]
async fn two_shards_far_apart_load_nothing_again() {
    let (world, behind) = (long(&[60]).await, long(&[30]).await);
    let env = world.env();
    env.done(&world.cut(..)).await;
    let other = "shardId-000000000007";
    let key = |shard: &str| crate::batch::cursor_key("p", "s", shard);
    world.state.insert(&key(other), behind.state.objects()[&key(super::world::SHARD)].clone());
    env.done_of(other, &behind.cut(..)).await;
    env.gate.reset();
    world.orders([61]).await;
    behind.orders([31]).await;
    env.done(&world.cut(3..)).await;
    env.done_of(other, &behind.cut(3..)).await;
    assert_eq!((env.gate.count("GET"), env.gate.count("LIST")), (2, 0), "the cursors");
}

#[tokio::test]
async fn a_range_spans_so_many_versions_and_not_one_more() {
    for (version, ranges) in [(RING, 1), (RING + 1, 2)] {
        let world = Arc::new(long(&[version]).await);
        let armed = Arc::new(AtomicBool::new(true));
        let cold = world.env_with({
            let (world, armed) = (Arc::clone(&world), Arc::clone(&armed));
            let file = world.state.objects()[&change_key(version)].clone();
            Arc::new(move |call: &Call<'_>| {
                // It is appended right after the first look at it.
                if call.operation == "LIST" && call.key.contains("changes") && armed.swap(false, Ordering::Relaxed) {
                    world.state.insert(&change_key(version), file.clone());
                }
                Fault::None
            })
        });
        let other = "shardId-000000000007";
        let warm = world.env();
        let cursor = world.state.objects()[&crate::batch::cursor_key("p", "s", super::world::SHARD)].clone();
        world.state.insert(&crate::batch::cursor_key("p", "s", other), cursor.clone());
        warm.done_of(other, &world.cut(..)).await;
        assert_eq!(warm.heard.reports().len(), ranges, "{version}: from the log");
        let third = "shardId-000000000008";
        world.state.insert(&crate::batch::cursor_key("p", "s", third), cursor);
        warm.done_of(third, &world.cut(..)).await;
        assert_eq!(warm.heard.reports().len(), 2 * ranges, "{version}: from memory");
        world.state.remove(&change_key(version));
        cold.done(&world.cut(..)).await;
        assert!(!armed.load(Ordering::Relaxed));
        assert_eq!(cold.heard.reports().len(), ranges, "{version}: just appended");
    }
}

#[tokio::test]
async fn a_damaged_change_file_beyond_a_range_s_span_lets_the_range_before_it_through() {
    for (version, rows) in [(RING, 0), (RING + 1, 1)] {
        let world = long(&[version]).await;
        world.state.insert(&change_key(version), "x");
        world.env().fails(&world.cut(..)).await;
        assert_eq!(world.rows().len(), rows, "{version}");
    }
}

#[tokio::test]
async fn a_version_that_is_remembered_without_its_rows_is_loaded_again() {
    let world = World::new();
    pin_at_zero(&world);
    let items: Vec<_> = (0..20).map(|n| format!("i{n}")).collect();
    for version in 1..=6 {
        let priority = format!("v{version}");
        let changes: Vec<_> = items.iter().map(|item| (item.as_str(), Some(priority.as_str()))).collect();
        assert_eq!(world.change(&changes), version);
    }
    world.send([order(0, "i0"), world.flag(2), order(2, "i0"), world.flag(6), order(6, "i0")]).await;
    let ahead = "shardId-000000000007";
    let cursor = world.state.objects()[&crate::batch::cursor_key("p", "s", super::world::SHARD)].clone();
    world.state.insert(&crate::batch::cursor_key("p", "s", ahead), cursor);
    let env = world.env();
    env.done_of(ahead, &world.cut(3..)).await;
    env.done(&world.cut(..3)).await;
    assert_eq!(world.rows(), [row(0, "", 0), row(2, "v2", 2), row(6, "v6", 6)]);
}

#[tokio::test]
async fn a_range_may_need_versions_of_which_none_is_remembered_together() {
    let items: Vec<_> = (0..20).map(|n| format!("i{n}")).collect();
    for place in 0..9 {
        let world = World::new();
        pin_at_zero(&world);
        for version in 1..=6 {
            let priority = format!("v{version}");
            let changes: Vec<_> = items.iter().map(|item| (item.as_str(), Some(priority.as_str()))).collect();
            assert_eq!(world.change(&changes), version);
        }
        world.send([order(0, "i0"), world.flag(2), order(2, "i0"), world.flag(4), order(4, "i0")]).await;
        world.send([world.flag(6), order(6, "i0")]).await;
        let env = world.env();
        env.script("PUT", place, Fault::CrashAfter);
        env.batch(&world.cut(..)).await;
        let next = world.env();
        next.done(&world.cut(..)).await;
        assert_eq!(world.rows(), [row(0, "", 0), row(2, "v2", 2), row(4, "v4", 4), row(6, "v6", 6)], "{place}");
        assert!(next.consumer.engine.libraries().await.len() <= 2, "{place}");
    }
}
