//! The function as Lambda calls it, on memory ports.

use freshjoin_core::change::{Change, ChangeFile, Flag, RowChange, change_key};
use freshjoin_core::location::Location;
use freshjoin_core::memory::{Call, Fault, Gate, MemoryClock, MemoryStore, MemoryStores, MemoryStream, Script};

use super::*;

const ARN: &str = "arn:aws:dynamodb:us-east-1:123456789012:table/ProductPriority/stream/2026-01-01T00:00:00.000";

struct World {
    clock: MemoryClock,
    store: MemoryStore,
    stream: MemoryStream,
    script: Arc<Script>,
}

impl World {
    fn new() -> Self {
        let clock = MemoryClock::at(Timestamp::from_millis(1_790_000_000_000));
        let store = MemoryStores::new(&clock).store(&Location::new("s3://state")).unwrap();
        Self { stream: MemoryStream::new("orders", 4, &clock), clock, store, script: Arc::default() }
    }

    fn deps(&self, direct: bool) -> ChangeCapture {
        let gate = Gate::new(self.script.clone());
        let direct = direct.then(|| Arc::new(self.stream.through(&gate)) as Arc<dyn Stream>);
        ChangeCapture::new(Arc::new(self.store.through(&gate)), Arc::new(self.clock.clone()), direct)
    }

    async fn handle(&self, deps: &ChangeCapture, event: &str) -> Result<BatchResponse, CaptureError> {
        handle(event, deps, self.clock.now().plus_millis(30_000)).await
    }

    fn file(&self, version: u64) -> ChangeFile {
        ChangeFile::decode(version, &self.store.objects()[&change_key(version)]).unwrap()
    }

    fn flags(&self) -> Vec<usize> {
        (0..4).map(|n| self.stream.records(&format!("shardId-{n:012}")).len()).collect()
    }
}

fn record(name: &str, sequence: &str, item: &str, rest: &str) -> String {
    format!(
        r#"{{"eventID":"e{sequence}","eventName":"{name}","eventVersion":"1.1","eventSource":"aws:dynamodb",
        "awsRegion":"us-east-1","dynamodb":{{"ApproximateCreationDateTime":1.767225600123E9,
        "Keys":{{"item":{{"S":"{item}"}},"price":{{"N":"100"}}}},{rest}"SequenceNumber":"{sequence}","SizeBytes":54,
        "StreamViewType":"NEW_AND_OLD_IMAGES"}},"eventSourceARN":"{ARN}"}}"#
    )
}

fn put(sequence: &str, item: &str, priority: &str) -> String {
    let image = format!(
        r#""NewImage":{{"priority":{{"S":"{priority}"}},"price":{{"N":"100"}},"item":{{"S":"{item}"}},
        "n":{{"N":"12345678901234567890123456789012345678"}}}},"#
    );
    record("MODIFY", sequence, item, &image)
}

fn event(records: &[String]) -> String {
    format!(r#"{{"Records":[{}]}}"#, records.join(","))
}

fn rows(file: &ChangeFile) -> Vec<&RowChange> {
    file.changes
        .iter()
        .map(|change| match change {
            Change::Row(row) => row,
            Change::Object(_) => panic!("an object"),
        })
        .collect()
}

#[tokio::test]
async fn a_batch_is_one_file_with_each_key_s_newest_change() {
    let world = World::new();
    let ttl = record("REMOVE", "400", "pizza", "").replace(
        r#""awsRegion""#,
        r#""userIdentity":{"type":"Service","principalId":"dynamodb.amazonaws.com"},"awsRegion""#,
    );
    let reversed = put("1000", "burger", "high")
        .replace(r#""item":{"S":"burger"},"price":{"N":"100"}},"#, r#""price":{"N":"100"},"item":{"S":"burger"}},"#);
    let batch = event(&[
        put("300", "burger", "low"),
        put("400", "pizza", "low"),
        ttl,
        reversed,
        put("999", "burger", "medium"),
    ]);
    assert_eq!(world.handle(&world.deps(false), &batch).await.unwrap(), BatchResponse::default());
    let file = world.file(1);
    assert_eq!((file.origin.source.as_str(), file.origin.range.as_str()), (ARN, "300-1000"));
    let rows = rows(&file);
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].key.get(), rows[0].row.is_none()), (r#"{"item":"pizza","price":100}"#, true));
    assert_eq!((rows[1].table.as_str(), rows[1].label.as_str()), ("ProductPriority", "2026-01-01T00:00:00.000"));
    assert_eq!((rows[1].sequence.as_str(), rows[1].at.to_string().as_str()), ("1000", "2026-01-01T00:00:00.123Z"));
    assert_eq!(
        rows[1].row.as_ref().unwrap().get(),
        r#"{"item":"burger","n":12345678901234567890123456789012345678,"price":100,"priority":"high"}"#
    );
    assert_eq!(world.store.objects().len(), 1);
    assert_eq!(world.flags(), [0; 4]);
}

#[tokio::test]
async fn an_event_without_records_writes_nothing() {
    let world = World::new();
    assert!(world.handle(&world.deps(true), r#"{"Records":[]}"#).await.unwrap().is_success());
    assert!(world.store.objects().is_empty() && world.flags() == [0; 4]);
}

#[tokio::test]
async fn the_flag_reaches_every_shard_again_when_the_batch_comes_again() {
    let world = World::new();
    let batch = event(&[put("1", "burger", "high")]);
    assert!(world.handle(&world.deps(true), &batch).await.unwrap().is_success());
    assert!(world.handle(&world.deps(true), &batch).await.unwrap().is_success());
    assert_eq!(world.store.objects().len(), 1);
    assert_eq!(world.flags(), [2; 4]);
    let bytes = world.store.objects()[&change_key(1)].clone();
    let records = world.stream.records("shardId-000000000003");
    assert_eq!(Flag::decode(records.get(0).unwrap().data).unwrap(), Flag::of(1, &bytes));
}

#[tokio::test]
async fn a_failing_store_fails_every_record_and_a_failing_stream_none() {
    let world = World::new();
    let batch = event(&[put("7", "burger", "high"), put("8", "pizza", "high")]);
    world.script.add("PUT", [Fault::Fail]);
    let deps = world.deps(true);
    let response = world.handle(&deps, &batch).await.unwrap();
    assert_eq!(response.identifiers().collect::<Vec<_>>(), ["7", "8"]);
    assert_eq!(world.flags(), [0; 4]);
    world.script.add("ListShards", vec![Fault::Fail; 100]);
    assert!(world.handle(&deps, &batch).await.unwrap().is_success());
    assert_eq!((deps.failed_flags(), world.store.objects().len()), (1, 1));
}

#[tokio::test]
async fn a_stream_that_hangs_holds_nothing_up_for_long() {
    let world = World::new();
    let start = world.clock.now();
    world.script.add("PutRecords", [Fault::Hang]);
    let deps = world.deps(true);
    assert!(world.handle(&deps, &event(&[put("7", "burger", "high")])).await.unwrap().is_success());
    assert_eq!((deps.failed_flags(), world.clock.now()), (1, start.plus_millis(DIRECT_FLAG_MS)));
    world.script.add("PutRecords", [Fault::Hang]);
    let deadline = world.clock.now().plus_millis(2_000);
    assert!(handle(&event(&[put("8", "burger", "low")]), &deps, deadline).await.unwrap().is_success());
    assert_eq!(world.clock.now(), deadline.plus_millis(-RESERVE_MS));
}

#[tokio::test]
async fn a_store_that_hangs_ends_before_the_deadline() {
    let world = World::new();
    let deps = ChangeCapture::new(
        Arc::new(world.store.through(&Gate::new(Arc::new(|_: &Call<'_>| Fault::Hang)))),
        Arc::new(world.clock.clone()),
        None,
    );
    let deadline = world.clock.now().plus_millis(30_000);
    let error = world.handle(&deps, &event(&[put("7", "burger", "high")])).await.unwrap_err();
    assert!(matches!(error, CaptureError::OutOfTime(_)));
    assert_eq!(world.clock.now(), deadline.plus_millis(-500));
}

#[tokio::test]
async fn several_streams_get_a_file_each_and_one_flag() {
    let world = World::new();
    let other = put("5", "burger", "high").replace("table/ProductPriority", "table/Other");
    let batch = event(&[put("7", "burger", "high"), other]);
    assert!(world.handle(&world.deps(true), &batch).await.unwrap().is_success());
    let tables: Vec<_> = [1, 2].map(|version| rows(&world.file(version))[0].table.clone()).into();
    assert_eq!(tables, ["Other", "ProductPriority"]);
    assert_eq!(world.flags(), [1; 4]);
    world.script.add("PUT", [Fault::Fail]);
    let other = put("6", "burger", "low").replace("table/ProductPriority", "table/Other");
    let response = world.handle(&world.deps(false), &event(&[put("9", "burger", "low"), other])).await.unwrap();
    assert_eq!(response.identifiers().collect::<Vec<_>>(), ["6"]);
    assert_eq!(rows(&world.file(3))[0].table, "ProductPriority");
}

#[tokio::test]
async fn what_cannot_be_understood_acknowledges_nothing_and_says_why() {
    let world = World::new();
    let good = put("7", "burger", "high");
    for (from, to, reason) in [
        (r#""NEW_AND_OLD_IMAGES""#, r#""KEYS_ONLY""#, "ProductPriority has view type KEYS_ONLY"),
        (r#""NEW_AND_OLD_IMAGES""#, r#""OLD_IMAGE""#, "NEW_IMAGE or NEW_AND_OLD_IMAGES"),
        (r#""NewImage""#, r#""OldImage""#, "lacks the new row"),
        (r#""MODIFY""#, r#""UPSERT""#, "eventName"),
        (r#""SequenceNumber":"7""#, r#""SequenceNumber":"""#, "SequenceNumber"),
        (r#""Keys""#, r#""Kays""#, "Keys"),
        ("1.767225600123E9", "\"now\"", "ApproximateCreationDateTime"),
        (r#"{"N":"12345678901234567890123456789012345678"}"#, r#"{"N":"NaN"}"#, "attribute n"),
        (r#"{"S":"high"}"#, r#"{"X":"high"}"#, "'X'"),
        ("arn:aws:dynamodb", "arn:aws:kinesis", "ARN"),
        (r#""eventName""#, r#""eventNome""#, "not an event of DynamoDB Streams"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        let error = world.handle(&world.deps(false), &event(&[put("6", "pizza", "low"), bad])).await.unwrap_err();
        let text = Chain(&error).to_string();
        assert!(text.contains(reason), "{text}");
    }
    assert!(world.handle(&world.deps(false), "{}").await.is_err());
    assert!(world.store.objects().is_empty());
}

#[tokio::test]
async fn a_log_that_cannot_be_trusted_is_an_error() {
    let world = World::new();
    world.store.insert("floor.json", "{}");
    let error = world.handle(&world.deps(false), &event(&[put("7", "burger", "high")])).await.unwrap_err();
    assert!(Chain(&error).to_string().contains("floor.json"), "{error}");
}

#[test]
fn the_work_can_be_spawned() {
    fn spawnable(_: impl Future + Send) {}
    let world = World::new();
    spawnable(handle("", &world.deps(true), Timestamp::default()));
}
