//! The newest flag once more: what S3's lost notice, or a broadcast that died halfway, left untold.
//!
//! A shard lacks nothing once the flag of the head, or a later one, has been put into it: so on a schedule it is
//! broadcast only if the head, the stream or its open shards are others than when it last was.

use std::collections::BTreeSet;

use bytes::Bytes;
use freshjoin_core::broadcast::{BroadcastError, broadcast};
use freshjoin_core::change::{Flag, Version, change_key};
use freshjoin_core::log::ReadError;
use freshjoin_core::ports::{StoreError, StreamError};
use freshjoin_core::time::Timestamp;
use serde::Serialize;

use crate::LogKeeper;
use crate::notes::{Announced, Notes};

/// A flag that every open shard has now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rebroadcast {
    /// Its version.
    pub version: Version,
    /// How many shards took it.
    pub shards: usize,
}

/// Some shard may lack the newest flag. The next run tries again.
#[derive(Debug, thiserror::Error)]
pub enum RebroadcastError {
    /// The state could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream could not be asked.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The head could not be found.
    #[error("the head of the log is unknown")]
    Log(#[from] ReadError),
    /// Some shard did not answer.
    #[error("the flag of version {version} has not reached every shard")]
    Broadcast {
        /// The version to announce.
        version: Version,
        /// Why.
        #[source]
        source: BroadcastError,
    },
    /// The flag cannot be written, which would be a bug.
    #[error("the flag cannot be written")]
    Encode(#[from] serde_json::Error),
}

/// Broadcasts the flag of the head; `None` where there is no change file yet.
pub(crate) async fn always(
    keeper: &LogKeeper,
    notes: &mut Notes,
    end: Timestamp,
) -> Result<Option<Rebroadcast>, RebroadcastError> {
    let stream_created = keeper.deps.stream.describe().await?.created;
    let Some((version, bytes)) = head(keeper, notes).await? else { return Ok(None) };
    announce(keeper, notes, version, &bytes, stream_created, end).await.map(Some)
}

/// Broadcasts the flag of the head, if some open shard may lack it.
pub(crate) async fn if_news(
    keeper: &LogKeeper,
    notes: &mut Notes,
    end: Timestamp,
) -> Result<Option<Rebroadcast>, RebroadcastError> {
    let stream_created = keeper.deps.stream.describe().await?.created;
    let shards = keeper.deps.stream.shards().await?;
    let open: BTreeSet<String> = shards.into_iter().filter(|shard| shard.open).map(|shard| shard.id).collect();
    let Some((version, bytes)) = head(keeper, notes).await? else { return Ok(None) };
    let told = notes.known.announced.as_ref().is_some_and(|announced| {
        announced.version >= version
            && announced.stream_created == stream_created
            && announced.shards.is_superset(&open)
    });
    if told {
        return Ok(None);
    }
    announce(keeper, notes, version, &bytes, stream_created, end).await.map(Some)
}

/// The newest change file as it stands in the store, readable or not.
async fn head(keeper: &LogKeeper, notes: &Notes) -> Result<Option<(Version, Bytes)>, RebroadcastError> {
    let known = notes.known.announced.as_ref().map_or(0, |announced| announced.version);
    for from in [known, 0] {
        let version = keeper.log.whole_head(from).await?;
        if version == 0 {
            return Ok(None);
        }
        // What the notes know may have been another log.
        if let Some(object) = keeper.deps.state.get(&change_key(version)).await? {
            return Ok(Some((version, object.bytes)));
        }
    }
    Ok(None)
}

async fn announce(
    keeper: &LogKeeper,
    notes: &mut Notes,
    version: Version,
    bytes: &[u8],
    stream_created: Timestamp,
    end: Timestamp,
) -> Result<Rebroadcast, RebroadcastError> {
    let flag = Bytes::from(Flag::of(version, bytes).encode()?);
    let report = broadcast(&*keeper.deps.stream, &*keeper.deps.clock, flag, end)
        .await
        .map_err(|source| RebroadcastError::Broadcast { version, source })?;
    let done = Rebroadcast { version, shards: report.shards.len() };
    tracing::info!(version, shards = done.shards, "flag broadcast again");
    notes.known.announced = Some(Announced { version, stream_created, shards: report.shards });
    notes.save(&*keeper.deps.state).await?;
    Ok(done)
}
