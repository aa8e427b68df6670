//! Dead letters, and the sum of what became of all records.

use bytes::Bytes;

use super::world::{SHARD, World, order};
use crate::memory::Fault;

async fn world() -> World {
    let world = World::new();
    let version = world.bump();
    world.send([order(0, "a"), Bytes::from_static(b"\xff\xfe"), world.flag(version), Bytes::new()]).await;
    world.send([Bytes::from_static(b"[1]\n{\"n\":1,\"dish\":\"a\"}\n{\"n\":2,\"dish\":\"z\"}"), order(3, "z")]).await;
    world.send([Bytes::from_static(br#"{"freshjoin":"change-flag/1"}"#)]).await;
    world
}

#[tokio::test]
async fn a_dead_letter_says_which_record_it_was_and_why() {
    let world = world().await;
    let env = world.env();
    env.done(&world.cut(..)).await;
    let records = world.cut(..);
    let sequence = |place: usize| records.get(place).unwrap().sequence.to_owned();
    let key = format!("dead-letters/p/s/{SHARD}/{}-{}.jsonl", sequence(0), sequence(6));
    let line = |place, sub, reason: &str, data: &str| {
        format!(
            "{{\"shard\":\"{SHARD}\",\"sequence\":\"{}\",\"sub_sequence\":{sub},\"arrival\":\"{}\",\
             \"reason\":\"{reason}\",\"data\":\"{data}\"}}\n",
            sequence(place),
            super::world::START
        )
    };
    let expected = line(1, 0, "the bytes are not UTF-8", "//4=")
        + &line(3, 0, "the record is empty", "")
        + &line(4, 0, "the bytes are not one or more JSON objects", "WzFd");
    assert_eq!(String::from_utf8(world.state.objects()[&key].to_vec()).unwrap(), expected);
}

#[tokio::test]
async fn records_in_are_enriched_unmatched_dead_letters_and_flags() {
    for records in [1, 2, 100] {
        let mut world = world().await;
        world.limits.records = records;
        let env = world.env();
        env.done(&world.cut(..)).await;
        let counts = env.heard.counts();
        let found = (counts.enriched, counts.unmatched, counts.dead_letters, counts.flags, counts.rows);
        assert_eq!(found, (2, 2, 3, 2, 4), "ranges of {records}");
        assert_eq!(counts.records(), 7);
        assert_eq!(world.rows().len(), 4);
    }
}

#[tokio::test]
async fn dead_letters_are_written_again_to_the_same_bytes() {
    let undisturbed = world().await;
    undisturbed.env().done(&undisturbed.cut(..)).await;
    // After definition, claim and pin.
    for place in 3..8 {
        let world = world().await;
        let env = world.env();
        env.script("PUT", place, Fault::CrashAfter);
        assert!(env.batch(&world.cut(..)).await.is_none());
        world.env().done(&world.cut(6..)).await;
        assert_eq!(world.everything(), undisturbed.everything(), "write {place}");
    }
}

#[tokio::test]
async fn names_cannot_leave_their_place_in_a_key() {
    let mut world = World::new();
    world.stream = crate::memory::MemoryStream::new("a/../b", 1, &world.clock);
    world.send([Bytes::from_static(b"junk")]).await;
    world.env().done(&world.cut(..)).await;
    let keys: Vec<_> = world.everything().into_keys().collect();
    assert!(keys.len() == 1 && keys[0].starts_with("dead-letters/p/a%2F..%2Fb/shardId-"), "{keys:?}");
}
