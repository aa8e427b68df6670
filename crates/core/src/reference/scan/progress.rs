//! How far a long scan has come: `snapshots/_scan/<reference, escaped>.json`, changed by compare-and-swap.
//!
//! It says which scan it is (the head of the log before it, and when it began) and who may be at it for how long. How far
//! it has come is told by the parts themselves; what is said of that here is for people, and for who waits. What cannot be
//! read counts as nothing: the scan begins anew.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::change::Version;
use crate::encode::escape_component;
use crate::ports::{ETag, ObjectStore, Precondition, PutOutcome};
use crate::reference::error::LoadError;
use crate::time::Timestamp;

/// Under which all of a reference's scan lies.
pub const SCANS: &str = "snapshots/_scan/";
const FORMAT: &str = "scan/1";

/// The key of a reference's progress below the state's location.
#[must_use]
pub fn progress_key(reference: &str) -> String {
    format!("{SCANS}{}.json", escape_component(reference))
}

/// One scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    freshjoin: String,
    pub(super) reference: String,
    /// The head of the log before the scan.
    pub(super) version: Version,
    pub(super) scan_started: Timestamp,
    pub(super) segments: u32,
    /// Rows in the parts that are written.
    pub(super) rows: u64,
    /// When it last came on.
    pub(super) updated: Timestamp,
    /// Until when somebody is at it.
    pub(super) leased: Timestamp,
    /// Its base is there.
    pub(super) done: bool,
}

impl Progress {
    pub(super) fn new(reference: &str, version: Version, segments: u32, now: Timestamp) -> Self {
        Self {
            freshjoin: FORMAT.into(),
            reference: reference.into(),
            version,
            scan_started: now,
            segments,
            rows: 0,
            updated: now,
            leased: now,
            done: false,
        }
    }
}

/// What is there, for replacing it.
#[derive(Debug)]
pub(super) struct Found {
    /// `None` where it cannot be read.
    pub(super) progress: Option<Progress>,
    pub(super) etag: ETag,
}

/// A reference's progress, if there is one.
///
/// # Errors
/// [`LoadError::Store`].
pub(super) async fn find(state: &dyn ObjectStore, reference: &str) -> Result<Option<Found>, LoadError> {
    let key = progress_key(reference);
    let Some(object) = state.get(&key).await? else { return Ok(None) };
    let readable = |progress: &Progress| progress.freshjoin == FORMAT && progress.reference == reference;
    let progress = serde_json::from_slice(&object.bytes).ok().filter(readable);
    if progress.is_none() {
        tracing::warn!(key, "the progress of a scan cannot be read: it begins anew");
    }
    Ok(Some(Found { progress, etag: object.etag }))
}

/// Replaces what was found (nothing: `None`); `None` where somebody else was faster.
///
/// # Errors
/// [`LoadError::Store`], and [`LoadError::Encode`], which would be a bug.
pub(super) async fn replace(
    state: &dyn ObjectStore,
    found: Option<&ETag>,
    progress: &Progress,
) -> Result<Option<ETag>, LoadError> {
    let bytes = Bytes::from(serde_json::to_vec(progress)?);
    let precondition = found.map_or(Precondition::Absent, Precondition::Matches);
    Ok(match state.put(&progress_key(&progress.reference), bytes, precondition).await? {
        PutOutcome::Written(etag) => Some(etag),
        PutOutcome::PreconditionFailed | PutOutcome::Busy => None,
    })
}
