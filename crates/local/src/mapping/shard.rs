//! One shard's reader: what was fetched and not yet answered for, and where to go on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use freshjoin_core::ports::Position;
use freshjoin_core::sequence::SequenceNumber;
use freshjoin_core::time::Timestamp;
use rand::RngExt;
use tokio::sync::Mutex as AsyncMutex;

use super::answer::{Verdict, judge};
use super::{Discarded, Mapping, lock};

/// What the event of one invocation holds at most, in bytes.
const PAYLOAD: usize = 6 << 20;
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// A record that was fetched.
#[derive(Clone, Debug)]
pub(super) struct Buffered {
    pub(super) sequence: SequenceNumber,
    pub(super) arrival: Timestamp,
    pub(super) data: Bytes,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A batch was answered, in one way or another, or something was fetched.
    Went,
    /// There is nothing new.
    Idle,
    /// The shard is closed and everything in it is done with.
    Ended,
}

#[derive(Debug)]
pub(super) struct ShardReader {
    shard: String,
    buffer: VecDeque<Buffered>,
    /// Where to read on; `None` at the end of a closed shard.
    next: Option<Position>,
    /// Where to read on if `next` has lost its meaning.
    fetched: Option<SequenceNumber>,
    /// Failures since the checkpoint last moved.
    failures: u32,
    /// The next batch's size where it differs from the settings'.
    cut: Option<usize>,
}

impl ShardReader {
    pub(super) fn new(shard: String) -> Arc<AsyncMutex<Self>> {
        Arc::new(AsyncMutex::new(Self {
            shard,
            buffer: VecDeque::new(),
            next: Some(Position::TrimHorizon),
            fetched: None,
            failures: 0,
            cut: None,
        }))
    }

    pub(super) fn ended(&self) -> bool {
        self.next.is_none() && self.buffer.is_empty()
    }

    /// Gathers one batch, hands it over and takes in the answer.
    pub(super) async fn step(&mut self, mapping: &Mapping) -> Step {
        let size = self.cut.unwrap_or(mapping.settings.batch_size).max(1);
        self.gather(mapping, size).await;
        if self.buffer.is_empty() {
            return if self.ended() { Step::Ended } else { Step::Idle };
        }
        if self.discard_old(mapping) {
            return Step::Went;
        }
        let count = self.fitting(mapping, size);
        let event = mapping.shape.event(&self.shard, self.buffer.iter().take(count));
        let answer = mapping.invoke(event).await;
        mapping.observer.invoked(&self.shard, count, &answer);
        let verdict = match &answer {
            Err(_) => Verdict::From(0),
            Ok(_) if !mapping.settings.report_batch_item_failures => Verdict::Done,
            Ok(bytes) => judge(bytes, self.buffer.iter().take(count).map(|record| &record.sequence)),
        };
        match verdict {
            Verdict::Done => {
                self.advance(mapping, count);
                self.cut = self.recut(mapping);
            }
            Verdict::From(index) => self.fail(mapping, count, index).await,
        }
        Step::Went
    }

    /// Reads until a batch is full, or the stream has no more and the window is over.
    async fn gather(&mut self, mapping: &Mapping, size: usize) {
        let opened = mapping.clock.now();
        let window = i64::try_from(mapping.settings.window.as_millis()).unwrap_or(i64::MAX);
        while self.buffer.len() < size {
            let Some(from) = self.next.clone() else { return };
            match mapping.stream.read(&self.shard, &from).await {
                Ok(page) => {
                    let found = !page.records.is_empty();
                    self.buffer.extend(page.records.iter().map(|record| Buffered {
                        sequence: record.sequence.into(),
                        arrival: record.arrival,
                        data: Bytes::copy_from_slice(record.data),
                    }));
                    self.fetched = page.records.last_sequence().or(self.fetched.take());
                    self.next = page.next;
                    if !page.at_tip || found {
                        continue;
                    }
                }
                Err(error) => {
                    tracing::warn!(shard = %self.shard, %error, "records could not be read; reading again");
                    self.next = Some(self.fetched.clone().map_or(Position::TrimHorizon, Position::After));
                }
            }
            if self.buffer.is_empty() || mapping.clock.now() >= opened.plus_millis(window) {
                return;
            }
            mapping.clock.sleep(mapping.settings.poll).await;
        }
    }

    /// How many records make the next batch: no more than the size, nor than an invocation's payload holds, but one.
    fn fitting(&self, mapping: &Mapping, size: usize) -> usize {
        let mut payload = 0;
        let fits = |record: &&Buffered| {
            payload += mapping.shape.size(record);
            payload <= PAYLOAD
        };
        self.buffer.iter().take(size).take_while(fits).count().max(1)
    }

    fn discard_old(&mut self, mapping: &Mapping) -> bool {
        let Some(age) = mapping.settings.maximum_record_age else { return false };
        let oldest = mapping.clock.now().plus_millis(-i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let count = self.buffer.iter().take_while(|record| record.arrival < oldest).count();
        if count > 0 {
            self.discard(mapping, count, "RecordAgeExceeded");
        }
        count > 0
    }

    async fn fail(&mut self, mapping: &Mapping, count: usize, index: usize) {
        if index > 0 {
            self.advance(mapping, index);
        }
        let rest = count - index;
        self.failures += 1;
        let limit = mapping.settings.maximum_retry_attempts;
        // A batch that can still be halved is, before its last part is given up.
        let bisects = mapping.settings.bisect && index == 0 && rest > 1;
        if limit.is_some_and(|limit| self.failures > limit) && !bisects {
            self.discard(mapping, rest, "RetryAttemptsExhausted");
            return;
        }
        // As AWS does, the rest of the batch comes again as it was cut, unless it is bisected or chaos cuts it anew.
        self.cut = self.recut(mapping).or(Some(if bisects { rest.div_ceil(2) } else { rest }));
        let doublings = self.failures.saturating_sub(1).min(16);
        let backoff = mapping.settings.backoff.saturating_mul(1 << doublings).min(LONGEST_BACKOFF);
        mapping.clock.sleep(backoff).await;
    }

    fn discard(&mut self, mapping: &Mapping, count: usize, condition: &'static str) {
        if let (Some(first), Some(last)) = (self.buffer.front(), self.buffer.get(count.saturating_sub(1))) {
            mapping.observer.discarded(&Discarded {
                shard: self.shard.clone(),
                first: first.sequence.clone(),
                last: last.sequence.clone(),
                records: count,
                condition,
            });
        }
        self.advance(mapping, count);
        self.cut = None;
    }

    fn advance(&mut self, mapping: &Mapping, count: usize) {
        let last = self.buffer.drain(..count.min(self.buffer.len())).next_back();
        self.failures = 0;
        if let Some(last) = last {
            mapping.observer.checkpoint(&self.shard, &last.sequence);
        }
    }

    /// Another size for the next batch, if chaos wants one.
    fn recut(&self, mapping: &Mapping) -> Option<usize> {
        mapping.settings.chaos.filter(|chaos| chaos.recut)?;
        let longest = mapping.settings.batch_size.max(1);
        Some(lock(&mapping.random).random_range(1..=longest))
    }
}
