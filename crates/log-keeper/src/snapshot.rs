//! Writes snapshot files: the fold of the log up to its head, from which cold starts load, and on which the floor comes to
//! stand.
//!
//! A snapshot file is put if absent and never altered; two keepers that make the same one make the same. Which is the newest
//! one, `snapshots/_latest.json` tells people and tools; readers list.

use std::time::Duration;

use bytes::Bytes;
use freshjoin_core::change::Version;
use freshjoin_core::log::ReadError;
use freshjoin_core::ports::{Precondition, PutOutcome, StoreError};
use freshjoin_core::snapshot::{self, FoldError, FoldSources, LATEST_KEY, Latest, ListedSnapshot, SnapshotName, fold};
use serde::Serialize;

use crate::LogKeeper;

/// With so many change files above the newest snapshot file another one is due: a cold start reads no more than these.
pub(crate) const MANY: Version = 256;
/// With any change file above a newest one of this age.
pub(crate) const OLD: Duration = Duration::from_hours(1);
/// How often a write that meets another one is tried.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);

/// A snapshot file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// The version that it is the fold of the log to.
    pub version: Version,
    /// Its key below the state's location.
    pub key: String,
    /// Its size.
    pub bytes: u64,
}

/// No snapshot file was written. The next run tries again; meanwhile cold starts read more of the log.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotTaskError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The head could not be found.
    #[error("the head of the log is unknown")]
    Log(#[from] ReadError),
    /// What it is made from could not be read.
    #[error("the snapshot file of version {version} cannot be made")]
    Fold {
        /// The head.
        version: Version,
        /// Why.
        #[source]
        source: FoldError,
    },
    /// Other writes were in the way each time.
    #[error("snapshot file {0} could not be written: another write was under way")]
    Busy(String),
    /// The hint cannot be written, which would be a bug.
    #[error("the hint cannot be written")]
    Encode(#[from] serde_json::Error),
}

/// Writes one of the head; `None` where there is one, or no change file yet.
pub(crate) async fn at_head(keeper: &LogKeeper) -> Result<Option<Snapshot>, SnapshotTaskError> {
    let listed = snapshot::list(&*keeper.deps.state).await?;
    let head = head(keeper, &listed).await?;
    if newest(&listed).map_or(0, |file| file.name.version) >= head {
        return Ok(None);
    }
    write(keeper, head).await.map(Some)
}

/// Writes one of the head, if that is due.
pub(crate) async fn if_due(keeper: &LogKeeper) -> Result<Option<Snapshot>, SnapshotTaskError> {
    let listed = snapshot::list(&*keeper.deps.state).await?;
    let head = head(keeper, &listed).await?;
    let since = keeper.deps.clock.now().plus_millis(-i64::try_from(OLD.as_millis()).unwrap_or(i64::MAX));
    let due = match newest(&listed) {
        None => head > 0,
        Some(file) => {
            let above = head.saturating_sub(file.name.version);
            above >= MANY || (above > 0 && file.modified < since)
        }
    };
    if due { write(keeper, head).await.map(Some) } else { Ok(None) }
}

fn newest(listed: &[ListedSnapshot]) -> Option<&ListedSnapshot> {
    listed.iter().max_by_key(|file| file.name.version)
}

async fn head(keeper: &LogKeeper, listed: &[ListedSnapshot]) -> Result<Version, SnapshotTaskError> {
    Ok(keeper.log.whole_head(newest(listed).map_or(0, |file| file.name.version)).await?)
}

async fn write(keeper: &LogKeeper, version: Version) -> Result<Snapshot, SnapshotTaskError> {
    let state = &*keeper.deps.state;
    let sources = FoldSources { state, log: &keeper.log, limit: keeper.deps.content_limit };
    let file = fold(sources, version).await.map_err(|source| SnapshotTaskError::Fold { version, source })?;
    let (name, bytes) = (SnapshotName::of(version), file.bytes().clone());
    let done = Snapshot { version, key: name.key(), bytes: bytes.len() as u64 };
    for _ in 0..ATTEMPTS {
        match state.put(&done.key, bytes.clone(), Precondition::Absent).await? {
            // It is there, by this keeper or by another one.
            PutOutcome::Written(_) | PutOutcome::PreconditionFailed => {
                let latest = Bytes::from(serde_json::to_vec(&Latest::of(name))?);
                // Whoever writes it last is right soon enough: it is a hint.
                let _written = state.put(LATEST_KEY, latest, Precondition::None).await?;
                tracing::info!(version, bytes = done.bytes, "snapshot file written");
                return Ok(done);
            }
            PutOutcome::Busy => keeper.deps.clock.sleep(PAUSE).await,
        }
    }
    Err(SnapshotTaskError::Busy(done.key))
}
