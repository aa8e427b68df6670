//! The record stream: its shards, reading a range again, and broadcasting flags.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::BoxError;
use crate::record::Records;
use crate::sequence::SequenceNumber;
use crate::time::Timestamp;

/// What a stream says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDescription {
    /// Its name, without account or region.
    pub name: String,
    /// Tells it from another stream of the same name.
    pub created: Timestamp,
    /// For how long it keeps a record; AWS: 24 hours at the least.
    pub retention: Duration,
}

/// One shard, open or closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Such as `shardId-000000000000`.
    pub id: String,
    /// The shards it was split or merged from; they may have left the stream since.
    pub parents: Vec<String>,
    /// Where its range of hash keys starts, decimal.
    pub starting_hash_key: String,
    /// Whether it still takes records.
    pub open: bool,
}

/// Where to read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// The oldest record that the stream still holds.
    TrimHorizon,
    /// This record, or the oldest still held if it has left.
    At(SequenceNumber),
    /// What follows this record.
    After(SequenceNumber),
    /// As an earlier page said; it loses its meaning after five minutes.
    Token(String),
}

/// Some records of a shard, in order.
#[derive(Debug)]
pub struct ReadPage {
    /// Possibly none, although more follow.
    pub records: Records,
    /// Where to go on; `None` when the shard is closed and read to its end.
    pub next: Option<Position>,
    /// Whether nothing followed this page when it was read.
    pub at_tip: bool,
}

/// A record to write.
#[derive(Clone, Debug)]
pub struct PutEntry {
    /// Its bytes.
    pub data: Bytes,
    /// Decides the shard where `explicit_hash_key` is absent.
    pub partition_key: String,
    /// Decides the shard.
    pub explicit_hash_key: Option<String>,
}

/// A fault of the stream.
#[derive(Debug, thiserror::Error)]
#[error("{operation} on stream {stream} failed: {source}")]
pub struct StreamError {
    /// What was tried.
    pub operation: &'static str,
    /// On which stream.
    pub stream: String,
    /// As the adapter got it.
    #[source]
    pub source: BoxError,
}

/// One stream. Within a shard, records are read in the order of their sequence numbers, as often as asked.
#[async_trait]
pub trait Stream: Send + Sync + Debug {
    /// Name, creation time and retention.
    ///
    /// # Errors
    /// [`StreamError`], also where the stream does not exist.
    async fn describe(&self) -> Result<StreamDescription, StreamError>;

    /// Every shard that the stream still knows, closed ones included.
    ///
    /// # Errors
    /// [`StreamError`] for anything but a whole answer.
    async fn shards(&self) -> Result<Vec<Shard>, StreamError>;

    /// A page of records of one shard.
    ///
    /// # Errors
    /// [`StreamError`], also where the shard does not exist.
    async fn read(&self, shard: &str, from: &Position) -> Result<ReadPage, StreamError>;

    /// Writes up to 500 records in no particular order and answers for each: the shard that took it, or the reason why
    /// none did. A record whose answer was lost may have been written.
    ///
    /// # Errors
    /// [`StreamError`] where the call failed as a whole.
    async fn put(&self, entries: &[PutEntry]) -> Result<Vec<Result<String, String>>, StreamError>;
}
