//! Embedded event source mappings: records of any [`Stream`] become events for a function, with AWS's failure semantics.
//!
//! What always holds: a shard's records come in order, one batch at a time; a child shard waits until its parents are
//! read to their ends; shards go on side by side. A batch that fails comes again, from the lowest sequence number that
//! was reported, with everything after it, until it succeeds or the settings give it up.
//!
//! On failure of the stream itself the mapping waits and reads again from where it was; it never skips.

mod answer;
mod event;
mod settings;
mod shard;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use freshjoin_core::ports::{Clock, Stream, StreamError};
use freshjoin_core::sequence::SequenceNumber;
use futures_util::future::{Either, join, select};
use futures_util::stream::{FuturesUnordered, StreamExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Mutex as AsyncMutex, watch};

use crate::function::{Function, InvokeError};
pub use event::EventShape;
pub use settings::{Chaos, MappingSettings};
use shard::{ShardReader, Step};

/// Records that the mapping gave up, as a failure destination hears of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discarded {
    /// Of which shard.
    pub shard: String,
    /// The first one's sequence number.
    pub first: SequenceNumber,
    /// The last one's sequence number.
    pub last: SequenceNumber,
    /// How many.
    pub records: usize,
    /// `RetryAttemptsExhausted` or `RecordAgeExceeded`.
    pub condition: &'static str,
}

/// Hears what a mapping does. Every method does nothing unless it is overridden.
pub trait MappingObserver: Send + Sync + Debug {
    /// An invocation ended; what it was answered, or why there was no answer.
    fn invoked(&self, _shard: &str, _records: usize, _answer: &Result<Bytes, InvokeError>) {}

    /// Everything up to this record is done with.
    fn checkpoint(&self, _shard: &str, _through: &SequenceNumber) {}

    /// Records were given up: the failure destination.
    fn discarded(&self, _discarded: &Discarded) {}
}

/// An observer that does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl MappingObserver for Unobserved {}

/// One event source mapping.
#[derive(Debug)]
pub struct Mapping {
    stream: Arc<dyn Stream>,
    shape: EventShape,
    clock: Arc<dyn Clock>,
    settings: MappingSettings,
    observer: Arc<dyn MappingObserver>,
    environments: Mutex<Vec<Arc<Environment>>>,
    readers: Mutex<BTreeMap<String, Arc<AsyncMutex<ShardReader>>>>,
    random: Mutex<StdRng>,
}

/// An environment takes one invocation at a time.
#[derive(Debug)]
struct Environment {
    function: Arc<dyn Function>,
    busy: AsyncMutex<()>,
}

/// When a mapping leaves off.
#[derive(Clone, Debug)]
enum Until {
    Stopped(watch::Receiver<bool>),
    Idle,
}

impl Until {
    fn stopped(&self) -> bool {
        matches!(self, Self::Stopped(stop) if *stop.borrow() || stop.has_changed().is_err())
    }
}

impl Mapping {
    /// Reads `stream` from its trim horizon. Every invocation goes to one of `environments`.
    pub fn new(
        stream: Arc<dyn Stream>,
        shape: EventShape,
        environments: Vec<Arc<dyn Function>>,
        clock: Arc<dyn Clock>,
        settings: MappingSettings,
        observer: Arc<dyn MappingObserver>,
    ) -> Self {
        let random = Mutex::new(StdRng::seed_from_u64(settings.chaos.map_or(0, |chaos| chaos.seed)));
        let mapping = Self {
            stream,
            shape,
            clock,
            settings,
            observer,
            environments: Mutex::default(),
            readers: Mutex::default(),
            random,
        };
        mapping.deploy(environments);
        mapping
    }

    /// Replaces the environments. Invocations under way end in the old ones.
    pub fn deploy(&self, environments: Vec<Arc<dyn Function>>) {
        let wrap = |function| Arc::new(Environment { function, busy: AsyncMutex::new(()) });
        *lock(&self.environments) = environments.into_iter().map(wrap).collect();
    }

    /// Delivers until `stop` becomes true (or its sender is gone) and the batches in hand are answered.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        let until = Until::Stopped(stop);
        while !until.stopped() {
            // It ends when every shard has ended, or none could be listed.
            if let Err(error) = self.deliver(&until).await {
                tracing::warn!(%error, "shards could not be listed");
            }
            if !until.stopped() {
                self.clock.sleep(self.settings.refresh).await;
            }
        }
    }

    /// Delivers until every shard is read to its tip and every batch succeeded or was given up. With unlimited retries
    /// and a function that never succeeds it never ends.
    ///
    /// # Errors
    /// [`StreamError`] if the shards cannot be listed.
    pub async fn drain(&self) -> Result<(), StreamError> {
        self.deliver(&Until::Idle).await
    }

    async fn deliver(&self, until: &Until) -> Result<(), StreamError> {
        let mut active = FuturesUnordered::new();
        let mut started = HashSet::new();
        loop {
            match self.ready().await {
                Ok(ready) => {
                    for id in ready {
                        if started.insert(id.clone()) {
                            active.push(self.follow(id, until.clone()));
                        }
                    }
                }
                Err(error) if matches!(until, Until::Idle) => return Err(error),
                // What is under way goes on.
                Err(error) => tracing::warn!(%error, "shards could not be listed"),
            }
            // A shard that ends makes its children ready; new shards are looked for now and then.
            let ended = if matches!(until, Until::Idle) {
                active.next().await
            } else {
                match select(active.next(), self.clock.sleep(self.settings.refresh)).await {
                    Either::Left((ended, _)) => ended,
                    Either::Right(_) => continue,
                }
            };
            if ended.is_none() {
                return Ok(());
            }
        }
    }

    /// Shards that are not read to their end while their parents are.
    async fn ready(&self) -> Result<Vec<String>, StreamError> {
        let shards = self.stream.shards().await?;
        let known: HashSet<&str> = shards.iter().map(|shard| shard.id.as_str()).collect();
        let mut ready = Vec::new();
        for shard in &shards {
            let mut waits = self.ended(&shard.id).await;
            for parent in shard.parents.iter().filter(|parent| known.contains(parent.as_str())) {
                waits = waits || !self.ended(parent).await;
            }
            if !waits {
                ready.push(shard.id.clone());
            }
        }
        Ok(ready)
    }

    async fn ended(&self, shard: &str) -> bool {
        // A reader that is locked is at work, so it has not ended; waiting for it could take a whole invocation.
        let reader = lock(&self.readers).get(shard).cloned();
        reader.is_some_and(|reader| reader.try_lock().is_ok_and(|reader| reader.ended()))
    }

    async fn follow(&self, shard: String, until: Until) {
        let reader = lock(&self.readers).entry(shard.clone()).or_insert_with(|| ShardReader::new(shard)).clone();
        let mut reader = reader.lock().await;
        loop {
            match reader.step(self).await {
                Step::Went => {}
                Step::Ended => return,
                Step::Idle if matches!(until, Until::Idle) => return,
                Step::Idle => self.clock.sleep(self.settings.poll).await,
            }
            if until.stopped() {
                return;
            }
        }
    }

    /// One invocation in a free environment, or with chaos in two at once.
    async fn invoke(&self, event: Bytes) -> Result<Bytes, InvokeError> {
        let (first, second, lost) = self.choose();
        let deadline =
            self.clock.now().plus_millis(i64::try_from(self.settings.timeout.as_millis()).unwrap_or(i64::MAX));
        let one = async |environment: Option<Arc<Environment>>, event: Bytes| {
            let Some(environment) = environment else { return Err(InvokeError::Exited("no environment".into())) };
            let _turn = environment.busy.lock().await;
            environment.function.invoke(event, deadline).await
        };
        let answer = match second {
            None => one(first, event).await,
            // The first is taken for dead while it still works: only the other's answer counts.
            Some(second) => join(one(first, event.clone()), one(Some(second), event)).await.1,
        };
        if lost { Err(InvokeError::TimedOut) } else { answer }
    }

    /// The environment of an invocation, perhaps one that races with it, and whether the answer is to be lost.
    fn choose(&self) -> (Option<Arc<Environment>>, Option<Arc<Environment>>, bool) {
        let environments = lock(&self.environments).clone();
        let mut random = lock(&self.random);
        let start = random.random_range(0..environments.len().max(1));
        let turn = |offset: usize| environments.get((start + offset) % environments.len().max(1)).cloned();
        let free = (0..environments.len()).find(|offset| turn(*offset).is_some_and(|e| e.busy.try_lock().is_ok()));
        let offset = free.unwrap_or(0);
        let Some(chaos) = self.settings.chaos else { return (turn(offset), None, false) };
        let races = environments.len() > 1 && random.random_range(0..100) < chaos.race_percent;
        let lost = random.random_range(0..100) < chaos.lost_answer_percent;
        (turn(offset), if races { turn(offset + 1) } else { None }, lost)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
