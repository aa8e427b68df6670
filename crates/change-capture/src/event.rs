//! The event of DynamoDB Streams, as far as it is used.
//!
//! Parsed from the text itself: numbers keep their digits, and the creation time its fraction.

use freshjoin_attribute::{AttributeError, item_to_json};
use freshjoin_core::change::RowChange;
use freshjoin_core::sequence::SequenceNumber;
use freshjoin_core::time::Timestamp;
use serde::Deserialize;
use serde_dynamo::Item;
use serde_json::value::RawValue;

/// The event, or one of its records, cannot become a change. The same event fails again until somebody mends the cause.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Not the JSON of such an event.
    #[error("not an event of DynamoDB Streams: {0}")]
    Json(#[from] serde_json::Error),
    /// The record's source is no table's stream.
    #[error("{0:?} is not the ARN of a DynamoDB stream; change-capture takes no other events")]
    Source(String),
    /// A record lacks something or has a wrong value.
    #[error("record {sequence} of table {table}: {reason}")]
    Record {
        /// The table's name.
        table: String,
        /// Its sequence number.
        sequence: String,
        /// What is wrong.
        reason: String,
    },
    /// An attribute has no plain form.
    #[error("record {sequence} of table {table} has a value that cannot be kept")]
    Attribute {
        /// The table's name.
        table: String,
        /// Its sequence number.
        sequence: String,
        /// Which, and why.
        #[source]
        source: AttributeError,
    },
}

/// A record of the event with the stream that it came from.
#[derive(Debug)]
pub(crate) struct Captured {
    /// The stream's ARN.
    pub(crate) source: String,
    pub(crate) change: RowChange,
    /// Whether the record tells only that the row was written: `change.row` is unknown until the table is read.
    pub(crate) unread: bool,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "Records", borrow)]
    records: Vec<WireRecord<'a>>,
}

#[derive(Deserialize)]
struct WireRecord<'a> {
    #[serde(rename = "eventName")]
    name: String,
    #[serde(rename = "eventSourceARN")]
    source: String,
    #[serde(borrow)]
    dynamodb: WireChange<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireChange<'a> {
    #[serde(borrow)]
    approximate_creation_date_time: Option<&'a RawValue>,
    keys: Option<Item>,
    new_image: Option<Item>,
    #[serde(default)]
    sequence_number: String,
    stream_view_type: Option<String>,
}

/// Reads all records of an event.
pub(crate) fn read(event: &str) -> Result<Vec<Captured>, EventError> {
    let wire: Wire<'_> = serde_json::from_str(event)?;
    wire.records.into_iter().map(capture).collect()
}

fn capture(record: WireRecord<'_>) -> Result<Captured, EventError> {
    let Some((table, label)) = table_and_label(&record.source) else {
        return Err(EventError::Source(record.source));
    };
    let (table, label) = (table.to_owned(), label.to_owned());
    let WireChange { approximate_creation_date_time, keys, new_image, sequence_number, stream_view_type } =
        record.dynamodb;
    let wrong = |reason: &str| EventError::Record {
        table: table.clone(),
        sequence: sequence_number.clone(),
        reason: reason.into(),
    };
    if sequence_number.is_empty() || !sequence_number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong("dynamodb.SequenceNumber is no number"));
    }
    let json = |item: &Item| {
        item_to_json(item).map_err(|source| EventError::Attribute {
            table: table.clone(),
            sequence: sequence_number.clone(),
            source,
        })
    };
    let keys = keys.filter(|keys| !keys.is_empty()).ok_or_else(|| wrong("dynamodb.Keys is missing"))?;
    let (row, unread) = match (record.name.as_str(), new_image) {
        ("INSERT" | "MODIFY", Some(image)) => (Some(json(&image)?), false),
        ("INSERT" | "MODIFY", None) => match stream_view_type.as_deref() {
            Some("NEW_IMAGE" | "NEW_AND_OLD_IMAGES") => {
                return Err(wrong("dynamodb.NewImage is missing, which the stream's view type has"));
            }
            _ => (None, true),
        },
        // Deletes by time to live come as this too.
        ("REMOVE", _) => (None, false),
        _ => return Err(wrong("eventName is none of INSERT, MODIFY, REMOVE")),
    };
    let at = approximate_creation_date_time
        .and_then(|raw| Timestamp::from_epoch_seconds(raw.get()))
        .ok_or_else(|| wrong("dynamodb.ApproximateCreationDateTime is no number of seconds"))?;
    let key = json(&keys)?;
    let sequence = SequenceNumber::from(sequence_number.as_str());
    let change = RowChange { key, row, label, sequence, at, table, unless_after: None };
    Ok(Captured { source: record.source, change, unread })
}

/// Of `arn:<partition>:dynamodb:<region>:<account>:table/<name>/stream/<label>`.
fn table_and_label(arn: &str) -> Option<(&str, &str)> {
    let mut parts = arn.splitn(6, ':');
    let service = (parts.next()? == "arn").then(|| parts.nth(1))??;
    let resource = parts.nth(2).filter(|_| service == "dynamodb")?;
    let (table, label) = resource.strip_prefix("table/")?.split_once("/stream/")?;
    (!table.is_empty() && !label.is_empty()).then_some((table, label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arn_names_table_and_label() {
        let arn = "arn:aws-cn:dynamodb:cn-north-1:123456789012:table/Example-Table/stream/2016-12-01T00:00:00.000";
        assert_eq!(table_and_label(arn), Some(("Example-Table", "2016-12-01T00:00:00.000")));
        for arn in [
            "",
            "arn:aws:kinesis:us-east-1:123456789012:stream/orders",
            "arn:aws:dynamodb:us-east-1:123456789012:table/T",
            "arn:aws:dynamodb:us-east-1:123456789012:table//stream/x",
            "arn:aws:dynamodb:us-east-1:123456789012:table/T/stream/",
        ] {
            assert_eq!(table_and_label(arn), None, "{arn}");
        }
    }
}
