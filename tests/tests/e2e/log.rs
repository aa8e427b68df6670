//! The change log as a reader meets it: far ahead, damaged, with a gap, or written by a newer freshjoin. A reader stops
//! and says why; it never goes on without a change.

use std::sync::Arc;

use bytes::Bytes;
use freshjoin_core::change::{change_key, digest};
use freshjoin_core::ports::{Precondition, PutOutcome};
use freshjoin_local::mapping::MappingSettings;
use futures_util::stream::{self, StreamExt};

use crate::oracle::of_dish;
use crate::trials;
use crate::world::{DISHES, Servers, World};

trials!("log":
    a_reader_far_behind_reads_every_file,
    a_damaged_file_stops_the_reader,
    a_file_of_a_newer_freshjoin_says_upgrade,
    a_hole_in_the_log_stops_the_reader,
);

/// A change file by the contract's layout, as any other writer may have written it.
fn file(table: &str, version: u64, item: &str, priority: &str) -> Bytes {
    format!(
        r#"{{"freshjoin":"change-file/1","version":{version},"id":"by hand {version}","origin":{{"source":"by hand","label":"2026-01-01T00:00:00.000"}},"changes":[{{"table":"{table}","op":"put","key":{{"item":"{item}","price":100}},"row":{{"item":"{item}","price":100,"priority":"{priority}"}},"seq":"{version}","at":"2126-01-01T00:00:00Z"}}]}}"#
    )
    .into()
}

async fn put(world: &World, version: u64, body: Bytes) {
    let outcome = world.state.put(&change_key(version), body, Precondition::Absent).await.unwrap();
    assert!(matches!(outcome, PutOutcome::Written(_)));
}

/// A flag of these bytes in every shard.
async fn announce(world: &World, version: u64, body: &[u8]) {
    let flag = format!(r#"{{"freshjoin":"change-flag/1","version":{version},"digest":"{}"}}"#, digest(body));
    for shard in world.stream.shards().await.unwrap() {
        let entry = freshjoin_core::ports::PutEntry {
            data: flag.clone().into(),
            partition_key: "flag".into(),
            explicit_hash_key: Some(shard.starting_hash_key),
        };
        world.stream.put(&[entry]).await.unwrap().remove(0).unwrap();
    }
}

async fn a_reader_far_behind_reads_every_file(servers: Arc<Servers>) {
    const FILES: u64 = 1100;
    let world = World::new(&servers).await;
    let (mapping, _) = world.enricher().await;
    world.touch(&mapping).await;
    let of = |version: u64| {
        // The last of each dish is what counts, and each dish's last stands elsewhere.
        let dish = DISHES[usize::try_from(version % 5).unwrap()];
        file(world.table.name(), version, dish, &format!("version {version}"))
    };
    stream::iter(1..=FILES).for_each_concurrent(16, |version| put(&world, version, of(version))).await;
    announce(&world, FILES, &of(FILES)).await;
    world.order(50, &DISHES).await;
    // One that knows version 0, and one that knows nothing.
    mapping.drain().await.unwrap();
    world.order(50, &DISHES).await;
    mapping.deploy(vec![world.function("enricher").await]);
    mapping.drain().await.unwrap();
    world.verify().await;
    let rows = world.rows().await;
    assert_eq!(of_dish(&rows, "burger").iter().filter(|row| row.get("priority") == Some("version 1096")).count(), 20);
}

/// Announces version 1 with orders before and after it; the reader must stop there and say `word`.
async fn stops(servers: &Servers, body: Bytes, word: &str) {
    let world = World::new(servers).await;
    let (mapping, _) = world.enricher().await;
    world.touch(&mapping).await;
    let before = world.rows().await.len();
    put(&world, 1, body.clone()).await;
    announce(&world, 1, &body).await;
    world.order(40, &DISHES).await;
    let settings = MappingSettings { maximum_retry_attempts: Some(2), ..MappingSettings::default() };
    let (limited, seen) = world.mapping(&[world.function("enricher").await], settings);
    limited.drain().await.unwrap();
    assert!(seen.failed() >= 4, "{} invocations failed", seen.failed());
    assert_eq!(world.rows().await.len(), before, "an order behind the flag was joined without the change");
    let log = std::fs::read_to_string(world.log("enricher")).unwrap();
    assert!(log.contains(word) && log.contains(&change_key(1)), "the log says: {log}");
}

async fn a_damaged_file_stops_the_reader(servers: Arc<Servers>) {
    stops(&servers, r#"{"freshjoin":"change-file/1","version":1,"cha"#.into(), "change file").await;
}

async fn a_file_of_a_newer_freshjoin_says_upgrade(servers: Arc<Servers>) {
    stops(&servers, r#"{"freshjoin":"change-file/2","version":1,"changes":{}}"#.into(), "upgrade").await;
}

async fn a_hole_in_the_log_stops_the_reader(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let (mapping, _) = world.enricher().await;
    world.touch(&mapping).await;
    let before = world.rows().await.len();
    for version in [1, 3] {
        put(&world, version, file(world.table.name(), version, "burger", &format!("version {version}"))).await;
    }
    announce(&world, 3, &file(world.table.name(), 3, "burger", "version 3")).await;
    world.order(40, &DISHES).await;
    let settings = MappingSettings { maximum_retry_attempts: Some(1), ..MappingSettings::default() };
    let (limited, seen) = world.mapping(&[world.function("enricher").await], settings);
    limited.drain().await.unwrap();
    assert!(seen.failed() >= 4);
    assert_eq!(world.rows().await.len(), before, "an order was joined past a hole");
    // When the missing file turns up, all goes on.
    put(&world, 2, file(world.table.name(), 2, "pizza", "version 2")).await;
    mapping.drain().await.unwrap();
    world.verify().await;
}
