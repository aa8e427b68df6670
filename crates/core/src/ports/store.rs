//! Objects under keys, with conditional writes: S3, a directory, or memory.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::BoxError;
use crate::location::Location;
use crate::time::Timestamp;

/// What identifies an object's content at one key, as the store gave it (S3: with its quotes).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ETag(pub String);

impl ETag {
    /// Without HTTP's quotes, as S3's notices have it.
    #[must_use]
    pub fn unquoted(&self) -> &str {
        self.0.trim_matches('"')
    }
}

/// An object as read.
#[derive(Clone, Debug)]
pub struct Object {
    /// The whole body.
    pub bytes: Bytes,
    /// For a later [`Precondition::Matches`].
    pub etag: ETag,
    /// When the store took the write; S3 gives whole seconds.
    pub modified: Timestamp,
}

/// What came of a bounded read.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// The object as it was read, and which of its versions that is, where the store keeps several.
    Found(Object, Option<String>),
    /// The store says clearly that there is none.
    Missing,
    /// It has so many bytes, more than asked for; they were not read.
    TooLarge(u64),
}

/// One entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The key, relative to the store's root.
    pub key: String,
    /// When the store took the write; S3 gives whole seconds.
    pub modified: Timestamp,
    /// Bytes.
    pub size: u64,
}

/// What a write demands of the object that is there.
#[derive(Clone, Copy, Debug)]
pub enum Precondition<'a> {
    /// Nothing: create or replace.
    None,
    /// There is none (`If-None-Match: *`).
    Absent,
    /// It is this one (`If-Match`).
    Matches(&'a ETag),
}

/// How a write ended, where no fault occurred.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum PutOutcome {
    /// It is stored; the new object's tag.
    Written(ETag),
    /// The precondition does not hold (412; a `Matches` on a missing object too). Nothing was written *by this
    /// answer*: an earlier attempt of the same write whose answer was lost may have succeeded.
    PreconditionFailed,
    /// Another write was under way (409): try the same again.
    Busy,
}

/// What keys a store can hold, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLimits {
    /// The longest whole key, the store's own prefix included.
    pub key: usize,
    /// The longest part between two slashes.
    pub component: usize,
    /// How many bytes of `key` the store's own prefix takes, its slash included.
    pub prefix: usize,
}

/// A fault of the store. The write it answers may or may not have happened. Never a clean "not found".
#[derive(Debug, thiserror::Error)]
#[error("{operation} {key} failed: {source}")]
pub struct StoreError {
    /// What was tried: `GET`, `PUT`, `LIST`, `EXPIRE`.
    pub operation: &'static str,
    /// On which key, with the store's location.
    pub key: String,
    /// As the adapter got it.
    #[source]
    pub source: BoxError,
}

/// Objects below one [`Location`]. Reads and listings are strongly consistent; a conditional write is atomic among
/// any number of processes; a write is seen whole or not at all. Every method may be called again after a fault.
#[async_trait]
pub trait ObjectStore: Send + Sync + Debug {
    /// The whole object, or `None` if the store says clearly that there is none.
    ///
    /// # Errors
    /// [`StoreError`] for anything but a clean answer; a 403 is a fault, never "not found".
    async fn get(&self, key: &str) -> Result<Option<Object>, StoreError>;

    /// One version of the object, or the current one, if it has at most `limit` bytes. A store that keeps one version
    /// only has the current one.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    async fn fetch(&self, key: &str, version: Option<&str>, limit: u64) -> Result<Fetched, StoreError> {
        let _ = version;
        Ok(match self.get(key).await? {
            Some(object) if object.bytes.len() as u64 > limit => Fetched::TooLarge(object.bytes.len() as u64),
            Some(object) => Fetched::Found(object, None),
            None => Fetched::Missing,
        })
    }

    /// Writes the whole object under the precondition.
    ///
    /// # Errors
    /// [`StoreError`] where the outcome is unknown or refused for another reason than the precondition.
    async fn put(&self, key: &str, bytes: Bytes, precondition: Precondition<'_>) -> Result<PutOutcome, StoreError>;

    /// Up to 1,000 objects whose keys start with `prefix` and sort (by UTF-8 bytes) after `start_after`, in that
    /// order. An empty answer is the end.
    ///
    /// # Errors
    /// [`StoreError`] for anything but a clean answer.
    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Vec<Listed>, StoreError>;

    /// Gives the object up: it may vanish at any time from now on, and until then reads still see it. Idempotent; a missing
    /// object is no error. What is written to the key afterwards is not given up.
    ///
    /// # Errors
    /// [`StoreError`] for anything but a clean answer; the object may be given up all the same.
    async fn expire(&self, key: &str) -> Result<(), StoreError>;

    /// What keys it can hold.
    fn limits(&self) -> KeyLimits;
}

/// A location that no adapter here can open.
#[derive(Debug, thiserror::Error)]
#[error("{location} cannot hold objects here: {reason}")]
pub struct LocationError {
    /// As it was given.
    pub location: Location,
    /// What it should have been.
    pub reason: String,
}

/// Opens stores by location, as the output of an intent may differ from the configured one.
pub trait Stores: Send + Sync + Debug {
    /// The store below a location. Makes no call.
    ///
    /// # Errors
    /// [`LocationError`] if it is no location of this adapter's kind.
    fn open(&self, location: &Location) -> Result<Arc<dyn ObjectStore>, LocationError>;
}
