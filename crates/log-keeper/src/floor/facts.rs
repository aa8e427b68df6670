//! One look at what the floor depends on.
//!
//! What was written before the look began is in it; it says nothing of what is written meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use freshjoin_core::batch::{Cursor, cursor_key};
use freshjoin_core::change::{Version, change_key};
use freshjoin_core::log::{Floor, version_of};
use freshjoin_core::ports::{Listed, ObjectStore, Shard, StoreError, StreamDescription};
use freshjoin_core::snapshot;
use freshjoin_core::time::Timestamp;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::FloorTaskError;
use super::plan::{Facts, FoundCursor, age};
use crate::LogKeeper;

/// So many calls are under way at a time.
pub(super) const CONCURRENCY: usize = 16;

const CURSORS: &str = "cursors/";
const CHANGES: &str = "changes/";

/// Looks.
///
/// # Errors
/// [`FloorTaskError`] for anything but clean answers.
pub(super) async fn look(keeper: &LogKeeper, floor: &Floor) -> Result<Facts, FloorTaskError> {
    let state = &*keeper.deps.state;
    let now = keeper.deps.clock.now();
    let stream = keeper.deps.stream.describe().await?;
    let shards = keeper.deps.stream.shards().await?;
    let cursors = cursors(state, &stream, &shards).await?;
    let snapshots = snapshot::list(state).await?;
    let oldest = now.millis().saturating_sub(i64::try_from(age(stream.retention).as_millis()).unwrap_or(i64::MAX));
    let old = snapshots.iter().filter(|file| file.modified < Timestamp::from_millis(oldest));
    let above: BTreeSet<Version> =
        old.map(|file| file.name.version).filter(|version| *version > floor.version).collect();
    let successors = stream::iter(above)
        .map(|version| async move { Ok::<_, StoreError>((version, successor(state, version).await?)) })
        .buffered(CONCURRENCY)
        .try_filter_map(|(version, written)| async move { Ok(written.map(|written| (version, written))) });
    let successors = successors.try_collect::<BTreeMap<_, _>>().await?;
    Ok(Facts { now, floor: floor.clone(), stream, cursors, snapshots, successors })
}

/// When the change file after a version was written; `None` where it is not there.
async fn successor(state: &dyn ObjectStore, version: Version) -> Result<Option<Timestamp>, StoreError> {
    let page = state.list(CHANGES, Some(&change_key(version))).await?;
    let next = page.iter().find(|listed| version_of(&listed.key) == version.checked_add(1));
    Ok(next.map(|listed| listed.modified))
}

async fn cursors(
    state: &dyn ObjectStore,
    stream: &StreamDescription,
    shards: &[Shard],
) -> Result<Vec<FoundCursor>, StoreError> {
    let listed = list_all(state, CURSORS).await?;
    let mut retired = BTreeMap::new();
    for pipeline in listed.iter().filter_map(|listed| split(&listed.key)).map(|(pipeline, _)| pipeline) {
        if !retired.contains_key(pipeline) {
            retired.insert(pipeline, state.get(&retired_key(pipeline)).await?.is_some());
        }
    }
    let known: BTreeSet<String> = shards.iter().map(|shard| below_pipeline(&stream.name, &shard.id)).collect();
    let ours = below_pipeline(&stream.name, "");
    let ours = ours.trim_end_matches(".json");
    let (retired, known) = (&retired, &known);
    let found = stream::iter(&listed).map(|listed| async move {
        let place = split(&listed.key);
        let retired = place.is_some_and(|(pipeline, _)| retired.get(pipeline) == Some(&true));
        let shard_gone = place.is_some_and(|(_, shard)| shard.starts_with(ours) && !known.contains(shard));
        let Some(object) = state.get(&listed.key).await? else { return Ok(None) };
        let cursor = Cursor::decode(&object.bytes).map_err(|error| error.to_string());
        Ok(Some(FoundCursor { key: listed.key.clone(), retired, shard_gone, cursor }))
    });
    found.buffered(CONCURRENCY).try_filter_map(|found| async move { Ok(found) }).try_collect().await
}

/// The marker by which a person retires a pipeline, given as keys have it.
fn retired_key(pipeline: &str) -> String {
    format!("pipelines/{pipeline}/_retired.json")
}

/// Pipeline, and what follows it, of a cursor's key.
fn split(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix(CURSORS)?.split_once('/')
}

/// What follows the pipeline in the key of a shard's cursor.
fn below_pipeline(stream: &str, shard: &str) -> String {
    let key = cursor_key("p", stream, shard);
    split(&key).map(|(_, rest)| rest.to_owned()).unwrap_or_default()
}

/// Every object below a prefix.
pub(crate) async fn list_all(state: &dyn ObjectStore, prefix: &str) -> Result<Vec<Listed>, StoreError> {
    let mut found: Vec<Listed> = Vec::new();
    loop {
        let page = state.list(prefix, found.last().map(|listed| listed.key.as_str())).await?;
        if page.is_empty() {
            return Ok(found);
        }
        found.extend(page);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_s_key_names_its_pipeline_and_its_shard() {
        let key = cursor_key("a/b", "orders", "shardId-0");
        assert_eq!(split(&key), Some(("a%2Fb", "orders/shardId-0.json")));
        assert_eq!(below_pipeline("orders", "shardId-0"), "orders/shardId-0.json");
        assert_eq!(split("cursors/x"), None);
    }
}
