//! Streams: memory, embedded, Kinesis on ferrokinesis.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use freshjoin_aws::KinesisStream;
use freshjoin_clock::SystemClock;
use freshjoin_core::memory::{MemoryClock, MemoryStream};
use freshjoin_core::ports::{Position, PutEntry, Stream};
use freshjoin_local::EmbeddedStream;
use freshjoin_tests::fixture::{Kinesis, sdk_config};
use freshjoin_tests::harness;
use freshjoin_tests::suite::stream::{Resharding, World, cases};
use libtest_mimic::Trial;

use crate::Servers;

const SHARDS: u32 = 4;

pub(crate) fn trials(servers: &Arc<Servers>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for case in cases() {
        trials.push(harness::case(format!("stream::memory::{}", case.name), move || {
            let stream = Arc::new(MemoryStream::new("orders", SHARDS, &MemoryClock::default()));
            (case.run)(World { resharding: Arc::new(Memory(Arc::clone(&stream))), stream, missing: None })
        }));
    }
    for case in cases() {
        trials.push(harness::case(format!("stream::embedded::{}", case.name), move || {
            let stream = Arc::new(EmbeddedStream::new("orders", SHARDS, Arc::new(SystemClock)));
            (case.run)(World { resharding: Arc::new(Embedded(Arc::clone(&stream))), stream, missing: None })
        }));
    }
    for case in cases() {
        let servers = Arc::clone(servers);
        trials.push(harness::case(format!("stream::kinesis::{}", case.name), move || async move {
            (case.run)(kinesis(&servers.kinesis().url(), case.name).await).await;
        }));
    }
    trials.push(harness::case("stream::kinesis::records_that_are_throttled_are_named_one_by_one", throttled));
    trials
}

#[derive(Debug)]
struct Memory(Arc<MemoryStream>);

#[async_trait]
impl Resharding for Memory {
    async fn split(&self, shard: &str) {
        self.0.split(shard).unwrap();
    }

    async fn merge(&self, lower: &str, upper: &str) {
        self.0.merge(lower, upper).unwrap();
    }
}

#[derive(Debug)]
struct Embedded(Arc<EmbeddedStream>);

#[async_trait]
impl Resharding for Embedded {
    async fn split(&self, shard: &str) {
        let shards = self.0.shards().await.unwrap();
        let starts: Vec<u128> = shards.iter().map(|shard| shard.starting_hash_key.parse().unwrap()).collect();
        let start: u128 = shards.iter().find(|known| known.id == shard).unwrap().starting_hash_key.parse().unwrap();
        let end = starts.into_iter().filter(|other| *other > start).min().unwrap_or(u128::MAX);
        self.0.split(shard, start + (end - start) / 2).unwrap();
    }

    async fn merge(&self, lower: &str, upper: &str) {
        self.0.merge(lower, upper).unwrap();
    }
}

#[derive(Debug)]
struct OfKinesis {
    client: Client,
    name: String,
}

#[async_trait]
impl Resharding for OfKinesis {
    async fn split(&self, shard: &str) {
        let shards = self.client.list_shards().stream_name(&self.name).send().await.unwrap().shards.unwrap();
        let range = shards.into_iter().find(|known| known.shard_id == shard).unwrap().hash_key_range.unwrap();
        let start: u128 = range.starting_hash_key.parse().unwrap();
        let end: u128 = range.ending_hash_key.parse().unwrap();
        let middle = (start + (end - start) / 2).to_string();
        let request = self.client.split_shard().stream_name(&self.name).shard_to_split(shard);
        request.new_starting_hash_key(middle).send().await.unwrap();
        self.settled().await;
    }

    async fn merge(&self, lower: &str, upper: &str) {
        let request = self.client.merge_shards().stream_name(&self.name).shard_to_merge(lower);
        request.adjacent_shard_to_merge(upper).send().await.unwrap();
        self.settled().await;
    }
}

impl OfKinesis {
    /// Waits until the stream is as it was told to be.
    async fn settled(&self) {
        loop {
            let answer = self.client.describe_stream_summary().stream_name(&self.name).send().await.unwrap();
            if answer.stream_description_summary.unwrap().stream_status.as_str() == "ACTIVE" {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn kinesis(endpoint: &str, name: &str) -> World {
    let config = sdk_config(endpoint).await;
    let client = Client::new(&config);
    client.create_stream().stream_name(name).shard_count(SHARDS.cast_signed()).send().await.unwrap();
    let resharding = OfKinesis { client, name: name.into() };
    resharding.settled().await;
    World {
        stream: Arc::new(KinesisStream::new(&config, name)),
        missing: Some(Arc::new(KinesisStream::new(&config, "no-such-stream"))),
        resharding: Arc::new(resharding),
    }
}

/// A shard takes 1,000 records a second: of more, some are refused, each with its reason, and just the others are there.
async fn throttled() {
    let server = Kinesis::start(true);
    let world = kinesis(&server.url(), "throttled").await;
    let mut taken = Vec::new();
    let mut refused = Vec::new();
    for call in 0..6 {
        let entries: Vec<PutEntry> = (0..500)
            .map(|n| PutEntry {
                data: format!("{}", call * 500 + n).into(),
                partition_key: "p".into(),
                explicit_hash_key: Some("0".into()),
            })
            .collect();
        let answers = world.stream.put(&entries).await.unwrap();
        assert_eq!(answers.len(), entries.len());
        for (entry, answer) in entries.into_iter().zip(answers) {
            match answer {
                Ok(_) => taken.push(entry.data),
                Err(reason) => refused.push(reason),
            }
        }
    }
    assert!(!refused.is_empty(), "3,000 records at once were not throttled");
    assert!(refused.iter().all(|reason| reason.contains("ProvisionedThroughputExceeded")), "{:?}", refused[0]);
    let mut read = Vec::new();
    let mut position = Position::TrimHorizon;
    loop {
        let page = world.stream.read("shardId-000000000000", &position).await.unwrap();
        read.extend(page.records.iter().map(|record| record.data.to_vec()));
        if page.at_tip {
            break;
        }
        position = page.next.unwrap();
    }
    read.sort_unstable();
    taken.sort_unstable();
    assert!(read.iter().eq(taken.iter()), "{} were taken and {} are there", taken.len(), read.len());
}
