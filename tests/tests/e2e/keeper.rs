//! log-keeper's schedule: lost notices are made good, cold starts begin at a snapshot file, old change files go.

use std::sync::Arc;

use freshjoin_core::change::change_key;
use freshjoin_core::reference::base_key;
use freshjoin_core::snapshot::SnapshotName;
use freshjoin_local::mapping::MappingSettings;
use freshjoin_local::runtime_api::Environment;
use serde_json::{Value, json};

use crate::oracle::of_dish;
use crate::output::objects;
use crate::trials;
use crate::world::{DISHES, Servers, World, s3_client};

trials!("keeper":
    a_lost_notice_is_made_good_by_the_schedule,
    a_cold_start_needs_a_snapshot_file_and_nothing_older,
    change_files_that_nobody_needs_are_given_up,
    what_is_asked_for_and_unknown_is_refused,
);

async fn run(world: &World, keeper: &Environment, event: Value) -> Value {
    world.invoke(keeper, &event).await.unwrap_or_else(|error| panic!("{event}: {error}"))
}

/// As EventBridge sends it.
fn schedule() -> Value {
    json!({
        "version": "0", "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa", "detail-type": "Scheduled Event",
        "source": "aws.events", "account": "123456789012", "time": "2026-11-23T06:00:00Z", "region": "us-east-1",
        "resources": ["arn:aws:events:us-east-1:123456789012:rule/minute"], "detail": {}
    })
}

async fn a_lost_notice_is_made_good_by_the_schedule(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let (capture, keeper) = (world.function("change-capture").await, world.function("log-keeper").await);
    let (mapping, _) = world.enricher().await;
    world.touch(&mapping).await;
    world.table.put("burger", 100, "high").await;
    world.capture(&capture).await;
    // Nobody hands flag-injector the notice.
    let done = run(&world, &keeper, schedule()).await;
    assert_eq!((&done["rebroadcast"]["version"], &done["rebroadcast"]["shards"]), (&json!(1), &json!(4)), "{done}");
    world.order(40, &DISHES).await;
    mapping.drain().await.unwrap();
    world.verify().await;
    assert!(of_dish(&world.rows().await, "burger").iter().all(|row| row.get("priority") == Some("high")));
    let again = run(&world, &keeper, schedule()).await;
    assert!(again.get("rebroadcast").is_none(), "every shard has it: {again}");
}

async fn a_cold_start_needs_a_snapshot_file_and_nothing_older(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    let keeper = world.function("log-keeper").await;
    let (mapping, _) = world.enricher().await;
    world.touch(&mapping).await;
    for priority in ["one", "two", "three"] {
        world.table.put("burger", 100, priority).await;
        world.capture(&capture).await;
    }
    world.table.delete("pizza", 100).await;
    world.capture(&capture).await;
    world.announce(&injector).await;
    world.order(20, &DISHES).await;
    mapping.drain().await.unwrap();
    let done = run(&world, &keeper, json!({"task": "snapshot"})).await;
    assert_eq!(done["snapshot"]["version"], 4, "{done}");
    world.table.put("salad", 100, "later").await;
    world.capture(&capture).await;
    world.announce(&injector).await;
    world.order(20, &DISHES).await;
    // The table is out of reach, and nothing is there that is older than the snapshot file.
    let files = world.change_files().await;
    world.deployment.dynamodb = "http://127.0.0.1:9".into();
    let s3 = s3_client(&world.deployment.s3).await;
    for key in (1..=4).map(change_key).chain([base_key(world.table.name())]) {
        s3.delete_object().bucket(&world.bucket).key(format!("state/{key}")).send().await.unwrap();
        assert!(world.state.get(&key).await.unwrap().is_none());
    }
    let floor = br#"{"freshjoin":"floor/1","version":4}"#;
    put(&world, "floor.json", floor).await;
    let cold = world.function("enricher").await;
    let (mapping, seen) = world.mapping(&[cold], MappingSettings::default());
    mapping.drain().await.unwrap();
    assert_eq!(seen.failed(), 0);
    // What was taken away comes back for the one that looks after it.
    for (version, bytes) in (1..=4).zip(&files) {
        put(&world, &change_key(version), bytes).await;
    }
    world.verify().await;
}

async fn put(world: &World, key: &str, bytes: &[u8]) {
    let bytes = bytes::Bytes::copy_from_slice(bytes);
    let _written = world.state.put(key, bytes, freshjoin_core::ports::Precondition::None).await.unwrap();
}

async fn change_files_that_nobody_needs_are_given_up(servers: Arc<Servers>) {
    let Some(gateway) = servers.gateway() else {
        println!("not checked here: expiry (only versitygw's objects can be made old)");
        return;
    };
    let world = World::new(&servers).await;
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    let keeper = world.function("log-keeper").await;
    let (mapping, _) = world.enricher().await;
    world.touch(&mapping).await;
    for version in 1..=5 {
        world.table.put("burger", 100, &format!("priority {version}")).await;
        world.capture(&capture).await;
        world.announce(&injector).await;
        world.order(20, &DISHES).await;
        mapping.drain().await.unwrap();
        run(&world, &keeper, json!({"task": "snapshot"})).await;
    }
    world.verify().await;
    let done = run(&world, &keeper, schedule()).await;
    assert_eq!((&done["expiry"]["floor"], &done["expiry"]["changes"]), (&json!(0), &json!(0)), "all is young: {done}");

    // Four days go by, but for the last change.
    let old = |days: i64| world.clock.now().plus_millis(-days * 86_400_000);
    for (version, days) in (1..=4).zip([8, 7, 6, 5]) {
        for key in [change_key(version), SnapshotName::of(version).key()] {
            gateway.set_modified(&world.bucket, &format!("state/{key}"), old(days));
        }
    }
    let done = run(&world, &keeper, schedule()).await;
    // What follows version 4 is young.
    assert_eq!((&done["expiry"]["floor"], &done["expiry"]["changes"]), (&json!(3), &json!(3)), "{done}");
    assert_eq!(done["expiry"]["snapshots"], 2, "those of versions 1 and 2: {done}");
    let floor: Value = serde_json::from_slice(&world.state.get("floor.json").await.unwrap().unwrap().bytes).unwrap();
    assert_eq!((&floor["freshjoin"], &floor["version"], &floor["expired"]), (&json!("floor/1"), &json!(3), &json!(3)));
    // The bucket's lifecycle rule comes.
    let s3 = s3_client(&world.deployment.s3).await;
    let mut gone = Vec::new();
    for key in objects(&*world.state, "").await.into_keys() {
        let key = format!("state/{key}");
        let Ok(tags) = s3.get_object_tagging().bucket(&world.bucket).key(&key).send().await else { continue };
        if tags.tag_set.iter().any(|tag| tag.key == "freshjoin" && tag.value == "expired") {
            s3.delete_object().bucket(&world.bucket).key(&key).send().await.unwrap();
            gone.push(key);
        }
    }
    let changes = (1..=3).map(change_key);
    let snapshots = (1..=2).map(|version| SnapshotName::of(version).key());
    assert_eq!(gone, changes.chain(snapshots).map(|key| format!("state/{key}")).collect::<Vec<_>>());
    // Nobody misses them: a cold environment, and a pipeline that begins now.
    world.order(20, &DISHES).await;
    let (cold, _) = world.enricher().await;
    cold.drain().await.unwrap();
    let before = world.rows().await.len();
    assert_eq!(before, 4 + 6 * 20);
    let mut replay = world;
    replay.deployment.pipeline = replay.deployment.pipeline.replace(r#"name = "orders""#, r#"name = "replay""#);
    replay.deployment.output = format!("{}-replay", replay.deployment.output);
    let (again, seen) = replay.enricher().await;
    again.drain().await.unwrap();
    assert_eq!((replay.rows().await.len(), seen.failed()), (before, 0));
    let done = run(&replay, &keeper, schedule()).await;
    assert_eq!((&done["expiry"]["changes"], &done["expiry"]["snapshots"]), (&json!(0), &json!(0)), "{done}");
}

async fn what_is_asked_for_and_unknown_is_refused(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let keeper = world.function("log-keeper").await;
    for (event, says) in [
        (json!({"task": "snapshots"}), "`snapshot`"),
        (json!({"task": "snapshot", "froce": true}), "froce"),
        (json!({"force": true}), "task"),
    ] {
        let error = world.invoke(&keeper, &event).await.unwrap_err().to_string();
        assert!(error.contains(says), "{event}: {error}");
    }
    assert!(objects(&*world.state, "").await.is_empty(), "and nothing was done");
}
