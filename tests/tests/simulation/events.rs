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

/// Notices of change files, in a wrapping. A bus tells of one object at a time.
pub fn notices(wrapping: Wrapping, keys: &[String]) -> Vec<String> {
    let s3 = |keys: &[String]| {
        let records: Vec<Value> = keys
            .iter()
            .map(|key| {
                json!({
                    "eventSource": "aws:s3",
                    "eventName": "ObjectCreated:Put",
                    "s3": {
                        "bucket": { "name": STATE_BUCKET },
                        "object": { "key": format!("{STATE_PREFIX}/{key}").replace(' ', "+"), "sequencer": "0A" },
                    },
                })
            })
            .collect();
        json!({ "Records": records })
    };
    match wrapping {
        Wrapping::Direct => vec![s3(keys).to_string()],
        Wrapping::Queue => {
            let messages: Vec<Value> = keys
                .iter()
                .enumerate()
                .map(|(n, key)| {
                    let body = s3(std::slice::from_ref(key)).to_string();
                    json!({ "messageId": n.to_string(), "eventSource": "aws:sqs", "body": body })
                })
                .collect();
            vec![json!({ "Records": messages }).to_string()]
        }
        Wrapping::Topic => {
            let message =
                json!({ "EventSource": "aws:sns", "Sns": { "Type": "Notification", "Message": s3(keys).to_string() } });
            vec![json!({ "Records": [message] }).to_string()]
        }
        Wrapping::Bus => keys
            .iter()
            .map(|key| {
                json!({
                    "detail-type": "Object Created",
                    "source": "aws.s3",
                    "detail": {
                        "bucket": { "name": STATE_BUCKET },
                        "object": { "key": format!("{STATE_PREFIX}/{key}"), "sequencer": "0A" },
                    },
                })
                .to_string()
            })
            .collect(),
    }
}
