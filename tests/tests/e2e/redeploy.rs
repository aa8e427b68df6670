//! Another definition or another output, deployed while a range is in hand: the range is finished as it was begun.

use std::sync::Arc;
use std::time::Duration;

use freshjoin_local::mapping::{Mapping, MappingSettings};
use freshjoin_tests::fixture::{Mode, Proxy};

use crate::output::{Row, objects, rows_of};
use crate::trials;
use crate::world::{DISHES, SHARDS, Servers, World};

trials!("redeploy":
    a_pending_range_is_finished_with_its_own_definition,
    a_pending_range_is_finished_at_its_own_output,
    a_foreign_output_is_refused,
);

/// Leaves every shard with a committed order, and a pending range of so many orders in all, whose objects could not be
/// written; the mapping gives up its retries by itself.
async fn with_pending(servers: &Servers, orders: usize) -> (World, Arc<Mapping>) {
    let mut world = World::new(servers).await;
    let proxy = Proxy::start(&servers.s3()).await;
    let direct = std::mem::replace(&mut world.deployment.s3, proxy.url());
    let settings = MappingSettings { backoff: Duration::from_millis(2), ..MappingSettings::default() };
    let (mapping, seen) = world.mapping(&[world.function("enricher").await], settings);
    world.touch(&mapping).await;
    world.order(orders, &DISHES).await;
    proxy.set(Mode::AnswerBelow(format!("/{}/output/", world.bucket), 503));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let delivery = tokio::spawn({
        let mapping = Arc::clone(&mapping);
        async move { mapping.run(stopped).await }
    });
    // A failure of each shard, and so an intent of each.
    while pending(&world).await < SHARDS {
        world.clock.sleep(Duration::from_millis(20)).await;
    }
    stop.send(true).unwrap();
    delivery.await.unwrap();
    assert!(seen.failed() > 0);
    assert_eq!(world.rows().await.len(), SHARDS, "rows were written past the proxy");
    world.deployment.s3 = direct;
    (world, mapping)
}

/// How many cursors have a range in hand.
async fn pending(world: &World) -> usize {
    let cursors = objects(&*world.state, "cursors/").await;
    let holds = |body: &&bytes::Bytes| {
        let cursor: serde_json::Value = serde_json::from_slice(body).unwrap();
        cursor["pending"].is_object()
    };
    cursors.values().filter(holds).count()
}

async fn a_pending_range_is_finished_with_its_own_definition(servers: Arc<Servers>) {
    let (mut world, mapping) = with_pending(&servers, 80).await;
    world.deployment.pipeline = world
        .deployment
        .pipeline
        .replace(
            r#"["cost", "price", "priority", "customer_id", "item"]"#,
            r#"["customer_id", "priority as rank", "item"]"#,
        )
        .replace(r#"["item", "priority"]"#, r#"["item"]"#);
    world.order(60, &DISHES).await;
    mapping.deploy(vec![world.function("enricher").await]);
    mapping.drain().await.unwrap();
    let rows = world.rows().await;
    assert_eq!(rows.len(), SHARDS + 80 + 60);
    let (old, new): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.get("priority").is_some());
    assert_eq!(old.len(), SHARDS + 80, "the pending range was not finished as it was begun");
    assert!(old.iter().all(|row| row.customer() <= (SHARDS + 80) as u64 && row.get("cost").is_some()));
    assert!(new.iter().all(|row| row.get("rank").is_some() && row.partition.len() == 1), "{:?}", new[0]);
    assert_eq!(pending(&world).await, 0);
}

async fn a_pending_range_is_finished_at_its_own_output(servers: Arc<Servers>) {
    let (mut world, mapping) = with_pending(&servers, 80).await;
    let old = std::mem::replace(&mut world.deployment.output, format!("s3://{}/elsewhere", world.bucket));
    world.order(60, &DISHES).await;
    mapping.deploy(vec![world.function("enricher").await]);
    mapping.drain().await.unwrap();
    assert_eq!(world.rows().await.len(), 60);
    let objects = objects(&*world.open(&old), "").await;
    let rows = objects.iter().filter(|(key, _)| !key.starts_with('_')).map(|(key, body)| rows_of(key, body).len());
    assert_eq!(rows.sum::<usize>(), SHARDS + 80);
}

async fn a_foreign_output_is_refused(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    let (mapping, _) = world.enricher().await;
    world.touch(&mapping).await;
    let before = world.output_objects().await;
    world.deployment.pipeline = world.deployment.pipeline.replace("\"orders\"", "\"other\"");
    let settings = MappingSettings { maximum_retry_attempts: Some(1), ..MappingSettings::default() };
    let (other, seen) = world.mapping(&[world.function("enricher").await], settings);
    other.drain().await.unwrap();
    assert_eq!(seen.failed(), seen.count(), "two pipelines wrote to one output");
    assert!(world.output_objects().await == before);
}
