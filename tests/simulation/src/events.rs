//! Events as AWS sends them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freshjoin_core::record::Record;
use serde_json::{Map, Value, json};

pub const STREAM: &str = "orders";
pub const STATE_BUCKET: &str = "state";
/// With a character that notices encode.
pub const STATE_PREFIX: &str = "fresh join";

/// An event of the order stream.
pub fn kinesis<'a>(shard: &str, records: impl Iterator<Item = Record<'a>>) -> String {
    let records: Vec<Value> = records
        .map(|record| {
            json!({
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": "p",
                    "sequenceNumber": record.sequence,
                    "data": STANDARD.encode(record.data),
                    "approximateArrivalTimestamp": seconds(record.arrival.millis()),
                },
                "eventSource": "aws:kinesis",
                "eventID": format!("{shard}:{}", record.sequence),
                "eventName": "aws:kinesis:record",
                "eventSourceARN": format!("arn:aws:kinesis:us-east-1:123456789012:stream/{STREAM}"),
            })
        })
        .collect();
    json!({ "Records": records }).to_string()
}

/// One change of a table, as its stream of a view type carries it. The row is `None` where it was deleted.
pub fn change(
    (table, label, view): (&str, &str, &str),
    sequence: &str,
    key: &Value,
    row: Option<&Value>,
    millis: i64,
    ttl: bool,
) -> Value {
    let mut record = json!({
        "eventID": format!("{table}-{sequence}"),
        "eventName": if row.is_some() { "MODIFY" } else { "REMOVE" },
        "eventSource": "aws:dynamodb",
        "dynamodb": {
            "ApproximateCreationDateTime": seconds(millis),
            "Keys": attributes(key),
            "SequenceNumber": sequence,
            "StreamViewType": view,
        },
        "eventSourceARN": format!("arn:aws:dynamodb:us-east-1:123456789012:table/{table}/stream/{label}"),
    });
    if let Some(row) = row.filter(|_| view.starts_with("NEW_")) {
        record["dynamodb"]["NewImage"] = attributes(row);
    }
    if ttl {
        record["userIdentity"] = json!({ "type": "Service", "principalId": "dynamodb.amazonaws.com" });
    }
    record
}

/// Of a plain object with text and numbers.
fn attributes(row: &Value) -> Value {
    let members = row.as_object().into_iter().flatten().map(|(name, value)| {
        let attribute = match value {
            Value::Number(number) => json!({ "N": number.to_string() }),
            Value::Null => json!({ "NULL": true }),
            other => json!({ "S": other }),
        };
        (name.clone(), attribute)
    });
    Value::Object(members.collect::<Map<_, _>>())
}

/// Seconds with a fraction, as both services give times.
fn seconds(millis: i64) -> Value {
    serde_json::from_str(&format!("{}.{:03}", millis / 1000, millis % 1000)).unwrap_or_default()
}

/// The ways in which S3 tells of a new object.
#[derive(Clone, Copy, Debug)]
pub enum Wrapping {
    Direct,
    Queue,
    Topic,
    Bus,
}

/// What a notice is about.
#[derive(Clone, Debug)]
pub struct About {
    pub bucket: &'static str,
    pub key: String,
    /// Whether the object was written; it was removed otherwise.
    pub written: bool,
    pub sequencer: String,
}

impl About {
    /// A new change file.
    pub fn file(key: &str) -> Self {
        let key = format!("{STATE_PREFIX}/{key}");
        Self { bucket: STATE_BUCKET, key, written: true, sequencer: "0A".into() }
    }

    pub fn url(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }
}

/// An event of S3 on its way.
#[derive(Clone, Debug)]
pub struct Notice {
    pub event: String,
    pub about: Vec<About>,
    /// How often it has failed.
    pub failed: u32,
}

/// Notices in a wrapping. A bus tells of one object at a time.
pub fn notices(wrapping: Wrapping, about: &[About]) -> Vec<Notice> {
    let s3 = |about: &[About]| {
        let records: Vec<Value> = about
            .iter()
            .map(|about| {
                json!({
                    "eventSource": "aws:s3",
                    "eventName": if about.written { "ObjectCreated:Put" } else { "ObjectRemoved:Delete" },
                    "s3": {
                        "bucket": { "name": about.bucket },
                        "object": { "key": about.key.replace(' ', "+"), "sequencer": about.sequencer },
                    },
                })
            })
            .collect();
        json!({ "Records": records })
    };
    let one = |event: Value| vec![Notice { event: event.to_string(), about: about.to_vec(), failed: 0 }];
    match wrapping {
        Wrapping::Direct => one(s3(about)),
        Wrapping::Queue => {
            let messages: Vec<Value> = about
                .iter()
                .enumerate()
                .map(|(n, about)| {
                    let body = s3(std::slice::from_ref(about)).to_string();
                    json!({ "messageId": n.to_string(), "eventSource": "aws:sqs", "body": body })
                })
                .collect();
            one(json!({ "Records": messages }))
        }
        Wrapping::Topic => {
            let message = json!({ "EventSource": "aws:sns", "Sns": { "Type": "Notification", "Message": s3(about).to_string() } });
            one(json!({ "Records": [message] }))
        }
        Wrapping::Bus => about
            .iter()
            .map(|about| {
                let event = json!({
                    "detail-type": if about.written { "Object Created" } else { "Object Deleted" },
                    "source": "aws.s3",
                    "detail": {
                        "bucket": { "name": about.bucket },
                        "object": { "key": about.key, "sequencer": about.sequencer },
                    },
                });
                Notice { event: event.to_string(), about: vec![about.clone()], failed: 0 }
            })
            .collect(),
    }
}
