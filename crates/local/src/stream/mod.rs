//! A record stream in memory that behaves as Kinesis does: hash keys, rising sequence numbers, split and merge.
//!
//! What always holds: within a shard, sequence numbers rise in the order of the writes; a child's numbers are greater
//! than its parents'; a record stays readable until it is [trimmed](EmbeddedStream::trim). Nothing is ever throttled: a
//! writer that must not outrun its readers waits for [`room`](EmbeddedStream::room).
//!
//! On failure nothing has been written: an unknown shard, or a call beyond Kinesis's limits, is refused whole.

mod shard;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use freshjoin_core::ports::{Clock, Position, PutEntry, ReadPage, Shard, Stream, StreamDescription, StreamError};
use freshjoin_core::sequence::SequenceNumber;
use freshjoin_core::time::Timestamp;
use md5::{Digest, Md5};
use tokio::sync::Notify;

use shard::ShardLog;

/// As many records as one `PutRecords` takes.
const PUT_RECORDS: usize = 500;

/// As long as Kinesis keeps a record at the least. Here whoever trims decides.
const RETENTION: Duration = Duration::from_hours(24);

/// What the embedded stream refuses.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No such shard.
    #[error("there is no shard {0}")]
    NoShard(String),
    /// The shard was split or merged.
    #[error("shard {0} is closed")]
    Closed(String),
    /// Two shards that are no neighbours cannot be merged, and a shard is split strictly inside its range.
    #[error("the hash key ranges do not allow it")]
    Range,
    /// Not a decimal number below 2^128.
    #[error("{0:?} is no hash key")]
    HashKey(String),
    /// More than 500 records in one call.
    #[error("{0} records in one call, at most {PUT_RECORDS} are allowed")]
    TooMany(usize),
    /// A shard's retained records do not fit.
    #[error(transparent)]
    TooLarge(#[from] freshjoin_core::record::BatchTooLarge),
}

/// A stream whose records live in this process.
#[derive(Debug)]
pub struct EmbeddedStream {
    name: String,
    created: Timestamp,
    clock: Arc<dyn Clock>,
    page: PageLimits,
    shards: Mutex<Vec<ShardLog>>,
    changed: Notify,
}

/// What one page holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimits {
    /// Records.
    pub records: usize,
    /// Bytes of their data; a single record may be longer.
    pub bytes: usize,
}

impl Default for PageLimits {
    /// As Kinesis has them.
    fn default() -> Self {
        Self { records: 10_000, bytes: 10 << 20 }
    }
}

/// A record's place: its shard and sequence number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The shard that took it.
    pub shard: String,
    /// Its number there.
    pub sequence: SequenceNumber,
}

impl EmbeddedStream {
    /// A stream of so many open shards (at least one) that share the hash keys evenly.
    pub fn new(name: impl Into<String>, shards: u32, clock: Arc<dyn Clock>) -> Self {
        let (created, count) = (clock.now(), u128::from(shards.max(1)));
        let width = u128::MAX / count;
        let logs = (0..count)
            .map(|index| {
                let end = if index + 1 == count { u128::MAX } else { (index + 1) * width - 1 };
                ShardLog::new(created, usize::try_from(index).unwrap_or_default(), Vec::new(), index * width, end)
            })
            .collect();
        let page = PageLimits::default();
        Self { name: name.into(), created, clock, page, shards: Mutex::new(logs), changed: Notify::new() }
    }

    /// The same stream with other pages.
    #[must_use]
    pub fn with_pages(self, page: PageLimits) -> Self {
        Self { page, ..self }
    }

    /// The ARN that its events carry.
    #[must_use]
    pub fn arn(&self) -> String {
        format!("arn:aws:kinesis:local:000000000000:stream/{}", self.name)
    }

    /// The ids of all shards, closed ones included, in the order of their creation.
    #[must_use]
    pub fn shard_ids(&self) -> Vec<String> {
        self.lock().iter().map(|shard| shard.id.clone()).collect()
    }

    /// Writes one record to the shard that owns its partition key.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] where the shard retains 4 GiB already.
    pub fn append(&self, partition_key: &str, data: &[u8]) -> Result<Placed, Refusal> {
        self.append_with(hash_of(partition_key), |_, buffer| buffer.extend_from_slice(data))
    }

    /// Writes one record to the shard that owns a hash key; `fill` learns the record's place before it writes the bytes.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] where the shard retains 4 GiB already.
    pub fn append_with(&self, hash_key: u128, fill: impl FnOnce(&str, &mut Vec<u8>)) -> Result<Placed, Refusal> {
        let mut shards = self.lock();
        let now = self.clock.now();
        let owner = shards.iter_mut().find(|shard| shard.open && shard.owns(hash_key)).ok_or(Refusal::Range)?;
        let sequence = owner.push(now, fill)?;
        let shard = owner.id.clone();
        drop(shards);
        self.changed.notify_waiters();
        Ok(Placed { shard, sequence })
    }

    /// Writes many records to one shard, all with the same arrival.
    ///
    /// # Errors
    /// [`Refusal`]; the records before the one that was refused are written.
    pub fn append_all<'a>(&self, shard: &str, records: impl IntoIterator<Item = &'a [u8]>) -> Result<(), Refusal> {
        let mut shards = self.lock();
        let now = self.clock.now();
        let log = find(&mut shards, shard)?;
        if !log.open {
            return Err(Refusal::Closed(shard.into()));
        }
        for data in records {
            log.push(now, |_, buffer| buffer.extend_from_slice(data))?;
        }
        drop(shards);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Closes a shard that has no children: whoever reads it comes to an end.
    ///
    /// # Errors
    /// [`Refusal::NoShard`].
    pub fn end(&self, shard: &str) -> Result<(), Refusal> {
        find(&mut self.lock(), shard)?.open = false;
        self.changed.notify_waiters();
        Ok(())
    }

    /// Forgets a shard's records up to and including this one.
    ///
    /// # Errors
    /// [`Refusal::NoShard`].
    pub fn trim(&self, shard: &str, through: &SequenceNumber) -> Result<(), Refusal> {
        find(&mut self.lock(), shard)?.trim(through);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Waits until a shard retains fewer than so many bytes.
    ///
    /// # Errors
    /// [`Refusal::NoShard`].
    pub async fn room(&self, shard: &str, bytes: usize) -> Result<(), Refusal> {
        self.until(shard, |log| log.retained().bytes < bytes).await
    }

    /// Waits until a shard retains a whole page, or is closed and gets no more.
    ///
    /// # Errors
    /// [`Refusal::NoShard`].
    pub async fn whole_page(&self, shard: &str) -> Result<(), Refusal> {
        let page = self.page;
        let whole = |retained: PageLimits| retained.records >= page.records || retained.bytes >= page.bytes;
        self.until(shard, |log| !log.open || whole(log.retained())).await
    }

    async fn until(&self, shard: &str, done: impl Fn(&ShardLog) -> bool) -> Result<(), Refusal> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that a change between the two is not missed.
            changed.as_mut().enable();
            if done(find(&mut self.lock(), shard)?) {
                return Ok(());
            }
            changed.await;
        }
    }

    /// Splits an open shard: the second child starts at the hash key. Answers the children's ids.
    ///
    /// # Errors
    /// [`Refusal`] if the shard is not open, or the hash key not strictly inside its range.
    pub fn split(&self, shard: &str, at: u128) -> Result<[String; 2], Refusal> {
        let mut shards = self.lock();
        let parent = find(&mut shards, shard)?;
        let (start, end) = (parent.start, parent.end);
        if !parent.open {
            return Err(Refusal::Closed(shard.into()));
        }
        if at <= start || at > end {
            return Err(Refusal::Range);
        }
        parent.open = false;
        let first = self.add(&mut shards, vec![shard.into()], start, at - 1);
        let second = self.add(&mut shards, vec![shard.into()], at, end);
        Ok([first, second])
    }

    /// Merges two open neighbours. Answers the child's id.
    ///
    /// # Errors
    /// [`Refusal`] if one is not open, or they are no neighbours.
    pub fn merge(&self, lower: &str, upper: &str) -> Result<String, Refusal> {
        let mut shards = self.lock();
        let mut range = |shard: &str| {
            let log = find(&mut shards, shard)?;
            if log.open { Ok((log.start, log.end)) } else { Err(Refusal::Closed(shard.into())) }
        };
        let ((start, middle), (next, end)) = (range(lower)?, range(upper)?);
        if middle.checked_add(1) != Some(next) {
            return Err(Refusal::Range);
        }
        for parent in [lower, upper] {
            find(&mut shards, parent)?.open = false;
        }
        Ok(self.add(&mut shards, vec![lower.into(), upper.into()], start, end))
    }

    fn add(&self, shards: &mut Vec<ShardLog>, parents: Vec<String>, start: u128, end: u128) -> String {
        let log = ShardLog::new(self.created, shards.len(), parents, start, end);
        let id = log.id.clone();
        shards.push(log);
        id
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ShardLog>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, operation: &'static str, refusal: Refusal) -> StreamError {
        StreamError { operation, stream: self.name.clone(), source: refusal.into() }
    }
}

/// The hash key of a partition key: its MD5, as Kinesis does.
#[must_use]
pub fn hash_of(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into())
}

fn find<'a>(shards: &'a mut [ShardLog], id: &str) -> Result<&'a mut ShardLog, Refusal> {
    shards.iter_mut().find(|shard| shard.id == id).ok_or_else(|| Refusal::NoShard(id.into()))
}

#[async_trait]
impl Stream for EmbeddedStream {
    async fn describe(&self) -> Result<StreamDescription, StreamError> {
        Ok(StreamDescription { name: self.name.clone(), created: self.created, retention: RETENTION })
    }

    async fn shards(&self) -> Result<Vec<Shard>, StreamError> {
        let describe = |log: &ShardLog| Shard {
            id: log.id.clone(),
            parents: log.parents.clone(),
            starting_hash_key: log.start.to_string(),
            open: log.open,
        };
        Ok(self.lock().iter().map(describe).collect())
    }

    async fn read(&self, shard: &str, from: &Position) -> Result<ReadPage, StreamError> {
        let mut shards = self.lock();
        let page = find(&mut shards, shard).and_then(|log| Ok(log.read(from, self.page)?));
        page.map_err(|refusal| self.fail("GetRecords", refusal))
    }

    async fn put(&self, entries: &[PutEntry]) -> Result<Vec<Result<String, String>>, StreamError> {
        let write = || -> Result<Vec<Result<String, String>>, Refusal> {
            if entries.len() > PUT_RECORDS {
                return Err(Refusal::TooMany(entries.len()));
            }
            let keys = entries.iter().map(|entry| match &entry.explicit_hash_key {
                Some(text) => text.parse().map_err(|_| Refusal::HashKey(text.clone())),
                None => Ok(hash_of(&entry.partition_key)),
            });
            // Every key is looked at before the first record is written.
            let keys = keys.collect::<Result<Vec<u128>, _>>()?;
            let write = |(entry, key): (&PutEntry, u128)| {
                self.append_with(key, |_, buffer| buffer.extend_from_slice(&entry.data))
                    .map(|placed| placed.shard)
                    .map_err(|refusal| refusal.to_string())
            };
            Ok(entries.iter().zip(keys).map(write).collect())
        };
        write().map_err(|refusal| self.fail("PutRecords", refusal))
    }
}

#[cfg(test)]
mod tests;
