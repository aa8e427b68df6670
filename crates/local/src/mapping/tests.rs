//! The failure semantics, one by one, over the embedded stream.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::function::InProcess;
use crate::stream::EmbeddedStream;
use crate::testing::StillClock;

#[derive(Debug, Default)]
struct Heard {
    discarded: Mutex<Vec<Discarded>>,
    checkpoints: Mutex<Vec<(String, SequenceNumber)>>,
}

impl MappingObserver for Heard {
    fn checkpoint(&self, shard: &str, through: &SequenceNumber) {
        lock(&self.checkpoints).push((shard.into(), through.clone()));
    }

    fn discarded(&self, discarded: &Discarded) {
        lock(&self.discarded).push(discarded.clone());
    }
}

type Batches = Arc<Mutex<Vec<Vec<String>>>>;

struct World {
    clock: Arc<StillClock>,
    stream: Arc<EmbeddedStream>,
    heard: Arc<Heard>,
    batches: Batches,
}

fn texts(event: &[u8]) -> Vec<(String, String)> {
    use base64::Engine as _;
    let event: Value = serde_json::from_slice(event).unwrap();
    let one = |record: &Value| {
        let data = base64::engine::general_purpose::STANDARD.decode(record["kinesis"]["data"].as_str().unwrap());
        (String::from_utf8(data.unwrap()).unwrap(), record["kinesis"]["sequenceNumber"].as_str().unwrap().to_owned())
    };
    event["Records"].as_array().unwrap().iter().map(one).collect()
}

impl World {
    fn new(shards: u32) -> Self {
        let clock = Arc::new(StillClock::default());
        let stream = Arc::new(EmbeddedStream::new("s", shards, clock.clone()));
        Self { clock, stream, heard: Arc::default(), batches: Arc::default() }
    }

    /// A function that answers each batch's texts and sequence numbers with `answer`.
    fn function(
        &self,
        answer: impl Fn(&[(String, String)]) -> Result<Value, InvokeError> + Send + Sync + 'static,
    ) -> Arc<dyn Function> {
        let batches = self.batches.clone();
        Arc::new(InProcess::new("f", move |event: Bytes, _| {
            let records = texts(&event);
            lock(&batches).push(records.iter().map(|(text, _)| text.clone()).collect());
            let answer = answer(&records).map(|answer| Bytes::from(answer.to_string()));
            async move {
                tokio::task::yield_now().await;
                answer
            }
        }))
    }

    fn mapping(&self, settings: MappingSettings, functions: Vec<Arc<dyn Function>>) -> Mapping {
        let shape = EventShape::Kinesis { arn: self.stream.arn() };
        Mapping::new(self.stream.clone(), shape, functions, self.clock.clone(), settings, self.heard.clone())
    }

    fn send(&self, texts: impl IntoIterator<Item = &'static str>) {
        for text in texts {
            self.stream.append(text, text.as_bytes()).unwrap();
        }
    }

    fn batches(&self) -> Vec<String> {
        lock(&self.batches).iter().map(|batch| batch.join("")).collect()
    }
}

fn settings(batch_size: usize) -> MappingSettings {
    MappingSettings { batch_size, ..MappingSettings::default() }
}

fn thrown() -> InvokeError {
    InvokeError::Thrown { kind: "E".into(), message: "m".into() }
}

/// Fails from the record `text` on, so often.
fn failing(text: &'static str, times: u32) -> impl Fn(&[(String, String)]) -> Result<Value, InvokeError> {
    let left = Mutex::new(times);
    move |records| {
        let found = records.iter().find(|(candidate, _)| candidate == text);
        let mut left = lock(&left);
        match found {
            Some((_, sequence)) if *left > 0 => {
                *left -= 1;
                Ok(json!({"batchItemFailures": [{"itemIdentifier": sequence}]}))
            }
            _ => Ok(Value::Null),
        }
    }
}

#[tokio::test]
async fn a_reported_record_and_everything_after_it_comes_again() {
    let world = World::new(1);
    world.send(["a", "b", "c", "d", "e"]);
    let function = world.function(failing("c", 2));
    world.mapping(settings(4), vec![function]).drain().await.unwrap();
    assert_eq!(world.batches(), ["abcd", "cd", "cd", "e"]);
    assert_eq!(lock(&world.heard.checkpoints).len(), 3);
}

#[tokio::test]
async fn an_error_brings_the_whole_batch_again_and_waits_longer_each_time() {
    let world = World::new(1);
    world.send(["a", "b"]);
    let left = Mutex::new(3);
    let function = world.function(move |_| {
        let mut left = lock(&left);
        *left -= 1;
        if *left > 0 { Err(thrown()) } else { Ok(json!({})) }
    });
    let before = world.clock.now();
    world.mapping(settings(10), vec![function]).drain().await.unwrap();
    assert_eq!(world.batches(), ["ab", "ab", "ab"]);
    assert_eq!(world.clock.now().millis() - before.millis(), 50 + 100);
}

#[tokio::test]
async fn without_reporting_any_answer_is_success() {
    let world = World::new(1);
    world.send(["a", "b"]);
    let function = world.function(failing("a", 9));
    let settings = MappingSettings { report_batch_item_failures: false, ..settings(10) };
    world.mapping(settings, vec![function]).drain().await.unwrap();
    assert_eq!(world.batches(), ["ab"]);
}

#[tokio::test]
async fn attempts_that_are_used_up_give_the_rest_of_the_batch_to_the_failure_destination() {
    let world = World::new(1);
    world.send(["a", "b", "c", "d"]);
    let function = world.function(failing("b", 9));
    let settings = MappingSettings { maximum_retry_attempts: Some(1), ..settings(3) };
    world.mapping(settings, vec![function]).drain().await.unwrap();
    assert_eq!(world.batches(), ["abc", "bc", "d"]);
    let discarded = lock(&world.heard.discarded).clone();
    assert_eq!((discarded.len(), discarded[0].records), (1, 2));
    assert_eq!(discarded[0].condition, "RetryAttemptsExhausted");
}

#[tokio::test]
async fn bisecting_isolates_the_record_that_fails() {
    let world = World::new(1);
    world.send(["a", "b", "c", "d", "e"]);
    let function = world
        .function(|records| if records.iter().any(|(text, _)| text == "b") { Err(thrown()) } else { Ok(json!({})) });
    let settings = MappingSettings { maximum_retry_attempts: Some(0), bisect: true, ..settings(4) };
    world.mapping(settings, vec![function]).drain().await.unwrap();
    assert_eq!(world.batches().first().unwrap(), "abcd");
    let discarded = lock(&world.heard.discarded).clone();
    assert_eq!((discarded.len(), discarded[0].records), (1, 1), "only b is given up");
}

#[tokio::test]
async fn records_beyond_the_maximum_age_are_given_up_unseen() {
    let world = World::new(1);
    world.send(["a", "b"]);
    world.clock.sleep(Duration::from_secs(100)).await;
    world.send(["c"]);
    let function = world.function(|_| Ok(json!({})));
    let settings = MappingSettings { maximum_record_age: Some(Duration::from_secs(60)), ..settings(10) };
    world.mapping(settings, vec![function]).drain().await.unwrap();
    assert_eq!(world.batches(), ["c"]);
    assert_eq!(lock(&world.heard.discarded)[0].condition, "RecordAgeExceeded");
}

#[tokio::test]
async fn a_batch_fits_into_an_invocation() {
    let world = World::new(1);
    let record = "x".repeat(1 << 20);
    for _ in 0..6 {
        world.stream.append("k", record.as_bytes()).unwrap();
    }
    let function = world.function(|_| Ok(json!({})));
    world.mapping(settings(100), vec![function]).drain().await.unwrap();
    // A third more as base64: four make more than five million bytes, five more than six.
    assert_eq!(lock(&world.batches).iter().map(Vec::len).collect::<Vec<_>>(), [4, 2]);
}

#[tokio::test]
async fn a_window_waits_for_a_batch_that_is_not_full() {
    let world = World::new(1);
    world.send(["a"]);
    let function = world.function(|_| Ok(json!({})));
    let before = world.clock.now();
    let settings = MappingSettings { window: Duration::from_secs(1), ..settings(10) };
    world.mapping(settings, vec![function]).drain().await.unwrap();
    assert!(world.clock.now().millis() - before.millis() >= 1000);
}

#[tokio::test]
async fn children_wait_for_their_parents() {
    let world = World::new(1);
    world.send(["a", "b"]);
    let [low, high] = world.stream.split("shardId-000000000000", 1 << 127).unwrap();
    world.send(["a", "b"]);
    let child = world.stream.merge(&low, &high).unwrap();
    world.send(["c"]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let function = {
        let seen = seen.clone();
        Arc::new(InProcess::new("f", move |event: Bytes, _| {
            let event: Value = serde_json::from_slice(&event).unwrap();
            let id = event["Records"][0]["eventID"].as_str().unwrap().split(':').next().unwrap().to_owned();
            lock(&seen).push(id);
            async { Ok(Bytes::new()) }
        }))
    };
    world.mapping(settings(1), vec![function]).drain().await.unwrap();
    let seen = lock(&seen).clone();
    assert_eq!(seen[..2], ["shardId-000000000000", "shardId-000000000000"]);
    assert_eq!(seen.last(), Some(&child));
    assert_eq!(seen.len(), 5);
}

#[tokio::test]
async fn shards_go_on_side_by_side_while_one_fails() {
    let world = World::new(2);
    for (key, text) in [(0, b"a"), (u128::MAX, b"z")] {
        world.stream.append_with(key, |_, buffer| buffer.extend_from_slice(text)).unwrap();
    }
    let done = Arc::new(Mutex::new(BTreeSet::new()));
    let function = {
        let done = done.clone();
        // The first shard succeeds only after the second did.
        world.function(move |records| {
            let text = records[0].0.clone();
            if text == "a" && !lock(&done).contains("z") {
                return Err(thrown());
            }
            lock(&done).insert(text);
            Ok(json!({}))
        })
    };
    world.mapping(settings(10), vec![function]).drain().await.unwrap();
    assert_eq!(lock(&done).len(), 2);
}

#[tokio::test]
async fn chaos_cuts_anew_races_environments_and_loses_answers_but_delivers_everything() {
    let mut shapes = BTreeSet::new();
    for seed in 0..5 {
        let world = World::new(1);
        world.send(["a", "b", "c", "d", "e", "f", "g", "h"]);
        let functions = (0..2).map(|_| world.function(|_| Ok(json!({})))).collect();
        let chaos = Chaos { seed, recut: true, race_percent: 50, lost_answer_percent: 30 };
        world.mapping(MappingSettings { chaos: Some(chaos), ..settings(4) }, functions).drain().await.unwrap();
        let all: BTreeSet<String> = lock(&world.batches).iter().flatten().cloned().collect();
        assert_eq!(all.len(), 8);
        shapes.insert(world.batches());
    }
    assert!(shapes.len() > 1, "seeds differ");
    assert!(shapes.iter().flatten().map(|batch| batch.len()).sum::<usize>() > 5 * 8, "something came twice");
}

#[tokio::test]
async fn a_stopped_mapping_answers_for_the_batch_in_hand() {
    let world = World::new(1);
    world.send(["a", "b", "c"]);
    let (stop, stopped) = watch::channel(false);
    let stop = Arc::new(stop);
    let function = {
        let stop = stop.clone();
        world.function(move |_| {
            stop.send_replace(true);
            Ok(json!({}))
        })
    };
    world.mapping(settings(2), vec![function]).run(stopped).await;
    assert_eq!(world.batches(), ["ab"]);
    assert_eq!(lock(&world.heard.checkpoints).len(), 1);
}
