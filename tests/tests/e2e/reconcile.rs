//! log-keeper's `reconcile` and `bootstrap`: what a table's stream lost is found by reading the table, and a table that is too
//! big for one invocation is read by several.

use std::sync::Arc;

use aws_sdk_dynamodb::types::{AttributeValue, StreamViewType};
use freshjoin_core::ports::{Precondition, PutOutcome};
use freshjoin_core::reference::base_key;
use freshjoin_local::function::Function;
use freshjoin_local::mapping::MappingSettings;
use freshjoin_local::runtime_api::Environment;
use freshjoin_tests::fixture::{Mode, Proxy};
use serde_json::{Value, json};

use crate::oracle::of_dish;
use crate::output::{NULL, objects};
use crate::trials;
use crate::world::{DISHES, Servers, World};

trials!("reconcile":
    what_capture_was_never_told_is_found_and_announced,
    a_mass_deletion_waits_for_force,
    a_notice_of_an_object_that_never_came_is_made_up_for,
    a_table_too_big_for_one_invocation_takes_several,
);

async fn ask(world: &World, keeper: &Environment, event: &Value) -> Value {
    world.invoke(keeper, event).await.unwrap()
}

async fn what_capture_was_never_told_is_found_and_announced(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let (mapping, _) = world.enricher().await;
    let capture = world.function("change-capture").await;
    world.touch(&mapping).await;
    world.table.put("burger", 100, "captured").await;
    world.capture(&capture).await;
    // The next day's changes leave the table's stream before anybody has read them.
    world.table.put("burger", 100, "high").await;
    world.table.put("donut", 100, "new").await;
    world.table.delete("pizza", 100).await;
    world.table.skip().await;
    let keeper = world.function("log-keeper").await;
    let answer = ask(&world, &keeper, &json!({"task": "reconcile"})).await;
    let report = &answer["reconcile"][0];
    assert_eq!((&report["reference"], &report["settled"]), (&json!(world.table.name()), &json!(true)), "{answer}");
    assert_eq!((&report["puts"], &report["deletes"]), (&json!(2), &json!(1)), "{answer}");
    assert_eq!(world.change_files().await.len(), 2);
    world.order(50, &DISHES).await;
    mapping.drain().await.unwrap();
    world.verify().await;
    let rows = world.rows().await;
    let now = |dish: &str| of_dish(&rows, dish).last().and_then(|row| row.get("priority")).map(str::to_owned);
    assert_eq!(now("burger").as_deref(), Some("high"), "the flag came with it");
    assert_eq!(now("donut").as_deref(), Some("new"));
    assert_eq!(now("pizza").as_deref(), Some(NULL));
    // What happens from now on is newer than what was found.
    world.table.put("burger", 100, "later").await;
    world.capture(&capture).await;
    let again = ask(&world, &keeper, &json!({"task": "reconcile", "reference": world.table.name()})).await;
    assert_eq!(
        (&again["reconcile"][0]["puts"], &again["reconcile"][0]["settled"]),
        (&json!(0), &json!(true)),
        "{again}"
    );
    assert_eq!(world.change_files().await.len(), 3);
}

async fn a_mass_deletion_waits_for_force(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    let (mapping, _) = world.enricher().await;
    world.touch(&mapping).await;
    world.table.recreate(StreamViewType::NewAndOldImages).await;
    world.table.put("burger", 100, "only").await;
    world.table.skip().await;
    let keeper = world.function("log-keeper").await;
    let refused = world.invoke(&keeper, &json!({"task": "reconcile"})).await.unwrap_err().to_string();
    assert!(refused.contains("4 of the 5 rows") && refused.contains("force"), "{refused}");
    assert_eq!(world.change_files().await.len(), 0, "not even the put");
    let answer = ask(&world, &keeper, &json!({"task": "reconcile", "force": true})).await;
    assert_eq!((&answer["reconcile"][0]["puts"], &answer["reconcile"][0]["deletes"]), (&json!(1), &json!(4)));
    // The new table's stream has a later label, and numbers of its own.
    let capture = world.function("change-capture").await;
    world.table.put("salad", 100, "back").await;
    world.capture(&capture).await;
    let injector = world.function("flag-injector").await;
    world.announce(&injector).await;
    world.order(40, &DISHES).await;
    mapping.drain().await.unwrap();
    world.verify().await;
}

async fn a_notice_of_an_object_that_never_came_is_made_up_for(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    let bucket = world.bucket.clone();
    let menu = world.open(&format!("s3://{bucket}"));
    let put = async |text: &'static str| {
        let outcome = menu.put("menu.jsonl", text.into(), Precondition::None).await.unwrap();
        assert!(matches!(outcome, PutOutcome::Written(_)));
    };
    put("{\"item\":\"burger\",\"price\":100,\"priority\":\"medium\"}\n").await;
    let table = format!("dynamodb = \"{}\"", world.table.name());
    world.deployment.pipeline =
        world.deployment.pipeline.replace(&table, &format!("s3 = \"s3://{bucket}/menu.jsonl\""));
    let (mapping, _) = world.enricher().await;
    world.touch(&mapping).await;
    put("{\"item\":\"burger\",\"price\":100,\"priority\":\"high\"}\n").await;
    let keeper = world.function("log-keeper").await;
    let answer = ask(&world, &keeper, &json!({"task": "reconcile"})).await;
    assert_eq!(answer["reconcile"][0]["puts"], json!(1), "{answer}");
    assert_eq!(ask(&world, &keeper, &json!({"task": "reconcile"})).await["reconcile"][0]["puts"], json!(0));
    world.order(20, &["burger"]).await;
    mapping.drain().await.unwrap();
    let rows = world.rows().await;
    let burgers = of_dish(&rows, "burger");
    assert_eq!(burgers.len(), 20);
    assert!(burgers.iter().all(|row| row.get("priority") == Some("high")));
}

/// Rows of a third of a megabyte: three of them, or four, are a page.
async fn fill(world: &World) {
    let note = "n".repeat(300_000);
    for n in 0..40 {
        let attributes = [
            ("item", AttributeValue::S(format!("filler {n}"))),
            ("price", AttributeValue::N("100".into())),
            ("priority", AttributeValue::S("low".into())),
            ("note", AttributeValue::S(note.clone())),
        ];
        world.table.put_item(attributes).await;
    }
    world.table.skip().await;
}

async fn a_table_too_big_for_one_invocation_takes_several(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    fill(&world).await;
    let proxy = Proxy::start(&servers.dynamodb()).await;
    world.deployment.dynamodb = proxy.url();
    let keeper = world.function("log-keeper").await;
    // The table gives a few pages and then none until the invocation's time is up.
    let bootstrap = async || {
        let deadline = world.clock.now().plus_millis(13_000);
        let answer = keeper.invoke(json!({"task": "bootstrap"}).to_string().into(), deadline).await.unwrap();
        serde_json::from_slice::<Value>(&answer).unwrap()["bootstrap"][0].clone()
    };
    proxy.set(Mode::StopAfter(6, false));
    let first = bootstrap().await;
    assert_eq!(first["state"], json!("scanning"), "{first}");
    let scanned = first["rows"].as_u64().unwrap();
    assert!(scanned > 0 && scanned < 45, "{first}");
    let parts = objects(&*world.state, "snapshots/_scan/").await;
    assert!(parts.len() > 1, "{:?}", parts.keys());
    // It waits for log-keeper, and scans nothing itself.
    proxy.set(Mode::Pass);
    world.table.put("burger", 100, "in the table only").await;
    world.order(20, &DISHES).await;
    let settings = MappingSettings { maximum_retry_attempts: Some(1), ..MappingSettings::default() };
    let (limited, seen) = world.mapping(&[world.function("enricher").await], settings);
    limited.drain().await.unwrap();
    let log = std::fs::read_to_string(world.log("enricher")).unwrap();
    assert!(seen.failed() > 0 && log.contains("log-keeper is scanning"), "the log says: {log}");
    let done = bootstrap().await;
    assert_eq!((&done["state"], &done["rows"]), (&json!("done"), &json!(45)), "{done}");
    assert!(world.state.get(&base_key(world.table.name())).await.unwrap().is_some());
    proxy.set(Mode::Down);
    let (mapping, _) = world.enricher().await;
    mapping.drain().await.unwrap();
    assert_eq!(world.rows().await.len(), 20);
}
