//! Flags are data that anybody may write: a true one is honoured, a false one costs little, and neither is lost in a fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::world::{World, order, row};
use crate::batch::IgnoredFlag::{Malformed, OtherDigest, Unknown};
use crate::change::{Flag, change_key};
use crate::memory::{Call, Fault};

fn forged(version: &str, digest: &str) -> Bytes {
    format!(r#"{{"freshjoin":"change-flag/1","version":{version},"digest":"{digest}"}}"#).into()
}

/// A world whose shard is at version 0, with one order done.
async fn started() -> (World, super::world::Environment) {
    let world = World::new();
    world.orders([0]).await;
    let env = world.warm(&world.cut(..)).await;
    (world, env)
}

#[tokio::test]
async fn flags_that_cannot_be_honoured_are_ignored_counted_and_told() {
    let digest = crate::change::digest(b"x");
    for (flag, why) in [
        (forged("1", &digest), OtherDigest),
        (forged("2", &digest), Unknown),
        (forged("18446744073709551615", &digest), Unknown),
        (forged("18446744073709551616", &digest), Malformed),
        (forged("-1", &digest), Malformed),
        (forged("\"1\"", &digest), Malformed),
        (Bytes::from_static(br#"{"freshjoin":"change-flag/1"}"#), Malformed),
        (Bytes::from_static(br#"{"freshjoin":"change-flag/2","version":1,"digest":""}"#), Malformed),
    ] {
        let (world, env) = started().await;
        world.bump();
        world.send([flag.clone(), order(1, "a")]).await;
        env.done(&world.cut(1..)).await;
        assert_eq!(env.heard.ignored(), [why], "{flag:?}");
        assert_eq!(world.rows(), [row(0, "base", 0), row(1, "base", 0)], "{flag:?}");
        let counts = env.heard.counts();
        assert_eq!((counts.flags, counts.records(), counts.dead_letters), (1, 1, 0), "{flag:?}");
        assert_eq!(world.everything().len(), 2, "no output and no dead letter of it");
    }
}

#[tokio::test]
async fn a_storm_of_false_flags_of_two_true_versions_costs_a_look_at_each() {
    let mut world = World::new();
    world.limits.records = 100;
    world.orders([0]).await;
    let env = world.warm(&world.cut(..)).await;
    world.bump();
    let version = world.bump();
    let digest = |n: usize| crate::change::digest(format!("{n}").as_bytes());
    world.send((0..400).map(|n| forged(["1", "2"][n % 2], &digest(n)))).await;
    world.send([world.flag(version), order(1, "a")]).await;
    env.done(&world.cut(1..)).await;
    assert!(env.gate.count("GET") <= 6, "{:?}", env.gate.counts());
    assert_eq!(env.heard.ignored(), [OtherDigest; 400]);
    assert_eq!(world.rows()[1], row(1, "v2", 2), "and the true one among them is honoured");
}

#[tokio::test]
async fn a_flag_of_a_file_that_comes_right_after_the_look_counts_if_it_is_true() {
    for is_true in [true, false] {
        let world = Arc::new(World::new());
        world.orders([0]).await;
        world.wait(2);
        world.env().done(&world.cut(..)).await;
        let version = world.bump();
        let flag = if is_true { world.flag(version) } else { forged("1", &crate::change::digest(b"x")) };
        world.send([flag, order(1, "a")]).await;
        let file = world.state.objects()[&change_key(version)].clone();
        world.state.remove(&change_key(version));
        let late = Arc::new(AtomicBool::new(true));
        let env = world.env_with({
            let (world, late) = (Arc::clone(&world), Arc::clone(&late));
            Arc::new(move |call: &Call<'_>| {
                if call.operation == "LIST" && call.key.contains("changes") && late.swap(false, Ordering::Relaxed) {
                    world.state.insert(&change_key(version), file.clone());
                }
                Fault::None
            })
        });
        env.done(&world.cut(1..)).await;
        assert!(!late.load(Ordering::Relaxed));
        assert_eq!(world.rows()[1], if is_true { row(1, "v1", 1) } else { row(1, "base", 0) });
        assert_eq!(env.heard.ignored().is_empty(), is_true);
    }
}

#[tokio::test]
async fn a_false_flag_of_a_version_in_force_is_told() {
    let (world, env) = started().await;
    let version = world.bump();
    world.send([world.flag(version), forged("1", &crate::change::digest(b"x")), world.flag(version)]).await;
    env.done(&world.cut(1..)).await;
    assert_eq!(env.heard.ignored(), [OtherDigest]);
    assert_eq!(env.heard.counts().flags, 3);
}

#[tokio::test]
async fn version_0_is_never_announced() {
    let (world, env) = started().await;
    world.send([forged("0", ""), order(1, "a")]).await;
    env.done(&world.cut(1..)).await;
    assert_eq!(world.rows()[1], row(1, "base", 0));
    assert_eq!(env.gate.count("GET"), 1);
    assert_eq!(env.heard.ignored(), [Unknown]);
}

#[tokio::test]
async fn a_false_digest_of_a_version_in_memory_is_ignored_too() {
    let (world, env) = started().await;
    let version = world.bump();
    world.send([world.flag(version)]).await;
    env.done(&world.cut(1..)).await;
    let other = "shardId-000000000001";
    let mut records = world.cut(..1);
    let copy = world.cut(1..);
    let place = copy.get(0).unwrap();
    records.push(place.sequence, place.arrival, &forged("1", &crate::change::digest(b"y"))).unwrap();
    let cursor = crate::batch::cursor_key("p", "s", other);
    let key = crate::batch::cursor_key("p", "s", super::world::SHARD);
    let text = String::from_utf8(world.state.objects()[&key].to_vec()).unwrap();
    world.state.insert(&cursor, text.replace("\"version\":1", "\"version\":0").replace(place.sequence, "1"));
    env.done_of(other, &records).await;
    assert_eq!(env.heard.ignored(), [OtherDigest]);
    assert_eq!(world.cursor_of(other).unwrap().version, 0);
}

#[tokio::test]
async fn many_forged_flags_cost_a_bounded_number_of_calls() {
    let mut world = World::new();
    world.limits.records = 1000;
    world.orders([0]).await;
    let env = world.warm(&world.cut(..)).await;
    let version = world.bump();
    let digest = crate::change::digest(b"x");
    world.send((0..400).map(|n| forged(&(1_000_000 + n).to_string(), &digest))).await;
    world.send([world.flag(version), order(1, "a")]).await;
    env.done(&world.cut(1..101)).await;
    let few = env.gate.count("GET");
    assert!(few <= 6, "{few} GETs");
    env.gate.reset();
    env.done(&world.cut(101..)).await;
    assert!(env.gate.count("GET") <= few + 1, "{:?}", env.gate.counts());
    assert_eq!(env.heard.ignored(), [Unknown; 400]);
    assert_eq!(world.rows()[1], row(1, "v1", 1), "and the true one among them is honoured");
}

#[tokio::test]
async fn an_ignored_flag_is_told_once_however_many_ranges_a_batch_has() {
    let mut world = World::new();
    world.limits.records = 2;
    world.send([order(0, "a"), forged("7", ""), order(1, "a"), forged("\"x\"", ""), order(2, "a")]).await;
    let env = world.env();
    env.done(&world.cut(..)).await;
    assert_eq!((env.heard.ignored(), env.heard.counts().flags), (vec![Unknown, Malformed], 2));
}

#[tokio::test]
async fn a_store_that_fails_while_a_flag_is_looked_up_never_makes_it_unknown() {
    for place in 1..8 {
        let (world, env) = started().await;
        world.bump();
        let version = world.bump();
        world.send([forged("99", ""), world.flag(version), order(1, "a")]).await;
        env.script("GET", place, Fault::Fail);
        let outcome = env.batch(&world.cut(1..)).await.unwrap();
        if env.gate.count("GET") <= place as u64 {
            assert!(outcome.is_ok() && place > 3, "{place}");
            return;
        }
        assert!(outcome.is_err(), "GET {place}");
        assert_eq!(world.rows().len(), 1, "GET {place}: nothing was committed");
        env.done(&world.cut(1..)).await;
        assert_eq!(world.rows()[1], row(1, "v2", 2), "GET {place}");
    }
    panic!("the calls had no end");
}

#[tokio::test]
async fn a_damaged_change_file_stops_whoever_needs_it() {
    for (damaged, text) in [(1, "{"), (2, "{"), (1, r#"{"freshjoin":"change-file/2"}"#), (2, "")] {
        let (world, env) = started().await;
        world.bump();
        let version = world.bump();
        let key = change_key(damaged);
        let sound = world.state.objects()[&key].clone();
        let flag = world.flag(version);
        world.state.insert(&key, text);
        world.send([order(1, "a"), flag, order(2, "a")]).await;
        for env in [&env, &world.env()] {
            let error = env.fails(&world.cut(1..)).await;
            let shown = crate::chain::Chain(&error).to_string();
            assert!(shown.contains(&key) && (shown.contains("rebase") || shown.contains("upgrade")), "{shown}");
            assert_eq!(world.rows().len(), 1, "nothing is joined past it");
            assert!(world.cursor().unwrap().pending.is_none());
        }
        world.state.insert(&key, sound);
        env.done(&world.cut(1..)).await;
        assert_eq!(world.rows(), [row(0, "base", 0), row(1, "base", 0), row(2, "v2", 2)]);
    }
}

#[tokio::test]
async fn a_change_file_that_was_deleted_is_no_empty_version() {
    let (world, env) = started().await;
    world.bump();
    let version = world.bump();
    world.send([world.flag(version), order(1, "a")]).await;
    world.state.remove(&change_key(1));
    let error = env.fails(&world.cut(1..)).await;
    assert!(crate::chain::Chain(&error).to_string().contains(&change_key(1)), "{error}");
}

#[tokio::test]
async fn a_batch_of_flags_alone_moves_the_version() {
    let (world, env) = started().await;
    let version = world.bump();
    world.send([world.flag(version)]).await;
    env.done(&world.cut(1..)).await;
    assert_eq!(env.gate.count("PUT"), 2, "no object");
    world.orders([1]).await;
    world.env().done(&world.cut(2..)).await;
    assert_eq!(world.rows()[1], row(1, "v1", 1));
}

#[tokio::test]
async fn only_a_whole_plain_record_is_a_flag() {
    let (world, env) = started().await;
    let version = world.bump();
    let flag = String::from_utf8(world.flag(version).to_vec()).unwrap();
    world.send([Bytes::from(format!("{flag}{}", r#"{"n":1,"dish":"a"}"#)), order(2, "a")]).await;
    env.done(&world.cut(1..)).await;
    assert_eq!(world.cursor().unwrap().version, 0);
    assert_eq!((env.heard.counts().flags, env.heard.counts().records()), (0, 3));
    assert!(Flag::decode(flag.as_bytes()).is_ok());
}
