//! The Kinesis event, read in one pass: base64 is decoded straight into the batch's arena, and nothing else of a record
//! is copied but its sequence number. An event as Lambda writes it takes the hot path of [`scan`](crate::scan); any other
//! spelling of the same JSON is read by `serde_json`.
//!
//! `aws_lambda_events` is not used here: it allocates several times a record and misreads some fractional arrival times.

use std::borrow::Cow;
use std::fmt;

use freshjoin_core::record::{BatchTooLarge, Records};
use freshjoin_core::time::Timestamp;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::scan::{self, Found};

/// A Kinesis event: the records of each shard, in the order in which the shards first appear (an event source mapping
/// sends one).
#[derive(Debug, Default)]
pub struct KinesisEvent {
    /// The stream's name, as its ARN says.
    pub stream: Option<String>,
    /// Shard and records.
    pub shards: Vec<(String, Records)>,
}

/// An event that is not of Kinesis's documented form. Nothing of it was processed.
#[derive(Debug, thiserror::Error)]
#[error("not a Kinesis event: {0}; check that the function's trigger is a Kinesis stream")]
pub struct EventError(#[from] serde_json::Error);

impl KinesisEvent {
    /// Reads an event's JSON.
    ///
    /// # Errors
    /// [`EventError`] with the place of what is wrong.
    pub fn parse(event: &str) -> Result<Self, EventError> {
        let mut into = Self::default();
        let plain = scan::records(event, |found| into.push(&found, event.len()).ok());
        if plain.is_some() {
            return Ok(into);
        }
        into = Self::default();
        let mut input = serde_json::Deserializer::from_str(event);
        EventSeed { into: &mut into, size: event.len() }.deserialize(&mut input)?;
        input.end()?;
        Ok(into)
    }

    fn push(&mut self, found: &Found<'_>, size: usize) -> Result<(), String> {
        let last = self.shards.last().map_or("", |(shard, _)| shard);
        let shard = match found.event_id.strip_prefix(last) {
            Some(rest) if rest.starts_with(':') && !last.is_empty() => last,
            _ => match found.event_id.split_once(':') {
                Some((shard, _)) => shard,
                None => return Err(format!("eventID {:?} names no shard", found.event_id)),
            },
        };
        if self.stream.is_none() {
            let name =
                found.event_source_arn.split_once(":stream/").map(|(_, rest)| rest.split('/').next().unwrap_or(rest));
            self.stream = name.map(str::to_owned);
        }
        let place = match self.shards.iter().rposition(|(known, _)| known == shard) {
            Some(place) => place,
            None => {
                // Base64 takes four thirds, and the envelope some 450 bytes: this is ample.
                self.shards.push((shard.to_owned(), Records::with_capacity(size / 512, size / 2)));
                self.shards.len() - 1
            }
        };
        let arrival = Timestamp::from_epoch_seconds(found.arrival)
            .ok_or_else(|| format!("approximateArrivalTimestamp {} is no time", found.arrival))?;
        let Some((_, records)) = self.shards.get_mut(place) else { return Ok(()) };
        let sequence = found.sequence;
        if sequence.is_empty() || !sequence.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("sequenceNumber {sequence:?} is no decimal number"));
        }
        records
            .push_with(sequence, arrival, |buffer| {
                base64_simd::STANDARD.decode_append(found.data.as_bytes(), buffer).map_err(|_| PushError::Base64)
            })
            .map_err(|error| format!("record {sequence}: {error}"))
    }
}

#[derive(Debug, thiserror::Error)]
enum PushError {
    #[error("its data is not base64")]
    Base64,
    #[error(transparent)]
    TooLarge(#[from] BatchTooLarge),
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    kinesis: WireKinesis<'a>,
    #[serde(rename = "eventID", borrow)]
    event_id: Cow<'a, str>,
    #[serde(rename = "eventSourceARN", borrow, default)]
    event_source_arn: Cow<'a, str>,
}

#[derive(Deserialize)]
struct WireKinesis<'a> {
    #[serde(rename = "sequenceNumber", borrow)]
    sequence_number: Cow<'a, str>,
    #[serde(borrow)]
    data: Cow<'a, str>,
    #[serde(rename = "approximateArrivalTimestamp", borrow)]
    arrival: &'a RawValue,
}

/// `{"Records": […]}`, each record pushed as it is read.
struct EventSeed<'e> {
    into: &'e mut KinesisEvent,
    size: usize,
}

impl<'de> DeserializeSeed<'de> for EventSeed<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EventSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with Records")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut found = false;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if name == "Records" {
                found = true;
                map.next_value_seed(RecordsSeed { into: &mut *self.into, size: self.size })?;
            } else {
                map.next_value::<serde::de::IgnoredAny>()?;
            }
        }
        if found { Ok(()) } else { Err(A::Error::missing_field("Records")) }
    }
}

struct RecordsSeed<'e> {
    into: &'e mut KinesisEvent,
    size: usize,
}

impl<'de> DeserializeSeed<'de> for RecordsSeed<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RecordsSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of Kinesis records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(wire) = seq.next_element::<Wire<'de>>()? {
            let found = Found {
                sequence: &wire.kinesis.sequence_number,
                data: &wire.kinesis.data,
                arrival: wire.kinesis.arrival.get(),
                event_id: &wire.event_id,
                event_source_arn: &wire.event_source_arn,
            };
            self.into.push(&found, self.size).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, sequence: &str, data: &str, arrival: &str) -> String {
        format!(
            r#"{{"kinesis":{{"kinesisSchemaVersion":"1.0","partitionKey":"p","sequenceNumber":"{sequence}","data":"{data}",
            "approximateArrivalTimestamp":{arrival}}},"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"{id}",
            "eventName":"aws:kinesis:record","invokeIdentityArn":"arn:aws:iam::1:role/r","awsRegion":"us-east-1",
            "eventSourceARN":"arn:aws:kinesis:us-east-1:123456789012:stream/orders"}}"#
        )
    }

    fn event(records: &[String]) -> String {
        format!(r#"{{"Records":[{}]}}"#, records.join(","))
    }

    #[test]
    fn the_documented_event_is_read_in_one_pass() {
        let text = event(&[
            record("shardId-000000000006:1", "1", "SGVsbG8=", "1545084650.987"),
            record("shardId-000000000006:2", "2", r"SGk\u003d", "1545084711"),
            record("shardId-000000000007:3", "3", "", "23.5"),
        ]);
        let event = KinesisEvent::parse(&text).unwrap();
        assert_eq!(event.stream.as_deref(), Some("orders"));
        let names: Vec<_> = event.shards.iter().map(|(shard, records)| (shard.as_str(), records.len())).collect();
        assert_eq!(names, [("shardId-000000000006", 2), ("shardId-000000000007", 1)]);
        let first = event.shards[0].1.get(0).unwrap();
        assert_eq!((first.sequence, first.data, first.arrival.millis()), ("1", &b"Hello"[..], 1_545_084_650_987));
        assert_eq!(event.shards[0].1.get(1).unwrap().data, b"Hi");
        assert_eq!(event.shards[1].1.get(0).unwrap().arrival.millis(), 23_500);
    }

    /// The records of an event as the slow path reads them.
    fn slowly(text: &str) -> Result<KinesisEvent, serde_json::Error> {
        let mut into = KinesisEvent::default();
        let mut input = serde_json::Deserializer::from_str(text);
        EventSeed { into: &mut into, size: text.len() }.deserialize(&mut input)?;
        Ok(into)
    }

    fn shown(event: &KinesisEvent) -> Vec<(&str, Vec<freshjoin_core::record::Record<'_>>)> {
        event.shards.iter().map(|(shard, records)| (shard.as_str(), records.iter().collect())).collect()
    }

    #[test]
    fn the_hot_path_reads_what_the_slow_path_reads() {
        let plain = event(&[record("s-0:1", "1", "SGVsbG8=", "1545084650.987"), record("s-1:2", "2", "", "0")]);
        let compact: String = serde_json::from_str::<serde_json::Value>(&plain).unwrap().to_string();
        for text in [&plain, &compact] {
            let mut found = 0;
            let count = |_: Found<'_>| {
                found += 1;
                Some(())
            };
            assert!(scan::records(text, count).is_some(), "the hot path takes it");
            assert_eq!(found, 2);
            assert_eq!(shown(&KinesisEvent::parse(text).unwrap()), shown(&slowly(text).unwrap()));
        }
        // Any spoiled byte is either no difference to both or an error to both.
        let mut differing = 0;
        for at in 0..compact.len() {
            for byte in [b'"', b'\\', b'{', b'}', b',', b'0', b' ', b'x', b'.'] {
                let mut spoiled = compact.clone().into_bytes();
                spoiled[at] = byte;
                let Ok(spoiled) = String::from_utf8(spoiled) else { continue };
                let (fast, slow) = (KinesisEvent::parse(&spoiled), slowly(&spoiled));
                assert_eq!(fast.is_ok(), slow.is_ok(), "{spoiled}");
                if let (Ok(fast), Ok(slow)) = (fast, slow) {
                    assert_eq!(shown(&fast), shown(&slow), "{spoiled}");
                    differing += 1;
                }
            }
        }
        assert!(differing > 0);
    }

    #[test]
    fn anything_else_says_what_is_wrong() {
        for (text, problem) in [
            (String::from("{}"), "Records"),
            (String::from("[]"), "Records"),
            (event(&[String::from("{}")]), "kinesis"),
            (event(&[record("shard", "1", "", "1")]), "names no shard"),
            (event(&[record("s:1", "1x", "", "1")]), "1x"),
            (event(&[record("s:1", "1", "*", "1")]), "record 1: its data is not base64"),
            (event(&[record("s:1", "1", "", "\"x\"")]), "no time"),
            (format!("{} x", event(&[])), "trailing"),
        ] {
            let error = KinesisEvent::parse(&text).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
