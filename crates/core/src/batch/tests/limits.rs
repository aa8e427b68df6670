//! One committed range is bounded in records, objects and bytes.

use bytes::Bytes;

use super::world::{Environment, SHARD, World, order, row};
use crate::batch::Progress;
use crate::join::Limits;
use crate::memory::Fault;

const NONE: Limits = Limits { records: 1000, objects: 1000, bytes: 1 << 20 };

async fn limited(limits: Limits, dishes: &[&str]) -> (World, Environment) {
    let world = World { limits, ..World::new() };
    for (n, dish) in (0..).zip(dishes) {
        world.send([order(n, dish)]).await;
    }
    let env = world.env();
    env.done(&world.cut(..)).await;
    (world, env)
}

/// How many records each committed range had, flags included.
fn ranges(env: &Environment) -> Vec<u64> {
    env.heard.reports().iter().map(|report| report.counts.records() + report.counts.flags).collect()
}

#[tokio::test]
async fn a_batch_is_cut_into_ranges_of_so_many_records() {
    let (world, env) = limited(Limits { records: 3, ..NONE }, &["a"; 8]).await;
    assert_eq!(ranges(&env), [3, 3, 2]);
    assert_eq!(world.rows().len(), 8);
    let first = world.cut(..3);
    let (from, to) = (first.get(0).unwrap().sequence, first.get(2).unwrap().sequence);
    assert!(world.objects().contains_key(&format!("item=a/{SHARD}-{from}-{to}.csv")), "the key names the range");
}

#[tokio::test]
async fn a_batch_is_cut_into_ranges_of_so_many_objects() {
    let (world, env) = limited(Limits { objects: 2, ..NONE }, &["a", "b", "a", "c", "c", "d", "e"]).await;
    assert_eq!(ranges(&env), [3, 3, 1]);
    assert!(env.heard.reports().iter().all(|report| report.objects <= 2));
    assert_eq!(world.rows().len(), 7);
}

#[tokio::test]
async fn a_batch_is_cut_into_ranges_of_so_many_bytes() {
    let (world, env) = limited(Limits { bytes: 200, ..NONE }, &["a"; 8]).await;
    assert_eq!(ranges(&env), [2, 2, 2, 2], "the limit is passed by less than a record");
    assert_eq!(world.rows().len(), 8);
}

#[tokio::test]
async fn flags_count_as_records_of_a_range() {
    let world = World { limits: Limits { records: 2, ..NONE }, ..World::new() };
    let version = world.bump();
    world.send([world.flag(version), world.flag(version), world.flag(version), order(1, "a")]).await;
    let env = world.env();
    env.done(&world.cut(..)).await;
    assert_eq!(ranges(&env), [2, 2]);
    assert_eq!(world.rows(), [row(1, "v1", 1)]);
}

#[tokio::test]
async fn a_record_that_alone_exceeds_the_limit_has_a_range_of_its_own() {
    let world = World { limits: Limits { objects: 2, ..NONE }, ..World::new() };
    let big: String = (1..6).map(|n| format!(r#"{{"n":{n},"dish":"d{n}"}}"#)).collect();
    world.send([order(0, "a"), Bytes::from(big), order(6, "a")]).await;
    let env = world.env();
    env.done(&world.cut(..)).await;
    let objects: Vec<_> = env.heard.reports().iter().map(|report| report.objects).collect();
    assert_eq!(objects, [1, 5, 1]);
    assert_eq!(world.rows().iter().map(|(n, ..)| *n).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn progress_names_the_first_record_that_is_not_committed() {
    let world = World { limits: Limits { records: 3, ..NONE }, ..World::new() };
    world.orders(0..9).await;
    let env = world.warm(&world.cut(..1)).await;
    // Intent, object, commit of the first range; intent of the second.
    env.script("PUT", 4, Fault::Fail);
    let (records, progress) = (world.cut(..), Progress::default());
    assert!(progress.first_unfinished().is_none());
    assert!(env.consumer.process(SHARD, &records, &progress).await.is_err());
    assert_eq!(progress.first_unfinished().unwrap().as_str(), records.get(4).unwrap().sequence);
    env.done(&world.cut(4..)).await;
    assert_eq!(world.rows().len(), 9);
}

#[tokio::test]
async fn records_out_of_order_and_twice_are_brought_into_order() {
    let world = World::new();
    world.orders(0..4).await;
    let sorted = world.cut(..);
    let mut shuffled = crate::record::Records::default();
    for place in [2, 0, 3, 0, 1, 2] {
        let record = sorted.get(place).unwrap();
        shuffled.push(record.sequence, record.arrival, record.data).unwrap();
    }
    world.env().done(&shuffled).await;
    assert_eq!(world.rows(), (0..4).map(|n| row(n, "base", 0)).collect::<Vec<_>>());
}
