//! The known pattern, step by step: orders, a change of the table, its change file, its flags, more orders.

use std::sync::Arc;
use std::time::Duration;

use freshjoin_local::mapping::MappingSettings;

use crate::oracle::of_dish;
use crate::output::NULL;
use crate::trials;
use crate::world::{DISHES, SHARDS, Servers, World};

trials!("walkthrough":
    a_change_reaches_every_order_after_its_flag,
    a_deleted_row_is_missed_from_then_on,
    a_table_captured_from_its_first_row,
    a_replay_gives_the_same_keys_and_bytes,
    as_of_latest_needs_no_flag,
);

async fn a_change_reaches_every_order_after_its_flag(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    let (enricher, _) = world.enricher().await;
    world.order(400, &DISHES).await;
    enricher.drain().await.unwrap();
    world.verify().await;
    let rows = world.rows().await;
    assert!(of_dish(&rows, "burger").iter().all(|row| row.get("priority") == Some("medium")));
    assert!(of_dish(&rows, "donut").iter().all(|row| row.get("priority") == Some(NULL)));
    assert_eq!(of_dish(&rows, "donut").len(), 80, "a dish without a row has not vanished");
    let row = &of_dish(&rows, "burger")[0];
    assert_eq!(
        row.cells.keys().collect::<Vec<_>>(),
        ["cost", "customer_id", "price"],
        "partition columns only in the key"
    );

    world.table.put("burger", 100, "high").await;
    world.capture(&capture).await;
    assert_eq!(world.change_files().await.len(), 1);
    world.announce(&injector).await;
    let flag = world.flag(1).await.into_bytes();
    for shard in world.stream.shards().await.unwrap() {
        let flags = world.records_of(&shard.id).await.into_iter().filter(|data| *data == flag).count();
        assert_eq!(flags, 1, "flags in {}", shard.id);
    }
    world.order(400, &DISHES).await;
    enricher.drain().await.unwrap();
    world.verify().await;
    let rows = world.rows().await;
    let later: Vec<_> = of_dish(&rows, "burger").into_iter().filter(|row| row.customer() > 400).collect();
    assert_eq!(later.len(), 80);
    assert!(later.iter().all(|row| row.get("priority") == Some("high")), "{later:?}");
    assert_eq!(rows.len(), 800);
}

async fn a_deleted_row_is_missed_from_then_on(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    let (enricher, _) = world.enricher().await;
    world.touch(&enricher).await;
    world.table.delete("pizza", 100).await;
    world.table.put("donut", 100, "new").await;
    world.capture(&capture).await;
    world.announce(&injector).await;
    world.order(100, &DISHES).await;
    enricher.drain().await.unwrap();
    world.verify().await;
    let rows = world.rows().await;
    assert!(
        of_dish(&rows, "pizza").iter().all(|row| row.get("priority") == Some(NULL) && row.get("price") == Some(""))
    );
    assert!(of_dish(&rows, "donut").iter().all(|row| row.get("priority") == Some("new")));
    // And back, by the same key.
    world.table.put("pizza", 100, "back").await;
    world.capture(&capture).await;
    world.announce(&injector).await;
    world.order(50, &["pizza"]).await;
    enricher.drain().await.unwrap();
    world.verify().await;
    let back = world.rows().await.iter().filter(|row| row.get("priority") == Some("back")).count();
    assert_eq!(back, 50);
}

async fn a_table_captured_from_its_first_row(servers: Arc<Servers>) {
    let world = World::empty(&servers, SHARDS).await;
    for (item, priority) in crate::world::ROWS {
        world.table.put(item, 100, priority).await;
    }
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    world.capture(&capture).await;
    world.announce(&injector).await;
    world.order(100, &DISHES).await;
    let (enricher, _) = world.enricher().await;
    enricher.drain().await.unwrap();
    world.table.put("burger", 100, "high").await;
    world.capture(&capture).await;
    world.announce(&injector).await;
    world.order(100, &DISHES).await;
    enricher.drain().await.unwrap();
    world.verify().await;
}

async fn a_replay_gives_the_same_keys_and_bytes(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    let (enricher, _) = world.enricher().await;
    world.touch(&enricher).await;
    // S3 stamps whole seconds: a change in the second of a shard's first record would count as written before it, and the
    // replay below would rightly start at it.
    let into_second = u64::try_from(world.clock.now().millis() % 1000).unwrap();
    world.clock.sleep(Duration::from_millis(1020 - into_second)).await;
    for (round, priority) in ["low", "high", "higher"].into_iter().enumerate() {
        world.table.put("burger", 100, priority).await;
        world.capture(&capture).await;
        world.announce(&injector).await;
        world.order(60 + round * 20, &DISHES).await;
        enricher.drain().await.unwrap();
    }
    world.verify().await;
    let before = world.output_objects().await;
    // Everything again, in other batches, to an environment that remembers nothing.
    let small = MappingSettings { batch_size: 7, ..MappingSettings::default() };
    let (replay, _) = world.mapping(&[world.function("enricher").await], small);
    replay.drain().await.unwrap();
    assert!(world.output_objects().await == before, "a replay wrote other keys or bytes");
    // A replay by another pipeline joins history as history.
    world.deployment.pipeline = world.deployment.pipeline.replace("\"orders\"", "\"replayed\"");
    world.deployment.output = format!("s3://{}/replayed", world.bucket);
    let (replay, _) = world.enricher().await;
    replay.drain().await.unwrap();
    world.verify().await;
}

async fn as_of_latest_needs_no_flag(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    world.deployment.as_of = "latest";
    let capture = world.function("change-capture").await;
    let (enricher, _) = world.enricher().await;
    world.touch(&enricher).await;
    world.table.put("burger", 100, "high").await;
    world.capture(&capture).await;
    world.order(40, &["burger"]).await;
    enricher.drain().await.unwrap();
    let rows = world.rows().await;
    assert_eq!(of_dish(&rows, "burger").len(), 40);
    assert!(of_dish(&rows, "burger").iter().all(|row| row.get("priority") == Some("high")));
}
