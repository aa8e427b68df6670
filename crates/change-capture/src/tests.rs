//! The function as Lambda calls it, on memory ports.

use freshjoin_core::change::{Change, ChangeFile, Flag, RowChange, change_key};
use freshjoin_core::location::Location;
use freshjoin_core::memory::{
    Call, Fault, Gate, MemoryClock, MemoryStore, MemoryStores, MemoryStream, MemoryTables, Script,
};
use freshjoin_core::reference::{Effect, Projection, VersionedReference};

use super::*;

const ARN: &str = "arn:aws:dynamodb:us-east-1:123456789012:table/ProductPriority/stream/2026-01-01T00:00:00.000";

struct World {
    clock: MemoryClock,
    store: MemoryStore,
    tables: MemoryTables,
    stream: MemoryStream,
    script: Arc<Script>,
}

impl World {
    fn new() -> Self {
        let clock = MemoryClock::at(Timestamp::from_millis(1_790_000_000_000));
        let store = MemoryStores::new(&clock).store(&Location::new("s3://state")).unwrap();
        let tables = MemoryTables::new(&clock);
        tables.create("ProductPriority", &["item", "price"]);
        Self { stream: MemoryStream::new("orders", 4, &clock), clock, store, tables, script: Arc::default() }
    }

    fn deps(&self, direct: bool) -> ChangeCapture {
        let gate = Gate::new(self.script.clone());
        let direct = direct.then(|| Arc::new(self.stream.through(&gate)) as Arc<dyn Stream>);
        let (store, tables) = (Arc::new(self.store.through(&gate)), Arc::new(self.tables.through(&gate)));
        ChangeCapture::new(store, tables, Arc::new(self.clock.clone()), direct)
    }

    async fn handle(&self, deps: &ChangeCapture, event: &str) -> Result<BatchResponse, CaptureError> {
        handle(event, deps, self.clock.now().plus_millis(30_000)).await
    }

    fn file(&self, version: u64) -> ChangeFile {
        ChangeFile::decode(version, &self.store.objects()[&change_key(version)]).unwrap()
    }

    fn write(&self, item: &str, priority: &str) {
        let row = format!(r#"{{"item":"{item}","price":100,"priority":"{priority}"}}"#);
        self.tables.put("ProductPriority", &row).unwrap();
    }

    fn remove(&self, item: &str) {
        assert!(self.tables.delete("ProductPriority", &format!(r#"{{"item":"{item}","price":100}}"#)).unwrap());
    }

    /// Item, sequence number and priority (none of a delete) of each change of a version.
    fn told(&self, version: u64) -> Vec<(String, String, Option<String>)> {
        let value = |raw: &str| serde_json::from_str::<serde_json::Value>(raw).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let tell = |change: &&RowChange| {
            let priority = change.row.as_ref().map(|row| text(&value(row.get())["priority"]));
            (text(&value(change.key.get())["item"]), change.sequence.as_str().to_owned(), priority)
        };
        rows(&self.file(version)).iter().map(tell).collect()
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

/// As a stream of view type `KEYS_ONLY` tells of a write or a delete.
fn keys(name: &str, sequence: &str, item: &str) -> String {
    record(name, sequence, item, "").replace("NEW_AND_OLD_IMAGES", "KEYS_ONLY")
}

fn told(item: &str, sequence: &str, priority: Option<&str>) -> (String, String, Option<String>) {
    (item.into(), sequence.into(), priority.map(Into::into))
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
        Arc::new(world.tables.clone()),
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
async fn rows_that_the_stream_does_not_carry_are_read_once_a_key() {
    let world = World::new();
    world.write("burger", "high");
    world.write("soup", "of the table");
    let old = r#""OldImage":{"priority":{"S":"old"},"price":{"N":"100"},"item":{"S":"burger"}},"#;
    let batch = event(&[
        keys("INSERT", "9", "burger"),
        record("MODIFY", "10", "burger", old).replace("NEW_AND_OLD_IMAGES", "OLD_IMAGE"),
        keys("MODIFY", "11", "pizza"),
        keys("INSERT", "12", "salad"),
        keys("REMOVE", "13", "salad"),
        // The row counts, not what the view type is called.
        put("14", "soup", "of the record").replace("NEW_AND_OLD_IMAGES", "KEYS_ONLY"),
        keys("MODIFY", "15", "burger").replace(r#""StreamViewType":"KEYS_ONLY""#, r#""StreamViewType":null"#),
    ]);
    let gate = Gate::default();
    let deps = ChangeCapture::new(
        Arc::new(world.store.clone()),
        Arc::new(world.tables.through(&gate)),
        Arc::new(world.clock.clone()),
        None,
    );
    assert!(world.handle(&deps, &batch).await.unwrap().is_success());
    assert_eq!(
        world.told(1),
        [
            told("pizza", "11", None),
            told("salad", "13", None),
            told("soup", "14", Some("of the record")),
            told("burger", "15", Some("high")),
        ]
    );
    assert_eq!(rows(&world.file(1))[0].label, "2026-01-01T00:00:00.000");
    assert_eq!(gate.counts(), [("BatchGetItem", 1)].into());
    gate.reset();
    let deletes = event(&[keys("REMOVE", "16", "pizza"), put("17", "burger", "low")]);
    assert!(world.handle(&deps, &deletes).await.unwrap().is_success());
    assert_eq!(gate.counts(), [].into(), "a delete needs no read");
}

#[tokio::test]
async fn what_comes_again_may_read_another_row_and_does_no_harm() {
    let world = World::new();
    let first = event(&[keys("INSERT", "1", "burger")]);
    // The row changed between the record and the read, and once more before the batch came again; then it went.
    world.write("burger", "medium");
    let deps = world.deps(false);
    assert!(world.handle(&deps, &first).await.unwrap().is_success());
    assert!(world.handle(&deps, &first).await.unwrap().is_success());
    assert_eq!(world.store.objects().len(), 1, "the same row is the same file");
    world.write("burger", "high");
    assert!(world.handle(&deps, &first).await.unwrap().is_success());
    world.remove("burger");
    let rest = event(&[keys("MODIFY", "2", "burger"), keys("MODIFY", "3", "burger")]);
    assert!(world.handle(&deps, &rest).await.unwrap().is_success());
    assert!(world.handle(&deps, &event(&[keys("REMOVE", "4", "burger")])).await.unwrap().is_success());
    assert!(world.handle(&deps, &first).await.unwrap().is_success());
    let all: Vec<_> = (1..=5).flat_map(|version| world.told(version)).collect();
    let (medium, high) = (told("burger", "1", Some("medium")), told("burger", "1", Some("high")));
    assert_eq!(all, [medium, high, told("burger", "3", None), told("burger", "4", None), told("burger", "1", None)]);
    let mut fold = VersionedReference::new(Projection::new(&["item"], false), Timestamp::default());
    let effects = [1, 2, 3, 4, 5].map(|version| fold.apply(version, rows(&world.file(version))[0]).unwrap());
    let (applied, superseded) = (Effect::Applied, Effect::Superseded);
    assert_eq!(effects, [applied, superseded, applied, applied, superseded], "of one number the first stays");
}

#[tokio::test]
async fn a_table_that_fails_is_never_a_missing_row() {
    let world = World::new();
    world.write("burger", "high");
    let batch = event(&[keys("REMOVE", "7", "pizza"), keys("INSERT", "8", "burger")]);
    for fault in [Fault::Fail, Fault::LostAnswer, Fault::Throttle] {
        world.script.add("BatchGetItem", [fault.clone()]);
        let response = world.handle(&world.deps(true), &batch).await.unwrap();
        assert_eq!(response.identifiers().collect::<Vec<_>>(), ["7", "8"], "{fault:?}");
    }
    let missing = batch.replace("table/ProductPriority", "table/Missing");
    let response = world.handle(&world.deps(true), &missing).await.unwrap();
    assert_eq!(response.identifiers().collect::<Vec<_>>(), ["7", "8"]);
    world.script.add("BatchGetItem", [Fault::Hang]);
    let deadline = world.clock.now().plus_millis(30_000);
    let error = world.handle(&world.deps(true), &batch).await.unwrap_err();
    assert!(matches!(error, CaptureError::OutOfTime(_)));
    assert_eq!(world.clock.now(), deadline.plus_millis(-RESERVE_MS));
    assert!(world.store.objects().is_empty() && world.flags() == [0; 4]);
}

#[tokio::test]
async fn rows_too_large_for_one_file_become_several_and_keep_what_is_done() {
    let world = World::new();
    for item in ["a", "b", "c"] {
        world.write(item, "high");
    }
    let batch = event(&[
        keys("INSERT", "1", "a"),
        keys("REMOVE", "2", "gone"),
        keys("INSERT", "3", "b"),
        keys("INSERT", "4", "c"),
        keys("MODIFY", "5", "b"),
    ]);
    world.script.add("BatchGetItem", [Fault::Short(1), Fault::Short(1)]);
    assert!(world.handle(&world.deps(true), &batch).await.unwrap().is_success());
    let all: Vec<_> = (1..=3).map(|version| world.told(version)).collect();
    let (a, b, c) = (told("a", "1", Some("high")), told("b", "5", Some("high")), told("c", "4", Some("high")));
    assert_eq!(all, [vec![a, told("gone", "2", None)], vec![c], vec![b]]);
    assert_eq!((world.store.objects().len(), world.flags()), (3, vec![1; 4]), "the newest flag announces all");
    // What is left of it is reported, and goes on there: `b` comes again with its newest record.
    for (fault, world) in [(Fault::Fail, World::new()), (Fault::Hang, World::new())] {
        world.write("c", "high");
        world.script.add("BatchGetItem", [Fault::Short(1), fault.clone()]);
        let response = world.handle(&world.deps(false), &batch).await.unwrap();
        assert_eq!(response.identifiers().collect::<Vec<_>>(), ["4", "5"], "{fault:?}");
        assert_eq!(world.store.objects().len(), 1);
    }
}

#[tokio::test]
async fn what_cannot_be_understood_acknowledges_nothing_and_says_why() {
    let world = World::new();
    let good = put("7", "burger", "high");
    for (from, to, reason) in [
        (r#""NewImage""#, r#""OldImage""#, "NewImage is missing"),
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
