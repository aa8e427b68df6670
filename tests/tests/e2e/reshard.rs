//! Shards that split and merge while changes arrive: every open shard has its flags, and a child goes on where its
//! parents were.

use std::sync::Arc;

use freshjoin_core::change::change_key;
use freshjoin_core::ports::Shard;
use freshjoin_tests::fixture::{Mode, Proxy};

use crate::oracle::of_dish;
use crate::trials;
use crate::world::{DISHES, SHARDS, Servers, World, s3_event};

trials!("reshard":
    children_go_on_with_their_parents_version,
    a_flag_reaches_the_shards_that_are_open_now,
    a_flag_reaches_shards_that_opened_while_it_was_sent,
);

async fn open(world: &World) -> Vec<Shard> {
    let mut shards: Vec<Shard> = world.stream.shards().await.unwrap().into_iter().filter(|shard| shard.open).collect();
    shards.sort_by_key(|shard| shard.starting_hash_key.parse::<u128>().unwrap());
    shards
}

/// Splits the first open shard and merges the last two.
async fn reshard(world: &World) {
    let shards = open(world).await;
    let middle = shards[1].starting_hash_key.parse::<u128>().unwrap() / 2;
    let split = world.kinesis.split_shard().stream_name(&world.stream_name).shard_to_split(&shards[0].id);
    split.new_starting_hash_key(middle.to_string()).send().await.unwrap();
    world.settled().await;
    let [.., lower, upper] = &shards[..] else { panic!("too few shards") };
    let merge = world.kinesis.merge_shards().stream_name(&world.stream_name).shard_to_merge(&lower.id);
    merge.adjacent_shard_to_merge(&upper.id).send().await.unwrap();
    world.settled().await;
}

async fn children_go_on_with_their_parents_version(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    let (mapping, _) = world.enricher().await;
    world.touch(&mapping).await;
    world.table.put("burger", 100, "one").await;
    world.capture(&capture).await;
    world.announce(&injector).await;
    world.order(60, &DISHES).await;
    // The parents are neither read nor joined when the children come.
    reshard(&world).await;
    world.order(120, &["burger", "salad"]).await;
    mapping.drain().await.unwrap();
    world.verify().await;
    let rows = world.rows().await;
    assert!(of_dish(&rows, "burger").iter().all(|row| row.get("priority") == Some("one")), "a child started too low");
    assert_eq!(rows.len(), SHARDS + 180);
}

async fn a_flag_reaches_the_shards_that_are_open_now(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    let (mapping, _) = world.enricher().await;
    world.touch(&mapping).await;
    for round in 0..3 {
        reshard(&world).await;
        world.order(40, &DISHES).await;
        mapping.drain().await.unwrap();
        world.table.put("burger", 100, &format!("priority {round}")).await;
        world.capture(&capture).await;
        world.announce(&injector).await;
        let flag = world.flag(round + 1).await.into_bytes();
        for shard in open(&world).await {
            assert!(world.records_of(&shard.id).await.contains(&flag), "no flag in {}", shard.id);
        }
        world.order(40, &DISHES).await;
    }
    mapping.drain().await.unwrap();
    world.verify().await;
}

async fn a_flag_reaches_shards_that_opened_while_it_was_sent(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    let capture = world.function("change-capture").await;
    let proxy = Proxy::start(&servers.kinesis()).await;
    world.deployment.kinesis = proxy.url();
    let injector = world.function("flag-injector").await;
    world.table.put("burger", 100, "high").await;
    world.capture(&capture).await;
    let world = Arc::new(world);
    for calls in 0.. {
        // The injector stands still at each of its calls in turn, and the shards change under it.
        let hits = proxy.hits();
        proxy.set(Mode::HoldAfter(calls));
        let broadcast = tokio::spawn({
            let world = Arc::clone(&world);
            let injector = Arc::clone(&injector);
            let event = s3_event(&world.bucket, &format!("state/{}", change_key(1)));
            async move { world.invoke(&injector, &event).await }
        });
        while proxy.hits() == hits && !broadcast.is_finished() {
            tokio::time::timeout(std::time::Duration::from_millis(2), std::future::pending::<()>()).await.unwrap_err();
        }
        let held = proxy.hits() > hits;
        if held {
            reshard(&world).await;
        }
        let opened = open(&world).await;
        proxy.set(Mode::Pass);
        broadcast.await.unwrap().unwrap();
        let flag = world.flag(1).await.into_bytes();
        for shard in opened {
            assert!(world.records_of(&shard.id).await.contains(&flag), "no flag in {}, call {calls}", shard.id);
        }
        if !held {
            assert!(calls >= 2, "a broadcast of {calls} calls");
            break;
        }
    }
}
