//! The load generator of the command line, putting records into a real stream.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::process::Command;

use crate::trials;
use crate::world::{Servers, World, built};

trials!("generate":
    every_record_of_a_template_reaches_the_stream_once,
    aggregated_records_come_out_of_the_join_as_many,
    a_stream_that_is_not_there_is_named,
);

/// Runs `freshjoin generate` against this world; whether it succeeded, and what it said.
async fn generate(world: &World, stream: &str, template: &str, more: &[&str]) -> (bool, String) {
    let fixed = ["generate", "--rate", "100000", "--count", "1200"];
    let output = Command::new(built("freshjoin"))
        .env_clear()
        .envs(world.variables())
        .args([&fixed[..], &["--stream", stream, "--template", template], more].concat())
        .output()
        .await
        .unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

async fn every_record_of_a_template_reaches_the_stream_once(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let template = "{ \"dish\": \"{{random.arrayElement([\"pizza\"])}}\"\n,\"id\": \"{{random.uuid}}\"\n}";
    let (succeeded, said) = generate(&world, &world.stream_name, template, &[]).await;
    assert!(succeeded, "{said}");
    let (mut records, mut shards) = (Vec::new(), 0);
    for shard in world.stream.shards().await.unwrap() {
        let found = world.records_of(&shard.id).await;
        shards += usize::from(!found.is_empty());
        records.extend(found);
    }
    assert_eq!((records.len(), records.iter().collect::<BTreeSet<_>>().len(), shards), (1200, 1200, 4));
    assert!(
        records.iter().all(|record| record.starts_with(b"{ \"dish\": \"pizza\"\n,\"id\"")),
        "as the template gave it"
    );
}

async fn aggregated_records_come_out_of_the_join_as_many(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let template = r#"{"dish":"{{random.arrayElement(["pizza"])}}","customer_id":"{{random.uuid}}"}"#;
    let (succeeded, said) = generate(&world, &world.stream_name, template, &["--aggregate"]).await;
    assert!(succeeded, "{said}");
    let mut records = 0;
    for shard in world.stream.shards().await.unwrap() {
        for data in world.records_of(&shard.id).await {
            assert!(data.starts_with(b"\xf3\x89\x9a\xc2") && data.len() < 52_000);
            records += 1;
        }
    }
    assert!((2..100).contains(&records), "{records} records in the stream");
    let (enricher, _) = world.enricher().await;
    enricher.drain().await.unwrap();
    let rows = world.rows().await;
    let customers: BTreeSet<_> = rows.iter().map(|row| row.get("customer_id").unwrap()).collect();
    assert_eq!((rows.len(), customers.len()), (1200, 1200));
    assert!(rows.iter().all(|row| row.get("priority") == Some("low")));
    assert!(world.dead_letters().await.is_empty());
}

async fn a_stream_that_is_not_there_is_named(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let (succeeded, said) = generate(&world, "no-such-stream", "{}", &[]).await;
    assert!(!succeeded && said.contains("no-such-stream") && said.lines().count() == 1, "{said}");
}
