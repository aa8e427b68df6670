//! Everything at once: environments that alternate, race and are killed at random points, batches that are cut anew,
//! answers that are lost, and a table that changes all the while. Seeds are fixed; what the scheduler makes of them is
//! not, so a failure says which world's logs to read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use freshjoin_core::ports::Clock;
use freshjoin_local::mapping::{Chaos, MappingSettings};
use freshjoin_local::runtime_api::Environment;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::oracle::{folds, sample};
use crate::trials;
use crate::world::{DISHES, Servers, World};

trials!("chaos":
    environments_that_take_turns_agree,
    environments_that_race_write_once,
    enrichers_killed_under_load_lose_and_double_nothing,
    a_capture_that_is_killed_settles_at_the_table,
);

fn chaos(seed: u64, race_percent: u8, lost_answer_percent: u8) -> MappingSettings {
    MappingSettings {
        batch_size: 25,
        backoff: Duration::from_millis(2),
        chaos: Some(Chaos { seed, recut: true, race_percent, lost_answer_percent }),
        ..MappingSettings::default()
    }
}

async fn environments(world: &World, binary: &str, count: usize) -> Vec<Arc<Environment>> {
    let mut environments = Vec::new();
    for _ in 0..count {
        environments.push(world.function(binary).await);
    }
    environments
}

/// Changes, flags and orders in turn, the enricher after each.
async fn rounds(world: &World, settings: MappingSettings, rounds: usize) {
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    let (mapping, _) = world.mapping(&environments(world, "enricher", 3).await, settings);
    world.touch(&mapping).await;
    for round in 0..rounds {
        world.table.put("burger", 100, &format!("priority {round}")).await;
        if round % 2 == 0 {
            world.table.delete("pizza", 100).await;
        } else {
            world.table.put("pizza", 100, "low").await;
        }
        world.capture(&capture).await;
        world.order(40, &DISHES).await;
        world.announce(&injector).await;
        world.order(40, &DISHES).await;
        mapping.drain().await.unwrap();
    }
    world.verify().await;
}

async fn environments_that_take_turns_agree(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    rounds(&world, chaos(1, 0, 0), 8).await;
}

async fn environments_that_race_write_once(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    rounds(&world, chaos(2, 60, 20), 8).await;
}

/// Kills one of the processes after a random while, again and again, until told to stop; then how often.
async fn kill(environments: Vec<Arc<Environment>>, seed: u64, clock: Arc<dyn Clock>, stop: Arc<AtomicBool>) -> usize {
    let mut random = StdRng::seed_from_u64(seed);
    let mut kills = 0;
    while !stop.load(Ordering::Relaxed) {
        clock.sleep(Duration::from_millis(random.random_range(5..250))).await;
        let victim = &environments[random.random_range(0..environments.len())];
        if victim.is_running().await {
            victim.kill().await;
            kills += 1;
        }
    }
    kills
}

async fn enrichers_killed_under_load_lose_and_double_nothing(servers: Arc<Servers>) {
    let world = Arc::new(World::new(&servers).await);
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    let enrichers = environments(&world, "enricher", 2).await;
    let (mapping, seen) = world.mapping(&enrichers, chaos(3, 30, 10));
    world.touch(&mapping).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (send_stop, deliver) = tokio::sync::watch::channel(false);
    let killer = tokio::spawn(kill(enrichers, 4, Arc::clone(&world.clock), Arc::clone(&stop)));
    let delivery = tokio::spawn({
        let mapping = Arc::clone(&mapping);
        async move { mapping.run(deliver).await }
    });
    for round in 0..25 {
        world.order(30, &DISHES).await;
        world.table.put("burger", 100, &format!("priority {round}")).await;
        world.capture(&capture).await;
        world.order(10, &DISHES).await;
        world.announce(&injector).await;
    }
    // Under kills all the way to the last records.
    while seen.count() < 150 {
        world.clock.sleep(Duration::from_millis(20)).await;
        world.order(5, &DISHES).await;
    }
    stop.store(true, Ordering::Relaxed);
    let kills = killer.await.unwrap();
    send_stop.send(true).unwrap();
    delivery.await.unwrap();
    mapping.drain().await.unwrap();
    assert!(kills >= 10 && seen.failed() >= 5, "{kills} kills, {} failures: too few to say anything", seen.failed());
    world.verify().await;
    // And once more from the beginning, whatever state the kills have left.
    let before = world.output_objects().await;
    let (replay, _) = world.enricher().await;
    replay.drain().await.unwrap();
    assert!(world.output_objects().await == before, "a replay wrote other keys or bytes");
}

async fn a_capture_that_is_killed_settles_at_the_table(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let captures = environments(&world, "change-capture", 2).await;
    let stop = Arc::new(AtomicBool::new(false));
    let killer = tokio::spawn(kill(captures.clone(), 5, Arc::clone(&world.clock), Arc::clone(&stop)));
    let mut random = StdRng::seed_from_u64(6);
    let mut wanted = sample();
    for round in 0..6 {
        for n in 0..20 {
            let item = format!("item {}", random.random_range(0..8));
            let key = (item.clone(), "100".to_owned());
            if random.random_bool(0.3) {
                world.table.delete(&item, 100).await;
                wanted.remove(&key);
            } else {
                let priority = format!("priority {round} {n}");
                world.table.put(&item, 100, &priority).await;
                wanted.insert(key, priority);
            }
        }
        let settings = MappingSettings { batch_size: 4, ..chaos(round, 40, 20) };
        world.table.drain_to(&captures, settings).await;
        assert_eq!(folds(&sample(), &world.change_files().await).pop().unwrap(), wanted, "in round {round}");
    }
    stop.store(true, Ordering::Relaxed);
    killer.await.unwrap();
}
