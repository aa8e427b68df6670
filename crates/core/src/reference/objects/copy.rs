//! Copies of reference objects in the state, `objects/<sha256>`: written before the change that names them, never altered.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::rows::{ContentProblem, ObjectRows, any_row, project};
use crate::bug::{Bug, planted};
use crate::ports::{Fetched, ObjectStore, Precondition, PutOutcome, StoreError};
use crate::reference::error::LoadError;
use crate::reference::row::Projection;

/// How often a write that meets another one is tried.
const ATTEMPTS: u32 = 5;

/// The key of a content's copy below the state's location.
#[must_use]
pub fn copy_key(sha256: &str) -> String {
    format!("objects/{sha256}")
}

/// A copy was not written; trying again may help.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another write of the same copy was under way each time.
    #[error("{key} could not be written: another write was under way")]
    Busy {
        /// Its key below the state's location.
        key: String,
    },
}

/// Writes a content's copy unless it is there; its SHA-256, in hex.
///
/// # Errors
/// [`CopyError`]; calling again is safe.
pub async fn put_copy(state: &dyn ObjectStore, content: Bytes) -> Result<String, CopyError> {
    let sha256 = hex::encode(Sha256::digest(&content));
    let key = copy_key(&sha256);
    if planted(Bug::NoCopy) {
        return Ok(sha256);
    }
    for _ in 0..ATTEMPTS {
        match state.put(&key, content.clone(), Precondition::Absent).await? {
            // The same content has the same key: whoever wrote it.
            PutOutcome::Written(_) | PutOutcome::PreconditionFailed => return Ok(sha256),
            PutOutcome::Busy => {}
        }
    }
    Err(CopyError::Busy { key })
}

/// Reads a content's copy.
///
/// # Errors
/// [`LoadError`] where it is gone, altered, too large or out of reach: never taken for "no rows".
async fn get_copy(state: &dyn ObjectStore, object: &str, sha256: &str, limit: u64) -> Result<Bytes, LoadError> {
    let key = copy_key(sha256);
    let lost = |problem: &'static str| LoadError::Copy { object: object.into(), key: key.clone(), problem };
    match state.fetch(&key, None, limit).await? {
        Fetched::Found(copy, _) if hex::encode(Sha256::digest(&copy.bytes)).eq_ignore_ascii_case(sha256) => {
            Ok(copy.bytes)
        }
        Fetched::Found(..) => Err(lost("is not what its name says")),
        Fetched::Missing => Err(lost("is gone")),
        Fetched::TooLarge(size) => Err(LoadError::TooLarge { reference: object.into(), size, limit }),
    }
}

/// Reads a content's copy and projects its rows.
///
/// # Errors
/// As [`get_copy`], and [`LoadError::Content`] where the content cannot be used.
pub(in crate::reference) async fn project_copy(
    state: &dyn ObjectStore,
    object: &str,
    sha256: &str,
    limit: u64,
    projection: &Projection,
) -> Result<ObjectRows, LoadError> {
    let content = get_copy(state, object, sha256, limit).await?;
    project(object, content, limit, projection).await.map_err(|source| unusable(object, source))
}

/// Whether a content has any row.
///
/// # Errors
/// As [`project_copy`].
pub(crate) async fn has_rows(
    state: &dyn ObjectStore,
    object: &str,
    sha256: &str,
    limit: u64,
) -> Result<bool, LoadError> {
    let content = get_copy(state, object, sha256, limit).await?;
    any_row(object, content, limit).map_err(|source| unusable(object, source))
}

fn unusable(object: &str, source: ContentProblem) -> LoadError {
    LoadError::Content { object: object.into(), source }
}
