//! Records inside others: aggregates by the real packer, gzip and zstd, sound and broken.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use freshjoin_core::ports::PutEntry;
use freshjoin_tests::fixture::aggregate;

use crate::oracle::of_dish;
use crate::trials;
use crate::world::{SHARDS, Servers, World};

trials!("wrapped":
    a_real_packer_s_aggregate_is_its_records,
    wrappings_come_off_in_any_order,
    a_flag_that_is_wrapped_does_not_count,
    what_is_broken_is_kept_whole_and_costs_nothing_beside_it,
);

pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::encode_all(data, 3).unwrap()
}

/// Records of any keys in one aggregate.
fn packed(records: &[&[u8]]) -> Vec<u8> {
    aggregate(&records.iter().map(|record| ("key", *record, None)).collect::<Vec<_>>())
}

fn order(customer: u64) -> Vec<u8> {
    format!(r#"{{"dish":"burger","cost":5,"customer_id":{customer}}}"#).into_bytes()
}

/// A world whose rows say which record they are of.
async fn world(servers: &Servers) -> World {
    let mut world = World::new(servers).await;
    world.deployment.pipeline.push_str("provenance = true\n");
    world
}

/// Sequence number and sub-sequence number of each customer's row.
async fn places(world: &World) -> BTreeMap<u64, (String, u64)> {
    let rows = world.rows().await;
    let place = |row: &crate::output::Row| {
        (row.get("_sequence_number").unwrap().to_owned(), row.get("_sub_sequence").unwrap().parse().unwrap())
    };
    let places: BTreeMap<_, _> = rows.iter().map(|row| (row.customer(), place(row))).collect();
    assert_eq!(places.len(), rows.len(), "a customer has two rows");
    places
}

async fn a_real_packer_s_aggregate_is_its_records(servers: Arc<Servers>) {
    let world = world(&servers).await;
    let lines = [&order(2)[..], b"oops", &order(3)].join(&b'\n');
    let records: [(&str, &[u8], Option<&str>); 4] =
        [("a", &order(1), None), ("b", &lines, Some("0")), ("a", b"", Some("0")), ("c", &order(4), None)];
    world.send([order(5), aggregate(&records), order(6)].map(Bytes::from).into()).await;
    let (enricher, _) = world.enricher().await;
    enricher.drain().await.unwrap();
    let places = places(&world).await;
    let numbers: Vec<_> = places.iter().map(|(customer, (_, sub))| (*customer, *sub)).collect();
    assert_eq!(numbers, [(1, 0), (2, 1), (3, 3), (4, 5), (5, 0), (6, 0)]);
    let sequence = &places[&1].0;
    let alike: Vec<_> = places.iter().filter(|(_, (s, _))| s == sequence).map(|(customer, _)| *customer).collect();
    assert_eq!(alike, [1, 2, 3, 4], "the records of an aggregate have its sequence number");
    let letters = world.dead_letters().await;
    let letters: Vec<_> =
        letters.iter().map(|letter| (&letter.sequence, letter.sub_sequence, letter.data.as_slice())).collect();
    assert_eq!(letters, [(sequence, 2, &b"oops"[..]), (sequence, 4, b"")]);
}

async fn wrappings_come_off_in_any_order(servers: Arc<Servers>) {
    let world = world(&servers).await;
    let lines = |first: u64| [order(first), order(first + 1), order(first + 2)].join(&b'\n');
    let records = [
        gzip(&lines(1)),
        zstd(&lines(4)),
        zstd(&gzip(&lines(7))),
        gzip(&packed(&[&gzip(&lines(10)), &zstd(&lines(13))])),
        packed(&[&lines(16), &packed(&[&order(19), &lines(20)]), &gzip(&order(23))]),
        [gzip(&order(24)), gzip(&order(25))].concat(),
    ];
    world.send(records.map(Bytes::from).into()).await;
    let (enricher, _) = world.enricher().await;
    enricher.drain().await.unwrap();
    let numbers: Vec<_> = places(&world).await.into_iter().map(|(customer, (_, sub))| (customer, sub)).collect();
    let subs = [3, 3, 3, 6, 8, 2].map(|count| 0..count).into_iter().flatten();
    assert_eq!(numbers, (1..=25).zip(subs).collect::<Vec<_>>());
    assert!(world.dead_letters().await.is_empty());
}

/// A record in each open shard.
async fn everywhere(world: &World, data: &[u8]) {
    for shard in world.stream.shards().await.unwrap() {
        let hash_key = Some(shard.starting_hash_key);
        let data = Bytes::copy_from_slice(data);
        let entry = PutEntry { data, partition_key: "any".into(), explicit_hash_key: hash_key };
        world.stream.put(&[entry]).await.unwrap().remove(0).unwrap();
    }
}

async fn a_flag_that_is_wrapped_does_not_count(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let (enricher, _) = world.enricher().await;
    world.touch(&enricher).await;
    world.table.put("burger", 100, "high").await;
    world.capture(&world.function("change-capture").await).await;
    let flag = world.flag(1).await.into_bytes();
    let wrapped = [packed(&[&flag]), gzip(&flag), zstd(&flag), gzip(&packed(&[&flag]))];
    for wrapped in &wrapped {
        everywhere(&world, wrapped).await;
    }
    world.order(40, &["burger"]).await;
    everywhere(&world, &flag).await;
    world.order(40, &["burger"]).await;
    enricher.drain().await.unwrap();
    world.verify().await;
    let rows = world.rows().await;
    let count =
        |priority: &str| of_dish(&rows, "burger").iter().filter(|row| row.get("priority") == Some(priority)).count();
    assert_eq!((count("medium"), count("high")), (40, 40), "only the flag itself counts");
    let nobody = rows.iter().filter(|row| row.get("customer_id") == Some("")).count();
    assert_eq!(nobody, SHARDS * wrapped.len(), "wrapped it is a record of nothing");
    assert!(world.dead_letters().await.is_empty());
}

async fn what_is_broken_is_kept_whole_and_costs_nothing_beside_it(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let lines = [order(9001), order(9002), order(9003)].join(&b'\n');
    let whole = packed(&[&lines, &lines]);
    let end = whole.len();
    let mut altered = whole.clone();
    altered[end - 1] ^= 1;
    // Lines that could be read alone are still part of what is broken.
    let broken = [
        altered,
        whole[..end - 1].to_vec(),
        whole[..end / 2].to_vec(),
        whole[..4].to_vec(),
        gzip(&lines)[..40].to_vec(),
        zstd(&lines)[..40].to_vec(),
        gzip(&whole)[..60].to_vec(),
        [zstd(&lines), b"more".to_vec()].concat(),
        // 1 GiB of zeros.
        zstd(&vec![0; 1 << 20]).repeat(1 << 10),
        (0..9).fold(order(9004), |inner, _| gzip(&inner)),
    ];
    let mut customer = 1;
    for broken in &broken {
        let (before, after) = (order(customer), order(customer + 1));
        world.send(vec![Bytes::copy_from_slice(broken), packed(&[&before, broken, &after]).into()]).await;
        customer += 2;
    }
    let (enricher, seen) = world.enricher().await;
    enricher.drain().await.unwrap();
    assert_eq!(seen.failed(), 0, "it failed a batch");
    let mut customers: Vec<u64> = world.rows().await.iter().map(crate::output::Row::customer).collect();
    customers.sort_unstable();
    assert_eq!(customers, (1..customer).collect::<Vec<_>>());
    let letters = world.dead_letters().await;
    // One layer less inside an aggregate: what is kept is what could not be unwrapped.
    let (deepest, whole) = broken.split_last().unwrap();
    for (number, broken) in whole.iter().enumerate() {
        let mut places: Vec<_> = letters.iter().filter(|l| l.data == *broken).map(|l| l.sub_sequence).collect();
        places.sort_unstable();
        assert_eq!(places, [0, 1], "dead letters of {number}");
    }
    let deep: Vec<_> = letters.iter().filter(|letter| letter.reason.contains("wrapped")).collect();
    assert!(deep.len() == 2 && deep.iter().all(|letter| letter.data.len() < deepest.len()));
    assert_eq!(letters.len(), 2 * broken.len());
    let (objects, rows) = (crate::output::objects(&*world.state, "dead-letters/").await, world.output_objects().await);
    let (replay, _) = world.enricher().await;
    replay.drain().await.unwrap();
    assert!(crate::output::objects(&*world.state, "dead-letters/").await == objects);
    assert!(world.output_objects().await == rows);
}
