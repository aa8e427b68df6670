//! The reference table: DynamoDB with a stream, and the event source mapping from that stream to change-capture.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    StreamSpecification, StreamViewType,
};
use bytes::Bytes;
use freshjoin_clock::SystemClock;
use freshjoin_core::ports::{BoxError, Position, PutEntry, ReadPage, Shard, Stream, StreamDescription, StreamError};
use freshjoin_core::record::Records;
use freshjoin_core::sequence;
use freshjoin_core::time::Timestamp;
use freshjoin_local::function::Function;
use freshjoin_local::mapping::{EventShape, Mapping, MappingSettings, Unobserved};
use freshjoin_local::runtime_api::Environment;
use freshjoin_tests::fixture::{call, sdk_config};
use serde_json::{Value, json};

/// A table with the key (item, price) and a stream.
#[derive(Debug)]
pub(crate) struct Table {
    client: Client,
    stream: Arc<TableStream>,
}

impl Table {
    pub(crate) async fn create(endpoint: &str, name: &str, view: StreamViewType) -> Self {
        let client = Client::new(&sdk_config(endpoint).await);
        let specification = StreamSpecification::builder().stream_enabled(true).stream_view_type(view).build();
        let mut request = client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
        for (attribute, kind, role) in
            [("item", ScalarAttributeType::S, KeyType::Hash), ("price", ScalarAttributeType::N, KeyType::Range)]
        {
            let definition = AttributeDefinition::builder().attribute_name(attribute).attribute_type(kind);
            let element = KeySchemaElement::builder().attribute_name(attribute).key_type(role);
            request = request.attribute_definitions(definition.build().unwrap()).key_schema(element.build().unwrap());
        }
        let created = request.stream_specification(specification.unwrap()).send().await.unwrap();
        let arn = created.table_description.unwrap().latest_stream_arn.unwrap();
        let stream =
            Arc::new(TableStream { endpoint: endpoint.into(), name: name.into(), arn, from: Mutex::default() });
        Self { client, stream }
    }

    /// Deletes it, and makes another, empty one under its name.
    pub(crate) async fn recreate(&mut self, view: StreamViewType) {
        self.client.delete_table().table_name(self.name()).send().await.unwrap();
        *self = Self::create(&self.stream.endpoint, self.name(), view).await;
    }

    pub(crate) fn name(&self) -> &str {
        &self.stream.name
    }

    /// Puts a row of the sample's shape.
    pub(crate) async fn put(&self, item: &str, price: u32, priority: &str) {
        let price = price.to_string();
        let attributes = [
            ("item", AttributeValue::S(item.into())),
            ("price", AttributeValue::N(price)),
            ("priority", AttributeValue::S(priority.into())),
        ];
        self.put_item(attributes).await;
    }

    /// Puts a row of any shape.
    pub(crate) async fn put_item(&self, attributes: impl IntoIterator<Item = (&'static str, AttributeValue)>) {
        let mut request = self.client.put_item().table_name(self.name());
        for (name, value) in attributes {
            request = request.item(name, value);
        }
        request.send().await.unwrap();
    }

    pub(crate) async fn delete(&self, item: &str, price: u32) {
        let request = self.client.delete_item().table_name(self.name()).key("item", AttributeValue::S(item.into()));
        request.key("price", AttributeValue::N(price.to_string())).send().await.unwrap();
    }

    /// What a stream's records are so far, as the records of an event.
    pub(crate) async fn records(&self) -> Vec<Value> {
        self.stream.records().await
    }

    /// Leaves what has happened so far to nobody.
    pub(crate) async fn skip(&self) {
        let last = self.records().await.pop().map(|record| number(&record).to_owned());
        *self.stream.from.lock().unwrap() = last;
    }

    /// A mapping from where [`skip`](Self::skip) left off to environments of change-capture.
    pub(crate) fn mapping(&self, environments: &[Arc<Environment>], settings: MappingSettings) -> Mapping {
        let functions = environments.iter().map(|one| Arc::clone(one) as Arc<dyn Function>).collect();
        let stream = Arc::clone(&self.stream) as Arc<dyn Stream>;
        Mapping::new(stream, EventShape::DynamoDb, functions, Arc::new(SystemClock), settings, Arc::new(Unobserved))
    }

    /// Has change-capture handle all that is new.
    pub(crate) async fn drain_to(&self, environments: &[Arc<Environment>], settings: MappingSettings) {
        let last = self.records().await.pop().map(|record| number(&record).to_owned());
        self.mapping(environments, settings).drain().await.unwrap();
        *self.stream.from.lock().unwrap() = last;
    }
}

fn number(record: &Value) -> &str {
    record["dynamodb"]["SequenceNumber"].as_str().unwrap()
}

/// A table's change stream as a stream of records that are event records already.
#[derive(Debug)]
struct TableStream {
    endpoint: String,
    name: String,
    arn: String,
    /// The trim horizon of its mappings: what follows this record.
    from: Mutex<Option<String>>,
}

const SHARD: &str = "shard";

impl TableStream {
    async fn ask(&self, operation: &str, body: Value) -> Value {
        call(&self.endpoint, &format!("DynamoDBStreams_20120810.{operation}"), "dynamodb", &body).await
    }

    async fn records(&self) -> Vec<Value> {
        let described = self.ask("DescribeStream", json!({"StreamArn": self.arn})).await;
        let shard = &described["StreamDescription"]["Shards"][0]["ShardId"];
        let start = json!({"StreamArn": self.arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
        let mut iterator = self.ask("GetShardIterator", start).await["ShardIterator"].clone();
        let mut all = Vec::new();
        while iterator.is_string() {
            let mut page = self.ask("GetRecords", json!({"ShardIterator": iterator})).await;
            let Some(records) = page["Records"].as_array_mut().filter(|records| !records.is_empty()) else { break };
            for record in records.iter_mut() {
                record["eventSourceARN"] = self.arn.as_str().into();
                record["eventVersion"] = "1.1".into();
            }
            all.append(records);
            iterator = page["NextShardIterator"].take();
        }
        all
    }
}

#[async_trait]
impl Stream for TableStream {
    async fn describe(&self) -> Result<StreamDescription, StreamError> {
        let retention = Duration::from_hours(24);
        Ok(StreamDescription { name: self.name.clone(), created: Timestamp::default(), retention })
    }

    async fn shards(&self) -> Result<Vec<Shard>, StreamError> {
        Ok(vec![Shard { id: SHARD.into(), parents: Vec::new(), starting_hash_key: "0".into(), open: true }])
    }

    async fn read(&self, _: &str, from: &Position) -> Result<ReadPage, StreamError> {
        let from = match from {
            Position::TrimHorizon => self.from.lock().unwrap().clone(),
            Position::After(after) => Some(after.as_str().to_owned()),
            Position::Token(after) => Some(after.clone()).filter(|after| !after.is_empty()),
            Position::At(_) => return Err(self.refuse("a mapping never asks so")),
        };
        let mut page = Records::default();
        for record in self.records().await {
            let number = number(&record);
            if from.as_deref().is_none_or(|from| sequence::compare(number, from).is_gt()) {
                let seconds = record["dynamodb"]["ApproximateCreationDateTime"].to_string();
                let arrival = Timestamp::from_epoch_seconds(&seconds).unwrap();
                page.push(number, arrival, record.to_string().as_bytes()).unwrap();
            }
        }
        let last = page.last_sequence().map(|last| last.as_str().to_owned()).or(from).unwrap_or_default();
        Ok(ReadPage { records: page, next: Some(Position::Token(last)), at_tip: true })
    }

    async fn put(&self, _: &[PutEntry]) -> Result<Vec<Result<String, String>>, StreamError> {
        Err(self.refuse("only the table writes here"))
    }
}

impl TableStream {
    fn refuse(&self, why: &str) -> StreamError {
        StreamError { operation: "call", stream: self.name.clone(), source: BoxError::from(why.to_owned()) }
    }
}

/// Bytes of a whole event, as a mapping would send it.
pub(crate) fn event(records: &[Value]) -> Bytes {
    json!({ "Records": records }).to_string().into()
}
