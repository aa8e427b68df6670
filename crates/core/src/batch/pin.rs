//! Where a shard without a cursor starts.
//!
//! At the newest version whose change file was written by the arrival of its first record, so that a replay under a new
//! name joins history as history; but never below its parents' versions, the references' bases and the floor.
//!
//! The pin is put before any range is decided on it, and counts only if the floor, as read once it is seen, has not passed
//! it. So whoever finds a pin of somebody who died can tell by the floor whether it holds: nothing was written by it yet.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::bug::{Bug, planted};
use crate::change::Version;
use crate::log::ChangeLog;
use crate::ports::{ObjectStore, Stream, StreamDescription};
use crate::time::Timestamp;

use super::ProcessError;
use super::consumer::{Consumer, Held};
use super::cursor::{Cursor, cursor_key};

/// S3 says to the second when it took a write.
const RESOLUTION_MILLIS: i64 = 1_000;
/// How far the store's clock and ours may be apart.
const SKEW_MILLIS: i64 = 250;
/// A record from the future is not waited for any longer.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

impl Consumer {
    /// Puts the cursor of a shard that has none. `None` where another environment was faster.
    pub(super) async fn pin(
        &self,
        stream: &StreamDescription,
        shard: &str,
        key: &str,
        held: &Held,
        arrival: Timestamp,
    ) -> Result<Option<Held>, ProcessError> {
        self.wait_out(arrival).await;
        let name = &self.engine.definition.name;
        let parents = of_parents(&*self.deps.state, &*self.deps.stream, stream, name, shard).await?;
        let parents = if planted(Bug::ParentsForgotten) { 0 } else { parents };
        let arrival = if planted(Bug::PinAtHead) { self.deps.clock.now() } else { arrival };
        let version = written_by(&self.log, arrival).await?.max(parents);
        let version = version.max(self.engine.bases(self.sources(), version).await?);
        let cursor = Cursor::new(stream, version, self.settings.output.clone());
        self.swap(key, &cursor, held.etag.as_ref()).await
    }

    /// Lets the second pass in which a record arrived. What is written within it then counts as written by its arrival,
    /// now and in every later reading; before its end, what is still to come in it would be missed now and found later.
    async fn wait_out(&self, arrival: Timestamp) {
        let into = arrival.millis().rem_euclid(RESOLUTION_MILLIS);
        let over = arrival.plus_millis(RESOLUTION_MILLIS - into + SKEW_MILLIS);
        let left = u64::try_from(over.millis().saturating_sub(self.deps.clock.now().millis())).unwrap_or(0);
        if left > 0 && !planted(Bug::PinAtOnce) {
            self.deps.clock.sleep(Duration::from_millis(left).min(LONGEST_WAIT)).await;
        }
    }
}

/// The newest version that was written by a time; not below the floor.
async fn written_by(log: &ChangeLog, arrival: Timestamp) -> Result<Version, ProcessError> {
    let floor = log.floor().await?.rising;
    Ok(log.newest_by(floor, arrival).await?)
}

/// The highest version that a shard's parents have used; of their parents, where one has no cursor.
async fn of_parents(
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
