//! Where generated records go: a line each to a writer, or into a stream, one by one or packed.
//!
//! A stream takes them in portions; only what it refused is put again. On failure some records of the portion may have
//! been written.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use freshjoin_clock::SystemClock;
use freshjoin_core::ports::{Clock, PutEntry, Stream};
use freshjoin_core::record::{PACKED_RECORD_OVERHEAD, pack};

use crate::failure::Failure;

/// Takes records one by one.
pub(super) trait Sink {
    /// Takes a record as the template gave it.
    async fn put(&mut self, record: &str) -> Result<(), Failure>;

    /// Writes what was taken.
    async fn flush(&mut self) -> Result<(), Failure>;

    /// Whether nobody wants more: no failure.
    fn is_closed(&self) -> bool {
        false
    }
}

/// A record a line.
#[derive(Debug)]
pub(super) struct Lines<W> {
    out: W,
    closed: bool,
}

impl<W: Write> Lines<W> {
    pub(super) fn to(out: W) -> Self {
        Self { out, closed: false }
    }

    fn unless_closed(&mut self, written: std::io::Result<()>) -> Result<(), Failure> {
        match written {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.closed = true,
            written => written?,
        }
        Ok(())
    }
}

impl<W: Write> Sink for Lines<W> {
    async fn put(&mut self, record: &str) -> Result<(), Failure> {
        let written = writeln!(self.out, "{}", one_line(record));
        self.unless_closed(written)
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        let written = self.out.flush();
        self.unless_closed(written)
    }

    fn is_closed(&self) -> bool {
        self.closed
    }
}

/// The record with its line breaks as spaces; those at its end are the file's.
fn one_line(record: &str) -> String {
    record.trim_end_matches(['\n', '\r']).replace("\r\n", " ").replace(['\n', '\r'], " ")
}

/// Records of a stream, spread over its shards.
#[derive(Debug)]
pub(super) struct Shards {
    stream: Arc<dyn Stream>,
    waiting: Vec<PutEntry>,
    bytes: usize,
}

/// What one PutRecords takes, with room for the partition keys.
const MOST_RECORDS: usize = 500;
const MOST_BYTES: usize = 4 << 20;
/// Between two attempts at records that a shard had no room for.
const PAUSE: Duration = Duration::from_millis(100);
/// So often records may be refused in a row.
const ATTEMPTS: u32 = 100;

impl Shards {
    pub(super) fn of(stream: Arc<dyn Stream>) -> Self {
        Self { stream, waiting: Vec::new(), bytes: 0 }
    }

    /// Takes a record of the stream, whose partition key puts it anywhere.
    async fn put_entry(&mut self, partition_key: String, data: Bytes) -> Result<(), Failure> {
        if self.waiting.len() == MOST_RECORDS || self.bytes + data.len() > MOST_BYTES {
            self.flush().await?;
        }
        self.bytes += data.len();
        self.waiting.push(PutEntry { data, partition_key, explicit_hash_key: None });
        Ok(())
    }
}

fn any_shard() -> String {
    format!("{:016x}", rand::random::<u64>())
}

impl Sink for Shards {
    async fn put(&mut self, record: &str) -> Result<(), Failure> {
        self.put_entry(any_shard(), Bytes::copy_from_slice(record.as_bytes())).await
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        let mut refused = 0;
        while !self.waiting.is_empty() {
            let answers = self.stream.put(&self.waiting).await?;
            let mut answers = answers.into_iter();
            let mut reason = String::new();
            self.waiting.retain(|_| match answers.next() {
                Some(Err(why)) => {
                    reason = why;
                    true
                }
                taken => taken.is_none(),
            });
            if self.waiting.is_empty() {
                break;
            }
            refused += 1;
            if refused == ATTEMPTS {
                return Err(Failure::new(format!("the stream takes no more records: {reason}"), "lower --rate"));
            }
            SystemClock.sleep(PAUSE).await;
        }
        self.bytes = 0;
        Ok(())
    }
}

/// Records of a stream packed as the Kinesis Producer Library does: aggregates of some size, written at the latest with
/// the portion.
#[derive(Debug)]
pub(super) struct Aggregates {
    shards: Shards,
    records: Vec<Bytes>,
    bytes: usize,
}

/// An aggregate's size, as the library's own default has it.
const AGGREGATE_BYTES: usize = 50 << 10;

impl Aggregates {
    pub(super) fn of(shards: Shards) -> Self {
        Self { shards, records: Vec::new(), bytes: 0 }
    }

    async fn close(&mut self) -> Result<(), Failure> {
        if self.records.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        // The aggregate's key is its records' too: readers that drop what another shard should have keep them all.
        let key = any_shard();
        let aggregate = pack(&key, self.records.drain(..));
        self.shards.put_entry(key, aggregate).await
    }
}

impl Sink for Aggregates {
    async fn put(&mut self, record: &str) -> Result<(), Failure> {
        let size = record.len() + PACKED_RECORD_OVERHEAD;
        if self.bytes + size > AGGREGATE_BYTES {
            self.close().await?;
        }
        self.bytes += size;
        self.records.push(Bytes::copy_from_slice(record.as_bytes()));
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        self.close().await?;
        self.shards.flush().await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ops::ControlFlow;

    use freshjoin_core::memory::{Call, Fault, Gate, MemoryClock, MemoryStream};
    use freshjoin_core::record::{FieldNames, Fields, decode};
    use freshjoin_core::time::Timestamp;

    use super::*;

    #[tokio::test]
    async fn what_a_shard_refuses_is_put_again_and_nothing_else() {
        // The first call refuses its second and last record.
        let faults = |call: &Call<'_>| {
            if call.entries == 500 { Fault::Refuse(vec![1, 499]) } else { Fault::None }
        };
        let stream = MemoryStream::new("s", 4, &MemoryClock::at(Timestamp::from_millis(1)));
        let mut sink = Shards::of(Arc::new(stream.through(&Gate::new(Arc::new(faults)))));
        for number in 0..1000 {
            sink.put(&format!("{number}\n")).await.unwrap();
        }
        sink.flush().await.unwrap();
        let shards = stream.shards().await.unwrap();
        let records: Vec<_> = shards.iter().map(|shard| stream.records(&shard.id)).collect();
        let all: Vec<_> =
            records.iter().flat_map(|records| records.iter().map(|record| record.data.to_vec())).collect();
        assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (1000, 1000));
        assert!(all.iter().all(|data| data.ends_with(b"\n")), "a record is what the template gave");
        assert!(records.iter().all(|records| !records.is_empty()), "spread over the shards");
    }

    #[tokio::test]
    async fn aggregates_hold_every_record_once_in_order() {
        let stream = MemoryStream::new("s", 4, &MemoryClock::at(Timestamp::from_millis(1)));
        let mut sink = Aggregates::of(Shards::of(Arc::new(stream.clone())));
        let long = "x".repeat(60_000);
        for number in 0..5000 {
            let text = if number == 4000 { &long } else { "" };
            sink.put(&format!("{{\"n\":{number},\"text\":\"{text}\"}}")).await.unwrap();
        }
        sink.flush().await.unwrap();
        sink.flush().await.unwrap();
        let (mut names, mut found, mut aggregates) = (FieldNames::default(), Vec::new(), 0);
        let slot = names.slot("n");
        for shard in stream.shards().await.unwrap() {
            for record in stream.records(&shard.id).iter() {
                aggregates += 1;
                let mut inside = Vec::new();
                let flow = decode(&names, record.data, &mut Fields::of(&names), |fields, _, _| {
                    inside.push(fields.unwrap().get(slot).unwrap().parse::<u32>().unwrap());
                    ControlFlow::<()>::Continue(())
                });
                assert!(flow.is_continue() && inside.is_sorted());
                assert!(record.data.len() < 52_000 || inside == [4000], "{} bytes", record.data.len());
                found.extend(inside);
            }
        }
        found.sort_unstable();
        assert_eq!(found, (0..5000).collect::<Vec<_>>());
        assert!((4..8).contains(&aggregates), "{aggregates} aggregates");
    }
}
