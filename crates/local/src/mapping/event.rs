//! The events, as AWS documents them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;

use super::shard::Buffered;

/// What a stream's records look like to a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventShape {
    /// A Kinesis event: the records' bytes as base64.
    Kinesis {
        /// `eventSourceARN`.
        arn: String,
    },
    /// A DynamoDB Streams event: every record's bytes are the JSON of its event record already.
    DynamoDb,
}

impl EventShape {
    /// About how many bytes of an event a record takes.
    pub(super) fn size(&self, record: &Buffered) -> usize {
        match self {
            Self::Kinesis { .. } => record.data.len().div_ceil(3) * 4 + KINESIS_FRAME,
            Self::DynamoDb => record.data.len() + 1,
        }
    }

    /// The event of a batch of one shard.
    pub(super) fn event<'a>(&self, shard: &str, batch: impl Iterator<Item = &'a Buffered>) -> Bytes {
        let mut event = String::from("{\"Records\":[");
        let mut comma = "";
        for record in batch {
            event.push_str(comma);
            comma = ",";
            match self {
                Self::Kinesis { arn } => kinesis(&mut event, arn, shard, record),
                Self::DynamoDb => event.push_str(&String::from_utf8_lossy(&record.data)),
            }
        }
        event.push_str("]}");
        event.into()
    }
}

/// What surrounds a record's data in a Kinesis event, at most.
const KINESIS_FRAME: usize = 1024;

fn kinesis(event: &mut String, arn: &str, shard: &str, record: &Buffered) {
    let mut part = |text: &str| event.push_str(text);
    // Neither a sequence number nor base64 needs escaping.
    part(r#"{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"0","sequenceNumber":""#);
    part(record.sequence.as_str());
    part(r#"","data":""#);
    STANDARD.encode_string(&record.data, event);
    let millis = record.arrival.millis();
    event.push_str(&format!(r#"","approximateArrivalTimestamp":{}.{:03}}},"#, millis / 1000, millis.rem_euclid(1000)));
    event.push_str(&format!(
        r#""eventSource":"aws:kinesis","eventVersion":"1.0","eventID":{},"eventName":"aws:kinesis:record","invokeIdentityArn":"arn:aws:iam::000000000000:role/local","awsRegion":{},"eventSourceARN":{}}}"#,
        json!(format!("{shard}:{}", record.sequence)),
        json!(arn.split(':').nth(3).unwrap_or_default()),
        json!(arn),
    ));
}

#[cfg(test)]
mod tests {
    use freshjoin_core::time::Timestamp;

    use super::*;

    #[test]
    fn a_kinesis_event_is_the_documented_one() {
        let shape = EventShape::Kinesis { arn: "arn:aws:kinesis:us-east-1:123456789012:stream/s\"".into() };
        let record = Buffered {
            sequence: "49590338271490256608559692538361571095921575989136588898".into(),
            arrival: Timestamp::from_millis(1_545_084_650_007),
            data: Bytes::from_static(b"\xff hi"),
        };
        let text = shape.event("shardId-000000000006", [&record, &record].into_iter());
        assert!(String::from_utf8_lossy(&text).contains("\"approximateArrivalTimestamp\":1545084650.007}"));
        assert!(text.len() <= 2 * shape.size(&record));
        let event: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(event["Records"].as_array().unwrap().len(), 2);
        let first = &event["Records"][0];
        assert_eq!(first["eventID"], format!("shardId-000000000006:{}", record.sequence));
        assert_eq!(first["kinesis"]["data"], "/yBoaQ==");
        assert_eq!(first["awsRegion"], "us-east-1");
        assert_eq!(first["eventSourceARN"], "arn:aws:kinesis:us-east-1:123456789012:stream/s\"");
    }
}
