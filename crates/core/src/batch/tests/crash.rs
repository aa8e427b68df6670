//! An environment dies, or an answer is lost, at each write of a batch; another one goes on with another cut.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::world::{Row, World, order, row};
use crate::batch::ProcessError;
use crate::memory::{Call, Fault};

/// The writes of the batch: intent, three output objects, dead letters, commit.
const PUTS: usize = 6;

/// Two records that are done, then the batch: two versions, three partitions, a dead letter.
async fn world() -> World {
    let world = World::new();
    world.orders(0..2).await;
    world.wait(1);
    let version = world.change(&[("a", Some("new")), ("b", Some("beta"))]);
    world.send([order(2, "a"), order(3, "b"), world.flag(version), Bytes::from_static(b"junk")]).await;
    world.send([order(4, "a"), order(5, "b"), order(6, "c")]).await;
    world
}

fn expected() -> Vec<Row> {
    vec![
        row(0, "base", 0),
        row(1, "base", 0),
        row(2, "base", 0),
        row(3, "", 0),
        row(4, "new", 1),
        row(5, "beta", 1),
        row(6, "", 1),
    ]
}

async fn undisturbed() -> BTreeMap<String, Bytes> {
    let world = world().await;
    let env = world.warm(&world.cut(..2)).await;
    env.done(&world.cut(2..)).await;
    assert_eq!(env.gate.count("PUT"), PUTS as u64);
    assert_eq!(world.rows(), expected());
    world.everything()
}

#[tokio::test]
async fn a_batch_that_was_cut_short_anywhere_is_finished_to_the_same_bytes() {
    let undisturbed = undisturbed().await;
    let faults = [
        Fault::CrashBefore,
        Fault::CrashAfter,
        Fault::Fail,
        Fault::LostAnswer,
        Fault::Throttle,
        Fault::LateWrite(0),
        Fault::LateWrite(2),
    ];
    // What the next environments are handed: the same cut, other cuts, and only what follows later.
    let cuts: [&[(usize, usize)]; 5] = [&[(2, 9)], &[(0, 3), (3, 9)], &[(2, 5), (5, 7), (7, 9)], &[(0, 9)], &[(8, 9)]];
    for (fault, place, cut) in faults
        .iter()
        .flat_map(|fault| (0..PUTS).map(move |place| (fault, place)))
        .flat_map(|(fault, place)| cuts.iter().map(move |cut| (fault, place, cut)))
    {
        let decided = place > 0 || matches!(fault, Fault::CrashAfter | Fault::LostAnswer);
        if !decided && cut[0].0 > 2 {
            continue; // Records that nobody has decided are delivered again.
        }
        let case = format!("{fault:?} at write {place}, then {cut:?}");
        let world = world().await;
        let env = world.warm(&world.cut(..2)).await;
        env.script("PUT", place, fault.clone());
        assert!(!matches!(env.batch(&world.cut(2..)).await, Some(Ok(()))), "{case}");
        for (from, to) in *cut {
            world.env().done(&world.cut(*from..*to)).await;
        }
        assert_eq!(world.rows(), expected(), "{case}");
        if decided {
            assert_eq!(world.everything(), undisturbed, "{case}");
        }
        let settled = world.everything();
        for env in [&env, &world.env()] {
            if !env.gate.crash().has_struck() {
                env.done(&world.cut(..)).await;
            }
        }
        assert_eq!(world.everything(), settled, "{case}: delivered once more");
        assert!(world.cursor().unwrap().pending.is_none(), "{case}");
    }
}

#[tokio::test]
async fn the_same_environment_goes_on_after_an_error() {
    let undisturbed = undisturbed().await;
    for (fault, place) in
        [Fault::Fail, Fault::LostAnswer].into_iter().flat_map(|fault| (0..PUTS).map(move |n| (fault.clone(), n)))
    {
        let world = world().await;
        let env = world.warm(&world.cut(..2)).await;
        env.script("PUT", place, fault.clone());
        env.fails(&world.cut(2..)).await;
        env.done(&world.cut(2..)).await;
        assert_eq!(world.everything(), undisturbed, "{fault:?} at write {place}");
    }
}

#[tokio::test]
async fn a_write_that_meets_another_is_tried_again_within_the_call() {
    let undisturbed = undisturbed().await;
    for place in [0, PUTS - 1] {
        let world = world().await;
        let env = world.warm(&world.cut(..2)).await;
        env.script("PUT", place, Fault::Busy);
        env.done(&world.cut(2..)).await;
        assert_eq!(world.everything(), undisturbed, "busy at write {place}");
    }
}

#[tokio::test]
async fn a_write_that_always_meets_another_is_given_up() {
    for (part, puts) in [("pipelines/", 64), ("_freshjoin", 64), ("cursors/", 65)] {
        let world = world().await;
        let busy = Arc::new(AtomicU64::new(0));
        let env = world.env_with({
            let busy = Arc::clone(&busy);
            Arc::new(move |call: &Call<'_>| {
                if call.operation != "PUT" || !call.key.contains(part) {
                    return Fault::None;
                }
                busy.fetch_add(1, Ordering::Relaxed);
                Fault::Busy
            })
        });
        let error = env.fails(&world.cut(..)).await;
        assert!(matches!(error, ProcessError::Contended(_)), "{part}: {error}");
        assert_eq!(busy.load(Ordering::Relaxed), puts, "{part}");
        assert!(world.rows().is_empty(), "{part}");
    }
}

#[tokio::test]
async fn a_first_batch_that_was_cut_short_anywhere_is_finished_by_the_next() {
    // Of a cold environment: definition, claim of the output, base, intent, object, commit.
    for (fault, place) in [Fault::CrashBefore, Fault::CrashAfter, Fault::LostAnswer, Fault::Busy]
        .into_iter()
        .flat_map(|fault| (0..6).map(move |place| (fault.clone(), place)))
    {
        let world = World::unscanned();
        world.orders(0..4).await;
        let env = world.env();
        env.script("PUT", place, fault.clone());
        let done = env.batch(&world.cut(..)).await;
        if fault == Fault::Busy {
            done.unwrap().unwrap();
        }
        world.env().done(&world.cut(..2)).await;
        world.env().done(&world.cut(2..)).await;
        let rows: Vec<_> = (0..4).map(|n| row(n, "base", 0)).collect();
        assert_eq!(world.rows(), rows, "{fault:?} at write {place}");
    }
}

#[tokio::test]
async fn a_failed_read_fails_the_batch_and_decides_nothing() {
    for operation in ["GET", "LIST", "DescribeStream", "ListShards", "DescribeTable", "Scan"] {
        for place in 0..20 {
            let world = World::unscanned();
            world.orders(0..2).await;
            world.bump();
            let env = world.env();
            env.script(operation, place, Fault::Fail);
            let outcome = env.batch(&world.cut(..)).await.unwrap();
            if env.gate.count(operation) <= place as u64 {
                assert!(outcome.is_ok(), "{operation} {place}");
                break;
            }
            assert!(outcome.is_err(), "a failed {operation} {place} was taken for an answer");
            env.done(&world.cut(..)).await;
            assert_eq!(world.rows().len(), 2, "{operation} {place}");
        }
    }
}

#[tokio::test]
async fn a_cursor_that_cannot_be_read_stops_the_shard() {
    let world = World::new();
    world.orders(0..4).await;
    let env = world.warm(&world.cut(..2)).await;
    let before = world.everything();
    let key = crate::batch::cursor_key("p", "s", super::world::SHARD);
    let sound = world.state.objects()[&key].clone();
    for damaged in [Bytes::from_static(b"{"), sound.slice(..sound.len() - 1), Bytes::new()] {
        world.state.insert(&key, damaged);
        for env in [&env, &world.env()] {
            let puts = env.gate.count("PUT");
            let error = env.fails(&world.cut(..)).await;
            assert!(error.to_string().contains(&key), "{error}");
            assert_eq!(world.everything(), before);
            assert!(env.gate.count("PUT") <= puts + 2, "at most definition and claim");
        }
    }
    world.state.insert(&key, sound);
    env.done(&world.cut(..)).await;
    assert_eq!(world.rows().len(), 4);
}
