//! The first scan of a table and its handoff to the log, as a consumer meets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::world::{DEFINITION, World, order, row};
use crate::memory::{Call, Fault};
use crate::reference::base_key;

fn base(world: &World) -> String {
    String::from_utf8(world.state.objects()[&base_key("T")].to_vec()).unwrap()
}

#[tokio::test]
async fn the_first_environment_scans_and_no_other_one_touches_the_table() {
    let mut world = World::unscanned();
    world.orders(0..3).await;
    let first = world.env();
    first.script("Scan", 1, Fault::Short(0));
    first.done(&world.cut(..1)).await;
    assert_eq!((first.gate.count("DescribeTable"), first.gate.count("Scan") >= 4), (1, true));
    world.tables.put("T", r#"{"item":"a","priority":"changed"}"#).unwrap();
    let second = world.env();
    second.done(&world.cut(1..)).await;
    assert_eq!((second.gate.count("DescribeTable"), second.gate.count("Scan")), (0, 0));
    assert_eq!(world.rows(), (0..3).map(|n| row(n, "base", 0)).collect::<Vec<_>>());
    world.definition = DEFINITION.replace("\"p\"", "\"q\"");
    world.output = crate::location::Location::new("s3://out/q");
    let other = world.env();
    other.done(&world.cut(..)).await;
    assert_eq!((other.gate.count("Scan"), world.rows().len()), (0, 3), "pipelines share it");
}

/// An environment in whose scan, at a given call, something happens.
fn disturbed(
    world: &Arc<World>,
    operation: &'static str,
    at: u64,
    what: impl Fn(&World) + Send + Sync + 'static,
) -> super::world::Environment {
    let (world, calls) = (Arc::clone(world), AtomicU64::new(0));
    let inner = Arc::clone(&world);
    world.env_with(Arc::new(move |call: &Call<'_>| {
        let matching = call.operation == operation && (operation != "PUT" || call.key.contains("_base/"));
        if matching && calls.fetch_add(1, Ordering::Relaxed) == at {
            what(&inner);
        }
        Fault::None
    }))
}

#[tokio::test]
async fn a_change_during_the_scan_comes_after_the_base() {
    for at in 0..4 {
        for in_table in [false, true] {
            let world = Arc::new(World::unscanned());
            world.orders([0]).await;
            let env = disturbed(&world, "Scan", at, move |world| {
                let version = world.change(&[("a", Some("during")), ("b", Some("new"))]);
                assert_eq!(version, 1);
                if in_table {
                    world.tables.put("T", r#"{"item":"a","priority":"during"}"#).unwrap();
                }
            });
            env.done(&world.cut(..)).await;
            assert!(base(&world).contains("\"version\":0"), "the head was noted before the scan");
            world.send([world.flag(1), order(1, "a"), order(2, "b")]).await;
            env.done(&world.cut(..)).await;
            world.orders([3]).await;
            world.env().done(&world.cut(..)).await;
            let rows = world.rows();
            assert_eq!(rows[1..], [row(1, "during", 1), row(2, "new", 1), row(3, "during", 1)], "{at} {in_table}");
        }
    }
}

#[tokio::test]
async fn whoever_loses_the_race_loads_the_winner_s_base() {
    let world = Arc::new(World::unscanned());
    world.orders(0..2).await;
    let env = disturbed(&world, "PUT", 0, |world| {
        let winner = base_text(world, "winner");
        world.state.insert(&base_key("T"), winner);
    });
    env.done(&world.cut(..1)).await;
    world.env().done(&world.cut(1..)).await;
    assert_eq!(world.rows(), [row(0, "winner", 0), row(1, "winner", 0)]);
}

fn base_text(world: &World, priority: &str) -> String {
    world.put_base(0);
    base(world).replace("\"priority\":\"base\"", &format!("\"priority\":\"{priority}\""))
}

#[tokio::test]
async fn a_lost_answer_to_the_base_s_write_is_no_second_base() {
    let world = World::unscanned();
    world.orders(0..2).await;
    let env = world.env();
    env.script("PUT", 2, Fault::LostAnswer);
    env.fails(&world.cut(..)).await;
    let written = base(&world);
    world.tables.put("T", r#"{"item":"a","priority":"changed"}"#).unwrap();
    env.done(&world.cut(..)).await;
    assert_eq!((base(&world), world.rows()[0].clone()), (written, row(0, "base", 0)));
}

#[tokio::test]
async fn keys_that_the_log_names_keep_their_numbers_and_tombstones() {
    let world = World::unscanned();
    world.change_as("50", &[("a", Some("old"))]);
    world.change_as("60", &[("b", Some("old"))]);
    world.change_as("70", &[("b", None)]);
    world.tables.put("T", r#"{"item":"a","priority":"scanned"}"#).unwrap();
    world.orders([0]).await;
    world.env().done(&world.cut(..)).await;
    let text = base(&world);
    assert!(text.contains("\"version\":3") && text.contains("\"rows\":2"), "{text}");
    assert!(text.contains(r#"{"key":{"item":"b"},"label":"l","seq":"70"}"#), "a tombstone: {text}");
    assert!(text.contains(r#""priority":"scanned"},"label":"l","seq":"50"}"#), "{text}");
    // Appended once more, and late: they must not undo what is newer.
    let again = world.change_as("60", &[("b", Some("old"))]);
    let late = world.change_as("49", &[("a", Some("late"))]);
    world.send([world.flag(again), order(1, "b"), world.flag(late), order(2, "a")]).await;
    let newer = world.change_as("71", &[("a", Some("newer")), ("b", Some("newer"))]);
    world.send([world.flag(newer), order(3, "a"), order(4, "b")]).await;
    world.env().done(&world.cut(..)).await;
    let expected = [row(0, "scanned", 3), row(1, "", 4), row(2, "scanned", 5), row(3, "newer", 6), row(4, "newer", 6)];
    assert_eq!(world.rows(), expected);
}

#[tokio::test]
async fn a_table_that_is_missing_is_no_empty_table() {
    let world = World::unscanned();
    world.orders([0]).await;
    let mut env = world.env();
    world.tables.create("U", &["item"]);
    let definition = DEFINITION.replace("\"T\"", "\"Missing\"");
    let world = World { definition, ..world };
    env.gate.reset();
    env = world.env();
    let error = env.fails(&world.cut(..)).await;
    assert!(crate::chain::Chain(&error).to_string().contains("Missing"), "{error}");
    assert!(world.rows().is_empty() && world.cursor().is_none());
    world.tables.create("Missing", &["item"]);
    world.tables.put("Missing", r#"{"item":"a","priority":"there"}"#).unwrap();
    env.done(&world.cut(..)).await;
    assert_eq!(world.rows(), [row(0, "there", 0)]);
}

#[tokio::test]
async fn a_base_that_cannot_be_read_is_an_error_and_not_scanned_anew() {
    for damaged in ["", "{", "cut short"] {
        let world = World::new();
        world.orders([0]).await;
        let sound = base(&world);
        let text = if damaged == "cut short" { sound.lines().next().unwrap() } else { damaged };
        world.state.insert(&base_key("T"), text.to_owned());
        let env = world.env();
        let error = env.fails(&world.cut(..)).await;
        assert!(error.to_string().contains(&base_key("T")), "{error}");
        assert_eq!((env.gate.count("Scan"), world.cursor().is_none(), world.rows().len()), (0, true, 0));
        world.state.insert(&base_key("T"), sound);
        env.done(&world.cut(..)).await;
        assert_eq!(world.rows().len(), 1);
    }
}

#[tokio::test]
async fn without_a_base_an_expired_log_is_an_error() {
    let world = World::unscanned();
    world.orders([0]).await;
    world.bump();
    world.set_floor(1);
    let env = world.env();
    let error = env.fails(&world.cut(..)).await;
    assert!(error.to_string().contains("rebase"), "{error}");
    assert_eq!((env.gate.count("Scan"), world.state.objects().contains_key(&base_key("T"))), (0, false));
}

#[tokio::test]
async fn a_deleted_base_under_a_running_shard_is_said_so() {
    let world = World::new();
    world.orders(0..4).await;
    world.env().done(&world.cut(..2)).await;
    let env = world.env();
    env.script("PUT", 0, Fault::CrashAfter);
    assert!(env.batch(&world.cut(2..)).await.is_none());
    world.bump();
    world.state.remove(&base_key("T"));
    let error = world.env().fails(&world.cut(2..)).await;
    assert!(error.to_string().contains("snapshots/_base/"), "{error}");
}
