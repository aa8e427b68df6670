//! What the `Stream` port promises.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use freshjoin_core::ports::{Position, PutEntry, Shard, Stream};
use freshjoin_core::sequence;

use super::cases;

/// What a test may do to a stream, beyond the port.
#[async_trait]
pub trait Resharding: Send + Sync + std::fmt::Debug {
    /// Splits a shard in the middle.
    async fn split(&self, shard: &str);

    /// Merges two neighbours.
    async fn merge(&self, lower: &str, upper: &str);
}

/// An empty stream of four open shards.
#[derive(Clone, Debug)]
pub struct World {
    /// The adapter.
    pub stream: Arc<dyn Stream>,
    /// The adapter, over a stream that does not exist; `None` where that cannot be.
    pub missing: Option<Arc<dyn Stream>>,
    /// Splits and merges it.
    pub resharding: Arc<dyn Resharding>,
}

cases!(World:
    it_describes_itself_the_same_each_time,
    its_shards_share_the_hash_keys,
    an_explicit_hash_key_chooses_the_shard,
    a_partition_key_always_goes_to_one_shard,
    records_of_a_shard_are_read_in_the_order_they_were_written,
    positions_include_and_exclude_as_they_say,
    a_page_goes_on_where_it_ended,
    five_hundred_records_are_answered_one_by_one,
    the_end_of_an_open_shard_is_the_tip_and_not_the_end,
    a_split_closes_the_parent_and_names_it,
    a_merge_closes_both_parents_and_names_them,
    what_does_not_exist_is_a_fault,
);

fn entry(data: impl Into<Bytes>, hash_key: &str) -> PutEntry {
    PutEntry { data: data.into(), partition_key: "p".into(), explicit_hash_key: Some(hash_key.into()) }
}

async fn put_all(stream: &dyn Stream, entries: &[PutEntry]) -> Vec<String> {
    let answers = stream.put(entries).await.unwrap();
    assert_eq!(answers.len(), entries.len(), "an answer for each record");
    answers.into_iter().map(Result::unwrap).collect()
}

/// Open shards in the order of their hash keys.
async fn open_shards(stream: &dyn Stream) -> Vec<Shard> {
    let mut shards: Vec<Shard> = stream.shards().await.unwrap().into_iter().filter(|shard| shard.open).collect();
    shards.sort_by(|a, b| sequence::compare(&a.starting_hash_key, &b.starting_hash_key));
    shards
}

/// Everything from a position on, data by sequence number, to the tip.
async fn read_all(stream: &dyn Stream, shard: &str, from: Position) -> (Vec<(String, Bytes)>, bool) {
    read_until(stream, shard, from, true).await
}

/// Everything from a position on, data by sequence number, to the tip or to the end; and whether the shard has ended.
/// A closed shard may say that it is at its tip a page before it says that it has ended.
async fn read_until(stream: &dyn Stream, shard: &str, from: Position, tip: bool) -> (Vec<(String, Bytes)>, bool) {
    let (mut all, mut position) = (Vec::new(), from);
    for _ in 0..100 {
        let page = stream.read(shard, &position).await.unwrap();
        assert!(page.records.is_ordered(), "a page out of order");
        all.extend(page.records.iter().map(|r| (r.sequence.to_owned(), Bytes::copy_from_slice(r.data))));
        match page.next {
            None => return (all, true),
            Some(_) if tip && page.at_tip => return (all, false),
            Some(next) => position = next,
        }
    }
    panic!("{shard} has no end");
}

async fn it_describes_itself_the_same_each_time(world: World) {
    let first = world.stream.describe().await.unwrap();
    assert!(!first.name.is_empty() && !first.name.contains(':'), "a name, not an ARN: {}", first.name);
    assert_eq!(first.retention, std::time::Duration::from_hours(24), "as nothing else was asked for");
    put_all(&*world.stream, &[entry("x", "0")]).await;
    assert_eq!(world.stream.describe().await.unwrap(), first);
}

async fn its_shards_share_the_hash_keys(world: World) {
    let shards = open_shards(&*world.stream).await;
    assert_eq!(shards.len(), 4);
    assert_eq!(shards[0].starting_hash_key, "0");
    assert!(shards.iter().all(|shard| shard.parents.is_empty()), "{shards:?}");
    let distinct: std::collections::BTreeSet<_> = shards.iter().map(|shard| &shard.id).collect();
    assert_eq!(distinct.len(), 4);
    for pair in shards.windows(2) {
        assert!(sequence::compare(&pair[0].starting_hash_key, &pair[1].starting_hash_key).is_lt());
    }
}

async fn an_explicit_hash_key_chooses_the_shard(world: World) {
    let shards = open_shards(&*world.stream).await;
    let entries: Vec<_> = shards.iter().map(|s| entry(s.id.clone(), &s.starting_hash_key)).collect();
    let took = put_all(&*world.stream, &entries).await;
    for (shard, took) in shards.iter().zip(took) {
        assert_eq!(took, shard.id);
        let (records, _) = read_all(&*world.stream, &shard.id, Position::TrimHorizon).await;
        assert_eq!(records.len(), 1, "in {}", shard.id);
        assert_eq!(records[0].1, shard.id);
    }
    let last = put_all(&*world.stream, &[entry("last", &u128::MAX.to_string())]).await;
    assert_eq!(last[0], shards[3].id, "the highest hash key");
}

async fn a_partition_key_always_goes_to_one_shard(world: World) {
    let plain = |key: &str| PutEntry { data: "x".into(), partition_key: key.into(), explicit_hash_key: None };
    let first = put_all(&*world.stream, &(0..50).map(|n| plain(&format!("{n}"))).collect::<Vec<_>>()).await;
    let again = put_all(&*world.stream, &(0..50).map(|n| plain(&format!("{n}"))).collect::<Vec<_>>()).await;
    assert_eq!(first, again);
    let used: std::collections::BTreeSet<_> = first.into_iter().collect();
    assert!(used.len() > 1, "fifty keys all went to {used:?}");
}

async fn records_of_a_shard_are_read_in_the_order_they_were_written(world: World) {
    let shard = open_shards(&*world.stream).await.remove(0);
    let mut written = vec![Bytes::from_static(b"\xff\xfe\x00"), Bytes::from(vec![b'['; 900_000])];
    written.extend((0..40).map(|n| Bytes::from(format!("{{\"n\":{n}}}\r\n"))));
    for data in &written {
        put_all(&*world.stream, &[entry(data.clone(), "0")]).await;
    }
    let (records, _) = read_all(&*world.stream, &shard.id, Position::TrimHorizon).await;
    assert!(records.iter().map(|(_, data)| data).eq(&written), "other records, or another order");
    for pair in records.windows(2) {
        assert!(sequence::compare(&pair[0].0, &pair[1].0).is_lt(), "{} then {}", pair[0].0, pair[1].0);
    }
    let again = read_all(&*world.stream, &shard.id, Position::TrimHorizon).await.0;
    assert!(again == records, "a second read differs");
    let page = world.stream.read(&shard.id, &Position::TrimHorizon).await.unwrap();
    let created = world.stream.describe().await.unwrap().created;
    for record in page.records.iter() {
        assert!(
            record.arrival.millis() >= created.millis() - 1000,
            "arrived {} in a stream of {created}",
            record.arrival
        );
    }
}

async fn positions_include_and_exclude_as_they_say(world: World) {
    let shard = open_shards(&*world.stream).await.remove(0);
    for n in 0..5 {
        put_all(&*world.stream, &[entry(format!("{n}"), "0")]).await;
    }
    let (all, _) = read_all(&*world.stream, &shard.id, Position::TrimHorizon).await;
    for (index, (number, _)) in all.iter().enumerate() {
        let at = read_all(&*world.stream, &shard.id, Position::At(number.as_str().into())).await.0;
        assert!(at == all[index..], "At({number})");
        let after = read_all(&*world.stream, &shard.id, Position::After(number.as_str().into())).await.0;
        assert!(after == all[index + 1..], "After({number})");
    }
}

async fn a_page_goes_on_where_it_ended(world: World) {
    let shard = open_shards(&*world.stream).await.remove(0);
    for n in 0..3 {
        put_all(&*world.stream, &[entry(format!("{n}"), "0")]).await;
    }
    let first = world.stream.read(&shard.id, &Position::TrimHorizon).await.unwrap();
    let next = first.next.unwrap();
    for n in 3..6 {
        put_all(&*world.stream, &[entry(format!("{n}"), "0")]).await;
    }
    let mut all: Vec<Bytes> = first.records.iter().map(|r| Bytes::copy_from_slice(r.data)).collect();
    let rest = read_all(&*world.stream, &shard.id, next.clone()).await.0;
    let same = read_all(&*world.stream, &shard.id, next).await.0;
    assert!(rest == same, "the same position gave other records");
    all.extend(rest.into_iter().map(|(_, data)| data));
    assert_eq!(all, ["0", "1", "2", "3", "4", "5"]);
}

async fn five_hundred_records_are_answered_one_by_one(world: World) {
    let shards = open_shards(&*world.stream).await;
    let entries: Vec<_> = (0..500).map(|n| entry(format!("{n}"), &shards[n % 4].starting_hash_key)).collect();
    let took = put_all(&*world.stream, &entries).await;
    let mut counts = BTreeMap::new();
    for (n, shard) in took.iter().enumerate() {
        assert_eq!(*shard, shards[n % 4].id, "record {n}");
        *counts.entry(shard.as_str()).or_insert(0) += 1;
    }
    let mut read: Vec<u32> = Vec::new();
    for shard in &shards {
        let records = read_all(&*world.stream, &shard.id, Position::TrimHorizon).await.0;
        assert_eq!(records.len(), counts[shard.id.as_str()]);
        read.extend(
            records.into_iter().map(|(_, data)| String::from_utf8(data.to_vec()).unwrap().parse::<u32>().unwrap()),
        );
    }
    read.sort_unstable();
    assert!(read.into_iter().eq(0..500), "lost, doubled or altered");
}

async fn the_end_of_an_open_shard_is_the_tip_and_not_the_end(world: World) {
    let shard = open_shards(&*world.stream).await.remove(0);
    let page = world.stream.read(&shard.id, &Position::TrimHorizon).await.unwrap();
    assert!(page.records.is_empty() && page.at_tip && page.next.is_some(), "{page:?}");
    put_all(&*world.stream, &[entry("x", "0")]).await;
    let (records, closed) = read_all(&*world.stream, &shard.id, page.next.unwrap()).await;
    assert_eq!((records.len(), closed), (1, false));
}

async fn a_split_closes_the_parent_and_names_it(world: World) {
    let parent = open_shards(&*world.stream).await.remove(0);
    put_all(&*world.stream, &[entry("before", "0"), entry("before", "1")]).await;
    let (held, _) = read_all(&*world.stream, &parent.id, Position::TrimHorizon).await;
    world.resharding.split(&parent.id).await;
    let shards = world.stream.shards().await.unwrap();
    let closed = shards.iter().find(|shard| shard.id == parent.id).expect("a closed shard is still listed");
    assert!(!closed.open);
    let children: Vec<_> = shards.iter().filter(|shard| shard.parents == [parent.id.clone()]).collect();
    assert_eq!(children.len(), 2, "{shards:?}");
    assert!(children.iter().all(|child| child.open));
    assert_eq!(open_shards(&*world.stream).await.len(), 5);
    for child in &children {
        let took = put_all(&*world.stream, &[entry("after", &child.starting_hash_key)]).await;
        assert_eq!(took[0], child.id);
        let (records, closed) = read_all(&*world.stream, &child.id, Position::TrimHorizon).await;
        assert!(records.len() == 1 && records[0].1 == "after" && !closed, "{records:?}");
    }
    let (records, closed) = read_until(&*world.stream, &parent.id, Position::TrimHorizon, false).await;
    assert!(records == held && closed, "the parent is read to its end: {records:?}");
    let last = Position::After(held[1].0.as_str().into());
    assert_eq!(read_until(&*world.stream, &parent.id, last, false).await, (Vec::new(), true));
}

async fn a_merge_closes_both_parents_and_names_them(world: World) {
    let shards = open_shards(&*world.stream).await;
    world.resharding.merge(&shards[1].id, &shards[2].id).await;
    let open = open_shards(&*world.stream).await;
    assert_eq!(open.len(), 3);
    let mut parents = open[1].parents.clone();
    parents.sort_unstable();
    assert_eq!(parents, [shards[1].id.clone(), shards[2].id.clone()]);
    assert_eq!(open[1].starting_hash_key, shards[1].starting_hash_key);
    let took = put_all(&*world.stream, &[entry("x", &shards[2].starting_hash_key)]).await;
    assert_eq!(took[0], open[1].id, "the child has the range of both");
}

async fn what_does_not_exist_is_a_fault(world: World) {
    assert!(world.stream.read("shardId-000000009999", &Position::TrimHorizon).await.is_err());
    if let Some(missing) = world.missing {
        assert!(missing.describe().await.is_err());
        assert!(missing.shards().await.is_err());
        assert!(missing.put(&[entry("x", "0")]).await.is_err());
    }
}
