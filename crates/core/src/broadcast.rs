//! One record into every open shard, although shards split and merge meanwhile and single records are refused.
//!
//! A shard counts as reached when an answer names it, not when a record was meant for it. The record may arrive more
//! than once. When it fails, some shards may have the record and others not; broadcasting again mends that.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use crate::bug::{Bug, planted};
use crate::deadline::within;
use crate::ports::{BoxError, Clock, PutEntry, Stream, StreamError};
use crate::time::Timestamp;

/// The most that one `PutRecords` takes.
const MOST_ENTRIES: usize = 500;
/// After so many calls in a row that failed as a whole, the stream is taken to be out of reach.
const FAILED_CALLS: u32 = 8;
const BACKOFF: Duration = Duration::from_millis(25);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
/// Decides nothing, as each record has an explicit hash key; the stream wants one.
const PARTITION_KEY: &str = "freshjoin";

/// Every shard that was open at the end has the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BroadcastReport {
    /// The shards that took it, some of which may have closed meanwhile.
    pub shards: BTreeSet<String>,
    /// How many `PutRecords` it took.
    pub attempts: u32,
}

/// Some open shard may lack the record. Broadcasting again may succeed.
#[derive(Debug, thiserror::Error)]
pub enum BroadcastError {
    /// The stream did not answer, several times in a row.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// Not every shard had answered in time.
    #[error("out of time: {reached} shards have the record, others may not: {cause}")]
    OutOfTime {
        /// How many answered.
        reached: usize,
        /// The last refusal.
        #[source]
        cause: BoxError,
    },
}

/// Puts the record into every open shard: lists the shards, puts what is missing, and lists again until the shards
/// that answered cover all that are open. Returns at the deadline at the latest.
///
/// # Errors
/// [`BroadcastError`], always worth another attempt.
pub async fn broadcast(
    stream: &dyn Stream,
    clock: &dyn Clock,
    data: Bytes,
    deadline: Timestamp,
) -> Result<BroadcastReport, BroadcastError> {
    let mut state = Broadcast { stream, clock, data, shards: BTreeSet::new(), attempts: 0, refusal: None };
    match within(clock, deadline, state.run()).await {
        Ok(Ok(())) => Ok(BroadcastReport { shards: state.shards, attempts: state.attempts }),
        Ok(Err(error)) => Err(error.into()),
        Err(out_of_time) => {
            let cause = state.refusal.unwrap_or_else(|| Box::new(out_of_time));
            Err(BroadcastError::OutOfTime { reached: state.shards.len(), cause })
        }
    }
}

struct Broadcast<'a> {
    stream: &'a dyn Stream,
    clock: &'a dyn Clock,
    data: Bytes,
    shards: BTreeSet<String>,
    attempts: u32,
    refusal: Option<BoxError>,
}

impl Broadcast<'_> {
    async fn run(&mut self) -> Result<(), StreamError> {
        let (mut failed, mut waits) = (0, 0u32);
        loop {
            match self.round().await {
                Ok(Round::Covered) => return Ok(()),
                // What was taken may have gone to a shard that has just closed; only the next listing says.
                Ok(Round::Taken) => {
                    failed = 0;
                    continue;
                }
                Ok(Round::Refused) => failed = 0,
                Err(error) => {
                    failed += 1;
                    if failed >= FAILED_CALLS {
                        return Err(error);
                    }
                    self.refusal = Some(Box::new(error));
                }
            }
            self.clock.sleep((BACKOFF * (1 << waits.min(10))).min(LONGEST_BACKOFF)).await;
            waits += 1;
        }
    }

    /// Lists the shards and puts what is missing.
    async fn round(&mut self) -> Result<Round, StreamError> {
        let shards = self.stream.shards().await?;
        let open = shards.iter().filter(|shard| shard.open);
        let missing: Vec<PutEntry> = open
            .clone()
            .filter(|shard| !self.shards.contains(&shard.id))
            .map(|shard| PutEntry {
                data: self.data.clone(),
                partition_key: PARTITION_KEY.into(),
                explicit_hash_key: Some(shard.starting_hash_key.clone()),
            })
            .collect();
        if missing.is_empty() && open.count() > 0 {
            return Ok(Round::Covered);
        }
        let reached = self.shards.len();
        let mut refusal = missing.is_empty().then(|| "the stream lists no open shard".to_owned());
        for entries in missing.chunks(MOST_ENTRIES) {
            self.attempts += 1;
            for answer in self.stream.put(entries).await? {
                match answer {
                    Ok(shard) => drop(self.shards.insert(shard)),
                    Err(_) if planted(Bug::RefusedIsTaken) => {}
                    Err(reason) => refusal = Some(reason),
                }
            }
        }
        if refusal.is_none() && (planted(Bug::NoRelisting) || planted(Bug::RefusedIsTaken)) {
            return Ok(Round::Covered);
        }
        if refusal.is_none() && self.shards.len() == reached {
            refusal = Some("the listing of shards is out of date".into());
        }
        Ok(match refusal {
            None => Round::Taken,
            Some(reason) => {
                self.refusal = Some(reason.into());
                Round::Refused
            }
        })
    }
}

/// What one listing and the records put for it came to.
enum Round {
    /// All open shards had the record already.
    Covered,
    /// Every record was taken.
    Taken,
    /// Not every one was.
    Refused,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::memory::{Call, Fault, Gate, MemoryClock, MemoryStream, Script};

    const DATA: Bytes = Bytes::from_static(b"flag");

    fn stream(shards: u32) -> (MemoryClock, MemoryStream) {
        let clock = MemoryClock::at(Timestamp::from_millis(1_790_000_000_000));
        let stream = MemoryStream::new("orders", shards, &clock);
        (clock, stream)
    }

    async fn send(stream: &MemoryStream, clock: &MemoryClock) -> Result<BroadcastReport, BroadcastError> {
        broadcast(stream, clock, DATA, clock.now().plus_millis(20_000)).await
    }

    async fn open(stream: &MemoryStream) -> Vec<String> {
        stream.shards().await.unwrap().into_iter().filter(|shard| shard.open).map(|shard| shard.id).collect()
    }

    #[tokio::test]
    async fn every_shard_gets_one_record() {
        for (shards, calls) in [(1, 1), (4, 1), (501, 2)] {
            let (clock, stream) = stream(shards);
            let report = send(&stream, &clock).await.unwrap();
            assert_eq!((report.shards.len(), report.attempts), (shards as usize, calls));
            for shard in open(&stream).await {
                assert_eq!(stream.records(&shard).len(), 1);
            }
        }
    }

    #[tokio::test]
    async fn only_what_was_refused_is_put_again() {
        let (clock, stream) = stream(4);
        let script = Arc::new(Script::default());
        script.add("PutRecords", [Fault::Refuse(vec![0, 2]), Fault::Throttle, Fault::Fail]);
        let report = send(&stream.through(&Gate::new(script)), &clock).await.unwrap();
        assert_eq!((report.shards.len(), report.attempts), (4, 4));
        for shard in open(&stream).await {
            assert_eq!(stream.records(&shard).len(), 1, "{shard}");
        }
    }

    #[tokio::test]
    async fn shards_that_split_and_merge_meanwhile_are_reached() {
        for before_put in [true, false] {
            let (clock, stream) = stream(2);
            let (inner, step) = (stream.clone(), std::sync::atomic::AtomicU32::new(0));
            let faults = move |call: &Call<'_>| {
                let at = if before_put { "PutRecords" } else { "ListShards" };
                if call.operation == at {
                    match step.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                        0 if before_put => drop(inner.split("shardId-000000000000").unwrap()),
                        1 => drop(inner.split("shardId-000000000001").unwrap()),
                        2 => {
                            let open = ["shardId-000000000002", "shardId-000000000003"];
                            drop(inner.merge(open[0], open[1]).unwrap());
                        }
                        _ => {}
                    }
                }
                Fault::None
            };
            send(&stream.through(&Gate::new(Arc::new(faults))), &clock).await.unwrap();
            for shard in open(&stream).await {
                assert!(!stream.records(&shard).is_empty(), "{shard}, before put: {before_put}");
            }
        }
    }

    #[tokio::test]
    async fn a_stream_out_of_reach_is_an_error_and_a_hanging_one_too() {
        let (clock, stream) = stream(2);
        let dead = stream.through(&Gate::new(Arc::new(|_: &Call<'_>| Fault::Fail)));
        assert!(matches!(send(&dead, &clock).await, Err(BroadcastError::Stream(_))));
        let start = clock.now();
        let hangs = |call: &Call<'_>| if call.operation == "PutRecords" { Fault::Hang } else { Fault::None };
        let error = send(&stream.through(&Gate::new(Arc::new(hangs))), &clock).await.unwrap_err();
        assert!(matches!(error, BroadcastError::OutOfTime { reached: 0, .. }));
        assert_eq!(clock.now(), start.plus_millis(20_000));
    }

    #[tokio::test]
    async fn one_shard_that_refuses_for_ever_ends_at_the_deadline_with_its_reason() {
        let (clock, stream) = stream(3);
        let refuses = |call: &Call<'_>| {
            Fault::Refuse(if call.operation == "PutRecords" && call.entries == 1 { vec![0] } else { vec![1] })
        };
        let start = clock.now();
        let error = send(&stream.through(&Gate::new(Arc::new(refuses))), &clock).await.unwrap_err();
        assert!(matches!(&error, BroadcastError::OutOfTime { reached: 2, .. }));
        assert!(error.to_string().contains("ProvisionedThroughputExceeded"), "{error}");
        assert!(clock.now() <= start.plus_millis(20_000));
    }
}
