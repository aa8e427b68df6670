//! Where a shard without a cursor starts.
//!
//! At the newest version whose change file was written by the arrival of its first record, so that a replay under a new
//! name joins history as history; but never below its parents' versions, the references' bases and the floor.

use std::collections::BTreeSet;

use crate::change::Version;
use crate::log::ChangeLog;
use crate::ports::{ObjectStore, Stream, StreamDescription};
use crate::time::Timestamp;

use super::ProcessError;
use super::cursor::{Cursor, cursor_key};

/// The newest version that was written by a time; not below the floor.
pub(super) async fn written_by(log: &ChangeLog, arrival: Timestamp) -> Result<Version, ProcessError> {
    let floor = log.floor().await?.rising;
    let listed = log.list_modified(floor).await?;
    let written = listed.iter().rev().find(|(_, modified)| *modified <= arrival).map_or(0, |(version, _)| *version);
    Ok(written.max(floor))
}

/// The highest version that a shard's parents have used; of their parents, where one has no cursor.
pub(super) async fn of_parents(
    state: &dyn ObjectStore,
    stream: &dyn Stream,
    description: &StreamDescription,
    pipeline: &str,
    shard: &str,
) -> Result<Version, ProcessError> {
    let shards = stream.shards().await?;
    let parents_of = |id: &str| shards.iter().find(|shard| shard.id == id).map(|shard| shard.parents.clone());
    let mut waiting = parents_of(shard).ok_or_else(|| ProcessError::UnknownShard(shard.into()))?;
    let (mut seen, mut highest) = (BTreeSet::new(), 0);
    while let Some(parent) = waiting.pop() {
        if !seen.insert(parent.clone()) {
            continue;
        }
        let key = cursor_key(pipeline, &description.name, &parent);
        let cursor = match state.get(&key).await? {
            Some(object) => Some(Cursor::decode(&object.bytes).map_err(|source| ProcessError::Cursor { key, source })?),
            None => None,
        };
        match cursor.filter(|cursor| cursor.stream_created == description.created) {
            Some(cursor) => highest = highest.max(cursor.highest_version()),
            None => waiting.extend(parents_of(&parent).unwrap_or_default()),
        }
    }
    Ok(highest)
}
