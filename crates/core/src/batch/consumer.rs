//! The state machine of a batch: see the module above for the protocol.
//!
//! A consumer may be used by any number of shards and invocations at once, and there may be any number of consumers.
//! Dropping the future of [`Consumer::process`] anywhere is as harmless as a crash there.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::bug::{Bug, planted};
use crate::change::Version;
use crate::join::{Encoded, Limits};
use crate::location::Location;
use crate::log::ChangeLog;
use crate::pipeline::{Definition, Delivery};
use crate::ports::{Clock, ETag, ObjectStore, Precondition, PutOutcome, Stores, Stream, StreamDescription, Tables};
use crate::record::Records;
use crate::reference::Sources;
use crate::sequence::SequenceNumber;
use crate::settings::{AsOf, DEFAULT_CONTENT_LIMIT};
use crate::time::Timestamp;

use super::cursor::{Cursor, Intent, cursor_key};
use super::engine::Engine;
use super::error::ProcessError;
use super::finish::{Place, read_again, write};
use super::range::{Decided, Encoding, Slice, decide, encode, flags};
use super::report::{BatchReport, Observer};

/// What a consumer works with.
#[derive(Clone, Debug)]
pub struct ConsumerDeps {
    /// The state's location, opened.
    pub state: Arc<dyn ObjectStore>,
    /// Opens outputs.
    pub stores: Arc<dyn Stores>,
    /// The reference tables, for a first scan.
    pub tables: Arc<dyn Tables>,
    /// The stream, for reading a pending range again.
    pub stream: Arc<dyn Stream>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Hears of the work.
    pub observer: Arc<dyn Observer>,
}

/// How a consumer works.
#[derive(Clone, Debug)]
pub struct ConsumerSettings {
    /// Where the enriched data goes.
    pub output: Location,
    /// Which version a record is joined with.
    pub as_of: AsOf,
    /// How much one committed range may hold.
    pub limits: Limits,
    /// Bytes that the content of one reference object, or the rows of all objects of a reference, may take in memory.
    pub content_limit: u64,
}

impl ConsumerSettings {
    /// Settings with the usual limits: what a cold invocation can finish.
    #[must_use]
    pub fn new(output: Location, as_of: AsOf) -> Self {
        let limits = Limits { records: 10_000, objects: 1_000, bytes: 64 << 20 };
        Self { output, as_of, limits, content_limit: DEFAULT_CONTENT_LIMIT }
    }
}

/// How far a batch has come, readable while it is being processed.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Option<SequenceNumber>>);

impl Progress {
    /// The first record that is not committed; `None` before the first look at the cursor.
    #[must_use]
    pub fn first_unfinished(&self) -> Option<SequenceNumber> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn reached(&self, sequence: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sequence.into());
    }
}

/// One pipeline's consumer of one stream.
#[derive(Debug)]
pub struct Consumer {
    pub(super) deps: ConsumerDeps,
    pub(super) settings: ConsumerSettings,
    pub(super) log: ChangeLog,
    pub(super) engine: Arc<Engine>,
    /// The engine of another definition, while its pending ranges are being finished.
    pub(super) other: tokio::sync::Mutex<Option<Arc<Engine>>>,
    prepared: OnceCell<()>,
    pub(super) stream: Mutex<Option<(StreamDescription, Timestamp)>>,
}

/// So often a lost swap is followed by another attempt in the same invocation.
pub(super) const ATTEMPTS: u32 = 64;
/// Between two attempts at a write that meets another one.
pub(super) const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// A range that is decided and encoded.
#[derive(Debug)]
pub(super) struct NextRange<'a> {
    pub(super) intent: Intent,
    pub(super) encoded: Encoded,
    pub(super) decided: Decided<'a>,
    /// How many records it has.
    pub(super) taken: usize,
}

/// The cursor as read or written last.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) cursor: Option<Cursor>,
    pub(super) etag: Option<ETag>,
}

impl Consumer {
    /// A consumer that has not made a call yet.
    #[must_use]
    pub fn new(definition: Definition, deps: ConsumerDeps, settings: ConsumerSettings) -> Self {
        let log = ChangeLog::new(Arc::clone(&deps.state), Arc::clone(&deps.clock));
        let engine = Arc::new(Engine::new(definition, Arc::clone(&deps.observer)));
        Self {
            deps,
            settings,
            log,
            engine,
            other: tokio::sync::Mutex::default(),
            prepared: OnceCell::new(),
            stream: Mutex::default(),
        }
    }

    /// Time, as this consumer knows it.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.deps.clock
    }

    /// Brings the results of a shard's records into the output, exactly once however often it is called with whatever cut
    /// of the shard's records; returns when all of them are committed.
    ///
    /// # Errors
    /// [`ProcessError`]; what was committed before stays so, and `progress` knows how far that is.
    pub async fn process(&self, shard: &str, records: &Records, progress: &Progress) -> Result<(), ProcessError> {
        let sorted;
        let records = if records.is_ordered() {
            records
        } else {
            sorted = records.sorted();
            &sorted
        };
        let Some(first) = records.get(0) else { return Ok(()) };
        progress.reached(first.sequence);
        let stream = self.stream().await?;
        self.prepared.get_or_try_init(|| self.prepare(&stream)).await?;
        match self.engine.definition.output.delivery {
            Delivery::ExactlyOnce => self.exactly_once(&stream, shard, Slice::all(records), progress).await,
            Delivery::AtLeastOnce => self.at_least_once(&stream, shard, Slice::all(records), progress).await,
        }
    }

    pub(super) fn sources(&self) -> Sources<'_> {
        Sources {
            state: &*self.deps.state,
            log: &self.log,
            tables: &*self.deps.tables,
            stores: &*self.deps.stores,
            limit: self.settings.content_limit,
            clock: &*self.deps.clock,
        }
    }

    async fn exactly_once(
        &self,
        stream: &StreamDescription,
        shard: &str,
        all: Slice<'_>,
        progress: &Progress,
    ) -> Result<(), ProcessError> {
        let key = cursor_key(&self.engine.definition.name, &stream.name, shard);
        let mut stream = stream.clone();
        let mut held = self.read_cursor(&key, &mut stream).await?;
        let mut lost_swaps = 0;
        loop {
            let committed = |sequence: &str| {
                let last = all.get(all.len().saturating_sub(1)).is_some_and(|record| record.sequence == sequence);
                let skip = !planted(Bug::NoSkipping) || last;
                held.cursor.as_ref().is_some_and(|cursor| skip && cursor.has_committed(sequence))
            };
            let rest = all.from(all.partition(|record| committed(record.sequence)));
            let Some(first) = rest.first() else { return Ok(()) };
            progress.reached(first.sequence);
            let done = match held
                .cursor
                .as_ref()
                .filter(|cursor| cursor.pending.is_some() && !planted(Bug::PendingPassedOver))
            {
                Some(cursor) => self.finish_pending(&stream, shard, &key, cursor.clone(), &held, all).await?,
                None => self.begin(&stream, shard, &key, &held, rest).await?,
            };
            held = match done {
                Some(held) => held,
                None if lost_swaps == ATTEMPTS => return Err(ProcessError::Contended(key)),
                None => {
                    lost_swaps += 1;
                    self.read_cursor(&key, &mut stream).await?
                }
            };
        }
    }

    /// Decides a range, writes it and commits it. `None` where another environment was faster.
    async fn begin(
        &self,
        stream: &StreamDescription,
        shard: &str,
        key: &str,
        held: &Held,
        rest: Slice<'_>,
    ) -> Result<Option<Held>, ProcessError> {
        let engine = &*self.engine;
        let sources = self.sources();
        let Some(first) = rest.first() else { return Ok(None) };
        let Some(before) = &held.cursor else { return self.pin(stream, shard, key, held, first.arrival).await };
        if before.committed_through.is_none() {
            // The floor, read after the cursor was seen: a pin below it does not count, whoever put it there.
            let rising = self.log.floor().await?.rising;
            if before.version < rising && !planted(Bug::PinIgnoresFloor) {
                return self.swap(key, &before.raised(rising), held.etag.as_ref()).await;
            }
        }
        let mut version = engine.bases(sources, before.version).await?;
        version = if planted(Bug::BasesDoNotRaise) { before.version } else { before.version.max(version) };
        if planted(Bug::VersionFromMemory) {
            version = engine.head().await.unwrap_or(version);
        }
        if self.settings.as_of == AsOf::Latest {
            version = self.log.head(version).await?.max(version);
        }
        let Some(range) = self.next_range(shard, rest, version).await? else { return Ok(None) };
        let pending = before.with_pending(range.intent);
        let Some(held) = self.swap(key, &pending, held.etag.as_ref()).await? else { return Ok(None) };
        range.decided.tell(&*self.deps.observer, shard, range.taken);
        self.carry_out(stream, shard, key, pending, &held, range.encoded, false).await
    }

    /// Finishes the range that another attempt left pending: exactly that range, those versions, that definition, that
    /// output. `None` where another environment was faster.
    async fn finish_pending(
        &self,
        stream: &StreamDescription,
        shard: &str,
        key: &str,
        cursor: Cursor,
        held: &Held,
        all: Slice<'_>,
    ) -> Result<Option<Held>, ProcessError> {
        let Some(intent) = &cursor.pending else { return Ok(None) };
        let engine = self.engine_of(&intent.definition).await?;
        let handed = all.between(intent.first.as_str(), intent.last.as_str());
        let reread;
        let slice = match handed.filter(|slice| slice.len() as u64 == intent.records) {
            Some(slice) => slice,
            None if planted(Bug::PendingNotReadAgain) && all.first().is_some() => all,
            None => {
                reread = read_again(&*self.deps.stream, shard, intent).await?;
                Slice::all(&reread)
            }
        };
        let output = self.deps.stores.open(&intent.output)?;
        let flags = flags(slice);
        let forgotten = if planted(Bug::PendingStepsForgotten) { 1 } else { intent.steps.len() };
        let steps = intent.steps.get(..forgotten).unwrap_or_default();
        let encoding = Encoding { shard, steps, flags: &flags, keys: output.limits(), limits: Limits::NONE };
        let Some((encoded, _)) = encode(&engine, self.sources(), slice, encoding).await? else { return Ok(None) };
        self.carry_out(stream, shard, key, cursor, held, encoded, true).await
    }

    /// Writes a pending range's objects and commits it.
    #[expect(clippy::too_many_arguments, reason = "the parts of one range, in one place")]
    async fn carry_out(
        &self,
        stream: &StreamDescription,
        shard: &str,
        key: &str,
        pending: Cursor,
        held: &Held,
        encoded: Encoded,
        recovered: bool,
    ) -> Result<Option<Held>, ProcessError> {
        let Some(intent) = &pending.pending else { return Ok(None) };
        if planted(Bug::CommitFirst) {
            let counts = encoded.counts;
            let committed = self.swap(key, &pending.committed(counts), held.etag.as_ref()).await?;
            self.write_out(stream, shard, intent, encoded, recovered).await?;
            return Ok(committed);
        }
        let report = self.write_out(stream, shard, intent, encoded, recovered).await?;
        let committed = self.swap(key, &pending.committed(report.counts), held.etag.as_ref()).await?;
        if committed.is_some() {
            self.deps.observer.committed(&report);
        }
        Ok(committed)
    }

    /// Decides the next range of a shard, without a trace outside. `None` if a version has just been forgotten.
    pub(super) async fn next_range<'a>(
        &self,
        shard: &str,
        rest: Slice<'a>,
        version: Version,
    ) -> Result<Option<NextRange<'a>>, ProcessError> {
        let engine = &*self.engine;
        let flags = flags(rest);
        engine.ensure(self.sources(), version).await?;
        let decided = decide(engine, self.sources(), rest, &flags, version).await?;
        let output = self.deps.stores.open(&self.settings.output)?;
        let (keys, limits) = (output.limits(), self.settings.limits);
        let encoding = Encoding { shard, steps: &decided.steps, flags: &flags, keys, limits };
        let Some((encoded, taken)) = encode(engine, self.sources(), decided.slice, encoding).await? else {
            return Ok(None);
        };
        let last = taken.checked_sub(1).and_then(|place| rest.get(place));
        let Some((first, last)) = rest.first().zip(last) else { return Ok(None) };
        let intent = Intent {
            first: first.sequence.into(),
            last: last.sequence.into(),
            records: taken as u64,
            steps: decided.steps_through(last.sequence),
            definition: engine.definition.digest.clone(),
            output: self.settings.output.clone(),
        };
        Ok(Some(NextRange { intent, encoded, decided, taken }))
    }

    /// Writes a decided range's objects and dead letters; what to tell once it counts.
    pub(super) async fn write_out(
        &self,
        stream: &StreamDescription,
        shard: &str,
        intent: &Intent,
        encoded: Encoded,
        recovered: bool,
    ) -> Result<BatchReport, ProcessError> {
        let engine = self.engine_of(&intent.definition).await?;
        let report = BatchReport {
            shard: shard.into(),
            first: intent.first.clone(),
            last: intent.last.clone(),
            counts: encoded.counts,
            objects: encoded.objects.len(),
            version: intent.last_version(),
            recovered,
        };
        let ours = planted(Bug::PendingToOwnOutput);
        let output = self.deps.stores.open(if ours { &self.settings.output } else { &intent.output })?;
        let pipeline = engine.definition.name.as_str();
        let extension = engine.definition.output.format.extension();
        let place = Place { pipeline, stream: &stream.name, shard, extension };
        write(&*self.deps.state, &*output, place, intent, encoded).await?;
        Ok(report)
    }

    /// Replaces the cursor. `None` where it is not the one that was held.
    pub(super) async fn swap(
        &self,
        key: &str,
        cursor: &Cursor,
        held: Option<&ETag>,
    ) -> Result<Option<Held>, ProcessError> {
        let bytes = Bytes::from(cursor.encode()?);
        let blind = planted(Bug::BlindSwap);
        let precondition = held.filter(|_| !blind).map_or(Precondition::Absent, Precondition::Matches);
        let precondition = if blind { Precondition::None } else { precondition };
        match self.deps.state.put(key, bytes, precondition).await? {
            PutOutcome::Written(etag) => Ok(Some(Held { cursor: Some(cursor.clone()), etag: Some(etag) })),
            PutOutcome::PreconditionFailed => Ok(None),
            PutOutcome::Busy => {
                self.deps.clock.sleep(BUSY_PAUSE).await;
                Ok(None)
            }
        }
    }

    /// The cursor of this stream's shard. Where there is none, the stream has just been asked which one it is: a memory
    /// of an earlier stream of this name would start a shard over that others have begun.
    async fn read_cursor(&self, key: &str, stream: &mut StreamDescription) -> Result<Held, ProcessError> {
        let object = self.deps.state.get(key).await?;
        let found = match &object {
            Some(object) => {
                Some(Cursor::decode(&object.bytes).map_err(|source| ProcessError::Cursor { key: key.into(), source })?)
            }
            None => None,
        };
        let etag = object.map(|object| object.etag);
        let is_of =
            |stream: &StreamDescription| found.as_ref().is_some_and(|cursor| cursor.stream_created == stream.created);
        if !is_of(stream) {
            *stream = self.describe().await?;
        }
        if found.is_some() && !is_of(stream) {
            tracing::warn!(
                key,
                stream = stream.name,
                "the cursor is of an earlier stream of this name: starting afresh at the oldest record"
            );
            return Ok(Held { cursor: None, etag });
        }
        Ok(Held { cursor: found, etag })
    }
}
