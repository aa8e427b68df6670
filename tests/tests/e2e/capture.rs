//! change-capture: what the table's stream says becomes change files, once and in order.

use std::sync::Arc;

use aws_sdk_dynamodb::types::{AttributeValue, StreamViewType};
use freshjoin_local::function::Function;
use freshjoin_local::mapping::MappingSettings;
use freshjoin_tests::fixture::{Mode, Proxy};
use serde_json::{Value, json};

use crate::oracle::{Reference, folds};
use crate::table::event;
use crate::trials;
use crate::world::{Servers, World};

trials!("capture":
    a_batch_becomes_one_file_with_the_newest_of_each_key,
    a_batch_that_comes_again_appends_nothing,
    environments_that_race_agree_on_one_log,
    every_attribute_type_arrives_with_every_digit,
    it_broadcasts_flags_itself_where_it_is_told_to,
    flags_that_cannot_be_broadcast_fail_no_capture,
    a_row_deleted_by_its_time_to_live_is_deleted,
    an_event_that_is_none_is_an_error_with_its_reason,
);

async fn a_batch_becomes_one_file_with_the_newest_of_each_key(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let capture = world.function("change-capture").await;
    for n in 0..20 {
        world.table.put("burger", 100, &format!("p{n}")).await;
    }
    world.table.put("soup", 1, "x").await;
    world.table.delete("soup", 1).await;
    world.capture(&capture).await;
    let files = world.change_files().await;
    assert_eq!(files.len(), 1);
    let file: Value = serde_json::from_slice(&files[0]).unwrap();
    assert_eq!((&file["freshjoin"], &file["version"]), (&json!("change-file/1"), &json!(1)));
    let changes = file["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 2, "{changes:?}");
    let of = |item: &str| changes.iter().find(|change| change["key"]["item"] == item).unwrap();
    assert_eq!(of("burger")["op"], "put");
    assert_eq!(of("burger")["table"], world.table.name());
    assert_eq!(of("burger")["key"], json!({"item": "burger", "price": 100}));
    assert_eq!(of("burger")["row"], json!({"item": "burger", "price": 100, "priority": "p19"}));
    assert_eq!(of("soup")["op"], "delete");
    assert_eq!(of("soup")["key"], json!({"item": "soup", "price": 1}));
    assert!(of("soup")["seq"].is_string() && of("soup")["at"].is_string());
}

async fn a_batch_that_comes_again_appends_nothing(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let capture = world.function("change-capture").await;
    world.table.put("burger", 100, "high").await;
    world.capture(&capture).await;
    let records = world.table.records().await;
    let last = event(&records[records.len() - 1..]);
    let deadline = world.clock.now().plus_millis(30_000);
    for environment in [&capture, &world.function("change-capture").await] {
        environment.invoke(last.clone(), deadline).await.unwrap();
    }
    assert_eq!(world.change_files().await.len(), 1);
    // An old batch that comes late does no harm: the newest of a key wins, whatever the order of the files.
    world.table.put("burger", 100, "higher").await;
    world.capture(&capture).await;
    capture.invoke(last, deadline).await.unwrap();
    let (enricher, _) = world.enricher().await;
    let injector = world.function("flag-injector").await;
    world.announce(&injector).await;
    world.order(20, &["burger"]).await;
    enricher.drain().await.unwrap();
    let rows = world.rows().await;
    assert_eq!(rows.len(), 20);
    assert!(rows.iter().all(|row| row.get("priority") == Some("higher")), "an old change came back");
}

async fn environments_that_race_agree_on_one_log(servers: Arc<Servers>) {
    let world = World::empty(&servers, 1).await;
    let mut wanted = Reference::new();
    for n in 0..30_u32 {
        let (item, priority) = (format!("item {}", n % 10), format!("p{n}"));
        world.table.put(&item, 100, &priority).await;
        wanted.insert((item, "100".into()), priority);
    }
    let records = world.table.records().await;
    let environments = [world.function("change-capture").await, world.function("change-capture").await];
    let deadline = world.clock.now().plus_millis(30_000);
    // Both are given every batch of three at the same time.
    for batch in records.chunks(3) {
        let both = environments.iter().map(|environment| environment.invoke(event(batch), deadline));
        for answer in futures_util::future::join_all(both).await {
            let answer: Value = serde_json::from_slice(&answer.unwrap()).unwrap();
            assert_eq!(answer["batchItemFailures"], json!([]), "{answer}");
        }
    }
    let files = world.change_files().await;
    assert!((10..=20).contains(&files.len()), "{} files of 10 batches", files.len());
    assert_eq!(folds(&Reference::new(), &files).pop().unwrap(), wanted);
    let ids: Vec<Value> =
        files.iter().map(|file| serde_json::from_slice::<Value>(file).unwrap()["id"].take()).collect();
    let batches: std::collections::BTreeSet<String> = ids.iter().map(ToString::to_string).collect();
    assert_eq!(batches.len(), 10, "an id for each batch");
}

async fn every_attribute_type_arrives_with_every_digit(servers: Arc<Servers>) {
    let text = |text: &str| AttributeValue::S(text.into());
    let number = |digits: &str| AttributeValue::N(digits.into());
    let blob = |bytes: &[u8]| aws_sdk_dynamodb::primitives::Blob::new(bytes);
    let map = |members: Vec<(&str, AttributeValue)>| {
        AttributeValue::M(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    };
    let list = AttributeValue::L;
    // As the stream carries it, and as the table is read where the stream does not.
    for view in [StreamViewType::NewAndOldImages, StreamViewType::KeysOnly] {
        let world = World::viewed(&servers, view.clone()).await;
        let capture = world.function("change-capture").await;
        let row = [
            ("item", text("quote \" line\nend ü")),
            ("price", number("12345678901234567890123456789012345678")),
            ("binaries", AttributeValue::Bs(vec![blob(&[2]), blob(&[1, 2])])),
            ("binary", AttributeValue::B(blob(&[0xff, 0x00]))),
            ("empty", list(vec![text(""), AttributeValue::B(blob(&[])), list(vec![]), map(vec![])])),
            ("list", list(vec![number("1.50"), text("x"), list(vec![map(vec![("b", list(vec![number("2")]))])])])),
            ("map", map(vec![("z", AttributeValue::Bool(false)), ("a", map(vec![("n", AttributeValue::Null(true))]))])),
            ("no", AttributeValue::Bool(false)),
            ("null", AttributeValue::Null(true)),
            ("numbers", AttributeValue::Ns(vec!["10".into(), "9".into(), "-1".into()])),
            ("small", number("0.00000000000000000000000000000000000001")),
            ("strings", AttributeValue::Ss(vec!["b".into(), "a".into()])),
            ("yes", AttributeValue::Bool(true)),
        ];
        world.table.put_item(row).await;
        world.capture(&capture).await;
        let file = String::from_utf8(world.change_files().await[0].to_vec()).unwrap();
        let row = concat!(
            r#""row":{"binaries":["AQI=","Ag=="],"binary":"/wA=","empty":["","",[],{}],"item":"quote \" line\nend ü","#,
            r#""list":[1.50,"x",[{"b":[2]}]],"map":{"a":{"n":null},"z":false},"no":false,"null":null,"#,
            r#""numbers":[-1,9,10],"price":12345678901234567890123456789012345678,"#,
            r#""small":0.00000000000000000000000000000000000001,"strings":["a","b"],"yes":true}"#,
        );
        assert!(file.contains(row), "{view:?}: {row} is not in {file}");
        let key = r#""key":{"item":"quote \" line\nend ü","price":12345678901234567890123456789012345678}"#;
        assert!(file.contains(key), "{view:?}: {key} is not in {file}");
    }
}

async fn it_broadcasts_flags_itself_where_it_is_told_to(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let mut variables = world.variables();
    variables.push(("FRESHJOIN_DIRECT_FLAGS".into(), "true".into()));
    let capture = world.function_with("change-capture", variables).await;
    let (enricher, _) = world.enricher().await;
    world.touch(&enricher).await;
    world.table.put("burger", 100, "high").await;
    world.table.drain_to(&[capture], MappingSettings::default()).await;
    world.order(40, &["burger"]).await;
    enricher.drain().await.unwrap();
    world.verify().await;
    let rows = world.rows().await;
    assert!(crate::oracle::of_dish(&rows, "burger").iter().all(|row| row.get("priority") == Some("high")));
}

async fn flags_that_cannot_be_broadcast_fail_no_capture(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    let proxy = Proxy::start(&servers.kinesis()).await;
    world.deployment.kinesis = proxy.url();
    let mut variables = world.variables();
    variables.push(("FRESHJOIN_DIRECT_FLAGS".into(), "true".into()));
    let capture = world.function_with("change-capture", variables).await;
    for (n, mode) in [Mode::Answer(400), Mode::Down, Mode::Hang].into_iter().enumerate() {
        proxy.set(mode.clone());
        world.table.put("burger", 100, &format!("priority {n}")).await;
        let records = world.table.records().await;
        let deadline = world.clock.now().plus_millis(10_000);
        let answer = capture.invoke(event(&records[records.len() - 1..]), deadline).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["batchItemFailures"], json!([]), "{mode:?}");
        assert_eq!(world.change_files().await.len(), n + 1);
        assert!(proxy.hits() > 0, "no flag was tried");
    }
}

async fn a_row_deleted_by_its_time_to_live_is_deleted(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let capture = world.function("change-capture").await;
    world.table.delete("pizza", 100).await;
    let mut record = world.table.records().await.pop().unwrap();
    record["userIdentity"] = json!({"type": "Service", "principalId": "dynamodb.amazonaws.com"});
    let answer = world.invoke(&capture, &json!({"Records": [record]})).await.unwrap();
    assert_eq!(answer["batchItemFailures"], json!([]));
    let fold = folds(&crate::oracle::sample(), &world.change_files().await).pop().unwrap();
    assert!(!fold.contains_key(&("pizza".to_owned(), "100".to_owned())));
}

async fn an_event_that_is_none_is_an_error_with_its_reason(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let capture = world.function("change-capture").await;
    for wrong in [json!({"Records": "none"}), json!([1]), json!({"Records": [{"dynamodb": 3}]})] {
        let error = world.invoke(&capture, &wrong).await.unwrap_err().to_string();
        assert!(error.len() > 20, "{error}");
    }
    assert_eq!(world.change_files().await.len(), 0);
    let empty = world.invoke(&capture, &json!({"Records": []})).await.unwrap();
    assert_eq!(empty["batchItemFailures"], json!([]));
    assert!(capture.is_running().await);
}
