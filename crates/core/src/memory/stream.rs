//! A stream in memory, as Kinesis behaves.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::fault::{Call, Fault, Gate};
use super::shard::{MemoryShard, Stored, even_ranges};
use super::{MemoryClock, lock};
use crate::ports::{BoxError, Clock, Position, PutEntry, ReadPage, Shard, Stream, StreamDescription, StreamError};
use crate::record::Records;
use crate::sequence::compare;
use crate::time::Timestamp;

const PAGE: usize = 1000;
const MOST_ENTRIES: usize = 500;
const RETENTION: Duration = Duration::from_hours(24);

/// One stream. Clones, and handles through other gates, share its records. A partition key decides by its SHA-256
/// (Kinesis: MD5), an explicit hash key as there.
#[derive(Clone, Debug)]
pub struct MemoryStream {
    name: Arc<str>,
    clock: MemoryClock,
    gate: Gate,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    created: Timestamp,
    retention: Duration,
    shards: Vec<MemoryShard>,
    next_shard: u64,
}

impl State {
    fn new(shards: u32, now: Timestamp) -> Self {
        let shards: Vec<_> =
            (0..).zip(even_ranges(shards)).map(|(n, hashes)| MemoryShard::new(n, Vec::new(), hashes, now)).collect();
        Self { created: now, retention: RETENTION, next_shard: shards.len() as u64, shards }
    }

    fn open(&mut self, id: &str) -> Result<&mut MemoryShard, BoxError> {
        self.shards
            .iter_mut()
            .find(|shard| shard.closed.is_none() && shard.id() == id)
            .ok_or_else(|| format!("ResourceNotFoundException: no open shard {id}").into())
    }

    fn add(&mut self, parents: Vec<String>, hashes: (u128, u128), now: Timestamp) -> String {
        let shard = MemoryShard::new(self.next_shard, parents, hashes, now);
        let id = shard.id();
        self.next_shard += 1;
        self.shards.push(shard);
        id
    }
}

impl MemoryStream {
    /// A new stream with so many shards of equal range.
    #[must_use]
    pub fn new(name: &str, shards: u32, clock: &MemoryClock) -> Self {
        let state = Arc::new(Mutex::new(State::new(shards, clock.now())));
        Self { name: name.into(), clock: clock.clone(), gate: Gate::default(), state }
    }

    /// The same stream as another environment sees it.
    #[must_use]
    pub fn through(&self, gate: &Gate) -> Self {
        Self { gate: gate.clone(), ..self.clone() }
    }

    /// Deletes the stream and makes another one of the same name.
    pub fn recreate(&self, shards: u32) {
        *lock(&self.state) = State::new(shards, self.clock.now());
    }

    /// Splits an open shard in the middle; the children's names.
    ///
    /// # Errors
    /// [`StreamError`] if there is no such open shard or its range holds one hash key only.
    pub fn split(&self, shard: &str) -> Result<(String, String), StreamError> {
        let now = self.clock.now();
        let mut state = lock(&self.state);
        let parent = state.open(shard).map_err(|source| self.error("SplitShard", source))?;
        let (first, last) = (parent.first_hash, parent.last_hash);
        if first == last {
            return Err(self.error("SplitShard", "InvalidArgumentException: nothing to split".into()));
        }
        parent.closed = Some(now);
        let middle = first + (last - first) / 2;
        let left = state.add(vec![shard.into()], (first, middle), now);
        let right = state.add(vec![shard.into()], (middle + 1, last), now);
        Ok((left, right))
    }

    /// Merges two open neighbours, the lower range first; the child's name.
    ///
    /// # Errors
    /// [`StreamError`] if one of them is not open or they are no neighbours.
    pub fn merge(&self, lower: &str, upper: &str) -> Result<String, StreamError> {
        let now = self.clock.now();
        let fail = |source| self.error("MergeShards", source);
        let mut state = lock(&self.state);
        let hashes = (state.open(lower).map_err(fail)?.first_hash, state.open(upper).map_err(fail)?.last_hash);
        let start = state.open(upper).map_err(fail)?.first_hash;
        if state.open(lower).map_err(fail)?.last_hash.checked_add(1) != Some(start) {
            return Err(fail("InvalidArgumentException: the shards are no neighbours".into()));
        }
        for parent in [lower, upper] {
            state.open(parent).map_err(fail)?.closed = Some(now);
        }
        Ok(state.add(vec![lower.into(), upper.into()], hashes, now))
    }

    /// What the stream says of its retention, 24 hours otherwise. Nothing is dropped by it: see [`trim`](Self::trim).
    pub fn set_retention(&self, retention: Duration) {
        lock(&self.state).retention = retention;
    }

    /// Drops every record that arrived before this time, and closed shards that are empty then.
    pub fn trim(&self, before: Timestamp) {
        lock(&self.state).shards.retain_mut(|shard| !shard.trim(before));
    }

    /// What a shard holds, without a call being counted or failing.
    #[must_use]
    pub fn records(&self, shard: &str) -> Records {
        let state = lock(&self.state);
        let found = state.shards.iter().find(|candidate| candidate.id() == shard);
        found.map(|shard| to_records(&shard.records).unwrap_or_default()).unwrap_or_default()
    }

    /// What a shard took after its first so many records, as far as it still holds it, and how many have left it.
    #[must_use]
    pub fn records_after(&self, shard: &str, taken: usize) -> (Records, usize) {
        let state = lock(&self.state);
        let Some(found) = state.shards.iter().find(|candidate| candidate.id() == shard) else {
            return (Records::default(), 0);
        };
        let rest = found.records.get(taken.saturating_sub(found.trimmed)..).unwrap_or_default();
        (to_records(rest).unwrap_or_default(), found.trimmed)
    }

    fn error(&self, operation: &'static str, source: BoxError) -> StreamError {
        StreamError { operation, stream: self.name.to_string(), source }
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        key: &str,
        entries: usize,
        effect: impl FnOnce(&mut State, &Fault) -> Result<T, BoxError>,
    ) -> Result<T, StreamError> {
        let call = Call { operation, key, entries };
        let fault = self.gate.enter(&self.clock, call).await.map_err(|e| self.error(operation, Box::new(e)))?;
        let answer = effect(&mut lock(&self.state), &fault);
        self.gate.leave(&self.clock, &fault).await.map_err(|e| self.error(operation, Box::new(e)))?;
        answer.map_err(|source| self.error(operation, source))
    }
}

fn to_records(stored: &[Stored]) -> Result<Records, BoxError> {
    let mut records = Records::with_capacity(stored.len(), 0);
    for record in stored {
        records.push(&record.sequence, record.arrival, &record.data)?;
    }
    Ok(records)
}

/// The hash key that decides an entry's shard.
fn hash(entry: &PutEntry) -> Result<u128, BoxError> {
    if let Some(explicit) = &entry.explicit_hash_key {
        return Ok(explicit.parse()?);
    }
    let digest = Sha256::digest(entry.partition_key.as_bytes());
    Ok(digest.iter().take(16).fold(0, |hash, byte| (hash << 8) | u128::from(*byte)))
}

#[async_trait]
impl Stream for MemoryStream {
    async fn describe(&self) -> Result<StreamDescription, StreamError> {
        let name = self.name.to_string();
        self.call("DescribeStream", &self.name, 1, |state, _| {
            Ok(StreamDescription { name, created: state.created, retention: state.retention })
        })
        .await
    }

    async fn shards(&self) -> Result<Vec<Shard>, StreamError> {
        self.call("ListShards", &self.name, 1, |state, _| Ok(state.shards.iter().map(MemoryShard::describe).collect()))
            .await
    }

    async fn read(&self, shard: &str, from: &Position) -> Result<ReadPage, StreamError> {
        self.call("GetRecords", shard, 1, |state, fault| {
            let found = state.shards.iter().find(|candidate| candidate.id() == shard);
            let found = found.ok_or_else(|| format!("ResourceNotFoundException: no shard {shard}"))?;
            let starts = |least: std::cmp::Ordering, sequence: &str| {
                found.records.partition_point(|record| compare(&record.sequence, sequence) < least)
            };
            let start = match from {
                Position::TrimHorizon => 0,
                Position::At(sequence) => starts(std::cmp::Ordering::Equal, sequence.as_str()),
                Position::After(sequence) => starts(std::cmp::Ordering::Greater, sequence.as_str()),
                Position::Token(token) => token.parse::<usize>()?.saturating_sub(found.trimmed),
            };
            let page = if let Fault::Short(most) = fault { (*most).min(PAGE) } else { PAGE };
            let end = start.saturating_add(page).min(found.records.len());
            let at_tip = end == found.records.len();
            let next = (!at_tip || found.closed.is_none()).then(|| Position::Token((found.trimmed + end).to_string()));
            Ok(ReadPage { records: to_records(found.records.get(start..end).unwrap_or_default())?, next, at_tip })
        })
        .await
    }

    async fn put(&self, entries: &[PutEntry]) -> Result<Vec<Result<String, String>>, StreamError> {
        let now = self.clock.now();
        self.call("PutRecords", &self.name, entries.len(), |state, fault| {
            if entries.is_empty() || entries.len() > MOST_ENTRIES {
                return Err(format!("ValidationException: {} records in one call", entries.len()).into());
            }
            let hashes = entries.iter().map(hash).collect::<Result<Vec<_>, _>>()?;
            let place = |(index, (entry, hash)): (usize, (&PutEntry, u128))| {
                let refused = match fault {
                    Fault::Throttle => true,
                    Fault::Refuse(places) => places.contains(&index),
                    _ => false,
                };
                if refused {
                    return Err("ProvisionedThroughputExceededException: injected fault".to_owned());
                }
                let shard = state.shards.iter_mut().find(|shard| shard.takes(hash)).ok_or("InternalFailure")?;
                shard.push(entry.data.clone(), now);
                Ok(shard.id())
            };
            Ok(entries.iter().zip(hashes).enumerate().map(place).collect())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Script;
    use crate::sequence::SequenceNumber;

    fn entry(hash: u128, data: &'static str) -> PutEntry {
        PutEntry { data: data.into(), partition_key: "x".into(), explicit_hash_key: Some(hash.to_string()) }
    }

    fn texts(records: &Records) -> Vec<&[u8]> {
        records.iter().map(|record| record.data).collect()
    }

    #[tokio::test]
    async fn a_shard_is_read_in_order_from_every_position() {
        let clock = MemoryClock::at(Timestamp::from_millis(1_790_000_000_000));
        let script = Arc::new(Script::default());
        let stream = MemoryStream::new("s", 2, &clock).through(&Gate::new(script.clone()));
        stream.put(&[entry(0, "a"), entry(u128::MAX, "z"), entry(1, "b"), entry(2, "c")]).await.unwrap();
        let shard = "shardId-000000000000";
        let all = stream.read(shard, &Position::TrimHorizon).await.unwrap();
        assert!(all.at_tip && all.records.is_ordered());
        assert_eq!(texts(&all.records), [b"a", b"b", b"c"]);
        let second = SequenceNumber::from(all.records.get(1).unwrap().sequence);
        assert_eq!(second.as_str().len(), 56);
        let at = stream.read(shard, &Position::At(second.clone())).await.unwrap();
        assert_eq!(texts(&at.records), [b"b", b"c"]);
        let after = stream.read(shard, &Position::After(second)).await.unwrap();
        assert_eq!(texts(&after.records), [b"c"]);
        script.add("GetRecords", [Fault::Short(2)]);
        let short = stream.read(shard, &Position::TrimHorizon).await.unwrap();
        assert!(!short.at_tip);
        let rest = stream.read(shard, &short.next.unwrap()).await.unwrap();
        assert_eq!((texts(&rest.records), rest.at_tip), (vec![&b"c"[..]], true));
        assert!(stream.read("shardId-000000000009", &Position::TrimHorizon).await.is_err());
    }

    #[tokio::test]
    async fn a_split_closes_the_parent_and_its_range_stays_covered() {
        let clock = MemoryClock::at(Timestamp::from_millis(1_790_000_000_000));
        let stream = MemoryStream::new("s", 2, &clock);
        stream.put(&[entry(0, "a")]).await.unwrap();
        let parent = "shardId-000000000000".to_owned();
        let (left, right) = stream.split(&parent).unwrap();
        let shards = stream.shards().await.unwrap();
        assert_eq!(shards.iter().map(|s| s.open).collect::<Vec<_>>(), [false, true, true, true]);
        assert_eq!(shards[2].parents, std::slice::from_ref(&parent));
        let page = stream.read(&parent, &Position::TrimHorizon).await.unwrap();
        assert_eq!((page.records.len(), page.next), (1, None));
        assert_eq!(stream.put(&[entry(0, "b")]).await.unwrap(), [Ok(left.clone())]);
        let parents_last = stream.records(&parent).last_sequence().unwrap();
        clock.advance(std::time::Duration::from_secs(1));
        let child = stream.merge(&left, &right).unwrap();
        stream.put(&[entry(0, "c")]).await.unwrap();
        assert!(stream.records(&child).last_sequence().unwrap() > parents_last);
        assert!(stream.merge(&child, "shardId-000000000000").is_err());
        clock.advance(std::time::Duration::from_secs(1));
        stream.trim(clock.now());
        let left = stream.shards().await.unwrap();
        assert!(left.iter().all(|shard| shard.open) && left.len() == 2 && stream.records(&child).is_empty());
    }

    #[tokio::test]
    async fn records_are_refused_one_by_one_and_lost_answers_have_an_effect() {
        let clock = MemoryClock::default();
        let script = Arc::new(Script::default());
        let stream = MemoryStream::new("s", 1, &clock).through(&Gate::new(script.clone()));
        script.add("PutRecords", [Fault::Refuse(vec![0]), Fault::LostAnswer, Fault::Throttle]);
        let answers = stream.put(&[entry(0, "a"), entry(0, "b")]).await.unwrap();
        assert!(answers[0].is_err() && answers[1].is_ok());
        assert!(stream.put(&[entry(0, "c")]).await.is_err());
        assert!(stream.put(&[entry(0, "d")]).await.unwrap()[0].is_err());
        assert_eq!(texts(&stream.records("shardId-000000000000")), [b"b", b"c"]);
        let many: Vec<_> = (0..501).map(|_| entry(0, "x")).collect();
        assert!(stream.put(&many).await.is_err());
        let created = stream.describe().await.unwrap().created;
        clock.advance(std::time::Duration::from_secs(1));
        stream.recreate(1);
        assert_ne!(stream.describe().await.unwrap().created, created);
        assert!(stream.records("shardId-000000000000").is_empty());
    }
}
