//! Records that can never be joined: kept aside with a reason and every byte, while everything beside them goes on.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use crate::output::NULL;
use crate::trials;
use crate::world::{DISHES, Servers, World};

trials!("records":
    poison_is_kept_aside_to_the_byte,
    records_of_several_lines_and_several_objects,
    partition_values_that_are_null_empty_or_too_long,
    a_replay_of_poison_writes_the_same_dead_letters,
);

const POISON: [&[u8]; 12] = [
    b"not json",
    b"\xff\xfe\x00",
    b"{\"dish\":",
    b"42",
    b"\"x\"",
    b"null",
    b"[1,2]",
    b"\x00",
    b"{\"dish\":\"pizza\"",
    b"{\"dish\":\"\xff\"}",
    b"{'dish':'pizza'}",
    b"{\"a\":01}",
];

async fn poison_is_kept_aside_to_the_byte(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let deep = b"[".repeat(100_000);
    let nested = [b"{\"a\":".repeat(50_000), b"1".to_vec(), b"}".repeat(50_000)].concat();
    let poison: Vec<&[u8]> = POISON.into_iter().chain([&b""[..], &deep, &nested]).collect();
    for round in 0..3 {
        for bad in &poison {
            world.order(1 + round, &DISHES).await;
            world.send(vec![Bytes::copy_from_slice(bad)]).await;
        }
    }
    let (enricher, seen) = world.enricher().await;
    enricher.drain().await.unwrap();
    world.verify().await;
    assert_eq!(seen.failed(), 0, "poison failed a batch");
    let letters = world.dead_letters().await;
    let mut counts: HashMap<&[u8], usize> = HashMap::new();
    for letter in &letters {
        assert!(!letter.reason.is_empty());
        *counts.entry(&letter.data).or_default() += 1;
    }
    for bad in &poison {
        let start = String::from_utf8_lossy(&bad[..bad.len().min(20)]);
        // Too deep an object may be one that can be joined: then it is an order of nothing.
        let nested = bad.len() > 20 && bad.starts_with(b"{") && !counts.contains_key(bad);
        assert!(nested || counts.get(bad) == Some(&3), "dead letters of {start:?}: {:?}", counts.get(bad));
    }
    let places: std::collections::HashSet<_> = letters.iter().map(|l| (&l.shard, &l.sequence)).collect();
    assert_eq!(places.len(), letters.len(), "a record has two dead letters");
}

async fn records_of_several_lines_and_several_objects(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let order = |customer: u32| format!(r#"{{"dish":"burger","cost":5,"customer_id":{customer}}}"#);
    let records = vec![
        // As the Kinesis Data Generator sends the pattern's own template.
        "{ \"dish\": \"burger\"\n,\"cost\": 5\n,\"customer_id\":1\n}".to_owned(),
        format!("{}\n{}\r\n{}\n", order(2), order(3), order(4)),
        format!("{}{} {}", order(5), order(6), order(7)),
        format!("{}\n{{oops\n{}\n\n{}", order(8), order(9), order(10)),
        "{oops\nnever\n".to_owned(),
        // A flag is a whole record only: this one is an order of nothing.
        format!(
            "{}\n{{\"freshjoin\":\"change-flag/1\",\"version\":1,\"digest\":\"sha256:0\",\"customer_id\":12}}",
            order(11)
        ),
    ];
    world.send(records.into_iter().map(Into::into).collect()).await;
    let (enricher, _) = world.enricher().await;
    enricher.drain().await.unwrap();
    let mut customers: Vec<u64> = world.rows().await.iter().map(crate::output::Row::customer).collect();
    customers.sort_unstable();
    assert_eq!(customers, (1..=12).collect::<Vec<u64>>());
    let mut letters: Vec<Vec<u8>> = world.dead_letters().await.into_iter().map(|letter| letter.data).collect();
    letters.sort();
    assert_eq!(letters, [b"{oops".to_vec(), b"{oops\nnever\n".to_vec()]);
}

async fn partition_values_that_are_null_empty_or_too_long(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let long = "x".repeat(2000);
    let orders = [
        json!({"dish": null, "cost": 1, "customer_id": 1}),
        json!({"dish": "", "cost": 2, "customer_id": 2}),
        json!({"cost": 3, "customer_id": 3}),
        json!({"dish": long, "cost": 4, "customer_id": 4}),
        json!({"dish": "🍔".repeat(300), "cost": 5, "customer_id": 5}),
        json!({"dish": "pizza", "cost": 6, "customer_id": 6}),
    ];
    world.send(orders.iter().map(|order| order.to_string().into()).collect()).await;
    let (enricher, _) = world.enricher().await;
    enricher.drain().await.unwrap();
    let mut rows = world.rows().await;
    rows.sort_by_key(crate::output::Row::customer);
    let partitions: Vec<_> = rows.iter().map(|row| (row.customer(), row.get("item").unwrap())).collect();
    assert_eq!(partitions, [(1, NULL), (2, NULL), (3, NULL), (6, "pizza")]);
    let mut letters: Vec<Vec<u8>> = world.dead_letters().await.into_iter().map(|letter| letter.data).collect();
    letters.sort_by_key(Vec::len);
    let mut expected = [orders[3].to_string().into_bytes(), orders[4].to_string().into_bytes()];
    expected.sort_by_key(Vec::len);
    assert_eq!(letters, expected);
}

async fn a_replay_of_poison_writes_the_same_dead_letters(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    for bad in POISON.repeat(4) {
        world.send(vec![Bytes::from_static(bad)]).await;
        world.order(1, &DISHES).await;
    }
    let (enricher, _) = world.enricher().await;
    enricher.drain().await.unwrap();
    let letters = crate::output::objects(&*world.state, "dead-letters/").await;
    let rows = world.output_objects().await;
    let (replay, _) = world.enricher().await;
    replay.drain().await.unwrap();
    assert!(crate::output::objects(&*world.state, "dead-letters/").await == letters);
    assert!(world.output_objects().await == rows);
    assert_eq!(world.dead_letters().await.len(), POISON.len() * 4);
}
