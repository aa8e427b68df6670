//! What the adapters make of a service's answers, given by a server on the loopback interface that has them by heart.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use bytes::Bytes;
use freshjoin_core::location::Location;
use freshjoin_core::memory::MemoryClock;
use freshjoin_core::ports::{
    Clock, ETag, ObjectStore, Precondition, PutEntry, PutOutcome, RawRow, Segment, Stores, Stream, Tables,
};
use freshjoin_core::settings::StreamName;

use crate::{DynamoTables, KinesisStream, S3Stores};

/// Answers one connection after the other and gives back the requests' heads and bodies as they came.
struct Service {
    config: SdkConfig,
    requests: JoinHandle<Vec<String>>,
}

fn service(answers: Vec<String>) -> Service {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .endpoint_url(format!("http://{}", listener.local_addr().unwrap()))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("id", "secret", None, None, "test")))
        .retry_config(RetryConfig::disabled())
        .build();
    let requests = std::thread::spawn(move || {
        let answer = |answer: String| {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !is_whole(&request) {
                let mut buffer = [0; 4096];
                let read = connection.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..read]);
            }
            connection.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        };
        answers.into_iter().map(answer).collect()
    });
    Service { config, requests }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    body.len() >= length.map_or(0, |length| length.trim().parse().unwrap())
}

fn answer(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
}

fn s3_error(status: u16, code: &str) -> String {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>said so</Message></Error>");
    answer(status, "x-amz-request-id: R1\r\n", &body)
}

const FOUND: &str = "etag: \"e\"\r\nlast-modified: Wed, 21 Oct 2015 07:28:00 GMT\r\n";

fn store(service: &Service) -> std::sync::Arc<dyn ObjectStore> {
    S3Stores::new(&service.config).open(&Location::new("s3://bucket/state")).unwrap()
}

#[tokio::test]
async fn only_no_such_key_is_a_missing_object() {
    let service = service(vec![
        s3_error(404, "NoSuchKey"),
        s3_error(404, "NoSuchBucket"),
        answer(404, "", ""),
        s3_error(403, "AccessDenied"),
        s3_error(500, "InternalError"),
    ]);
    let store = store(&service);
    assert!(store.get("changes/1").await.unwrap().is_none());
    for needles in [&["NoSuchBucket: said so", "404", "R1"][..], &["404"], &["AccessDenied", "s3:ListBucket"], &["500"]]
    {
        let error = store.get("changes/1").await.unwrap_err().to_string();
        assert!(needles.iter().all(|needle| error.contains(needle)), "{error}");
        assert!(error.contains("s3://bucket/state/changes/1"), "{error}");
    }
}

#[tokio::test]
async fn a_write_s_precondition_and_its_answer() {
    let written = answer(200, "etag: \"new\"\r\n", "");
    let tag = ETag("\"old\"".into());
    let (absent, matches) = (Precondition::Absent, Precondition::Matches(&tag));
    let service = service(vec![
        written.clone(),
        written,
        s3_error(412, "PreconditionFailed"),
        s3_error(409, "ConditionalRequestConflict"),
        s3_error(404, "NoSuchKey"),
        s3_error(404, "NoSuchBucket"),
        s3_error(403, "AccessDenied"),
    ]);
    let store = store(&service);
    let put = async |precondition| store.put("k", Bytes::from_static(b"x"), precondition).await;
    assert_eq!(put(absent).await.unwrap(), PutOutcome::Written(ETag("\"new\"".into())));
    assert_eq!(put(matches).await.unwrap(), PutOutcome::Written(ETag("\"new\"".into())));
    assert_eq!(put(absent).await.unwrap(), PutOutcome::PreconditionFailed);
    assert_eq!(put(absent).await.unwrap(), PutOutcome::Busy);
    assert_eq!(put(matches).await.unwrap(), PutOutcome::PreconditionFailed);
    assert!(put(matches).await.unwrap_err().to_string().contains("NoSuchBucket"));
    assert!(put(matches).await.unwrap_err().to_string().contains("AccessDenied"));
    let requests = service.requests.join().unwrap();
    assert!(requests[0].starts_with("PUT /bucket/state/k"), "path-style: {}", requests[0]);
    assert!(requests[0].contains("if-none-match: *\r\n") && !requests[0].contains("if-match"), "{}", requests[0]);
    assert!(requests[1].contains("if-match: \"old\"\r\n") && !requests[1].contains("if-none-match"), "{}", requests[1]);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_asked_for_again_and_never_given_short() {
    let short = answer(200, FOUND, "whole").replace("content-length: 5", "content-length: 9");
    let service = service(vec![short.clone(), answer(200, FOUND, "whole"), short.clone(), short]);
    let store = store(&service);
    let object = store.get("k").await.unwrap().unwrap();
    assert_eq!((&object.bytes[..], object.modified.to_string()), (&b"whole"[..], "2015-10-21T07:28:00.000Z".into()));
    store.get("k").await.unwrap_err();
}

#[tokio::test]
async fn a_listing_decodes_keys_and_does_not_take_an_empty_page_for_the_end() {
    let page = |rest: &str| {
        let body = format!("<ListBucketResult><EncodingType>url</EncodingType>{rest}</ListBucketResult>");
        answer(200, "content-type: application/xml\r\n", &body)
    };
    let entry = "<Contents><Key>state/a/x%2By+z%25%C3%BC</Key><Size>7</Size>\
                 <LastModified>2015-10-21T07:28:00.000Z</LastModified></Contents>";
    let service = service(vec![
        page("<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"),
        page(entry),
        page("<Contents><Key>elsewhere</Key></Contents>"),
    ]);
    let store = store(&service);
    let listed = store.list("a/", Some("a/b")).await.unwrap();
    assert_eq!((listed[0].key.as_str(), listed[0].size), ("a/x+y z%ü", 7));
    store.list("a/", None).await.unwrap_err();
    let requests = service.requests.join().unwrap();
    assert!(requests[0].contains("start-after=state%2Fa%2Fb") && requests[0].contains("prefix=state%2Fa%2F"));
    assert!(requests[1].contains("continuation-token=t"), "{}", requests[1]);
}

#[tokio::test]
async fn an_answer_for_each_record_put() {
    let body = r#"{"FailedRecordCount":1,"Records":[{"ShardId":"shardId-000000000000","SequenceNumber":"1"},
        {"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"slow down"}]}"#;
    let service = service(vec![answer(200, "", body), answer(200, "", body)]);
    let arn = StreamName::parse("arn:aws:kinesis:us-east-2:123456789012:stream/orders").unwrap();
    let stream = KinesisStream::open(&service.config, &arn);
    let entry = PutEntry { data: Bytes::from_static(b"x"), partition_key: "p".into(), explicit_hash_key: None };
    let answers = stream.put(&[entry.clone(), entry.clone()]).await.unwrap();
    assert_eq!(answers[0].as_deref(), Ok("shardId-000000000000"));
    assert_eq!(answers[1], Err("ProvisionedThroughputExceededException: slow down".into()));
    stream.put(&[entry]).await.unwrap_err();
    let requests = service.requests.join().unwrap();
    let by_name = requests[0].contains("\"StreamName\":\"orders\"") && !requests[0].contains("StreamARN");
    assert!(by_name && requests[0].contains("/us-east-2/kinesis/"), "{}", requests[0]);
}

#[tokio::test]
async fn an_arrival_is_the_millisecond_that_its_event_had() {
    let iterator = r#"{"ShardIterator":"i"}"#;
    let page = r#"{"MillisBehindLatest":0,"NextShardIterator":"j","Records":[{"Data":"AQI=","PartitionKey":"p",
        "SequenceNumber":"7","ApproximateArrivalTimestamp":1545084650.987}]}"#;
    let last = r#"{"MillisBehindLatest":5,"Records":[]}"#;
    let service = service([iterator, page, last].map(|body| answer(200, "", body)).into());
    let stream = KinesisStream::new(&service.config, "orders");
    let position = freshjoin_core::ports::Position::After("6".into());
    let page = stream.read("shardId-000000000000", &position).await.unwrap();
    let record = page.records.get(0).unwrap();
    assert_eq!((record.sequence, record.arrival.millis(), record.data), ("7", 1_545_084_650_987, &[1, 2][..]));
    assert!(page.at_tip);
    let end = stream.read("shardId-000000000000", &page.next.unwrap()).await.unwrap();
    assert_eq!((end.next, end.at_tip), (None, false));
    let requests = service.requests.join().unwrap();
    assert!(requests[0].contains("AFTER_SEQUENCE_NUMBER") && requests[2].contains("\"ShardIterator\":\"j\""));
}

#[tokio::test]
async fn shards_are_read_to_the_last_page() {
    let first = r#"{"NextToken":"n","Shards":[{"ShardId":"a","HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"9"},
        "SequenceNumberRange":{"StartingSequenceNumber":"1","EndingSequenceNumber":"2"}}]}"#;
    let second = r#"{"Shards":[{"ShardId":"b","ParentShardId":"a","AdjacentParentShardId":"z",
        "HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"9"},"SequenceNumberRange":{"StartingSequenceNumber":"3"}}]}"#;
    let service = service([first, second].map(|body| answer(200, "", body)).into());
    let shards = KinesisStream::new(&service.config, "orders").shards().await.unwrap();
    let seen: Vec<_> = shards.iter().map(|shard| (shard.id.as_str(), shard.open, shard.parents.len())).collect();
    assert_eq!(seen, [("a", false, 0), ("b", true, 2)]);
    // Kinesis refuses a name beside a token.
    assert!(!service.requests.join().unwrap()[1].contains("StreamName"));
}

#[tokio::test]
async fn a_scan_goes_on_exactly_where_its_page_ended() {
    let page = r#"{"Items":[{"n":{"N":"12345678901234567890123456789012345678"},"b":{"B":"AQI="}}],
        "LastEvaluatedKey":{"b":{"B":"AQI="},"n":{"N":"1.10"}}}"#;
    let service = service([page, r#"{"Items":[]}"#].map(|body| answer(200, "", body)).into());
    let tables = DynamoTables::new(&service.config, Arc::new(MemoryClock::default()));
    let segment = Segment { index: 1, of: 4 };
    let page = tables.scan("T", segment, None).await.unwrap();
    assert_eq!(page.rows[0].get(), r#"{"b":"AQI=","n":12345678901234567890123456789012345678}"#);
    let end = tables.scan("T", segment, page.next.as_deref()).await.unwrap();
    assert_eq!((end.rows.len(), end.next), (0, None));
    let requests = service.requests.join().unwrap();
    assert!(requests[0].contains("\"ConsistentRead\":true") && requests[0].contains("\"TotalSegments\":4"));
    assert!(requests[1].contains(r#"{"B":"AQI="}"#) && requests[1].contains(r#"{"N":"1.10"}"#), "{}", requests[1]);
}

const DESCRIBED: &str = r#"{"Table":{"KeySchema":[{"AttributeName":"n","KeyType":"HASH"}],
    "AttributeDefinitions":[{"AttributeName":"other","AttributeType":"S"},{"AttributeName":"n","AttributeType":"N"}]}}"#;

fn keys(keys: &[&str]) -> Vec<RawRow> {
    keys.iter().map(|key| serde_json::from_str(key).unwrap()).collect()
}

/// What the rows of three keys come to, and what was asked, where the table's description is followed by these answers.
async fn rows(answers: &[&str]) -> (Result<Vec<Option<String>>, String>, Vec<String>, i64) {
    let all = [&[DESCRIBED], answers].concat();
    let service = service(all.into_iter().map(|body| answer(200, "", body)).collect());
    let clock = MemoryClock::default();
    let tables = DynamoTables::new(&service.config, Arc::new(clock.clone()));
    let keys = keys(&[r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":1.0}"#]);
    let found = tables.rows("T", &keys).await.map_err(|error| error.to_string());
    let found = found.map(|rows| rows.into_iter().map(|row| row.map(|row| row.get().to_owned())).collect());
    // After a fault the service may wait for requests that never come.
    let requests = if found.is_ok() { service.requests.join().unwrap() } else { Vec::new() };
    (found, requests, clock.now().millis())
}

#[tokio::test]
async fn keys_that_were_put_off_are_asked_for_again() {
    let (nothing, one, two) = (
        r#"{"Responses":{},"UnprocessedKeys":{"T":{"ConsistentRead":true,"Keys":[{"n":{"N":"1"}},{"n":{"N":"2"}}]}}}"#,
        r#"{"Responses":{"T":[{"n":{"N":"1"},"x":{"S":"a"}}]},"UnprocessedKeys":{"T":{"Keys":[{"n":{"N":"2"}}]}}}"#,
        r#"{"Responses":{"T":[]},"UnprocessedKeys":{}}"#,
    );
    let (found, requests, waited) = rows(&[nothing, nothing, one, two]).await;
    let row = Some(r#"{"n":1,"x":"a"}"#.to_owned());
    assert_eq!(found.unwrap(), [row.clone(), None, row]);
    assert_eq!((requests.len(), waited), (5, 100 + 200), "no pause where something came");
    assert!(requests[1..].iter().all(|request| request.contains("\"ConsistentRead\":true")), "{}", requests[3]);
    // Two spellings of one key are one.
    assert!(requests[1].contains(r#""N":"2""#) && !requests[1].contains(r#""N":"1.0""#), "{}", requests[1]);
    assert!(requests[4].contains(r#""N":"2""#) && !requests[4].contains(r#""N":"1""#), "{}", requests[4]);
}

#[tokio::test]
async fn an_answer_that_is_not_clean_is_never_a_missing_row() {
    let put_off = r#"{"Responses":{"T":[]},"UnprocessedKeys":{"T":{"Keys":[{"n":{"N":"1"}},{"n":{"N":"2"}}]}}}"#;
    for (answers, reason) in [
        (vec![put_off; 9], "2 keys stayed unprocessed"),
        (vec![r#"{"Responses":{"T":[{"n":{"N":"3"}}]}}"#], "a row that was not asked for"),
        (vec![r#"{"Responses":{"T":[{"m":{"N":"3"}}]}}"#], "not made of n"),
        (vec!["{}"], "silent on the table"),
    ] {
        let (found, ..) = rows(&answers).await;
        let error = found.unwrap_err();
        assert!(error.contains("BatchGetItem of table T") && error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn rows_that_are_much_are_answered_in_parts() {
    let ids = |from: usize, to: usize| (from..to).map(|n| format!(r#"{{"n":{n}}}"#)).collect::<Vec<_>>();
    let large = "x".repeat(100_000);
    let items: Vec<String> = (0..100).map(|n| format!(r#"{{"n":{{"N":"{n}"}},"x":{{"S":"{large}"}}}}"#)).collect();
    let body = format!(r#"{{"Responses":{{"T":[{}]}}}}"#, items.join(","));
    let service = service([DESCRIBED, &body].map(|body| answer(200, "", body)).into());
    let tables = DynamoTables::new(&service.config, Arc::new(MemoryClock::default()));
    let ids = ids(0, 250);
    let keys = keys(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let rows = tables.rows("T", &keys).await.unwrap();
    assert_eq!((rows.len(), rows.iter().flatten().count()), (100, 100));
    assert_eq!(service.requests.join().unwrap().len(), 2);
}
