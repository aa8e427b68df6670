//! Stores and streams that are down, hang, refuse or lose their answers: nothing is lost, nothing is taken for "no
//! change", and all goes on when they are back.

use std::sync::Arc;
use std::time::Duration;

use freshjoin_local::mapping::{Mapping, MappingSettings};
use freshjoin_tests::fixture::{Mode, Proxy};
use serde_json::json;

use crate::oracle::{folds, of_dish, sample};
use crate::trials;
use crate::world::{DISHES, Seen, Servers, World, s3_event};

trials!("faults":
    the_enricher_outlives_a_store_that_is_down_or_refuses,
    the_enricher_answers_before_its_deadline_when_the_store_hangs,
    an_error_is_never_taken_for_no_change,
    answers_that_are_lost_lose_and_double_nothing,
    capture_outlives_its_store,
    the_injector_outlives_its_stream,
    a_cold_start_beside_a_base_needs_no_table,
);

/// Drains the mapping while `mode` holds, until the proxy was met often enough and the mapping has seen a failure;
/// then lets everything pass and waits for the end.
async fn through(proxy: &Proxy, mode: Mode, mapping: &Arc<Mapping>, seen: &Seen) {
    let (hits, failed) = (proxy.hits(), seen.failed());
    proxy.set(mode.clone());
    let drain = tokio::spawn({
        let mapping = Arc::clone(mapping);
        async move { mapping.drain().await.unwrap() }
    });
    while proxy.hits() < hits + 3 || seen.failed() == failed {
        assert!(!drain.is_finished(), "it was done although its store was {mode:?}");
        tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>()).await.unwrap_err();
    }
    proxy.set(Mode::Pass);
    drain.await.unwrap();
}

/// A store that fails is retried soon, so that a case takes no minute.
fn impatient() -> MappingSettings {
    MappingSettings { backoff: Duration::from_millis(5), ..MappingSettings::default() }
}

async fn the_enricher_outlives_a_store_that_is_down_or_refuses(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    let proxy = Proxy::start(&servers.s3()).await;
    world.deployment.s3 = proxy.url();
    let (mapping, seen) = world.mapping(&[world.function("enricher").await], impatient());
    world.touch(&mapping).await;
    for (n, mode) in [Mode::Answer(503), Mode::Down, Mode::Answer(403), Mode::Answer(500)].into_iter().enumerate() {
        world.table.put("burger", 100, &format!("priority {n}")).await;
        world.capture(&capture).await;
        world.announce(&injector).await;
        world.order(60, &DISHES).await;
        through(&proxy, mode, &mapping, &seen).await;
        world.verify().await;
    }
}

async fn the_enricher_answers_before_its_deadline_when_the_store_hangs(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    let proxy = Proxy::start(&servers.s3()).await;
    world.deployment.s3 = proxy.url();
    let settings = MappingSettings { timeout: Duration::from_secs(8), ..impatient() };
    let (mapping, seen) = world.mapping(&[world.function("enricher").await], settings);
    world.touch(&mapping).await;
    world.order(60, &DISHES).await;
    through(&proxy, Mode::Hang, &mapping, &seen).await;
    assert_eq!(seen.timed_out(), 0, "Lambda had to end an invocation");
    world.verify().await;
}

async fn an_error_is_never_taken_for_no_change(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    let proxy = Proxy::start(&servers.s3()).await;
    world.deployment.s3 = proxy.url();
    let (mapping, seen) = world.mapping(&[world.function("enricher").await], impatient());
    world.touch(&mapping).await;
    for (n, status) in [403, 500, 503].into_iter().enumerate() {
        world.table.put("burger", 100, &format!("priority {n}")).await;
        world.capture(&capture).await;
        world.announce(&injector).await;
        world.order(40, &["burger"]).await;
        // Only the change files are out of reach: every other object is there.
        let below = format!("/{}/state/changes/", world.bucket);
        let before = world.rows().await.len();
        let (hits, failed) = (proxy.hits(), seen.failed());
        proxy.set(Mode::AnswerBelow(below, status));
        let drain = tokio::spawn({
            let mapping = Arc::clone(&mapping);
            async move { mapping.drain().await.unwrap() }
        });
        while proxy.hits() < hits + 3 || seen.failed() < failed + 3 {
            assert!(!drain.is_finished(), "it went on without the change file ({status})");
            tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>()).await.unwrap_err();
        }
        assert_eq!(world.rows().await.len(), before, "rows were written without the change file ({status})");
        proxy.set(Mode::Pass);
        drain.await.unwrap();
        world.verify().await;
    }
    let rows = world.rows().await;
    assert_eq!(of_dish(&rows, "burger").iter().filter(|row| row.get("priority") == Some("priority 2")).count(), 40);
}

async fn answers_that_are_lost_lose_and_double_nothing(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    let injector = world.function("flag-injector").await;
    let proxy = Proxy::start(&servers.s3()).await;
    world.deployment.s3 = proxy.url();
    let capture = world.function("change-capture").await;
    let settings = MappingSettings { batch_size: 10, ..impatient() };
    let (mapping, _) = world.mapping(&[world.function("enricher").await], settings);
    world.touch(&mapping).await;
    proxy.set(Mode::LoseAnswers("PUT", 3));
    for n in 0..6 {
        world.table.put("burger", 100, &format!("priority {n}")).await;
        world.capture(&capture).await;
        world.announce(&injector).await;
        world.order(60, &DISHES).await;
        mapping.drain().await.unwrap();
    }
    assert!(proxy.hits() > 5, "only {} answers were lost", proxy.hits());
    assert_eq!(world.change_files().await.len(), 6, "a change file was written twice, or never");
    world.verify().await;
}

async fn capture_outlives_its_store(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    let proxy = Proxy::start(&servers.s3()).await;
    world.deployment.s3 = proxy.url();
    let capture = world.function("change-capture").await;
    let mut wanted = sample();
    for (n, mode) in
        [Mode::Answer(503), Mode::Answer(403), Mode::Down, Mode::LoseAnswers("PUT", 1)].into_iter().enumerate()
    {
        let priority = format!("priority {n}");
        world.table.put("burger", 100, &priority).await;
        wanted.insert(("burger".into(), "100".into()), priority);
        let hits = proxy.hits();
        proxy.set(mode);
        let mapping = Arc::new(world.table.mapping(&[Arc::clone(&capture)], impatient()));
        let drain = tokio::spawn(async move { mapping.drain().await.unwrap() });
        while proxy.hits() < hits + 3 && !drain.is_finished() {
            tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>()).await.unwrap_err();
        }
        proxy.set(Mode::Pass);
        drain.await.unwrap();
    }
    assert_eq!(folds(&sample(), &world.change_files().await).pop().unwrap(), wanted);
}

async fn the_injector_outlives_its_stream(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    let proxy = Proxy::start(&servers.kinesis()).await;
    world.deployment.kinesis = proxy.url();
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    world.table.put("burger", 100, "high").await;
    world.capture(&capture).await;
    let event = s3_event(&world.bucket, &format!("state/{}", freshjoin_core::change::change_key(1)));
    for mode in [Mode::Answer(500), Mode::Down] {
        proxy.set(mode);
        // Quickly, as a queue or S3 itself would ask again.
        let deadline = world.clock.now().plus_millis(4_000);
        let answer = freshjoin_local::function::Function::invoke(&*injector, event.to_string().into(), deadline).await;
        let error = answer.unwrap_err();
        assert!(matches!(error, freshjoin_local::function::InvokeError::Thrown { .. }), "{error}");
    }
    proxy.set(Mode::Pass);
    world.invoke(&injector, &event).await.unwrap();
    let flag = world.flag(1).await.into_bytes();
    for shard in world.stream.shards().await.unwrap() {
        assert!(world.records_of(&shard.id).await.contains(&flag), "no flag in {}", shard.id);
    }
}

async fn a_cold_start_beside_a_base_needs_no_table(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    let (mapping, _) = world.enricher().await;
    world.touch(&mapping).await;
    world.table.put("burger", 100, "high").await;
    world.capture(&capture).await;
    world.announce(&injector).await;
    world.order(40, &DISHES).await;
    let proxy = Proxy::start(&servers.dynamodb()).await;
    proxy.set(Mode::Answer(500));
    world.deployment.dynamodb = proxy.url();
    let cold = world.function("enricher").await;
    mapping.deploy(vec![cold]);
    mapping.drain().await.unwrap();
    assert_eq!(proxy.hits(), 0, "the table was asked for");
    world.verify().await;
    assert_eq!(world.invoke(&capture, &json!({"Records": []})).await.unwrap()["batchItemFailures"], json!([]));
}
