//! Bases: made where there are none, over as many invocations as it takes.

use std::sync::Arc;
use std::time::Duration;

use freshjoin_core::memory::{Call, Fault, Script};
use freshjoin_core::reference::{SCANS, base_key};

use super::look::row;
use super::{DEFINITION, World};
use crate::Standing::{Done, Elsewhere, Scanning, There};

fn standing(summary: &crate::Summary) -> Vec<(crate::Standing, u64)> {
    summary.bootstrap.iter().map(|done| (done.state, done.rows)).collect()
}

#[tokio::test]
async fn what_has_no_base_gets_one_once() {
    let world = World::new();
    world.put("a", "1");
    world.put("b", "1");
    let keeper = world.keeper();
    let done = keeper.run("{}").await.unwrap();
    assert_eq!(standing(&done), [(Done, 2)]);
    let base = world.state.objects()[&base_key("T")].clone();
    world.put("c", "1");
    for (event, expected) in [("{}", vec![]), (r#"{"task":"bootstrap"}"#, vec![(There, 0)])] {
        assert_eq!(standing(&keeper.run(event).await.unwrap()), expected, "{event}");
        assert_eq!(standing(&world.keeper().run(event).await.unwrap()), expected, "{event}");
    }
    assert_eq!(world.state.objects()[&base_key("T")], base);
    keeper.gate.reset();
    keeper.run(r#"{"task":"bootstrap"}"#).await.unwrap();
    assert_eq!((keeper.gate.count("GET"), keeper.gate.count("Scan")), (1, 0), "the notes, and nothing else");
}

#[tokio::test]
async fn a_big_table_takes_several_invocations() {
    let world = World::new();
    (0..40).for_each(|n| world.put(&format!("item {n}"), "1"));
    // A page of one row takes two seconds; an invocation has a minute.
    let slow = || {
        let clock = world.clock.clone();
        world.keeper_with(Arc::new(move |call: &Call<'_>| {
            if call.operation != "Scan" {
                return Fault::None;
            }
            clock.advance(Duration::from_secs(2));
            Fault::Short(1)
        }))
    };
    let (mut before, mut invocations) = (0, 0);
    loop {
        let done = standing(&slow().run("{}").await.unwrap());
        if done == [(Done, 40)] {
            break;
        }
        let [(Scanning, rows)] = done[..] else { panic!("{done:?}") };
        assert!(rows > before || rows == 40, "{rows} after {before}");
        (before, invocations) = (rows, invocations + 1);
    }
    assert!(invocations >= 1, "{invocations}");
    assert_eq!(world.by_the_log().await, world.by_the_table().await);
    assert!(world.state.objects().keys().all(|key| !key.starts_with(SCANS)));
}

#[tokio::test]
async fn a_scan_that_somebody_is_at_is_left_alone_and_a_dead_one_gone_on_with() {
    let world = World::new();
    world.put("a", "1");
    let script = Arc::new(Script::default());
    script.add("DescribeTable", [Fault::CrashBefore]);
    assert!(world.keeper_with(script).run_or_die("{}").await.is_none());
    assert_eq!(standing(&world.keeper().run("{}").await.unwrap()), [(Elsewhere, 0)]);
    world.clock.advance(Duration::from_secs(60));
    let keeper = world.keeper();
    assert_eq!(standing(&keeper.run("{}").await.unwrap()), [(Done, 1)]);
    assert_eq!(keeper.gate.count("Scan"), 0, "it was all there");
}

#[tokio::test]
async fn one_reference_that_fails_keeps_no_other_from_its_base() {
    let world = World::new();
    world.put("a", "1");
    let two = DEFINITION.replace("[output]", "[[reference]]\ndynamodb = \"Gone\"\non = { dish = \"item\" }\n[output]");
    let first = two.replacen("\"T\"", "\"X\"", 1).replacen("\"Gone\"", "\"T\"", 1).replacen("\"X\"", "\"Gone\"", 1);
    let error = world.keeper_of(&first, Arc::new(Script::default())).run("{}").await.unwrap_err().to_string();
    assert!(error.contains("Gone could not be looked at") && error.contains("ResourceNotFound"), "{error}");
    assert!(world.state.objects().contains_key(&base_key("T")));
}

#[tokio::test]
async fn objects_get_their_base_too() {
    let world = World::new();
    let bucket = world.stores.store(&freshjoin_core::location::Location::new("s3://menu")).unwrap();
    bucket.insert("m.jsonl", row("a", "1"));
    let definition = DEFINITION.replace("dynamodb = \"T\"", "s3 = \"s3://menu/m.jsonl\"");
    let keeper = world.keeper_of(&definition, Arc::new(Script::default()));
    assert_eq!(standing(&keeper.run("{}").await.unwrap()), [(Done, 0)]);
    assert!(world.state.objects().contains_key(&base_key("s3://menu/m.jsonl")));
}

#[tokio::test]
async fn a_base_that_landed_below_the_floor_is_replaced() {
    let world = World::new();
    world.put("a", "1");
    world.keeper().run("{}").await.unwrap();
    let before = world.state.objects()[&base_key("T")].clone();
    for n in 1..=3 {
        world.captured("l", &n.to_string(), "a", Some("1")).await;
    }
    world.state.insert("floor.json", r#"{"freshjoin":"floor/1","version":0,"rising":2}"#);
    let waits = world.keeper().run(r#"{"task":"bootstrap"}"#).await.unwrap_err().to_string();
    assert!(waits.contains("about to rise"), "{waits}");
    assert_eq!(world.state.objects()[&base_key("T")], before);
    // Nobody counted it, and what it should have been followed by is gone.
    world.state.insert("floor.json", r#"{"freshjoin":"floor/1","version":2}"#);
    let partial = freshjoin_core::snapshot::SnapshotName::of(2);
    let empty = freshjoin_core::snapshot::SnapshotWriter::new(partial).unwrap();
    world.state.insert(&partial.key(), empty.finish().unwrap());
    assert_eq!(standing(&world.keeper().run("{}").await.unwrap()), [(Done, 1)]);
    let text = String::from_utf8(world.state.objects()[&base_key("T")].to_vec()).unwrap();
    assert!(text.contains("\"version\":3,"), "{text}");
}
