//! One pipeline in a world of its own: a table, a stream, buckets, and the functions between them. Servers are shared,
//! names are not, so cases run at the same time.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use aws_sdk_dynamodb::types::StreamViewType;
use aws_sdk_kinesis::Client as KinesisClient;
use aws_sdk_s3::Client as S3Client;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use freshjoin_aws::{KinesisStream, S3Stores};
use freshjoin_clock::SystemClock;
use freshjoin_core::change::{change_key, digest};
use freshjoin_core::location::Location;
use freshjoin_core::ports::{Clock, ObjectStore, PutEntry, Stores, Stream};
use freshjoin_core::record::Record;
use freshjoin_local::function::{Function, InvokeError};
use freshjoin_local::mapping::{EventShape, Mapping, MappingObserver, MappingSettings};
use freshjoin_local::runtime_api::{Environment, Program};
use freshjoin_tests::fixture::{ACCOUNT, Kinesis, Missing, Moto, REGION, S3Gateway, logs, sdk_config};
use serde_json::{Value, json};

use crate::table::Table;

/// The sample table of the pattern.
pub(crate) const ROWS: [(&str, &str); 5] = [
    ("salad", "high"),
    ("pizza", "low"),
    ("burger", "medium"),
    ("pasta", "very high"),
    ("ice-cream", "very very high"),
];

/// What the sample orders are of; there is no donut in the table.
pub(crate) const DISHES: [&str; 5] = ["pizza", "burger", "salad", "donut", "ice-cream"];

pub(crate) const SHARDS: usize = 4;

/// The emulators that all worlds share.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    moto: OnceLock<Moto>,
    gateway: OnceLock<Result<S3Gateway, Missing>>,
    kinesis: OnceLock<Kinesis>,
}

impl Servers {
    pub(crate) fn dynamodb(&self) -> String {
        self.moto.get_or_init(Moto::start).url()
    }

    /// versitygw; moto where there was no Go to build it with.
    pub(crate) fn s3(&self) -> String {
        match self.gateway.get_or_init(S3Gateway::start) {
            Ok(gateway) => gateway.url(),
            Err(missing) => {
                println!("S3 is moto: {missing}");
                self.dynamodb()
            }
        }
    }

    /// versitygw, where it is there.
    pub(crate) fn gateway(&self) -> Option<&S3Gateway> {
        self.gateway.get_or_init(S3Gateway::start).as_ref().ok()
    }

    pub(crate) fn kinesis(&self) -> String {
        self.kinesis.get_or_init(|| Kinesis::start(false)).url()
    }
}

/// How a pipeline of this world is deployed; changed for another deployment of it.
#[derive(Clone, Debug)]
pub(crate) struct Deployment {
    pub(crate) pipeline: String,
    pub(crate) output: String,
    pub(crate) as_of: &'static str,
    /// Endpoints, real or of a proxy.
    pub(crate) s3: String,
    pub(crate) dynamodb: String,
    pub(crate) kinesis: String,
}

/// What the enricher's mapping saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    answers: Mutex<Vec<Result<Bytes, InvokeError>>>,
}

impl MappingObserver for Seen {
    fn invoked(&self, _: &str, _: usize, answer: &Result<Bytes, InvokeError>) {
        self.answers.lock().unwrap().push(answer.clone());
    }
}

impl Seen {
    /// How many invocations there were.
    pub(crate) fn count(&self) -> usize {
        self.answers.lock().unwrap().len()
    }

    /// How many ended so that Lambda had to end them.
    pub(crate) fn timed_out(&self) -> usize {
        self.answers.lock().unwrap().iter().filter(|answer| matches!(answer, Err(InvokeError::TimedOut))).count()
    }

    /// How many failed or reported failures.
    pub(crate) fn failed(&self) -> usize {
        let clean = |answer: &Result<Bytes, InvokeError>| {
            let Ok(bytes) = answer else { return false };
            let answer: Value = serde_json::from_slice(bytes).unwrap();
            answer["batchItemFailures"].as_array().is_none_or(Vec::is_empty)
        };
        self.answers.lock().unwrap().iter().filter(|answer| !clean(answer)).count()
    }
}

#[derive(Debug)]
pub(crate) struct World {
    id: u32,
    pub(crate) table: Table,
    pub(crate) stream: Arc<dyn Stream>,
    pub(crate) stream_name: String,
    pub(crate) kinesis: KinesisClient,
    stores: Arc<dyn Stores>,
    pub(crate) state: Arc<dyn ObjectStore>,
    pub(crate) bucket: String,
    pub(crate) deployment: Deployment,
    pub(crate) clock: Arc<dyn Clock>,
    announced: AtomicU64,
    customers: AtomicU64,
}

impl World {
    /// A world whose table holds [`ROWS`] and whose stream has four shards.
    pub(crate) async fn new(servers: &Servers) -> Self {
        Self::viewed(servers, StreamViewType::NewAndOldImages).await
    }

    /// The same with a table's stream that carries this.
    pub(crate) async fn viewed(servers: &Servers, view: StreamViewType) -> Self {
        let world = Self::create(servers, SHARDS, view).await;
        for (item, priority) in ROWS {
            world.table.put(item, 100, priority).await;
        }
        // The changes that made the sample table are not for capture: its mapping starts at the latest.
        world.table.skip().await;
        world
    }

    /// A world with an empty table, whose mapping starts at the trim horizon.
    pub(crate) async fn empty(servers: &Servers, shards: usize) -> Self {
        Self::create(servers, shards, StreamViewType::NewAndOldImages).await
    }

    async fn create(servers: &Servers, shards: usize, view: StreamViewType) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let id = COUNT.fetch_add(1, Ordering::Relaxed);
        let (bucket, stream_name) = (format!("world-{id}"), format!("orders-{id}"));
        let kinesis_config = sdk_config(&servers.kinesis()).await;
        let (stores, state) = create_bucket(&servers.s3(), &bucket).await;
        let kinesis = KinesisClient::new(&kinesis_config);
        let table = Table::create(&servers.dynamodb(), &format!("ProductPriority{id}"), view).await;
        let world = Self {
            id,
            stream: Arc::new(KinesisStream::new(&kinesis_config, &stream_name)),
            state,
            deployment: Deployment {
                pipeline: pipeline(table.name()),
                output: format!("s3://{bucket}/output"),
                as_of: "flag",
                s3: servers.s3(),
                dynamodb: servers.dynamodb(),
                kinesis: servers.kinesis(),
            },
            table,
            stream_name,
            kinesis,
            stores,
            bucket,
            clock: Arc::new(SystemClock),
            announced: AtomicU64::new(0),
            customers: AtomicU64::new(1),
        };
        world.create_stream(shards).await;
        world
    }

    /// Moves to another S3 before anything is written.
    pub(crate) async fn use_s3(&mut self, endpoint: &str) {
        self.deployment.s3 = endpoint.into();
        (self.stores, self.state) = create_bucket(endpoint, &self.bucket).await;
    }

    pub(crate) async fn create_stream(&self, shards: usize) {
        let shards = i32::try_from(shards).unwrap();
        self.kinesis.create_stream().stream_name(&self.stream_name).shard_count(shards).send().await.unwrap();
        self.settled().await;
    }

    /// Waits until the stream is as it was told to be.
    pub(crate) async fn settled(&self) {
        loop {
            let answer = self.kinesis.describe_stream_summary().stream_name(&self.stream_name).send().await.unwrap();
            if answer.stream_description_summary.unwrap().stream_status.as_str() == "ACTIVE" {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    // Functions.

    /// The variables of every function, and Lambda's own.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let Deployment { pipeline, output, as_of, s3, dynamodb, kinesis } = &self.deployment;
        [
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_ENDPOINT_URL_S3", s3),
            ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb),
            ("AWS_ENDPOINT_URL_KINESIS", kinesis),
            ("FRESHJOIN_PIPELINE", pipeline),
            ("FRESHJOIN_STATE", &format!("s3://{}/state", self.bucket)),
            ("FRESHJOIN_OUTPUT", output),
            ("FRESHJOIN_STREAM", &self.stream_name),
            ("FRESHJOIN_AS_OF", as_of),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    pub(crate) async fn function(&self, binary: &str) -> Arc<Environment> {
        self.function_with(binary, self.variables()).await
    }

    pub(crate) async fn function_with(&self, binary: &str, variables: Vec<(String, String)>) -> Arc<Environment> {
        let program = Program { binary: built(binary), variables, log: self.log(binary) };
        Arc::new(Environment::start(program, Arc::clone(&self.clock)).await.unwrap())
    }

    /// Where a function's output goes: kept where the case failed.
    pub(crate) fn log(&self, binary: &str) -> PathBuf {
        logs().join(format!("e2e-{}-{}-{binary}.log", std::process::id(), self.id))
    }

    /// A mapping from the stream's beginning to these environments of the enricher.
    pub(crate) fn mapping(
        &self,
        environments: &[Arc<Environment>],
        settings: MappingSettings,
    ) -> (Arc<Mapping>, Arc<Seen>) {
        let seen = Arc::new(Seen::default());
        let functions = environments.iter().map(|one| Arc::clone(one) as Arc<dyn Function>).collect();
        let shape =
            EventShape::Kinesis { arn: format!("arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{}", self.stream_name) };
        let (stream, clock) = (Arc::clone(&self.stream), Arc::clone(&self.clock));
        let observer = Arc::clone(&seen) as Arc<dyn MappingObserver>;
        (Arc::new(Mapping::new(stream, shape, functions, clock, settings, observer)), seen)
    }

    /// The enricher behind a mapping of the usual settings, one environment.
    pub(crate) async fn enricher(&self) -> (Arc<Mapping>, Arc<Seen>) {
        let environment = self.function("enricher").await;
        self.mapping(&[environment], MappingSettings::default())
    }

    // The stream.

    /// Orders of dishes in turn, each with a customer of its own, onto all shards.
    pub(crate) async fn order(&self, count: usize, dishes: &[&str]) {
        let orders: Vec<Bytes> = (0..count)
            .map(|n| {
                let customer = self.customers.fetch_add(1, Ordering::Relaxed);
                json!({"dish": dishes[n % dishes.len()], "cost": 10 + n % 140, "customer_id": customer})
                    .to_string()
                    .into()
            })
            .collect();
        self.send(orders).await;
    }

    /// Records onto all shards, by a partition key each.
    pub(crate) async fn send(&self, records: Vec<Bytes>) {
        static KEY: AtomicU64 = AtomicU64::new(0);
        let entry = |data| {
            let key = KEY.fetch_add(1, Ordering::Relaxed).to_string();
            PutEntry { data, partition_key: key, explicit_hash_key: None }
        };
        let entries: Vec<PutEntry> = records.into_iter().map(entry).collect();
        for chunk in entries.chunks(500) {
            self.stream.put(chunk).await.unwrap().into_iter().for_each(|answer| drop(answer.unwrap()));
        }
    }

    /// One order to each open shard, and a run of the enricher, so that every shard has its cursor before any change.
    pub(crate) async fn touch(&self, mapping: &Mapping) {
        for shard in self.stream.shards().await.unwrap().into_iter().filter(|shard| shard.open) {
            let customer = self.customers.fetch_add(1, Ordering::Relaxed);
            let data = json!({"dish": "salad", "cost": 1, "customer_id": customer}).to_string().into();
            let hash_key = Some(shard.starting_hash_key);
            let entry = PutEntry { data, partition_key: "touch".into(), explicit_hash_key: hash_key };
            self.stream.put(&[entry]).await.unwrap().remove(0).unwrap();
        }
        mapping.drain().await.unwrap();
    }

    // The change log.

    /// Change files, oldest first, as bytes.
    pub(crate) async fn change_files(&self) -> Vec<Bytes> {
        let mut files = Vec::new();
        while let Some(object) = self.state.get(&change_key(files.len() as u64 + 1)).await.unwrap() {
            files.push(object.bytes);
        }
        files
    }

    /// Has change-capture handle all that is new in the table's stream.
    pub(crate) async fn capture(&self, function: &Arc<Environment>) {
        self.table.drain_to(&[Arc::clone(function)], MappingSettings::default()).await;
    }

    /// Hands flag-injector the notice of every change file that is new. Fails the case if it answers an error.
    pub(crate) async fn announce(&self, function: &Environment) {
        let files = self.change_files().await.len() as u64;
        for version in self.announced.swap(files, Ordering::Relaxed) + 1..=files {
            self.invoke(function, &s3_event(&self.bucket, &format!("state/{}", change_key(version)))).await.unwrap();
        }
    }

    /// One invocation with Lambda's 30 seconds.
    pub(crate) async fn invoke(&self, function: &Environment, event: &Value) -> Result<Value, InvokeError> {
        let deadline = self.clock.now().plus_millis(30_000);
        let answer = function.invoke(event.to_string().into(), deadline).await?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    /// The flag of a version, as the contract has it.
    pub(crate) async fn flag(&self, version: usize) -> String {
        let files = self.change_files().await;
        let digest = digest(&files[version - 1]);
        format!(r#"{{"freshjoin":"change-flag/1","version":{version},"digest":"{digest}"}}"#)
    }

    pub(crate) fn open(&self, location: &str) -> Arc<dyn ObjectStore> {
        self.stores.open(&Location::new(location)).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for binary in ["change-capture", "flag-injector", "enricher", "log-keeper"] {
            let log = self.log(binary);
            if std::thread::panicking() {
                eprintln!("see {}", log.display());
            } else {
                drop(std::fs::remove_file(log));
            }
        }
    }
}

pub(crate) async fn s3_client(endpoint: &str) -> S3Client {
    let config = sdk_config(endpoint).await;
    S3Client::from_conf(aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build())
}

/// All buckets, and the state in this new one.
async fn create_bucket(endpoint: &str, bucket: &str) -> (Arc<dyn Stores>, Arc<dyn ObjectStore>) {
    s3_client(endpoint).await.create_bucket().bucket(bucket).send().await.unwrap();
    let stores = Arc::new(S3Stores::new(&sdk_config(endpoint).await));
    let state = stores.open(&Location::new(format!("s3://{bucket}/state"))).unwrap();
    (stores, state)
}

/// The pipeline of the pattern over a table.
pub(crate) fn pipeline(table: &str) -> String {
    format!(
        r#"
name = "orders"

[source]
format = "json"

[[reference]]
dynamodb = "{table}"
on       = {{ dish = "item" }}
join     = "left"

[output]
columns      = ["cost", "price", "priority", "customer_id", "item"]
partition_by = ["item", "priority"]
format       = "csv"
"#
    )
}

/// S3's notice of a created object, as AWS documents it.
pub(crate) fn s3_event(bucket: &str, key: &str) -> Value {
    static SEQUENCER: AtomicU64 = AtomicU64::new(0x0055_AED6_DCD9_0281);
    let mut encoded = String::new();
    for byte in key.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => encoded.push(char::from(byte)),
            _ => write!(encoded, "%{byte:02X}").unwrap(),
        }
    }
    let sequencer = SEQUENCER.fetch_add(1, Ordering::Relaxed);
    json!({"Records": [{
        "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": REGION, "eventTime": "2026-11-23T06:00:00.000Z",
        "eventName": "ObjectCreated:Put", "userIdentity": {"principalId": "AWS:EXAMPLE"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": "FMyUVURIY8/IgAtTv8xRjskZQpcIZ9KG4V5Wp6S7S"},
        "s3": {
            "s3SchemaVersion": "1.0", "configurationId": "changes",
            "bucket": {"name": bucket, "ownerIdentity": {"principalId": "E"}, "arn": format!("arn:aws:s3:::{bucket}")},
            "object": {"key": encoded, "size": 1024, "eTag": "d41d8cd98f00b204e9800998ecf8427e", "sequencer": format!("{sequencer:018X}")}
        }
    }]})
}

/// A Kinesis event of records of one shard, as AWS documents it.
pub(crate) fn kinesis_event(stream: &str, shard: &str, records: &[Record<'_>]) -> Value {
    let arn = format!("arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{stream}");
    let record = |record: &Record<'_>| {
        json!({
            "kinesis": {
                "kinesisSchemaVersion": "1.0", "partitionKey": "1", "sequenceNumber": record.sequence,
                "data": STANDARD.encode(record.data),
                "approximateArrivalTimestamp": record.arrival.millis() as f64 / 1000.0
            },
            "eventSource": "aws:kinesis", "eventVersion": "1.0", "eventID": format!("{shard}:{}", record.sequence),
            "eventName": "aws:kinesis:record", "invokeIdentityArn": format!("arn:aws:iam::{ACCOUNT}:role/lambda-role"),
            "awsRegion": REGION, "eventSourceARN": arn
        })
    };
    json!({"Records": records.iter().map(record).collect::<Vec<_>>()})
}

/// A function's binary, in the folder above that of this test.
pub(crate) fn built(binary: &str) -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let path = here.ancestors().nth(2).unwrap().join(binary);
    assert!(path.exists(), "{} is missing; `cargo build --workspace --all-features` makes it", path.display());
    path
}
