//! A process killed at each of its calls to the store in turn, before the store heard of it and after: the points between
//! an intent and its commit, one by one.

use std::sync::Arc;
use std::time::Duration;

use freshjoin_local::mapping::{Chaos, MappingSettings};
use freshjoin_local::runtime_api::Environment;
use freshjoin_tests::fixture::{Mode, Proxy};

use crate::oracle::{folds, sample};
use crate::trials;
use crate::world::{DISHES, ROWS, Servers, World};

trials!("kill":
    an_enricher_killed_at_any_call_of_its_start_starts_again,
    an_enricher_killed_at_any_call_loses_and_doubles_nothing,
    a_capture_killed_at_any_call_leaves_no_gap_and_no_double,
);

/// A world of one shard whose functions reach S3 through a proxy.
async fn world(servers: &Servers) -> (World, Proxy) {
    let mut world = World::empty(servers, 1).await;
    for (item, priority) in ROWS {
        world.table.put(item, 100, priority).await;
    }
    world.table.skip().await;
    let proxy = Proxy::start(&servers.s3()).await;
    world.deployment.s3 = proxy.url();
    (world, proxy)
}

/// Runs `work` until it has called the store so many times, and kills the process there; then lets it go on. Whether it
/// came that far.
async fn killed_after(
    proxy: &Proxy,
    calls: u64,
    reaches: bool,
    environment: &Environment,
    work: impl Future<Output = ()> + Send + 'static,
) -> bool {
    let hits = proxy.hits();
    proxy.set(Mode::StopAfter(calls, reaches));
    let work = tokio::spawn(work);
    while proxy.hits() == hits && !work.is_finished() {
        tokio::time::timeout(Duration::from_millis(2), std::future::pending::<()>()).await.unwrap_err();
    }
    let stopped = proxy.hits() > hits;
    environment.kill().await;
    proxy.set(Mode::Pass);
    work.await.unwrap();
    stopped
}

async fn an_enricher_killed_at_any_call_of_its_start_starts_again(servers: Arc<Servers>) {
    let mut points = 0;
    for reaches in [false, true] {
        for calls in 0.. {
            // Only a new pipeline has all of it before it: the definition, the base, the output's owner, the first intent.
            let (world, proxy) = world(&servers).await;
            let enricher = world.function("enricher").await;
            let settings = MappingSettings { backoff: Duration::from_millis(1), ..MappingSettings::default() };
            let (mapping, _) = world.mapping(&[Arc::clone(&enricher)], settings);
            world.order(10, &DISHES).await;
            let drain = async move { mapping.drain().await.unwrap() };
            let stopped = killed_after(&proxy, calls, reaches, &enricher, drain).await;
            world.verify().await;
            if !stopped {
                break;
            }
            points += 1;
        }
    }
    assert!(points > 12, "killed at {points} points only");
}

async fn an_enricher_killed_at_any_call_loses_and_doubles_nothing(servers: Arc<Servers>) {
    let (world, proxy) = world(&servers).await;
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    let enricher = world.function("enricher").await;
    // What comes again is cut anew, and what was in hand is not what comes.
    let chaos = Chaos { seed: 8, recut: true, race_percent: 0, lost_answer_percent: 0 };
    let settings =
        MappingSettings { batch_size: 12, backoff: Duration::from_millis(1), chaos: Some(chaos), ..Default::default() };
    let (mapping, _) = world.mapping(&[Arc::clone(&enricher)], settings);
    world.touch(&mapping).await;
    let mut points = 0;
    for reaches in [false, true] {
        for calls in 0.. {
            world.order(6, &DISHES).await;
            world.table.put("burger", 100, &format!("priority {reaches} {calls}")).await;
            world.capture(&capture).await;
            world.announce(&injector).await;
            world.order(12, &DISHES).await;
            let drain = {
                let mapping = Arc::clone(&mapping);
                async move { mapping.drain().await.unwrap() }
            };
            if !killed_after(&proxy, calls, reaches, &enricher, drain).await {
                break;
            }
            points += 1;
        }
    }
    assert!(points > 20, "killed at {points} points only");
    world.verify().await;
    let before = world.output_objects().await;
    let (replay, _) = world.enricher().await;
    replay.drain().await.unwrap();
    assert!(world.output_objects().await == before, "a replay wrote other keys or bytes");
}

async fn a_capture_killed_at_any_call_leaves_no_gap_and_no_double(servers: Arc<Servers>) {
    let (world, proxy) = world(&servers).await;
    let capture = world.function("change-capture").await;
    let mut wanted = sample();
    let mut points = 0;
    for reaches in [false, true] {
        for calls in 0.. {
            let priority = format!("priority {reaches} {calls}");
            world.table.put("burger", 100, &priority).await;
            wanted.insert(("burger".into(), "100".into()), priority);
            let settings = MappingSettings { backoff: Duration::from_millis(1), ..MappingSettings::default() };
            let mapping = world.table.mapping(&[Arc::clone(&capture)], settings);
            let drain = async move { mapping.drain().await.unwrap() };
            let stopped = killed_after(&proxy, calls, reaches, &capture, drain).await;
            world.table.skip().await;
            let files = world.change_files().await;
            assert_eq!(folds(&sample(), &files).pop().unwrap(), wanted, "after {calls} calls ({reaches})");
            if !stopped {
                break;
            }
            points += 1;
            assert_eq!(files.len(), points + usize::from(reaches), "a change file of each batch, once");
        }
    }
    assert!(points >= 4, "killed at {points} points only");
}
