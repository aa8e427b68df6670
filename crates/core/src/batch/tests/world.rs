//! One state, stream and table that the environments of a test share.

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::batch::{
    BatchReport, Consumer, ConsumerDeps, ConsumerSettings, Cursor, IgnoredFlag, Observer, ProcessError, Progress,
    cursor_key,
};
use crate::change::{Change, ChangeFile, Flag, Origin, RowChange, Version, change_key};
use crate::join::{Counts, Limits};
use crate::location::Location;
use crate::memory::{Fault, Faults, Gate, MemoryClock, MemoryStore, MemoryStores, MemoryStream, MemoryTables, Script};
use crate::pipeline::Definition;
use crate::ports::{Clock, PutEntry, Stream};
use crate::record::Records;
use crate::reference::Refreshed;
use crate::settings::AsOf;
use crate::time::Timestamp;

pub(super) const SHARD: &str = "shardId-000000000000";
pub(super) const START: Timestamp = Timestamp::from_millis(1_790_000_000_000);
pub(super) const DEFINITION: &str = r#"
name = "p"
[[reference]]
dynamodb = "T"
on = { dish = "item" }
[output]
columns = ["n", "priority", "item"]
partition_by = ["item"]
provenance = true
"#;

/// `n` of the order, the priority it was joined with, and the version.
pub(super) type Row = (u64, String, Version);

pub(super) fn row(n: u64, priority: &str, version: Version) -> Row {
    (n, priority.into(), version)
}

pub(super) fn order(n: u64, dish: &str) -> Bytes {
    format!(r#"{{"n":{n},"dish":"{dish}"}}"#).into()
}

pub(super) struct World {
    pub(super) clock: MemoryClock,
    pub(super) stores: MemoryStores,
    pub(super) state: MemoryStore,
    pub(super) stream: MemoryStream,
    pub(super) tables: MemoryTables,
    pub(super) as_of: AsOf,
    pub(super) limits: Limits,
    pub(super) definition: String,
    pub(super) output: Location,
    pub(super) head: Mutex<Version>,
    pub(super) content_limit: u64,
}

impl World {
    /// A table `T` with the row `a`, not scanned yet, an empty log and a stream of one shard.
    pub(super) fn unscanned() -> Self {
        let clock = MemoryClock::at(START);
        let stores = MemoryStores::new(&clock);
        let tables = MemoryTables::new(&clock);
        tables.create("T", &["item"]);
        tables.put("T", r#"{"item":"a","priority":"base"}"#).unwrap();
        Self {
            state: stores.store(&Location::new("s3://state/x")).unwrap(),
            stream: MemoryStream::new("s", 1, &clock),
            stores,
            tables,
            as_of: AsOf::Flag,
            limits: Limits { records: 100, objects: 100, bytes: 1 << 20 },
            definition: DEFINITION.into(),
            output: Location::new("s3://out/p"),
            head: Mutex::new(0),
            content_limit: 1 << 20,
            clock,
        }
    }

    /// The same with the table's base at version 0.
    pub(super) fn new() -> Self {
        let world = Self::unscanned();
        world.put_base(0);
        world
    }

    pub(super) fn put_base(&self, version: Version) {
        let header = format!(
            r#"{{"freshjoin":"base/1","reference":"T","version":{version},"scan_started":"{}","rows":1}}"#,
            self.clock.now()
        );
        let line = r#"{"key":{"item":"a"},"row":{"item":"a","priority":"base"}}"#;
        self.state.insert(&crate::reference::base_key("T"), format!("{header}\n{line}\n"));
    }

    /// Appends a change file that sets these priorities, or deletes; its number, which is also that of the changes.
    pub(super) fn change(&self, changes: &[(&str, Option<&str>)]) -> Version {
        let next = *self.head.lock().unwrap() + 1;
        self.change_as(&next.to_string(), changes)
    }

    /// The same with a sequence number of the source stream.
    pub(super) fn change_as(&self, sequence: &str, changes: &[(&str, Option<&str>)]) -> Version {
        let version = {
            let mut head = self.head.lock().unwrap();
            *head += 1;
            *head
        };
        let raw = |text: String| RawValue::from_string(text).unwrap();
        let changes = changes.iter().map(|(item, priority)| {
            Change::Row(RowChange {
                table: "T".into(),
                key: raw(format!(r#"{{"item":"{item}"}}"#)),
                row: priority.map(|priority| raw(format!(r#"{{"item":"{item}","priority":"{priority}"}}"#))),
                label: "l".into(),
                sequence: sequence.into(),
                at: self.clock.now(),
                unless_after: None,
            })
        });
        let origin = Origin { source: "test".into(), label: "l".into(), range: String::new() };
        let file = ChangeFile { version, id: version.to_string(), origin, changes: changes.collect() };
        self.state.insert(&change_key(version), file.encode().unwrap());
        version
    }

    /// Sets the priority of `a` to `v<version>`.
    pub(super) fn bump(&self) -> Version {
        let next = *self.head.lock().unwrap() + 1;
        self.change(&[("a", Some(&format!("v{next}")))])
    }

    /// The true flag of a version.
    pub(super) fn flag(&self, version: Version) -> Bytes {
        let objects = self.state.objects();
        Flag::of(version, &objects[&change_key(version)]).encode().unwrap().into()
    }

    /// Puts records into the stream: those of a hash key 0.
    pub(super) async fn send(&self, data: impl IntoIterator<Item = Bytes>) {
        for data in data {
            let entry = PutEntry { data, partition_key: "x".into(), explicit_hash_key: Some("0".into()) };
            for answer in self.stream.put(&[entry]).await.unwrap() {
                answer.unwrap();
            }
        }
    }

    /// Orders of `a`, numbered.
    pub(super) async fn orders(&self, numbers: impl IntoIterator<Item = u64>) {
        self.send(numbers.into_iter().map(|n| order(n, "a"))).await;
    }

    /// Some of the first shard's records, by their places.
    pub(super) fn cut(&self, places: impl RangeBounds<usize>) -> Records {
        self.cut_of(SHARD, places)
    }

    pub(super) fn cut_of(&self, shard: &str, places: impl RangeBounds<usize>) -> Records {
        let mut cut = Records::default();
        for (place, record) in self.stream.records(shard).iter().enumerate() {
            if places.contains(&place) {
                cut.push(record.sequence, record.arrival, record.data).unwrap();
            }
        }
        cut
    }

    pub(super) fn env(&self) -> Environment {
        let script = Arc::new(Script::default());
        Environment { script: Arc::clone(&script), ..self.env_with(script) }
    }

    pub(super) fn env_with(&self, faults: Arc<dyn Faults>) -> Environment {
        let gate = Gate::new(faults);
        let heard = Arc::new(Heard::default());
        let deps = ConsumerDeps {
            state: Arc::new(self.state.through(&gate)),
            stores: Arc::new(self.stores.through(&gate)),
            tables: Arc::new(self.tables.through(&gate)),
            stream: Arc::new(self.stream.through(&gate)),
            clock: Arc::new(self.clock.clone()),
            observer: heard.clone(),
        };
        let settings = ConsumerSettings {
            output: self.output.clone(),
            as_of: self.as_of,
            limits: self.limits,
            content_limit: self.content_limit,
        };
        let consumer = Consumer::new(Definition::parse(&self.definition).unwrap(), deps, settings);
        Environment { consumer, gate, heard, script: Arc::default() }
    }

    /// An environment that has worked before: nothing is left to load but what changes.
    pub(super) async fn warm(&self, records: &Records) -> Environment {
        let env = self.env();
        env.done(records).await;
        env.gate.reset();
        env.heard.clear();
        env
    }

    pub(super) fn cursor(&self) -> Option<Cursor> {
        self.cursor_of(SHARD)
    }

    pub(super) fn cursor_of(&self, shard: &str) -> Option<Cursor> {
        self.state.objects().get(&cursor_key("p", "s", shard)).map(|bytes| Cursor::decode(bytes).unwrap())
    }

    pub(super) fn set_floor(&self, version: Version) {
        self.state.insert("floor.json", format!(r#"{{"freshjoin":"floor/1","version":{version}}}"#));
    }

    /// The output objects, the claim aside.
    pub(super) fn objects(&self) -> BTreeMap<String, Bytes> {
        self.objects_at(&self.output)
    }

    pub(super) fn objects_at(&self, output: &Location) -> BTreeMap<String, Bytes> {
        let mut objects = self.stores.store(output).unwrap().objects();
        objects.remove("_freshjoin.json");
        objects
    }

    /// Output objects and dead letters.
    pub(super) fn everything(&self) -> BTreeMap<String, Bytes> {
        let mut all = self.objects();
        all.extend(self.state.objects().into_iter().filter(|(key, _)| key.starts_with("dead-letters/")));
        all
    }

    /// The output's rows by the number of their order.
    pub(super) fn rows(&self) -> Vec<Row> {
        self.rows_at(&self.output)
    }

    pub(super) fn rows_at(&self, output: &Location) -> Vec<Row> {
        let mut rows = Vec::new();
        for (key, bytes) in self.objects_at(output) {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let mut lines = text.lines();
            let header = "n,priority,_ref_version,_shard_id,_sequence_number,_sub_sequence,_arrival";
            assert_eq!(lines.next(), Some(header), "{key}");
            for line in lines {
                let fields: Vec<_> = line.split(',').collect();
                rows.push((fields[0].parse().unwrap(), fields[1].to_owned(), fields[2].parse().unwrap()));
            }
        }
        rows.sort();
        rows
    }

    pub(super) fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// One execution environment.
pub(super) struct Environment {
    pub(super) consumer: Consumer,
    pub(super) gate: Gate,
    pub(super) heard: Arc<Heard>,
    pub(super) script: Arc<Script>,
}

impl Environment {
    /// What became of a batch of the first shard; `None` where the environment died.
    pub(super) async fn batch(&self, records: &Records) -> Option<Result<(), ProcessError>> {
        self.batch_of(SHARD, records).await
    }

    pub(super) async fn batch_of(&self, shard: &str, records: &Records) -> Option<Result<(), ProcessError>> {
        self.gate.crash().guard(self.consumer.process(shard, records, &Progress::default())).await
    }

    /// A batch that must succeed.
    pub(super) async fn done(&self, records: &Records) {
        self.done_of(SHARD, records).await;
    }

    pub(super) async fn done_of(&self, shard: &str, records: &Records) {
        self.batch_of(shard, records).await.expect("alive").expect("done");
    }

    /// The error of a batch that must fail.
    pub(super) async fn fails(&self, records: &Records) -> ProcessError {
        self.batch(records).await.expect("alive").expect_err("an error")
    }

    /// Lets the call of an operation after so many further ones go wrong.
    pub(super) fn script(&self, operation: &'static str, after: usize, fault: Fault) {
        self.script.add(operation, std::iter::repeat_n(Fault::None, after).chain([fault]));
    }
}

/// What a consumer told.
#[derive(Debug, Default)]
pub(super) struct Heard {
    reports: Mutex<Vec<BatchReport>>,
    ignored: Mutex<Vec<IgnoredFlag>>,
    refreshed: Mutex<Vec<Refreshed>>,
}

impl Heard {
    pub(super) fn reports(&self) -> Vec<BatchReport> {
        self.reports.lock().unwrap().clone()
    }

    pub(super) fn ignored(&self) -> Vec<IgnoredFlag> {
        self.ignored.lock().unwrap().clone()
    }

    pub(super) fn refreshed(&self) -> Vec<Refreshed> {
        self.refreshed.lock().unwrap().clone()
    }

    pub(super) fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for report in self.reports() {
            sum += report.counts;
        }
        sum
    }

    fn clear(&self) {
        self.reports.lock().unwrap().clear();
        self.ignored.lock().unwrap().clear();
        self.refreshed.lock().unwrap().clear();
    }
}

impl Observer for Heard {
    fn committed(&self, report: &BatchReport) {
        self.reports.lock().unwrap().push(report.clone());
    }

    fn refreshed(&self, _: Version, refreshed: Refreshed) {
        self.refreshed.lock().unwrap().push(refreshed);
    }

    fn ignored(&self, _: &str, _: &str, why: IgnoredFlag) {
        self.ignored.lock().unwrap().push(why);
    }
}
