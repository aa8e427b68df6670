//! The stream as the functions that broadcast flags see it: every flag is noted with its place, so that the check knows
//! which orders came after it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use freshjoin_core::ports::{Clock, Position, PutEntry, ReadPage, Shard, Stream, StreamDescription, StreamError};
use freshjoin_local::EmbeddedStream;
use freshjoin_local::stream::hash_of;
use tokio::sync::mpsc;

use super::orders::place;
use super::watch::News;

/// Writes to the stream and notes what it wrote.
#[derive(Debug)]
pub(super) struct Tap {
    stream: Arc<EmbeddedStream>,
    clock: Arc<dyn Clock>,
    news: mpsc::UnboundedSender<News>,
    first: Mutex<BTreeMap<u8, u64>>,
}

impl Tap {
    pub(super) fn new(stream: Arc<EmbeddedStream>, clock: Arc<dyn Clock>, news: mpsc::UnboundedSender<News>) -> Self {
        Self { stream, clock, news, first: Mutex::default() }
    }

    /// The place of each shard's first flag.
    pub(super) fn first_flags(&self) -> BTreeMap<u8, u64> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u8, u64>> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, entry: &PutEntry) -> Result<String, String> {
        let key = match &entry.explicit_hash_key {
            Some(key) => key.parse().map_err(|_| format!("{key:?} is no hash key"))?,
            None => hash_of(&entry.partition_key),
        };
        let write = |_: &str, buffer: &mut Vec<u8>| buffer.extend_from_slice(&entry.data);
        let placed = self.stream.append_with(key, write).map_err(|refusal| refusal.to_string())?;
        let (shard, at) = place(&placed.shard, placed.sequence.as_str()).map_err(|failure| failure.to_string())?;
        let mut first = self.lock();
        if let std::collections::btree_map::Entry::Vacant(vacant) = first.entry(shard) {
            vacant.insert(at);
            // Nobody listens any more: then nobody is to be told.
            drop(self.news.send(News::Flag { shard: placed.shard.clone(), at: self.clock.now() }));
        }
        Ok(placed.shard)
    }
}

#[async_trait]
impl Stream for Tap {
    async fn describe(&self) -> Result<StreamDescription, StreamError> {
        self.stream.describe().await
    }

    async fn shards(&self) -> Result<Vec<Shard>, StreamError> {
        self.stream.shards().await
    }

    async fn read(&self, shard: &str, from: &Position) -> Result<ReadPage, StreamError> {
        self.stream.read(shard, from).await
    }

    async fn put(&self, entries: &[PutEntry]) -> Result<Vec<Result<String, String>>, StreamError> {
        Ok(entries.iter().map(|entry| self.write(entry)).collect())
    }
}
