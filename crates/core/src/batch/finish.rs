//! Finishing a range that is decided: reading its records again, and writing its objects.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::encode::escape_component;
use crate::join::Encoded;
use crate::ports::{ObjectStore, Position, Precondition, PutOutcome, Stream};
use crate::record::Records;
use crate::sequence;

use super::ProcessError;
use super::cursor::Intent;

/// So many objects are being written at a time.
const CONCURRENCY: usize = 64;
/// How often a write that meets another one is tried.
const ATTEMPTS: u32 = 5;

/// The records of an intent, from the stream.
///
/// # Errors
/// [`ProcessError::RangeGone`] where they are no longer all there.
pub(super) async fn read_again(stream: &dyn Stream, shard: &str, intent: &Intent) -> Result<Records, ProcessError> {
    let mut records = Records::default();
    let mut from = Some(Position::At(intent.first.clone()));
    'pages: while let Some(position) = from {
        let page = stream.read(shard, &position).await?;
        for record in page.records.iter() {
            if sequence::compare(record.sequence, intent.last.as_str()).is_gt() {
                break 'pages;
            }
            // A page cannot be near 4 GiB, nor a range, which is bounded in records.
            if records.push(record.sequence, record.arrival, record.data).is_err() {
                break 'pages;
            }
        }
        let complete = records.last_sequence().is_some_and(|last| last >= intent.last);
        let ended = page.records.is_empty() && page.at_tip;
        from = page.next.filter(|_| !(complete || ended));
    }
    let whole = records.get(0).is_some_and(|record| record.sequence == intent.first.as_str())
        && records.last_sequence().as_ref() == Some(&intent.last)
        && records.len() as u64 == intent.records;
    if whole {
        return Ok(records);
    }
    Err(ProcessError::RangeGone {
        shard: shard.into(),
        first: intent.first.to_string(),
        last: intent.last.to_string(),
        found: records.len() as u64,
        expected: intent.records,
    })
}

/// Where the dead letters of a range go, below the state's location.
fn dead_letter_key(pipeline: &str, stream: &str, shard: &str, intent: &Intent) -> String {
    let (pipeline, stream, shard) = (escape_component(pipeline), escape_component(stream), escape_component(shard));
    format!("dead-letters/{pipeline}/{stream}/{shard}/{}-{}.jsonl", intent.first, intent.last)
}

/// Whose range it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) pipeline: &'a str,
    pub(super) stream: &'a str,
    pub(super) shard: &'a str,
    pub(super) extension: &'a str,
}

/// Writes a range's objects and dead letters. Writing them again writes the same.
pub(super) async fn write(
    state: &dyn ObjectStore,
    output: &dyn ObjectStore,
    place: Place<'_>,
    intent: &Intent,
    encoded: Encoded,
) -> Result<(), ProcessError> {
    let file = format!("{}-{}-{}.{}", escape_component(place.shard), intent.first, intent.last, place.extension);
    let mut writes: Vec<(&dyn ObjectStore, String, Bytes)> =
        encoded.objects.into_iter().map(|(partition, bytes)| (output, partition + &file, bytes)).collect();
    if !encoded.dead_letters.is_empty() {
        writes.push((state, dead_letter_key(place.pipeline, place.stream, place.shard, intent), encoded.dead_letters));
    }
    // Futures made before the stream sees them: a closure over borrowed stores would make the whole future not `Send`.
    let writes: Vec<_> = writes.into_iter().map(|(store, key, bytes)| put_always(store, key, bytes)).collect();
    stream::iter(writes).buffer_unordered(CONCURRENCY).try_collect().await
}

async fn put_always(store: &dyn ObjectStore, key: String, bytes: Bytes) -> Result<(), ProcessError> {
    for _ in 0..ATTEMPTS {
        if let PutOutcome::Written(_) = store.put(&key, bytes.clone(), Precondition::None).await? {
            return Ok(());
        }
    }
    Err(ProcessError::Contended(key))
}
