//! The record stream over Kinesis Data Streams.
//!
//! What always holds: arrivals are rounded to the millisecond, so that a record read again has the arrival that its
//! event had. A stream given by ARN is asked for in the ARN's region and account; under an endpoint URL of one's own
//! it is asked for by name.
//!
//! On failure: the SDK retries throttling and faults of the service. An iterator older than five minutes is a fault;
//! callers start again from a sequence number. A record of a `put` that was refused is answered with its reason.

use std::time::Duration;

use async_trait::async_trait;
use aws_config::{Region, SdkConfig};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::{Blob, DateTime};
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};
use freshjoin_core::ports::{BoxError, Position, PutEntry, ReadPage, Shard, Stream, StreamDescription, StreamError};
use freshjoin_core::record::Records;
use freshjoin_core::settings::StreamName;
use freshjoin_core::time::Timestamp;

use crate::config::has_endpoint;
use crate::fault::ServiceFault;

/// One Kinesis stream.
#[derive(Clone, Debug)]
pub struct KinesisStream {
    client: Client,
    display: String,
    // One of the two is there: Kinesis refuses both, and emulators know only names.
    name: Option<String>,
    arn: Option<String>,
}

impl KinesisStream {
    /// A stream of the configured account and region by its name.
    pub fn new(config: &SdkConfig, name: impl Into<String>) -> Self {
        Self::open(config, &StreamName { name: name.into(), arn: None })
    }

    /// A stream as the settings name it.
    #[must_use]
    pub fn open(config: &SdkConfig, stream: &StreamName) -> Self {
        let mut builder = aws_sdk_kinesis::config::Builder::from(config);
        if let Some(arn) = &stream.arn {
            builder.set_region(Some(Region::new(arn.region.clone())));
        }
        let arn = stream.arn.as_ref().filter(|_| !has_endpoint(config, "Kinesis"));
        Self {
            client: Client::from_conf(builder.build()),
            display: stream.name.clone(),
            name: arn.is_none().then(|| stream.name.clone()),
            arn: arn.map(|arn| arn.text.clone()),
        }
    }

    fn fault(&self, operation: &'static str, source: impl Into<BoxError>) -> StreamError {
        StreamError { operation, stream: self.display.clone(), source: source.into() }
    }

    async fn iterator(&self, shard: &str, from: &Position) -> Result<String, StreamError> {
        let (kind, sequence) = match from {
            Position::Token(token) => return Ok(token.clone()),
            Position::TrimHorizon => (ShardIteratorType::TrimHorizon, None),
            Position::At(sequence) => (ShardIteratorType::AtSequenceNumber, Some(sequence.to_string())),
            Position::After(sequence) => (ShardIteratorType::AfterSequenceNumber, Some(sequence.to_string())),
        };
        self.client
            .get_shard_iterator()
            .set_stream_name(self.name.clone())
            .set_stream_arn(self.arn.clone())
            .shard_id(shard)
            .shard_iterator_type(kind)
            .set_starting_sequence_number(sequence)
            .send()
            .await
            .map_err(|error| self.fault("GetShardIterator", ServiceFault::of(&error)))?
            .shard_iterator
            .ok_or_else(|| self.fault("GetShardIterator", "the answer has no iterator"))
    }
}

#[async_trait]
impl Stream for KinesisStream {
    async fn describe(&self) -> Result<StreamDescription, StreamError> {
        const OPERATION: &str = "DescribeStreamSummary";
        let request = self.client.describe_stream_summary();
        let output = request
            .set_stream_name(self.name.clone())
            .set_stream_arn(self.arn.clone())
            .send()
            .await
            .map_err(|error| self.fault(OPERATION, ServiceFault::of(&error)))?;
        let summary =
            output.stream_description_summary.ok_or_else(|| self.fault(OPERATION, "the answer has no description"))?;
        let created = timestamp(&summary.stream_creation_timestamp);
        let hours = u64::try_from(summary.retention_period_hours).unwrap_or_default();
        Ok(StreamDescription { name: summary.stream_name, created, retention: Duration::from_hours(hours) })
    }

    async fn shards(&self) -> Result<Vec<Shard>, StreamError> {
        let mut shards = Vec::new();
        let mut token = None;
        loop {
            let first = token.is_none();
            let page = self
                .client
                .list_shards()
                .set_stream_name(self.name.clone().filter(|_| first))
                .set_stream_arn(self.arn.clone())
                .set_next_token(token)
                .send()
                .await
                .map_err(|error| self.fault("ListShards", ServiceFault::of(&error)))?;
            for shard in page.shards.unwrap_or_default() {
                let range = shard.sequence_number_range;
                shards.push(Shard {
                    parents: [shard.parent_shard_id, shard.adjacent_parent_shard_id].into_iter().flatten().collect(),
                    starting_hash_key: shard
                        .hash_key_range
                        .map(|range| range.starting_hash_key)
                        .ok_or_else(|| self.fault("ListShards", format!("{} has no hash keys", shard.shard_id)))?,
                    open: range.is_none_or(|range| range.ending_sequence_number.is_none()),
                    id: shard.shard_id,
                });
            }
            token = page.next_token;
            if token.is_none() {
                return Ok(shards);
            }
        }
    }

    async fn read(&self, shard: &str, from: &Position) -> Result<ReadPage, StreamError> {
        const OPERATION: &str = "GetRecords";
        let iterator = self.iterator(shard, from).await?;
        let request = self.client.get_records().set_stream_arn(self.arn.clone()).shard_iterator(iterator);
        let page = request.send().await.map_err(|error| self.fault(OPERATION, ServiceFault::of(&error)))?;
        let bytes = page.records.iter().map(|record| record.data.as_ref().len() + 56).sum();
        let mut records = Records::with_capacity(page.records.len(), bytes);
        for record in &page.records {
            let arrival = record
                .approximate_arrival_timestamp
                .as_ref()
                .ok_or_else(|| self.fault(OPERATION, format!("record {} has no arrival", record.sequence_number)))?;
            records
                .push(&record.sequence_number, timestamp(arrival), record.data.as_ref())
                .map_err(|error| self.fault(OPERATION, error))?;
        }
        Ok(ReadPage {
            records,
            next: page.next_shard_iterator.map(Position::Token),
            at_tip: page.millis_behind_latest == Some(0),
        })
    }

    async fn put(&self, entries: &[PutEntry]) -> Result<Vec<Result<String, String>>, StreamError> {
        const OPERATION: &str = "PutRecords";
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let records = entries.iter().map(|entry| {
            PutRecordsRequestEntry::builder()
                .data(Blob::new(entry.data.as_ref()))
                .partition_key(&entry.partition_key)
                .set_explicit_hash_key(entry.explicit_hash_key.clone())
                .build()
        });
        let records = records.collect::<Result<Vec<_>, _>>().map_err(|error| self.fault(OPERATION, error))?;
        let output = self
            .client
            .put_records()
            .set_stream_name(self.name.clone())
            .set_stream_arn(self.arn.clone())
            .set_records(Some(records))
            .send()
            .await
            .map_err(|error| self.fault(OPERATION, ServiceFault::of(&error)))?;
        if output.records.len() != entries.len() {
            let text = format!("{} records were answered with {} results", entries.len(), output.records.len());
            return Err(self.fault(OPERATION, text));
        }
        let answers = output.records.into_iter().map(|answer| match (answer.error_code, answer.shard_id) {
            (None, Some(shard)) => Ok(shard),
            (code, _) => {
                let code = code.as_deref().unwrap_or("no error code");
                Err(format!("{code}: {}", answer.error_message.as_deref().unwrap_or("no message")))
            }
        });
        Ok(answers.collect())
    }
}

fn timestamp(at: &DateTime) -> Timestamp {
    Timestamp::from_seconds_and_nanos(at.secs(), at.subsec_nanos())
}
