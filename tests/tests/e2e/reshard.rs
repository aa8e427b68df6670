//! Shards that split and merge while changes arrive: every open shard has its flags, and a child goes on where its
//! parents were.

use std::sync::Arc;

use freshjoin_core::ports::Shard;

use crate::oracle::of_dish;
use crate::trials;
use crate::world::{DISHES, SHARDS, Servers, World};

trials!("reshard":
    children_go_on_with_their_parents_version,
    a_flag_reaches_the_shards_that_are_open_now,
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
