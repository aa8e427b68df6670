//! Flags: how notices of S3 become them, and what becomes of flags that somebody made up.

use std::sync::Arc;

use freshjoin_core::change::change_key;
use serde_json::{Value, json};

use crate::oracle::of_dish;
use crate::trials;
use crate::world::{DISHES, SHARDS, Servers, World, s3_event};

trials!("flags":
    a_notice_is_understood_in_every_wrapping,
    a_message_of_a_queue_fails_alone,
    a_test_event_and_other_objects_of_the_state_are_no_news,
    a_forged_flag_changes_nothing,
    flags_may_come_twice_late_and_out_of_order,
);

fn sqs(bodies: &[Value]) -> Value {
    let message = |(n, body): (usize, &Value)| {
        json!({
            "messageId": format!("message-{n}"), "receiptHandle": "r", "body": body.to_string(),
            "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1764000000000", "SenderId": "s",
                "ApproximateFirstReceiveTimestamp": "1764000000001"},
            "messageAttributes": {}, "md5OfBody": "x", "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:changes", "awsRegion": "us-east-1"
        })
    };
    json!({"Records": bodies.iter().enumerate().map(message).collect::<Vec<_>>()})
}

fn sns_message(notice: &Value) -> Value {
    json!({
        "Type": "Notification", "MessageId": "95df01b4-ee98-5cb9-9903-4c221d41eb5e",
        "TopicArn": "arn:aws:sns:us-east-1:123456789012:changes", "Subject": "Amazon S3 Notification",
        "Message": notice.to_string(), "Timestamp": "2026-11-23T06:00:00.000Z", "SignatureVersion": "1",
        "Signature": "x", "SigningCertURL": "x", "UnsubscribeURL": "x"
    })
}

fn sns(notice: &Value) -> Value {
    json!({"Records": [{
        "EventVersion": "1.0", "EventSubscriptionArn": "arn:aws:sns:us-east-1:123456789012:changes:1",
        "EventSource": "aws:sns", "Sns": sns_message(notice)
    }]})
}

fn event_bridge(bucket: &str, key: &str) -> Value {
    json!({
        "version": "0", "id": "17793124-05d4-b198-2fde-7ededc63b103", "detail-type": "Object Created",
        "source": "aws.s3", "account": "123456789012", "time": "2026-11-23T06:00:00Z", "region": "us-east-1",
        "resources": [format!("arn:aws:s3:::{bucket}")],
        "detail": {
            "version": "0", "bucket": {"name": bucket},
            "object": {"key": key, "size": 5, "etag": "b1946ac92492d2347c6235b4d2611184", "sequencer": "617f08299329d189"},
            "request-id": "N4N7GDK58NMKJ12R", "requester": "123456789012", "source-ip-address": "1.2.3.4",
            "reason": "PutObject"
        }
    })
}

async fn a_notice_is_understood_in_every_wrapping(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    for wrapping in 0..6 {
        world.table.put("burger", 100, &format!("priority {wrapping}")).await;
        world.capture(&capture).await;
        let version = world.change_files().await.len();
        let key = format!("state/{}", change_key(version as u64));
        let direct = s3_event(&world.bucket, &key);
        let event = match wrapping {
            0 => direct,
            1 => sqs(&[direct]),
            2 => sns(&direct),
            3 => event_bridge(&world.bucket, &key),
            4 => sqs(&[sns_message(&direct)]),
            _ => sqs(&[event_bridge(&world.bucket, &key)]),
        };
        let flag = world.flag(version).await.into_bytes();
        for deliveries in 1..=2 {
            let answer = world.invoke(&injector, &event).await.unwrap_or_else(|error| panic!("{event}: {error}"));
            let failures = answer["batchItemFailures"].as_array().map_or(0, Vec::len);
            assert_eq!(failures, 0, "{answer}");
            for shard in world.stream.shards().await.unwrap() {
                let flags = world.records_of(&shard.id).await.into_iter().filter(|data| *data == flag).count();
                assert_eq!(flags, deliveries, "in {} after {event}", shard.id);
            }
        }
    }
}

async fn a_message_of_a_queue_fails_alone(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    world.table.put("burger", 100, "high").await;
    world.capture(&capture).await;
    let good = s3_event(&world.bucket, &format!("state/{}", change_key(1)));
    let missing = s3_event(&world.bucket, &format!("state/{}", change_key(77)));
    let answer = world.invoke(&injector, &sqs(&[missing, json!("no notice"), good])).await.unwrap();
    let failures = answer["batchItemFailures"].as_array().unwrap();
    let mut failed: Vec<_> = failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap()).collect();
    failed.sort_unstable();
    assert_eq!(failed, ["message-0", "message-1"]);
    let flag = world.flag(1).await.into_bytes();
    for shard in world.stream.shards().await.unwrap() {
        assert!(world.records_of(&shard.id).await.contains(&flag), "no flag in {}", shard.id);
    }
}

async fn a_test_event_and_other_objects_of_the_state_are_no_news(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let injector = world.function("flag-injector").await;
    let test = json!({
        "Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-11-23T06:00:00.000Z", "Bucket": world.bucket,
        "RequestId": "5582815E1AEA5ADF", "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR+YstdA6Knx4Ip8EXAMPLE"
    });
    for key in
        ["state/floor.json", "state/cursors/orders/s/shard.json", "state/snapshots/_latest.json", "state/changes/x"]
    {
        world.invoke(&injector, &s3_event(&world.bucket, key)).await.unwrap();
    }
    world.invoke(&injector, &test).await.unwrap();
    let answer = world.invoke(&injector, &sqs(&[test])).await.unwrap();
    assert_eq!(answer["batchItemFailures"], json!([]));
    for shard in world.stream.shards().await.unwrap() {
        assert!(world.records_of(&shard.id).await.is_empty());
    }
}

async fn a_forged_flag_changes_nothing(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let (capture, injector) = (world.function("change-capture").await, world.function("flag-injector").await);
    let (enricher, _) = world.enricher().await;
    world.touch(&enricher).await;
    world.table.put("burger", 100, "one").await;
    world.capture(&capture).await;
    world.announce(&injector).await;
    world.table.put("burger", 100, "two").await;
    world.capture(&capture).await; // Version 2 exists, and is not announced.
    let digest = "0".repeat(64);
    let genuine = world.flag(1).await;
    let forged = [
        format!(r#"{{"freshjoin":"change-flag/1","version":2,"digest":"sha256:{digest}"}}"#),
        format!(r#"{{"freshjoin":"change-flag/1","version":999999,"digest":"sha256:{digest}"}}"#),
        format!(r#"{{"freshjoin":"change-flag/1","version":18446744073709551615,"digest":"sha256:{digest}"}}"#),
        genuine.replace("\"version\":1", "\"version\":2"),
        r#"{"freshjoin":"change-flag/1","version":-1,"digest":3}"#.to_owned(),
        r#"{"freshjoin":"change-flag/1"}"#.to_owned(),
        r#"{"freshjoin":"change-flag/2","version":2,"path":"../../etc/passwd"}"#.to_owned(),
        r#"{"customer_id":666,"dish":"burger","freshjoin":"change-flag/"}"#.to_owned(),
        r#" { "version" : 2 , "freshjoin" : "change-flag\/1" } "#.to_owned(),
    ];
    for forged in forged.iter().cycle().take(3 * forged.len()).cloned() {
        world.send(vec![forged.into()]).await;
        world.order(4, &DISHES).await;
    }
    world.order(60, &["burger"]).await;
    enricher.drain().await.unwrap();
    let rows = world.rows().await;
    assert_eq!(rows.len(), SHARDS + 9 * 3 * 4 + 60, "an order was lost, or a flag became one");
    assert!(
        of_dish(&rows, "burger").iter().all(|row| row.get("priority") == Some("one")),
        "a forged flag was honoured"
    );
    assert_eq!(world.dead_letters().await.len(), 0, "a flag is no dead letter");
}

async fn flags_may_come_twice_late_and_out_of_order(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    let capture = world.function("change-capture").await;
    let (enricher, _) = world.enricher().await;
    world.touch(&enricher).await;
    for priority in ["one", "two", "three"] {
        world.table.put("burger", 100, priority).await;
        world.capture(&capture).await;
    }
    let shards = world.stream.shards().await.unwrap();
    for version in [2, 1, 3, 3, 1, 2] {
        let flag = world.flag(version).await;
        for shard in &shards {
            let entry = freshjoin_core::ports::PutEntry {
                data: flag.clone().into(),
                partition_key: "flag".into(),
                explicit_hash_key: Some(shard.starting_hash_key.clone()),
            };
            world.stream.put(&[entry]).await.unwrap().remove(0).unwrap();
        }
        world.order(20, &["burger", "pizza"]).await;
    }
    enricher.drain().await.unwrap();
    world.verify().await;
    let rows = world.rows().await;
    let of = |priority: &str| rows.iter().filter(|row| row.get("priority") == Some(priority)).count();
    assert_eq!((of("one"), of("two"), of("three")), (0, 20, 40));
}
