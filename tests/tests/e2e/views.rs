//! Streams that do not carry the rows, and streams of an earlier incarnation of the table: what arrives is the table as it
//! is, whatever changed between a record and the read, and whichever record came late.

use std::sync::Arc;

use aws_sdk_dynamodb::types::StreamViewType;
use freshjoin_tests::fixture::{Mode, Proxy};
use serde_json::{Value, json};

use crate::oracle::{folds, of_dish, sample};
use crate::trials;
use crate::world::{Servers, World};

trials!("views":
    a_stream_without_new_images_reads_the_rows,
    a_row_that_changes_between_record_and_read_ends_as_the_table_has_it,
    a_table_that_does_not_answer_is_no_table_without_rows,
    an_earlier_table_s_late_record_does_not_win,
    an_earlier_stream_s_late_record_does_not_win,
);

async fn a_stream_without_new_images_reads_the_rows(servers: Arc<Servers>) {
    for view in [StreamViewType::KeysOnly, StreamViewType::OldImage] {
        let world = World::viewed(&servers, view.clone()).await;
        let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
        let (enricher, _) = world.enricher().await;
        world.touch(&enricher).await;
        // More keys than one call to the table takes, one of them written often, one gone again.
        for n in 0..120 {
            world.table.put("burger", 200 + n, &format!("p{n}")).await;
            world.table.put("pizza", 100, &format!("p{n}")).await;
        }
        world.table.put("soup", 1, "x").await;
        world.table.delete("soup", 1).await;
        world.table.delete("salad", 100).await;
        let records = world.table.records().await;
        assert!(records.iter().all(|record| record["dynamodb"].get("NewImage").is_none()), "{view:?}");
        world.capture(&capture).await;
        let mut wanted = sample();
        wanted.extend((0..120).map(|n| (("burger".to_owned(), (200 + n).to_string()), format!("p{n}"))));
        wanted.insert(("pizza".into(), "100".into()), "p119".into());
        wanted.remove(&("salad".to_owned(), "100".to_owned()));
        assert_eq!(folds(&sample(), &world.change_files().await).pop().unwrap(), wanted, "{view:?}");
        world.announce(&injector).await;
        world.order(50, &["burger", "pizza", "salad", "donut"]).await;
        enricher.drain().await.unwrap();
        world.verify().await;
    }
}

async fn a_row_that_changes_between_record_and_read_ends_as_the_table_has_it(servers: Arc<Servers>) {
    let world = World::viewed(&servers, StreamViewType::KeysOnly).await;
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    let (enricher, _) = world.enricher().await;
    world.touch(&enricher).await;
    for priority in ["first", "second", "third"] {
        world.table.put("burger", 100, priority).await;
        world.table.put("pizza", 100, priority).await;
    }
    let known = world.table.records().await;
    let records = &known[known.len() - 6..];
    let give = async |records: &[Value]| {
        let answer = world.invoke(&capture, &json!({ "Records": records })).await.unwrap();
        assert_eq!(answer["batchItemFailures"], json!([]));
    };
    let priorities = async || -> Vec<Value> {
        let files = world.change_files().await;
        let last: Value = serde_json::from_slice(files.last().unwrap()).unwrap();
        last["changes"].as_array().unwrap().iter().map(|change| change["row"]["priority"].clone()).collect()
    };
    // The first records find the third rows, and come again when the row of the one has changed and the other is gone.
    give(&records[..2]).await;
    assert_eq!(priorities().await, [json!("third"), json!("third")]);
    world.table.put("burger", 100, "fourth").await;
    world.table.delete("pizza", 100).await;
    give(&records[..2]).await;
    assert_eq!(priorities().await, [json!("fourth"), Value::Null]);
    give(&records[2..]).await;
    world.capture(&capture).await;
    give(records).await;
    world.announce(&injector).await;
    world.order(40, &["burger", "pizza"]).await;
    enricher.drain().await.unwrap();
    let rows = world.rows().await;
    let (burgers, pizzas) = (of_dish(&rows, "burger"), of_dish(&rows, "pizza"));
    assert_eq!((burgers.len(), pizzas.len()), (20, 20));
    assert!(burgers.iter().all(|row| row.get("priority") == Some("fourth")), "{burgers:?}");
    assert!(pizzas.iter().all(|row| row.get("price") == Some("")), "a deleted row came back: {pizzas:?}");
}

async fn a_table_that_does_not_answer_is_no_table_without_rows(servers: Arc<Servers>) {
    let mut world = World::viewed(&servers, StreamViewType::KeysOnly).await;
    let proxy = Proxy::start(&servers.dynamodb()).await;
    world.deployment.dynamodb = proxy.url();
    let capture = world.function("change-capture").await;
    world.table.delete("pizza", 100).await;
    world.table.put("burger", 100, "high").await;
    let known = world.table.records().await;
    let batch = json!({ "Records": known[known.len() - 2..] });
    let first = &batch["Records"][0]["dynamodb"]["SequenceNumber"];
    for mode in [Mode::Answer(400), Mode::Answer(500), Mode::Down] {
        proxy.set(mode.clone());
        let answer = world.invoke(&capture, &batch).await.unwrap();
        assert_eq!(&answer["batchItemFailures"][0]["itemIdentifier"], first, "{mode:?}");
        assert!(proxy.hits() > 0, "the table was not asked");
    }
    proxy.set(Mode::Hang);
    let (event, deadline) = (batch.to_string().into(), world.clock.now().plus_millis(3_000));
    let error = freshjoin_local::function::Function::invoke(&*capture, event, deadline).await.unwrap_err();
    assert!(error.to_string().contains("not captured in time"), "{error}");
    proxy.set(Mode::Pass);
    let missing = batch.to_string().replace(world.table.name(), "NoSuchTable");
    let answer = world.invoke(&capture, &serde_json::from_str(&missing).unwrap()).await.unwrap();
    assert_eq!(&answer["batchItemFailures"][0]["itemIdentifier"], first);
    assert_eq!(world.change_files().await.len(), 0, "a fault became a change");
    let answer = world.invoke(&capture, &batch).await.unwrap();
    assert_eq!(answer["batchItemFailures"], json!([]));
    let mut wanted = sample();
    wanted.insert(("burger".into(), "100".into()), "high".into());
    wanted.remove(&("pizza".to_owned(), "100".to_owned()));
    assert_eq!(folds(&sample(), &world.change_files().await).pop().unwrap(), wanted);
}

async fn an_earlier_table_s_late_record_does_not_win(servers: Arc<Servers>) {
    for view in [StreamViewType::NewAndOldImages, StreamViewType::KeysOnly] {
        let mut world = World::viewed(&servers, view.clone()).await;
        let (enricher, _) = world.enricher().await;
        world.touch(&enricher).await;
        world.table.put("burger", 100, "of the earlier table").await;
        world.table.put("pizza", 100, "of the earlier table").await;
        let late = highest(&world, 2).await;
        world.table.recreate(view.clone()).await;
        world.table.put("burger", 100, "of the new table").await;
        world.table.put("pizza", 100, "of the new table").await;
        world.table.delete("pizza", 100).await;
        both(&world, late).await;
        world.order(40, &["burger", "pizza"]).await;
        enricher.drain().await.unwrap();
        expect(&world, &view, "of the new table").await;
    }
}

async fn an_earlier_stream_s_late_record_does_not_win(servers: Arc<Servers>) {
    for view in [StreamViewType::NewAndOldImages, StreamViewType::KeysOnly] {
        let world = World::viewed(&servers, view.clone()).await;
        let (enricher, _) = world.enricher().await;
        world.touch(&enricher).await;
        world.table.put("burger", 100, "of the earlier stream").await;
        world.table.put("pizza", 100, "of the earlier stream").await;
        let mut late = highest(&world, 2).await;
        for record in &mut late {
            // The stream was disabled after these, and enabled again: the table is the same, and its stream's label later.
            let arn = record["eventSourceARN"].as_str().unwrap();
            let (stream, _) = arn.rsplit_once('/').unwrap();
            record["eventSourceARN"] = format!("{stream}/2020-01-01T00:00:00.000").into();
        }
        world.table.skip().await;
        world.table.put("burger", 100, "of the new stream").await;
        world.table.delete("pizza", 100).await;
        both(&world, late).await;
        world.order(40, &["burger", "pizza"]).await;
        enricher.drain().await.unwrap();
        expect(&world, &view, "of the new stream").await;
    }
}

/// The table's last records, under sequence numbers above all others.
async fn highest(world: &World, count: usize) -> Vec<Value> {
    let mut records = world.table.records().await;
    let mut last = records.split_off(records.len() - count);
    for record in &mut last {
        let number = record["dynamodb"]["SequenceNumber"].as_str().unwrap();
        record["dynamodb"]["SequenceNumber"] = format!("9{number:0>39}").into();
    }
    last
}

/// What is new is captured, and then what is late; all of it is announced.
async fn both(world: &World, late: Vec<Value>) {
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    world.capture(&capture).await;
    let before = world.change_files().await.len();
    let answer = world.invoke(&capture, &json!({ "Records": late })).await.unwrap();
    assert_eq!(answer["batchItemFailures"], json!([]));
    assert_eq!(world.change_files().await.len(), before + 1);
    world.announce(&injector).await;
}

async fn expect(world: &World, view: &StreamViewType, priority: &str) {
    let rows = world.rows().await;
    let (burgers, pizzas) = (of_dish(&rows, "burger"), of_dish(&rows, "pizza"));
    assert_eq!((burgers.len(), pizzas.len()), (20, 20));
    assert!(burgers.iter().all(|row| row.get("priority") == Some(priority)), "{view:?}: {burgers:?}");
    assert!(pizzas.iter().all(|row| row.get("price") == Some("")), "{view:?}: a deleted row came back: {pizzas:?}");
}
