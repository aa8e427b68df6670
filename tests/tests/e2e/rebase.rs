//! log-keeper's `rebase`: past change files that nobody can read.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use freshjoin_core::change::{change_key, digest};
use freshjoin_core::ports::{Precondition, PutEntry, PutOutcome};
use freshjoin_local::mapping::MappingSettings;
use serde_json::json;

use crate::oracle::of_dish;
use crate::output::objects;
use crate::trials;
use crate::world::{DISHES, Servers, World};

trials!("rebase":
    a_damaged_file_is_got_past_and_nothing_of_the_stream_is_lost,
    a_hole_is_got_past,
    what_can_be_read_is_left_alone,
);

async fn put(world: &World, version: u64, body: &str) {
    let outcome = world.state.put(&change_key(version), Bytes::from(body.to_owned()), Precondition::Absent).await;
    assert!(matches!(outcome.unwrap(), PutOutcome::Written(_)));
}

async fn send_flag(world: &World, version: u64, body: &[u8]) {
    let flag = format!(r#"{{"freshjoin":"change-flag/1","version":{version},"digest":"{}"}}"#, digest(body));
    for shard in world.stream.shards().await.unwrap() {
        let entry = PutEntry {
            data: flag.clone().into(),
            partition_key: "flag".into(),
            explicit_hash_key: Some(shard.starting_hash_key),
        };
        world.stream.put(&[entry]).await.unwrap().remove(0).unwrap();
    }
}

/// The enricher runs into what it cannot read, and says so; nothing behind it is joined.
async fn stops(world: &World, word: &str) {
    let before = world.rows().await.len();
    let settings = MappingSettings { maximum_retry_attempts: Some(1), ..MappingSettings::default() };
    let (limited, seen) = world.mapping(&[world.function("enricher").await], settings);
    limited.drain().await.unwrap();
    assert!(seen.failed() > 0);
    assert_eq!(world.rows().await.len(), before);
    let log = std::fs::read_to_string(world.log("enricher")).unwrap();
    assert!(log.contains(word) && log.contains("rebase"), "the log says: {log}");
}

/// All orders came out once, and those of burgers that came last with this priority.
async fn all_there(world: &World, orders: usize, burger: &str) {
    let rows = world.rows().await;
    let customers: BTreeSet<u64> = rows.iter().map(|row| row.customer()).collect();
    assert_eq!((rows.len(), customers.len()), (orders, orders));
    let last = of_dish(&rows, "burger").into_iter().max_by_key(|row| row.customer()).unwrap();
    assert_eq!(last.get("priority"), Some(burger));
}

const POISON: &str = r#"{"freshjoin":"change-file/1","version":2,"cha"#;

async fn a_damaged_file_is_got_past_and_nothing_of_the_stream_is_lost(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let (mapping, _) = world.enricher().await;
    let capture = world.function("change-capture").await;
    let injector = world.function("flag-injector").await;
    world.touch(&mapping).await;
    world.table.put("burger", 100, "first").await;
    world.capture(&capture).await;
    world.announce(&injector).await;
    world.order(20, &DISHES).await;
    mapping.drain().await.unwrap();
    // What was written as version 2 is damaged; change-capture goes on behind it.
    world.table.put("burger", 100, "damaged").await;
    world.table.skip().await;
    put(&world, 2, POISON).await;
    send_flag(&world, 2, POISON.as_bytes()).await;
    world.order(20, &DISHES).await;
    world.table.put("salad", 100, "third").await;
    world.capture(&capture).await;
    stops(&world, "damaged").await;
    let keeper = world.function("log-keeper").await;
    let answer = world.invoke(&keeper, &json!({"task": "rebase"})).await.unwrap();
    assert_eq!((&answer["rebase"]["from"], &answer["rebase"]["version"]), (&json!(2), &json!(3)), "{answer}");
    world.order(20, &DISHES).await;
    mapping.drain().await.unwrap();
    all_there(&world, 64, "damaged").await;
    // All goes on from there: more changes, a cold start.
    world.table.put("burger", 100, "fourth").await;
    world.capture(&capture).await;
    let body = world.state.get(&change_key(4)).await.unwrap().unwrap().bytes;
    send_flag(&world, 4, &body).await;
    world.order(20, &DISHES).await;
    mapping.deploy(vec![world.function("enricher").await]);
    mapping.drain().await.unwrap();
    all_there(&world, 84, "fourth").await;
}

async fn a_hole_is_got_past(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let (mapping, _) = world.enricher().await;
    let capture = world.function("change-capture").await;
    world.touch(&mapping).await;
    for priority in ["first", "second", "third"] {
        world.table.put("burger", 100, priority).await;
        world.capture(&capture).await;
    }
    let store = crate::world::s3_client(&world.deployment.s3).await;
    let key = format!("state/{}", change_key(2));
    store.delete_object().bucket(&world.bucket).key(key).send().await.unwrap();
    let third = world.state.get(&change_key(3)).await.unwrap().unwrap().bytes;
    send_flag(&world, 3, &third).await;
    world.order(20, &DISHES).await;
    stops(&world, "missing").await;
    let keeper = world.function("log-keeper").await;
    let answer = world.invoke(&keeper, &json!({"task": "rebase"})).await.unwrap();
    assert_eq!((&answer["rebase"]["from"], &answer["rebase"]["version"]), (&json!(2), &json!(3)), "{answer}");
    mapping.drain().await.unwrap();
    all_there(&world, 24, "third").await;
}

async fn what_can_be_read_is_left_alone(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let (mapping, _) = world.enricher().await;
    world.touch(&mapping).await;
    let keeper = world.function("log-keeper").await;
    let error = world.invoke(&keeper, &json!({"task": "rebase"})).await.unwrap_err().to_string();
    assert!(error.contains("can be read"), "{error}");
    put(&world, 1, POISON).await;
    put(&world, 2, r#"{"freshjoin":"change-file/2","version":2}"#).await;
    let error = world.invoke(&keeper, &json!({"task": "rebase"})).await.unwrap_err().to_string();
    assert!(error.contains("upgrade"), "{error}");
    assert!(objects(&*world.state, "snapshots/0").await.is_empty(), "nothing was got past");
}
