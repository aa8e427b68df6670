//! What Kinesis promises and this stream keeps.

use bytes::Bytes;
use freshjoin_core::sequence::compare;

use super::*;
use crate::testing::StillClock;

fn stream(shards: u32) -> EmbeddedStream {
    EmbeddedStream::new("orders", shards, Arc::new(StillClock::default()))
}

async fn all(stream: &EmbeddedStream, shard: &str, mut from: Position) -> (Vec<String>, Vec<String>, bool) {
    let (mut sequences, mut data) = (Vec::new(), Vec::new());
    loop {
        let page = stream.read(shard, &from).await.unwrap();
        for record in page.records.iter() {
            sequences.push(record.sequence.to_owned());
            data.push(String::from_utf8(record.data.to_vec()).unwrap());
        }
        match page.next {
            Some(next) if !page.at_tip => from = next,
            next => return (sequences, data, next.is_none()),
        }
    }
}

#[test]
fn a_partition_key_hashes_as_kinesis_does() {
    assert_eq!(hash_of("a"), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
}

#[tokio::test]
async fn records_come_in_order_with_56_digits_from_any_position() {
    let stream = stream(1);
    let shard = "shardId-000000000000";
    for number in 0..25_000 {
        stream.append("k", number.to_string().as_bytes()).unwrap();
    }
    let (sequences, data, ended) = all(&stream, shard, Position::TrimHorizon).await;
    assert_eq!(data, (0..25_000).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(sequences.iter().all(|sequence| sequence.len() == 56) && !ended);
    assert!(sequences.windows(2).all(|pair| compare(&pair[0], &pair[1]).is_lt()));
    let at = SequenceNumber::from(sequences[17_000].as_str());
    assert_eq!(all(&stream, shard, Position::At(at.clone())).await.1[0], "17000");
    assert_eq!(all(&stream, shard, Position::After(at.clone())).await.1[0], "17001");
    stream.trim(shard, &at).unwrap();
    assert_eq!(all(&stream, shard, Position::TrimHorizon).await.1[0], "17001");
    assert_eq!(all(&stream, shard, Position::At(sequences[3].as_str().into())).await.1[0], "17001");
}

#[tokio::test]
async fn a_trim_makes_room_for_the_writer() {
    let stream = Arc::new(stream(1));
    let shard = "shardId-000000000000";
    let record = vec![b'x'; 1 << 20];
    let mut last = SequenceNumber::default();
    for _ in 0..4 {
        last = stream.append("k", &record).unwrap().sequence;
    }
    stream.room(shard, 5 << 20).await.unwrap();
    let waiting = tokio::spawn({
        let stream = stream.clone();
        async move { stream.room(shard, 1 << 20).await.unwrap() }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    stream.trim(shard, &last).unwrap();
    waiting.await.unwrap();
}

#[tokio::test]
async fn a_reader_can_wait_for_a_whole_page_or_the_end() {
    let stream = Arc::new(stream(1).with_pages(PageLimits { records: 3, bytes: 1 << 20 }));
    let shard = "shardId-000000000000";
    let waiting = tokio::spawn({
        let stream = stream.clone();
        async move { stream.whole_page(shard).await.unwrap() }
    });
    stream.append_all(shard, [b"1".as_slice(), b"2"]).unwrap();
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    stream.append_all(shard, [b"3".as_slice(), b"4"]).unwrap();
    waiting.await.unwrap();
    let page = stream.read(shard, &Position::TrimHorizon).await.unwrap();
    assert_eq!((page.records.len(), page.at_tip), (3, false));
    stream.trim(shard, &page.records.last_sequence().unwrap()).unwrap();
    stream.end(shard).unwrap();
    stream.whole_page(shard).await.unwrap();
    assert_eq!(all(&stream, shard, page.next.unwrap()).await.1, ["4"]);
    assert!(matches!(stream.append_all(shard, [b"5".as_slice()]), Err(Refusal::Closed(_))));
}

#[tokio::test]
async fn explicit_hash_keys_reach_every_shard() {
    let stream = stream(4);
    let shards = stream.shards().await.unwrap();
    let entry = |key: &str| PutEntry {
        data: Bytes::from_static(b"flag"),
        partition_key: "same".into(),
        explicit_hash_key: Some(key.into()),
    };
    let entries: Vec<_> = shards.iter().map(|shard| entry(&shard.starting_hash_key)).collect();
    let took: Vec<_> = stream.put(&entries).await.unwrap().into_iter().map(Result::unwrap).collect();
    assert_eq!(took, shards.iter().map(|shard| shard.id.clone()).collect::<Vec<_>>());
    assert!(stream.put(&[entry("-1")]).await.is_err());
    assert!(stream.put(&vec![entry("0"); 501]).await.is_err());
    assert!(stream.append_with(u128::MAX, |_, _| {}).unwrap().shard == took[3]);
}

#[tokio::test]
async fn split_and_merge_close_parents_and_children_continue_with_greater_numbers() {
    let stream = stream(1);
    let before = stream.append("a", b"1").unwrap();
    let [low, high] = stream.split(&before.shard, 1 << 127).unwrap();
    assert!(matches!(stream.split(&before.shard, 5), Err(Refusal::Closed(_))));
    assert!(matches!(stream.merge(&high, &low), Err(Refusal::Range)));
    assert!(all(&stream, &before.shard, Position::TrimHorizon).await.2, "a closed shard ends");
    let after = stream.append("a", b"2").unwrap();
    assert_eq!(after.shard, low, "0x0cc1… is in the lower half");
    assert!(after.sequence > before.sequence);
    let child = stream.merge(&low, &high).unwrap();
    assert!(stream.append("a", b"3").unwrap().sequence > after.sequence);
    let shards = stream.shards().await.unwrap();
    let merged = shards.iter().find(|shard| shard.id == child).unwrap();
    assert_eq!((merged.parents.as_slice(), merged.open), ([low, high].as_slice(), true));
    assert_eq!(shards.iter().filter(|shard| shard.open).count(), 1);
}
